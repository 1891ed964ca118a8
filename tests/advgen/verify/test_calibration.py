"""The verifier's error rates on exercises whose tests are known to be strong, weak or wrong."""

import dataclasses
import json
import pickle
import time

import pytest

from advcore import contract
from advcore.stats import wilson
from advgen.verify.calibration import CalibrationExercise, calibrate, exercises_of
from advgen.verify.rates import Case, Count, Tally

CLAMP = (
    "def clamp(value, low, high):\n    if value < low:\n        return low\n"
    "    result = min(value, high)\n    return result"
)


def exercise(*calls, reference=CLAMP, name="clamp"):
    space = {}
    exec(reference, space)  # ours, not a model's
    tests = [{"call": call, "expected": repr(eval(call, space)), "source": "agreement"} for call in calls]
    return CalibrationExercise(exercise_id=name, entry_point=name, reference=reference, tests=tuple(tests))


STRONG = (
    "clamp(5, 1, 9)",
    "clamp(0, 1, 9)",
    "clamp(12, 1, 9)",
    "clamp(-3, -2, 4)",
    "clamp(1, 1, 9)",
    "clamp(9, 1, 8)",
)
WEAK = ("clamp(5, 1, 9)",)


def test_strong_tests_let_no_known_wrong_program_through():
    rates = calibrate([exercise(*STRONG)], limit=20)
    known = sum(count.known for count in rates.wrong.values())
    assert known >= 5
    assert (rates.false_accept, rates.survivors) == (0.0, ())
    assert rates.false_accept_interval == wilson(0, 1)  # of one exercise
    assert pickle.loads(pickle.dumps(rates)) == rates


def test_weak_tests_are_caught_with_a_call_that_shows_it():
    rates = calibrate([exercise(*WEAK)], limit=20)
    assert rates.false_accept > 0.2
    assert rates.false_accept_interval[0] < rates.false_accept < rates.false_accept_interval[1]
    assert len(rates.survivors) == sum(count.errors for count in rates.wrong.values())
    survivor = next(each for each in rates.survivors if each.operator == "dropped_guard")
    assert survivor.exercise_id == "clamp"
    assert "return low" not in survivor.code
    call, _, values = survivor.witness.partition(" is ")
    wanted, got = values.split(", not ")
    space, mutated = {}, {}
    exec(CLAMP, space)
    exec(survivor.code, mutated)
    assert (repr(eval(call, space)), repr(eval(call, mutated))) == (wanted, got)


def test_rewrites_are_right_and_accepted():
    rates = calibrate([exercise(*STRONG)], limit=20)
    assert sum(count.known for count in rates.right.values()) >= 4
    assert (rates.false_reject, rates.rejected, rates.bad_rewrites) == (0.0, (), ())


def test_a_rewrite_that_shows_is_thrown_out_and_counted():
    """A function that looks at itself gives another answer when it is written differently."""
    nosy = "def nosy(value):\n    return value + nosy.__code__.co_nlocals"
    rates = calibrate([exercise("nosy(1)", "nosy(5)", reference=nosy, name="nosy")], limit=20)
    assert [each.operator for each in rates.bad_rewrites] == ["named_result"]
    assert rates.right["named_result"] == Count(made=1, known=0, errors=0)
    assert (rates.false_reject, rates.rejected) == (0.0, ())


def cases(exercise_id, operator, made, known, errors):
    return [
        Case(exercise_id=exercise_id, operator=operator, known=at < known, error=at < errors)
        for at in range(made)
    ]


def test_rates_are_errors_among_the_known_with_exercises_as_trials():
    tally = Tally()
    tally.wrong += [*cases("a", "one", 9, 4, 1), *cases("b", "one", 4, 2, 1), *cases("b", "other", 4, 2, 1)]
    tally.wrong += cases("c", "one", 3, 0, 0)  # nothing is known of it
    tally.right += cases("a", "one", 5, 4, 1)
    rates = tally.rates()
    assert (rates.false_accept, rates.false_reject) == ((1 / 4 + 2 / 4) / 2, 1 / 4)
    assert rates.false_accept_interval == pytest.approx(wilson(0.75, 2))
    assert rates.wrong["one"] == Count(made=16, known=6, errors=2)


