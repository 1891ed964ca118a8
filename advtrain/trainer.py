"""What `sft`, `dpo` and `gad` share around a TRL trainer: its options, one progress line, metrics.jsonl, resuming.

Knows no loss and no dataset. The options that TRL gets are our config's, this machine's and `[trl]`'s, in
that order.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate.data_loader import SeedableRandomSampler
from safetensors import SafetensorError

from advcore import ConfigError, runs
from advcore.settings import nearest
from advtrain import CheckpointError, models, ranks
from advtrain.config import RunConfig

datasets.disable_progress_bars()  # TRL's, of an instant each

# One of these is all that torch.save says of a full disk; which, depends on its version and on where in the file.
_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "iostream error", "unexpected pos")
NOTED = {"rewards/margins": "margin", "discriminator/accuracy": "told apart", "length/student": "length"}
"""What the progress line says beside the loss, where it is measured."""
WHOLE = "whole.json"  # the last file of a checkpoint
# TRL options that have a key of their own here; two places for one number would disagree sooner or later.
OWN_KEY = {
    "output_dir": "--out",
    "seed": "seed",
    "max_length": "max_length",
    "learning_rate": "train.learning_rate",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "warmup_steps": "train.warmup_ratio",
    "save_steps": "train.checkpoint_steps",
    "report_to": "report_to",
}
# Those of GRPOConfig, where the names differ.
GAD_KEY = {
    "num_generations": "gad.samples", "max_completion_length": "gad.max_new_tokens", "use_vllm": "gad.rollouts",
    "steps_per_generation": "train.gradient_accumulation",
    "generation_batch_size": "train.batch_size",
}  # fmt: skip
# TRL options about text and loading, which are done here before TRL sees the rows: they would be ignored.
DONE_HERE = {
    "truncation_mode", "chat_template_path", "dataset_text_field", "assistant_only_loss",
    "completion_only_loss", "eos_token", "model_init_kwargs", "dataset_kwargs", "skip_prepare_dataset",
}  # fmt: skip

# TRL options that put another reference in the place of the one that `reference` names, or move it.
REFERENCE_HERE = {"precompute_ref_log_probs", "sync_ref_model"}


def options(config: RunConfig, folder: Path, cls: Any, **method: Any) -> Any:
    """A `cls` (DPOConfig, SFTConfig or GRPOConfig) for this run; `method` holds what only that method has.

    Raises ConfigError for a `[trl]` key that TRL does not know, that has its own key here, or that TRL
    refuses.
    """
    if config.report_to != "none" and importlib.util.find_spec(config.report_to) is None:
        raise ConfigError(f"report_to = {config.report_to} needs its package: pip install {config.report_to}")
    ours = _from_config(config, folder) | _from_machine() | method
    known = {field.name for field in dataclasses.fields(cls) if field.init}
    for key in config.trl:
        if key not in known:
            raise ConfigError(f"unknown key trl.{key}{nearest(key, known)}")
        if key in OWN_KEY or key in method:
            own = {field.name for field in dataclasses.fields(getattr(config, config.method))}
            named = {name: f"{config.method}.{name}" for name in own} | OWN_KEY | GAD_KEY
            raise ConfigError(f"trl.{key} is set by {named.get(key, f'method = {config.method}')}")
        if key in DONE_HERE:
            raise ConfigError(f"trl.{key} would do nothing: advtrain loads the model and tokenises by itself")
        if key == "save_only_model":
            raise ConfigError("trl.save_only_model would leave checkpoints that no run can go on at")
        if key in REFERENCE_HERE:
            raise ConfigError(f"trl.{key} would change the reference, which `reference` alone decides")
    try:
        return cls(**(ours | config.trl))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"TRL refuses these options: {str(error).strip().splitlines()[0]}") from None


def _from_config(config: RunConfig, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "checkpoints"),
        "seed": config.seed,
        "learning_rate": config.train.learning_rate,
        "num_train_epochs": config.train.epochs,
        "per_device_train_batch_size": config.train.batch_size,
        "gradient_accumulation_steps": config.train.gradient_accumulation,
        "warmup_steps": config.train.warmup_ratio,
        "save_steps": config.train.checkpoint_steps,
        "save_total_limit": 2,  # one may be half-written when the run is killed
        "logging_steps": 1,
        "report_to": config.report_to,
        "disable_tqdm": True,
    }


def _from_machine() -> dict[str, Any]:
    """GPU: bf16 autocast and gradient checkpointing. CPU: neither, the weights' own dtype computes."""
    gpu = models.on_gpu()
    return {
        "use_cpu": not gpu,
        "bf16": gpu,
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
    }


