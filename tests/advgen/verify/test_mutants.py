"""Mutants: each differs in one place, all are programs, and the draw is repeatable."""

import ast

from advgen.verify.mutants import mutants

SOURCE = "def f(x):\n    if x < 3 and x != 1:\n        return x + 1\n    return x"


def test_each_kind_of_place_is_changed_once():
    made = mutants(SOURCE, limit=99)
    assert all(ast.parse(each) for each in made)
    expected = (
        "x <= 3",
        "x == 1",
        "x < 3 or x",
        "x - 1",
        "not (x < 3",
        "x < 4",
        "x != 2",
        "x + 2",
        "return None",
    )
    for change in expected:
        assert any(change in each for each in made), change
    assert ast.unparse(ast.parse(SOURCE)) not in made
    assert len(made) == len(set(made)) == 10  # two returns


def test_a_limit_draws_the_same_ones_each_time():
    assert mutants(SOURCE, 4, seed=1) == mutants(SOURCE, 4, seed=1)
    assert len(mutants(SOURCE, 4)) == 4


def test_a_program_without_a_place_to_change_has_no_mutants():
    assert mutants("def f(x):\n    pass", 9) == []
