"""Proof by execution: solutions x tests, test strength, determinism, student attempts. The only user of `sandbox`.

Expected values are what independent solutions agree on; asserts written from the statement alone are the cross-check.
Nothing a model wrote runs outside the sandbox, and a `sandbox_error` is never counted as a failed program: it raises.
"""

from __future__ import annotations

import builtins
import json
import math
import platform
from ast import literal_eval
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from advcore.contract import assertion
from advgen.config import GateConfig, SandboxConfig
from advgen.mutants import mutants
from advgen.parse import Call, ParseError, Statement, program
from sandbox import Limits, Report, Sandbox

MAX_VALUE_CHARS = 2_000  # an expected value longer than this is no test that a person would read
HASH_SEEDS = (0, 1)  # the first decides, the others must agree


class SandboxBroken(RuntimeError):
    """The sandbox itself failed, twice, on one run: infrastructure, never a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the runs showed of one exercise. `status` is `kept` or the gate that turned it away, with its reason."""

    status: str
    reason: str = ""
    tests: tuple[dict[str, Any], ...] = ()
    right: tuple[str, ...] = ()
    """Solutions that pass every test."""
    teacher_pass_rate: float = 0.0
    kill_rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One program against the tests of its exercise. `failed_test` is -1 where none failed or none was reached."""

    code: str
    status: str
    failure_kind: str = ""
    failed_test: int = -1
    detail: str = ""

    @property
    def passed(self) -> bool:
        """All tests passed."""
        return self.status == "pass"


class Prover:
    """Holds the sandboxes: one a hash seed, since a program must behave alike under all of them."""

    def __init__(self, config: SandboxConfig, gate: GateConfig) -> None:
        self.gate = gate
        limits = Limits(wall_s=config.wall_s, memory_bytes=config.memory_bytes)
        self.boxes = [
            Sandbox(1, limits, hash_seed=seed, allow_unsandboxed=config.allow_unsandboxed)
            for seed in HASH_SEEDS
        ]

    def __enter__(self) -> Prover:
        return self

    def __exit__(self, *_: object) -> None:
        for box in self.boxes:
            box.close()

    def describe(self) -> str:
        """The `sandbox` column: level, layers, interpreter."""
        box = self.boxes[0]
        return json.dumps(
            {"level": box.level, "layers": list(box.layers), "python": platform.python_version()}
        )

    def prove(
        self,
        exercise: Statement,
        solutions: Sequence[str],
        calls: Sequence[Call],
        claims: Sequence[tuple[Call, Any]] = (),
        asked: int = 0,
    ) -> Proof:
        """Tests from agreement on all calls, those of `claims` too; then every gate in turn. Raises SandboxBroken.

        Shares are of the solutions `asked` for, so that one that could not be read counts as one that disagrees.
        """
        asked = max(asked, len(solutions))
        needed = max(2, math.ceil(self.gate.agreement * asked))
        if len(solutions) < needed:
            return Proof(status="no_solutions", reason=f"{len(solutions)} of {asked} solutions could be read")
        probes = list({call.source: call for call in [*calls, *(call for call, _ in claims)]}.values())
        tests = self._agreed_tests(exercise, solutions, probes, needed)
        stated = {call.source: _literal_repr(value) for call, value in claims}
        for test in tests:  # the cross-check: the statement alone led to the same value
            if stated.get(test["call"]) == test["expected"]:
                test["source"] = "assert"
        reports = (
            [self._check(solution, tests, exercise.entry_point) for solution in solutions] if tests else []
        )
        right = [solution for solution, report in zip(solutions, reports, strict=False) if report.passed]
        if len(right) < math.ceil(self.gate.agreement * len(solutions)):
            return Proof(
                status="no_agreement", reason=f"{len(right)} of {len(solutions)} solutions agree throughout"
            )
        share = len(right) / asked
        proof = Proof(status="kept", tests=tuple(tests), right=tuple(right), teacher_pass_rate=share)
        return self._strong(exercise, proof)

    def _agreed_tests(
        self, exercise: Statement, solutions: Sequence[str], calls: Sequence[Call], needed: int
    ) -> list[dict[str, Any]]:
        rows = [self._outputs(solution, exercise.entry_point, calls) for solution in solutions]
        tests = []
        for call, column in zip(calls, zip(*rows, strict=True), strict=True):
            value, votes = (
                Counter(value for value in column if value).most_common(1)[0] if any(column) else ("", 0)
            )
            if votes >= needed:
                tests.append({"call": call.source, "expected": value, "source": "agreement"})
        return tests

    def _outputs(self, solution: str, entry_point: str, calls: Sequence[Call]) -> list[str]:
        """The repr of each call's result, empty where it raised or its value does not survive as a literal."""
        outputs = self.boxes[0].call(solution, entry_point, [call.args for call in calls])
        if any(output.status == "sandbox_error" for output in outputs):
            raise SandboxBroken(str(outputs[0].error))
        return [_literal_repr(output.value) if output.status == "ok" else "" for output in outputs]

    def _strong(self, exercise: Statement, proof: Proof) -> Proof:
        """`proof` if its tests are many, strong and repeatable enough, else one that says which they are not."""
        tests, reference = proof.tests, proof.right[0]
        if len(tests) < self.gate.min_tests:
            return _turned_away(proof, "too_few_tests", f"{len(tests)} tests survive")
        if len({test["expected"] for test in tests}) < 2:
            return _turned_away(proof, "constant", "every test expects the same value")
        null = f"{exercise.stub}\n    return None\n"
        if self._check(null, tests, exercise.entry_point).passed:
            return _turned_away(proof, "null_passes", "a function that returns None passes")
        for box in self.boxes[1:]:
            if not all(
                self._check(solution, tests, exercise.entry_point, box).passed for solution in proof.right
            ):
                return _turned_away(proof, "nondeterministic", "a solution fails under another hash seed")
        wrong = mutants(reference, self.gate.max_mutants)
        killed = sum(not self._check(mutant, tests, exercise.entry_point).passed for mutant in wrong)
        kill_rate = killed / len(wrong) if wrong else 0.0
        if kill_rate < self.gate.min_kill_rate:
            return _turned_away(proof, "weak_tests", f"{killed} of {len(wrong)} mutants fail", kill_rate)
        return replace(proof, kill_rate=kill_rate)

    def attempt(self, text: str, exercise: Statement, tests: Sequence[dict[str, Any]]) -> Attempt:
        """A student's reply, run. A failure that does not repeat under another hash seed is a flake."""
        try:
            code = program(text, exercise.entry_point)
        except ParseError as error:
            return Attempt(
                code="", status="unreadable", failure_kind=str(error).split(":")[0].replace(" ", "_")
            )
        report = self._check(code, tests, exercise.entry_point)
        if report.passed:
            return Attempt(code=code, status="pass")
        failed = _first_failure(report)
        again = self._check(code, tests, exercise.entry_point, self.boxes[-1])
        if (again.status, _first_failure(again)) != (report.status, failed):
            return Attempt(code=code, status="flaky", failure_kind="flaky")
        kind, detail = _kind(report), _detail(report)
        return Attempt(code=code, status=report.status, failure_kind=kind, failed_test=failed, detail=detail)

    def _check(
        self, solution: str, tests: Sequence[dict[str, Any]], entry_point: str, box: Sandbox | None = None
    ) -> Report:
        text = "\n".join(assertion(test) for test in tests)
        report = (box or self.boxes[0]).check(solution, text, entry_point)
        if report.status == "sandbox_error":
            raise SandboxBroken(report.error.message if report.error else "no verdict")
        return report


