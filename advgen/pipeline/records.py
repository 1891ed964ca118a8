"""What became of each exercise, as a row of the `raw` config, and the file that keeps the rows of a run.

A finished exercise is on disk at once, so that a run that goes on neither asks nor verifies it again, and so that
memory does not grow with a round. The file is a cache: what it lost, the journal's replies give again.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from advcore.ask import Answer
from advcore.contract import SCHEMA_VERSION
from advcore.runs import cut_torn, whole_lines
from advgen.parse import Statement
from advgen.specs import ExerciseSpec
from advgen.verify import Attempt, Solution, Testimony, Verification

WITNESS = "witness"  # the purpose of requests to witnesses
INFRASTRUCTURE = ("no_reply", "sandbox_error")
"""Statuses that say nothing about the exercise: tried again when the run goes on."""


@dataclass(slots=True, kw_only=True)
class Record:
    """All that became of one spec so far."""

    spec: ExerciseSpec
    exercise_id: str
    status: str = ""
    """`kept` or the gate that turned it away."""
    reason: str = ""
    statement: Statement | None = None
    prompt: list[dict[str, str]] = field(default_factory=list)
    """What teacher and student were asked to solve."""
    solutions: list[str] = field(default_factory=list)
    verification: Verification | None = None
    response: str = ""
    """The teacher's reply that held the first right solution, as it came."""
    attempts: list[Attempt] = field(default_factory=list)
    testimony: Testimony | None = None
    """What solutions and attempts say of the suite."""
    repairs: list[str] = field(default_factory=list)
    """Teacher's repair of each failing attempt that it was asked to repair, by index; '' where it does not pass."""
    check: dict[str, Any] = field(default_factory=dict)
    """What tells whether the strategy did what it declares (`curriculum`)."""
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    """Purpose and reply of every request."""

    @property
    def usage(self) -> dict[str, Any]:
        """Requests and completion tokens by purpose, and dollars."""
        totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for purpose, answer in self.answers:
            totals[purpose][0] += 1
            totals[purpose][1] += answer.completion_tokens
        return {**totals, "usd": round(sum(answer.cost_usd for _, answer in self.answers), 8)}

    def row(self, origin: dict[str, Any]) -> dict[str, Any]:
        """The row of the `raw` config. `origin`: teacher, student, sandbox, and what `provenance` starts from."""
        spec, verification = self.spec, self.verification
        provenance = {**origin["provenance"], "requests": [answer.key for _, answer in self.answers]}
        passed = [attempt.passed for attempt in self.attempts]
        return {
            "exercise_id": self.exercise_id, "parent_id": spec.parent_id, "round": spec.round,
            "strategy": spec.strategy, "topic": spec.topic, "subtopic": spec.subtopic,
            "entry_point": self.statement.entry_point if self.statement else "",
            "tests": json.dumps(list(verification.tests) if verification else []),
            "stub": self.statement.stub if self.statement else "", "status": self.status, "reason": self.reason,
            "prompt": self.prompt, "response": self.response,
            "solutions": json.dumps([asdict(each) for each in _solutions(self.solutions, verification)]),
            "attempts": json.dumps([asdict(attempt) for attempt in self.attempts]),
            "testimony": json.dumps(asdict(self.testimony) if self.testimony else {}),
            "mended": json.dumps(self.repairs),
            "teacher_pass_rate": verification.teacher_pass_rate if verification else 0.0,
            "student_pass_rate": sum(passed) / len(passed) if passed else 0.0, "n_attempts": len(passed),
            "kill_rate": verification.kill_rate if verification else 0.0,
            "coverage": verification.coverage if verification else 0.0,
            "check": json.dumps(self.check), "usage": json.dumps(self.usage),
            "teacher": origin["teacher"], "student": origin["student"], "sandbox": origin["sandbox"],
            "provenance": json.dumps(provenance), "schema_version": SCHEMA_VERSION,
        }  # fmt: skip


def _solutions(codes: Sequence[str], verification: Verification | None) -> list[Solution]:
    """The reference first."""
    right = verification.right if verification else ()
    given = right[len(right) - verification.given :] if verification else ()
    ordered = [*right, *(code for code in codes if code not in right)]
    return [
        Solution(code, right=code in right, given=code in given and code not in codes)
        for code in dict.fromkeys(ordered)
    ]


def usage_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read the `usage` column of a row: what `Record.usage` was."""
    usage: dict[str, Any] = json.loads(row["usage"])
    return usage


class RecordStore:
    """`records.jsonl`: a line `index<TAB>row` for every finished exercise, in the order they ended.

    `made_by` says what made the rows (templates, code); rows that something else made are dropped. In memory are the
    places of the lines, not the lines.
    """

    def __init__(self, path: Path, made_by: str) -> None:
        self._places = array("q")
        """Of each index, -1 where there is no row: 8 bytes a row, a dict takes 100."""
        head = made_by.encode() + b"\n"
        self._file = open(path, "a+b")  # noqa: SIM115 (closed by `close`)
        self._file.seek(0)
        if self._file.readline() == head:
            self._scan()
        if not self._places:
            self._file.truncate(0)
            self._file.write(head)
        self._end = cut_torn(self._file)

    def _scan(self) -> None:
        for place, line in whole_lines(self._file):
            index = line.partition(b"\t")[0]
            if not index.isdigit():  # of no use: what follows is made again
                self._file.truncate(place)
                return
            self._place(int(index), place)

    def _place(self, index: int, place: int) -> None:
        self._places.extend([-1] * (index + 1 - len(self._places)))
        self._places[index] = place

    def __len__(self) -> int:
        return sum(place >= 0 for place in self._places)

    def add(self, index: int, row: dict[str, Any]) -> None:
        """Write a row, in place of an earlier one of that index."""
        line = f"{index}\t{json.dumps(row)}\n".encode()
        self._file.write(line)
        self._file.flush()
        self._place(index, self._end)
        self._end += len(line)

    def get(self, index: int) -> dict[str, Any] | None:
        """The row of that index, or None."""
        if index >= len(self._places) or self._places[index] < 0:
            return None
        self._file.seek(self._places[index])
        row: dict[str, Any] = json.loads(self._file.readline().partition(b"\t")[2])
        return row

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows by index."""
        yield from filter(None, map(self.get, range(len(self._places))))

    def close(self) -> None:
        self._file.close()
