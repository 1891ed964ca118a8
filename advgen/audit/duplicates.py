"""Rows that say again what an earlier row said: the same, nearly the same, or with the same program.

Several pairs of one exercise share its statement by design and are no duplicates of one another; without exercise ids a
repeated prompt is told, since nobody can know.

On disk: three hashes a pair, and of every exercise a MinHash signature and its bands (about 3 kB).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from advgen.audit.report import Finding, Severity
from advgen.audit.rows import Pair
from advgen.hygiene.duplicates import NEAR_COPY, NearIndex, Owners
from advgen.hygiene.normal import squeezed


class Duplicates:
    """The check: an error for pairs that are there twice, a warning for what repeats in another exercise."""

    def __init__(self) -> None:
        self._owners, self._index = Owners(), NearIndex(None)
        self._rows = {kind: array("q") for kind in ("pair", "prompt", "near_prompt", "program")}
        self._seen = 0

    def add(self, pair: Pair) -> None:
        """Look for each part of the row in the earlier rows; it is named for the gravest only."""
        self._seen += 1
        prompt = squeezed(pair.prompt)
        whole = "\0".join((prompt, squeezed(pair.chosen.text), squeezed(pair.rejected.text)))
        same_prompt = self._repeats("prompt", prompt, pair.exercise_id)
        same_program = bool(pair.chosen.form) and self._repeats("program", pair.chosen.form, pair.group)
        if self._repeats("pair", whole, ""):
            kind = "pair"
        elif same_prompt:
            kind = "prompt"
        elif self._is_near(pair):
            kind = "near_prompt"
        elif same_program:
            kind = "program"
        else:
            return
        self._rows[kind].append(pair.row)

    def _repeats(self, kind: str, text: str, owner: str) -> bool:
        """Whether an earlier row of another owner has `text`; rows without an owner have none in common."""
        earlier = self._owners.add(kind, text, owner)
        return earlier is not None and (earlier != owner or not owner)

    def _is_near(self, pair: Pair) -> bool:
        """Whether the exercise's statement is a near copy of an earlier one; looked for once an exercise."""
        near = self._owners.get("near", pair.group)
        if near is None:
            best = next(iter(self._index.candidates(pair.prompt)), ("", 0.0))
            near = best[0] if best[1] >= NEAR_COPY else ""
            self._owners.add("near", pair.group, near)
            self._index.add(pair.group, pair.prompt)
        return near != ""

    def findings(self) -> Iterator[Finding]:
        """One a kind."""
        yield self._finding("pair", "error", "are there already, word for word")
        yield self._finding("prompt", "warning", "have the prompt of an earlier row of another exercise")
        near = f"have a prompt near an earlier exercise's (Jaccard {NEAR_COPY} of runs of 5 words)"
        yield self._finding("near_prompt", "warning", near)
        program = "have the chosen program of another exercise, but for names and layout"
        yield self._finding("program", "warning", program)

    def close(self) -> None:
        """Give up what is on disk."""
        self._index.close()
        self._owners.close()

    def _finding(self, kind: str, severity: Severity, words: str) -> Finding:
        rows = self._rows[kind]
        return Finding(
            check=f"duplicate:{kind}",
            severity=severity if rows else "info",
            summary=f"{len(rows)} rows {words}",
            rows=rows,
            number=len(rows) / self._seen,
        )
