"""The loop of adversarial distillation: build, train, hand back the margins, evaluate; each round from the one before.

Every step is a call of `api` in a process of its own, and its run folder is its state: a step that was cut off is taken
up again, one that is done is told at once. With `repo` the rounds meet over the Hub alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advcore import ConfigError, runs
from advcore.engine import names
from advcore.processes import apart
from advdistill import api
from advdistill.api import StrPath
from advdistill.errors import under_one_root
from advdistill.results import Build, Evaluation, Training
from advgen.config import BuildConfig
from advtrain.config import RunConfig


@dataclass(frozen=True)
class Round:
    """One round."""

    build: Build
    training: Training


@dataclass(frozen=True)
class Rounds:
    """All rounds of a loop."""

    path: Path
    rounds: tuple[Round, ...]
    before: Evaluation | None
    """The student before the first round, where it was evaluated."""
    after: Evaluation | None
    """The student after the last one."""


@under_one_root
def rounds(
    build: BuildConfig | StrPath | Sequence[BuildConfig | StrPath],
    train: RunConfig | StrPath,
    out: StrPath,
    *,
    count: int = 3,
    repo: str = "",
    seeds: str = "",
    tasks: StrPath = "",
    evaluate: int = 32,
) -> Rounds:
    """Run `count` rounds into the folder `out`: `round-N` and `train-N`.

    `build` is one config for all rounds, or one a round, the last of which goes on. `train.dataset` and `train.adapter`
    are the loop's to set; each training goes on with the adapter of the round before. The first round takes `seeds` or
    `tasks` as `build` does. With `repo` (user/name) each round is pushed, and the next one reads pool and margins from
    there. In the end `evaluate` HumanEval tasks are put to the student as it was before the first round (if it is on
    this machine) and as it is after the last; 0 leaves that out. Raises AdvdistillError.
    """
    if count < 1:
        raise ConfigError(f"count is {count}, under 1")
    builds = [build] if isinstance(build, BuildConfig | str) or not isinstance(build, Sequence) else build
    if not builds:
        raise ConfigError("build is an empty list; give one config for all rounds, or one a round")
    configs = [api.config_of(BuildConfig, each) for each in builds]
    loop = _Loop(configs, api.config_of(RunConfig, train), Path(out), repo, evaluate)
    done: list[Round] = []
    for number in range(count):
        first = {} if done else {"seeds": seeds, "tasks": api.str_of(tasks)}
        done.append(loop.round(number, done[-1] if done else None, **first))
    # last, since nobody waits for it: the student before the first round is still there
    before = loop.evaluated("before", loop.train.model) if loop.is_here(loop.train.model) else None
    after = loop.evaluated(f"after-{count}", str(done[-1].training.adapter))
    return Rounds(Path(out), tuple(done), before, after)


@dataclass(frozen=True)
class _Loop:
    """What every round needs to know."""

    builds: Sequence[BuildConfig]
    train: RunConfig
    out: Path
    repo: str
    tasks: int

    def round(self, number: int, before: Round | None, **first: str) -> Round:
        """One round; `before` is the one it grows from."""
        config = self.builds[min(number, len(self.builds) - 1)]
        parent: dict[str, Any] = first
        if before and self.repo:
            parent = {"parent": f"{self.repo}@round-{number - 1}-margins"}
        elif before:
            parent = {"parent": self.out / f"round-{number - 1}", "margins": self.out / f"train-{number - 1}"}
        built = apart(api.build, config, self.out / f"round-{number}", **parent)
        self._pushed(built.path)
        # paths as they were given: results have absolute ones, and a folder that is moved would be another run
        source = f"{self.repo}@round-{number}" if self.repo else str(self.out / f"round-{number}" / "dataset")
        adapter = str(self.out / f"train-{number - 1}" / "adapter") if before else self.train.adapter
        resolved = replace(self.train, dataset=source, adapter=adapter)
        trained = apart(api.train, resolved, self.out / f"train-{number}")
        self._pushed(trained.path)
        _reported(trained.path)
        return Round(built, trained)

    def evaluated(self, name: str, model: str) -> Evaluation | None:
        """The student's score, from its file where that is written."""
        file = self.out / f"eval-{name}-{self.tasks}.json"
        if not self.tasks:
            return None
        if found := runs.read_json(file, {}):
            return Evaluation(found["pass@1"], tuple(found["interval"]), found["tasks"], found)
        # transformers, so that the student before and its adapters run on the same engine
        scored = apart(api.evaluate, model, limit=self.tasks, backend="transformers")
        runs.write_json(file, scored.summary)
        return scored

    @staticmethod
    def is_here(model: str) -> bool:
        """Whether the engine of this machine has the model: it takes no Hub ids."""
        try:
            names.check_model(model)
        except ConfigError:
            return False
        return True

    def _pushed(self, run: Path) -> None:
        marker = run / "pushed.txt"
        if self.repo and not marker.exists():
            runs.write_atomic(marker, api.push(run, self.repo) + "\n")


def _reported(run: Path) -> None:
    from advtrain import report

    report.write(run)
