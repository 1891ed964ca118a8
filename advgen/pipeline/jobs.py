"""What the worker processes do: every function here reads or runs Python and gets the process's `Verifier` first."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advcore.chat import fenced
from advcore.chat.syntax import MAX_SOURCE_CHARS
from advcore.literals import arguments, same
from advcore.runs import sha256_of
from advcore.tasks import Task
from advgen import parse, prompts
from advgen.config import CurationConfig
from advgen.curate import failing, probability, trusted
from advgen.hygiene.contamination import ADVISORY, Benchmarks, Layer
from advgen.hygiene.items import Item, Text
from advgen.hygiene.normal import fingerprint
from advgen.parse import Statement
from advgen.specs import ExerciseSpec
from advgen.verify import TRUE, Attempt, Stored, Testimony, Verification, Verifier

Messages = list[dict[str, str]]
Tests = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A statement and what whoever solves it is asked, teacher and student the same."""

    statement: Statement
    question: Messages
    signature: str
    docstring: str

    @property
    def name(self) -> str:
        """The exercise's id: its content."""
        return sha256_of(self.statement.stub)[:16]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Replies as they came. `asked` is the number of solutions asked for."""

    solutions: tuple[str, ...]
    calls: tuple[str, ...]
    claims: tuple[str, ...]
    asked: int
    witnesses: tuple[tuple[str, Sequence[str]], ...] = ()
    """Name and solutions of each."""
    reference: str = ""
    """The program that the statement was written from."""

    def with_repairs(
        self, programs: Sequence[str], repaired: Sequence[tuple[str, str]], further: Sequence[str]
    ) -> Evidence:
        """Each repaired program in its place, and further calls. `programs`: what each of `solutions` was read as."""
        solutions, left = list(self.solutions), list[str | None](programs)
        for code, text in repaired:  # the same program twice is repaired in both places
            at = (left if code in left else programs).index(code)  # a program may have two complaints
            solutions[at], left[at] = text, None
        return replace(self, solutions=tuple(solutions), calls=(*self.calls, *further))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Reading):
    """The statement with those of its examples that execution confirmed, and its verification."""

    verification: Verification
    programs: tuple[str, ...]
    """What each reply was read as, '' where it held no program."""
    calls: tuple[str, ...]
    """All that were tried."""
    responses: tuple[str, ...]
    """The replies that held them, as they came."""

    @property
    def response(self) -> str:
        """The reply that held the first right one; '' without one."""
        replies = dict(zip(reversed(self.programs), reversed(self.responses), strict=True))
        return replies.get(self.verification.right[0], "") if self.verification.right else ""


def describe(verifier: Verifier) -> str:
    """The `sandbox` column."""
    return verifier.describe()


def layers(_: Verifier, files: tuple[str, ...]) -> list[Layer]:
    """Which layers of decontamination run."""
    return _benchmarks(files).layers


@functools.cache
def _benchmarks(files: tuple[str, ...]) -> Benchmarks:
    """Of this process: those known by hash, and those of the user's `files`."""
    return Benchmarks.known(map(Path, files))


def contamination(verifier: Verifier, verified: Verified, files: tuple[str, ...]) -> str:
    """Why the exercise is a benchmark's, or ''."""
    text = Text(verified.docstring, verified.verification.right[0], verified.statement.entry_point)
    hits = [hit for hit in _benchmarks(files).check(text, verifier.passes) if hit.layer != ADVISORY]
    return ", ".join(f"{hit.layer}: {hit.benchmark} {hit.item}".strip() for hit in hits[:3])


def read(_: Verifier, text: str) -> Reading:
    """The statement of a reply. Raises ParseError."""
    statement = parse.statement(text)
    text = statement.docstring.lower()
    lines = {line.strip(' "') for line in text.splitlines()}
    left = [
        each
        for each in prompts.form_lines("statement_rules")
        if each in lines or (" " in each[4:] and each in text)
    ]
    if left:
        raise parse.ParseError(f"the statement repeats the form's own line {left[0]!r}")
    return _reading(statement)


def reference(_: Verifier, text: str) -> str:
    """The program of a reply, of which the one function that no other names is the exercise. Raises ParseError."""
    return parse.reference(text)


