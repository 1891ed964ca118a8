"""Verification by execution, in the real sandbox: agreement, gates, attempts."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from advcore import contract
from advgen import parse
from advgen.config import GateConfig, SandboxConfig
from advgen.verify import Verifier

EXERCISE = parse.statement(
    'def span(values: list[int]) -> int:\n    """Largest minus smallest of `values`; 0 for an empty list, whatever."""'
)
ANYTHING = parse.statement(EXERCISE.stub.replace(" -> int", ""))
RIGHT = "def span(values):\n    if not values:\n        return 0\n    return max(values) - min(values)"
ALSO_RIGHT = (
    "def span(values):\n    ordered = sorted(values)\n    return ordered[-1] - ordered[0] if ordered else 0"
)
WRONG = "def span(values):\n    return max(values) - values[0] if values else 0"
CALLS = parse.calls(
    "\n".join(f"span({v})" for v in ([], [1], [3, 1], [1, 3], [2, 9, 4], [-5, 5], [7, 7])), EXERCISE
)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(SandboxConfig(wall_s=2.0), GateConfig()) as made:
        yield made


def claims(text):
    return parse.asserts(text, EXERCISE)


def test_tests_are_what_solutions_agree_on_cross_checked_by_claims(verifier):
    claimed = claims("assert span([4, 8]) == 4\nassert span([1, 2]) == 99\nassert span([]) == 0")
    verification = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT, RIGHT, WRONG], CALLS, claimed)
    assert verification.status == "kept"
    assert verification.right == (RIGHT, ALSO_RIGHT, RIGHT)
    assert verification.teacher_pass_rate == 0.75
    assert verification.kill_rate >= 0.6
    assert {test["call"]: test["expected"] for test in verification.tests if test["source"] != "generated"} == {
        "span([])": "0", "span([1])": "0", "span([3, 1])": "2", "span([1, 3])": "2", "span([2, 9, 4])": "7",
        "span([-5, 5])": "10", "span([7, 7])": "0", "span([4, 8])": "4", "span([1, 2])": "1",
    }  # fmt: skip
    assert {test["call"] for test in verification.tests if test["source"] == "assert"} == {
        "span([])",
        "span([4, 8])",
    }


@pytest.mark.parametrize(
    ("solutions", "calls", "status"),
    [
        ([RIGHT], CALLS, "no_solutions"),
        (
            [RIGHT, "def span(values):\n    return -1", "def span(values):\n    return 1"],
            CALLS,
            "no_agreement",
        ),
        ([RIGHT, ALSO_RIGHT], CALLS[:3], "too_few_tests"),
        (["def span(values):\n    return 5"] * 2, CALLS, "constant"),
        (["def span(values):\n    return None if len(values) > 9 else len(values)"] * 2, [], "no_agreement"),
    ],
)
def test_an_exercise_that_shows_too_little_is_turned_away_with_its_reason(verifier, solutions, calls, status):
    verification = verifier.verify(EXERCISE, solutions, calls, asked=len(solutions))
    assert (verification.status, bool(verification.reason)) == (status, True)


def test_a_suite_that_mutants_survive_is_weak(verifier):
    unreached = "    if len(values) == 9:\n        return 3 * 4 + len(values) - 2\n"
    solution = f"def span(values):\n{unreached}    return 1 if len(values) > 1 else 0"
    verification = verifier.verify(EXERCISE, [solution] * 2, CALLS, [])
    assert verification.status == "weak_tests"
    assert verification.kill_rate < 0.6


def test_of_right_solutions_those_stay_that_most_of_what_passes_agrees_with_beyond_the_tests(verifier):
    verification = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT, RIGHT], CALLS)
    odd = RIGHT.replace("return max", "if len(values) > 3:\n        return 1\n    return max")
    # As if the tests had told it apart from no other: two against two, and the attempts decide.
    solutions = [odd, RIGHT, odd, ALSO_RIGHT]
    verification = replace(verification, right=tuple(solutions), tests=verification.tests[:7])

    def said(*codes):
        attempts = [verifier.check(code, "span", verification.tests) for code in codes]
        return verifier.testimony(EXERCISE, verification, solutions, attempts)

    told, right = said(RIGHT, WRONG, WRONG, WRONG.replace("values", "items"))
    assert right == (RIGHT, ALSO_RIGHT)
    # The same text twice is one witness.
    assert (told.like_reference, told.like_attempt) == (3 / 8, (1 / 7, 1 / 7, 1 / 7, 2 / 7))
    assert said()[1] == (odd, odd)
    # What no right solution does is never the group, however many attempts do it.
    strange = RIGHT.replace("return max", "if len(values) > 3:\n        return 2\n    return max")
    told, right = said(*[strange] * 6)
    assert right == (odd, odd)
    assert (told.like_reference, told.like_attempt[0]) == (2 / 10, 0.0)


def test_given_tests_are_kept_as_they_are_and_right_is_what_passes_them(verifier):
    tests = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS).tests
    verification = verifier.accept(EXERCISE, [WRONG, ALSO_RIGHT, ""], [RIGHT], tests)
    assert (verification.status, verification.right, verification.given, verification.tests) == (
        "kept",
        (ALSO_RIGHT, RIGHT),
        1,
        tuple(tests),
    )
    assert verification.teacher_pass_rate == 1 / 3
    odd = RIGHT.replace("return max", "if len(values) > 3:\n        return 1\n    return max")
    few = [test for test in tests if test["source"] != "generated"]
    assert verifier.accept(EXERCISE, [odd, ALSO_RIGHT], [RIGHT], few).right == (ALSO_RIGHT, RIGHT)
    wrong = verifier.accept(EXERCISE, [RIGHT], [RIGHT, WRONG], tests)
    assert (wrong.status, wrong.reason.split(":")[0]) == ("misgiven", "its own solution")
    assert verifier.accept(EXERCISE, [RIGHT], [RIGHT], tests[:2]).status == "too_few_tests"


def test_a_solution_that_depends_on_the_hash_seed_is_not_kept(verifier):
    solution = "def span(values):\n    return (''.join({'a', 'b', 'c', 'd', 'e', 'f'}), len(values))"
    assert verifier.verify(ANYTHING, [solution] * 2, CALLS, []).status == "nondeterministic"


def test_float_results_are_compared_with_a_tolerance(verifier):
    mean = "def span(values):\n    return sum(v / 10 for v in values)"
    other = "def span(values):\n    return sum(values) / 10"
    verification = verifier.verify(ANYTHING, [mean, other], CALLS, [])
    assert verification.status == "kept"
    assert contract.helper(verification.tests[1]) == "_close"


def test_floats_inside_containers_are_tests_with_a_tolerance(verifier):
    mean = "def span(values):\n    return {'tenths': [v / 10 for v in values], 'sum': (sum(v / 10 for v in values),)}"
    other = "def span(values):\n    return {'sum': (sum(values) / 10,), 'tenths': [v * 0.1 for v in values]}"
    verification = verifier.verify(ANYTHING, [mean, other], CALLS, [])
    assert (verification.status, len(verification.right)) == ("kept", 2)
    assert "{'sum': (1.5,), 'tenths': [0.2, 0.9, 0.4]}" in [test["expected"] for test in verification.tests]
    wrong = verifier.check(mean.replace("sum(v / 10", "sum(v / 9"), "span", verification.tests)
    assert (wrong.status, wrong.failure_kind) == ("fail", "wrong_answer")
    assert "got another value" in wrong.detail


AGE = parse.statement(
    'def age(text: str) -> int:\n    """The age that `text` states.\n\n'
    '    Raise ValueError where it is negative or over 150."""'
)
AGES = parse.calls("\n".join(f"age('{text}')" for text in (7, 0, 150, 33, 90, 12, -1, 151, "x")), AGE)
AGED = (
    "def age(text):\n    found = int(text)\n    if found < 0 or found > 150:\n        raise ValueError(text)\n"
    "    return found"
)


