"""What a teacher is told when a verification fails: its own program's error, never the value that others agree on."""

import pickle

import pytest

from advgen import parse, prompts
from advgen.config import GateConfig, SandboxConfig
from advgen.verify import Verifier
from advgen.verify.feedback import MAX_REPORT_CHARS

EXERCISE = parse.statement(
    "def middle(values: list[int]) -> int:\n"
    '    """The middle one of `values` when sorted; the lower one of two; -77 for []."""'
)
RIGHT = "def middle(values):\n    if not values:\n        return -77\n    return sorted(values)[(len(values) - 1) // 2]"
CALLS = parse.calls("\n".join(f"middle({v})" for v in ([], [1], [3, 1], [1, 3, 2], [2, 9, 4, 5])), EXERCISE)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(SandboxConfig(wall_s=1.0), GateConfig()) as made:
        yield made


def complaints(verifier, *solutions, calls=CALLS):
    """Those about solutions: with two of them, calls may be too few as well."""
    made = verifier.verify(EXERCISE, solutions, calls, asked=len(solutions)).complaints
    return tuple(each for each in made if each.kind == "solution")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("def middle(values):\n    return sorted(values", "'(' was never closed (solution.py, line 2)"),
        ("def center(values):\n    return 0", "does not define 'middle'"),
        (
            RIGHT.replace("return -77", "return values[0]"),
            "middle([]) raises IndexError: list index out of range",
        ),
        (RIGHT.replace("return -77", "while True: pass"), "middle([]) does not end within 1 s"),
        (
            f"import os\n{RIGHT.replace('return -77', 'os.abort()')}",
            "may differ from run to run: the machine",
        ),
        (
            f"import random\n{RIGHT.replace('-77', 'random.choice([1, 2])')}",
            "may differ from run to run: random",
        ),
        (RIGHT.replace("return -77", "raise SystemExit"), "middle([]) ends the interpreter"),
    ],
)
def test_a_program_that_breaks_gets_its_own_error_and_nothing_of_the_others(verifier, program, told):
    (complaint,) = complaints(verifier, RIGHT, program)
    assert (complaint.kind, complaint.code) == ("solution", program)
    assert told in complaint.report
    assert "-77" not in complaint.report
    assert pickle.loads(pickle.dumps(complaint)) == complaint


def test_a_program_that_only_returns_something_else_is_not_complained_about(verifier):
    assert complaints(verifier, RIGHT, RIGHT.replace("-77", "-78"), "def middle(values):\n    return 5") == ()


def test_calls_that_every_solution_raises_on_are_named_when_tests_are_too_few(verifier):
    calls = [*CALLS[1:4], *parse.calls("middle([1, 'a'])", EXERCISE)]
    verification = verifier.verify(EXERCISE, [RIGHT, RIGHT], calls)
    (complaint,) = verification.complaints
    assert (verification.status, complaint.kind, complaint.code) == ("too_few_tests", "calls", "")
    assert "middle([1, 'a']) does not fit the signature" in complaint.report
    assert "middle([3, 1])" not in complaint.report


def test_further_calls_are_wanted_where_there_are_simply_too_few(verifier):
    (complaint,) = verifier.verify(EXERCISE, [RIGHT, RIGHT], CALLS[:3]).complaints
    assert (complaint.kind, "Too few" in complaint.report) == ("calls", True)


def test_surviving_mutants_are_shown_as_small_diffs(verifier):
    rare = RIGHT.replace(
        "    return sorted",
        "    if len(values) == 9 and values[0] > 40:\n        return 3 * 4 + len(values) - 2\n    return sorted",
    )
    verification = verifier.verify(EXERCISE, [rare, rare], CALLS)
    (complaint,) = verification.complaints
    assert (verification.status, complaint.kind) == ("weak_tests", "calls")
    changes = [line for line in complaint.report.splitlines() if line.startswith(("+", "-"))]
    assert len(changes) == 4
    assert all("9" in line or "3 * 4" in line or "12" in line or "values" in line for line in changes)


def test_reports_are_bounded_and_can_be_written_down(verifier):
    loud = RIGHT.replace("return -77", "raise ValueError('\\ud800' + 'x' * 100_000)")
    (complaint,) = complaints(verifier, RIGHT, loud)
    assert len(complaint.report) <= MAX_REPORT_CHARS
    assert complaint.report.encode()


def test_a_kept_exercise_has_no_complaints(verifier):
    verification = verifier.verify(EXERCISE, [RIGHT, RIGHT], CALLS)
    assert (verification.status, verification.complaints) == ("kept", ())


def test_both_templates_hold_what_they_are_given():
    repair = prompts.render(
        "repair",
        signature=EXERCISE.signature,
        docstring=EXERCISE.docstring,
        program=RIGHT,
        report="it raises",
    )
    assert all(part in repair for part in (EXERCISE.signature, EXERCISE.docstring, RIGHT, "it raises"))
    wish = prompts.render(
        "more_calls",
        count=5,
        stub=EXERCISE.stub,
        given=[call.source for call in CALLS],
        report="more of those",
    )
    assert all(call.source in wish for call in CALLS)
    assert all(part in wish for part in ("5 further calls", EXERCISE.stub, "more of those"))
