"""Every hostile program at both accepted levels: the right status, no canary touched, nothing left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.adaptive import CALLS
from sandbox.hostile import Hostile
from sandbox.selfcheck import LIMITS, PROGRAMS, Canaries, canaries, verdict_on


@pytest.fixture(scope="module")
def targets() -> Iterator[Canaries]:
    with canaries() as made:
        yield made


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_hostile_program_is_contained(program: Hostile, level_box: Sandbox, targets: Canaries) -> None:
    assert verdict_on(level_box, program, targets) == []


def test_no_process_outlives_the_hostile_programs(level_box: Sandbox) -> None:
    assert level_box.check("def f(x): return x + 1", "assert f(1) == 2").passed
    launcher = level_box._slots[0].pid
    alive = {
        pid for pid in _descendants(os.getpid()) if pid in _descendants(launcher or 0) or pid == launcher
    }
    assert len(alive) == 3, "a launcher, its zygote and their clerk, nothing else"


@pytest.mark.parametrize("name", CALLS)
def test_hostile_outputs_of_calls_are_data_or_a_failure(name: str, level_box: Sandbox) -> None:
    started = time.monotonic()
    outputs = level_box.call(CALLS[name], "f", [(0,), (1,), (2,)])
    assert len(outputs) == 3
    assert {output.status for output in outputs}.isdisjoint({"ok", "sandbox_error"})
    assert all(output.value is None and type(output.error) is str for output in outputs)
    assert time.monotonic() - started < LIMITS.wall_s + 2


def test_there_are_at_least_eighty_of_them() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS) >= 80


def _descendants(root: int) -> set[int]:
    found: set[int] = set()
    frontier = [root]
    while frontier:
        parent = frontier.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            new = {int(pid) for pid in children.read_text().split()}
            found |= new
            frontier += new
    return found
