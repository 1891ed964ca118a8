"""Margins to weights to parents, against numbers worked out by hand."""

import math

import pytest

from advgen import curriculum


def row(name, student=0.5, teacher=1.0):
    return {"exercise_id": name, "student_pass_rate": student, "teacher_pass_rate": teacher}


POOL = [row("a"), row("b"), row("c")]


def test_margin_weights_are_a_softmax_over_minus_the_z_scored_margin():
    weights = curriculum.sampling_weights(POOL, {"a": 0.0, "b": 1.0, "c": 2.0}, "margin", tau=1.0)
    z = math.sqrt(1.5)  # of 0, 1, 2: mean 1, standard deviation sqrt(2/3)
    total = math.exp(z) + 1 + math.exp(-z)
    assert weights == pytest.approx({"a": math.exp(z) / total, "b": 1 / total, "c": math.exp(-z) / total})


def test_the_draw_does_not_depend_on_the_scale_of_the_margins():
    small = curriculum.sampling_weights(POOL, {"a": 0.0, "b": 1e-4, "c": 2e-4}, "margin", tau=1.0)
    large = curriculum.sampling_weights(POOL, {"a": 0.0, "b": 10.0, "c": 20.0}, "margin", tau=1.0)
    assert small == pytest.approx(large)


def test_an_exercise_without_a_margin_takes_the_median_weight():
    weights = curriculum.sampling_weights(
        [*POOL, row("d")], {"a": 0.0, "b": 1.0, "c": 2.0}, "margin", tau=1.0
    )
    assert weights["d"] == pytest.approx(weights["b"])


def test_without_any_margin_or_with_equal_ones_the_draw_is_uniform():
    for margins in ({}, {"a": 3.0, "b": 3.0, "c": 3.0}, {"a": math.nan}):
        assert set(curriculum.sampling_weights(POOL, margins, "margin", tau=1.0).values()) == {1 / 3}


def test_a_low_temperature_collapses_the_draw_and_the_sample_size_shows_it():
    margins = {"a": 0.0, "b": 1.0, "c": 2.0}
    hot = curriculum.sampling_weights(POOL, margins, "margin", tau=100.0)
    cold = curriculum.sampling_weights(POOL, margins, "margin", tau=0.05)
    assert curriculum.effective_sample_size(hot) == pytest.approx(3, abs=0.01)
    assert curriculum.effective_sample_size(cold) == pytest.approx(1, abs=0.01)


def test_band_prefers_pass_rates_near_one_half_and_regret_what_only_the_teacher_solves():
    pool = [row("easy", 1.0), row("even", 0.5), row("hard", 0.0)]
    band = curriculum.sampling_weights(pool, {}, "band", tau=1.0)
    regret = curriculum.sampling_weights(pool, {}, "regret", tau=1.0)
    assert band == {"easy": 0.0, "even": 1.0, "hard": 0.0}
    assert regret == pytest.approx({"easy": 0.0, "even": 1 / 3, "hard": 2 / 3})


def test_every_strategy_is_drawn_and_a_parent_meets_each_before_any_twice():
    drawn = curriculum.draw({"a": 0.5, "b": 0.5}, ("incremental", "opposite", "deceptive"), 6, seed=1)
    assert len(drawn) == 6
    assert {strategy for _, strategy in drawn} == {"incremental", "opposite", "deceptive"}
    for parent in ("a", "b"):
        met = [strategy for name, strategy in drawn if name == parent][:3]
        assert len(set(met)) == len(met)


def test_the_same_seed_draws_the_same_parents():
    weights = {"a": 0.2, "b": 0.8}
    assert curriculum.draw(weights, ("opposite",), 9, 4) == curriculum.draw(weights, ("opposite",), 9, 4)
    assert curriculum.draw(weights, ("opposite",), 9, 4) != curriculum.draw(weights, ("opposite",), 9, 5)
