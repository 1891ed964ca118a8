"""Tests that nobody wrote: inputs derived from those of the tests, where they tell a wrong program from the right ones.

EvalPlus's idea (Liu et al. 2023, arXiv 2305.01210), held tighter: an input counts only where *all* right solutions
return the same value, and only for a reason: it fails a mutant that no other test fails, it enters a block of the
reference that no other test enters, or no other test has this result from arguments of this kind. What a statement
leaves open, solutions mostly answer differently; what they all answer alike outside of it would be asked of
everybody, so few are added. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from advcore.literals import RAISABLE, Outcome, Raised, Returned, alike, arguments, call_text, text_of
from advgen.parse import Call, Statement, outline
from advgen.verify import fuzz
from advgen.verify.fit import Signature
from sandbox import Output

INPUTS = 200  # tried an exercise


def calls(exercise: Statement, tests: Sequence[Mapping[str, Any]]) -> list[Call]:
    """Calls that the statement is about, with arguments like those of the tests."""
    name, signature = exercise.entry_point, Signature(exercise)
    known = [arguments(test["call"]) for test in tests]
    made = [Call(call_text(name, args), args) for args in inputs(known)]
    return [call for call in made if call.source and signature.is_about(call)]


def inputs(seeds: Sequence[fuzz.Args]) -> list[fuzz.Args]:
    """Arguments like `seeds` and none of them."""
    return fuzz.inputs(seeds, len(seeds) + INPUTS)[len(seeds) :]


def unanimous(rows: Sequence[Sequence[Output]], exercise: Statement) -> list[Outcome | None]:
    """For each input the value that every program returns; None where they differ. `rows[i][j]`: program i on input j.

    An exception makes no test here: on an input that nobody chose it may be an accident, even where its name is asked
    for.
    """
    found: list[Outcome | None] = []
    for column in zip(*rows, strict=True):
        told = [each for output in column if isinstance(each := outcome(output, exercise), Returned)]
        whole = len(told) == len(column)
        found.append(next((one for one in told if whole and all(alike(one, other) for other in told)), None))
    return found


def discriminating(
    expected: Sequence[Outcome | None], mutants: Sequence[Sequence[Output]], most: int, exercise: Statement
) -> tuple[list[int], list[int]]:
    """At most `most` inputs that fail mutants, and the mutants that survive. `mutants[i][j]`: mutant i on input j."""
    chosen: list[int] = []
    surviving = []
    for number, row in enumerate(mutants):
        differs = [
            at for at, value in enumerate(expected) if value and not _comes_to(row[at], value, exercise)
        ]
        if not set(differs) & set(chosen):
            if differs and len(chosen) < most:
                chosen.append(differs[0])
            else:
                surviving.append(number)
    return chosen, surviving


def outcome(output: Output, exercise: Statement) -> Outcome | None:
    """What a call came to, as a test can expect it: a value, or an exception that the statement names. None for what no
    test can hold; an exception that nobody asked for is a matter of taste, and a fault as often as not.
    """
    if output.status == "ok":
        text = text_of(output.value)
        return Returned(text) if text else None
    name = (output.error or "").partition(":")[0]
    return Raised(name) if output.status == "error" and name in demanded(exercise) else None


def demanded(exercise: Statement) -> frozenset[str]:
    """The exceptions that the text of a statement names."""
    return RAISABLE & set(re.findall(r"\w+", outline(exercise.docstring)))


def _comes_to(output: Output, expected: Outcome, exercise: Statement) -> bool:
    found = outcome(output, exercise)
    return found is not None and alike(found, expected)


Case = tuple[fuzz.Args, str]
"""Arguments and what is expected of them, as text."""


def coverage_increasing(
    settled: Sequence[Case], enters: Sequence[bool], known: Sequence[Case], most: int
) -> list[int]:
    """Places of at most `most` of `settled` that lead where none of `known` leads.

    `enters[i]`: case i is the first to enter some block. The others differ in their kind: the result, and which
    arguments are empty or zero.
    """
    seen = {_kind(case) for case in known}
    chosen: list[int] = []
    for at in sorted(range(len(settled)), key=lambda at: not enters[at]):
        kind = _kind(settled[at])
        if len(chosen) < most and (enters[at] or kind not in seen):
            seen.add(kind)
            chosen.append(at)
    return chosen


def _kind(case: Case) -> tuple[str, tuple[bool, ...]]:
    args, expected = case
    return expected, tuple(map(bool, args))
