"""Intervals against published tables and numbers worked out by hand."""

import statistics

import pytest

from advcore import stats


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_figures_of_newcombe_1998(successes, n, low, high):
    assert stats.wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_an_interval_from_nothing_says_nothing():
    assert stats.wilson(0, 0) == (0.0, 1.0)
    assert stats.difference(0, 0, 3, 4) == stats.difference(3, 4, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_difference_has_the_interval_of_newcombe_1998_method_10(first, second, low, high):
    assert stats.difference(*first, *second) == pytest.approx((low, high), abs=1e-4)
    assert stats.difference(*second, *first) == pytest.approx((-high, -low), abs=1e-4)


def test_the_bootstrap_of_many_values_is_near_the_normal_interval():
    values = [[float(at % 5)] for at in range(400)]  # mean 2, standard deviation sqrt 2
    low, high = stats.bootstrap_mean(values, seed=1)
    assert (low, high) == pytest.approx((2 - 0.1386, 2 + 0.1386), abs=0.02)
    assert stats.bootstrap_mean(values, seed=1) == (low, high)


def test_values_of_one_group_are_drawn_together_and_widen_the_interval():
    alike = [[float(at % 2)] * 10 for at in range(40)]
    apart = [[value] for group in alike for value in group]
    grouped, single = (stats.bootstrap_mean(each, seed=3) for each in (alike, apart))
    assert grouped[1] - grouped[0] > 2 * (single[1] - single[0])  # sqrt 10 = 3.2 times as wide


def test_every_value_counts_once_whatever_the_size_of_its_group():
    low, high = stats.bootstrap_mean([[0.0], [1.0, 1.0, 1.0]] * 200, seed=5)
    assert statistics.fmean((low, high)) == pytest.approx(0.75, abs=0.02)


def test_the_bootstrap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        stats.bootstrap_mean([[], []], seed=0)
