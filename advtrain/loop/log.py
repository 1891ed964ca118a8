"""A training from its last whole checkpoint to its end, with one progress line and `metrics.jsonl`.

Knows no loss and no dataset. Called by the methods.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import transformers
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from advcore import progress, runs
from advtrain import ranks
from advtrain.loop import checkpoints

NOTED = {"rewards/margins": "margin", "discriminator/accuracy": "told apart", "length/student": "length"}
"""What the progress line says beside the loss, where it is measured."""


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block datasets and transformers draw no progress bars of their own, of an instant each, nor tell each
    other of their future.
    """
    logging = transformers.utils.logging
    bars = [
        (logging.is_progress_bar_enabled(), logging.disable_progress_bar, logging.enable_progress_bar),
        # transformers takes the Hub's along
        (not are_progress_bars_disabled(), disable_progress_bars, enable_progress_bars),
        (
            not datasets.are_progress_bars_disabled(),
            datasets.disable_progress_bars,
            datasets.enable_progress_bars,
        ),
    ]
    for _, off, _ in bars:
        off()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for were_on, off, on in bars:
            (on if were_on else off)()


class RunLog(transformers.TrainerCallback):  # type: ignore[misc]
    """Writes every logged step to `metrics.jsonl` and moves one progress line on stderr."""

    def __init__(self, file: Path, label: str, stack: ExitStack) -> None:
        self.file, self.label, self.stack = file, label, stack
        self.progress: progress.Progress | None = None
        self.note = ""
        self.tokens, self.since = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        checkpoints.keep_until(self.file, state.global_step)
        self.progress = self.stack.enter_context(progress.progress(self.label, state.max_steps))
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
        with checkpoints.writing(self.file):
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


def fit(trainer: Any, folder: Path, label: str) -> dict[str, float]:
    """Train from the last whole checkpoint, or from the start; returns TRL's closing metrics."""
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, transformers.integrations.TensorBoardCallback):
            # Its own place is among the checkpoints, which do not stay.
            callback.logging_dir = callback.logging_dir or str(folder / "tensorboard")
    with ExitStack() as stack:
        trainer.add_callback(RunLog(folder / "metrics.jsonl", label, stack))
        checkpoint = ranks.broadcast(checkpoints.last_checkpoint(folder / "checkpoints"))
        output = trainer.train(resume_from_checkpoint=checkpoint)
    metrics: dict[str, float] = output.metrics
    return metrics