def test_an_exception_that_the_statement_names_is_a_test(verifier):
    verification = verifier.verify(
        AGE, [AGED, AGED.replace("found < 0 or found > 150", "not 0 <= found <= 150")], AGES
    )
    assert verification.status == "kept"
    raising = {test["call"]: test["raises"] for test in verification.tests if "raises" in test}
    assert raising.items() >= {"age('-1')": "ValueError", "age('151')": "ValueError"}.items()
    unchecked = verifier.check("def age(text):\n    return int(text)", "age", verification.tests)
    assert (unchecked.status, "expected ValueError, it was not raised" in unchecked.detail) == ("fail", True)
    other = verifier.check(AGED.replace("raise ValueError", "raise KeyError"), "age", verification.tests)
    assert other.status == "fail"


def test_arguments_that_do_not_fit_are_tests_where_the_statement_demands_an_exception_for_them(verifier):
    told = parse.statement(
        EXERCISE.stub.replace("whatever.", "whatever. Raise TypeError for what is no list.")
    )
    strict = RIGHT.replace(
        "    if not", "    if not isinstance(values, list):\n        raise TypeError\n    if not"
    )
    verification = verifier.verify(
        told, [strict, strict], [*CALLS, *parse.calls("span('abc')\nspan(None)", told)]
    )
    assert {test["call"] for test in verification.tests if test.get("raises") == "TypeError"} == {
        "span('abc')",
        "span(None)",
    }
    assert not verifier.check(RIGHT, "span", verification.tests).passed
    lenient = verifier.verify(told, [RIGHT, RIGHT], [*CALLS, *parse.calls("span(None)", told)])
    assert "span(None)" not in {test["call"] for test in lenient.tests}


