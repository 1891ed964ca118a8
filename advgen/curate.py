"""`raw` rows -> rows of the other configs: preference pairs, their hygiene, caps by kind of failure.

Both sides of a pair are written in one form, a single fenced block, so that neither length of prose nor fences can tell
chosen from rejected. Nothing is paired that execution did not separate: chosen passes every test, rejected fails one of
them twice. Rows are read twice and never held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from advcore import contract
from advgen.config import CurationConfig
from advgen.hygiene.duplicates import NEAR_COPY, NearIndex
from advgen.hygiene.normal import code_of, fingerprint

Row = dict[str, Any]
Rows = Callable[[], Iterable[Row]]

# Verdicts that prove a program wrong on a test of its exercise. A timeout may be the machine's, and what does not even
# load teaches format.
PROVED_WRONG = ("fail", "error")
COMMON_KIND = "wrong_answer"
"""The failure that a preference is for; every other kind has a cap."""


def reply(code: str) -> list[dict[str, str]]:
    """A program as the one form in which chosen, rejected and completions are written."""
    return [{"role": "assistant", "content": f"```python\n{code.strip()}\n```"}]


def proved_wrong(attempt: Row) -> bool:
    """Whether a student's attempt (an item of `raw.attempts`) failed the same validated test twice."""
    return attempt["status"] in PROVED_WRONG and attempt["failed_test"] >= 0


def pairs(row: Row, config: CurationConfig) -> list[Row]:
    """`dpo` rows of one kept exercise: a right program against failing ones, no two of them alike, wrong answers first.

    Empty where `config.chosen` asks for a right program that there is none of.
    """
    attempts = json.loads(row["attempts"])
    right = {fingerprint(each["code"]) for each in json.loads(row["solutions"]) if each["right"]}
    right |= {fingerprint(each["code"]) for each in attempts if each["status"] == "pass"}
    failing: dict[str, int] = {}
    for at, attempt in enumerate(attempts):
        shape = fingerprint(attempt["code"]) if proved_wrong(attempt) else ""
        if shape and shape not in right:
            failing.setdefault(shape, at)
    ordered = sorted(failing.values(), key=lambda at: attempts[at]["failure_kind"] != COMMON_KIND)
    made = ((attempts[at], _chosen(row, attempts, at, config.chosen)) for at in ordered)
    return [_pair(row, attempt, code, config.chosen) for attempt, code in made if code][
        : config.pairs_per_exercise
    ]


def _chosen(row: Row, attempts: list[Row], at: int, source: str) -> str:
    """The right program that stands against attempt `at`, '' where there is none of that source."""
    if source == "repaired":
        mended = json.loads(row["mended"])
        return mended[at] if mended else ""
    if source == "student":
        return next((each["code"] for each in attempts if each["status"] == "pass"), "")
    return _reference(row)


def _reference(row: Row) -> str:
    """The first right solution of the teacher."""
    return str(next(each["code"] for each in json.loads(row["solutions"]) if each["right"]))


def _pair(row: Row, attempt: Row, chosen: str, source: str) -> Row:
    chosen_reply, rejected_reply = reply(chosen), reply(attempt["code"])
    return {
        **_shared(row), "chosen": chosen_reply, "rejected": rejected_reply, "chosen_source": source,
        "failure_kind": attempt["failure_kind"], "failed_test": attempt["failed_test"],
        "student_pass_rate": row["student_pass_rate"], "n_attempts": row["n_attempts"],
        "chosen_chars": len(chosen_reply[0]["content"]), "rejected_chars": len(rejected_reply[0]["content"]),
    }  # fmt: skip


def _shared(row: Row) -> Row:
    """The columns that all configs of an exercise have."""
    return {name: row[name] for name in contract.COLUMNS["rl"]}


