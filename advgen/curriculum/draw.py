"""From weights to parents: which exercises a round grows from, by which strategy, and that draw in numbers. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from advgen.config import CurriculumConfig
from advgen.curriculum.weights import (
    Pool,
    effective_sample_size,
    entropy,
    sampling_weights,
    usable_margins,
    weighed,
)

Pick = tuple[
    str, str
]  # id of the parent, strategy; `seed` asks for a plain new exercise on the parent's subtopic


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStats:
    """A draw in numbers."""

    rule: str
    """Of the draw; shares of a mix are in the config."""
    pool: int
    """Exercises that could be drawn."""
    with_margin: int
    """Those of them that have a margin; the others took the median weight of the rule `margin`."""
    parents: int
    """Different parents drawn, refreshers apart."""
    refreshers: int
    """Plain new exercises among what was drawn."""
    effective_sample_size: float
    """1 / sum(w^2) of the weights, 1 to `pool`."""
    entropy_nats: float
    """Of the weights, 0 to log(`pool`)."""
    entropy_share: float
    """`entropy_nats` over log(`pool`): 1 is uniform; 1 as well for a pool of one."""
    top_parent_share: float
    """Share of the most drawn parent, refreshers apart."""


def plan(
    pool: Pool,
    margin_rows: Sequence[Mapping[str, Any]],
    how: CurriculumConfig,
    count: int,
    seed: int,
    p_true: Mapping[str, float] = MappingProxyType({}),
) -> tuple[list[Pick], DrawStats]:
    """`count` picks from `pool` as `how` says, refreshers last; and the draw in numbers.

    `pool` are kept rows of the `raw` config, at least one; `margin_rows` rows of the `margins` config, or none.
    `p_true` is the probability that an exercise is right, by id; 1 where it is not known.
    """
    margins = usable_margins(margin_rows, how.length_normalised)
    weights = sampling_weights(pool, margins, how.rule, how.tau, how.mix)
    if how.weigh_truth:
        weights = weighed(weights, p_true)
    easy = refreshers(pool, margins, round(how.refresh * count), seed)
    hard = draw(weights, how.strategies, count - len(easy), seed)
    stats = _describe(
        weights, hard, rule=how.rule, refreshed=len(easy), with_margin=len(margins.keys() & weights)
    )
    return hard + [(parent, "seed") for parent in easy], stats


def draw(weights: Mapping[str, float], strategies: Sequence[str], count: int, seed: int) -> list[Pick]:
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


def refreshers(pool: Pool, margins: Mapping[str, float], count: int, seed: int) -> list[str]:
    """`count` exercises from the easier half of `pool`, each before any twice, for plain new ones beside them.

    Easier is a higher student pass rate; at the same rate (a weak student solves nothing) a higher margin; no margin
    comes last. Source: Lion (arXiv 2305.12870) writes as many easy as hard instructions a round, against forgetting.
    That what is asked for is easy is hoped, not checked: the pass rate of the round's `seed` rows shows it.
    """
    ranked = sorted(pool, key=lambda row: _ease(row, margins), reverse=True)
    easier = [row["exercise_id"] for row in ranked[: (len(ranked) + 1) // 2]]
    random.Random(f"refreshers {seed}").shuffle(easier)
    return [easier[at % len(easier)] for at in range(count)]


def _ease(row: Mapping[str, Any], margins: Mapping[str, float]) -> tuple[float, float, str]:
    name = row["exercise_id"]
    return row["student_pass_rate"], margins.get(name, -math.inf), name


def _describe(
    weights: Mapping[str, float], hard: Sequence[Pick], *, rule: str, refreshed: int, with_margin: int
) -> DrawStats:
    drawn = Counter(parent for parent, _ in hard)
    nats = entropy(weights)
    return DrawStats(
        rule=rule,
        pool=len(weights),
        with_margin=with_margin,
        parents=len(drawn),
        refreshers=refreshed,
        effective_sample_size=effective_sample_size(weights),
        entropy_nats=nats,
        entropy_share=nats / math.log(len(weights)) if len(weights) > 1 else 1.0,
        top_parent_share=max(drawn.values()) / drawn.total() if drawn else 0.0,
    )
