"""The verifier: gates an exercise by running its solutions, and runs attempts.

Holds sandboxes and nothing else, so that several can work side by side in processes of their own.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from advcore import chat, contract
from advcore.literals import Outcome, Raised, alike, arguments, outcome_of, text_of
from advgen.config import GateConfig, SandboxConfig
from advgen.parse import Call, Claim, ParseError, Statement, examples, forms, program
from advgen.verify import coverage, determinism, failure, feedback, fuzz, generated
from advgen.verify.baselines import constant_baselines
from advgen.verify.fit import Signature
from advgen.verify.mutants import mutants
from advgen.verify.verification import Attempt, Complaint, SandboxBroken, Testimony, Verification, Votes
from sandbox import Limits, Output, Report, Sandbox

HASH_SEEDS = (0, 1, 2)  # the first decides, the others must agree
TIMEOUT_FACTOR = 4  # a program may take so many times what the reference takes (evalplus has the same factor)
RERUN = SandboxConfig(wall_s=TIMEOUT_FACTOR * SandboxConfig().wall_s)
"""Limits for verifying again: as long as a build gives an attempt whose reference takes all it may."""
_ENDS = ("ok", "error")  # statuses of a call that came to its end
MUTANT_WALL_S = 1.0  # one that loops is waited for so long: of mutants, many do

Test = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Screened:
    """Solutions after a look at their text."""

    usable: tuple[str, ...]
    complaints: tuple[Complaint, ...]
    causes: tuple[str, ...]
    """Of those that are not deterministic by the look of them."""


class Verifier:
    """Holds the sandboxes: one a hash seed, since a program must behave alike under them all, and one for mutants."""

    def __init__(self, config: SandboxConfig, gate: GateConfig) -> None:
        self.gate = gate
        limits = Limits(wall_s=config.wall_s, memory_bytes=config.memory_bytes)
        allow = config.allow_unsandboxed
        self.boxes = [Sandbox(1, limits, hash_seed=seed, allow_unsandboxed=allow) for seed in HASH_SEEDS]
        hasty = replace(limits, wall_s=min(MUTANT_WALL_S, config.wall_s))
        self._hasty = Sandbox(1, hasty, hash_seed=HASH_SEEDS[0], allow_unsandboxed=allow)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        for box in (*self.boxes, self._hasty):
            box.close()

    def describe(self) -> str:
        """The `sandbox` column: level, layers, interpreter."""
        box = self.boxes[0]
        return json.dumps(
            {"level": box.level, "layers": list(box.layers), "python": platform.python_version()}
        )

    def passes(self, code: str, tests: str, entry_point: str) -> bool:
        """Whether `code` passes test text of any form. Raises SandboxBroken."""
        return _verdict(self.boxes[0].check(code, tests, entry_point)).passed

    def passes_row(self, code: str, tests: str, entry_point: str) -> bool:
        """The same for the JSON of a `tests` column, of a program as it was written, or else without its talk. Raises
        DataError where that cannot be read.
        """
        text = contract.suite(contract.tests_of(tests))
        return any(self.passes(form, text, entry_point) for form in chat.forms(code, entry_point))

    def outputs(
        self, code: str, entry_point: str, args: Sequence[tuple[Any, ...]], reference_s: float = 0.0
    ) -> list[Output]:
        """What a program gives for each of some arguments. Raises SandboxBroken."""
        return self._call(code, entry_point, args, reference_s) if args else []

    # --- an exercise ----------------------------------------------------------------------------------------

    def verify(
        self,
        exercise: Statement,
        solutions: Sequence[str],
        calls: Sequence[Call],
        claims: Sequence[Claim] = (),
        asked: int = 0,
        reference: str = "",
    ) -> Verification:
        """Tests from agreement on all calls that the statement is about, those of `claims` and of its examples too, and
        on others where it demands an exception; then every gate in turn. With a `reference`, from which the statement
        was written, tests are what it comes to, and solutions agree with it. Raises SandboxBroken.

        Shares are of the solutions `asked` for, so that one that could not be read counts as one that disagrees. A
        solution that is no Python may be among them: it counts so too, and is complained about.
        """
        asked = max(asked, len(solutions))
        needed = max(2, math.ceil(self.gate.agreement * asked))
        signature, demanded = Signature(exercise), generated.demanded(exercise)

        def asked_for(call: Call, outcome: Outcome) -> bool:
            return signature.is_about(call) or isinstance(outcome, Raised)

        stated = [claim for claim in examples(exercise) if asked_for(*claim)]
        offered = {call.source: call for call in [*calls, *(claim.call for claim in claims)]}
        unfit = [source for source, call in offered.items() if not signature.is_about(call)]
        probes = [call for source, call in offered.items() if demanded or source not in unfit]
        probes += [claim.call for claim in stated if claim.call not in probes]
        seen = self._screened(exercise, solutions, probes)
        if reference and (found := self._screened(exercise, [reference], probes)).causes:
            return Verification(
                status="nondeterministic", reason=f"the reference uses {', '.join(found.causes)}"
            )
        if len(seen.usable) < needed:
            return _unusable(seen, asked, needed)
        rows = [self._outputs(code, exercise.entry_point, probes) for code in seen.usable]
        asked_of = [self._outputs(reference, exercise.entry_point, probes)] if reference else rows
        agreed = _agreed(probes, asked_of, 1 if reference else needed, exercise)
        agreed = [each for each in agreed if asked_for(*each)]
        if refuted := _refuted(agreed, stated, signature):
            return refuted
        tests = _tests(agreed, stated, claims, "reference" if reference else "agreement")
        verification = self._tested(exercise, seen.usable, tests, asked, reference)
        if verification.status == "kept":
            return verification
        if not tests or verification.status == "too_few_tests":
            verification = _few(verification, len(tests), rows, needed)
        sources, wall_s = [probe.source for probe in probes], self.boxes[0].limits.wall_s
        complaints = [
            *seen.complaints,
            *feedback.failing(seen.usable, rows, sources, wall_s),
            *verification.complaints,
        ]
        if verification.status == "too_few_tests":
            complaints.append(feedback.too_few(rows, sources, unfit))
        return replace(verification, complaints=tuple(complaints))

    def accept(
        self, exercise: Statement, solutions: Sequence[str], given: Sequence[str], tests: Sequence[Test]
    ) -> Verification:
        """Given tests are the truth: right is what passes them and, on generated inputs on which the `given` programs
        agree, comes to the same; of the `solutions` ('' for one that could not be read), then all the `given`. Every
        gate follows, but no test is added: on inputs that nobody chose, a right program may do as it likes. Raises
        SandboxBroken.
        """
        name, started = exercise.entry_point, time.monotonic()
        for code in given:
            if not (tried := self.check(code, name, tests)).passed:
                return Verification(
                    status="misgiven", reason=f"its own solution: {tried.status} {tried.detail}".strip()
                )
        given_s = (time.monotonic() - started) / (len(given) * len(HASH_SEEDS))
        usable = self._screened(exercise, list(filter(None, solutions)), []).usable
        right = [
            code
            for code in usable
            if self.check(code, name, tests, given_s).passed
            and not self._unrepeatable(exercise, tests, [code])
        ]
        right = self._like_given(exercise, right, given, tests)
        verification = Verification(
            status="kept", tests=tuple(tests), right=(*right, *given), given=len(given),
            teacher_pass_rate=len(right) / max(1, len(solutions)), reference_s=given_s,
        )  # fmt: skip
        return self._strong(exercise, verification)

    def _like_given(
        self, exercise: Statement, right: Sequence[str], given: Sequence[str], tests: Sequence[Test]
    ) -> list[str]:
        args = [call.args for call in generated.calls(exercise, tests)] if right else []
        if not args:
            return list(right)
        rows = [self._call(code, exercise.entry_point, args) for code in (*given, *right)]
        agreed = generated.unanimous(rows[: len(given)], exercise)
        return [
            code
            for code, row in zip(right, rows[len(given) :], strict=True)
            if all(
                one is None or _both(one, generated.outcome(output, exercise))
                for one, output in zip(agreed, row, strict=True)
            )
        ]

    def working(self, code: str, entry_point: str, probes: Sequence[Call]) -> str:
        """The form of a solution that answers most of the calls, the first of several: it verifies the exercise, and is
        published. Raises ParseError, SandboxBroken.
        """
        codes, most, best = forms(code, entry_point), -1, code
        for form in codes:
            outputs = self._outputs(form, entry_point, probes) if len(codes) > 1 else []
            answered = sum(output.status == "ok" for output in outputs)
            if answered > most:
                most, best = answered, form
            if answered == len(outputs):
                break
        return best

    def _screened(self, exercise: Statement, solutions: Sequence[str], probes: Sequence[Call]) -> _Screened:
        usable, complaints, causes = [], [], []
        for code in solutions:
            try:
                found = ", ".join(determinism.causes(code))
            except ParseError as error:
                report = self._refusal(exercise, code, probes) or str(error)
            else:
                if not found:
                    usable.append(code)
                    continue
                causes.append(found)
                report = f"Its results may differ from run to run: {found}"
            complaints.append(feedback.solution(code, report))
        return _Screened(tuple(usable), tuple(complaints), tuple(causes))

    def _refusal(self, exercise: Statement, code: str, probes: Sequence[Call]) -> str:
        """The interpreter's own words about a program that we do not read; they name the line."""
        outputs = self._outputs(code, exercise.entry_point, probes[:1])
        return (outputs[0].error or "") if outputs else ""

    def _outputs(self, code: str, entry_point: str, probes: Sequence[Call]) -> list[Output]:
        return self._call(code, entry_point, [probe.args for probe in probes])

    def _tested(
        self, exercise: Statement, usable: Sequence[str], tests: Sequence[Test], asked: int, reference: str
    ) -> Verification:
        reports = [self._report(code, tests, exercise.entry_point) for code in usable] if tests else []
        passed = [(code, report) for code, report in zip(usable, reports, strict=False) if report.passed]
        if len(passed) < math.ceil(self.gate.agreement * len(usable)):
            what = "come to what the reference does" if reference else "agree throughout"
            reason = f"{len(passed)} of {len(usable)} solutions {what}"
            return Verification(status="no_agreement", reason=reason)
        verification = Verification(
            status="kept", tests=tuple(tests), right=tuple(filter(None, [*(code for code, _ in passed), reference])),
            teacher_pass_rate=len(passed) / asked, reference_s=passed[0][1].wall_s,
        )  # fmt: skip
        return self._strong(exercise, verification)

    def _strong(self, exercise: Statement, verification: Verification) -> Verification:
        """`verification` if its tests are many, strong and repeatable enough, else one that says which they are not."""
        if len(verification.tests) < self.gate.min_tests:
            return _turned_away(verification, "too_few_tests", f"{len(verification.tests)} tests survive")
        if _constant(verification.tests):
            wish = feedback.calls("All calls lead to one result. Calls with other results are missing.")
            return _turned_away(verification, "constant", "every test expects the same value", wish)
        if value := self._passing_baseline(exercise, verification.tests):
            passes = f"a function that always returns {value} passes"
            wish = feedback.calls(f"As it is, {passes}. Calls with other results are missing.")
            return _turned_away(verification, "null_passes", passes, wish)
        verification, surviving = self._killing(exercise, verification)
        if found := self._unrepeatable(exercise, verification.tests, verification.right):
            return _turned_away(verification, "nondeterministic", found.report, found)
        verification = replace(verification, coverage=self._coverage(exercise, verification))
        if verification.kill_rate >= self.gate.min_kill_rate:
            return verification
        wishes = [feedback.surviving(verification.right[0], surviving)] if surviving else []
        return _turned_away(
            verification, "weak_tests", f"{verification.kill_rate:.0%} of the mutants fail", *wishes
        )

    def _passing_baseline(self, exercise: Statement, tests: Sequence[Test]) -> str:
        found = constant_baselines(exercise, tests).items()
        passing = (value for value, code in found if self._report(code, tests, exercise.entry_point).passed)
        return next(passing, "")

    def _unrepeatable(
        self, exercise: Statement, tests: Sequence[Test], right: Sequence[str]
    ) -> Complaint | None:
        """The first right solution that fails under another hash seed, or with the tests in another order."""
        for seed, box in zip(HASH_SEEDS[1:], self.boxes[1:], strict=True):
            order = determinism.shuffled(tests, seed)
            for code in right:
                if self._report(code, order, exercise.entry_point, box).passed:
                    continue
                alone = self._report(code, tests, exercise.entry_point, box).passed
                what = "its calls come in another order" if alone else "strings are hashed with another seed"
                return feedback.solution(code, f"Its results differ when {what}")
        return None

    def _coverage(self, exercise: Statement, verification: Verification) -> float:
        entered, blocks = self._entered(
            exercise, verification, [arguments(test["call"]) for test in verification.tests]
        )
        return len(entered[-1]) / blocks if blocks else 0.0

    def _entered(
        self, exercise: Statement, verification: Verification, calls: Sequence[fuzz.Args]
    ) -> tuple[list[set[int]], int]:
        """The blocks of the reference that are entered after each call, and how many it has."""
        marked, blocks = coverage.instrumented(verification.right[0], exercise.entry_point)
        return coverage.entered(
            self._call(marked, coverage.RUN, calls, verification.reference_s), blocks
        ), blocks

    def _killing(self, exercise: Statement, verification: Verification) -> tuple[Verification, list[str]]:
        """`verification` with its kill rate and the tests that raised it, and the mutants that pass them all."""
        wrong = mutants(verification.right[0], self.gate.max_mutants)
        wall_s = max(self._hasty.limits.wall_s, TIMEOUT_FACTOR * verification.reference_s)
        surviving = [
            mutant
            for mutant in wrong
            if self._report(mutant, verification.tests, exercise.entry_point, self._hasty, wall_s).passed
        ]
        if self.gate.generated_tests and not verification.given:
            verification, surviving = self._strengthened(exercise, verification, surviving, wall_s)
        killed = len(wrong) - len(surviving)
        return replace(verification, kill_rate=killed / len(wrong) if wrong else 0.0), surviving

    def _strengthened(
        self, exercise: Statement, verification: Verification, surviving: Sequence[str], wall_s: float
    ) -> tuple[Verification, list[str]]:
        """`verification` with tests on generated inputs, and those of `surviving` that pass them too."""
        name, signature, calls = (
            exercise.entry_point,
            Signature(exercise),
            generated.calls(exercise, verification.tests),
        )
        if not calls:
            return verification, list(surviving)
        inputs = [call.args for call in calls]
        expected = generated.unanimous(
            [self._call(code, name, inputs, verification.reference_s) for code in verification.right],
            exercise,
        )
        expected = [outcome if outcome and signature.gives(outcome) else None for outcome in expected]
        rows = [self._call(code, name, inputs, box=self._hasty, wall_s=wall_s) for code in surviving]
        chosen, left = generated.discriminating(expected, rows, self.gate.generated_tests, exercise)
        chosen += self._coverage_increasing(exercise, verification, inputs, expected, chosen)
        tests = [
            {"call": calls[at].source, **outcome.entry, "source": "generated"}
            for at in chosen
            if (outcome := expected[at])
        ]
        passed = [
            code
            for code in verification.right
            if self._report(code, [*verification.tests, *tests], name).passed
        ]
        if len(passed) < len(verification.right):  # a float that is not the same from run to run
            return verification, list(surviving)
        return replace(verification, tests=(*verification.tests, *tests)), [surviving[at] for at in left]

    def _coverage_increasing(
        self, exercise: Statement, verification: Verification, inputs: Sequence[fuzz.Args],
        expected: Sequence[Outcome | None], chosen: Sequence[int],
    ) -> list[int]:  # fmt: skip
        """Further inputs that lead where no test and none of the `chosen` leads."""
        most = self.gate.generated_tests - len(chosen)
        known = [(arguments(test["call"]), str(outcome_of(test))) for test in verification.tests]
        known += [(inputs[at], str(expected[at])) for at in chosen]
        places = [at for at, outcome in enumerate(expected) if outcome and at not in chosen]
        settled = [(inputs[at], str(expected[at])) for at in places]
        entered, _ = self._entered(exercise, verification, [args for args, _ in [*known, *settled]])
        grows = [len(after) > len(before) for before, after in pairwise(entered[len(known) - 1 :])]
        return [places[at] for at in generated.coverage_increasing(settled, grows, known, most)]

    # --- an attempt -----------------------------------------------------------------------------------------

    def attempt(
        self, text: str, exercise: Statement, tests: Sequence[Test], reference_s: float = 0.0
    ) -> Attempt:
        """A student's reply, run. `reference_s` is the verification's: an attempt gets at least four times as long."""
        said = chat.read(text)
        try:
            code = program(text, exercise.entry_point, exercise.above)
            found = self._best(forms(code, exercise.entry_point), exercise.entry_point, tests, reference_s)
        except ParseError as error:
            kind = failure.of_text(said.answer, error)
            found = Attempt(code="", status="unreadable", failure_kind=kind, detail=str(error))
        return replace(found, thoughts=said.thoughts)

    def _best(
        self, codes: Sequence[str], entry_point: str, tests: Sequence[Test], reference_s: float
    ) -> Attempt:
        """The first form of a program that passes. Where none does it failed as the first, the one that is published,
        unless another came out now one way and now the other. Raises ParseError.
        """
        tried = []
        for code in codes:
            tried.append(self.check(code, entry_point, tests, reference_s))
            if tried[-1].passed:
                return tried[-1]
        if tried[0].failure_kind == "exception:EOFError" and chat.waits(codes[0]):
            raise ParseError("reads input when it is loaded")
        return next((each for each in tried if each.status == "flaky"), tried[0])

    def check(self, code: str, entry_point: str, tests: Sequence[Test], reference_s: float = 0.0) -> Attempt:
        """A program against tests. Where another hash seed gives another verdict it is a flake, whichever came first.

        What reaches no test, as a rule for want of time, is not run again: it shows nothing either way.
        """
        wall_s = max(self.boxes[0].limits.wall_s, TIMEOUT_FACTOR * reference_s)
        report = self._report(code, tests, entry_point, self.boxes[0], wall_s)
        failed = _first_failure(report)
        if report.passed or failed >= 0:
            others = (self._report(code, tests, entry_point, box, wall_s) for box in self.boxes[1:])
            if any((other.status, _first_failure(other)) != (report.status, failed) for other in others):
                return Attempt(code=code, status="flaky", failure_kind="flaky")
        if report.passed:
            return Attempt(code=code, status="pass")
        kind = failure.of_report(
            report, code, entry_point, tests[failed].get("call", "") if failed >= 0 else ""
        )
        return Attempt(
            code=code, status=report.status, failure_kind=kind, failed_test=failed, failed=_failures(report),
            detail=failure.detail(report, tests, failed),
        )  # fmt: skip

    def testimony(
        self,
        exercise: Statement,
        verification: Verification,
        solutions: Sequence[str],
        attempts: Sequence[Attempt],
    ) -> tuple[Testimony, tuple[str, ...]]:
        """Who says what on each test of the verification and on generated inputs; of a solution that could not be read
        ('') nothing. And of the right solutions those that come to the same beyond the tests as most of what passes
        does, the first of several such groups: they are the right ones, and the reference is the first of them.
        """
        args = [arguments(test["call"]) for test in verification.tests]
        args += [call.args for call in generated.calls(exercise, verification.tests)]
        codes = [*solutions, *(attempt.code for attempt in attempts)]
        outputs = [
            self._call(code, exercise.entry_point, args, verification.reference_s) if code else []
            for code in codes
        ]
        right = {at for at in range(len(solutions)) if codes[at] in verification.right}
        # Where a right program does not end in time, inputs would tell programs apart by the clock.
        cut = {at for each in right for at, output in enumerate(outputs[each]) if output.status not in _ENDS}
        places = [at for at in range(len(args)) if at < len(verification.tests) or at not in cut]
        rows = [[generated.outcome(row[at], exercise) if row else None for at in places] for row in outputs]
        groups = _groups(rows)
        best = max((each for each in groups if right & {*each}), key=len, default=sorted(right))
        # A program that is sampled twice is no second witness: a greedy student has one program alone.
        alike_to = {
            at: sum(codes[other] != codes[at] for other in group) / (len(codes) - 1)
            for group in groups
            for at in group
        }
        taught, attempted = rows[: len(solutions)], rows[len(solutions) :]
        stated = {call.source for call, _ in examples(exercise)}
        told = Testimony(
            votes=tuple(
                _votes(
                    outcome_of(test), [row[at] for row in taught], [row[at] for row in attempted],
                    test["call"] in stated,
                )
                for at, test in enumerate(verification.tests)
            ),
            attempts=len(attempts), like_reference=len(best) / len(codes),
            like_attempt=tuple(alike_to.get(at, 0.0) for at in range(len(solutions), len(codes))),
            passing_alike=tuple(at for at, each in enumerate(attempts) if each.passed and at + len(solutions) in best),
        )  # fmt: skip
        return told, tuple(codes[at] for at in best if at in right)

    # --- runs -----------------------------------------------------------------------------------------------

    def _report(
        self, code: str, tests: Sequence[Test], entry_point: str, box: Sandbox | None = None,
        wall_s: float | None = None,
    ) -> Report:  # fmt: skip
        text = contract.suite(tests)
        return _verdict((box or self.boxes[0]).check(code, text, entry_point, wall_s))

    def _call(
        self, code: str, entry_point: str, args: Sequence[tuple[Any, ...]], reference_s: float = 0.0,
        box: Sandbox | None = None, wall_s: float = 0.0,
    ) -> list[Output]:  # fmt: skip
        box = box or self.boxes[0]
        wall_s = wall_s or max(box.limits.wall_s, TIMEOUT_FACTOR * reference_s)
        outputs = box.call(code, entry_point, args, wall_s)
        if any(output.status == "sandbox_error" for output in outputs):
            raise SandboxBroken(str(outputs[0].error))
        return outputs


