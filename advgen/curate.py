"""`raw` rows -> rows of the other configs: preference pairs, their hygiene, caps by kind of failure.

Both sides of a pair are written in one form, a single fenced block, and pairs are chosen so that length and layout do
not tell chosen from rejected either. Nothing is paired that execution did not separate: chosen passes every test,
rejected fails one of them under every hash seed. Rows are read twice and never held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advcore import contract
from advcore.chat import fenced
from advgen.config import CurationConfig
from advgen.hygiene.duplicates import Owners, Solutions
from advgen.hygiene.features import FEATURES
from advgen.hygiene.normal import code_of, fingerprint
from advgen.hygiene.pairs import Side
from advgen.verify import Attempt, Stored, Testimony, truth
from advgen.verify.truth import Truth

Row = dict[str, Any]
Rows = Callable[[], Iterable[Row]]

# Verdicts that show a program to be wrong on a test of its exercise. A timeout may be the machine's, and what does not
# even load teaches format.
KNOWN_WRONG = ("fail", "error")
PASS_RATES = {"0": 0.0, "to 1/4": 0.25, "to 1/2": 0.5, "to 3/4": 0.75, "over 3/4": 1.0}
"""Bins of a student's pass rate, and where each ends."""
COMMON_KIND = "wrong_answer"
"""The failure that a preference is for; every other kind has a cap."""


def reply(code: str) -> list[dict[str, str]]:
    """A program as the one form in which chosen, rejected and completions are written."""
    return [{"role": "assistant", "content": fenced(code)}]


def known_wrong(attempt: Attempt) -> bool:
    """Whether a student's attempt failed the same validated test under every hash seed."""
    return attempt.status in KNOWN_WRONG and attempt.failed_test >= 0


def options(kept: Stored, config: CurationConfig, trust: Truth) -> list[list[Row]]:
    """The `dpo` rows that a kept exercise could give: for each failing program, wrong answers first, one against every
    right program from where `config.chosen` says; in place of the teacher's those that came with a task that it does
    not solve. No two programs are alike but for names and layout, and no pair is less likely to be right than the
    floors of `config` say.
    """
    attempts, solutions, told = kept.attempts, kept.right, kept.testimony
    solved = _distinct(each.code for each in solutions)
    passed = _distinct(each.code for each in attempts if each.passed)
    same = _distinct(attempts[at].code for at in told.passing_alike)
    unsolved = all(each.given for each in solutions)
    taught = solved if unsolved else _distinct(each.code for each in solutions if not each.given)
    source = "given" if unsolved and config.chosen == "teacher" else config.chosen
    right = {"teacher": taught, "student": passed if told.given else same, "repaired": {}}[config.chosen]
    repairs = kept.repairs if config.chosen == "repaired" else []
    found = []
    for at in failing(attempts, solved.keys() | passed.keys()):
        if p_true := probability(told, at, attempts[at].failed, config, trust):
            codes = [*right.values(), *filter(None, repairs[at : at + 1])]
            found.append([_pair(kept.row, attempts[at], code, source, p_true) for code in codes])
    return [each for each in found if each]


def probability(
    told: Testimony, at: int, failed: Sequence[int], config: CurationConfig, trust: Truth
) -> float:
    """That a pair which rejects attempt `at` is right on both sides; 0 where a floor of `config` leaves it out."""
    p_wrong = trust.of_rejected(told, at, failed)
    p_true = p_wrong * trust.of_chosen(told)
    return p_true if p_wrong >= config.min_p_wrong and p_true >= config.min_p_true else 0.0


def trusted(config: CurationConfig) -> Truth:
    """The weights behind `p_true`. Raises DataError."""
    return truth.load(Path(config.truth) if config.truth else None)


