"""Margins to weights to parents, against numbers worked out by hand."""

import math
from collections import Counter

import pytest

from advcore import ConfigError, settings
from advgen import curriculum
from advgen.config import CurriculumConfig


def row(name, student=0.5, teacher=1.0, attempts=2):
    rates = {"student_pass_rate": student, "teacher_pass_rate": teacher, "n_attempts": attempts}
    return {"exercise_id": name, **rates}


def margin_row(name, margin, per_token=0.0, dropped=False):
    return {"exercise_id": name, "margin": margin, "margin_per_token": per_token, "dropped": dropped}


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


def test_an_exercise_that_is_hardly_right_is_drawn_less_unless_that_is_switched_off():
    known = {"a": 0.0, "b": 0.25}
    picks, stats = curriculum.plan(POOL, [], CurriculumConfig(rule="uniform"), 400, seed=1, p_true=known)
    drawn = Counter(name for name, _ in picks)
    assert drawn.keys() == {"b", "c"}
    assert 0.12 < drawn["b"] / 400 < 0.28  # a fifth
    assert stats.effective_sample_size == pytest.approx(1 / (0.2**2 + 0.8**2))
    plain = CurriculumConfig(rule="uniform", weigh_truth=False)
    _, stats = curriculum.plan(POOL, [], plain, 3, seed=1, p_true=known)
    assert stats.effective_sample_size == pytest.approx(3)


def test_without_any_margin_or_with_equal_ones_the_draw_is_uniform():
    for margins in ({}, {"a": 3.0, "b": 3.0, "c": 3.0}, {"a": math.nan}):
        assert set(curriculum.sampling_weights(POOL, margins, "margin", tau=1.0).values()) == {1 / 3}


def test_a_low_temperature_collapses_the_draw_and_the_sample_size_shows_it():
    margins = {"a": 0.0, "b": 1.0, "c": 2.0}
    hot = curriculum.sampling_weights(POOL, margins, "margin", tau=100.0)
    cold = curriculum.sampling_weights(POOL, margins, "margin", tau=0.05)
    assert curriculum.effective_sample_size(hot) == pytest.approx(3, abs=0.01)
    assert curriculum.effective_sample_size(cold) == pytest.approx(1, abs=0.01)


def test_an_exercise_without_a_margin_does_not_change_how_the_others_compare():
    margins = {"a": 0.0, "b": 1.0, "c": 2.0}
    alone = curriculum.sampling_weights(POOL, margins, "margin", tau=1.0)
    crowd = curriculum.sampling_weights([*POOL, *map(row, "defgh")], margins, "margin", tau=1.0)
    assert crowd["a"] / crowd["c"] == pytest.approx(alone["a"] / alone["c"])


def test_band_is_the_probability_that_the_pass_rate_lies_from_three_to_eight_tenths():
    pool = [row("easy", 1.0), row("even", 0.5), row("hard", 0.0), row("unknown", 0.0, attempts=0)]
    # Two attempts, uniform prior: Beta(3, 1) is x^3, Beta(2, 2) is 3 x^2 - 2 x^3, Beta(1, 3) is 1 - (1 - x)^3.
    mass = {"easy": 0.512 - 0.027, "even": 0.896 - 0.216, "hard": 0.343 - 0.008, "unknown": 0.5}
    weights = curriculum.sampling_weights(pool, {}, "band", tau=1.0)
    assert weights == pytest.approx({name: each / 2.0 for name, each in mass.items()})  # 2.0 in all


def test_more_attempts_make_the_band_surer():
    few, many = row("few", 0.0, attempts=2), row("many", 0.0, attempts=8)
    weights = curriculum.sampling_weights([few, many], {}, "band", tau=1.0)
    assert weights["many"] / weights["few"] == pytest.approx((0.7**9 - 0.2**9) / (0.7**3 - 0.2**3))


def test_regret_prefers_what_only_the_teacher_solves_and_is_uniform_where_nothing_is():
    pool = [row("easy", 1.0), row("even", 0.5), row("hard", 0.0), row("inverted", 1.0, teacher=0.5)]
    regret = curriculum.sampling_weights(pool, {}, "regret", tau=1.0)
    assert regret == pytest.approx({"easy": 0.0, "even": 1 / 3, "hard": 2 / 3, "inverted": 0.0})
    solved = curriculum.sampling_weights([row("a", 1.0), row("b", 1.0)], {}, "regret", tau=1.0)
    assert solved == {"a": 0.5, "b": 0.5}


