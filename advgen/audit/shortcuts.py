"""Can chosen be told from rejected without understanding either? One feature at a time.

A model trained on pairs that a shortcut separates need not learn correctness (for rewards and length: Singhal et al.
2023, arXiv:2310.03716). A predictor says of each pair that the side with more of a feature, or the one with less, is
the chosen one; which of the two it learns on other exercises. Within a pair that includes every threshold on the
feature: a side above one that the other is below has more of it. Not looked for: bands ("chosen is neither short nor
long"), and features of features.

Held: two numbers a feature and pair (224 bytes a pair) and the exercise of every pair.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from advcore.stats import wilson
from advgen.audit.features import FEATURES
from advgen.audit.report import Finding, Severity
from advgen.audit.rows import Pair

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
        self._values = {name: (array("d"), array("d")) for name in FEATURES}
        self._groups: list[str] = []

    def add(self, pair: Pair) -> None:
        """Measure both sides."""
        self._groups.append(pair.group)
        for name, feature in FEATURES.items():
            values = (feature(pair.chosen), feature(pair.rejected))
            for column, value in zip(self._values[name], values, strict=True):
                column.append(math.nan if None in values or value is None else value)

    def findings(self) -> Iterator[Finding]:
        """One a feature."""
        for name, (chosen, rejected) in self._values.items():
            yield _finding(name, chosen, rejected, self._groups)


def _finding(name: str, chosen: Sequence[float], rejected: Sequence[float], groups: Sequence[str]) -> Finding:
    # A nan is neither more nor less.
    signs = [(mine > other) - (mine < other) for mine, other in zip(chosen, rejected, strict=True)]
    earned = cross_validated(signs, groups)
    overall = score(earned, groups)
    told = [at for at, sign in enumerate(signs) if sign]
    where_differs = score([earned[at] for at in told], [groups[at] for at in told])
    direction = 1 if sum(signs) > 0 else -1
    area = auc(*zip(*_numbers(chosen, rejected), strict=True)) if _numbers(chosen, rejected) else 0.5
    severity = _severity(overall, where_differs, len(told) / len(signs))
    rule = f"{'more' if direction > 0 else 'less'} {name.replace('_', ' ')} means chosen"
    return Finding(
        check=f"shortcut:{name}",
        severity=severity,
        summary=(
            f"{rule}: accuracy {overall}, AUC {area:.2f}; in {len(told)} of {len(signs)} pairs it differs, "
            f"and tells {where_differs} of these"
            if told
            else "never differs within a pair"
        ),
        rows=() if severity == "info" else tuple(at for at in told if signs[at] == direction),
        number=overall.accuracy,
        interval=overall.interval,
        measures={"auc": area, "differs": len(told), "accuracy_where_differs": where_differs.accuracy},
    )


def _numbers(chosen: Sequence[float], rejected: Sequence[float]) -> list[tuple[float, float]]:
    return [pair for pair in zip(chosen, rejected, strict=True) if not math.isnan(pair[0])]


def _severity(overall: Score, where_differs: Score, share: float) -> Severity:
    if overall.interval[0] > MOST:
        return "error"
    return "warning" if where_differs.interval[0] > MOST and share >= _RARE else "info"


def folds(groups: Iterable[str]) -> dict[str, int]:
    """A fold for every exercise, of like numbers of exercises and in no relation to their order."""
    in_order = sorted(set(groups), key=lambda group: (zlib.crc32(group.encode()), group))
    return {group: at % FOLDS for at, group in enumerate(in_order)}


def cross_validated(signs: Sequence[int], groups: Sequence[str]) -> list[float]:
    """What the learned direction earns on each pair: 1 right, 0 wrong, a half for a tie or where nothing was learned.

    `signs` says whether the chosen side has more of the feature (1), less (-1) or neither (0).
    """
    fold, pairs_of = folds(groups), Counter(groups)
    lean: dict[int, float] = defaultdict(float)
    for sign, group in zip(signs, groups, strict=True):
        lean[fold[group]] += sign / pairs_of[group]
    total = sum(lean.values())
    direction = {at: _sign(round(total - lean[at], 9)) for at in lean}
    return [(1 + direction[fold[group]] * sign) / 2 for sign, group in zip(signs, groups, strict=True)]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def score(earned: Sequence[float], groups: Sequence[str]) -> Score:
    """Accuracy with its interval. Pairs of one exercise are alike, so that the exercise is what counts as a trial."""
    by_group: dict[str, list[float]] = defaultdict(list)
    for credit, group in zip(earned, groups, strict=True):
        by_group[group].append(credit)
    right = sum(map(fmean, by_group.values()))
    accuracy = right / len(by_group) if by_group else 0.5
    return Score(accuracy=accuracy, interval=wilson(right, len(by_group)))


def auc(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """The chance that a chosen side has more than a rejected one of any pair, ties half (Mann-Whitney U by ranks)."""
    ranked = sorted([(value, 1) for value in chosen] + [(value, 0) for value in rejected])
    rank_sum, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        rank_sum += (
            sum(is_chosen for _, is_chosen in ranked[at:end]) * (at + 1 + end) / 2
        )  # the ties' mean rank
        at = end
    n = len(chosen)
    return (rank_sum - n * (n + 1) / 2) / (n * len(rejected))
