"""From a pool to sampling weights: AKD's rule, three others beside it, and a mix of them. Pure.

`margin` is AKD's softmax over minus the margin (arXiv 2505.06267): a small margin is one the student does not tell
apart. Margins are z-scored first, because after a short training they are all near zero and the raw softmax would be
uniform; that hides how small they are, which `monitor` warns of. The other rules read pass rates, and those are as old
as the round that measured them. Round 0 has no margins: there is nothing to draw.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Weights = dict[str, float]  # by exercise id; they sum to 1
Pool = Sequence[Mapping[str, Any]]  # kept rows of the `raw` config

# Pass rates worth training on. R-Zero (arXiv 2508.05004) keeps 0.3 to 0.8; gradients are largest at 0.5 (Prompt
# Curriculum Learning, arXiv 2510.01135).
BAND = (0.3, 0.8)


def usable_margins(rows: Iterable[Mapping[str, Any]], length_normalised: bool) -> dict[str, float]:
    """Finite margins by exercise id from rows of the `margins` config, without those of dropped exercises.

    A summed log ratio grows with the length of the programs; `length_normalised` takes `margin_per_token` instead.
    """
    column = "margin_per_token" if length_normalised else "margin"
    return {
        row["exercise_id"]: row[column] for row in rows if not row["dropped"] and math.isfinite(row[column])
    }


def sampling_weights(
    pool: Pool, margins: Mapping[str, float], rule: str, tau: float, mix: Mapping[str, float] | None = None
) -> Weights:
    """Weights that sum to 1, by exercise id, for the kept rows of `pool`.

    `margins` maps exercise ids to M = R(chosen) - R(rejected); an exercise without one takes the median weight.
    With the rule `mix`, they are the share-weighted sum of the weights of the rules that `mix` names.
    """
    shares = mix or {} if rule == "mix" else {rule: 1.0}
    parts = [(share, _by_rule(pool, margins, name, tau)) for name, share in shares.items()]
    return _normalised({key: sum(share * part[key] for share, part in parts) for key in _ids(pool)})


def weighed(weights: Weights, p_true: Mapping[str, float]) -> Weights:
    """The weights times the probability that an exercise is right: a wrong suite makes an exercise look hard, so that
    whatever seeks the hard ones seeks label errors. Unknown is 1.
    """
    return _normalised({key: weight * p_true.get(key, 1.0) for key, weight in weights.items()})


def _by_rule(pool: Pool, margins: Mapping[str, float], rule: str, tau: float) -> Weights:
    if rule == "margin":
        return _normalised(_margin_weights(_ids(pool), margins, tau))
    if rule == "uniform":
        return _normalised(dict.fromkeys(_ids(pool), 1.0))
    score = {"band": _in_band, "regret": _regret}[rule]
    return _normalised({row["exercise_id"]: score(row) for row in pool})


def _ids(pool: Pool) -> list[str]:
    return list(dict.fromkeys(row["exercise_id"] for row in pool))


def _margin_weights(ids: Sequence[str], margins: Mapping[str, float], tau: float) -> Weights:
    """exp(-z / tau). Only known margins set mean and spread: filled ones would make every other look extreme."""
    known = {key: -margins[key] for key in ids if math.isfinite(margins.get(key, math.nan))}
    standard = _standardised(known)
    top = max(standard.values(), default=0.0)
    weights = {key: math.exp((score - top) / tau) for key, score in standard.items()}
    middle = statistics.median(weights.values()) if weights else 1.0
    return {key: weights.get(key, middle) for key in ids}


def _standardised(scores: Mapping[str, float]) -> Weights:
    spread = statistics.pstdev(scores.values()) if scores else 0.0
    if spread == 0:
        return dict.fromkeys(scores, 0.0)
    mean = statistics.fmean(scores.values())
    return {key: (score - mean) / spread for key, score in scores.items()}


def _in_band(row: Mapping[str, Any]) -> float:
    """The probability that the pass rate lies in BAND, given the attempts and a uniform prior.

    Smooth because six attempts do not measure a pass rate: one with no pass may still be at 0.3, and keeps a little
    weight. Posterior Beta(k + 1, n - k + 1) for k passes in n attempts.
    """
    count = row["n_attempts"]
    passes = round(row["student_pass_rate"] * count)
    low, high = (_beta_below(edge, passes, count) for edge in BAND)
    return high - low


def _beta_below(edge: float, passes: int, count: int) -> float:
    """P(x <= edge) for x ~ Beta(passes + 1, count - passes + 1): the chance of more than `passes` in count + 1."""
    trials = count + 1
    return sum(
        math.comb(trials, hits) * edge**hits * (1 - edge) ** (trials - hits)
        for hits in range(passes + 1, trials + 1)
    )


def _regret(row: Mapping[str, Any]) -> float:
    """Teacher's minus student's pass rate: solvable, and not by the student (PAIRED, arXiv 2012.02096)."""
    return max(float(row["teacher_pass_rate"] - row["student_pass_rate"]), 0.0)


def _normalised(scores: Mapping[str, float]) -> Weights:
    """Shares of the total; uniform when there is nothing to share."""
    total = sum(scores.values())
    return {key: score / total if total else 1 / len(scores) for key, score in scores.items()}


def effective_sample_size(weights: Mapping[str, float]) -> float:
    """1 / sum(w^2) (Kish 1965): how many parents the draw rests on; near 1 it has collapsed onto one."""
    return 1 / sum(weight**2 for weight in weights.values()) if weights else 0.0


def entropy(weights: Mapping[str, float]) -> float:
    """Shannon entropy in nats: log(n) for n equal weights, 0 when one has all."""
    return -sum(weight * math.log(weight) for weight in weights.values() if weight) + 0.0
