"""What a round asks for: topics in turn in round 0, evolved parents afterwards. Reads datasets, asks no model."""

from __future__ import annotations

import ast
import hashlib
import itertools
import sys
import textwrap
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from advcore import ConfigError, DataError, contract, hub, tasks
from advcore.runs import sha256_of
from advcore.settings import shipped
from advcore.tasks import Task
from advgen import curate, curriculum, parse, rounds
from advgen.config import BuildConfig
from advgen.curriculum import RoundStats
from advgen.verify import Stored

MOST_SUBTOPICS = 24  # of a topic; what a teacher lists beyond them repeats itself
_LONGEST_SOURCE = 4_000  # characters of a user's text that the teacher is shown
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExerciseSpec:
    """One exercise to be asked for: where it comes from."""

    index: int
    round: int
    strategy: str
    topic: str
    subtopic: str
    turn: int = 0
    """Which of the topic's subtopics it takes, until `subtopic` is known."""
    source: str = ""
    """Text or a function that the exercise is to be made from."""
    task: Task | None = None
    """A whole exercise: its statement is not written, and its tests are the truth."""
    parent_id: str = ""
    parent_stub: str = ""
    parent_failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user brings to a first round: of its `exercises.count` tasks are the first, the rest is written."""

    texts: str = ""
    """What statements are made from, in place of topics: `FILE.jsonl:COLUMN`, `FILE.py` (each of its functions), or
    `user/name@revision:COLUMN` on the Hub (its first split)."""
    tasks: str = ""
    """Folder of tasks with tests, or `shipped`: those of the package."""

    def __bool__(self) -> bool:
        return bool(self.texts or self.tasks)

    def read_tasks(self) -> list[Task]:
        """Raises DataError."""
        return tasks.read(self.tasks) if self.tasks else []

    @property
    def identity(self) -> str:
        """What it stands for: other texts in the file are another run. Raises DataError."""
        argument = self.texts
        file = Path(argument if argument.endswith(".py") else argument.rpartition(":")[0])
        texts = argument + hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else argument
        return texts + (sha256_of([asdict(task) for task in self.read_tasks()]) if self.tasks else "")


NOTHING = Given()


@dataclass(frozen=True, slots=True)
class Parent:
    """The round before: its dataset, the kept exercises of all rounds so far, and their margins."""

    folder: Path
    round: int
    pool: list[dict[str, Any]]
    margins: list[dict[str, Any]]
    """Rows of the `margins` config that were scored."""
    history: list[RoundStats]
    """Of all rounds so far, oldest first."""


def origin(parent: str, margins: str, texts: str, tasks: str) -> tuple[Parent | None, Given]:
    """What a round begins with: the round before, or what the user brings to a first one.

    Raises ConfigError for what does not go together, and as `open_parent` does.
    """
    given = Given(texts=texts, tasks=tasks)
    if margins and not parent:
        raise ConfigError("--margins belong to a --parent round")
    if given and parent:
        raise ConfigError(
            "--seeds and --tasks are for a first round; a --parent round grows from its exercises"
        )
    return (open_parent(parent, margins) if parent else None), given


def open_parent(argument: str, margins: str) -> Parent:
    """A run folder, a dataset folder or `user/name@revision`; `margins` is a folder that holds that config, or ''.

    Raises DataError: nothing there, or no kept exercise to grow from.
    """
    folder = hub.dataset(argument)
    last, pool = -1, []
    for row in contract.rows(folder, "raw"):
        last = max(last, row["round"])
        if row["status"] == "kept":
            pool.append(row)
    if not pool:
        raise DataError(f"{argument} has no kept exercise to grow a round from")
    source = hub.resolve(margins) if margins else folder
    found = contract.read(source, "margins") if margins or (source / "margins").is_dir() else []
    scored = [row for row in found if not row["dropped"] and row["margin"] is not None]
    try:
        history = [RoundStats(**each["stats"]) for each in rounds.read(folder)]
    except (TypeError, LookupError):
        raise DataError(f"{folder}/rounds.json is not of this release; build the round again") from None
    return Parent(folder, last, pool, scored, history)


def topics(config: BuildConfig) -> tuple[str, ...]:
    """Those of the config, else the shipped tree's, and the config's further ones."""
    asked = config.exercises
    tree = tomllib.loads(shipped("data/topics.toml").read_text(encoding="utf-8"))
    return (asked.topics or tuple(itertools.chain.from_iterable(tree.values()))) + asked.more_topics


def subtopics_wanted(config: BuildConfig) -> int:
    """How many subtopics of each topic the teacher is asked for."""
    asked = config.exercises
    turns = -(-asked.count // (asked.per_topic * len(topics(config))))
    return min(turns * asked.per_topic, MOST_SUBTOPICS)


def first_specs(config: BuildConfig, given: Given) -> Iterator[ExerciseSpec]:
    """Specs of round 0: the given tasks, then statements from texts or from topics.

    Raises ConfigError, DataError.
    """
    brought = [
        ExerciseSpec(index=at, round=0, strategy="seed", topic="given", subtopic=task.name, task=task)
        for at, task in enumerate(_easiest_first(given.read_tasks())[: config.exercises.count])
    ]
    left = config.exercises.count - len(brought)
    written = _text_specs(given.texts, left) if given.texts else _topic_specs(config, left)
    return itertools.chain(brought, (replace(spec, index=spec.index + len(brought)) for spec in written))


def _easiest_first(given: list[Task]) -> list[Task]:
    """By the length of their solutions, the one thing about them that is known and grows with what they ask."""
    return sorted(given, key=lambda task: (len(task.reference), task.name))


def _topic_specs(config: BuildConfig, count: int) -> Iterator[ExerciseSpec]:
    """`per_topic` of each topic in turn, and round again; subtopics come when they are needed."""
    asked, tree = config.exercises, topics(config)
    for at in range(count):
        turn, place = divmod(at // asked.per_topic, len(tree))
        number = turn * asked.per_topic + at % asked.per_topic
        yield ExerciseSpec(index=at, round=0, strategy="seed", topic=tree[place], subtopic="", turn=number)


def _text_specs(argument: str, count: int) -> Iterator[ExerciseSpec]:
    odd = Counter[str]()
    texts = itertools.islice(_texts(argument, odd), count)
    for at, text in enumerate(texts):
        yield ExerciseSpec(
            index=at, round=0, strategy="seed", topic="given", subtopic="", source=text[:_LONGEST_SOURCE]
        )
    if odd:
        print(f"--seeds {argument}: {odd.total()} rows without text left out", file=sys.stderr)


def _texts(argument: str, odd: Counter[str]) -> Iterator[str]:
    """The texts of a `--seeds` argument; `odd` counts the rows that hold none."""
    if argument.endswith(".py"):
        yield from _functions(Path(argument))
        return
    source, _, column = argument.rpartition(":")
    if not source:
        raise ConfigError(
            f"--seeds {argument} names no column; give FILE.py, FILE.jsonl:COLUMN or user/name:COLUMN"
        )
    found = False
    for row in _rows(source):
        if not isinstance(text := row.get(column), str) or not text.strip():
            odd[", ".join(row)] += 1
            continue
        found = True
        yield text
    if not found and odd:
        raise DataError(f"{source} has no row with text in {column} (found: {next(iter(odd))})")


def _rows(source: str) -> Iterator[dict[str, Any]]:
    files = [Path(source)] if Path(source).is_file() else contract.data_files(hub.resolve(source))
    return itertools.chain.from_iterable(map(contract.file_rows, files))


def _functions(file: Path) -> Iterator[str]:
    """Each top-level function of a Python file, with what it needs of the rest; where there is none, the methods of its
    classes whose names do not begin with an underscore.
    """
    try:
        with tokenize.open(file) as opened:  # as Python reads it: byte order mark, declared encoding
            text = opened.read()
        module = parse.tree(text, most_chars=len(text))
    except (OSError, UnicodeDecodeError, SyntaxError, parse.ParseError) as error:
        raise ConfigError(f"--seeds {file} cannot be read as Python: {error}") from None
    found = [node for node in module.body if isinstance(node, _FUNCTIONS)]
    yield from (parse.standalone(text, node, module) for node in found)
    if not found:
        yield from _methods(file, text, module)


def _methods(file: Path, text: str, module: ast.Module) -> Iterator[str]:
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    inside = [node for each in classes for node in each.body if isinstance(node, _FUNCTIONS)]
    found = [node for node in inside if not node.name.startswith("_")]
    if not found:
        raise ConfigError(f"--seeds {file} has no function, nor a class with methods")
    lines = text.split("\n")
    yield from (textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) for node in found)


def adversarial_specs(config: BuildConfig, parent: Parent) -> tuple[list[ExerciseSpec], dict[str, Any]]:
    """Specs of a later round, parents drawn by the curriculum and handed to the strategies in turn; and the draw in
    numbers.
    """
    number = parent.round + 1
    trust = curate.trusted(config.curation)
    told = {row["exercise_id"]: Stored(row).testimony for row in parent.pool if row["testimony"] != "{}"}
    picks, stats = curriculum.plan(
        parent.pool, parent.margins, config.curriculum, config.exercises.count, seed=config.seed + number,
        p_true={name: trust.of_chosen(each) for name, each in told.items()},
    )  # fmt: skip
    rows = {row["exercise_id"]: row for row in parent.pool}
    return [_child(rows[name], at, number, strategy) for at, (name, strategy) in enumerate(picks)], asdict(
        stats
    )


def _child(parent: dict[str, Any], index: int, round_number: int, strategy: str) -> ExerciseSpec:
    topic = {"topic": parent["topic"], "subtopic": parent["subtopic"]}
    if strategy == "seed":  # a refresher: a plain new exercise beside the parent
        return ExerciseSpec(index=index, round=round_number, strategy=strategy, **topic)
    failing = [each for each in Stored(parent).attempts if each.detail]
    return ExerciseSpec(
        index=index, round=round_number, strategy=strategy, parent_id=parent["exercise_id"],
        parent_stub=parent["stub"], parent_failure=failing[0].detail if failing else "", **topic,
    )  # fmt: skip