def _verdict(report: Report) -> Report:
    if report.status == "sandbox_error":
        raise SandboxBroken(report.error.message if report.error else "no verdict")
    return report


def _unusable(seen: _Screened, asked: int, needed: int) -> Verification:
    if len(seen.usable) + len(seen.causes) >= needed:
        reason = f"{len(seen.causes)} of {asked} solutions use {'; '.join(sorted(set(seen.causes)))}"
        return Verification(status="nondeterministic", reason=reason, complaints=seen.complaints)
    reason = f"{len(seen.usable)} of {asked} solutions could be read"
    return Verification(status="no_solutions", reason=reason, complaints=seen.complaints)


_Agreed = list[tuple[Call, Outcome]]


def _agreed(
    probes: Sequence[Call], rows: Sequence[Sequence[Output]], needed: int, exercise: Statement
) -> _Agreed:
    """Each call that comes to the same with `needed` programs, and what that is; `rows[i][j]`: program i on call j."""
    found = []
    for probe, column in zip(probes, zip(*rows, strict=True), strict=True):
        outcome, votes = _commonest(generated.outcome(output, exercise) for output in column)
        if outcome and votes >= needed:
            found.append((probe, outcome))
    return found


def _commonest(outcomes: Iterable[Outcome | None]) -> tuple[Outcome | None, int]:
    """The outcome that accepts most of the others, the first of several, and how many those are: of 7 and 7.0000000001
    it is the second, since only who expects a float compares with a tolerance.
    """
    told = [outcome for outcome in outcomes if outcome]
    votes = [sum(alike(one, other) for other in told) for one in told]
    return (told[votes.index(max(votes))], max(votes)) if told else (None, 0)


