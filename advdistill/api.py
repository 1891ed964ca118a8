"""The functions of the public API: each is a command, with Python values in and a result object out.

A config is a dataclass or the path of a TOML file. `build`, `answer`, `judge` and `evaluate` have asynchronous twins
(`abuild`, ...); all of them also work where an event loop runs already, such as a notebook. What a run has paid for is
kept: the same call again resumes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from advcore import ConfigError, DataError, engine, settings
from advcore.ask.config import ModelConfig
from advdistill import loops
from advdistill.errors import under_one_root
from advdistill.results import Answers, Build, Evaluation, Judgement, Training
from advgen.config import JUDGE, AnswerConfig, BuildConfig, JudgeConfig
from advtrain.config import RunConfig

if TYPE_CHECKING:
    from advgen.audit import AuditReport
    from advgen.verify.reverify import Summary

StrPath = str | os.PathLike[str]
Prompts = Iterable[str | list[dict[str, str]] | Mapping[str, Any]]
T = TypeVar("T")


@under_one_root
def build(
    config: BuildConfig | StrPath,
    out: StrPath,
    *,
    parent: StrPath | None = None,
    margins: StrPath | None = None,
    seeds: str = "",
    tasks: StrPath = "",
) -> Build:
    """Build one round of exercises and preference pairs into the run folder `out`.

    `parent` is the round before (a `Build`, a run folder or `user/name@revision`), `margins` the training that holds
    its margins. A first round may start from `seeds` (`FILE.py`, `FILE.jsonl:COLUMN`, `user/name:COLUMN`) or from
    `tasks` with tests (a folder, or `shipped`). Raises AdvdistillError, also when nothing was kept.
    """
    from advgen import pipeline, specs

    resolved = config_of(BuildConfig, config)
    before, given = specs.origin(str_of(parent), str_of(margins), seeds, str_of(tasks))
    funnel = loops.run(lambda: pipeline.build(resolved, Path(out), before, given))
    pipeline.check_kept(funnel, Path(out))
    return Build(Path(out).absolute(), funnel, funnel["asked"], funnel["kept"])


@under_one_root
def answer(
    prompts: StrPath | Prompts,
    model: str | ModelConfig,
    out: StrPath,
    *,
    n: int = 1,
    system: str = "",
    keep_empty: bool = False,
    budget_usd: float = 0.0,
) -> Answers:
    """Answer every prompt into the run folder `out`, `n` replies each.

    `prompts` is a prompt file, or rows: texts, lists of messages, or mappings as in such a file (a `Dataset` is that).
    Raises AdvdistillError, also when no prompt was answered.
    """
    from advgen import answer as answers

    config = AnswerConfig(
        teacher=_model(model), n=n, system=system, keep_empty=keep_empty, budget_usd=budget_usd
    )
    with _prompt_file(prompts) as file:
        found = loops.run(lambda: answers.answer(config, file, Path(out)))
    return Answers(Path(out).absolute(), found, found["answered"], found["failed"], found["cost_usd"])


@under_one_root
def judge(
    answers: StrPath,
    model: str | ModelConfig,
    out: StrPath,
    *,
    reference: StrPath | None = None,
    budget_usd: float = 0.0,
) -> Judgement:
    """Score `answers` against reference replies, in both orders, into the run folder `out`.

    `answers` and `reference` are an `Answers`, its folder, or a file of prompts with responses; without a `reference`
    the judge writes its own. A `model` by its name is asked greedily. Raises AdvdistillError.
    """
    from advgen import judge as judging

    asked = replace(JUDGE, model=model) if isinstance(model, str) else model
    config = JudgeConfig(judge=asked, budget_usd=budget_usd)
    other = None if reference is None else Path(reference)
    found = loops.run(lambda: judging.judge(config, Path(answers), Path(out), other))
    return Judgement(Path(out).absolute(), found, found["score"], tuple(found["interval"]))


@under_one_root
def audit(
    dataset: StrPath,
    *,
    benchmarks: Sequence[StrPath] = (),
    execute: bool = True,
    max_tokens: int = 1024,
    tokenizer: str = "",
) -> AuditReport:
    """Find what a trainer could learn from a preference set other than correctness.

    `dataset` is a `Build`, a folder, a JSONL or Parquet file, or `user/name@revision`; with `execute` both sides are
    run on the tests of their row. `report.publishable` is the verdict. Raises AdvdistillError.
    """
    from contextlib import ExitStack

    from advgen import audit as audits
    from advgen.config import GateConfig
    from advgen.verify import Verifier
    from advgen.verify.verifier import RERUN

    with ExitStack() as opened:  # without running anything no sandbox is needed
        verifier = opened.enter_context(Verifier(RERUN, GateConfig())) if execute else None
        return audits.audit(
            str_of(dataset), benchmarks=[Path(each) for each in benchmarks], max_tokens=max_tokens,
            tokenizer=tokenizer, reexecute=verifier.passes_row if verifier else None,
        )  # fmt: skip


@under_one_root
def verify(dataset: StrPath) -> Summary:
    """Run every row of a dataset again; `summary.lost` are the rows that do not do what they claim.

    `dataset` is a `Build`, a run or dataset folder, or `user/name@revision`. Raises AdvdistillError.
    """
    from advgen.verify import reverify
    from advgen.verify.verifier import RERUN

    return reverify.reverify(str_of(dataset), RERUN)


@under_one_root
def train(config: RunConfig | StrPath, out: StrPath) -> Training:
    """Train a student into the run folder `out`, and score its margins where the method has them (dpo).

    Raises AdvdistillError.
    """
    from advtrain import run

    manifest = run.run(config_of(RunConfig, config), Path(out))
    return Training(Path(out).absolute(), manifest)


@under_one_root
def evaluate(
    model: StrPath | Training,
    bench: str = "humaneval",
    *,
    limit: int = 0,
    samples: int = 1,
    temperature: float = 0.0,
    max_tokens: int = 512,
    backend: engine.Backend = "auto",
) -> Evaluation:
    """Score a model (a `Training`, an embedded name, a model or adapter folder) on `limit` tasks of a benchmark.

    0 takes all tasks, else evenly spaced ones. Raises AdvdistillError.
    """
    from advtrain import evaluate as evaluation

    name = str_of(model.adapter if isinstance(model, Training) else model)
    found = loops.run(
        lambda: evaluation.evaluate(name, bench, limit, samples, temperature, max_tokens, backend)
    )
    return Evaluation(found["pass@1"], tuple(found["interval"]), found["tasks"], found)


@under_one_root
def push(run: StrPath, repo: str, *, private: bool = True, anyway: bool = False) -> str:
    """Upload a `Build` with its card to the Hub, or the margins of a `Training` beside it; the URL of the commit.

    Of a `Build` alone: `private` is what a new repository is made as, `anyway` also pushes what the audit calls not fit
    to be published. Raises AdvdistillError.
    """
    if (Path(run) / "manifest.json").is_file():
        from advtrain import publish as student_side

        if anyway:
            raise ConfigError(f"{run} holds a training: anyway is for a build")
        return student_side.push_margins(Path(run), repo)
    from advgen import publish

    return publish.push(Path(run), repo, private=private, anyway=anyway)


abuild = loops.twin(build)
aanswer = loops.twin(answer)
ajudge = loops.twin(judge)
aevaluate = loops.twin(evaluate)


def str_of(path: StrPath | None) -> str:
    """A path, a result or a Hub id, as text; '' for None."""
    return "" if path is None else os.fspath(path)


def config_of(cls: type[T], config: T | StrPath) -> T:
    """The config itself, or that of a TOML file. Raises ConfigError."""
    if isinstance(config, cls):
        return config
    if isinstance(config, str | os.PathLike):
        return settings.load(cls, Path(config))
    raise ConfigError(f"the config is a {type(config).__name__}; give a {cls.__name__} or a TOML file's path")


def _model(model: str | ModelConfig) -> ModelConfig:
    return ModelConfig(model=model) if isinstance(model, str) else model


@contextmanager
def _prompt_file(prompts: StrPath | Prompts) -> Iterator[Path]:
    """The file itself, or one with the rows for as long as they are asked; a run knows prompts by their content."""
    if isinstance(prompts, str | os.PathLike):
        if not Path(prompts).exists():
            raise ConfigError(f"prompt file {prompts} does not exist; one prompt by itself goes in a list")
        yield Path(prompts)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.jsonl"
        with open(file, "w", encoding="utf-8") as opened:
            for number, prompt in enumerate(prompts):
                row = dict(prompt) if isinstance(prompt, Mapping) else {"prompt": prompt}
                try:
                    opened.write(json.dumps(row, default=_text) + "\n")
                except (TypeError, ValueError) as error:
                    raise DataError(
                        f"row {number} of the prompts cannot be written as JSON: {error}"
                    ) from None
        yield file


def _text(value: Any) -> str:
    """Dates and the like as their text, as of a Parquet file."""
    if isinstance(value, date | time | Decimal | UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__}")
