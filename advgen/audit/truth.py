"""Are the labels true? Of a set whose rows say how likely each is (`p_true`), what share is expected to be wrong."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

from advgen.audit.report import Finding
from advgen.hygiene.pairs import PreferencePair

MOST = 0.4
"""A set of whose pairs more are expected to have a side that is not what it is called is unfit to be published."""
_UNLIKELY = 0.5


class LabelNoise:
    """The check: an error where the expected share is over MOST; names the pairs that are rather wrong than right."""

    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0
        self._unlikely = array("q")

    def add(self, pair: PreferencePair) -> None:
        """Take the pair's probability, if it has one."""
        if pair.p_true is None or math.isnan(pair.p_true):
            return
        self._count += 1
        self._sum += pair.p_true
        if pair.p_true < _UNLIKELY:
            self._unlikely.append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One, of sets that say how likely their pairs are."""
        if not self._count:
            return
        share = 1 - self._sum / self._count
        yield Finding(
            check="truth",
            severity="error" if share > MOST else "warning" if self._unlikely else "info",
            summary=(
                f"{share:.0%} of {self._count} pairs are expected to have a side that is not what it is called;"
                f" {len(self._unlikely)} are rather wrong than right"
            ),
            rows=self._unlikely,
            number=share,
        )
