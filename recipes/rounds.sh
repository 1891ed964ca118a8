#!/usr/bin/env bash
# A seed round and two adversarial rounds on the embedded models, the student trained after each; then every row is run
# again, the pairs are audited, and the verifier's own error rates are measured.
# Usage: recipes/rounds.sh [RUNS]. Every step resumes or is skipped when it is done; hours on two CPU cores.
set -euo pipefail
runs=${1:-runs/rounds}
recipes=$(dirname "$0")
train() { advtrain run "$recipes/quickstart_dpo.toml" --out "$runs/train-$1" --set dataset="$runs/round-$1/dataset" "${@:2}"; }
build() { advgen build "$recipes/rounds.toml" --out "$runs/round-$1" "${@:2}" > /dev/null; }

mkdir -p "$runs"
build 0
train 0
build 1 --parent "$runs/round-0" --margins "$runs/train-0"
train 1 --set rounds=last --set adapter="$runs/train-0/adapter"
build 2 --parent "$runs/round-1" --margins "$runs/train-1"

advgen verify "$runs/round-2"
advgen audit "$runs/round-2/dataset" --json > "$runs/audit.json"
against=()
if [ -n "${HUMANEVAL:-}" ]; then # its file: how often agreement is wrong, on statements whose answers are known
  advgen consensus "$recipes/rounds.toml" --benchmark "$HUMANEVAL" --out "$runs/consensus" > /dev/null
  against=(--consensus "$runs/consensus")
fi
advgen calibrate "$runs/round-2" "${against[@]}" > "$runs/calibration.json"

# The same exercises without repair, and for a student of another family: the journal has all other replies.
again() {
  mkdir -p "$runs/$1"
  local journal=$runs/$1/journal.sqlite
  [ -s "$journal" ] || { cp "$runs/round-0/journal.sqlite" "$journal.part" && mv "$journal.part" "$journal"; }
  advgen build "$recipes/rounds.toml" --out "$runs/$1" --set "$2" > /dev/null
}
again no-feedback exercises.feedback=false
again small-student student.model=local/student-small
python "$recipes/rounds_summary.py" "$runs"