def _first_failure(report: Report) -> int:
    return next((at for at, outcome in enumerate(report.outcomes) if outcome in ("fail", "error")), -1)


def _kind(report: Report) -> str:
    """The failure in one word: the verdict, or the exception's type where the program raised.

    A class that the program itself defines is `exception`: its name is the model's text.
    """
    if report.status == "fail":
        return "wrong_answer"
    if report.status == "error" and report.error:
        known = isinstance(getattr(builtins, report.error.type, None), type)
        return report.error.type if known else "exception"
    return report.status


def _detail(report: Report) -> str:
    """Type and message of the error, cut; a lone surrogate in it must not break who writes it down."""
    text = f"{report.error.type}: {report.error.message}" if report.error else ""
    return text[:300].encode(errors="replace").decode()


def _turned_away(proof: Proof, status: str, reason: str, kill_rate: float = 0.0) -> Proof:
    return replace(proof, status=status, reason=reason, kill_rate=kill_rate)


def _literal_repr(value: Any) -> str:
    """`value` as the text of a test, the same for equal values; '' for what no test can hold.

    A float inside a container is turned away: only a float by itself is compared with a tolerance.
    """
    if type(value) is float:
        return repr(float(f"{value:.12g}")) if math.isfinite(value) else ""
    try:
        text = _canonical(value)
        return text if len(text) <= MAX_VALUE_CHARS and literal_eval(text) == value else ""
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # unknown type, huge number, deep nesting
        return ""


def _canonical(value: Any) -> str:
    """repr with the members of sets and dicts in a fixed order. Raises ValueError for other types."""
    if type(value) in (list, tuple):
        items = [_canonical(item) for item in value]
        joined = ", ".join(items) + ("," if type(value) is tuple and len(items) == 1 else "")
        return f"[{joined}]" if type(value) is list else f"({joined})"
    if type(value) is dict:
        return (
            "{"
            + ", ".join(sorted(f"{_canonical(key)}: {_canonical(item)}" for key, item in value.items()))
            + "}"
        )
    if type(value) is set and value:
        return "{" + ", ".join(sorted(map(_canonical, value))) + "}"
    if value is None or type(value) in (int, bool, str, bytes):
        return repr(value)
    raise ValueError(f"{type(value).__name__} cannot stand in a test")
