"""One epoch of DPO side by side with TRL: `python bench/dpo.py DATASET --out dpo.jsonl`.

Arms, each in a process of its own, in turn, `--repeats` times; all with the same weights, LoRA, pairs, order, batch and
learning rate, on the CPU in the dtype that advtrain takes here:

- `trl`: TRL's DPOTrainer as shipped. Without Triton its head projects every position, prompts and padding too.
- `trl-compact`: with its compact head, which is what it does on a GPU, forced.
- `trl-precomputed`: that, with the reference's log-probabilities worked out before training.
- `advtrain`: ours. Its cache of reference log-probabilities is empty at the start.

`pairs/s` counts from before the reference pass to the end of training, without loading. RSS is the peak of the
process. `forwarded` are the positions that went through the backbone, padding included: a figure without noise. The
losses of all arms must be the same to `--tolerance`, or nothing is printed: bf16 rounds (TRL's own arms differ by 0.02
there), float32 does not.

DATASET is a dataset folder or JSONL, of which the pairs are taken that are nearest to `--prompt` and `--completion`
tokens; the table says what their means came to. With `--out`, what the file holds is not run again. On a GPU nothing
was measured; there TRL's own head is compact, so `trl-compact` is the arm to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
ARMS = ("trl", "trl-compact", "trl-precomputed", "advtrain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--model", default="student-small")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--prompt", type=float, default=180, help="tokens")
    parser.add_argument("--completion", type=float, default=120, help="tokens, mean of both sides")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=0.03)
    parser.add_argument("--out", type=Path, default=Path("dpo.jsonl"))
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(measure(args)))
        return
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if any(row["pairs"] != args.pairs for row in done):
        sys.exit(f"error: {args.out} is of another number of pairs; give another --out")
    for repeat in range(args.repeats):
        for arm in ARMS[repeat % 2 * 3 :: -1 if repeat % 2 else 1]:  # there and back: drift favours nobody
            if not any((row["arm"], row["repeat"]) == (arm, repeat) for row in done):
                done.append({"arm": arm, "repeat": repeat, **_in_a_process(arm)})
                with open(args.out, "a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(
                    f"{repeat + 1}/{args.repeats} {arm}: {done[-1]['pairs_per_s']:.3f} pairs/s",
                    file=sys.stderr,
                )
    show(done, args.tolerance)


def _in_a_process(arm: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        models = Path(os.environ.get("ADVDISTILL_HOME") or Path.home() / ".cache" / "advdistill")
        os.symlink(models / "files", Path(home) / "files")  # the models as they are, no reference cache
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--arm", arm], stdout=subprocess.PIPE, check=True,
            env={**os.environ, "ADVDISTILL_HOME": home, "HF_DATASETS_CACHE": f"{home}/datasets", "CI": "1"},
        )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- one arm ------------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from advcore import settings
    from advtrain import encoding, models
    from advtrain.config import Lora, RunConfig

    train = {"batch_size": args.batch_size, "gradient_accumulation": args.accumulation, "learning_rate": 5e-5}
    shape = {"method": "dpo", "dataset": args.dataset, "model": args.model, "trl": {"save_strategy": "no"}}
    config = settings.build(RunConfig, {**shape, "train": train})
    tokenizer = models.load_tokenizer(config.model)
    rows = encoding.load(config.dataset, "dpo").rows
    examples = chosen_pairs(encoding.encode(tokenizer, rows, "dpo", config.max_length), args)
    policy = models.load_policy(config.model, "", Lora(), seed=0)
    forwarded = _count_positions(policy.get_base_model().base_model)
    with tempfile.TemporaryDirectory() as folder:
        build = _ours if args.arm == "advtrain" else _trls
        prepared = build(config, policy, tokenizer, examples, Path(folder), args.arm)
        started, cpu = time.monotonic(), time.process_time()
        trainer = prepared()
        trainer.train()
    seconds = time.monotonic() - started
    steps = [row for row in trainer.state.log_history if "loss" in row]
    return {
        "pairs": len(examples), "seconds": round(seconds, 2), "pairs_per_s": len(examples) / seconds,
        "cpu_s": round(time.process_time() - cpu, 2),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "forwarded": forwarded[0],
        "losses": [row["loss"] for row in steps], "margins": [row["rewards/margins"] for row in steps],
        "dtype": str(policy.get_base_model().dtype), "threads": torch.get_num_threads(),
        "mean_prompt": statistics.fmean(len(each.prompt) for each in examples),
        "mean_completion": statistics.fmean(len(ids) for each in examples for ids in each.completions),
    }  # fmt: skip


def _ours(config: Any, policy: Any, tokenizer: Any, examples: Any, folder: Path, _: str) -> Callable[[], Any]:
    from advtrain import models
    from advtrain.methods import dpo

    def prepare() -> Any:
        trainer = dpo.Dpo(config).build(policy, tokenizer, examples, folder)
        dpo.with_reference(trainer, examples, models.reference(config).content)
        return trainer

    return prepare


def _trls(
    config: Any, policy: Any, tokenizer: Any, examples: Any, folder: Path, arm: str
) -> Callable[[], Any]:
    import datasets
    import trl.trainer.utils

    from advtrain.forward import adapters, logps
    from advtrain.methods import dpo

    class Plain(trl.DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def create_model_card(self, *_: Any, **__: Any) -> None:
            return

    if arm != "trl":
        trl.trainer.utils._use_triton = lambda device: True
    options = dpo.Dpo(config).options(folder)
    options.precompute_ref_log_probs = arm == "trl-precomputed"
    file = str(folder / "pairs")  # TRL's cache of the reference lies beside its dataset
    datasets.Dataset.from_list([logps.columns(example) for example in examples]).save_to_disk(file)

    def prepare() -> Any:
        trainer = Plain(
            model=policy,
            args=options,
            processing_class=tokenizer,
            train_dataset=datasets.load_from_disk(file),
        )
        adapters.set_reference(trainer.model, "")
        return trainer

    return prepare


def chosen_pairs(examples: Sequence[Any], args: argparse.Namespace) -> list[Any]:
    """The `--pairs` nearest to the asked lengths, in the dataset's order."""

    def distance(index: int) -> float:
        prompt, *completions = map(len, (examples[index].prompt, *examples[index].completions))
        return abs(prompt - args.prompt) + abs(statistics.fmean(completions) - args.completion)

    whole = [index for index, example in enumerate(examples) if not example.truncated]
    if len(whole) < args.pairs:
        sys.exit(f"error: {args.dataset} has {len(whole)} pairs of at most 1,024 tokens, {args.pairs} wanted")
    return [examples[index] for index in sorted(sorted(whole, key=distance)[: args.pairs])]


