"""Intervals for shares and for their differences. Pure standard library; no tests of significance, no models."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Interval = tuple[float, float]
Z95 = 1.959964  # the 97.5 % point of the normal distribution


def wilson(successes: float, n: int, z: float = Z95) -> Interval:
    """Wilson's score interval (Wilson 1927) for a share, within [0, 1]; (0, 1) without trials.

    `successes` may be a sum of shares, one a trial: the interval is then too wide rather than too narrow.
    """
    if not n:
        return 0.0, 1.0
    rate = successes / n
    middle = rate + z * z / (2 * n)
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def difference(successes: float, n: int, others: float, others_n: int, z: float = Z95) -> Interval:
    """Interval for `successes / n - others / others_n`, two independent shares; (-1, 1) where one has no trials.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17:873-890, method 10: the two Wilson intervals, joined by the squares of their arms.
    """
    if not n or not others_n:
        return -1.0, 1.0
    first, second = successes / n, others / others_n
    (low, high), (other_low, other_high) = wilson(successes, n, z), wilson(others, others_n, z)
    change = first - second
    return (
        max(-1.0, change - math.hypot(first - low, other_high - second)),
        min(1.0, change + math.hypot(high - first, second - other_low)),
    )


def bootstrap(
    groups: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int, draws: int = 2000
) -> Interval:
    """95 % percentile interval (Efron 1979) for `statistic` of all groups, resampling whole groups.

    Values of one group (children of one parent, samples of one task) are alike, so that a group is what is
    drawn; where nothing is alike, make each value a group. Too narrow under about ten groups, and of no
    width for a single one (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). Raises ValueError without groups.
    """
    if not groups:
        raise ValueError("no values to resample")
    chance = random.Random(seed)
    drawn = sorted(statistic(chance.choices(groups, k=len(groups))) for _ in range(draws))
    return drawn[int(0.025 * draws)], drawn[math.ceil(0.975 * draws) - 1]


def bootstrap_mean(groups: Sequence[Sequence[float]], seed: int, draws: int = 2000) -> Interval:
    """`bootstrap` for the mean of all values. Raises ValueError when no group holds a value."""
    return bootstrap([(math.fsum(group), len(group)) for group in groups if group], _mean, seed, draws)


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    return math.fsum(total for total, _ in sums) / sum(size for _, size in sums)
