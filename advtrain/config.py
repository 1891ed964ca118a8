"""What a training run can be told, as frozen dataclasses; the string under a field documents it.

Holds no behaviour beyond range checks and the learning rate, whose default depends on the method: a config is complete
when it is made. Read by every other module.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from advcore import ConfigError, settings

Method = Literal["dpo", "sft", "gad"]
LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip

SMOOTHED = frozenset(("robust", "exo_pair", "aot", "aot_unpaired"))  # the losses that read label_smoothing


class Section:
    """The section of one method, which is named as the method is."""

    default_rate: ClassVar[float]
    """Peak learning rate where none is given."""

    def check(self, run: RunConfig) -> None:
        """Raise ConfigError for what does not go with the other sections."""

    def settled(self, flip_rate: Callable[[], float]) -> Self:
        """With what only the dataset can tell filled in: its share of pairs that are the wrong way round."""
        return self


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
    """Peak learning rate; when not given, 5e-6 for `dpo`, 1e-4 for `sft` and 1e-5 for `gad` (the resolved config
    says which)."""
    epochs: float = 1.0
    """Passes over the dataset; a fraction stops within the pass. Of `gad` those of its second stage."""
    batch_size: int = 2
    """Rows a forward pass on each device; a DPO row is two sequences, a GAD row `gad.samples`."""
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
        if self.learning_rate <= 0:  # of NaN nothing is given
            raise ConfigError(f"train.learning_rate is {self.learning_rate}, not above 0")
        if not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"train.warmup_ratio is {self.warmup_ratio}, not in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Dpo(Section):
    default_rate: ClassVar[float] = 5e-6
    """AKD's."""
    beta: float = 0.1
    """Strength of the pull to the reference: reward = beta * (log pi - log pi_ref)."""
    loss_type: tuple[LossType, ...] = ("sigmoid",)
    """TRL loss names; several are added up, weighted by `trl.loss_weights`."""
    label_smoothing: float = 0.0
    """Share of the pairs taken to be the wrong way round; read by `robust`, `exo_pair`, `aot` and `aot_unpaired`."""
    smoothing: Literal["fixed", "measured", "rows"] = "fixed"
    """Where the share comes from: `fixed` is `label_smoothing`, `measured` the dataset's, by `advgen calibrate`. `rows`
    trusts each pair as far as its `p_true` goes: conservative DPO, (1 - s) * loss + s * loss of the pair turned round,
    with s = (1 - p_true) / 2, since a pair that is not true on both sides says as much as a coin; with `sigmoid`."""
    config: Literal["dpo", "gad"] = "dpo"
    """Dataset config to train on: `dpo` (pairs) or `gad`: the teacher's reply against one that the student samples
    before it is trained, by `gad.temperature` and `gad.max_new_tokens` (SODA)."""
    margin_matmul: Literal["highest", "high", "medium"] = "medium"
    """Products inside the float32 margin pass, as torch.set_float32_matmul_precision: `medium` rounds their inputs to
    bf16 (margins within about 0.03 on a 0.5B student), `highest` is exact and several times slower on a
    CPU."""

    def __post_init__(self) -> None:
        _positive("dpo.", beta=self.beta)
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"dpo.label_smoothing is {self.label_smoothing}, not in [0, 0.5)")
        smoothed = self.label_smoothing > 0 or self.smoothing == "measured"
        if self.label_smoothing > 0 and self.smoothing != "fixed":
            raise ConfigError(f"dpo.label_smoothing would do nothing: dpo.smoothing is {self.smoothing}")
        if self.smoothing == "rows" and (self.loss_type, self.config) != (("sigmoid",), "dpo"):
            raise ConfigError(
                'dpo.smoothing = "rows" is for dpo.loss_type = ["sigmoid"] and dpo.config = "dpo"'
            )
        if smoothed and not SMOOTHED & set(self.loss_type):
            raise ConfigError(
                f"dpo.loss_type reads no label_smoothing; one of {', '.join(sorted(SMOOTHED))} does"
            )

    def settled(self, flip_rate: Callable[[], float]) -> Self:
        if self.smoothing != "measured":
            return self
        return dataclasses.replace(self, smoothing="fixed", label_smoothing=flip_rate())


@dataclass(frozen=True, kw_only=True)
class Sft(Section):
    default_rate: ClassVar[float] = 1e-4
    """TRL's advice for adapters, huggingface.co/docs/trl/sft_trainer."""
    config: Literal["sft", "gad"] = "sft"
    """Dataset config to train on: `sft` (verified solutions) or `gad` (raw teacher replies: SeqKD)."""