def failing(attempts: Sequence[Attempt], right: Container[str]) -> list[int]:
    """Places of the attempts that a pair can reject, wrong answers first: no two alike but for names and layout, none
    of the form of a right program (`right`: fingerprints)."""
    found: dict[str, int] = {}
    for at, attempt in enumerate(attempts):
        shape = fingerprint(attempt.code) if known_wrong(attempt) else ""
        if shape and shape not in right:
            found.setdefault(shape, at)
    return sorted(found.values(), key=lambda at: attempts[at].failure_kind != COMMON_KIND)


def pass_rate_bin(rate: float) -> str:
    """One of PASS_RATES."""
    return next(name for name, most in PASS_RATES.items() if rate <= most)


def _distinct(codes: Iterable[str]) -> dict[str, str]:
    """Fingerprint -> the first program of that form."""
    found: dict[str, str] = {}
    for code in codes:
        found.setdefault(fingerprint(code), code)
    return found


def _pair(row: Mapping[str, Any], attempt: Attempt, chosen: str, source: str, p_true: float) -> Row:
    chosen_reply, rejected_reply = reply(chosen), reply(attempt.code)
    return {
        **_shared(row), "chosen": chosen_reply, "rejected": rejected_reply, "chosen_source": source,
        "failure_kind": attempt.failure_kind, "failed_test": attempt.failed_test,
        "student_pass_rate": row["student_pass_rate"], "n_attempts": row["n_attempts"],
        "chosen_chars": len(chosen_reply[0]["content"]), "rejected_chars": len(rejected_reply[0]["content"]),
        "p_true": round(p_true, 4),
    }  # fmt: skip


def _shared(row: Mapping[str, Any]) -> Row:
    """The columns that all configs of an exercise have."""
    return {name: row[name] for name in contract.COLUMNS["rl"]}


def others(kept: Stored) -> Iterator[tuple[str, Row]]:
    """(config, row) of one kept exercise for all configs but `dpo`."""
    shared, response = _shared(kept.row), kept.row["response"]
    if response:  # the teacher solves not every given task
        yield "sft", {**shared, "completion": reply(kept.right[0].code)}
        yield "gad", {**shared, "teacher_response": response}
    yield "rl", shared
    for attempt in kept.attempts:
        if attempt.passed or known_wrong(attempt):
            yield "kto", {**shared, "completion": reply(attempt.code), "label": attempt.passed}


@dataclass(slots=True)
class CurationReport:
    """What became of the kept exercises: what was left out, and why."""

    kept: int = 0
    pairs: Counter[str] = field(default_factory=Counter)
    """By strategy."""
    failure_kinds: Counter[str] = field(default_factory=Counter)
    """Of the pairs."""
    expected_wrong: float = 0.0
    """Of the pairs, as many as their probabilities say have a side that is not what it is called."""
    by_pass_rate: Counter[str] = field(default_factory=Counter)
    """Pairs by how often the student solves the exercise (`pass_rate_bin`)."""
    expected_true: dict[str, float] = field(default_factory=dict)
    """Of those, as many as their probabilities say are true: hard looks like wrong."""
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
        true = {name: round(value, 3) for name, value in self.expected_true.items()}
        wrong = round(self.expected_wrong, 3)
        return {"kept": self.kept, "expected_wrong": wrong, **counters, "expected_true": true}


class Balance:
    """Keeps form from telling chosen from rejected: of the pairs to choose from it takes the one whose chosen side is,
    say, shorter, where so far it was longer more often; for all features that the audit measures at once.
    """

    def __init__(self) -> None:
        self._lean: Counter[str] = Counter()

    def best(self, pairs: Sequence[Row]) -> Row:
        """The one of `pairs` that evens out most; of several that do, the one whose sides are nearest in length."""
        return min(
            pairs, key=lambda pair: (self._cost(pair), abs(pair["chosen_chars"] - pair["rejected_chars"]))
        )

    def take(self, pair: Row) -> None:
        """This one is in the dataset."""
        self._lean.update(_signs(pair))

    def _cost(self, pair: Row) -> int:
        return sum(self._lean[name] * sign for name, sign in _signs(pair).items())