def others(row: Row) -> Iterator[tuple[str, Row]]:
    """(config, row) of one kept exercise for all configs but `dpo`."""
    shared = _shared(row)
    yield "sft", {**shared, "completion": reply(_reference(row))}
    yield "gad", {**shared, "teacher_response": row["response"]}
    yield "rl", shared
    for attempt in json.loads(row["attempts"]):
        if attempt["status"] == "pass" or proved_wrong(attempt):
            passed = attempt["status"] == "pass"
            yield "kto", {**shared, "completion": reply(attempt["code"]), "label": passed}


@dataclass(slots=True)
class Report:
    """What became of the kept exercises: what was left out, and why."""

    kept: int = 0
    pairs: Counter[str] = field(default_factory=Counter)
    """By strategy."""
    failure_kinds: Counter[str] = field(default_factory=Counter)
    """Of the pairs."""
    over_cap: Counter[str] = field(default_factory=Counter)
    """Pairs left out, by kind of failure."""
    duplicates: Counter[str] = field(default_factory=Counter)
    """Left out as repeating an earlier one: exercises by `solution` (the same program) and `near_solution`, pairs by
    `rejected`."""

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        counters = {
            name: dict(value) for name in self.__slots__ if isinstance(value := getattr(self, name), Counter)
        }
        return {"kept": self.kept, **counters}


class Curator:
    """Duplicates and caps over one round, in the order of its rows: the first of two alike stays.

    `before` are the kept rows of earlier rounds. Holds a hash a program and an index of their words.
    """

    def __init__(self, config: CurationConfig, before: Iterable[Row] = ()) -> None:
        self.config, self.report = config, Report()
        self._near, self._solutions, self._rejected = NearIndex(None), set[str](), set[str]()
        for row in before:
            self._repeats(row)

    def curate(self, rows: Rows) -> Iterator[tuple[str, Row]]:
        """(config, row) of everything but `raw`. `rows()` gives the `raw` rows, and is asked for them twice."""
        repeated, kinds = set[str](), Counter[str]()
        for row in _kept(rows):
            if what := self._repeats(row):
                self.report.duplicates[what] += 1
                repeated.add(row["exercise_id"])
            else:
                kinds.update(pair["failure_kind"] for pair in pairs(row, self.config))
        room = allowed(kinds, self.config.max_kind_share)
        for row in _kept(rows):
            if row["exercise_id"] not in repeated:
                self.report.kept += 1
                yield from others(row)
                yield from (("dpo", pair) for pair in pairs(row, self.config) if self._admit(pair, room))

    def _repeats(self, row: Row) -> str:
        code = _reference(row)
        shape = fingerprint(code)
        if shape in self._solutions:
            return "solution"
        if any(score >= NEAR_COPY for _, score in self._near.candidates(code)):
            return "near_solution"
        self._solutions.add(shape)
        self._near.add(row["exercise_id"], code)
        return ""

    def _admit(self, pair: Row, room: Counter[str]) -> bool:
        shape, kind = fingerprint(code_of(pair["rejected"][0]["content"])), pair["failure_kind"]
        if shape in self._rejected:
            self.report.duplicates["rejected"] += 1
            return False
        if kind != COMMON_KIND and not room[kind]:
            self.report.over_cap[kind] += 1
            return False
        self._rejected.add(shape)
        room[kind] -= 1
        self.report.pairs[pair["strategy"]] += 1
        self.report.failure_kinds[kind] += 1
        return True


def _kept(rows: Rows) -> Iterator[Row]:
    return (row for row in rows() if row["status"] == "kept")


def allowed(kinds: Counter[str], share: float) -> Counter[str]:
    """How many pairs of each kind but the common one may stay, so that none is more than `share` of all that stay.

    Lowering one kind lowers the total, so the caps are tightened until they hold; a lone pair always may stay.
    """
    room = Counter(kinds)
    while True:
        most = max(1, int(share * room.total()))
        over = [kind for kind, count in room.items() if kind != COMMON_KIND and count > most]
        if not over:
            return room
        for kind in over:
            room[kind] = most