def test_a_mix_is_the_share_weighted_sum_of_its_rules():
    pool = [row("even", 0.5), row("hard", 0.0)]
    mixed = curriculum.sampling_weights(pool, {}, "mix", tau=1.0, mix={"uniform": 3, "regret": 1})
    assert mixed == pytest.approx({"even": (3 / 2 + 1 / 3) / 4, "hard": (3 / 2 + 2 / 3) / 4})


def test_margins_of_dropped_exercises_and_nan_do_not_count_and_length_can_be_taken_out():
    rows = [
        margin_row("a", 2.0, 0.01),
        margin_row("b", 1.0, dropped=True),
        margin_row("c", math.nan, math.nan),
    ]
    assert curriculum.usable_margins(rows, length_normalised=False) == {"a": 2.0}
    assert curriculum.usable_margins(rows, length_normalised=True) == {"a": 0.01}


def test_entropy_is_the_logarithm_of_the_number_of_equal_weights():
    assert curriculum.entropy({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}) == pytest.approx(math.log(4))
    assert curriculum.entropy({"a": 1.0, "b": 0.0}) == 0.0


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


def test_a_plan_draws_by_its_config_and_describes_the_draw():
    how = CurriculumConfig(length_normalised=True, strategies=("opposite",))
    rows = [margin_row("a", 0.0, 2.0), margin_row("b", 1.0, 1.0), margin_row("elsewhere", 1.0, 1.0)]
    picks, stats = curriculum.plan(POOL, rows, how, count=40, seed=2)
    # Per token a is the easier: z = 1 and -1, weights 1 : e^2, and c takes their median.
    weights = {"a": 1.0, "b": math.exp(2), "c": (1 + math.exp(2)) / 2}
    total = sum(weights.values())
    shares = [weight / total for weight in weights.values()]
    assert stats.effective_sample_size == pytest.approx(1 / sum(share**2 for share in shares))
    assert stats.entropy_nats == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert stats.entropy_share == pytest.approx(stats.entropy_nats / math.log(3))
    assert (stats.rule, stats.pool, stats.with_margin, stats.refreshers) == ("margin", 3, 2, 0)
    drawn = [parent for parent, _ in picks]
    assert stats.parents == len(set(drawn))
    assert stats.top_parent_share == max(map(drawn.count, drawn)) / 40
    assert {strategy for _, strategy in picks} == {"opposite"}


def test_refreshers_are_a_share_of_the_round_and_ask_for_plain_exercises_beside_the_easier_half():
    pool = [row("hard", 0.0), row("harder", 0.0), row("even", 0.5), row("easy", 1.0)]
    picks, stats = curriculum.plan(pool, [], CurriculumConfig(refresh=0.5), count=8, seed=0)
    plain = [parent for parent, strategy in picks if strategy == "seed"]
    assert sorted(plain) == ["easy", "easy", "even", "even"]
    assert stats.refreshers == 4
    assert len(picks) == 8


def test_where_the_student_solves_nothing_refreshers_go_by_the_margin():
    pool = [row(name, 0.0) for name in "abcd"]
    margins = {"a": 0.1, "b": 3.0, "c": 2.0}
    assert sorted(curriculum.refreshers(pool, margins, 2, seed=1)) == ["b", "c"]


def test_a_pool_of_one_is_drawn_and_described():
    picks, stats = curriculum.plan([row("a")], [], CurriculumConfig(refresh=0.25), count=4, seed=0)
    assert [parent for parent, _ in picks] == ["a"] * 4
    assert (stats.effective_sample_size, stats.entropy_nats, stats.entropy_share) == (1.0, 0.0, 1.0)


def test_a_mix_is_read_from_its_own_table():
    values = {"rule": "mix", "mix": {"margin": 0.5, "band": 1}}
    picks, stats = curriculum.plan(POOL, [], settings.build(CurriculumConfig, values), count=3, seed=0)
    assert (len(picks), stats.rule) == (3, "mix")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mix": {"band": 1.0}}, "go together"),
        ({"rule": "mix"}, "go together"),
        ({"rule": "mix", "mix": {"bend": 1.0}}, "curriculum.mix.bend"),
        ({"rule": "mix", "mix": {"band": 0.0}}, "curriculum.mix.band is 0.0"),
        ({"rule": "mix", "mix": {"band": "half"}}, "curriculum.mix.band is 'half'"),
        ({"rule": "mix", "mix": {"band": math.nan}}, "curriculum.mix.band is nan"),
        ({"refresh": 1.0}, "curriculum.refresh is 1.0"),
        ({"refresh": -0.1}, "curriculum.refresh is -0.1"),
    ],
)
def test_a_curriculum_that_makes_no_sense_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        settings.build(CurriculumConfig, values, "curriculum.")