def description(verifier: Verifier, text: str, code: str) -> Reading:
    """The statement of a reply about a program. Raises ParseError where it is that of another function."""
    reading = read(verifier, text)
    statement = reading.statement
    if not parse.is_of(statement, code):
        raise parse.ParseError(f"the statement is of {statement.signature}, and not of the program")
    return reading


def _reading(statement: Statement) -> Reading:
    signature, docstring = statement.signature, statement.docstring
    question = prompts.messages("solve", signature=signature, docstring=docstring, given=statement.given)
    return Reading(statement=statement, question=question, signature=signature, docstring=docstring)


def evolve(_: Verifier, spec: ExerciseSpec) -> Messages:
    """The request for a child of the spec's parent. It shows the outline only: a small teacher that sees the whole
    statement writes it down again.
    """
    parent = parse.stored(spec.parent_stub)
    return prompts.messages(
        spec.strategy, signature=parent.signature, summary=parent.summary, failure=spec.parent_failure,
        words=_words(parent),
    )  # fmt: skip


def verify(verifier: Verifier, reading: Reading, evidence: Evidence) -> Verified:
    """Tests by agreement, then every gate."""
    statement = reading.statement
    claimed = [pair for text in evidence.claims for pair in _claims(text, statement)]
    wanted = [claim.call for claim in parse.examples(statement)]
    wanted += [call for text in evidence.calls for call in _calls(text, statement)]
    programs = [_program(verifier, text, statement, wanted) for text in evidence.solutions]
    verification = verifier.verify(
        statement, [code for code in programs if code], wanted, claimed, evidence.asked, evidence.reference
    )
    for name, texts in evidence.witnesses if verification.status == "kept" else ():
        if not any(
            verifier.attempt(text, statement, verification.tests, verification.reference_s).passed
            for text in texts
        ):
            reason = f"of {len(texts)} solutions of {name} none passes"
            verification = replace(verification, status="unwitnessed", reason=reason)
            break
    if verification.status == "kept":
        reading = _reading(_confirmed(statement, verification))
    return Verified(
        statement=reading.statement, question=reading.question, signature=reading.signature,
        docstring=reading.docstring, verification=verification, programs=tuple(programs),
        calls=tuple(call.source for call in wanted), responses=evidence.solutions,
    )  # fmt: skip


def accept(verifier: Verifier, reading: Reading, solutions: Sequence[str], task: Task) -> Verified:
    """Solutions to a task whose tests and right programs are given, and every gate. Its programs are read as replies
    are, so that both sides of a pair have one form.
    """
    statement = reading.statement
    calls = [parse.Call(test["call"], arguments(test["call"])) for test in task.tests]
    programs = [_program(verifier, text, statement, calls) for text in solutions]
    own = [_program(verifier, fenced(code), statement, calls) for code in (task.reference, *task.solutions)]
    verification = verifier.accept(statement, programs, own, task.tests)
    return Verified(
        statement=statement, question=reading.question, signature=reading.signature, docstring=reading.docstring,
        verification=verification, programs=tuple(programs), calls=tuple(call.source for call in calls),
        responses=tuple(solutions),
    )  # fmt: skip


def run_attempts(verifier: Verifier, texts: Sequence[str], verified: Verified) -> list[Attempt]:
    """Replies to its question, run."""
    verification = verified.verification
    return [
        verifier.attempt(text, verified.statement, verification.tests, verification.reference_s)
        for text in texts
    ]


def testify(
    verifier: Verifier, verified: Verified, attempts: Sequence[Attempt]
) -> tuple[Testimony, Verified]:
    """What solutions and attempts say of the suite; and the verification with those of the right solutions that most of
    what passes agrees with.
    """
    if verified.verification.given:
        return TRUE, verified
    told, right = verifier.testimony(verified.statement, verified.verification, verified.programs, attempts)
    return told, replace(verified, verification=replace(verified.verification, right=right))


def rejectable(
    _: Verifier, attempts: Sequence[Attempt], verified: Verified, told: Testimony, config: CurationConfig
) -> list[int]:
    """Places of the attempts that `curate` makes pairs of, in its order."""
    trust = trusted(config)
    right = [*verified.verification.right, *(each.code for each in attempts if each.passed)]
    places = failing(attempts, {fingerprint(code) for code in right})
    return [at for at in places if probability(told, at, attempts[at].failed, config, trust)]


