"""The probability that a pair is right: fitted where the answers are known, and read back from a file."""

import json
import math
import random

import pytest

from advcore import DataError
from advgen.verify import TRUE, Stored, Testimony, Votes, truth


def vote(teacher, student, against=0, stated=False, backed=False):
    return Votes(
        teacher=teacher, teacher_against=4 - teacher, student=student, student_against=against, stated=stated,
        backed=backed,
    )  # fmt: skip


def told(*votes, like_reference=0.5, like_attempt=(0.0, 0.25)):
    return Testimony(votes=votes, attempts=8, like_reference=like_reference, like_attempt=like_attempt)


SUITE = told(vote(4, 8), vote(3, 2, against=5), vote(4, 6, stated=True))


def test_features_are_what_can_be_seen_without_the_truth():
    assert truth.rejected_features(SUITE, 0, [1, 2]) == [2 / 3, 1.0, 0.0]
    assert truth.rejected_features(SUITE, 1, [0]) == [1 / 3, 0.0, 0.25]
    assert truth.chosen_features(SUITE) == [0.5]
    assert [len(names) for names in (truth.REJECTED, truth.CHOSEN)] == [3, 1]


@pytest.mark.parametrize(
    ("disputed", "place"),
    [
        (vote(3, 1, against=5, backed=True), 1),
        (vote(3, 1, against=5), None),
        (vote(3, 1, against=3, backed=True), None),
    ],
)
def test_a_suite_is_contested_where_attempts_and_a_solution_agree_against_a_test(disputed, place):
    assert told(vote(4, 8), disputed).contested == place


def test_the_fit_finds_the_probabilities_that_made_the_cases():
    chance = random.Random(0)
    features = [[chance.gauss(2, 3), chance.random()] for _ in range(4_000)]
    right = [chance.random() < 1 / (1 + math.exp(1 - 0.8 * one)) for one, _ in features]
    model = truth.fit(features, right)
    assert model.weights == (pytest.approx(0.8, abs=0.06), pytest.approx(0.0, abs=0.3))
    assert model([2.0, 0.5]) == pytest.approx(1 / (1 + math.exp(-0.6)), abs=0.03)
    assert 0 < model([-1e9, 0.5]) < model([1e9, 0.5]) < 1


def test_cases_of_one_kind_cannot_be_fitted():
    with pytest.raises(DataError, match="of 2 cases all are alike"):
        truth.fit([[1.0], [2.0]], [True, True])


def test_the_shipped_weights_are_read_and_weigh_evidence_as_one_would():
    trust = truth.load()
    assert trust.fitted_on
    sure = told(*[vote(4, 6, stated=True)] * 6, like_reference=0.9)
    doubtful = told(*[vote(4, 6)] * 5, vote(3, 1, against=3), like_reference=0.2)
    assert trust.of_chosen(sure) > trust.of_chosen(doubtful)
    wrong = [
        trust.of_rejected(*each) for each in ((sure, 0, range(6)), (sure, 1, range(6)), (doubtful, 1, [5]))
    ]
    assert wrong == sorted(wrong, reverse=True)
    assert trust.of_rejected(TRUE, 0, [0]) == trust.of_chosen(TRUE) == 1.0


@pytest.mark.parametrize("text", ["{}", "{", '{"votes": [], "consent": 1.0}'])
def test_a_testimony_of_another_release_is_refused_in_one_line(text):
    with pytest.raises(DataError, match="exercise x has no testimony that this release reads"):
        _ = Stored({"exercise_id": "x", "testimony": text}).testimony


def test_what_is_written_is_read_back_and_a_broken_file_is_named(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(truth.load().as_json()))
    assert truth.load(tmp_path / "truth.json") == truth.load()
    for broken in ("{", "{}", '{"rejected": {"bias": 0, "weights": {}}}'):
        (tmp_path / "truth.json").write_text(broken)
        with pytest.raises(DataError, match=r"truth\.json holds no weights"):
            truth.load(tmp_path / "truth.json")
    with pytest.raises(DataError, match="none"):
        truth.load(tmp_path / "none.json")
