"""The verifier's own error rates, on programs whose truth is known by construction.

Known-wrong: mutants of a reference by operators that no gate uses, shown to be wrong by an input, from a generator that
no gate uses either, on which they return another value than every accepted solution; where accepted solutions differ
among themselves the statement leaves the value open, and a mutant that shows only there is counted apart. Known-right:
rewrites that keep the meaning. A false accept is a known-wrong program that passes every test of its exercise, a false
reject a known-right one that does not. Both are made from references: the errors that models make are not sampled, and
tests that ask for more than the statement says are not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError, contract
from advcore.literals import arguments, same
from advgen.config import GateConfig, SandboxConfig
from advgen.parse import Call, ParseError, stored
from advgen.verify import drawn
from advgen.verify.edits import Variant, variants
from advgen.verify.failure import bounded
from advgen.verify.fit import Signature
from advgen.verify.operators import FAMILY
from advgen.verify.rates import Case, Misclassified, Rates, Tally
from advgen.verify.reverify import stored_rows
from advgen.verify.rewrites import rewrites
from advgen.verify.stored import Stored
from advgen.verify.verification import Attempt, SandboxBroken
from advgen.verify.verifier import Test, Verifier
from sandbox import Limits, Output, Sandbox

INPUTS = 400  # drawn an exercise, beside its tests' own
_CALLS_A_RUN = 50  # a call that does not end takes the rest of its run with it
_RUN_WALL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationExercise:
    """What is calibrated on."""

    exercise_id: str
    entry_point: str
    reference: str
    tests: tuple[Test, ...]
    others: tuple[str, ...] = ()
    """Further accepted solutions."""
    stub: str = ""
    """The statement, where it is known: on inputs that it is not about nobody errs."""


def exercises_of(folder: Path) -> Iterator[CalibrationExercise]:
    """The kept exercises of a dataset folder's `raw` config, with their accepted solutions. Raises DataError."""
    seen: set[str] = set()
    for _, row in stored_rows(folder, "raw"):
        if row["status"] == "kept" and row["exercise_id"] not in seen:
            seen.add(row["exercise_id"])
            yield from _exercise(row)


def _exercise(row: dict[str, Any]) -> Iterator[CalibrationExercise]:
    """None where the row cannot be read: that it does not reproduce is for `reverify` to say."""
    try:
        right = [each.code for each in Stored(row).right]
        tests = tuple(contract.tests_of(row["tests"]))
    except DataError:
        return
    if right and all(isinstance(code, str) for code in right):
        yield CalibrationExercise(
            exercise_id=row["exercise_id"], entry_point=row["entry_point"], reference=right[0], tests=tests,
            others=tuple(right[1:]), stub=row["stub"],
        )  # fmt: skip


