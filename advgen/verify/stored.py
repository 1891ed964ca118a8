"""The verification of an exercise, as a row of the `raw` config stores it: the one reader of its JSON columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from advcore import DataError
from advgen.verify.verification import Attempt, Testimony, Votes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Solution:
    """A program that was offered as a solution."""

    code: str
    right: bool
    """It passes every test."""
    given: bool = False
    """It came with the task, and no teacher wrote it too."""


class Stored:
    """A `raw` row as typed values. Each column is read when it is first asked for, and once.

    Every property raises DataError for a column that this release does not read.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """The suite, an item for each assert."""
        return self._read("tests", list)

    @cached_property
    def solutions(self) -> list[Solution]:
        """All that were offered, the reference first."""
        return self._read("solutions", lambda found: [Solution(**each) for each in found])

    @property
    def right(self) -> list[Solution]:
        """Those of them that pass every test."""
        return [each for each in self.solutions if each.right]

    @cached_property
    def attempts(self) -> list[Attempt]:
        """The student's, in the order they came."""
        return self._read("attempts", lambda found: [_attempt(each) for each in found])

    @cached_property
    def repairs(self) -> list[str]:
        """The teacher's repair of each attempt; "" where it was not asked for one, or none passes."""
        return self._read("mended", list)

    @cached_property
    def testimony(self) -> Testimony:
        """What solutions and attempts say of the suite; only kept exercises have one."""
        return self._read("testimony", _testimony)

    def _read(self, column: str, made: Callable[[Any], T]) -> T:
        try:
            return made(json.loads(self.row[column]))
        except (ValueError, LookupError, TypeError):
            raise DataError(
                f"exercise {self.row['exercise_id']} has no {column} that this release reads; "
                "build its round again"
            ) from None


def _attempt(told: Mapping[str, Any]) -> Attempt:
    return Attempt(**{**told, "failed": tuple(told.get("failed", ()))})  # version 1 did not list them


def _testimony(told: Mapping[str, Any]) -> Testimony:
    lists = {name: tuple(told[name]) for name in ("like_attempt", "passing_alike")}
    return Testimony(**{**told, **lists, "votes": tuple(Votes(**vote) for vote in told["votes"])})
