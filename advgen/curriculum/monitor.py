"""Is another round worth its money: stop rules, and the failure signatures of AKD as warnings with numbers. Pure.

Nothing here stops anything: reasons and warnings are for the report and for whoever starts the next round. A threshold
without a source is ours. Shares decide by their interval, so that a small round is not stopped by chance.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from advcore import stats

LEAST_PARENTS = 2.0  # effective; ours
LEAST_POOL_SHARE = (
    0.1  # effective parents over the pool; ours. Normal z-scores at tau 1 give 1/e = 0.37, at 0.66 0.1
)
LEAST_SOLVABLE = (
    0.2  # SelfCodeAlign (arXiv 2410.24198) keeps 20.8 %, the least of the pipelines that published it
)
LEAST_NOVEL = 0.5  # KodCode (arXiv 2503.02951) loses over half only of its worst source
PASS_RATES = (0.1, 0.8)  # below, ours: next to nothing to learn from; above, the edge of R-Zero's band
SURE_DROP = 0.05  # a share must have fallen by more than this beyond chance; ours

NEAR_ZERO = 0.02  # ours: sigmoid(0.02) = 0.505, and two passes over one young adapter differ by as much
DIP = -0.05  # ours: five points; 164 benchmark tasks show no less
NEAR_DUPLICATES = 0.25  # KodCode's de-duplication takes about a quarter of what strong teachers write
NO_GAIN = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStats:
    """One round in numbers: flat, so that it can be kept as JSON (`dataclasses.asdict`) and read back (`**`)."""

    round: int
    """0 is the first."""
    statements: int
    """Statements that could be read: neither unreadable nor lost with a request."""
    novel: int
    """Those of them that the novelty gate let through."""
    judged: int
    """Novel ones that were run to a verdict: without what the sandbox or a model endpoint lost."""
    solvable: int
    """Those of them that were kept: the teacher's solutions agree and every gate held."""
    mean_pass_rate: float
    """The student's, over the `solvable`; 0 without any."""
    pool: int = 0
    """Exercises this round could be drawn from; 0 in round 0."""
    effective_sample_size: float = 0.0
    """Of the weights it was drawn by (`DrawStats`); 0 in round 0."""
    median_margin: float | None = None
    """Median of |M| over the exercises with a margin that this round was drawn from: `margin`, summed over tokens, even
    where the draw took them per token. None without margins."""
    retest_change: float | None = None
    """Mean over the drawn parents of the pass rate in fresh attempts minus the rate in the pool: the same exercises by
    the student before and after its last training. None without fresh attempts. A draw that prefers low pass rates
    (`regret`) pushes it up by chance."""
    benchmark: float | None = None
    """pass@1 of this round's student on one fixed benchmark, from `advtrain evaluate`; None where not measured."""
    acceptance_rate: float | None = None
    """Share of drafted tokens the teacher accepts from this round's student, measured on the training side; None where
    not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSignature:
    """A failure signature of AKD as a number. `value` is None, and nothing is warned of, where it was not measured."""

    name: str
    measure: str
    value: float | None
    threshold: float
    warned: bool


def stop_reasons(history: Sequence[RoundStats]) -> list[str]:
    """Why no further round should grow from the last of `history` (oldest first); empty is go on.

    R-Zero (arXiv 2508.05004) gains until its second or third round and then loses, as its labels get worse: hence the
    comparison with the round before.
    """
    if not history:
        return []
    now = history[-1]
    reasons = [*_narrow_draw(now), *_poor_yield(now), *_pass_rate_out_of_range(now)]
    return reasons + (_drops(now, history[-2]) if len(history) > 1 else [])


def _narrow_draw(now: RoundStats) -> list[str]:
    least = max(LEAST_PARENTS, LEAST_POOL_SHARE * now.pool)
    if not now.pool or now.effective_sample_size >= least:
        return []
    return [f"the draw rests on {now.effective_sample_size:.1f} of {now.pool} parents, under {least:.1f}"]


def _poor_yield(now: RoundStats) -> list[str]:
    shares = (
        ("solvable", now.solvable, now.judged, LEAST_SOLVABLE),
        ("novel", now.novel, now.statements, LEAST_NOVEL),
    )
    return [
        f"{count} of {total} exercises are {name}, surely under {least:.0%}"
        for name, count, total, least in shares
        if stats.wilson(count, total)[1] < least
    ]


def _pass_rate_out_of_range(now: RoundStats) -> list[str]:
    low, high = stats.wilson(now.mean_pass_rate * now.solvable, now.solvable)
    least, most = PASS_RATES
    if high < least:
        return [f"the student passes {now.mean_pass_rate:.0%} of its attempts, surely under {least:.0%}"]
    if low > most:
        return [f"the student passes {now.mean_pass_rate:.0%} of its attempts, surely over {most:.0%}"]
    return []


def _drops(now: RoundStats, before: RoundStats) -> list[str]:
    shares = (
        ("solvable", (now.solvable, now.judged), (before.solvable, before.judged)),
        ("novel", (now.novel, now.statements), (before.novel, before.statements)),
    )
    return [
        f"{new[0]} of {new[1]} exercises are {name}, surely a drop from {old[0]} of {old[1]} the round before"
        for name, new, old in shares
        if stats.difference(*new, *old)[1] < -SURE_DROP
    ]


def signatures(now: RoundStats, before: RoundStats | None) -> list[FailureSignature]:
    """The four failure signatures AKD names (arXiv 2505.06267), in its order, for the round `now`.

    Margins and likeness are measured on the data side. A dip is a benchmark's where both rounds have one; else the
    drawn parents, tried again, stand in for it. Speculative decoding cannot be measured from data: without acceptance
    rates of both rounds its value is None.
    """
    duplicates = 1 - now.novel / now.statements if now.statements else None
    dip = _gain(now.benchmark, before.benchmark if before else None)
    dip_of = (
        "change of the benchmark's pass@1" if dip is not None else "change of the drawn parents' pass rate"
    )
    accepted = _gain(now.acceptance_rate, before.acceptance_rate if before else None)
    watched: list[tuple[str, str, float | None, Callable[[float, float], bool], float]] = [
        ("margins near zero", "median |margin|", now.median_margin, operator.lt, NEAR_ZERO),
        (
            "dip after an adversarial round",
            dip_of,
            now.retest_change if dip is None else dip,
            operator.lt,
            DIP,
        ),
        ("data too alike", "share of near duplicates", duplicates, operator.gt, NEAR_DUPLICATES),
        ("no faster speculative decoding", "change of the acceptance rate", accepted, operator.le, NO_GAIN),
    ]
    return [
        FailureSignature(
            name=name, measure=measure, value=value, threshold=threshold,
            warned=value is not None and beyond(value, threshold),
        )
        for name, measure, value, beyond, threshold in watched
    ]  # fmt: skip


def _gain(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
