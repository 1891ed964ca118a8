"""A finished dataset verified again, row by row: what it claims must happen in this sandbox too.

`dpo`: chosen passes every test, rejected fails the test it is said to fail. `sft`: the completion passes. `kto`: it
passes or fails as labelled. Each under every one of HASH_SEEDS. Rows are read in batches, so that the size of a dataset
does not matter. Nothing is repaired or written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from advcore import DataError, chat, contract, hub
from advgen.config import SandboxConfig
from advgen.parse import ParseError, code_block
from advgen.verify.verification import SandboxBroken
from sandbox import Limits, Report, Sandbox

HASH_SEEDS = (0, 1)
_BATCH = 64  # rows
CONFIGS = ("dpo", "sft", "kto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A row that does not do what it claims."""

    config: str
    row: int
    """From 0, over all files of its config."""
    exercise_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of a dataset."""

    source: str
    level: str
    """Of the sandbox it was verified in."""
    rows: dict[str, int]
    """By config."""
    lost: tuple[Lost, ...]

    @property
    def reproduced(self) -> bool:
        """Every row does what it claims."""
        return not self.lost


@dataclass(frozen=True, slots=True)
class _Claim:
    """One program, and what it must do: pass, or fail test `fails` (any test where that is -1)."""

    side: str
    code: str
    tests: str
    count: int
    entry_point: str
    passes: bool
    fails: int = -1


def reverify(
    source: str,
    sandbox: SandboxConfig | None = None,
    slots: int = 2,
    progress: Callable[[int, int], None] = lambda done, rows: None,
) -> Summary:
    """Verify every row of a dataset folder, a run folder, or `user/name@revision`.

    `slots` programs run at once; `progress` is told the rows done and the rows there are. Raises DataError where
    there is nothing to verify, SandboxBroken, SandboxUnavailable.
    """
    folder, config = hub.dataset(source), sandbox or SandboxConfig()
    total = row_count(source)
    rows: Counter[str] = Counter()
    lost: list[Lost] = []
    limits = Limits(wall_s=config.wall_s, memory_bytes=config.memory_bytes)
    with ExitStack() as stack:
        boxes = [
            stack.enter_context(
                Sandbox(slots, limits, hash_seed=seed, allow_unsandboxed=config.allow_unsandboxed)
            )
            for seed in HASH_SEEDS
        ]
        for name in CONFIGS:
            stored = stored_rows(folder, name)
            while batch := list(islice(stored, _BATCH)):
                lost += _check(name, batch, boxes)
                rows[name] += len(batch)
                progress(rows.total(), total)
    return Summary(source=source, level=boxes[0].level, rows=dict(rows), lost=tuple(lost))


def row_count(source: str) -> int:
    """How many rows there are to verify. Raises DataError where there are none."""
    folder = hub.dataset(source)
    total: int = sum(_opened(file).metadata.num_rows for name in CONFIGS for file in _files(folder, name))
    if not total:
        raise DataError(f"{source} has no dpo, sft or kto rows")
    return total


def stored_rows(folder: Path, config: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of one config with their numbers, read piece by piece; none without files. Raises DataError."""
    return enumerate(contract.rows(folder, config) if _files(folder, config) else ())


def _files(folder: Path, config: str) -> list[Path]:
    return sorted((folder / config).glob("*.parquet"))


def _opened(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def _check(config: str, batch: Sequence[tuple[int, dict[str, Any]]], boxes: Sequence[Sandbox]) -> list[Lost]:
    reasons: dict[int, str] = {}
    claims: list[tuple[int, _Claim]] = []
    for at, (_, row) in enumerate(batch):
        try:
            claims += [(at, claim) for claim in _claims(config, row)]
        except (
            ParseError, ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError
        ) as error:  # fmt: skip
            reasons[at] = f"cannot be read: {type(error).__name__}: {error}"[:200]
    forms = [chat.forms(claim.code, claim.entry_point) for _, claim in claims]
    programs = [
        (form, claim.tests, claim.entry_point)
        for (_, claim), each in zip(claims, forms, strict=True)
        for form in each
    ]
    for box in boxes:
        reports = iter(box.check_many(programs))
        for (at, claim), each in zip(claims, forms, strict=True):
            if reason := _refuted(claim, list(islice(reports, len(each)))):
                reasons.setdefault(at, f"{claim.side} {reason}")
    return [
        Lost(config=config, row=batch[at][0], exercise_id=str(batch[at][1]["exercise_id"]), reason=reason)
        for at, reason in sorted(reasons.items())
    ]


def _claims(config: str, row: dict[str, Any]) -> Iterator[_Claim]:
    """Raises what its untrusted parts raise: they may be anything."""
    tests = contract.tests_of(row["tests"])
    text, entry_point = contract.suite(tests), str(row["entry_point"])

    def claim(side: str, passes: bool, fails: int = -1) -> _Claim:
        code = code_block(row[side][-1]["content"], entry_point)
        return _Claim(side, code, text, len(tests), entry_point, passes, fails)

    if config == "dpo":
        if not 0 <= row["failed_test"] < len(tests):
            raise ValueError(f"failed_test is {row['failed_test']} of {len(tests)} tests")
        yield claim("chosen", True)
        yield claim("rejected", False, row["failed_test"])
    else:
        yield claim("completion", config == "sft" or row["label"])


def _refuted(claim: _Claim, reports: Sequence[Report]) -> str:
    """How the verdicts contradict the claim, '' where they do not. They are on the program as it stands and, where it
    has any, without its talk: it passes if either does, and fails as it does without.
    """
    for each in reports:
        if each.status == "sandbox_error":
            raise SandboxBroken(each.error.message if each.error else "no verdict")
    passed, report = any(each.passed for each in reports), reports[-1]
    if claim.passes:
        return "" if passed else f"does not pass: {report.status}"
    if passed:
        return "fails no test: pass" if claim.fails < 0 else f"does not fail test {claim.fails}: pass"
    if report.asserts_total != claim.count and report.outcomes:
        return f"is tested by {report.asserts_total} asserts, not by the {claim.count} tests"
    failed = [at for at, outcome in enumerate(report.outcomes) if outcome in ("fail", "error")]
    if claim.fails >= 0:
        return "" if claim.fails in failed else f"does not fail test {claim.fails}: {report.status}"
    return "" if failed else f"fails no test: {report.status}"
