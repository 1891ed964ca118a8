"""The project's own tasks: statements whose answers are known, each a TOML file under `data/tasks/`, written by hand.

They are what a build is measured on where a benchmark would be a claim about seen data, and what tests, docs and the
quickstart can trust. Nothing here was generated from a template, and nothing comes from a benchmark.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError, literals, settings

_TEST = re.compile(r"(?P<call>.+?\))(?: == (?P<value>.+)| raises (?P<error>\w+))", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task. Programs are source text."""

    name: str
    """Also the name of the function."""
    statement: str
    """Signature and docstring, with what they need above them."""
    reference: str
    tests: tuple[dict[str, str], ...]
    """Entries of the `tests` column."""
    solutions: tuple[str, ...]
    """Right programs, each written from the statement alone."""
    wrong: tuple[str, ...]
    """Programs with a mistake that a student makes."""


SHIPPED = "shipped"


def read(folder: str = SHIPPED) -> list[Task]:
    """The tasks of a folder, or those that ship with the package, by name. Raises DataError, naming the file."""
    paths = sorted((settings.shipped("data/tasks") if folder == SHIPPED else Path(folder)).glob("*.toml"))
    if not paths:
        raise DataError(f"{folder} holds no task: a task is a TOML file")
    return [_read(path) for path in paths]


def _read(path: Path) -> Task:
    try:
        return _task(path.stem, tomllib.loads(path.read_text()))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is no task: {error}") from None


def _task(name: str, told: dict[str, Any]) -> Task:
    return Task(
        name=name,
        statement=told["statement"].strip("\n"),
        reference=told["reference"].strip("\n"),
        tests=tuple(map(_test, told["tests"])),
        solutions=tuple(code.strip("\n") for code in told.get("solutions", ())),
        wrong=tuple(code.strip("\n") for code in told.get("wrong", ())),
    )


def _test(line: str) -> dict[str, str]:
    """`f(1) == 2` or `f(-1) raises ValueError` as an entry."""
    found = _TEST.fullmatch(line.strip())
    if not found:
        raise ValueError(f"{line!r} is neither `call == value` nor `call raises Error`")
    literals.arguments(found["call"])
    if error := found["error"]:
        expected: literals.Outcome = literals.Raised(error)
    else:
        expected = literals.Returned(literals.text_of(literals.value_of(found["value"])))
    entry = {"call": found["call"], **expected.entry, "source": "given"}
    literals.outcome_of(entry)
    return entry
