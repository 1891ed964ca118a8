"""The project's own tasks: statements whose answers are known, each a TOML file under `data/tasks/`, written by hand.

They are what a build is measured on where a benchmark would be a claim about seen data, and what tests, docs and the
quickstart can trust. Nothing here was generated from a template, and nothing comes from a benchmark.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError, literals, settings

_RAISES = re.compile(r"(?P<call>.+\)) raises (?P<error>\w+)", re.DOTALL)


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
    except KeyError as error:
        raise DataError(f"{path} is no task: it lacks {error}") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is no task: {error}") from None


def _task(name: str, told: dict[str, Any]) -> Task:
    if unknown := told.keys() - {"statement", "reference", "tests", "solutions", "wrong"}:
        raise ValueError(f"unknown key {min(unknown)}")
    statement, reference = (_text(key, told[key]) for key in ("statement", "reference"))
    functions = [node.name for node in ast.parse(statement).body if isinstance(node, ast.FunctionDef)]
    if name not in functions:
        raise ValueError(f"its statement has no function {name}, by which the file is called")
    tests = tuple(_test(line, name) for line in _texts("tests", told["tests"]))
    if len({test["call"] for test in tests}) < len(tests):
        raise ValueError("two tests have one call")
    return Task(
        name=name, statement=statement, reference=reference, tests=tests,
        solutions=_texts("solutions", told.get("solutions", [])), wrong=_texts("wrong", told.get("wrong", [])),
    )  # fmt: skip


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    return value.strip("\n")


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list of texts")
    return tuple(_text(key, each) for each in value)


def _test(line: str, name: str) -> dict[str, str]:
    """`f(1) == 2` or `f(-1) raises ValueError` as an entry."""
    line = line.strip()
    expected: literals.Outcome
    if raising := _RAISES.fullmatch(line):
        call, expected = ast.parse(raising["call"], mode="eval").body, literals.Raised(raising["error"])
    else:
        node = ast.parse(line, mode="eval").body
        if not isinstance(node, ast.Compare) or [type(each) for each in node.ops] != [ast.Eq]:
            raise ValueError(f"{line!r} is neither `call == value` nor `call raises Error`")
        call, value = node.left, literals.text_of(literals.value_of(node.comparators[0]))
        if not value:
            raise ValueError(f"{line!r} expects what no test can hold")
        expected = literals.Returned(value)
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name):
        raise ValueError(f"{line!r} is no test of {name}")
    source = str(ast.get_source_segment(line, call))
    literals.arguments(source)
    entry = {"call": source, **expected.entry, "source": "given"}
    literals.outcome_of(entry)
    return entry