def calibrate(
    exercises: Iterable[CalibrationExercise],
    limit: int,
    sandbox: SandboxConfig | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Rates:
    """Error rates over `exercises`, with at most `limit` wrong and `limit` right programs of each.

    `progress` is told the number of exercises done. Raises SandboxBroken, SandboxUnavailable.
    """
    config, tally = sandbox or SandboxConfig(), Tally()
    limits = Limits(wall_s=_RUN_WALL_S, memory_bytes=config.memory_bytes)
    with (
        Verifier(config, GateConfig()) as verifier,
        Sandbox(1, limits, hash_seed=1, allow_unsandboxed=config.allow_unsandboxed) as box,
    ):
        for done, exercise in enumerate(exercises, 1):
            _calibrate_one(_Bench(exercise, verifier, box), limit, tally)
            progress(done)
    return tally.rates()


_Known = list[tuple[drawn.Args, Any]]


class _Bench:
    """One exercise: its reference's values on many inputs, against which others are held."""

    def __init__(self, exercise: CalibrationExercise, verifier: Verifier, box: Sandbox) -> None:
        self.exercise, self._verifier, self._box = exercise, verifier, box
        self.settled: _Known = []
        """Where all accepted solutions return one value."""
        self.open: _Known = []
        """Where they do not, or one raises."""
        self._reference_s = 0.0

    def opened(self) -> bool:
        """Whether the reference passes, and there are inputs to hold others against."""
        started = time.monotonic()
        if not self.check(self.exercise.reference).passed:
            return False
        self._reference_s = time.monotonic() - started
        try:
            seeds = [arguments(test["call"]) for test in self.exercise.tests]
        except (ValueError, KeyError):
            return False
        further = [args for args in drawn.inputs(seeds, INPUTS) if self._is_about(args)]
        for part in _parts([*seeds, *further]):
            mine = self._outputs(self.exercise.reference, part)
            theirs = [self._outputs(code, part) for code in self.exercise.others]
            for args, output, *others in zip(part, mine, *theirs, strict=True):
                if output.status == "ok":
                    agreed = all(each.status == "ok" and same(output.value, each.value) for each in others)
                    (self.settled if agreed else self.open).append((args, output.value))
        return bool(self.settled)

    def _is_about(self, args: drawn.Args) -> bool:
        """Whether the statement is about them, where the row has one."""
        stub = self.exercise.stub
        return not stub or Signature(stored(stub)).is_about(Call("", args))

    def check(self, code: str) -> Attempt:
        """As the verifier does with an attempt."""
        exercise = self.exercise
        return self._verifier.check(code, exercise.entry_point, exercise.tests, self._reference_s)

    def witness(self, code: str, known: _Known, errors: bool = False) -> str:
        """A call among `known` on which `code` returns something else than the reference, '' where none is found.

        Only values count, and with `errors` what is raised: what does not end may be the machine's fault. The search
        ends where a run does.
        """
        for part in _parts(known):
            outputs = self._outputs(code, [args for args, _ in part])
            for (args, value), output in zip(part, outputs, strict=True):
                if output.status == "ok" and not same(value, output.value):
                    return self._difference(args, value, repr(output.value))
                if errors and output.status == "error":
                    return self._difference(args, value, str(output.error))
            if outputs[-1].status not in ("ok", "error"):
                return ""
        return ""

    def _difference(self, args: drawn.Args, value: Any, got: str) -> str:
        return bounded(f"{self.exercise.entry_point}({', '.join(map(repr, args))}) is {value!r}, not {got}")

    def _outputs(self, code: str, inputs: Sequence[drawn.Args]) -> list[Output]:
        outputs = self._box.call(code, self.exercise.entry_point, inputs)
        if outputs[0].status == "sandbox_error":
            raise SandboxBroken(str(outputs[0].error))
        return outputs


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + _CALLS_A_RUN] for at in range(0, len(items), _CALLS_A_RUN))


def _calibrate_one(bench: _Bench, limit: int, tally: Tally) -> None:
    tally.exercises += 1
    try:
        if not bench.opened():
            tally.skipped += 1
            return
        reference = bench.exercise.reference
        wrong, right = variants(reference, FAMILY, limit), rewrites(reference, limit)
    except ParseError:
        tally.skipped += 1
        return
    for variant in wrong:
        _check_wrong(bench, variant, tally)
    for variant in right:
        _check_right(bench, variant, tally)


def _check_wrong(bench: _Bench, variant: Variant, tally: Tally) -> None:
    witness = bench.witness(variant.source, bench.settled)
    survives = bool(witness) and bench.check(variant.source).passed
    tally.wrong.append(_case(bench, variant, known=bool(witness), error=survives))
    if survives:
        tally.survivors.append(_misclassified(bench, variant, witness))
    elif not witness:
        tally.undecided += bool(bench.witness(variant.source, bench.open))


def _check_right(bench: _Bench, variant: Variant, tally: Tally) -> None:
    if witness := bench.witness(variant.source, [*bench.settled, *bench.open], errors=True):
        tally.right.append(_case(bench, variant, known=False, error=False))
        tally.bad_rewrites.append(_misclassified(bench, variant, witness))
        return
    attempt = bench.check(variant.source)
    tally.right.append(_case(bench, variant, known=True, error=not attempt.passed))
    if not attempt.passed:
        tally.rejected.append(_misclassified(bench, variant, f"{attempt.failure_kind}: {attempt.detail}"))


def _case(bench: _Bench, variant: Variant, known: bool, error: bool) -> Case:
    name = bench.exercise.exercise_id
    return Case(exercise_id=name, operator=variant.operator, known=known, error=error)


def _misclassified(bench: _Bench, variant: Variant, witness: str) -> Misclassified:
    name = bench.exercise.exercise_id
    return Misclassified(exercise_id=name, operator=variant.operator, code=variant.source, witness=witness)
