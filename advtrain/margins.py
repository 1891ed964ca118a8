"""The pass after DPO: one row per exercise with its reward margin, for the next round of data.

Runs in evaluation mode without gradients, on the same ids that were trained on; TRL only logs means over
batches. And in float32, whatever was trained in: a young adapter moves activations by less than bf16 can
hold, so that the difference of two bf16 passes is rounding noise. Computes no statistics itself (`losses`
does). Called by `run`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from advcore import contract, runs
from advtrain import dpo, losses, models
from advtrain.data import Example

# Positions, padding included, of one forward pass; chosen and rejected are one batch.
BATCH_TOKENS = 4096

Row = dict[str, Any]


def score(
    trainer: dpo.PairTrainer, examples: Sequence[Example], model: str, reference: str, matmul: str
) -> list[Row]:
    """Rows of the `margins` config, one per exercise, in the order of the first pair of each.

    R = beta * (log pi - log pi_ref) summed over a completion; margin = R(chosen) - R(rejected);
    margin_per_token takes each R divided by its completion's tokens. An exercise with several pairs gets
    the mean of each number, its token counts rounded. A dropped exercise has no margin: NaN, with `dropped`
    set. `matmul` is `dpo.margin_matmul`. Leaves the trainer's models in float32.
    """
    kept = [example for example in examples if not example.dropped]
    # By identity, because two pairs may be equal.
    scored = {id(example): row for example, row in _score_pairs(trainer, kept, matmul)}
    by_exercise: dict[str, list[Row]] = defaultdict(list)
    for example in examples:
        by_exercise[example.exercise_id].append(scored.get(id(example), _dropped_row()))
    names = {"model": model, "reference": reference, "schema_version": contract.SCHEMA_VERSION}
    return [{"exercise_id": key, **_mean(rows), **names} for key, rows in by_exercise.items()]


def _score_pairs(
    trainer: dpo.PairTrainer, examples: Sequence[Example], matmul: str
) -> Iterator[tuple[Example, Row]]:
    policy = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).float().eval()
    whole = trainer.ref_model and trainer.accelerator.unwrap_model(trainer.ref_model).float().eval()
    with runs.progress("margins", len(examples)) as progress, torch.no_grad(), _products(matmul):
        for batch in batches(examples):
            inputs = trainer._prepare_inputs(trainer.data_collator([dpo.columns(each) for each in batch]))
            after = _logps(policy, inputs)
            if whole is None:
                with models.as_reference(policy):
                    before = _logps(policy, inputs)
            else:
                before = _logps(whole, inputs)
            rewards = losses.rewards(after.double(), before.double(), trainer.beta).tolist()
            for pair in zip(batch, rewards[: len(batch)], rewards[len(batch) :], strict=True):
                yield pair[0], _pair_row(*pair)
            progress.advance(len(batch))


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """torch's float32 matrix product precision for the time of the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def batches(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Pairs of like length together, longest first, as many as BATCH_TOKENS hold with padding; at least
    one."""
    batch: list[Example] = []
    for example in sorted(examples, key=lambda each: each.length, reverse=True):
        if batch and 2 * batch[0].length * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _logps(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Log-probability of each completion in the batch, chosen first, then rejected."""
    mask = inputs["completion_mask"]
    labels = inputs["input_ids"].masked_fill(mask == 0, -100)
    output = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        labels=labels,
        fused_lm_head=True,
    )
    return losses.sequence_logps(output.log_probs, mask)


def _pair_row(example: Example, chosen: float, rejected: float) -> Row:
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


def signature(rows: Sequence[Row]) -> losses.Signature:
    """The failure signatures of a `margins` config; dropped rows are left out."""
    return losses.signature(torch.tensor([row["margin"] for row in rows], dtype=torch.float64))
