"""Direct preference optimisation: TRL's DPOTrainer on rows that are ids already, with an explicit reference.

Adds what TRL lacks, and no loss: each prompt goes through the model once (`prefix`), the pairs of an optimizer step
are grouped by length (`order.StepSorted`), and the reference is worked out once a pair (`forward.logps`). Trains on
the pairs that TRL would draw, to the same loss. Source: arXiv 2305.18290; TRL 1.16 `DPOTrainer`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import torch
import trl

from advcore import DataError
from advcore.engine import loading
from advtrain import models, patches, ranks
from advtrain.encoding import Dataset, Example
from advtrain.forward import adapters, logps, prefix
from advtrain.loop import checkpoints, order
from advtrain.loop.options import trl_options
from advtrain.methods import base, margins

# These losses look at the other pairs of their forward pass, so that pairs cannot be moved to another one.
_JOINT = frozenset(("sft", "aot", "aot_unpaired"))
_LEAST = 0.01  # of p_true: what is less true moves nothing, and would divide by 0


SMOOTHING = "smoothing"
"""Column and input: s of conservative DPO for each pair, (B,)."""


class PairTrainer(checkpoints.AtomicCheckpoints, trl.DPOTrainer):  # type: ignore[misc]
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


class Dpo(base.Method):
    """DPO on preference pairs against an explicit reference, then a margin for each exercise."""

    @property
    def rows(self) -> str:
        return self.config.dpo.config

    @cached_property
    def reference(self) -> models.Reference:
        """What the policy is compared with, for training, margins and the manifest alike."""
        return models.reference(self.config)

    def options(self, folder: Path) -> trl.DPOConfig:
        dpo = self.config.dpo
        return trl_options(
            self.config, folder, trl.DPOConfig, max_length=self.config.max_length, beta=dpo.beta,
            loss_type=["robust"] if dpo.smoothing == "rows" else list(dpo.loss_type),
            label_smoothing=dpo.label_smoothing,
        )  # fmt: skip

    @property
    def companion(self) -> str:
        return self.reference.path if self.reference.kind == "model" else ""

    def other_phases(self, size: models.Size, parts: Mapping[str, int], tokens: int) -> dict[str, int]:
        """The margins are taken in float32."""
        dtype, _ = loading.precision()
        return {"margin_pass": parts["weights"] // dtype.itemsize * 4}

    def build(
        self, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
    ) -> PairTrainer:  # fmt: skip
        """A trainer over the examples that were not dropped, with its reference: the base with its adapter off, a
        frozen adapter, or a whole model. Raises ConfigError for a `[trl]` key or a reference that cannot be used."""
        adapter = self.reference.path if self.reference.kind == "adapter" else ""
        whole = models.load_base(self.companion).requires_grad_(False) if self.companion else None
        if adapter:
            models.check_adapter(adapter, self.config.model)
        kept = [example for example in examples if not example.dropped]
        rows = datasets.Dataset.from_list([logps.columns(example) for example in kept])
        trainer = PairTrainer(
            model=policy, ref_model=whole, args=self.options(folder), train_dataset=rows,
            processing_class=tokenizer,
        )  # fmt: skip
        if self.config.dpo.smoothing == "rows":
            _smooth_rows(trainer, kept)
        adapters.set_reference(policy, adapter)
        patches.fuse_lora(policy)
        _share_prompts(trainer, kept)
        return trainer

    def fit(self, trainer: PairTrainer, examples: Sequence[Example], folder: Path) -> None:
        with_reference(trainer, examples, self.reference.content)
        super().fit(trainer, examples, folder)

    def results(
        self, trainer: PairTrainer, dataset: Dataset, examples: Sequence[Example], folder: Path
    ) -> dict[str, Any]:  # fmt: skip
        """The margins, written into `folder/margins`; all ranks share the forward passes."""
        policy = models.policy_id(self.config.model, str(folder / "adapter"))
        rows = margins.score(
            trainer, examples, {"model": policy, "reference": self.reference.id}, self.reference.content,
            self.config.dpo.margin_matmul,
        )  # fmt: skip
        if not ranks.is_main():
            return {}
        return margins.written(rows, folder, dataset.round, examples, self.config.adapter)

    def lineage(self) -> dict[str, Any]:
        return {**super().lineage(), "reference": self.reference.id}


def _smooth_rows(trainer: PairTrainer, kept: Sequence[Example]) -> None:
    shares = [(1 - _p_true(example)) / 2 for example in kept]
    trainer.train_dataset = trainer.train_dataset.add_column(SMOOTHING, shares)
    trainer.data_collator = functools.partial(_collated, trainer.data_collator)


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


def _share_prompts(trainer: PairTrainer, kept: Sequence[Example]) -> None:
    """For the policy and a whole reference, where they take a mask of ours; the longest pair tells."""
    example = max(kept, key=lambda each: each.length)
    for model in (trainer.model.get_base_model(), trainer.ref_model):
        if model is not None:
            shares = prefix.takes_masks(model, example.prompt, example.completions)
            patches.score_selected(model, prefix.share if shares else None)


def with_reference(trainer: PairTrainer, examples: Sequence[Example], reference: str) -> None:
    """Give the training rows what the reference says of them, so that it need not run at every step.

    `reference` is the id of its content. With `trl.ld_alpha` tokens are weighted one by one: TRL's own way stands.
    """
    if trainer.ld_alpha is not None:
        return
    kept = [example for example in examples if not example.dropped]
    known = logps.reference_logps(trainer, kept, reference)
    pairs = [known[logps.key(example)] for example in kept]
    chosen, rejected = ([pair[side] for pair in pairs] for side in (0, 1))
    rows = trainer.train_dataset.add_column("ref_chosen_logps", chosen)
    trainer.train_dataset = rows.add_column("ref_rejected_logps", rejected)
    trainer.precompute_ref_logps = True