def _refuted(agreed: _Agreed, stated: Sequence[Claim], signature: Signature) -> Verification | None:
    """Why what the solutions agree on is not what the statement asks for, if it is not."""
    examples = {call.source: outcome for call, outcome in stated}
    for call, outcome in agreed:
        said = examples.get(call.source)
        if said and not alike(said, outcome):
            reason = f"the statement says that {call.source} is {said}, solutions agree on {outcome}"
            return Verification(status="contradicted", reason=failure.bounded(reason))
    for call, outcome in agreed:
        if not signature.gives(outcome):
            reason = f"{call.source} is {outcome}, which is no {signature.result}"
            return Verification(status="misfit", reason=failure.bounded(reason))
    return None


def _tests(agreed: _Agreed, stated: Sequence[Claim], claims: Sequence[Claim], origin: str) -> list[Test]:
    """Entries of the `tests` column. An example of the statement is one whether solutions agree on its call or not; an
    assert from the statement alone that led to the same as agreement is a cross-check.
    """
    told = {call.source for call, _ in stated}
    asserted = {call.source: outcome for call, outcome in claims}
    tests = [{"call": call.source, **outcome.entry, "source": "example"} for call, outcome in stated]
    for call, outcome in agreed:
        if call.source not in told:
            said = asserted.get(call.source)
            source = "assert" if said and alike(said, outcome) else origin
            tests.append({"call": call.source, **outcome.entry, "source": source})
    return tests