class EpochSeeded(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """An order that depends on the seed and on the trainer's epoch alone, and so not on where a run was resumed.

    accelerate tells its samplers the epoch through two wrappers; several processes that resume have three.
    """

    def __init__(self, drawn: Any, seed: int, trainer: Any) -> None:
        self.drawn, self.seed, self.trainer = drawn, seed, trainer

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[int]:
        self.drawn.generator.manual_seed(self.seed + int(self.trainer.state.epoch or 0))
        yield from self.drawn


class StepSorted(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """Rows as they were drawn, those of one optimizer step by length: like lengths share a forward pass.

    A step's rows stay the step's, so that its gradient is the same sum. The last rows of an epoch, when they do not
    fill a batch, stay by themselves: their batch weighs as much as a full one.
    """

    def __init__(self, drawn: EpochSeeded, lengths: Sequence[int], batch: int, step: int) -> None:
        self.drawn, self.lengths, self.batch, self.step = drawn, lengths, batch, step

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[int]:
        order = list(self.drawn)
        for start in range(0, len(order), self.step):
            rows = order[start : start + self.step]
            whole = len(rows) // self.batch * self.batch
            yield from sorted(rows[:whole], key=self.lengths.__getitem__, reverse=True)
            yield from rows[whole:]


def epoch_seeded(trainer: Any, drawn: Any) -> Any:
    """TRL's plain random order by epochs; `drawn` as it is when it is none."""
    if type(drawn) is not torch.utils.data.RandomSampler:
        return drawn
    rows = trainer.train_dataset
    # As accelerate seeds the sampler that it would put in the place of a random one.
    plan = SeedableRandomSampler(rows, generator=drawn.generator, data_seed=trainer.args.data_seed)
    plain = torch.utils.data.RandomSampler(rows, generator=torch.Generator())
    return EpochSeeded(plain, plan.initial_seed, trainer)


def step_sorted(trainer: Any, drawn: Any) -> Any:
    """`epoch_seeded` with the rows of each step sorted, by the length of all their lists of ids together."""
    rows, args, drawn = trainer.train_dataset, trainer.args, epoch_seeded(trainer, drawn)
    if not isinstance(drawn, EpochSeeded):
        return drawn
    ids = [name for name in rows.column_names if name.endswith("_ids")]
    lengths = [sum(map(len, row)) for row in zip(*(rows[name] for name in ids), strict=True)]
    step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return StepSorted(drawn, lengths, args.train_batch_size, step)


class WholeCheckpoints:
    """Of both trainers: a checkpoint counts when its last file, which lists the others with their sizes, is there.

    A killed run can leave any of them behind, or a part of one; so can a full disk.
    """

    def create_model_card(self, *_args: Any, **_options: Any) -> None:
        """None: TRL's has no metrics and no lineage."""

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            if ranks.is_main():  # one that a damaged checkpoint has left here would vouch for this one
                (folder / WHOLE).unlink(missing_ok=True)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            ranks.wait()
            if ranks.is_main():
                runs.write_json(folder / WHOLE, _sizes(folder))


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file, those of a sharded state in folders of their own too."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise CheckpointError for what torch, safetensors and the system raise where `path` cannot be written."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(sign in reason for sign in _TORCH_CANNOT_WRITE):
            raise
        free = shutil.disk_usage(path.parent).free / 1e6
        raise CheckpointError(
            f"{path.name} cannot be written ({reason}; {free:.0f} MB free); make room and run again, the run goes "
            f"on at its last checkpoint"
        ) from None


class RunLog(transformers.TrainerCallback):  # type: ignore[misc]
    """Writes every logged step to `metrics.jsonl` and moves one progress line on stderr."""

    def __init__(self, file: Path, label: str, stack: ExitStack) -> None:
        self.file, self.label, self.stack = file, label, stack
        self.progress: runs.Progress | None = None
        self.note = ""
        self.tokens, self.since = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        keep_until(self.file, state.global_step)
        self.progress = self.stack.enter_context(runs.progress(self.label, state.max_steps))
        self.progress.advance(state.global_step)
        self.since = time.monotonic()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if not (state.is_world_process_zero and logs):
            return
        if "loss" in logs:
            logs = {**logs, "tokens_per_s": self._rate(logs.get("num_tokens", 0.0))}
            told = "".join(f", {word} {logs[name]:+.3f}" for name, word in NOTED.items() if name in logs)
            self.note = f"loss {logs['loss']:.4f}{told}, {logs['tokens_per_s']:.0f} tokens/s"
        with writing(self.file):
            runs.append_json(self.file, {"step": state.global_step, **logs})

    def _rate(self, tokens: float) -> float:
        """Tokens a second since the last call; `tokens` are TRL's, of this process's life, each prompt as often as
        TRL encodes it."""
        now = time.monotonic()
        rate = (tokens - self.tokens) / (now - self.since)
        self.tokens, self.since = tokens, now
        return round(rate, 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress:
            self.progress.advance(1, lambda: self.note)


def keep_until(file: Path, step: int) -> None:
    """Drop the lines of steps that a resumed run is about to take again, and one that a full disk cut short."""
    if file.exists():
        lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        runs.write_atomic(file, "".join(line for line in lines if json.loads(line)["step"] <= step))


def fit(trainer: Any, folder: Path, label: str) -> dict[str, float]:
    """Train from the last whole checkpoint, or from the start; returns TRL's closing metrics."""
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, transformers.integrations.TensorBoardCallback):
            # Its own place is among the checkpoints, which do not stay.
            callback.logging_dir = callback.logging_dir or str(folder / "tensorboard")
    with ExitStack() as stack:
        trainer.add_callback(RunLog(folder / "metrics.jsonl", label, stack))
        checkpoint = ranks.agreed(last_checkpoint(folder / "checkpoints"))
        output = trainer.train(resume_from_checkpoint=checkpoint)
    metrics: dict[str, float] = output.metrics
    return metrics


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that is whole. One that is not is named on stderr; it is written anew in its turn."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda each: -int(each.name.removeprefix("checkpoint-")))
    for checkpoint in found:
        if _is_whole(checkpoint):
            return str(checkpoint)
        ranks.say(f"warning: {checkpoint.name} is not whole and is passed over")
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / WHOLE).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