def test_an_exception_that_nobody_asked_for_is_no_test(verifier):
    unasked = parse.statement(AGE.stub.replace("Raise ValueError where", "Nobody is"))
    verification = verifier.verify(unasked, [AGED, AGED], AGES)
    assert not any("raises" in test for test in verification.tests)


def test_an_agreement_that_contradicts_an_example_turns_the_exercise_away(verifier):
    for example in (
        "    >>> span([3, 1])\n    5\n",
        "    For values = [3, 1], return 5.\n",
        "    span([3, 1]) is 5.\n",
    ):
        told = parse.statement(EXERCISE.stub.replace("whatever.", f"whatever.\n\n{example}"))
        verification = verifier.verify(told, [RIGHT, ALSO_RIGHT], CALLS)
        assert verification.status == "contradicted"
        assert verification.reason == "the statement says that span([3, 1]) is 5, solutions agree on 2"


def test_an_example_that_holds_is_a_test_and_says_so(verifier):
    told = parse.statement(EXERCISE.stub.replace("whatever.", "whatever. For values = [8, 1], return 7."))
    verification = verifier.verify(told, [RIGHT, ALSO_RIGHT], CALLS)
    assert {"call": "span([8, 1])", "expected": "7", "source": "example"} in verification.tests


def test_an_example_is_a_test_also_where_solutions_do_not_agree_on_its_call(verifier):
    told = parse.statement(EXERCISE.stub.replace("whatever.", "whatever. For values = [], return -1."))
    raising = "def span(values):\n    return max(values) - min(values)"
    assert verifier.verify(told, [raising] * 3, CALLS).status == "no_agreement"
    repaired = f"{raising} if values else -1"
    verification = verifier.verify(told, [repaired, repaired, raising], CALLS)
    assert (verification.status, verification.right) == ("kept", (repaired, repaired))
    assert verification.tests[0] == {"call": "span([])", "expected": "-1", "source": "example"}


def test_a_result_that_does_not_fit_the_signature_turns_the_exercise_away(verifier):
    maybe = RIGHT.replace("return 0", "return 'none'")
    verification = verifier.verify(EXERCISE, [maybe, maybe], CALLS)
    assert (verification.status, verification.reason) == ("misfit", "span([]) is 'none', which is no int")


