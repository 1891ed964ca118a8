"""What each strategy declares, checked: counts in, verdicts out, for one exercise and for a whole strategy. Pure.

Passes of parent and child must both come from attempts made for this check by one student. The rate a parent was drawn
by will not do: it was drawn because that rate was low, and would be higher the next time by chance alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from advcore import stats
from advcore.stats import Interval

Outcome = Literal["held", "missed", "unclear", "unmeasurable"]
FEWEST_PARENTS = 10  # under this the bootstrap is too narrow to decide by (ours; see stats.bootstrap_mean)


@dataclass(frozen=True, slots=True)
class IntentCheck:
    """Whether an intent held for one exercise. `change` is the child's pass rate minus the parent's, with its 95 %
    interval (Newcombe); None where the intent is not about pass rates or one side has no attempts."""

    outcome: Outcome
    change: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a strategy did over all its exercises."""

    outcome: Outcome
    """By `interval` where there is one, else by `held_interval` against one half; never decided under ten parents."""
    exercises: int
    """Children checked."""
    parents: int
    """Different parents of the children that could be measured."""
    outcomes: Mapping[Outcome, int]
    """Children by verdict. Of six or eight attempts most are `unclear`, whatever the truth."""
    held_share: float | None
    """Held among held, missed and unclear; None without any."""
    held_interval: Interval
    """Wilson's, as if children were independent."""
    change: float | None
    """Mean of the children's changes of pass rate; None where the intent is not about pass rates."""
    interval: Interval | None
    """Its 95 % bootstrap interval by parent, since children of one parent share its attempts."""


def incremental(parent_passes: int, parent_n: int, child_passes: int, child_n: int) -> IntentCheck:
    """Declared: the student passes less often than on the parent. A parent it never solves can only be level or
    exceeded, so its child is `unmeasurable`. With eight attempts a side, 8 passes to 4 hold and 8 to 5 are unclear."""
    if not parent_n or not child_n:
        return IntentCheck("unmeasurable")
    change = child_passes / child_n - parent_passes / parent_n
    interval = stats.difference(child_passes, child_n, parent_passes, parent_n)
    return IntentCheck(_fallen(interval) if parent_passes else "unmeasurable", change, interval)


def opposite(
    same_signature: bool, parent_solution_ran: bool | None, parent_solution_failed: bool
) -> IntentCheck:
    """Declared: same signature and a changed requirement, so that the parent's solution runs and fails.

    `same_signature` leaves names out: same number, order and types of arguments, same result type.
    `parent_solution_ran`: the child's tests called it and it returned values (status `pass` or `fail`); False for one
    that raised, hung or crashed, None when the sandbox gave no verdict.
    """
    if same_signature and parent_solution_ran is None:
        return IntentCheck("unmeasurable")
    return IntentCheck(
        "held" if same_signature and parent_solution_ran and parent_solution_failed else "missed"
    )


def deceptive(
    parent_words: int, child_words: int, parent_passes: int, parent_n: int, child_passes: int, child_n: int
) -> IntentCheck:
    """Declared: a statement no longer than the parent's, solved by fewer attempts. A longer one has missed it, whatever
    its passes; words are those of the statement's prose, examples left out."""
    harder = incremental(parent_passes, parent_n, child_passes, child_n)
    return harder if child_words <= parent_words else IntentCheck("missed", harder.change, harder.interval)


def effect(verdicts: Iterable[tuple[str, IntentCheck]], seed: int) -> Effect:
    """Verdicts of one strategy, each with its parent's id, as one: mean change by bootstrap over parents, share held.

    The mean takes in children of parents at 0, though each alone is unmeasurable. Without them a strategy that changes
    nothing would look harder: a parent that passes by luck stays in, one that fails by luck would be left out.
    """
    pairs = list(verdicts)
    outcomes = Counter(verdict.outcome for _, verdict in pairs)
    judged = len(pairs) - outcomes["unmeasurable"]
    held = stats.wilson(outcomes["held"], judged)
    changes: dict[str, list[float]] = defaultdict(list)
    for parent, verdict in pairs:
        if verdict.change is not None:
            changes[parent].append(verdict.change)
    interval = stats.bootstrap_mean(list(changes.values()), seed) if changes else None
    parents = (
        len(changes) if changes else len({name for name, each in pairs if each.outcome != "unmeasurable"})
    )
    return Effect(
        outcome=_overall(interval, held, parents),
        exercises=len(pairs),
        parents=parents,
        outcomes=dict(outcomes),
        held_share=outcomes["held"] / judged if judged else None,
        held_interval=held,
        change=fmean(each for group in changes.values() for each in group) if changes else None,
        interval=interval,
    )


def _overall(change: Interval | None, held: Interval, parents: int) -> Outcome:
    if not parents:
        return "unmeasurable"
    if parents < FEWEST_PARENTS:
        return "unclear"
    return _fallen(change) if change else _fallen((0.5 - held[1], 0.5 - held[0]))


def _fallen(interval: Interval) -> Outcome:
    """`held` for a change that is below 0 beyond chance, `missed` for one above."""
    low, high = interval
    return "held" if high < 0 else "missed" if low > 0 else "unclear"
