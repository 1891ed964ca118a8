"""Tests that nobody wrote: inputs derived from those of the tests, where they tell a wrong program from the right ones.

EvalPlus's idea (Liu et al. 2023, arXiv 2305.01210), held tighter: an input counts only where *all* right solutions
return the same value, and only for a reason: it fails a mutant that no other test fails, it enters a block of the
reference that no other test enters, or no other test has this result from arguments of this kind. What a statement
leaves open, solutions mostly answer differently; what they all answer alike outside of it would be asked of
everybody, so few are added. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from advgen.verify import fuzz
from advgen.verify.values import literal_repr
from sandbox import Output

INPUTS = 200  # tried an exercise


def inputs(seeds: Sequence[fuzz.Args]) -> list[fuzz.Args]:
    """Arguments like `seeds` and none of them, all of which can stand in a test."""
    made = fuzz.inputs(seeds, len(seeds) + INPUTS)[len(seeds) :]
    return [args for args in made if literal_repr(args)]


def unanimous(rows: Sequence[Sequence[Output]]) -> list[str]:
    """For each input what every program returned, as text; '' where they differ. `rows[i][j]`: program i on input j."""
    columns = [{_text(output) for output in column} for column in zip(*rows, strict=True)]
    return [column.pop() if len(column) == 1 else "" for column in columns]


def telling(
    expected: Sequence[str], mutants: Sequence[Sequence[Output]], most: int
) -> tuple[list[int], list[int]]:
    """At most `most` inputs that fail mutants, and the mutants that live on. `mutants[i][j]`: mutant i on input j."""
    chosen: list[int] = []
    living = []
    for number, row in enumerate(mutants):
        differs = [at for at, value in enumerate(expected) if value and _text(row[at]) != value]
        if not set(differs) & set(chosen):
            if differs and len(chosen) < most:
                chosen.append(differs[0])
            else:
                living.append(number)
    return chosen, living


Case = tuple[fuzz.Args, str]
"""Arguments and what is expected of them."""


def widening(settled: Sequence[Case], enters: Sequence[bool], known: Sequence[Case], most: int) -> list[int]:
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


def _text(output: Output) -> str:
    return literal_repr(output.value) if output.status == "ok" else ""
