"""The solutions that public benchmarks ship, against their own tests. BENCHMARKS names the folder they are in."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox import Report, Sandbox

FOLDER = Path(os.environ.get("BENCHMARKS", ""))


def rows(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not os.environ.get("BENCHMARKS") or not path.exists():
        pytest.skip(f"BENCHMARKS names no folder with {name}")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def wide_box() -> Iterator[Sandbox]:
    with Sandbox(slots=2) as made:
        yield made


def _is_main(name: str) -> bool:
    return name.endswith("_test.py")  # what it imports comes before it


def told(names: Sequence[object], reports: Sequence[Report]) -> list[tuple[object, str, object]]:
    return [
        (name, report.status, report.error)
        for name, report in zip(names, reports, strict=True)
        if not report.passed
    ]


def test_every_canonical_solution_of_humaneval_passes(wide_box: Sandbox) -> None:
    tasks = rows("HumanEval.jsonl.gz")
    reports = [
        wide_box.check(task["prompt"] + task["canonical_solution"], task["test"], task["entry_point"])
        for task in tasks
    ]
    assert told([task["task_id"] for task in tasks], reports) == []
    assert {report.mode for report in reports} == {"split"}


def test_the_solutions_of_mbpp_pass_but_for_two(wide_box: Sandbox) -> None:
    tasks = [task for task in rows("mbpp.jsonl") if 11 <= task["task_id"] <= 510]
    pairs = [(task["code"], "\n".join([task["test_setup_code"], *task["test_list"]])) for task in tasks]
    reports = wide_box.check_many(pairs)
    failed = told([task["task_id"] for task in tasks], reports)
    assert len(reports) == 500
    assert len(failed) <= 2, failed
    assert {report.mode for report in reports} == {"split"}


def test_the_examples_of_exercism_pass_their_own_unittest_files_but_for_one(wide_box: Sandbox) -> None:
    tasks = rows("exercism_python_practice.jsonl")
    texts = [[task["test"][name] for name in sorted(task["test"], key=_is_main)] for task in tasks]
    pairs = [
        ("\n".join(task["example"].values()), "\n".join(text))
        for task, text in zip(tasks, texts, strict=True)
    ]
    reports = wide_box.check_many(pairs)
    failed = told([task["slug"] for task in tasks], reports)
    assert len(reports) == 140
    assert len(failed) <= 1, failed
    print(f"in-process: {sum(report.mode == 'in-process' for report in reports)} of {len(reports)}")
