"""The sandbox's vocabulary: what a run may use, how it can end, and what is said about it.

Holds data only: nothing here starts a process or decides a verdict. `box` fills these in, callers read them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal[
    "pass",  # every assert that had to run ran and held
    "fail",  # an assert was false
    "error",  # the solution raised, or lacks a name that the tests use
    "timeout",
    "memory",
    "output_limit",
    "crash",  # the solution's process was killed by a signal
    "exited",  # the solution ended its process, or tried to
    "tampered",  # the solution broke the protocol it is asked through, or forged an in-process pass
    "no_tests",  # no assert was executed
    "test_error",  # the tests themselves cannot be compiled or broke without touching the solution
    "sandbox_error",  # infrastructure: never scored as a fail
]
Outcome = Literal["pass", "fail", "error", "not_run"]
Mode = Literal["split", "in-process"]


MAX_WALL_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What each process of one run may use."""

    wall_s: float = 4.0
    """Wall-clock time of the whole run; CPU time is capped just above it."""
    memory_bytes: int = 1 << 30
    """Address space of each process, the interpreter's own ~40 MB included; what is preloaded comes on top."""
    output_bytes: int = 1 << 20
    """Standard output of the solution; one byte more is `output_limit`."""
    scratch_bytes: int = 0
    """A /tmp of this size for the run, emptied after it; with 0 there is nowhere to write. Needs level L3."""
    threads: int = 32
    """Processes and threads of one slot together (only where a user namespace or a slot uid does the
    counting).
    """

    def __post_init__(self) -> None:
        if not (self.wall_s <= MAX_WALL_S and self.memory_bytes < 1 << 62):  # not a number, too
            raise ValueError(f"limits beyond a day or an address space: {self}")
        least = self.output_bytes >= 1 and self.threads >= 4 and self.scratch_bytes >= 0
        if self.wall_s <= 0 or self.memory_bytes < 1 << 26 or not least:
            raise ValueError(f"limits too small to start an interpreter: {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The first thing that went wrong in a run."""

    type: str
    message: str
    assert_index: int | None = None
    """Which assert site, counted from 0 in source order; None when it was not an assert."""
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The verdict on one solution against one test text."""

    status: Status
    asserts_run: int = 0
    """Executions; a loop may make it larger than `asserts_total`."""
    asserts_total: int = 0
    """Assert sites in the test text."""
    outcomes: tuple[Outcome, ...] = ()
    """One per assert site, in source order."""
    error: Failure | None = None
    stdout: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    max_rss_bytes: int = 0
    mode: Mode = "split"
    level: str = "L0"
    layers: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.status == "pass"

    def to_json(self) -> dict[str, Any]:
        """Plain types only, for a journal or a dataset column."""
        return asdict(self) | {"outcomes": list(self.outcomes), "layers": list(self.layers)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What one call of the solution gave."""

    status: str
    """`ok`, or the status the call failed with."""
    value: Any = None
    """Rebuilt from tagged JSON: exact builtin types only."""
    error: str | None = None
    """`Type: message`."""
    mutated_args: tuple[Any, ...] | None = None
    """The arguments as the call left them; None where they cannot cross."""


class SandboxUnavailable(RuntimeError):
    """This machine cannot contain untrusted code well enough; the text names the layer and the cures."""

    exit_code = 1  # of a command that ends by it
