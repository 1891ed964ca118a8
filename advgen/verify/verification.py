"""What a verification and an attempt amount to: data only, so that it can go from process to process by pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


class SandboxBroken(RuntimeError):
    """The sandbox itself failed, twice, on one run: infrastructure, never a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What the teacher could repair, in words that can be put before it; `prompts/repair.j2`, `more_calls.j2`."""

    kind: Literal["solution", "calls"]
    code: str = ""
    """The program at fault, as it came; empty where further calls are wanted."""
    report: str
    """What the sandbox saw, at most `feedback.MAX_REPORT_CHARS` long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the runs showed of one exercise. `status` is `kept` or the gate that turned it away, with its reason."""

    status: str
    reason: str = ""
    tests: tuple[dict[str, Any], ...] = ()
    right: tuple[str, ...] = ()
    """Solutions that pass every test; the first is the reference."""
    given: int = 0
    """How many of `right`, the last ones, came with the task and its tests; 0 where the tests are by agreement."""
    teacher_pass_rate: float = 0.0
    kill_rate: float = 0.0
    """Share of the reference's mutants that fail a test."""
    coverage: float = 0.0
    """Share of the reference's blocks that the tests enter, 0 to 1; see `coverage`."""
    reference_s: float = 0.0
    """Wall time of the reference on all tests, the start of its process included."""
    complaints: tuple[Complaint, ...] = ()
    """Empty where the exercise is kept, and where nothing is there to be repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One program against the tests of its exercise. `failed_test` is -1 where none failed or none was reached."""

    code: str
    """The form that was run; '' where there is none."""
    status: str
    """A verdict of the sandbox, `unreadable`, or `flaky`: a failure that did not repeat."""
    failure_kind: str = ""
    """See `failure`; empty for a pass."""
    failed_test: int = -1
    failed: tuple[int, ...] = ()
    """All tests that failed, by index."""
    detail: str = ""
    thoughts: str = ""
    """What the reply thought aloud before its answer."""

    @property
    def passed(self) -> bool:
        """All tests passed."""
        return self.status == "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Who says what on one test. `against` counts those that agree on one other outcome, the commonest."""

    teacher: int
    """Solutions that come to what is expected."""
    teacher_against: int
    student: int
    """Attempts that come to what is expected."""
    student_against: int
    stated: bool
    """An example of the statement says so."""
    backed: bool
    """A solution of the teacher says what those attempts say that are against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What solutions and attempts say of a suite and of each other, all run on its tests and on generated inputs."""

    votes: tuple[Votes, ...]
    """By test."""
    attempts: int
    like_reference: float
    """Share of solutions and attempts that come to what the reference does on every input; itself included."""
    like_attempt: tuple[float, ...]
    """By attempt, the share of all the others that are another program and come to what it does on every input."""
    passing_alike: tuple[int, ...] = ()
    """Attempts that pass, and do as the reference does."""
    given: bool = False
    """The tests came with the exercise: there is nothing to be said of them."""

    @property
    def contested(self) -> int | None:
        """The first test against which half of the attempts agree among themselves and with a solution."""
        found = (
            at
            for at, vote in enumerate(self.votes)
            if vote.backed
            and vote.student_against > vote.student
            and 2 * vote.student_against >= self.attempts
        )
        return next(found, None)


TRUE = Testimony(votes=(), attempts=0, like_reference=1.0, like_attempt=(), given=True)
"""Of given tests."""
