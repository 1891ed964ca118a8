"""Which inputs a statement is about, from its words; in doubt all."""

import time

import pytest

from advcore import tasks
from advcore.literals import arguments
from advgen import parse
from advgen.verify.domain import Domain

PAD = "What is computed is described here in words that restrict nothing at all."


def domain(signature, text):
    return Domain(parse.stored(f'def {signature}:\n    """{PAD}\n\n    {text}\n    """'))


@pytest.mark.parametrize(
    ("signature", "text", "inside", "outside"),
    [
        ("f(n: int) -> int", "Given a positive integer n, count its digits.", [(1,), (9,)], [(0,), (-3,)]),
        ("f(n: int) -> int", "You are given a positive integer.", [(1,)], [(0,)]),
        ("f(n: int) -> int", "The function takes a non-negative number.", [(0,), (None,), (True,)], [(-1,)]),
        ("f(n: int, k: int) -> int", "Given a positive integer n and an integer k.", [(1, -1)], [(0, 2)]),
        ("f(a, b)", "Takes two positive integers a and b.", [(1, 2)], [(0, 2), (2, 0)]),
        ("f(values: list[int]) -> int", "You are given a non-empty list of integers.", [([1],)], [([],)]),
        ("f(text: str, k: int) -> str", "Given a non-empty string and a number.", [("a", -1)], [("", 1)]),
        ("f(num: int) -> str", "Restrictions: 1 <= num <= 1000", [(1,), (1000,)], [(0,), (1001,)]),
        ("f(number: int) -> str", "1 <= num < 10^3", [(999,)], [(1000,), (0,)]),
        ("f(p: float) -> float", "- 0 < p < 1", [(0.5,)], [(0.0,), (1.0,)]),
        (
            "f(a: list, b: list) -> int",
            "Given two lists of scores of equal length.",
            [([1], [2])],
            [([1], [])],
        ),
        ("f(n: int, k: int) -> int", "n: a positive integer\n    k: int", [(1, -5)], [(0, 1)]),
    ],
)
def test_plain_words_say_which_inputs_are_meant(signature, text, inside, outside):
    found = domain(signature, text)
    assert all(map(found.takes, inside))
    assert not any(map(found.takes, outside))


INT, LIST, TWO = "f(n: int) -> int", "f(values: list[int]) -> int", "f(a: list[int], b: list[int]) -> int"


@pytest.mark.parametrize(
    ("signature", "text", "args"),
    [
        (INT, "Return True if n is a positive integer, else False.", (-1,)),
        (INT, "Return True exactly where n is positive.", (-1,)),
        (INT, "Return a list of positive integers below the number.", (-1,)),
        (INT, "Given a positive integer or zero, return its factorial.", (0,)),
        (INT, "Given a positive integer n. A negative one gives -1.", (-1,)),
        (INT, "Given a positive integer n. For 0 the result is 1.", (0,)),
        (INT, "- n is positive: add one\n    - n is negative: subtract one", (-1,)),
        (INT, "- 90 <= n <= 100: 'A'\n    - 80 <= n <= 89: 'B'", (85,)),
        (INT, "0 <= n <= 2\n    3 <= n <= 12", (1,)),
        (INT, "When 1 <= n <= 10 the result is doubled.", (50,)),
        (INT, "-10^9 <= n <= 10^9", (0,)),
        (INT, "1 <= n <= 2*10^5", (50,)),
        (INT, "1 <= n <= 1,000", (50,)),
        (INT, "−100 <= n <= 100", (-50,)),
        (INT, "Each digit satisfies\n    0 <= d <= 9", (50,)),
        (INT, "Given a positive integer as a string.", (-1,)),
        (INT, "Takes a positive number of items.", (-1,)),
        (LIST, "Return a list of positive integers.", ([-1],)),
        (LIST, "Count the non-empty lists in it.", ([],)),
        (LIST, "Given a non-empty list. The empty one gives 0.", ([],)),
        (TWO, "Given a non-empty list and another one.", ([], [])),
        (TWO, "Whether the two lists are of equal length.", ([1], [])),
        (TWO, "Given two lists that need not be of equal length.", ([1], [])),
        ("f(a: list, b: list, c: list) -> int", "Given two lists of equal length and c.", ([1], [2], [])),
        ("f(s: str) -> int", "Count the non-empty words of s.", ("",)),
        ("f(flag: bool) -> int", "Given a positive integer n.", (False,)),
        ("f(n: int, a: float) -> int", "Takes a positive integer n and a float a.", (1, -1.5)),
        (INT, "Given a positive integer n.\n\n    >>> f(-2)\n    3", (-5,)),
    ],
)
def test_conditions_results_and_what_is_unclear_restrict_nothing(signature, text, args):
    assert domain(signature, text).takes(args)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 9_000,
        f"1 <= n <= {'9' * 5_000}",
        "given a positive integer " * 700,
        "- " * 9_000,
        "10^99 " * 900,
    ],
)
def test_hostile_text_costs_little_and_breaks_nothing(text):
    started = time.process_time()
    domain(INT, text).takes((5,))
    assert time.process_time() - started < 2  # the quadratic form took over ten seconds


@pytest.mark.parametrize("task", tasks.read(), ids=lambda task: task.name)
def test_no_test_of_the_own_tasks_that_expects_a_value_is_outside(task):
    found = Domain(parse.stored(task.statement))
    assert all(found.takes(arguments(test["call"])) for test in task.tests if "expected" in test)