def test_calls_that_do_not_fit_the_signature_are_no_tests(verifier):
    odd = parse.calls("span('abc')\nspan(None)\nspan(['a', 'b'])", EXERCISE)
    counting = "def span(values):\n    return len(values or ())"
    verification = verifier.verify(EXERCISE, [counting] * 2, [*CALLS, *odd])
    assert not {test["call"] for test in verification.tests} & {call.source for call in odd}


def test_calls_that_the_statement_is_not_about_are_no_tests_but_its_own_examples_are(verifier):
    text = "Given a non-empty list of whole numbers, compute largest minus smallest."
    stub = f'def span(values: list[int]) -> int:\n    """{text}\n\n    >>> span([9])\n    0\n    """'
    verification = verifier.verify(parse.stored(stub), [RIGHT, ALSO_RIGHT], CALLS)
    calls = {test["call"] for test in verification.tests}
    assert verification.status == "kept"
    assert "span([])" not in calls
    assert {"span([9])", "span([1])"} <= calls
    odd = parse.stored(stub.replace("span([9])", "span([])"))
    assert "span([])" in {test["call"] for test in verifier.verify(odd, [RIGHT, ALSO_RIGHT], CALLS).tests}


def test_where_an_exception_is_demanded_what_is_outside_is_a_test_of_that_exception_only(verifier):
    text = "Given a positive integer n, return its double plus k. Raise ValueError where n is over 50."
    stub = f'def twice(n: int, k: int) -> int:\n    """{text}"""'
    code = "def twice(n, k):\n    if n > 50:\n        raise ValueError(n)\n    return 2 * n + k"
    exercise = parse.stored(stub)
    calls = parse.calls("\n".join(f"twice({n}, {n + 1})" for n in (-4, 0, 1, 7, 20, 50, 51, 60)), exercise)
    verification = verifier.verify(exercise, [code, code.replace("2 * n", "n + n")], calls)
    assert {test["call"] for test in verification.tests if test["source"] != "generated"} == {
        f"twice({n}, {n + 1})" for n in (1, 7, 20, 50, 51, 60)
    }


def test_what_all_agree_on_and_no_test_can_hold_is_named(verifier):
    verification = verifier.verify(
        ANYTHING, ["def span(values):\n    return 10**5000 if values else 0"] * 2, CALLS
    )
    assert verification.status == "too_few_tests"
    assert (
        verification.reason
        == "1 tests survive; from 6 calls solutions return what no test can hold: values of type int"
    )


def test_attempts_pass_fail_with_their_kind_or_are_unreadable(verifier):
    tests = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS, []).tests

    def attempt(code):
        return verifier.attempt(f"```python\n{code}\n```", EXERCISE, tests)

    assert attempt(ALSO_RIGHT).passed
    wrong = attempt(WRONG)
    assert (wrong.status, wrong.failure_kind, tests[wrong.failed_test]["call"]) == (
        "fail",
        "wrong_answer",
        "span([3, 1])",
    )
    raising = attempt("def span(values):\n    return max(values) - min(values)")
    assert (raising.status, raising.failure_kind, raising.failed_test) == ("error", "exception:ValueError", 0)
    assert attempt("def span(values):\n    while True: pass").status == "timeout"
    assert attempt("def other(values): pass").status == "unreadable"
    assert attempt("import os\ndef span(values):\n    os._exit(0)").status not in ("pass", "fail")


@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize("then", ["==", "!="])
def test_an_attempt_that_does_otherwise_under_any_one_hash_seed_is_a_flake(verifier, odd, then):
    tests = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS, []).tests
    first = "''.join({'a', 'b', 'c', 'd', 'e', 'f'})"
    seeds = [box.call(f"def f():\n    return {first}", "f", [()])[0].value for box in verifier.boxes]
    assert len(set(seeds)) == 3
    flaky = RIGHT.replace("return 0", f"return 0 if {first} {then} {seeds[odd]!r} else 1")
    assert flaky != RIGHT
    assert verifier.attempt(f"```python\n{flaky}\n```", EXERCISE, tests).status == "flaky"