@dataclass(frozen=True, kw_only=True)
class Gad(Section):
    default_rate: ClassVar[float] = 1e-5
    """Ten times the paper's, which trains all weights."""
    stages: tuple[Literal["warmup", "gad"], ...] = ("warmup", "gad")
    """`warmup`: cross-entropy of the student on the teacher's replies, while the discriminator learns to tell them from
    the student's; `gad`: policy gradient on the discriminator's score. Apart, the second takes as `adapter` and
    `discriminator.init_from` what the first left in `last` and `discriminator.safetensors`."""
    warmup: Literal["both", "student", "discriminator"] = "both"
    """Who learns in the warm-up."""
    warmup_epochs: float = 1.0
    """Passes over the dataset in the warm-up."""
    warmup_learning_rate: float = 1e-4
    """The student's in the warm-up."""
    samples: int = 8
    """Replies that the student samples to each prompt."""
    temperature: float = 0.8
    """Of the samples."""
    max_new_tokens: int = 512
    """Tokens of a reply; the teacher's is cut there too. Prompts have what `max_length` leaves."""
    beta: float = 0.001
    """Weight of the KL divergence (k3) to the student as it was when the stage `gad` began."""
    rollouts: Literal["transformers", "vllm"] = "transformers"
    """What samples: the model in place, or vLLM on a GPU (`trl.vllm_mode` and so on)."""
    held_out: int = 32
    """Prompts kept out of training, on which checkpoints are compared; 0 holds out none, else at least 10."""
    evaluation: str = ""
    """Command that scores a checkpoint's answers, the higher the better: `{answers}` in it is their JSONL file, and it
    prints JSON with a `score`, as `advgen judge` does. Without one, the score is how likely a probe of the base takes
    them for the teacher's."""

    def __post_init__(self) -> None:
        _positive(
            "gad.", warmup_epochs=self.warmup_epochs, warmup_learning_rate=self.warmup_learning_rate,
            temperature=self.temperature, max_new_tokens=self.max_new_tokens,
        )  # fmt: skip
        if self.samples < 2:
            raise ConfigError(f"gad.samples is {self.samples}; a group needs 2 to compare")
        if self.beta < 0:
            raise ConfigError(f"gad.beta is {self.beta}, below 0")
        if self.held_out and self.held_out < 10:
            raise ConfigError(
                f"gad.held_out is {self.held_out}; fewer than 10 prompts tell nothing, 0 holds out none"
            )
        if self.evaluation and "{answers}" not in self.evaluation:
            raise ConfigError("gad.evaluation does not say where the {answers} go")
        if self.stages not in (("warmup",), ("gad",), ("warmup", "gad")):
            raise ConfigError('gad.stages is ["warmup"], ["gad"] or ["warmup", "gad"]')

    def check(self, run: RunConfig) -> None:
        """Refuse a discriminator that neither learns nor has learnt."""
        discriminator = run.discriminator
        if discriminator.frozen and not discriminator.init_from and self.stages == ("gad",):
            raise ConfigError(
                "discriminator.frozen without a warm-up needs discriminator.init_from, or it knows nothing"
            )


@dataclass(frozen=True, kw_only=True)
class Discriminator:
    model: str = ""
    """A base of its own (embedded name, Hub id or folder); empty shares the student's frozen one."""
    init_from: str = ""
    """`discriminator.safetensors` of an earlier run, whose training goes on; empty starts a new one."""
    learning_rate: float = 1e-5
    """Its own, constant."""
    warmup_steps: int = 10
    """First steps of the stage `warmup` in which only the discriminator learns, before the student does."""
    frozen: bool = False
    """In the stage `gad` it does not learn: the off-policy ablation."""
    loss: Literal["bradley_terry", "cross_entropy"] = "bradley_terry"
    """Pairs of teacher and sample, or each side on its own."""
    score_clamp: float = 0.0
    """Scores beyond +- this are cut before they become rewards; 0 cuts none."""
    score_l2: float = 0.0
    """Weight of the mean squared score in its loss."""
    length_debias: float = 0.0
    """A sample's reward is lowered by this times log(1 + its tokens)."""

    def __post_init__(self) -> None:
        _positive("discriminator.", learning_rate=self.learning_rate)
        for name in ("warmup_steps", "score_clamp", "score_l2", "length_debias"):
            if getattr(self, name) < 0:
                raise ConfigError(f"discriminator.{name} is {getattr(self, name)}, below 0")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    method: Method
    """`dpo` on preference pairs, then the margin pass; `sft` on completions; `gad` against a discriminator."""
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
    gad: Gad = field(default_factory=Gad)
    """Read when `method` is `gad`; two fields of it with `dpo.config = "gad"`."""
    discriminator: Discriminator = field(default_factory=Discriminator)
    """Read when `method` is `gad`."""
    report_to: Literal["none", "trackio", "wandb", "tensorboard"] = "none"
    """Also log to this tracker; `metrics.jsonl` is written in any case."""
    trl: dict[str, Any] = field(default_factory=dict)
    """Any further option of TRL's DPOConfig, SFTConfig or GRPOConfig, by its own name."""

    def __post_init__(self) -> None:
        _positive("", max_length=self.max_length)
        if self.reference == "previous" and not self.adapter:
            raise ConfigError('reference = "previous" needs `adapter`, the adapter of the round before')
        section: Section = getattr(self, self.method)
        section.check(self)
        if math.isnan(self.train.learning_rate):
            train = dataclasses.replace(self.train, learning_rate=section.default_rate)
            object.__setattr__(self, "train", train)


def dataset_config(values: Mapping[str, Any]) -> str:
    """The dataset config that a resolved run config trains on: that of the method's section, else the method's name."""
    method: str = values["method"]
    found: str = values.get(method, {}).get("config", method)
    return found


def load(path: Path | str, overrides: Iterable[str] = ()) -> RunConfig:
    """The config file with every default filled in. Raises ConfigError as `advcore.settings.load` does."""
    return settings.load(RunConfig, path, overrides)


def _positive(section: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{section}{name} is {value}, not above 0")
