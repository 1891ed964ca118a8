"""Generated tests: where all right programs agree and a wrong one does not, and nowhere else."""

from advcore.literals import Returned
from advgen.config import GateConfig, SandboxConfig
from advgen.parse import Call, statement
from advgen.verify import Verifier, generated
from sandbox import Output

CLAMP = statement(
    'def clamp(x: int) -> int:\n    """The number x, but nothing below zero and nothing above a hundred is returned."""'
)
RIGHT = ["def clamp(x):\n    return max(0, min(x, 100))", "def clamp(x):\n    return sorted((0, x, 100))[1]"]
BRANCHED = "def clamp(x):\n    if x < 0:\n        return 0\n    return x if x < 101 else 100"
WEAK = [Call(f"clamp({x})", (x,)) for x in (-8, -1, 5, 7, 40, 60, 80)]


def outputs(*values):
    return [Output(status="error") if value is None else Output(status="ok", value=value) for value in values]


def test_inputs_are_new_and_can_stand_in_a_test():
    seeds = [([1, 2], "ab"), ([3], "b")]
    made = generated.inputs(seeds)
    assert made
    assert all(type(numbers) is list and type(text) is str for numbers, text in made)
    assert not any(args in seeds for args in made)


def test_a_value_is_expected_only_where_every_program_returns_it():
    rows = [outputs(1, 2, None, 4), outputs(1.0, 3, None, None)]
    assert generated.unanimous(rows, CLAMP) == [Returned("1"), None, None, None]


def test_inputs_are_chosen_that_fail_mutants_until_there_are_enough():
    expected = [Returned("1"), Returned("2"), None, Returned("4")]
    mutants = [outputs(1, 9, 9, 4), outputs(1, 8, 0, None), outputs(1, 2, 7, 5), outputs(1, 2, 0, 4)]
    assert generated.discriminating(expected, mutants, 2, CLAMP) == ([1, 3], [3])
    assert generated.discriminating(expected, mutants, 1, CLAMP) == ([1], [2, 3])


def test_new_blocks_come_first_and_then_new_results_and_empty_arguments():
    known = [(("ab",), "2")]
    settled = [(("cd",), "2"), (("abc",), "3"), (("xyz",), "3"), (("",), "2"), (("ef",), "2")]
    enters = [False, False, False, False, True]
    assert generated.coverage_increasing(settled, enters, known, 9) == [4, 1, 3]
    assert generated.coverage_increasing(settled, enters, known, 2) == [4, 1]
    assert generated.coverage_increasing(settled, enters, known, 0) == []


def test_a_suite_that_leaves_a_block_out_gains_a_test_that_enters_it():
    """No mutant of the gate's asks for it: what counts is that nobody looked."""
    with Verifier(SandboxConfig(), GateConfig(generated_tests=1, max_mutants=0, min_kill_rate=0)) as verifier:
        calls = [call for call in WEAK if call.args[0] <= 60]
        verification = verifier.verify(CLAMP, [BRANCHED, *RIGHT], [*calls, Call("clamp(61)", (61,))], asked=3)
    assert (verification.status, verification.coverage) == ("kept", 1.0)
    assert [test["expected"] for test in verification.tests if test["source"] == "generated"] == ["100"]


def test_a_verification_gains_tests_that_kill_what_its_own_tests_let_live():
    with Verifier(SandboxConfig(), GateConfig(generated_tests=0)) as verifier:
        before = verifier.verify(CLAMP, RIGHT, WEAK, asked=2)
    with Verifier(SandboxConfig(), GateConfig(generated_tests=4)) as verifier:
        after = verifier.verify(CLAMP, RIGHT, WEAK, asked=2)
    new = [test for test in after.tests if test["source"] == "generated"]
    assert (len(before.tests), 1 <= len(new) <= 4) == (7, True)
    assert after.kill_rate > before.kill_rate
    assert after.right == before.right