def test_an_exercise_whose_reference_fails_is_left_out_and_counted():
    wrong = CalibrationExercise(
        exercise_id="x",
        entry_point="clamp",
        reference=CLAMP,
        tests=({"call": "clamp(1, 2, 3)", "expected": "9"},),
    )
    rates = calibrate([wrong, exercise(*STRONG)], limit=3)
    assert (rates.exercises, rates.skipped) == (2, 1)


def test_the_limit_holds_for_each_kind_and_progress_is_told():
    seen = []
    rates = calibrate([exercise(*STRONG), exercise(*WEAK)], limit=3, progress=seen.append)
    assert seen == [1, 2]
    assert sum(count.made for count in rates.wrong.values()) == 6
    assert sum(count.made for count in rates.right.values()) <= 6


def test_a_mutant_that_loops_costs_little():
    loop = "    at = 0\n    made = []\n    while at < n:\n        made.append(at)\n        at += 1\n    return made"
    started = time.monotonic()
    calibrate([exercise("upto(3)", "upto(0)", reference=f"def upto(n):\n{loop}", name="upto")], limit=12)
    assert time.monotonic() - started < 30


def test_on_inputs_that_the_statement_is_not_about_nobody_errs():
    code = "def halve(n):\n    if n < 1:\n        return 7\n    return n // 2"
    known = exercise(*(f"halve({n})" for n in (1, 2, 5, 8, 11)), reference=code, name="halve")
    stub = 'def halve(n: int) -> int:\n    """Given a positive integer, compute half of it, rounded down."""'
    rates = [calibrate([each], limit=20) for each in (known, dataclasses.replace(known, stub=stub))]
    assert [any(each.operator == "dropped_guard" for each in rate.survivors) for rate in rates] == [
        True,
        False,
    ]


def test_what_the_statement_leaves_open_makes_no_mutant_wrong():
    """Two accepted solutions differ below low > high, and a mutant that shows only there is counted apart."""
    other = "def clamp(value, low, high):\n    return max(low, min(value, high))"
    mixed = "def clamp(value, low, high):\n    return 5 if value == 5 else None"
    tests = exercise(*WEAK)
    alone, beside = (
        calibrate([dataclasses.replace(tests, others=others)], limit=20) for others in ((other,), (mixed,))
    )
    assert alone.false_accept > 0.2
    known = [sum(count.known for count in rates.wrong.values()) for rates in (alone, beside)]
    assert known[1] < known[0]
    assert alone.undecided == 0 < beside.undecided


@pytest.fixture
def dataset(tmp_path):
    solutions = [
        {"code": "def clamp(value, low, high):\n    return 1", "right": False},
        {"code": CLAMP, "right": True},
        {"code": f"{CLAMP}  # again", "right": True},
    ]
    row = {
        "exercise_id": "one", "parent_id": "", "round": 0, "strategy": "seed", "topic": "t", "subtopic": "s",
        "entry_point": "clamp", "tests": json.dumps(list(exercise(*STRONG).tests)), "stub": "", "status": "kept",
        "reason": "", "prompt": [], "response": "", "solutions": json.dumps(solutions), "attempts": "[]",
        "mended": "[]", "testimony": "{}", "check": "{}", "usage": "{}", "teacher_pass_rate": 1.0,
        "student_pass_rate": 0.5, "n_attempts": 2, "kill_rate": 1.0, "coverage": 1.0, "teacher": "t", "student": "s",
        "sandbox": "{}",
        "provenance": "{}", "schema_version": contract.SCHEMA_VERSION,
    }  # fmt: skip
    away = row | {"exercise_id": "two", "status": "weak_tests"}
    broken = row | {"exercise_id": "three", "solutions": "[[1]]"}
    contract.write_round(tmp_path, "raw", 0, [row, row, away, broken])
    return tmp_path


def test_exercises_of_a_dataset_come_once_with_all_that_was_accepted(dataset):
    (found,) = exercises_of(dataset)
    assert (found.exercise_id, found.reference, found.tests) == ("one", CLAMP, exercise(*STRONG).tests)
    assert found.others == (f"{CLAMP}  # again",)
