"""Can chosen be told from rejected without understanding either? One feature at a time.

A model trained on pairs that a shortcut separates need not learn correctness (for rewards and length: Singhal et al.
2023, arXiv:2310.03716). A predictor says of each pair that the side with more of a feature, or the one with less, is
the chosen one; which of the two it learns on other exercises. Within a pair that includes every threshold on the
feature: a side above one that the other is below has more of it. Not looked for: bands ("chosen is neither short nor
long"), and features of features.

On disk: two numbers a feature and pair (224 bytes a pair). Held: the exercise of every pair (8 bytes), at the end one
feature at a time. N are pairs, E exercises, F folds.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from advcore.stats import wilson
from advgen.audit.report import Finding, Severity
from advgen.hygiene.features import FEATURES
from advgen.hygiene.normal import digest
from advgen.hygiene.pairs import PreferencePair

MOST = 0.6
"""Accuracy that no single feature may reach with confidence."""
FOLDS = 5
_RARE = 0.05  # share of the pairs below which a feature that differs is not worth a warning


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How well a predictor does on exercises it has not seen."""

    accuracy: float
    """Mean over the exercises, ties counted half."""
    interval: tuple[float, float]
    """95 %, with the exercises as trials."""

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.0%} ({low:.0%} to {high:.0%})"


class Shortcuts:
    """The check: an error where a feature's lower bound is above `MOST`, a warning where it is so among the pairs
    in which the feature differs at all.
    """

    def __init__(self) -> None:
        self._groups = array("q")
        self._values = {name: tempfile.TemporaryFile() for name in FEATURES}  # noqa: SIM115 (closed by `close`)

    def add(self, pair: PreferencePair) -> None:
        """Measure both sides."""
        self._groups.append(group_key(pair.group))
        for name, feature in FEATURES.items():
            values = [feature(side) for side in (pair.chosen, pair.rejected)]
            self._values[name].write(array("d", [math.nan if value is None else value for value in values]))

    def findings(self) -> Iterator[Finding]:
        """One a feature."""
        import numpy as np

        exercise_N = exercises(self._groups)
        for name, file in self._values.items():
            file.seek(0)
            chosen_N, rejected_N = np.fromfile(file).reshape(-1, 2).T
            yield _finding(name, chosen_N, rejected_N, exercise_N)

    def close(self) -> None:
        """Give up what is on disk."""
        for file in self._values.values():
            file.close()


def _finding(name: str, chosen_N: Any, rejected_N: Any, exercise_N: Any) -> Finding:
    import numpy as np

    # A nan is neither more nor less.
    sign_N = (chosen_N > rejected_N).astype(np.int8) - (chosen_N < rejected_N)
    earned_N = cross_validated(sign_N, exercise_N)
    overall = score(earned_N, exercise_N)
    told = np.flatnonzero(sign_N)
    where_differs = score(earned_N[told], exercise_N[told])
    direction = 1 if sign_N.sum() > 0 else -1
    known_N = ~np.isnan(chosen_N - rejected_N)
    area = auc(chosen_N[known_N], rejected_N[known_N]) if known_N.any() else 0.5
    severity = _severity(overall, where_differs, len(told) / len(sign_N))
    rule = f"{'more' if direction > 0 else 'less'} {name.replace('_', ' ')} means chosen"
    return Finding(
        check=f"shortcut:{name}",
        severity=severity,
        summary=(
            f"{rule}: accuracy {overall}, AUC {area:.2f}; in {len(told)} of {len(sign_N)} pairs it differs, "
            f"and tells {where_differs} of these"
            if len(told)
            else "never differs within a pair"
        ),
        rows=() if severity == "info" else array("q", np.flatnonzero(sign_N == direction)),
        number=overall.accuracy,
        interval=overall.interval,
        measures={"auc": area, "differs": len(told), "accuracy_where_differs": where_differs.accuracy},
    )


def _severity(overall: Score, where_differs: Score, share: float) -> Severity:
    if overall.interval[0] > MOST:
        return "error"
    return "warning" if where_differs.interval[0] > MOST and share >= _RARE else "info"


def group_key(group: str) -> int:
    """63 bits of what the pairs of an exercise share; their order is in no relation to that of the names."""
    return zlib.crc32(group.encode()) << 31 | digest(group) & 0x7FFFFFFF


def exercises(groups: Sequence[int]) -> Any:
    """(N,) the exercise of each pair as a number from 0, in the order of the keys: modulo `FOLDS` it is its fold."""
    import numpy as np

    return np.unique(np.asarray(groups), return_inverse=True)[1]


def cross_validated(sign_N: Any, exercise_N: Any) -> Any:
    """(N,) what the learned direction earns on each pair: 1 right, 0 wrong, a half for a tie or where nothing was
    learned.

    `sign_N` says whether the chosen side has more of the feature (1), less (-1) or neither (0).
    """
    import numpy as np

    lean_E = np.bincount(exercise_N, sign_N) / np.bincount(exercise_N)
    lean_F = np.bincount(np.arange(len(lean_E)) % FOLDS, lean_E, minlength=FOLDS)
    direction_F = np.sign(np.round(lean_F.sum() - lean_F, 9))
    return (1 + direction_F[exercise_N % FOLDS] * sign_N) / 2


def score(earned_N: Any, exercise_N: Any) -> Score:
    """Accuracy with its interval. Pairs of one exercise are alike, so that the exercise is what counts as a trial."""
    import numpy as np

    pairs_E = np.bincount(exercise_N)
    met_E = pairs_E > 0
    right = math.fsum(np.bincount(exercise_N, earned_N)[met_E] / pairs_E[met_E])
    trials = int(met_E.sum())
    return Score(accuracy=right / trials if trials else 0.5, interval=wilson(right, trials))


def auc(chosen_N: Any, rejected_N: Any) -> float:
    """The chance that a chosen side has more than a rejected one of any pair, ties half (Mann-Whitney U)."""
    import numpy as np

    ordered_N = np.sort(rejected_N)
    below, not_above = (int(np.searchsorted(ordered_N, chosen_N, side).sum()) for side in ("left", "right"))
    return (below + not_above) / 2 / (len(chosen_N) * len(rejected_N))
