"""The gates that look at a suite's strength and at a program's repeatability, in the real sandbox."""

import pickle
import time

import pytest

from advgen import parse
from advgen.config import GateConfig, SandboxConfig
from advgen.verify import Verifier, baselines, determinism
from advgen.verify.coverage import RUN, entered, instrumented
from sandbox import Output

EXERCISE = parse.statement(
    'def sign(value: int) -> int:\n    """1 for a positive number, -1 for a negative one, 0 for nought, no more."""'
)
RIGHT = "def sign(value):\n    if value > 0:\n        return 1\n    elif value < 0:\n        return -1\n    return 0"
ALL = parse.calls("\n".join(f"sign({v})" for v in (5, -5, 0, 1, -1, 99, -99)), EXERCISE)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(SandboxConfig(wall_s=1.0), GateConfig()) as made:
        yield made


def test_coverage_is_the_share_of_blocks_that_the_tests_enter(verifier):
    verification = verifier.verify(EXERCISE, [RIGHT, RIGHT], ALL)
    assert (verification.status, verification.coverage) == ("kept", 1.0)
    assert 0 < verification.reference_s < 1
    assert pickle.loads(pickle.dumps(verification)) == verification
    # function, value > 0 and not, value == 3 and not: the block of 3 is not entered
    unreached = RIGHT.replace("    return 0", "    if value == 3:\n        return 0\n    return 0")
    verification = verifier.verify(EXERCISE, [unreached, unreached], ALL)
    assert verification.coverage == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("source", "calls", "share"),
    [
        ("def f(x):\n    return 1 if x else 2", [(0,)], (2, 3)),
        ("def f(x):\n    for _ in range(x):\n        pass", [(0,)], (1, 2)),
        (
            "def f(x):\n    try:\n        return 1 / x\n    except ZeroDivisionError:\n        return 0",
            [(1,)],
            (1, 2),
        ),
        ("def f(x):\n    return [(lambda: 1)() for _ in range(x)]", [(1,)], (2, 2)),
        (
            "from __future__ import annotations\ndef f(x):\n    match x:\n        case 1: pass\n        case _: pass",
            [(1,)],
            (2, 3),
        ),
        ("def f(x):\n    if x:\n        raise ValueError", [(1,), (0,)], (3, 3)),
    ],
)
def test_every_kind_of_block_is_marked_and_exceptions_are_swallowed(verifier, source, calls, share):
    marked, blocks = instrumented(source, "f")
    outputs = verifier.boxes[0].call(marked, RUN, calls)
    assert (len(entered(outputs, blocks)[-1]), blocks) == share


def test_blocks_add_up_from_call_to_call_and_what_a_program_makes_up_is_not_counted():
    outputs = [Output(status="ok", value=hits) for hits in ([0, 1], "no list", [7, -1, "x", True, 2])]
    assert entered([*outputs, Output(status="timeout")], blocks=3) == [{0, 1}, {0, 1}, {0, 1, 2}, {0, 1, 2}]


def test_constants_and_empty_values_must_fail():
    assert list(baselines.constant_baselines(EXERCISE, [{"expected": "'a'"}])) == ["None", "0", "''"]


def test_a_suite_that_a_constant_baseline_passes_is_turned_away(verifier):
    """0 == 0.0 and False is not 0: the texts differ, and still one constant passes."""
    maybe = "def sign(value):\n    return 0 if value > 3 else 0.0"
    verification = verifier.verify(
        parse.statement(EXERCISE.stub.replace("-> int", "-> float")), [maybe, maybe], ALL
    )
    assert (verification.status, verification.complaints[0].kind) == ("constant", "calls")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("import random\nx = random.random()", "random"),
        ("from random import *\nx = randint(1, 2)", "random"),
        ("import time\nx = time.time()", "time"),
        ("from datetime import datetime\nx = datetime.now()", "time"),
        ("import uuid\nx = uuid.uuid4()", "random"),
        ("import secrets\nx = secrets.token_hex()", "random"),
        ("import os\nx = os.urandom(2)", "the machine"),
        ("from os import urandom\nx = urandom(2)", "the machine"),
        ("x = id([])", "address"),
        ("x = hash('a')", "hash"),
        ("import threading", "threads"),
        ("import subprocess", "processes"),
        ("x = __import__('random').random()", "hidden imports"),
        ("x = open('/etc/passwd')", "files"),
    ],
)
def test_what_may_differ_between_runs_is_seen_before_anything_runs(verifier, line, cause):
    assert cause in determinism.causes(line)
    verification = verifier.verify(EXERCISE, [f"{line}\n{RIGHT}"] * 2, ALL)
    assert (verification.status, verification.tests) == ("nondeterministic", ())
    assert cause in verification.reason


@pytest.mark.parametrize(
    "line",
    ["import math, re, os.path", "from datetime import timedelta", "import random\nrandom.seed(0)", "x = sum({1, 2})",
     "def g(s):\n    for c in set(s): pass"],
)  # fmt: skip
def test_what_is_the_same_in_every_run_is_let_through(line):
    assert determinism.causes(line) == ()


def test_one_random_solution_costs_itself_only(verifier):
    wild = f"import random\n{RIGHT.replace('return 0', 'return random.choice([0, 7])')}"
    assert verifier.verify(EXERCISE, [RIGHT, wild, RIGHT, RIGHT], ALL, asked=4).status == "kept"


def test_a_solution_that_remembers_its_calls_fails_in_another_order(verifier):
    counting = "seen = []\ndef sign(value):\n    seen.append(value)\n    return len(seen) * (1 if value >= 0 else -1)"
    verification = verifier.verify(EXERCISE, [counting] * 2, ALL)
    assert verification.status == "nondeterministic"
    assert "order" in verification.reason


def test_an_attempt_gets_four_times_as_long_as_the_reference():
    slow = RIGHT.replace("    if value > 0:", "    time.sleep(0.8 * (value == 5))\n    if value > 0:")
    reply = f"```python\nimport time\n{slow}\n```"
    with Verifier(SandboxConfig(wall_s=0.4), GateConfig()) as verifier:
        tests = verifier.verify(EXERCISE, [RIGHT, RIGHT], ALL).tests
        assert verifier.attempt(reply, EXERCISE, tests).failure_kind == "timeout"
        assert verifier.attempt(reply, EXERCISE, tests, reference_s=0.5).passed
        assert verifier.attempt(reply, EXERCISE, tests).failure_kind == "timeout"


def test_a_mutant_that_loops_is_waited_for_no_longer_than_a_second():
    loop = "    n = 0\n    while n < 3:\n        n += 1\n    return n * (value > 0) - n * (value < 0)"
    with Verifier(SandboxConfig(wall_s=30.0), GateConfig()) as patient:
        started = time.monotonic()
        verification = patient.verify(EXERCISE, [f"def sign(value):\n{loop}"] * 2, ALL)
    assert verification.status == "kept"
    assert verification.kill_rate > 0.9
    assert time.monotonic() - started < 15
