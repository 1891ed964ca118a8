"""Shortcut predictors against numbers worked out by hand."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from advgen.audit import classifier, shortcuts
from advgen.hygiene.pairs import PreferencePair, Side


def pair(row, chosen, rejected, exercise=""):
    return PreferencePair(
        row=row, system="", prompt=f"task {row}", chosen=Side(chosen), rejected=Side(rejected),
        exercise_id=exercise or f"e{row}",
    )  # fmt: skip


def found(pairs):
    with closing(shortcuts.Shortcuts()) as check:
        for each in pairs:
            check.add(each)
        return {
            finding.check.removeprefix("shortcut:"): replace(finding, rows=tuple(finding.rows))
            for finding in check.findings()
        }


def numbers(groups):
    return shortcuts.exercises([shortcuts.group_key(group) for group in groups])


def earned(signs, groups):
    return shortcuts.cross_validated(np.array(signs), numbers(groups)).tolist()


def test_auc_counts_the_pairs_of_sides_in_order_ties_half():
    # 3>1, 3=3, 2>1, 2<3: 2.5 of 4
    assert shortcuts.auc([3, 2], [1, 3]) == 0.625
    assert shortcuts.auc([2, 2], [1, 1]) == 1.0
    assert shortcuts.auc([1], [2]) == 0.0
    assert shortcuts.auc([5, 5, 5], [5, 5]) == 0.5


def test_no_exercise_is_in_two_folds_and_folds_are_of_like_size():
    groups = [f"e{at % 12}" for at in range(36)]
    folds = numbers(groups) % shortcuts.FOLDS
    fold = dict(zip(groups, folds.tolist(), strict=True))
    assert [fold[group] for group in groups] == folds.tolist()
    assert sorted([list(fold.values()).count(at) for at in range(shortcuts.FOLDS)]) == [2, 2, 2, 3, 3]
    assert (numbers(groups[::-1])[::-1] % shortcuts.FOLDS == folds).all()
    assert list(fold.values()) != [at % shortcuts.FOLDS for at in range(12)]  # nor as they come


def test_the_direction_is_learned_on_other_exercises():
    groups = [f"e{at}" for at in range(10)]
    assert earned([1] * 10, groups) == [1.0] * 10
    assert earned([-1] * 10, groups) == [1.0] * 10
    assert earned([0] * 10, groups) == [0.5] * 10
    # One exercise against all others is guessed wrong; itself it could have told.
    assert earned([1] * 9 + [-1], groups) == [1.0] * 9 + [0.0]
    # Nothing but the exercise itself to learn from: a half.
    assert earned([1, 1, 1], ["same"] * 3) == [0.5] * 3


def test_an_exercise_of_many_pairs_does_not_outvote_the_others_in_learning():
    groups = ["many"] * 50 + [f"e{at}" for at in range(9)]
    assert earned([-1] * 50 + [1] * 9, groups) == [0.0] * 50 + [1.0] * 9


def test_an_exercise_counts_once_however_many_pairs_it_has():
    result = shortcuts.score([1.0] * 8 + [0.0], numbers(["many"] * 8 + ["one"]))
    assert result.accuracy == 0.5
    assert result.interval == shortcuts.score([1.0, 0.0], [0, 1]).interval
    assert shortcuts.score([1.0, 0.0], [0, 2]) == shortcuts.score([1.0, 0.0], [0, 1])  # of 1 no pair is left
    assert shortcuts.score(np.array([]), np.array([], dtype=int)).accuracy == 0.5
    # Wilson, 8 of 10 by hand: (0.8 + 0.19207 -+ 1.95996 sqrt(0.016 + 0.0096)) / 1.38415
    low, high = shortcuts.score([1.0] * 8 + [0.0] * 2, range(10)).interval
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_length_that_tells_is_an_error_and_length_that_does_not_is_none():
    telling = [pair(at, "x = 1\n" * 3, "x = 1\n" * 2) for at in range(40)]
    assert found(telling)["characters"].severity == "error"
    assert found(telling)["characters"].number == 1.0
    assert found(telling)["characters"].measures["auc"] == 1.0
    assert found(telling)["characters"].rows == tuple(range(40))
    mixed = [pair(at, "x = 1\n" * (3 - at % 2), "x = 1\n" * (2 + at % 2)) for at in range(40)]
    assert found(mixed)["characters"].severity == "info"
    assert found(mixed)["characters"].measures["auc"] == 0.5


def test_rows_that_the_rule_gets_wrong_are_not_named():
    sides = [("x = 1\n" * 3, "x = 1\n" * 2)] * 40 + [("x = 1\n" * 2, "x = 1\n" * 3)] * 4
    assert found([pair(at, *each) for at, each in enumerate(sides)])["lines"].rows == tuple(range(40))


def test_a_feature_that_one_side_has_no_value_of_makes_the_pair_a_tie():
    pairs = [pair(at, "def f(a: int): pass", "def f(a): pass" if at < 30 else "no code") for at in range(40)]
    finding = found(pairs)["type_hints"]
    assert (finding.measures["differs"], finding.measures["auc"], finding.number) == (30, 1.0, 35 / 40)


def test_many_pairs_of_one_exercise_prove_nothing():
    check = found([pair(at, "x = 1\n" * 3, "x = 1\n", exercise="only") for at in range(200)])
    assert check["characters"].severity == "info"


def test_a_feature_that_tells_wherever_it_differs_is_a_warning_with_its_rows():
    fenced = "```python\nx = 1\n```"
    pairs = [pair(at, fenced if at < 20 else "x = 1", "x = 1") for at in range(200)]
    finding = found(pairs)["fenced"]
    assert (finding.severity, finding.rows) == ("warning", tuple(range(20)))
    assert finding.number == 0.55  # 20 told, 180 ties
    rare = [pair(at, fenced if at < 9 else "x = 1", "x = 1") for at in range(200)]
    assert found(rare)["fenced"].severity == "info"


def test_the_token_classifier_learns_words_that_tell_and_nothing_else():
    telling = [pair(at, f"use sorted here {at}", f"use plain here {at}") for at in range(50)]
    check = classifier.BagOfTokens()
    for each in telling:
        check.add(each)
    (finding,) = check.findings()
    assert (finding.severity, finding.number, finding.rows) == ("warning", 1.0, list(range(50)))
    # Each exercise has its own words: what is learned on others says nothing of it.
    own = [classifier.difference(f"word{at} same", f"other{at} same") for at in range(50)]
    assert sum(classifier.cross_validated(own, np.arange(50))) < 35


def test_the_logistic_fit_reaches_the_minimum_worked_out_by_hand():
    # One feature, all pairs alike, decay 0.001: 0.001 w = 1 / (1 + e^w) at w = 5.244 (0.005244 and 0.005252).
    weights = classifier.fit(np.ones((4, 1), dtype=np.float32))
    assert weights == pytest.approx(5.244, abs=0.02)
