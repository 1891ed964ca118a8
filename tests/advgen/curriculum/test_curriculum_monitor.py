"""Stop rules and AKD's failure signatures, each against a round that breaks it and one that barely does not."""

import json
from dataclasses import asdict, replace

import pytest

from advgen.curriculum import RoundStats, signatures, stop_reasons

GOOD = RoundStats(
    round=2, statements=100, novel=90, judged=90, solvable=45, mean_pass_rate=0.5, pool=60,
    effective_sample_size=22.0, median_margin=0.3, retest_change=0.04,
)  # fmt: skip


def test_a_good_round_gives_no_reason_and_no_warning():
    assert stop_reasons([]) == []
    assert stop_reasons([GOOD]) == stop_reasons([GOOD, GOOD]) == []
    assert not any(each.warned for each in signatures(GOOD, GOOD))


def test_a_first_round_has_no_draw_to_judge():
    assert stop_reasons([replace(GOOD, round=0, pool=0, effective_sample_size=0.0)]) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"effective_sample_size": 5.9}, "5.9 of 60 parents, under 6.0"),
        ({"pool": 5, "effective_sample_size": 1.9}, "1.9 of 5 parents, under 2.0"),
        ({"solvable": 10}, "10 of 90 exercises are solvable, surely under 20%"),  # Wilson to 0.192
        ({"novel": 39}, "39 of 100 exercises are novel, surely under 50%"),  # to 0.488
        ({"mean_pass_rate": 0.95}, "passes 95% of its attempts, surely over 80%"),  # from 0.845
        ({"mean_pass_rate": 0.0}, "passes 0% of its attempts, surely under 10%"),  # to 0.079
    ],
)
def test_each_stop_rule_gives_its_reason_with_its_numbers(change, reason):
    (given,) = stop_reasons([replace(GOOD, **change)])
    assert reason in given


@pytest.mark.parametrize(
    "change",
    [
        {"effective_sample_size": 6.0},
        {"solvable": 11},  # 0.122, to 0.206
        {"novel": 41},  # to 0.508
        {"mean_pass_rate": 0.9},  # from 0.776
        {"solvable": 34, "mean_pass_rate": 0.0},  # of 34, to 0.1015
        {"judged": 5, "solvable": 0, "mean_pass_rate": 0.0},  # too few to be sure of anything
    ],
)
def test_no_rule_fires_on_what_chance_could_do(change):
    assert stop_reasons([replace(GOOD, **change)]) == []


def test_a_sure_drop_against_the_round_before_is_a_reason():
    # Newcombe: 45 to 25 of 90 is -0.352 to -0.080, 45 to 30 of 90 is -0.301 to -0.023
    (given,) = stop_reasons([GOOD, replace(GOOD, solvable=25)])
    assert "25 of 90 exercises are solvable, surely a drop from 45 of 90" in given
    assert stop_reasons([GOOD, replace(GOOD, solvable=30)]) == []
    (given,) = stop_reasons([GOOD, replace(GOOD, novel=70)])
    assert "70 of 100 exercises are novel, surely a drop from 90 of 100" in given


def test_only_the_last_two_rounds_are_compared():
    assert stop_reasons([GOOD, replace(GOOD, solvable=30), replace(GOOD, solvable=25)]) == []


def by_name(now, before):
    return {each.name: each for each in signatures(now, before)}


def test_margins_near_zero_are_warned_of():
    name = "margins near zero"
    assert by_name(replace(GOOD, median_margin=0.019), None)[name].warned
    assert not by_name(replace(GOOD, median_margin=0.02), None)[name].warned


def test_a_dip_is_the_benchmarks_where_both_rounds_have_one_and_else_the_parents():
    name = "dip after an adversarial round"
    tired = by_name(replace(GOOD, retest_change=-0.06, benchmark=0.4), GOOD)[name]
    assert (tired.value, tired.warned) == (-0.06, True)
    assert "parents" in tired.measure
    fresh = by_name(replace(GOOD, retest_change=-0.06, benchmark=0.40), replace(GOOD, benchmark=0.42))[name]
    assert fresh.value == pytest.approx(-0.02)
    assert not fresh.warned
    assert "benchmark" in fresh.measure


def test_a_quarter_of_near_duplicates_is_tolerated_and_more_is_not():
    name = "data too alike"
    assert not by_name(replace(GOOD, novel=75), None)[name].warned
    alike = by_name(replace(GOOD, novel=74), None)[name]
    assert alike.value == pytest.approx(0.26)
    assert alike.warned


def test_speculative_decoding_is_not_measured_from_data_and_warned_of_when_it_does_not_gain():
    name = "no faster speculative decoding"
    unknown = by_name(replace(GOOD, acceptance_rate=0.7), GOOD)[name]
    assert (unknown.value, unknown.warned) == (None, False)
    before = replace(GOOD, acceptance_rate=0.7)
    assert by_name(replace(GOOD, acceptance_rate=0.7), before)[name].warned
    assert not by_name(replace(GOOD, acceptance_rate=0.71), before)[name].warned


def test_what_was_not_measured_warns_of_nothing():
    nothing = RoundStats(round=0, statements=0, novel=0, judged=0, solvable=0, mean_pass_rate=0.0)
    assert [(each.value, each.warned) for each in signatures(nothing, None)] == [(None, False)] * 4
    assert stop_reasons([nothing]) == []


def test_a_round_survives_being_written_as_json():
    assert RoundStats(**json.loads(json.dumps(asdict(GOOD)))) == GOOD
