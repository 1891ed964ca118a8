"""Supervised fine-tuning on completions: TRL's SFTTrainer on ids and labels. On the `gad` config it is SeqKD.

The loss covers the completion and the end of its turn, never the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advtrain import patches
from advtrain.encoding import IGNORED, Example
from advtrain.loop import checkpoints, order
from advtrain.loop.options import trl_options
from advtrain.methods import base


class CompletionTrainer(checkpoints.AtomicCheckpoints, trl.SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that sorts within optimizer steps; rows with `input_ids` and `labels` it takes as they are.

    TRL divides a step's loss by all its tokens, whichever forward pass they were in.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return order.step_sorted(self, super()._get_train_sampler(train_dataset))


class Sft(base.Method):
    """Cross-entropy on the completions."""

    flash = True

    @property
    def rows(self) -> str:
        return self.config.sft.config

    def options(self, folder: Path) -> trl.SFTConfig:
        return trl_options(self.config, folder, trl.SFTConfig, max_length=self.config.max_length)

    def build(
        self, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
    ) -> CompletionTrainer:  # fmt: skip
        rows = datasets.Dataset.from_list([columns(example) for example in examples if not example.dropped])
        trainer = CompletionTrainer(
            model=policy, args=self.options(folder), train_dataset=rows, processing_class=tokenizer
        )
        patches.score_selected(policy.get_base_model())
        patches.fuse_lora(policy)
        return trainer


def columns(example: Example) -> dict[str, Any]:
    """The columns that TRL takes as prepared: ids, and labels on the completion only."""
    (completion,) = example.completions
    return {
        "input_ids": example.prompt + completion,
        "labels": [IGNORED] * len(example.prompt) + completion,
    }
