"""Direct preference optimisation: TRL's DPOTrainer on rows that are ids already, with an explicit reference.

Adds what TRL lacks, and no loss: each prompt goes through the model once (`prefix`), the pairs of an optimizer step
are grouped by length (`order.StepSorted`), and the reference is worked out once a pair (`scoring`). Trains on the
pairs that TRL would draw, to the same loss. Called by `run`. Source: arXiv 2305.18290; TRL 1.16 `DPOTrainer`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import trl

from advcore import DataError
from advtrain import models
from advtrain.config import RunConfig
from advtrain.encoding.rows import Example
from advtrain.forward import adapters, fused, logps, prefix
from advtrain.loop import checkpoints, order
from advtrain.loop.options import trl_options

# These losses look at the other pairs of their forward pass, so that pairs cannot be moved to another one.
_JOINT = frozenset(("sft", "aot", "aot_unpaired"))
_LEAST = 0.01  # of p_true: what is less true moves nothing, and would divide by 0


SMOOTHING = "smoothing"
"""Column and input: s of conservative DPO for each pair, (B,)."""


class PairTrainer(checkpoints.WholeCheckpoints, trl.DPOTrainer):  # type: ignore[misc]
    """DPOTrainer that neither renders nor encodes text, sorts within optimizer steps, and smooths pair by pair."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        if SMOOTHING in inputs:
            # TRL's robust loss, ((1 - e) l(x) - e l(-x)) / (1 - 2 e), is (1 - s) l(x) + s l(-x) for this e, and takes
            # one for each pair as well as one for all.
            s_B = inputs.pop(SMOOTHING)
            self.label_smoothing = -s_B / (1 - 2 * s_B)
        return super().compute_loss(model, inputs, *args, **options)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns: list[str] = [*self._signature_columns, SMOOTHING]

    def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        drawn = super()._get_train_sampler(train_dataset)
        sampler = order.epoch_seeded if _JOINT & set(self.loss_types) else order.step_sorted
        return sampler(self, drawn)


def options(config: RunConfig, folder: Path) -> trl.DPOConfig:
    """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""
    losses = ["robust"] if config.dpo.smoothing == "rows" else list(config.dpo.loss_type)
    return trl_options(
        config, folder, trl.DPOConfig, max_length=config.max_length, beta=config.dpo.beta,
        loss_type=losses, label_smoothing=config.dpo.label_smoothing,
    )  # fmt: skip


def build(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> PairTrainer:
    """A trainer over the examples that were not dropped.

    The reference is settled here: the base with its adapter off, a frozen adapter, or a whole model. Raises
    ConfigError for a `[trl]` key or a reference that cannot be used.
    """
    reference = models.reference(config)
    adapter = reference if models.is_adapter(reference) else ""
    whole = models.load_base(reference) if reference and not adapter else None
    if adapter:
        models.check_adapter(adapter, config.model)
    kept = [example for example in examples if not example.dropped]
    rows = datasets.Dataset.from_list([logps.columns(example) for example in kept])
    built = PairTrainer(
        model=policy, ref_model=whole, args=options(config, folder), train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    if config.dpo.smoothing == "rows":
        _smooth_rows(built, kept)
    adapters.set_reference(policy, adapter)
    fused.fuse_lora(policy)
    _share_prompts(built, kept)
    return built


def _smooth_rows(built: PairTrainer, kept: Sequence[Example]) -> None:
    shares = [(1 - _p_true(example)) / 2 for example in kept]
    built.train_dataset = built.train_dataset.add_column(SMOOTHING, shares)
    built.data_collator = functools.partial(_collated, built.data_collator)


def _p_true(example: Example) -> float:
    told = example.row.get("p_true")
    if not isinstance(told, int | float) or not 0 <= told <= 1:
        raise DataError(
            f'exercise {example.exercise_id} has no p_true; dpo.smoothing = "rows" is for datasets of advgen build'
        )
    return max(told, _LEAST)


def _collated(plain: Any, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """TRL's batch, with the smoothing of the rows that have one."""
    batch: dict[str, Any] = plain([dict(row) for row in rows])
    if SMOOTHING in rows[0]:
        batch[SMOOTHING] = torch.tensor([row[SMOOTHING] for row in rows])
    return batch


def _share_prompts(built: PairTrainer, kept: Sequence[Example]) -> None:
    """For the policy and a whole reference, where they take a mask of ours; the longest pair tells."""
    example = max(kept, key=lambda each: each.length)
    for model in (built.model.get_base_model(), built.ref_model):
        if model is not None and prefix.takes_masks(model, example.prompt, example.completions):
            fused.score_selected(model, prefix.share)


def with_reference(built: PairTrainer, examples: Sequence[Example], reference: str) -> None:
    """Give the training rows what the reference says of them, so that it need not run at every step.

    `reference` is the id of its content. With `trl.ld_alpha` tokens are weighted one by one: TRL's own way stands.
    """
    if built.ld_alpha is not None:
        return
    kept = [example for example in examples if not example.dropped]
    known = logps.reference_logps(built, kept, reference)
    pairs = [known[logps.key(example)] for example in kept]
    chosen, rejected = ([pair[side] for pair in pairs] for side in (0, 1))
    rows = built.train_dataset.add_column("ref_chosen_logps", chosen)
    built.train_dataset = rows.add_column("ref_rejected_logps", rejected)
    built.precompute_ref_logps = True
