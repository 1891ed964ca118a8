"""Is chosen right and rejected wrong? Asked of the tests in the row, by whoever can run them; else of the columns.

Runs nothing itself: `passes(code, tests_json, entry_point)` is the caller's, and has to contain what it runs.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from advcore import DataError
from advgen.audit.report import Finding, Severity
from advgen.hygiene.pairs import PreferencePair

Passes = Callable[[str, str, str], bool]

_NO_TESTS = ("", "[]")


class Executed:
    """The check: an error for every pair that its tests contradict; says how many pairs carry no tests."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._rows = {(c, r): array("q") for c in (True, False) for r in (True, False)}
        self._untested = array("q")

    def add(self, pair: PreferencePair) -> None:
        """Run both sides."""
        if pair.tests.strip() in _NO_TESTS:
            self._untested.append(pair.row)
            return
        try:
            chosen, rejected = (
                self._passes(side.code, pair.tests, pair.entry_point) for side in (pair.chosen, pair.rejected)
            )
        except DataError:  # a column of that name with something else in it
            self._untested.append(pair.row)
            return
        self._rows[chosen, rejected].append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One a contradiction, and one on what was run."""
        run = sum(map(len, self._rows.values()))
        named = {
            "inverted": ((False, True), "chosen fails its tests and rejected passes them"),
            "both_fail": ((False, False), "chosen fails its tests, as rejected does"),
            "both_pass": ((True, True), "rejected passes the tests, as chosen does"),
        }
        for check, (verdict, words) in named.items():
            if rows := self._rows[verdict]:
                yield _finding(check, "error", f"in {len(rows)} of {run} pairs {words}", rows, run)
        share = f"{len(self._rows[True, False])} of {run} pairs that were run hold"
        severity: Severity = "warning" if self._untested else "info"
        untested = f"; {len(self._untested)} carry no tests that can be read" if self._untested else ""
        yield _finding("executed", severity, share + untested, self._untested, run + len(self._untested))


class Claimed:
    """The check where nothing is run: what the columns say of right and wrong."""

    def __init__(self) -> None:
        self._pairs = 0
        self._always_right = array("q")
        self._sources: Counter[str] = Counter()

    def add(self, pair: PreferencePair) -> None:
        """Read the columns."""
        self._pairs += 1
        self._sources[pair.chosen_source[:40] or "not said"] += 1
        if pair.student_pass_rate == 1.0:
            self._always_right.append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One or two."""
        sources = ", ".join(f"{name} {count}" for name, count in self._sources.most_common(10))
        yield _finding(
            "executed", "info", f"nothing was run; chosen is said to come from: {sources}", [], self._pairs
        )
        if rows := self._always_right:
            summary = f"{len(rows)} pairs reject a student that is said to pass every time"
            yield _finding("inversion_claimed", "warning", summary, rows, self._pairs)


def _finding(check: str, severity: Severity, summary: str, rows: Sequence[int], of: int) -> Finding:
    return Finding(check=check, severity=severity, summary=summary, rows=rows, number=len(rows) / max(1, of))
