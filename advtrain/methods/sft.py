"""Supervised fine-tuning on completions: TRL's SFTTrainer on ids and labels. On the `gad` config it is SeqKD.

The loss covers the completion and the end of its turn, never the prompt. Called by `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advtrain.config import RunConfig
from advtrain.encoding.rows import IGNORED, Example
from advtrain.forward import fused
from advtrain.loop import checkpoints, order
from advtrain.loop.options import trl_options


class CompletionTrainer(checkpoints.WholeCheckpoints, trl.SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that sorts within optimizer steps; rows with `input_ids` and `labels` it takes as they are.

    TRL divides a step's loss by all its tokens, whichever forward pass they were in.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return order.step_sorted(self, super()._get_train_sampler(train_dataset))


def columns(example: Example) -> dict[str, Any]:
    """The columns that TRL takes as prepared: ids, and labels on the completion only."""
    (completion,) = example.completions
    return {
        "input_ids": example.prompt + completion,
        "labels": [IGNORED] * len(example.prompt) + completion,
    }


def options(config: RunConfig, folder: Path) -> trl.SFTConfig:
    """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""
    return trl_options(config, folder, trl.SFTConfig, max_length=config.max_length)


def build(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> CompletionTrainer:
    """A trainer over the examples that were not dropped. Raises ConfigError for a `[trl]` key it cannot
    use."""
    arguments = options(config, folder)
    rows = datasets.Dataset.from_list([columns(example) for example in examples if not example.dropped])
    built = CompletionTrainer(model=policy, args=arguments, train_dataset=rows, processing_class=tokenizer)
    fused.score_selected(policy.get_base_model())
    fused.fuse_lora(policy)
    return built
