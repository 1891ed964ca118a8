"""Answers to a prompt file as a dataset: `advgen answer` writes it, `advgen judge` reads it.

`dataset/gad` holds the replies with the prompt file's own columns, `dataset/raw` what became of every row. Knows
nothing of who answers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advcore import contract, promptfile
from advcore.chat import Message
from advcore.promptfile import Row

RESPONSES = (
    "teacher_response",
    "response",
    "completion",
    "output",
)  # where a file that is not ours has its reply


@dataclass(slots=True)
class Columns:
    """The prompt file's own columns and their types, in the words of `contract.COLUMNS`; '' is not known yet."""

    kinds: dict[str, str] = field(default_factory=dict)

    def see(self, columns: dict[str, Any]) -> None:
        """Learn from one row."""
        for name, value in columns.items():
            if value is None:
                self.kinds.setdefault(name, "")
                continue
            kind = {str: "string", bool: "bool", int: "int", float: "float"}.get(type(value), "json")
            if kind == "int" and not -(2**63) <= value < 2**63:
                kind = "json"
            self.kinds[name] = kind if self.kinds.get(name) in (None, "", kind) else "json"

    def written(self) -> dict[str, str]:
        """The column each is written as, to its own name: it steps aside where a column of ours has the name."""
        ours = {column for columns in contract.ANSWERS.values() for column in columns}
        found: dict[str, str] = {}
        for name in self.kinds:
            column = name
            while column in ours | found.keys() or (column != name and column in self.kinds):
                column = f"input_{column}"
            found[column] = name
        return found


class Writer:
    """The `gad` and `raw` files of one run; both appear whole at the end of the block, or not at all."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._names = columns.written()
        self._kinds = {column: columns.kinds[name] or "string" for column, name in self._names.items()}
        self._gad, self._raw = (
            contract.RoundWriter(folder, config, 0, {**contract.ANSWERS[config], **self._kinds})
            for config in ("gad", "raw")
        )
        self.answered = self.failed = 0

    def __enter__(self) -> Writer:
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._gad)
            opened.enter_context(self._raw)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def reply(self, row: Row, sample: int, text: str, **values: Any) -> None:
        """A row's answer; `values` are the other columns of `contract.ANSWERS`."""
        self.answered += 1
        own = self._outcome(row, sample, "answered", "")
        self._gad.add({"prompt": row.messages, "teacher_response": text, **values, **own})

    def failure(self, row: Row, sample: int, reason: str) -> None:
        """Why a row has no answer."""
        self.failed += 1
        self._outcome(row, sample, "failed", reason)

    def _outcome(self, row: Row, sample: int, status: str, reason: str) -> dict[str, Any]:
        own = {
            column: _plain(row.columns.get(name), self._kinds[column]) for column, name in self._names.items()
        }
        common = {"sample": sample, "schema_version": contract.SCHEMA_VERSION, **own}
        self._raw.add({"line": row.number, "status": status, "reason": reason, **common})
        return common


def _plain(value: Any, kind: str) -> Any:
    """JSON for what has no type of its own; dates and the like of a Parquet file as their text."""
    return json.dumps(value, default=str) if kind == "json" and value is not None else value


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """One reply of whoever answered. `number` is its row in the file read, `sample` which of several to one prompt."""

    number: int
    sample: int
    messages: list[Message]
    text: str
    model: str
    """Who wrote it, '' where the file does not say."""
    tokens: int
    """Of the reply, 0 where the file does not say."""
    problem: str = ""
    """Why the row is no answer."""


def read(path: Path) -> Iterator[AnswerRow]:
    """The answers of a run folder or dataset folder, or of a file with prompts and a response column.

    Rows without an answer come too, with their problem. Raises DataError.
    """
    if folder := _dataset(path, "gad"):
        rows = enumerate(contract.rows(folder, "gad"))
        yield from (_answer(promptfile.parsed(number, row)) for number, row in rows)
    else:
        yield from map(_answer, promptfile.rows(path))


def unanswered(path: Path) -> int:
    """How many rows of the prompt file a run left without an answer; 0 where that is not recorded."""
    folder = _dataset(path, "raw")
    files = sorted((folder / "raw").glob("*.parquet")) if folder else []
    return sum(row.get("status") == "failed" for file in files for row in contract.file_rows(file))


def _dataset(path: Path, config: str) -> Path | None:
    return next((each for each in (path / "dataset", path) if (each / config).is_dir()), None)


def _answer(row: Row) -> AnswerRow:
    given = next((row.columns[name] for name in RESPONSES if row.columns.get(name) is not None), None)
    if isinstance(given, list) and not contract.message_problem(given):
        given = given[-1]["content"]
    lacks = "" if isinstance(given, str) else f"no text in any of {', '.join(RESPONSES)}"
    return AnswerRow(
        number=row.number, sample=_whole(row.columns.get("sample")), messages=row.messages,
        text=given if isinstance(given, str) else "", model=str(row.columns.get("teacher") or ""),
        tokens=_whole(row.columns.get("completion_tokens")), problem=row.problem or lacks,
    )  # fmt: skip


def _whole(value: Any) -> int:
    return value if type(value) is int else 0
