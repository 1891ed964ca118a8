"""Direct preference optimisation: TRL's DPOTrainer on rows that are ids already, with an explicit reference.

Writes no loss of its own and scores no margins (`margins` does). Called by `run`.
Source: arXiv 2305.18290; TRL 1.16 `DPOTrainer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advtrain import models, trainer
from advtrain.config import RunConfig
from advtrain.data import Example


class PairTrainer(trl.DPOTrainer):  # type: ignore[misc]
    """DPOTrainer that neither renders nor encodes text and writes no model card."""

    def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
        return dataset

    def create_model_card(self, *_args: Any, **_options: Any) -> None:
        return


def columns(example: Example) -> dict[str, Any]:
    """The columns that TRL's preference collator reads."""
    chosen, rejected = example.completions
    return {"prompt_ids": example.prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def options(config: RunConfig, folder: Path) -> trl.DPOConfig:
    """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""
    return trainer.options(
        config, folder, trl.DPOConfig, beta=config.dpo.beta, loss_type=list(config.dpo.loss_type)
    )


def build(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> PairTrainer:
    """A trainer over the examples that were not dropped.

    The reference is settled here: the base with its adapter off, a frozen adapter, or a whole model.
    Raises ConfigError for a `[trl]` key or a reference that cannot be used.
    """
    reference = config.adapter if config.reference == "previous" else config.reference
    adapter = "" if reference == "base" or not models.is_adapter(reference) else reference
    whole = None if reference == "base" or adapter else models.load_base(reference)
    if adapter:
        models.check_adapter(adapter, config.model)
    rows = datasets.Dataset.from_list([columns(example) for example in examples if not example.dropped])
    built = PairTrainer(
        model=policy, ref_model=whole, args=options(config, folder), train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    models.set_reference(policy, adapter)
    models.score_labelled_only(policy.get_base_model())
    if whole is not None:
        models.score_labelled_only(whole)
    return built
