"""Which exercises the next round grows from: margins -> sampling weights -> drawn parents with strategies. Pure.

Source of the rule: AKD (arXiv 2505.06267), exercises sampled by a softmax over minus their margin, a small margin being
one the student does not tell apart. Margins are z-scored first, because after a short training they are all near zero
and the raw softmax would be uniform. Round 0 has no margins: there is nothing to draw.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def sampling_weights(
    pool: Sequence[Mapping[str, Any]], margins: Mapping[str, float], rule: str, tau: float
) -> dict[str, float]:
    """Weights that sum to 1, by exercise id, for the kept rows of `pool` (columns of the `raw` config).

    `margins` maps exercise ids to M = R(chosen) - R(rejected); an exercise without one takes the median weight.
    """
    scores = {row["exercise_id"]: _score(row, margins, rule) for row in pool}
    known = [score for score in scores.values() if score is not None]
    middle = statistics.median(known) if known else 0.0
    filled = {key: middle if score is None else score for key, score in scores.items()}
    return _softmax(_standardised(filled), tau) if rule == "margin" else _normalised(filled)


def _score(row: Mapping[str, Any], margins: Mapping[str, float], rule: str) -> float | None:
    if rule == "margin":
        margin = margins.get(row["exercise_id"])
        return -margin if margin is not None and math.isfinite(margin) else None
    student = row["student_pass_rate"]
    if rule == "band":
        return float(student * (1 - student))
    if rule == "regret":
        return float(max(row["teacher_pass_rate"] - student, 0.0))
    return 1.0


def _standardised(scores: dict[str, float]) -> dict[str, float]:
    spread = statistics.pstdev(scores.values()) if scores else 0.0
    if spread == 0:
        return dict.fromkeys(scores, 0.0)
    mean = statistics.fmean(scores.values())
    return {key: (score - mean) / spread for key, score in scores.items()}


def _softmax(scores: dict[str, float], tau: float) -> dict[str, float]:
    top = max(scores.values(), default=0.0)
    return _normalised({key: math.exp((score - top) / tau) for key, score in scores.items()})


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    """Shares of the total; uniform when there is nothing to share."""
    total = sum(scores.values())
    return {key: score / total if total else 1 / len(scores) for key, score in scores.items()}


def effective_sample_size(weights: Mapping[str, float]) -> float:
    """1 / sum(w^2): how many parents the draw really rests on; near 1 it has collapsed onto one."""
    return 1 / sum(weight**2 for weight in weights.values()) if weights else 0.0


def draw(
    weights: Mapping[str, float], strategies: Sequence[str], count: int, seed: int
) -> list[tuple[str, str]]:
    """`count` pairs (exercise id, strategy): parents with replacement by weight, strategies in turn.

    A parent drawn again meets another strategy as long as there is one it has not met.
    """
    chance = random.Random(seed)
    parents = chance.choices(list(weights), list(weights.values()), k=count)
    met: dict[str, set[str]] = {}
    pairs = []
    for index, parent in enumerate(parents):
        turn = [strategies[(index + shift) % len(strategies)] for shift in range(len(strategies))]
        strategy = next((each for each in turn if each not in met.get(parent, set())), turn[0])
        met.setdefault(parent, set()).add(strategy)
        pairs.append((parent, strategy))
    return pairs
