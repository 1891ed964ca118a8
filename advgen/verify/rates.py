"""What a calibration counts, and the rates that come of it. Data and sums only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from advcore.stats import Interval, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Misclassified:
    """A known program on which the verifier errs, or a rewrite that turned out to be none."""

    exercise_id: str
    operator: str
    code: str
    witness: str = ""
    """The call on which it differs from the reference, with both values; for a false reject, the verifier's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Of one operator: programs made, those whose truth was shown, and the errors among these."""

    made: int = 0
    known: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares, the mean over exercises, with their 95 % Wilson intervals: programs of one exercise are alike, so that it
    is what counts as a trial.
    """

    exercises: int
    skipped: int
    """Exercises whose reference fails its own tests, or whose tests hold no plain calls."""
    false_accept: float
    false_accept_interval: Interval
    false_reject: float
    false_reject_interval: Interval
    wrong: dict[str, Count]
    """By operator; `known` are the mutants shown to be wrong, the others may well be equivalent."""
    undecided: int
    """Mutants that differ from the reference only where accepted solutions differ too: not known to be wrong."""
    right: dict[str, Count]
    """By rewrite; `made - known` are bad rewrites, which differ from the reference after all."""
    survivors: tuple[Misclassified, ...]
    """The false accepts, for a person to look at."""
    rejected: tuple[Misclassified, ...]
    bad_rewrites: tuple[Misclassified, ...]

    def summary(self) -> dict[str, Any]:
        """Plain values, with numbers of programs in the place of programs."""
        programs = ("survivors", "rejected", "bad_rewrites")
        return {**asdict(self), **{name: len(getattr(self, name)) for name in programs}}


def flip_rate(false_reject: float, consensus: Mapping[str, Any] | None) -> float:
    """The share of pairs whose rejected side is right: as measured on a benchmark's statements, else at most the share
    of right rewrites that were rejected.
    """
    share = (consensus or {}).get("pairs", {}).get("inverted", {}).get("share")
    return false_reject if share is None else float(share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One program that was made, whether its truth was shown, and whether the verifier erred then."""

    exercise_id: str
    operator: str
    known: bool
    error: bool


@dataclass(slots=True)
class Tally:
    """What is counted on the way."""

    exercises: int = 0
    skipped: int = 0
    undecided: int = 0
    wrong: list[Case] = field(default_factory=list)
    right: list[Case] = field(default_factory=list)
    survivors: list[Misclassified] = field(default_factory=list)
    rejected: list[Misclassified] = field(default_factory=list)
    bad_rewrites: list[Misclassified] = field(default_factory=list)

    def rates(self) -> Rates:
        accept, accept_interval = _rate(self.wrong)
        reject, reject_interval = _rate(self.right)
        return Rates(
            exercises=self.exercises, skipped=self.skipped,
            false_accept=accept, false_accept_interval=accept_interval,
            false_reject=reject, false_reject_interval=reject_interval,
            wrong=_counts(self.wrong), right=_counts(self.right), undecided=self.undecided,
            survivors=tuple(self.survivors), rejected=tuple(self.rejected), bad_rewrites=tuple(self.bad_rewrites),
        )  # fmt: skip


def _rate(cases: Sequence[Case]) -> tuple[float, Interval]:
    errors = defaultdict(list)
    for case in cases:
        if case.known:
            errors[case.exercise_id].append(case.error)
    shares = [sum(each) / len(each) for each in errors.values()]
    return (sum(shares) / len(shares) if shares else 0.0), wilson(sum(shares), len(shares))


def _counts(cases: Sequence[Case]) -> dict[str, Count]:
    made, known, errors = (
        Counter(case.operator for case in cases if wanted(case))
        for wanted in (lambda _: True, lambda case: case.known, lambda case: case.error)
    )
    return {name: Count(made=made[name], known=known[name], errors=errors[name]) for name in sorted(made)}