def _signs(pair: Row) -> dict[str, int]:
    """Of each feature whether chosen has more of it (1), less (-1) or as much."""
    sides = [Side(pair[name][0]["content"]) for name in ("chosen", "rejected")]
    values = {name: [feature(side) or 0.0 for side in sides] for name, feature in FEATURES.items()}
    return {name: (more > less) - (more < less) for name, (more, less) in values.items()}


class Curator:
    """Duplicates and caps over one round, in the order of its rows: the first of two alike stays.

    `before` are the kept rows of earlier rounds. On disk: hashes of programs, and an index of their words.
    """

    def __init__(self, config: CurationConfig, before: Iterable[Row] = ()) -> None:
        self.config, self.report = config, CurationReport()
        self._trust = trusted(config)
        self._solutions, self._owners, self._balance = Solutions(), Owners(), Balance()
        for row in before:
            self._repeats(Stored(row))

    def curate(self, rows: Rows) -> Iterator[tuple[str, Row]]:
        """(config, row) of everything but `raw`. `rows()` gives the `raw` rows, and is asked for them twice."""
        kinds = Counter[str]()
        for kept in _kept(rows):
            if what := self._repeats(kept):
                self.report.duplicates[what] += 1
                self._owners.add("repeating", kept.row["exercise_id"])
            else:
                for pair, *_ in options(kept, self.config, self._trust)[: self.config.pairs_per_exercise]:
                    if self._owners.add("counted", _shape(pair)) is None:
                        kinds[pair["failure_kind"]] += 1
        room = allowed(kinds, self.config.max_kind_share)
        for kept in _kept(rows):
            if self._owners.get("repeating", kept.row["exercise_id"]) is None:
                self.report.kept += 1
                yield from others(kept)
                yield from (("dpo", pair) for pair in self._pairs(kept, room))

    def _pairs(self, kept: Stored, room: Counter[str]) -> Iterator[Row]:
        """As many as the config allows, wrong answers before other failures."""
        left = options(kept, self.config, self._trust)
        for _ in range(min(self.config.pairs_per_exercise, len(left))):
            common = [each for each in left if each[0]["failure_kind"] == COMMON_KIND]
            pair = self._balance.best([pair for each in common or left for pair in each])
            left = [each for each in left if each[0]["rejected"] != pair["rejected"]]
            if self._admit(pair, room):
                self._balance.take(pair)
                yield pair

    def _repeats(self, kept: Stored) -> str:
        """What of an earlier exercise it repeats by its reference, '' where it is new."""
        return self._solutions.repeats(kept.row["exercise_id"], kept.right[0].code)

    def _admit(self, pair: Row, room: Counter[str]) -> bool:
        shape, kind = _shape(pair), pair["failure_kind"]
        if self._owners.get("rejected", shape) is not None:
            self.report.duplicates["rejected"] += 1
            return False
        if kind != COMMON_KIND and not room[kind]:
            self.report.over_cap[kind] += 1
            return False
        self._owners.add("rejected", shape)
        room[kind] -= 1
        self.report.pairs[pair["strategy"]] += 1
        self.report.failure_kinds[kind] += 1
        where = pass_rate_bin(pair["student_pass_rate"])
        self.report.by_pass_rate[where] += 1
        true = self.report.expected_true
        true[where] = true.get(where, 0.0) + pair["p_true"]
        self.report.expected_wrong += 1 - pair["p_true"]
        return True

    def close(self) -> None:
        """Give up what is on disk; the report stays."""
        self._solutions.close()
        self._owners.close()


def _shape(pair: Row) -> str:
    return fingerprint(code_of(pair["rejected"][0]["content"]))


def _kept(rows: Rows) -> Iterator[Stored]:
    return (Stored(row) for row in rows() if row["status"] == "kept")


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
