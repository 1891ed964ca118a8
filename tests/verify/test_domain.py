"""Which inputs a statement is about, from its words; in doubt all."""

import pytest

from advgen import parse
from advgen.verify.domain import Domain

PAD = "What is computed is described here in words that restrict nothing at all."


def domain(signature, text):
    return Domain(parse.stored(f'def {signature}:\n    """{PAD}\n\n    {text}\n    """'))


@pytest.mark.parametrize(
    ("signature", "text", "inside", "outside"),
    [
        ("f(n: int) -> int", "Given a positive integer n, count its digits.", [(1,), (9,)], [(0,), (-3,)]),
        ("f(n: int) -> int", "Given a positive integer, count its digits.", [(1,)], [(0,)]),
        ("f(n: int) -> int", "`n` is a non-negative integer.", [(0,)], [(-1,)]),
        ("f(a, b)", "Takes two positive integers a and b.", [(1, 2)], [(0, 2), (2, 0)]),
        ("f(values: list[int]) -> int", "You are given a non-empty list of integers.", [([1],)], [([],)]),
        ("f(text: str, k: int) -> str", "A non-empty string `text`, and k.", [("a", -1)], [("", 1)]),
        ("f(values: list[int]) -> int", "For a list of positive integers.", [([],), ([1, 2],)], [([1, 0],)]),
        ("f(num: int) -> str", "Restrictions: 1 <= num <= 1000", [(1,), (1000,)], [(0,), (1001,)]),
        ("f(number: int) -> str", "Restrictions: 1 <= num <= 10^3", [(1000,)], [(1001,)]),
        ("f(s: str) -> str", "Constraints: 1 <= len(s) < 3", [("ab",)], [("",), ("abc",)]),
        ("f(a: list, b: list) -> int", "Two lists of scores of equal length.", [([1], [2])], [([1], [])]),
        ("f(a: list[int]) -> int", "The list of positive integers can be long.", [([2],)], [([-2],)]),
    ],
)
def test_plain_words_say_which_inputs_are_meant(signature, text, inside, outside):
    found = domain(signature, text)
    assert all(map(found.takes, inside))
    assert not any(map(found.takes, outside))


@pytest.mark.parametrize(
    ("signature", "text", "args"),
    [
        ("f(n: int) -> bool", "Return True if n is a positive integer, else False.", (-1,)),
        ("f(n: int) -> list[int]", "Return a list of positive integers below the number.", (-1,)),
        ("f(values: list[int]) -> list[int]", "Return a list of positive integers.", ([-1],)),
        ("f(values: list[int]) -> int", "Count the positive integers of the list.", ([-1],)),
        ("f(n: int) -> int", "When 1 <= n <= 10 the result is doubled.", (50,)),
        ("f(a: list[int], b: list[int]) -> int", "A non-empty list and another one.", ([], [])),
        ("f(a: list, b: list) -> bool", "Whether the two lists are of equal length.", ([1], [])),
        ("f(flag: bool) -> int", "Given a positive integer or nothing.", (False,)),
        ("f(n: int) -> int", "Positive integers stay, negative ones become zero.", (-4,)),
    ],
)
def test_conditions_results_and_what_is_unclear_restrict_nothing(signature, text, args):
    assert domain(signature, text).takes(args)
