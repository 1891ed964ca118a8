"""Fuzzed arguments: of the types seen, within what the tests show, repeatable, none twice."""

from advgen.verify.fuzz import inputs

SEEDS = [([3, 1, 2], "ab c", {"k": (1, 0.5)}), ([], "", {}), ([7], "zz", {"q": (2, 2.0)})]


def test_inputs_begin_with_the_tests_own_and_are_the_same_each_time():
    made = inputs(SEEDS, 300)
    assert made[:3] == SEEDS
    assert len(made) == len({repr(args) for args in made}) == 300
    assert made == inputs(SEEDS, 300)
    assert made != inputs(SEEDS, 300, seed=1)


def test_types_and_ranges_are_those_of_the_tests():
    for numbers, text, mapping in inputs(SEEDS, 300):
        assert all(type(number) is int and 0 <= number <= 14 for number in numbers)
        assert set(text) <= set("ab cz")
        assert all(
            type(key) is str and list(map(type, value)) == [int, float] for key, value in mapping.items()
        )


def test_negative_numbers_come_where_the_tests_show_some():
    assert any(number < -4 for (number,) in inputs([(-4,), (9,)], 50))
    assert all(number >= 0 for (number,) in inputs([(4,), (9,)], 50))


def test_new_inputs_reach_what_the_tests_do_not_show():
    lists = [numbers for numbers, _, _ in inputs(SEEDS, 300)]
    assert any(len(numbers) > 3 for numbers in lists)
    assert any(len(set(numbers)) < len(numbers) for numbers in lists)


def test_nothing_is_made_of_nothing():
    assert inputs([], 10) == []
    assert inputs([()], 10) == [()]