def test_a_solution_that_could_not_be_read_counts_as_one_that_disagrees(verifier):
    assert verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS, asked=4).status == "no_solutions"
    assert verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT, RIGHT], CALLS, asked=4).teacher_pass_rate == 0.75


@pytest.mark.parametrize(
    "value",
    ["10**5000", "x()", "float('nan')", "[float('nan')]", "object", "nest(300)", "'a' * 3000", "{1: object}"],
)
def test_what_cannot_stand_in_a_test_is_no_expected_value(verifier, value):
    helpers = "def nest(n):\n    made = []\n    for _ in range(n):\n        made = [made]\n    return made"
    solution = f"{helpers}\ndef x():\n    return x\ndef span(values):\n    return {value} if values else 0"
    verification = verifier.verify(ANYTHING, [solution] * 2, CALLS)
    assert {test["expected"] for test in verification.tests} <= {"0"}


def test_equal_sets_and_dicts_get_one_text(verifier):
    one = "def span(values):\n    return {v: {str(v), 'x', 'y'} for v in values}"
    other = "def span(values):\n    return {v: {'y', 'x', str(v)} for v in sorted(values)}"
    verification = verifier.verify(ANYTHING, [one, other], [*CALLS, *parse.calls("span([3, 2])", EXERCISE)])
    expected = {test["call"]: test["expected"] for test in verification.tests}
    assert expected["span([3, 2])"] == "{2: {'2', 'x', 'y'}, 3: {'3', 'x', 'y'}}"


def test_an_exception_class_of_the_program_lends_no_name_to_the_data(verifier):
    tests = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS).tests
    code = (
        "class Evil(Exception): pass\nEvil.__name__ = 'a | b'\ndef span(values):\n    raise Evil('\\ud800')"
    )
    attempt = verifier.attempt(f"```python\n{code}\n```", EXERCISE, tests)
    assert (attempt.status, attempt.failure_kind) == ("error", "exception:Exception")
    assert attempt.detail.encode()


def verified_elsewhere(exercise, solutions, calls):
    with Verifier(SandboxConfig(wall_s=2.0), GateConfig()) as made:
        return made.verify(exercise, solutions, calls)


def test_verifiers_work_side_by_side_in_processes_of_their_own(verifier):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(verified_elsewhere, EXERCISE, [RIGHT, ALSO_RIGHT], CALLS) for _ in range(2)]
        verifications = [run.result() for run in runs]
    here = verifier.verify(EXERCISE, [RIGHT, ALSO_RIGHT], CALLS)
    assert {verification.status for verification in verifications} == {"kept"}
    assert [
        (verification.tests, verification.right, verification.kill_rate, verification.coverage)
        for verification in verifications
    ] == [(here.tests, here.right, here.kill_rate, here.coverage)] * 2
    assert pickle.loads(pickle.dumps(EXERCISE)) == EXERCISE


def test_a_program_is_run_on_test_texts_and_test_columns_of_others(verifier):
    assert verifier.passes(RIGHT, "def check(candidate):\n    assert candidate([1, 3]) == 2", "span")
    assert not verifier.passes(WRONG, "assert span([3, 1]) == 2", "span")
    column = '[{"call": "span([3, 1])", "expected": "2"}, {"code": "assert span([]) == 0"}]'
    assert [verifier.passes_row(code, column, "span") for code in (RIGHT, WRONG)] == [True, False]


