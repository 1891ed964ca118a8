"""The pass after DPO: one row per exercise with its reward margin, for the next round of data.

Runs in evaluation mode without gradients, on the same ids that were trained on; TRL only logs means over
batches. And in float32, whatever was trained in: a young adapter moves activations by less than bf16 can
hold, so that the difference of two bf16 passes is rounding noise. Computes no statistics itself (`losses`
does). Called by `dpo`.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from advcore import contract, runs
from advcore.near_copies import NearIndex
from advtrain import ranks
from advtrain.encoding.rows import Example
from advtrain.forward import logps
from advtrain.methods import losses

# From these shares on a warning.
NEAR_ZERO_SHARE = 0.5  # ours
NEAR_COPY_SHARE = 0.25  # KodCode (arXiv 2503.02951) loses about a quarter of what strong teachers write

Row = dict[str, Any]


def score(
    trainer: Any, examples: Sequence[Example], names: dict[str, str], content: str, matmul: str
) -> list[Row]:
    """Rows of the `margins` config, one per exercise, in the order of the first pair of each.

    R = beta * (log pi - log pi_ref) summed over a completion; margin = R(chosen) - R(rejected);
    margin_per_token takes each R divided by its completion's tokens. An exercise with several pairs gets
    the mean of each number, its token counts rounded. A dropped exercise has no margin: NaN, with `dropped`
    set. `names` are the columns `model` and `reference`, `content` the id of the reference's content,
    `matmul` is `dpo.margin_matmul`. Leaves the trainer's models in float32.
    """
    kept = [example for example in examples if not example.dropped]
    for model in (trainer.model, trainer.ref_model):
        if model is not None:
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False).float()
    with _products(matmul):
        after = logps.policy_logps(trainer, kept, "margins")
        before = logps.reference_logps(trainer, kept, content)
    by_exercise: dict[str, list[Row]] = defaultdict(list)
    for example in examples:
        key = logps.key(example)
        row = _dropped_row() if example.dropped else _pair_row(example, after[key], before[key], trainer.beta)
        by_exercise[example.exercise_id].append(row)
    columns = {**names, "schema_version": contract.SCHEMA_VERSION}
    return [{"exercise_id": key, **_mean(rows), **columns} for key, rows in by_exercise.items()]


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """torch's float32 matrix product precision for the time of the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _pair_row(example: Example, after: logps.Pair, before: logps.Pair, beta: float) -> Row:
    chosen, rejected = (beta * (policy - reference) for policy, reference in zip(after, before, strict=True))
    chosen_tokens, rejected_tokens = (len(completion) for completion in example.completions)
    return {
        "margin": chosen - rejected,
        "margin_per_token": chosen / chosen_tokens - rejected / rejected_tokens,
        "r_chosen": chosen,
        "r_rejected": rejected,
        "chosen_tokens": chosen_tokens,
        "rejected_tokens": rejected_tokens,
        "truncated": example.truncated,
        "dropped": False,
    }


def _dropped_row() -> Row:
    numbers = dict.fromkeys(("margin", "margin_per_token", "r_chosen", "r_rejected"), math.nan)
    return {**numbers, "chosen_tokens": 0, "rejected_tokens": 0, "truncated": True, "dropped": True}


def _mean(rows: list[Row]) -> Row:
    """One row for several pairs of an exercise; those that were dropped count only when all were."""
    kept = [row for row in rows if not row["dropped"]] or rows
    return {
        **{
            name: fmean(row[name] for row in kept)
            for name in ("margin", "margin_per_token", "r_chosen", "r_rejected")
        },
        **{name: round(fmean(row[name] for row in kept)) for name in ("chosen_tokens", "rejected_tokens")},
        "truncated": any(row["truncated"] for row in rows),
        "dropped": all(row["dropped"] for row in rows),
    }


def written(
    rows: list[Row], folder: Path, number: int, examples: Sequence[Example], parent: str
) -> dict[str, Any]:  # fmt: skip
    """Write `folder/margins/round-NNNN.parquet`; tells on stderr, and returns for the manifest, what the margins look
    like. `parent` is the adapter that the run went on with."""
    file = contract.write_round(folder, "margins", number, rows)
    now = signature(rows)
    ranks.print_main(
        f"margins of {now.count} exercises: mean {now.mean:+.4f}, std {now.std:.4f}, "
        f"accuracy {now.accuracy:.2f}, effective samples {now.effective_samples:.1f}"
    )
    found = warnings(now, _before(parent), near_copies(examples), now.count)
    for warning in found:
        ranks.print_main(f"warning: {warning}")
    described = {"file": str(file.relative_to(folder)), "sha256": runs.sha256_of_files([file])}
    return {"margins": {**described, **dataclasses.asdict(now)}, "warnings": found}


def _before(adapter: str) -> losses.Signature | None:
    """Of the round that left this adapter, where its run folder still stands around it."""
    file = Path(adapter).parent / "manifest.json"
    if not adapter or not file.exists():
        return None
    before = runs.read_json(file).get("margins") or {}
    names = [field.name for field in dataclasses.fields(losses.Signature)]
    return losses.Signature(**{name: before[name] for name in names}) if before else None


def signature(rows: Sequence[Row]) -> losses.Signature:
    """The failure signatures of a `margins` config; dropped rows are left out."""
    return losses.signature(torch.tensor([row["margin"] for row in rows], dtype=torch.float64))


def warnings(
    now: losses.Signature, before: losses.Signature | None, copies: int, exercises: int
) -> list[str]:
    """AKD's failure signatures that these margins show, each with its numbers; `before` are those of the round before.

    A drop counts beyond two standard errors of the difference. `copies` of the `exercises` are near-copies.
    """
    found = []
    if now.near_zero > NEAR_ZERO_SHARE:
        found.append(f"{now.near_zero:.0%} of the margins are within 0.001 of zero: they carry little signal")
    errors = [each.std / math.sqrt(each.count) for each in (before, now) if each]
    if before and before.mean - now.mean > 2 * math.hypot(*errors):
        fall = f"fell from {before.mean:+.4f} to {now.mean:+.4f}"
        found.append(f"the mean margin {fall} since the round before")
    if copies > NEAR_COPY_SHARE * exercises:
        found.append(f"{copies} of {exercises} exercises are near-copies of earlier ones")
    return found


def near_copies(examples: Sequence[Example]) -> int:
    """How many exercises nearly say, in prompt and first completion, what an earlier one says."""
    first = {example.exercise_id: example for example in reversed(examples)}
    copies = 0
    with NearIndex(None) as index:
        for name, example in reversed(first.items()):
            text = "\n".join([*(message["content"] for message in example.messages), example.replies[0].text])
            copies += index.copy_of(text) is not None
            index.add(name, text)
    return copies
