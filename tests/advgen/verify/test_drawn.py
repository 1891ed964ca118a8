"""Arguments drawn from scratch: of the types of the tests, within their bounds, and the same every time."""

import pytest

from advgen.verify import drawn

SEEDS = [
    ([1, 5], "ab", {"a": (1, "x")}, True, None, {3}),
    ([], "7", {}, False, 2.5, {4, 1}),
]  # fmt: skip


def test_they_are_of_the_types_seen_and_within_what_the_tests_show():
    made = drawn.inputs(SEEDS, 100)
    assert len(made) == 100
    for numbers, text, mapping, flag, either, group in made:
        assert type(numbers) is list
        assert all(type(each) is int and 0 <= each <= 10 for each in numbers)
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789")
        assert all(type(value) is tuple and len(value) == 2 for value in mapping.values())
        assert (type(flag), type(group)) == (bool, set)
        assert type(either) in (float, type(None))
    assert any(len(numbers) > 2 for numbers, *_ in made)


def test_the_same_seeds_give_the_same_and_none_of_them():
    made = drawn.inputs(SEEDS, 50)
    assert made == drawn.inputs(SEEDS, 50)
    assert len({repr(each) for each in [*made, *SEEDS]}) == len(made) + len(SEEDS)


def test_negative_numbers_come_where_the_tests_have_one():
    assert any(args[0] < 0 for args in drawn.inputs([(-1,), (3,)], 50))


ODD = [
    [], [()], [([],)], [("",)], [((), {}, set())], [((1, 2),), ((1,),)], [(1,), (1, 2)], [(7.3,)], [(123456.789,)],
    [(16777217.0,)], [(float("inf"),), (float("nan"),)], [(1e308,)], [(b"ab", 1j)],
]  # fmt: skip


@pytest.mark.parametrize("seeds", ODD, ids=repr)
def test_odd_seeds_break_nothing_and_leave_nothing_behind(seeds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(drawn.inputs(seeds, 10)) <= 10
    assert not list(tmp_path.iterdir())


def test_numbers_too_large_to_be_written_are_left_alone():
    assert len(drawn.inputs([(10**4000,), (3,)], 10)) <= 10
