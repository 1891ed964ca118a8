"""What the functions of the API return: where it lies, its rows as a `Dataset`, its figures as fields.

Every result of a run has the run folder as `path` and can itself be given wherever a path is taken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advcore import DataError, runs

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A finished run."""

    path: Path
    """The run folder."""
    summary: dict[str, Any] = field(repr=False, hash=False)
    """All figures, as the command prints them."""

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def cost(self) -> dict[str, Any]:
        """Seconds, tokens and dollars (`cost.json`). Raises DataError where the run has none, as a training."""
        found: dict[str, Any] = runs.read_json(self.path / "cost.json")
        return found


@dataclass(frozen=True)
class _Dataset(Run):
    """A run whose outcome is a dataset."""

    @property
    def dataset(self) -> Path:
        """The folder to train on, to load or to push."""
        return self.path / "dataset"

    def rows(self, config: str) -> Dataset:
        """The rows of one config. Raises DataError where there are none.

        A build has dpo, sft, kto, rl, gad, and raw with the reason of every exercise turned away; answers have gad, and
        raw with the outcome of every prompt.
        """
        return _rows(self.dataset, config)


@dataclass(frozen=True)
class Build(_Dataset):
    """A round of exercises."""

    asked: int
    """Exercises asked for."""
    kept: int
    """Exercises that passed every gate."""

    @property
    def pairs(self) -> Dataset:
        """The preference pairs, of all rounds up to this one."""
        return self.rows("dpo")


@dataclass(frozen=True)
class Answers(_Dataset):
    """The replies of one model to a prompt file."""

    answered: int
    failed: int
    """Prompts without a reply; their reasons are in `rows("raw")`."""
    cost_usd: float
    """Price of these replies, whenever they were paid."""

    @property
    def replies(self) -> Dataset:
        """One row a reply: the prompt's columns, and `teacher_response`."""
        return self.rows("gad")


@dataclass(frozen=True)
class Judgement(Run):
    """Scores of answers by a judge model."""

    score: float
    """In percent; 50 is as good as the reference."""
    interval: tuple[float, float]
    """95 % bootstrap interval of `score`, over prompts."""

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One an answer: marks in both orders, or why there are none."""
        return runs.read_jsonl(self.path / "verdicts.jsonl")


@dataclass(frozen=True)
class Training(Run):
    """A trained student."""

    @property
    def adapter(self) -> Path:
        """The LoRA adapter: a model wherever one is named, as `local/<path>` for `answer` and `build`."""
        return self.path / "adapter"

    @property
    def margins(self) -> Dataset:
        """One row a pair: `margin` and its parts. Raises DataError where the method makes none."""
        return _rows(self.path, "margins")


@dataclass(frozen=True)
class Evaluation:
    """pass@1 of a model on a benchmark."""

    pass_at_1: float
    interval: tuple[float, float]
    """95 % Wilson interval, over tasks."""
    tasks: int
    summary: dict[str, Any] = field(repr=False, hash=False)
    """All figures, with the outcome of every task."""


def _rows(folder: Path, config: str) -> Dataset:
    import pyarrow.parquet
    from datasets import Dataset

    files = sorted((folder / config).glob("*.parquet"))
    if not files:
        raise DataError(f"{folder} has no rows of the config {config}")
    # not `Dataset.from_parquet`, which copies all of it into a cache
    return Dataset(pyarrow.concat_tables(pyarrow.parquet.read_table(file) for file in files))
