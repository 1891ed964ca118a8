"""What a training run can be told, as frozen dataclasses; the string under a field documents it.

Holds no behaviour beyond range checks and the defaults that depend on the method. Read by `cli` and `run`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from advcore import ConfigError, settings

Method = Literal["dpo", "sft"]
LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip

SMOOTHED = frozenset(("robust", "exo_pair", "aot", "aot_unpaired"))  # the losses that read label_smoothing
# Peak learning rate by method. DPO: AKD's. SFT: TRL's advice for adapters,
# huggingface.co/docs/trl/sft_trainer.
LEARNING_RATE = {"dpo": 5e-6, "sft": 1e-4}


@dataclass(frozen=True, kw_only=True)
class Lora:
    r: int = 16
    """Rank of the update of each adapted matrix."""
    alpha: int = 32
    """The update is scaled by alpha / r."""
    target: str = "all-linear"
    """Modules that get an update: a PEFT `target_modules` word or regular expression."""

    def __post_init__(self) -> None:
        _positive("lora.", r=self.r, alpha=self.alpha)


@dataclass(frozen=True, kw_only=True)
class Train:
    learning_rate: float = math.nan
    """Peak learning rate; when not given, 5e-6 for `dpo` and 1e-4 for `sft` (the resolved config says
    which)."""
    epochs: float = 1.0
    """Passes over the dataset; a fraction stops within the pass."""
    batch_size: int = 2
    """Rows a forward pass on each device; a DPO row is two sequences."""
    gradient_accumulation: int = 1
    """Forward passes an optimizer step, so that a step sees batch_size * gradient_accumulation rows a
    device."""
    warmup_ratio: float = 0.0
    """Share of all steps over which the learning rate rises from 0 to its peak."""
    checkpoint_steps: int = 50
    """Optimizer steps between two checkpoints; a killed run resumes from the last one."""

    def __post_init__(self) -> None:
        _positive(
            "train.", epochs=self.epochs, batch_size=self.batch_size, checkpoint_steps=self.checkpoint_steps,
            gradient_accumulation=self.gradient_accumulation,
        )  # fmt: skip
        if not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"train.warmup_ratio is {self.warmup_ratio}, not in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Dpo:
    beta: float = 0.1
    """Strength of the pull to the reference: reward = beta * (log pi - log pi_ref)."""
    loss_type: tuple[LossType, ...] = ("sigmoid",)
    """TRL loss names; several are added up, weighted by `trl.loss_weights`."""
    label_smoothing: float = 0.0
    """Share of the pairs taken to be the wrong way round; read by `robust`, `exo_pair`, `aot` and `aot_unpaired`."""
    measured_flips: bool = False
    """Take `label_smoothing` from the dataset, where `advgen calibrate` has measured it."""
    margin_matmul: Literal["highest", "high", "medium"] = "medium"
    """Products inside the float32 margin pass, as torch.set_float32_matmul_precision: `medium` rounds their inputs to
    bf16 (margins within about 0.03 on a 0.5B student), `highest` is exact and several times slower on a
    CPU."""

    def __post_init__(self) -> None:
        _positive("dpo.", beta=self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"dpo.label_smoothing is {self.label_smoothing}, not in [0, 0.5)")
        smoothed = self.label_smoothing > 0 or self.measured_flips
        if smoothed and not SMOOTHED & set(self.loss_type):
            raise ConfigError(
                f"dpo.loss_type reads no label_smoothing; one of {', '.join(sorted(SMOOTHED))} does"
            )


@dataclass(frozen=True, kw_only=True)
class Sft:
    config: Literal["sft", "gad"] = "sft"
    """Dataset config to train on: `sft` (verified solutions) or `gad` (raw teacher replies: SeqKD)."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    method: Method
    """`dpo` on preference pairs, then the margin pass; `sft` on completions."""
    dataset: str
    """A folder in the layout of `advcore.contract`, a Hub dataset `user/name@revision`, or a JSONL file."""
    rounds: Literal["all", "last"] = "all"
    """Which rounds of the dataset are trained on."""
    model: str
    """The student: an embedded name (teacher, student, student-small), a Hub id or a folder."""
    adapter: str = ""
    """Adapter folder of the round before, whose training continues; empty starts a new one."""
    reference: str = "base"
    """DPO's reference: `base` (no adapter), `previous` (`adapter` as it was given), an adapter or a model
    folder."""
    max_length: int = 2048
    """Tokens of prompt and completion together; a longer completion is cut, a longer prompt drops its row."""
    seed: int = 0
    """Of the adapter's first weights and of the order of the rows."""
    lora: Lora = field(default_factory=Lora)
    """Shape of a new adapter; a continued one keeps its own."""
    train: Train = field(default_factory=Train)
    """Optimisation."""
    dpo: Dpo = field(default_factory=Dpo)
    """Read when `method` is `dpo`."""
    sft: Sft = field(default_factory=Sft)
    """Read when `method` is `sft`."""
    report_to: Literal["none", "trackio", "wandb", "tensorboard"] = "none"
    """Also log to this tracker; `metrics.jsonl` is written in any case."""
    trl: dict[str, Any] = field(default_factory=dict)
    """Any further option of TRL's DPOConfig or SFTConfig, by its own name."""

    def __post_init__(self) -> None:
        _positive("", max_length=self.max_length)
        if self.reference == "previous" and not self.adapter:
            raise ConfigError('reference = "previous" needs `adapter`, the adapter of the round before')


def load(path: Path | str, overrides: Iterable[str] = ()) -> RunConfig:
    """The config file with every default filled in. Raises ConfigError as `advcore.settings.load` does."""
    config = settings.load(RunConfig, path, overrides)
    if math.isnan(config.train.learning_rate):
        train = dataclasses.replace(config.train, learning_rate=LEARNING_RATE[config.method])
        config = dataclasses.replace(config, train=train)
    return config


def _positive(section: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{section}{name} is {value}, not above 0")