def _few(
    verification: Verification, tests: int, rows: Sequence[Sequence[Output]], needed: int
) -> Verification:
    """The reason in full, where solutions agree on what no test can hold."""
    columns = [
        [output for output in column if output.status == "ok" and not text_of(output.value)]
        for column in zip(*rows, strict=True)
    ]
    lost = [column[0] for column in columns if len(column) >= needed]
    if not lost:
        return verification
    reason = f"{tests} tests survive; from {len(lost)} calls solutions return what no test can hold: values of type "
    return replace(verification, status="too_few_tests", reason=f"{reason}{type(lost[0].value).__name__}")


def _constant(tests: Sequence[Test]) -> bool:
    """Whether one value passes them all: 1 == 1.0, so the texts do not tell."""
    first, *rest = map(outcome_of, tests)
    return all(alike(first, outcome) for outcome in rest)


def _votes(
    expected: Outcome, taught: Sequence[Outcome | None], attempted: Sequence[Outcome | None], stated: bool
) -> Votes:
    supports = [sum(alike(expected, each) for each in side if each) for side in (taught, attempted)]
    others = [[each for each in side if each and not alike(expected, each)] for side in (taught, attempted)]
    _, teacher_against = _commonest(others[0])
    rival, student_against = _commonest(others[1])
    return Votes(
        teacher=supports[0], teacher_against=teacher_against, student=supports[1], student_against=student_against,
        stated=stated, backed=rival is not None and any(alike(rival, each) for each in others[0]),
    )  # fmt: skip


def _groups(rows: Sequence[Sequence[Outcome | None]]) -> list[list[int]]:
    """Places of programs that come to the same as the first of their group on every input; of those with a result."""
    groups: list[list[int]] = []
    for at, row in enumerate(rows):
        if not any(row):
            continue
        found = next((each for each in groups if all(map(_both, rows[each[0]], row))), None)
        if found:
            found.append(at)
        else:
            groups.append([at])
    return groups


def _both(one: Outcome | None, other: Outcome | None) -> bool:
    """Whether two programs come to the same, or both to nothing that a test could hold."""
    return alike(one, other) if one and other else one is other


def _failures(report: Report) -> tuple[int, ...]:
    return tuple(at for at, outcome in enumerate(report.outcomes) if outcome in ("fail", "error"))


def _first_failure(report: Report) -> int:
    return next(iter(_failures(report)), -1)


def _turned_away(
    verification: Verification, status: str, reason: str, *complaints: Complaint
) -> Verification:
    return replace(verification, status=status, reason=reason, complaints=complaints)
