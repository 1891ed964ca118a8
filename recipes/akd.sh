#!/usr/bin/env bash
# Adversarial distillation for N rounds: build, push, train, hand back the margins, evaluate; each round from the one before.
# Usage: recipes/akd.sh BUILD.toml TRAIN.toml RUNS [N]. A step that was cut off is taken up again, one that is done is skipped.
# With AKD_REPO=user/name the rounds meet over the Hub alone, else in RUNS. AKD_TASKS (41) HumanEval tasks after each
# round; 0 leaves that out.
set -euo pipefail
config=$1 training=$2 runs=$3 rounds=${4:-3}
repo=${AKD_REPO:-} tasks=${AKD_TASKS:-41}

once() { [ -s "$1" ] || { "${@:2}" > "$1.part" && mv "$1.part" "$1"; }; } # the file holds what the command printed

for ((n = 0; n < rounds; n++)); do
  round=$runs/round-$n train=$runs/train-$n dataset=$runs/round-$n/dataset
  parent=() adapter=()
  if ((n)); then
    parent=(--parent "$runs/round-$((n - 1))" --margins "$runs/train-$((n - 1))")
    [ -z "$repo" ] || parent=(--parent "$repo@round-$((n - 1))-margins")
    adapter=(--set rounds=last --set adapter="$runs/train-$((n - 1))/adapter")
  fi
  advgen build "$config" --out "$round" "${parent[@]}" > /dev/null
  if [ -n "$repo" ]; then
    once "$round/pushed.txt" advgen push "$round" --repo "$repo"
    dataset=$repo@round-$n
  fi
  advtrain run "$training" --out "$train" --set dataset="$dataset" "${adapter[@]}" > /dev/null
  [ -z "$repo" ] || once "$train/pushed.txt" advtrain push "$train" --margins "$repo"
  ((tasks == 0)) || once "$train/eval.json" advtrain eval "$train/adapter" --limit "$tasks"
  advtrain report "$train"
done