def sandbox_processes():
    return {pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


def test_leaving_a_verifier_ends_all_its_sandboxes():
    before = sandbox_processes()
    with Verifier(SandboxConfig(), GateConfig()):
        assert len(sandbox_processes() - before) == 4
    assert sandbox_processes() <= before


SUITE = [
    {"call": "span([3, 1])", "expected": "2", "source": "agreement"},
    {"call": "span([])", "expected": "0", "source": "agreement"},
]


def tried(verifier, text):
    found = verifier.attempt(text, EXERCISE, SUITE)
    return found.status, found.failure_kind, found.code


def test_a_reply_that_ends_right_passes_whatever_it_thought_or_tried_before(verifier):
    blocks = "\n".join(f"```python\n{code}\n```" for code in (WRONG, RIGHT))
    assert tried(verifier, blocks) == ("pass", "", RIGHT)
    thinks = f"<think>\n```python\n{WRONG}\n```\nno\n</think>\n```python\n{RIGHT}\n```"
    found = verifier.attempt(thinks, EXERCISE, SUITE)
    assert (found.status, found.code, found.thoughts) == ("pass", RIGHT, f"```python\n{WRONG}\n```\nno")


@pytest.mark.parametrize(("text", "reason"), [(f"<think>\n{RIGHT}", "thoughts alone"), ("", "empty reply")])
def test_a_reply_without_an_answer_is_unreadable_and_says_so(verifier, text, reason):
    found = verifier.attempt(text, EXERCISE, SUITE)
    assert (found.status, found.failure_kind, found.detail) == ("unreadable", "no_code", reason)


FILLED = "KNOWN = []\n\ndef _fill():\n    KNOWN.append(0)\n_fill()\n\n"
TOLD = RIGHT.replace(":\n", ':\n    """Text."""\n', 1)


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        (FILLED + RIGHT.replace("return 0", "return KNOWN[0]"), FILLED + RIGHT.replace("return 0", "return KNOWN[0]")),
        (f"{RIGHT}\n\nlow = int(input())\nprint(span([low]))", RIGHT),
        (f"{RIGHT}\n\nassert span([1]) == 5", RIGHT),  # its own mistake
        (f"{TOLD}\nprint(span([1]))", RIGHT),
    ],
)  # fmt: skip
def test_a_right_program_passes_with_its_set_up_and_without_its_talk(verifier, code, kept):
    assert tried(verifier, code) == ("pass", "", kept)
    assert verifier.working(code, "span", CALLS) == kept


def test_a_program_that_works_only_as_it_was_written_is_kept_so(verifier):
    code = 'def span(values):\n    """0"""\n    return max(values) - min(values) if values else int(span.__doc__)'
    assert tried(verifier, code) == ("pass", "", code)
    assert verifier.working(f"{code}\nprint(span([]))", "span", CALLS) == f"{code}\nprint(span([]))"


def test_of_forms_that_answer_alike_the_first_is_kept(verifier):
    raises = RIGHT.replace("return max", "if values[0] == 7:\n        raise ValueError\n    return max")
    told = raises.replace(":\n", ':\n    """Text."""\n', 1)
    assert verifier.working(f"{told}\nprint(span([1]))", "span", CALLS) == raises


def test_what_fails_is_kept_in_the_form_that_failed(verifier):
    wrong = RIGHT.replace("return 0", "return 1")
    assert tried(verifier, f"{wrong}\nprint(span([]))") == ("fail", "wrong_answer", wrong)


def test_a_program_that_lives_on_input_is_none(verifier):
    code = f"LIMIT = int(input())\n\n{RIGHT.replace('return 0', 'return LIMIT')}"
    found = verifier.attempt(code, EXERCISE, SUITE)
    assert (found.status, found.code, found.detail) == ("unreadable", "", "reads input when it is loaded")


def test_programs_of_others_are_run_as_written_or_without_their_talk(verifier):
    tests = '[{"code": "assert span([3, 1]) == 2"}]'
    assert verifier.passes_row(f"{RIGHT}\nn = input()", tests, "span")
    assert verifier.passes_row(f"{FILLED}{RIGHT}\nassert KNOWN == [0]", tests, "span")
    assert not verifier.passes_row(f"{RIGHT.replace('max', 'min')}\nn = input()", tests, "span")
