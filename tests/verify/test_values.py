"""When a test accepts a value for another, and what a call's text holds."""

import pytest

from advgen.verify.values import arguments, same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.0, 1.0 + 1e-12), (2, 2.0), ([1.0, 2], [1.0 + 1e-12, 2]), ({"a": 0.1 + 0.2}, {"a": 0.3}), ([True], [1]),
        (float("nan"), float("nan")), ({1, 2}, {2, 1}), ("a", "a"), (None, None),
    ],
)  # fmt: skip
def test_the_same_to_a_test(one, other):
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (0, None), ([1], (1,)), (1.0, 1.001), ("1", 1), ([1, 2], [1]), ({"a": 1}, {"b": 1}), (10**400, 1.0),
     (0.5, "x"), (False, None)],
)  # fmt: skip
def test_another_to_a_test(one, other):
    assert not same(one, other)
    assert not same(other, one)


def test_what_is_too_deep_to_compare_is_no_shown_difference():
    one, other = [1], [2]
    for _ in range(5_000):
        one, other = [one], [other]
    assert same(one, other)


def test_the_arguments_of_a_call_are_read_from_its_text():
    assert arguments("f(-1, [2, 'a'], {3: (None,)})") == (-1, [2, "a"], {3: (None,)})


@pytest.mark.parametrize("text", ["f(x)", "f(a=1)", "f(*[1])", "1 + 1", "f(1); g(2)", "f({[]: 1})", "f(", ""])
def test_what_is_no_call_with_literals_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"call|malformed|unhashable|syntax"):
        arguments(text)
