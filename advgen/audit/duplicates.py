"""Rows that say again what an earlier row said, as `advgen.hygiene.duplicates` tells them. Held: where they are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from advcore.near_copies import NEAR_COPY
from advgen.audit.report import Finding, Severity
from advgen.hygiene.duplicates import Rows
from advgen.hygiene.pairs import PreferencePair

_TOLD: dict[str, tuple[Severity, str]] = {
    "pair": ("error", "are there already, word for word"),
    "prompt": ("warning", "have the prompt of an earlier row of another exercise"),
    "near_prompt": (
        "warning", f"have a prompt near an earlier exercise's (Jaccard {NEAR_COPY} of runs of 5 words)"
    ),
    "program": ("warning", "have the chosen program of another exercise, but for names and layout"),
}  # fmt: skip
"""How grave each kind of repeat is, and in what words it is told."""


class Duplicates:
    """The check: an error for pairs that are there twice, a warning for what repeats in another exercise."""

    def __init__(self) -> None:
        self._before = Rows()
        self._rows = {kind: array("q") for kind in _TOLD}
        self._seen = 0

    def add(self, pair: PreferencePair) -> None:
        """Look for the row in the earlier rows."""
        self._seen += 1
        if kind := self._before.repeats(pair):
            self._rows[kind].append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One a kind."""
        for kind, (severity, words) in _TOLD.items():
            rows = self._rows[kind]
            yield Finding(
                check=f"duplicate:{kind}",
                severity=severity if rows else "info",
                summary=f"{len(rows)} rows {words}",
                rows=rows,
                number=len(rows) / self._seen,
            )

    def close(self) -> None:
        """Give up what is on disk."""
        self._before.close()
