"""What a strategy declares against counts worked out by hand, for one exercise and for all of a strategy."""

from itertools import product

import pytest

from advgen.curriculum import IntentCheck, deceptive, effect, incremental, opposite


def test_incremental_holds_when_the_pass_rate_falls_beyond_chance():
    verdict = incremental(9, 10, 3, 10)
    assert verdict.outcome == "held"
    assert verdict.change == pytest.approx(-0.6)
    assert verdict.interval == pytest.approx((-0.8090, -0.1705), abs=1e-4)  # Newcombe 1998, method 10


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ((8, 8, 4, 8), "held"),
        ((8, 8, 5, 8), "unclear"),
        ((4, 8, 3, 8), "unclear"),
        ((3, 10, 9, 10), "missed"),
        ((0, 8, 0, 8), "unmeasurable"),
        ((0, 8, 8, 8), "unmeasurable"),
        ((0, 0, 1, 8), "unmeasurable"),
        ((8, 8, 0, 0), "unmeasurable"),
    ],
)
def test_incremental_by_the_counts(counts, outcome):
    assert incremental(*counts).outcome == outcome


@pytest.mark.parametrize(
    ("same_signature", "ran", "failed", "outcome"),
    [
        (True, True, True, "held"),
        (True, True, False, "missed"),  # the requirement has not changed
        (True, False, True, "missed"),  # it raises: that is no habit that misleads
        (True, None, False, "unmeasurable"),  # the sandbox lost it
        (False, True, True, "missed"),
        (False, None, False, "missed"),
    ],
)
def test_opposite_holds_when_the_old_solution_runs_and_fails(same_signature, ran, failed, outcome):
    assert opposite(same_signature, ran, failed) == IntentCheck(outcome)


def test_deceptive_must_be_no_longer_and_harder():
    assert deceptive(40, 40, 8, 8, 2, 8).outcome == "held"
    assert deceptive(40, 30, 8, 8, 7, 8).outcome == "unclear"
    assert deceptive(40, 30, 0, 8, 0, 8).outcome == "unmeasurable"
    longer = deceptive(40, 41, 8, 8, 2, 8)
    assert (longer.outcome, longer.change) == ("missed", -0.75)


def test_many_unclear_exercises_together_are_clear():
    verdicts = [(f"p{at}", incremental(6, 8, 3 + at % 3, 8)) for at in range(30)]
    assert {verdict.outcome for _, verdict in verdicts} == {"unclear"}
    whole = effect(verdicts, seed=0)
    assert whole.outcome == "held"
    assert whole.change == pytest.approx(-0.25)  # from 6 of 8 to 4 of 8 on average
    assert whole.interval == pytest.approx((-0.285, -0.215), abs=0.01)  # 1.96 * 0.102 / sqrt 30 either way
    assert (whole.exercises, whole.parents, whole.held_share) == (30, 30, 0.0)
    assert whole == effect(verdicts, seed=0)


def test_a_strategy_that_changes_nothing_does_not_look_harder():
    # Every outcome of two attempts at one half, parent and child alike and independent, each as often as it happens.
    passes = (0, 1, 1, 2)
    verdicts = [
        (f"p{at}", incremental(up, 2, down, 2)) for at, (up, down) in enumerate(product(passes, passes))
    ]
    whole = effect(verdicts, seed=0)
    assert whole.change == pytest.approx(0.0)
    assert whole.outcome == "unclear"
    assert whole.outcomes["unmeasurable"] == 4  # without these four the mean would be -1/6


def test_few_parents_decide_nothing_however_many_children_they_have():
    assert effect([(f"p{at % 9}", incremental(8, 8, 0, 8)) for at in range(90)], seed=0).outcome == "unclear"
    assert effect([(f"p{at % 10}", incremental(8, 8, 0, 8)) for at in range(90)], seed=0).outcome == "held"


def test_opposite_goes_by_the_share_that_held():
    held, missed, lost = opposite(True, True, True), opposite(True, True, False), opposite(True, None, False)
    verdicts = [(f"p{at}", verdict) for at, verdict in enumerate([held] * 16 + [missed] * 4 + [lost] * 5)]
    whole = effect(verdicts, seed=0)
    assert (whole.outcome, whole.held_share, whole.change, whole.interval) == ("held", 0.8, None, None)
    assert whole.held_interval == pytest.approx((0.584, 0.919), abs=1e-3)  # Wilson, 16 of 20
    assert (whole.exercises, whole.parents) == (25, 20)
    turned = [(f"p{at}", verdict) for at, verdict in enumerate([held] * 4 + [missed] * 16)]
    assert effect(turned, seed=0).outcome == "missed"
    assert effect(verdicts[:14] + turned[-10:], seed=0).outcome == "unclear"


def test_nothing_measured_is_unmeasurable():
    for verdicts in ([], [("p", IntentCheck("unmeasurable"))]):
        whole = effect(verdicts, seed=0)
        assert (whole.outcome, whole.held_share, whole.parents) == ("unmeasurable", None, 0)
