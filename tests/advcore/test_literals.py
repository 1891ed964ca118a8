"""When a test accepts a value for another, and what a call's text holds."""

from collections import Counter, OrderedDict

import pytest

from advcore.literals import (
    Raised,
    Returned,
    alike,
    arguments,
    call_text,
    outcome_of,
    same,
    text_of,
    value_of,
)


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"), ([0.1 + 0.2, (1,)], "[0.3, (1,)]"), ({"b": 1, "a": {2, 1}}, "{'a': {1, 2}, 'b': 1}"),
        (float("-inf"), "float('-inf')"), (set(), "set()"), (frozenset({1}), "frozenset({1})"),
        (Counter("aab"), "{'a': 2, 'b': 1}"), (OrderedDict(b=1), "{'b': 1}"), (None, "None"),
        (float("nan"), ""), ([object()], ""), ("a" * 3_000, ""), (10**4_000, ""),
    ],
)  # fmt: skip
def test_a_value_has_one_text_or_none(value, text):
    assert text_of(value) == text
    assert not text or same(value_of(text), value)


def test_the_arguments_of_a_call_are_written_as_they_are():
    args = ({"b": 0.1 + 0.2, "a": [float("inf")]}, {3, 1}, ())
    text = call_text("f", args)
    assert text == "f({'b': 0.30000000000000004, 'a': [float('inf')]}, {1, 3}, ())"
    assert list(arguments(text)[0]) == ["b", "a"]
    assert call_text("f", (object(),)) == ""


@pytest.mark.parametrize(
    ("entry", "outcome"),
    [({"expected": "[1]"}, Returned("[1]")), ({"raises": "KeyError"}, Raised("KeyError"))],
)
def test_an_entry_of_the_tests_column_says_what_it_expects(entry, outcome):
    assert outcome_of(entry) == outcome
    assert outcome.entry == entry


def test_outcomes_are_alike_where_a_test_that_expects_one_accepts_the_other():
    assert alike(Returned("1"), Returned("1.0"))
    assert not alike(Returned("1"), Returned("True"))
    assert not alike(Raised("KeyError"), Raised("IndexError"))
    assert not alike(Raised("KeyError"), Returned("'KeyError'"))
