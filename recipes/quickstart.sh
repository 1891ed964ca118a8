#!/usr/bin/env bash
# The whole way once, on the embedded models: build, train, margins, adversarial round, train, evaluate, summary.
# Usage: recipes/quickstart.sh [RUNS]. Every step resumes or is skipped when it is done.
set -euo pipefail
runs=${1:-runs/quickstart}
recipes=$(dirname "$0")
evaluate() { [ -s "$2" ] || advtrain eval "$1" --bench humaneval --limit 41 --backend transformers --out "$2" > /dev/null; }

mkdir -p "$runs"
advgen models fetch teacher > /dev/null
advgen models fetch student > /dev/null
SECONDS=0

# Tasks with tests first: what a teacher this small writes by itself is as often wrong as right.
advgen build "$recipes/quickstart.toml" --tasks shipped --out "$runs/round-0" > /dev/null
advtrain run "$recipes/quickstart_dpo.toml" --out "$runs/train-0" --set dataset="$runs/round-0/dataset"

advgen build "$recipes/quickstart.toml" --out "$runs/round-1" --set exercises.count=9 \
  --parent "$runs/round-0" --margins "$runs/train-0" > /dev/null
# On the pairs of both rounds: so small a round may give none.
advtrain run "$recipes/quickstart_dpo.toml" --out "$runs/train-1" --set dataset="$runs/round-1/dataset" \
  --set adapter="$runs/train-0/adapter"

evaluate student "$runs/eval-before.json"
evaluate "$runs/train-1/adapter" "$runs/eval-after.json"

if [ -s "$runs/summary.json" ]; then SECONDS=0; fi # everything was there already: the first run's time stands
python "$recipes/summary.py" "$runs" --seconds "$SECONDS"