def _count_positions(backbone: Any) -> list[int]:
    count = [0]

    def add(_module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        count[0] += inputs["input_ids"].numel()

    backbone.register_forward_pre_hook(add, with_kwargs=True)
    return count


# --- the table ----------------------------------------------------------------------------------------------------


def show(rows: Sequence[dict[str, Any]], tolerance: float) -> None:
    first = rows[0]
    for row in rows:
        worst = max(abs(a - b) for a, b in zip(row["losses"], first["losses"], strict=True))
        if worst > tolerance:
            sys.exit(f"error: the losses of {row['arm']} and {first['arm']} differ by {worst:.4f}")
    print(
        f"{first['pairs']} pairs, mean prompt {first['mean_prompt']:.0f} and completion {first['mean_completion']:.0f} "
        f"tokens, {first['dtype']}, {first['threads']} threads, {len({row['repeat'] for row in rows})} repeats\n"
    )
    print("| arm | pairs/s | CPU s | RSS MB | forwarded | advtrain is faster by (median, least, most) |")
    print("|---|---|---|---|---|---|")
    by_repeat = {(row["arm"], row["repeat"]): row["pairs_per_s"] for row in rows}
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm]
        ratios = sorted(by_repeat["advtrain", row["repeat"]] / row["pairs_per_s"] for row in mine)
        middle = {
            name: statistics.median(row[name] for row in mine) for name in ("pairs_per_s", "cpu_s", "rss_mb")
        }
        print(
            f"| {arm} | {middle['pairs_per_s']:.3f} | {middle['cpu_s']:.0f} | {middle['rss_mb']:.0f} | "
            f"{mine[0]['forwarded']:,} | {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
