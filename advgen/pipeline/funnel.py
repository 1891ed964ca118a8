"""What a round came to, in numbers: exercises by stage, by strategy, what they cost, and whether to go on.

Fed row by row, so that it holds counts and never rows.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from advcore import TeacherError
from advcore.stats import wilson
from advgen import curriculum
from advgen.curriculum import IntentCheck, RoundStats
from advgen.pipeline.records import INFRASTRUCTURE, WITNESS, usage_of
from advgen.verify import Stored

Row = Mapping[str, Any]
_MOST_REASONS = 1_000  # that are told apart
_LONGEST_REASON = 200  # characters
STUDENTS = ("attempt", "rematch")
"""Purposes of requests to the student; all but these and WITNESS go to the teacher."""


def check_kept(funnel: Mapping[str, Any], out: Path) -> None:
    """Raise TeacherError with the commonest reason when a round kept nothing: that is no success."""
    if funnel["kept"]:
        return
    why = funnel["commonest_reason"] or {"count": 0, "status": "asked for", "reason": ""}
    reason = f"{why['status']}: {why['reason']}" if why["reason"] else why["status"]
    counted = f"{why['count']} of {funnel['asked']} exercises"
    raise TeacherError(f"nothing was kept: {counted}: {reason}; see {out / 'funnel.json'}")


class Funnel:
    """The rows of one round, counted. `parents` are rows of the `raw` config by exercise id."""

    def __init__(
        self, round_number: int, seed: int, parents: Mapping[str, Row], draw: Mapping[str, Any]
    ) -> None:
        self._round, self._seed, self._parents, self._draw = round_number, seed, parents, draw
        self._all = _Counts()
        self._by_strategy: dict[str, _Counts] = defaultdict(_Counts)
        self._verdicts: dict[str, list[tuple[str, IntentCheck]]] = defaultdict(list)
        self._retests: dict[str, float] = {}

    def add(self, row: Row) -> None:
        """Count one row of the `raw` config."""
        stored, usage = Stored(row), usage_of(row)
        for counts in (self._all, self._by_strategy[row["strategy"]]):
            counts.add(stored, usage)
        if check := json.loads(row["check"]):
            self._verdicts[row["strategy"]].append((row["parent_id"], _verdict(row, check)))
            before = self._parents[row["parent_id"]]["student_pass_rate"]
            self._retests[row["parent_id"]] = check["parent_passes"] / check["parent_n"] - before

    def stats(self, margins: Sequence[Row]) -> RoundStats:
        """The round as `curriculum` watches it. `margins`: rows of that config, of what it was drawn from."""
        counts = self._all
        finite = [abs(row["margin"]) for row in margins if math.isfinite(row["margin"])]
        return RoundStats(
            round=self._round, statements=counts.written, novel=counts.new, judged=counts.judged,
            solvable=counts.kept, mean_pass_rate=counts.mean("student_pass_rate"), pool=len(self._parents),
            effective_sample_size=self._draw.get("effective_sample_size", 0.0),
            median_margin=statistics.median(finite) if finite else None,
            retest_change=statistics.fmean(self._retests.values()) if self._retests else None,
        )  # fmt: skip

    def as_json(self, pairs: Mapping[str, int]) -> dict[str, Any]:
        """`pairs`: by strategy."""
        strategies = {
            name: {**counts.as_json(), "pairs": pairs.get(name, 0), "intent": self._effect(name)}
            for name, counts in sorted(self._by_strategy.items())
        }
        total = sum(pairs.values())
        per_pair = {
            f"{what}_per_pair": round(value / total, 6) if total else None
            for what, value in (("usd", self._all.usd), ("teacher_tokens", self._all.teacher_tokens))
        }
        return {
            "round": self._round, **self._all.as_json(), "pairs": total, **per_pair,
            "strategies": strategies, "draw": dict(self._draw),
        }  # fmt: skip

    def _effect(self, strategy: str) -> dict[str, Any] | None:
        """Whether the strategy did what it declares; None for plain exercises."""
        verdicts = self._verdicts.get(strategy)
        return asdict(curriculum.effect(verdicts, self._seed)) if verdicts else None


def _verdict(row: Row, check: dict[str, Any]) -> IntentCheck:
    if row["strategy"] == "opposite":
        status = check["parent_solution"]
        ran = None if status == "sandbox_error" else status in ("pass", "fail")
        return curriculum.opposite(check["same_signature"], ran, status == "fail")
    passes = round(row["student_pass_rate"] * row["n_attempts"])
    rates = check["parent_passes"], check["parent_n"], passes, row["n_attempts"]
    if row["strategy"] == "deceptive":
        return curriculum.deceptive(check["parent_words"], check["child_words"], *rates)
    return curriculum.incremental(*rates)


class _Counts:
    """Of some rows. `inversions` are exercises that the student solves more often than the teacher."""

    def __init__(self) -> None:
        self.asked = self.written = self.new = self.judged = self.kept = 0
        self.inversions = 0
        self.usd = 0.0
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._sums: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    def add(self, stored: Stored, usage: Mapping[str, Any]) -> None:
        row = stored.row
        kept, status = row["status"] == "kept", row["status"]
        self.asked += 1
        self.written += bool(row["stub"])
        self.new += bool(row["stub"]) and status != "duplicate"
        self.judged += bool(row["stub"]) and status not in ("duplicate", "refused", *INFRASTRUCTURE)
        self.kept += kept
        self._statuses[status] += 1
        reason = (status, row["reason"][:_LONGEST_REASON])
        if not kept and (reason in self._reasons or len(self._reasons) < _MOST_REASONS):
            self._reasons[reason] += 1
        self.usd += usage["usd"]
        self._tokens.update({purpose: spent[1] for purpose, spent in usage.items() if purpose != "usd"})
        if kept:
            self.inversions += row["student_pass_rate"] > row["teacher_pass_rate"]
            self._sums["tests"] += len(stored.tests)
            for name in ("teacher_pass_rate", "student_pass_rate", "kill_rate", "coverage"):
                self._sums[name] += row[name]

    @property
    def student_tokens(self) -> int:
        return sum(count for purpose, count in self._tokens.items() if purpose in STUDENTS)

    @property
    def teacher_tokens(self) -> int:
        return self._tokens.total() - self.student_tokens - self._tokens[WITNESS]

    def mean(self, column: str) -> float:
        """Over the kept; 0 without any."""
        return round(self._sums[column] / self.kept, 4) if self.kept else 0.0

    def _commonest(self) -> dict[str, Any] | None:
        """Why most of those were turned away that were; None where none was."""
        if not self._reasons:
            return None
        ((status, reason), count), *_ = self._reasons.most_common(1)
        return {"status": status, "reason": reason, "count": count}

    def as_json(self) -> dict[str, Any]:
        # Attempts at one exercise are alike: each exercise is a trial, and its pass rate what it adds.
        low, high = wilson(self._sums["student_pass_rate"], self.kept)
        turned_away = {name: count for name, count in sorted(self._statuses.items()) if name != "kept"}
        return {
            "asked": self.asked, "written": self.written, "new": self.new, "kept": self.kept,
            "turned_away": turned_away, "commonest_reason": self._commonest(),
            "teacher_pass_rate": self.mean("teacher_pass_rate"),
            "student_pass_rate": self.mean("student_pass_rate"),
            "student_pass_interval": [round(low, 4), round(high, 4)], "inversions": self.inversions,
            "tests_per_exercise": self.mean("tests"), "kill_rate": self.mean("kill_rate"),
            "coverage": self.mean("coverage"), "tokens": dict(sorted(self._tokens.items())),
            "teacher_tokens": self.teacher_tokens, "student_tokens": self.student_tokens, "usd": round(self.usd, 6),
        }  # fmt: skip
