"""The solutions that public benchmarks ship, against their own tests. BENCHMARKS names the folder they are in.

They are right, so none may be called wrong, and next to none may be left without a verdict.
"""

from __future__ import annotations

import doctest
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench import plus
from sandbox import Limits, Report, Sandbox

UNDECIDED = ("test_error", "no_tests", "timeout", "memory", "output_limit")
"""Statuses that speak of the tests or of our limits; all others but `pass` blame the program."""
FAULTS = {"Mbpp/793": "the file has no plus inputs for it"}
"""Tasks of the plus files that cannot pass, and why."""
PATIENCE_S = 120.0
"""Mbpp/599 takes plain Python half a minute, Exercism's killer-sudoku-helper two seconds."""


class Miss(NamedTuple):
    """What did not pass."""

    name: str
    report: Report

    def __str__(self) -> str:
        return f"{self.report.status:12} {self.report.mode:10} {self.name}: {self.report.error}"


def path(name: str) -> Path:
    folder = os.environ.get("BENCHMARKS")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"BENCHMARKS names no folder with {name}")
    return Path(folder) / name


def rows(name: str) -> list[dict[str, Any]]:
    return plus.rows(path(name))


@pytest.fixture(scope="module")
def wide_box() -> Iterator[Sandbox]:
    with Sandbox(slots=2, limits=Limits(wall_s=PATIENCE_S)) as made:
        yield made


def misses(names: Sequence[object], reports: Sequence[Report]) -> list[Miss]:
    return [Miss(str(n), report) for n, report in zip(names, reports, strict=True) if not report.passed]


def table(missed: Sequence[Miss]) -> str:
    return "\n".join(["did not pass:", *sorted(map(str, missed))])


def blaming(missed: Sequence[Miss]) -> list[str]:
    return [miss.name for miss in missed if miss.report.status not in UNDECIDED]


VALUES = [
    -0.0,
    1e308,
    math.inf,
    10**5000,
    (1,),
    (),
    set(),
    {1, (2, 3)},
    {"a'": [None, True]},
    2 - 1j,
    Counter("aab"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_a_plus_test_expects_reads_back_as_the_very_value(value: Any) -> None:
    again = eval(plus.literal(value))
    assert (type(again), again) == (type(value), value)
    assert math.copysign(1, again) == math.copysign(1, value) if isinstance(value, float) else True


def test_every_canonical_solution_of_humaneval_passes(wide_box: Sandbox) -> None:
    tasks = rows("HumanEval.jsonl.gz")
    reports = [
        wide_box.check(task["prompt"] + task["canonical_solution"], task["test"], task["entry_point"])
        for task in tasks
    ]
    missed = misses([task["task_id"] for task in tasks], reports)
    assert not missed, table(missed)
    assert {report.mode for report in reports} == {"split"}


def test_the_solutions_of_mbpp_pass_but_for_two(wide_box: Sandbox) -> None:
    tasks = [task for task in rows("mbpp.jsonl") if 11 <= task["task_id"] <= 510]
    pairs = [(task["code"], "\n".join([task["test_setup_code"], *task["test_list"]])) for task in tasks]
    reports = wide_box.check_many(pairs)
    missed = misses([task["task_id"] for task in tasks], reports)
    assert len(reports) == 500
    assert len(missed) <= 2, table(missed)
    assert {report.mode for report in reports} == {"split"}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("HumanEvalPlus-Mini-v0.1.10.jsonl.gz", 1),
        ("MbppPlus-v0.2.0.jsonl.gz", 5),
        pytest.param("HumanEvalPlus-v0.1.10.jsonl.gz", 1, marks=pytest.mark.soak),
        pytest.param("MbppPlus-v0.2.0.jsonl.gz", 1, marks=pytest.mark.soak),
    ],
)
def test_the_own_solutions_pass_the_plus_tests_but_for_the_faults_of_the_files(
    wide_box: Sandbox, name: str, step: int
) -> None:
    names = [row["task_id"] for row in rows(name)][::step]
    tasks = plus.tasks(path(name), names)
    reports = wide_box.check_many((task.code, task.text(), task.entry_point) for task in tasks)
    missed = [miss for miss in misses(names, reports) if miss.name not in FAULTS]
    assert not missed, table(missed)
    assert {report.mode for report in reports} == {"split"}


BEYOND_US = {
    "error-handling": "its file of tests imports a helper that is not there",
    "paasio": "its mocks look for the solution's file on their own call stack",
}


def test_the_examples_of_exercism_pass_their_own_unittest_files_but_for_two(wide_box: Sandbox) -> None:
    tasks = rows("exercism_python_practice.jsonl")
    texts = [[task["test"][name] for name in sorted(task["test"], key=_is_main)] for task in tasks]
    pairs = [
        ("\n".join(task["example"].values()), "\n".join(text))
        for task, text in zip(tasks, texts, strict=True)
    ]
    reports = wide_box.check_many(pairs)
    missed = misses([task["slug"] for task in tasks], reports)
    assert len(reports) == 140
    assert not blaming(missed), table(missed)
    assert {miss.name for miss in missed} <= BEYOND_US.keys(), table(missed)
    print(f"in-process: {sum(report.mode == 'in-process' for report in reports)} of {len(reports)}")


def _is_main(name: str) -> bool:
    return name.endswith("_test.py")  # what it imports comes before it


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_functions_of_the_algorithms_pass_their_doctests_but_for_two_in_a_hundred(
    wide_box: Sandbox, tmp_path: Path, step: int
) -> None:
    functions = [row for row in rows("thealgorithms_python_functions.jsonl") if row["doctest_ok"]][::step]
    programs = [f"{row['imports']}\n{row['code']}" for row in functions]
    texts = [_examples(row["docstring"]) for row in functions]
    reports = wide_box.check_many(zip(programs, texts, strict=True))
    known = dict(zip(names := [f"{row['path']}::{row['name']}" for row in functions], programs, strict=True))
    missed = [miss for miss in misses(names, reports) if _passes_plainly(known[miss.name], tmp_path)]
    assert not blaming(missed), table(missed)
    assert len(missed) <= 0.02 * len(functions), table(missed)


def _examples(docstring: str) -> str:
    """The docstring without its prose."""
    found = doctest.DocTestParser().get_examples(docstring)
    return "\n".join(
        f">>> {each.source.rstrip().replace(chr(10), chr(10) + '... ')}\n{each.want}" for each in found
    )


def _passes_plainly(program: str, folder: Path) -> bool:
    """Whether Python's own doctest finds nothing wrong with it."""
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-m", "doctest", "program.py"]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