def run_attempts_on_row(verifier: Verifier, texts: Sequence[str], row: dict[str, Any]) -> list[Attempt]:
    """The same for an exercise that is a row of the `raw` config."""
    statement, tests = parse.stored(row["stub"]), Stored(row).tests
    return [verifier.attempt(text, statement, tests) for text in texts]


def compare(verifier: Verifier, parent: dict[str, Any], child: Statement, tests: Tests) -> dict[str, Any]:
    """Parent and child side by side: their outlines, and whether the parent's solution solves the child."""
    old = parse.stored(parent["stub"])
    renamed = fenced(f"{Stored(parent).right[0].code}\n\n{child.entry_point} = {old.entry_point}")
    return {
        "same_signature": old.types == child.types,
        "parent_solution": verifier.attempt(renamed, child, tests).status,
        "parent_words": _words(old), "child_words": _words(child),
    }  # fmt: skip


def passes_suite(verifier: Verifier, item: Item, tests: Tests) -> bool:
    """Whether a benchmark's own solution passes our tests."""
    return verifier.check(item.code, item.entry_point, tests).passed


def are_true(verifier: Verifier, item: Item, codes: Sequence[str]) -> list[bool]:
    """Whether programs pass a benchmark's tests, and come to what its own solution does on all its inputs. Raises
    ParseError where that is nothing.
    """
    inputs, started = _of_some_size(item.inputs), time.monotonic()
    wanted = verifier.outputs(item.code, item.entry_point, inputs)
    reference_s = time.monotonic() - started
    known = [
        (args, output.value) for args, output in zip(inputs, wanted, strict=True) if output.status == "ok"
    ]

    if not (known or item.tests):
        raise parse.ParseError("the benchmark's own solution answers none of its inputs")

    @functools.cache
    def is_true(code: str) -> bool:
        if not code or (item.tests and not verifier.passes(code, item.tests, item.entry_point)):
            return False
        outputs = verifier.outputs(code, item.entry_point, [args for args, _ in known], reference_s)
        return all(
            output.status == "ok" and _equal(value, output.value, item.unordered)
            for (_, value), output in zip(known, outputs, strict=True)
        )

    return list(map(is_true, codes))


_MOST_INPUT_CHARS = 1_000_000  # of one task: some files have inputs of many megabytes


def _of_some_size(inputs: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    kept, left = [], _MOST_INPUT_CHARS
    for args in inputs:
        left -= len(repr(args))
        if left >= 0:
            kept.append(args)
    return kept


def _equal(one: Any, other: Any, unordered: bool) -> bool:
    if unordered and isinstance(one, list | tuple | set) and isinstance(other, list | tuple | set):
        return {*map(repr, one)} == {*map(repr, other)}
    return same(one, other)


def _words(statement: Statement) -> int:
    """Length of the prose: examples are cut by execution, on one side more than on the other."""
    return len(statement.docstring.partition(">>>")[0].split())


def _confirmed(statement: Statement, verification: Verification) -> Statement:
    """The statement with those of its examples that execution confirmed."""
    return parse.with_examples(statement, {test["call"] for test in verification.tests})


def _program(verifier: Verifier, text: str, statement: Statement, calls: Sequence[parse.Call]) -> str:
    """The program of a reply in the form that works; where it cannot be read its code as it is, which the verification
    will complain about, or ''.
    """
    try:
        code = parse.program(text, statement.entry_point, statement.above)
        return verifier.working(code, statement.entry_point, calls)
    except parse.ParseError:
        return _code(text, statement.entry_point)


def _code(text: str, entry_point: str) -> str:
    try:
        code = parse.code_block(text, entry_point)
    except parse.ParseError:  # cut short, or thoughts alone
        return ""
    return code if len(code) <= MAX_SOURCE_CHARS else ""


def _claims(text: str, statement: Statement) -> list[parse.Claim]:
    """The asserts of a reply, none if it cannot be read: they are a cross-check only."""
    try:
        return parse.asserts(text, statement)
    except parse.ParseError:
        return []


def _calls(text: str, statement: Statement) -> list[parse.Call]:
    """The calls of a reply, none if it cannot be read: the others' calls stand."""
    try:
        return parse.calls(text, statement)
    except parse.ParseError:
        return []
