"""Diversity against numbers worked out by hand."""

import ast
import math
from collections import Counter

import pytest

from advgen.audit import diversity
from advgen.audit.sample import Reservoir
from advgen.hygiene.pairs import PreferencePair, Side


def test_vendi_is_one_for_equal_items_and_n_for_orthogonal_ones():
    assert diversity.vendi([{("a",): 2, ("b",): 1}] * 7) == pytest.approx(1)
    assert diversity.vendi([{(str(at),): at + 1} for at in range(5)]) == pytest.approx(5)
    # Two pairs of twins are two items in effect.
    assert diversity.vendi([{("a",): 1}, {("a",): 3}, {("b",): 1}, {("b",): 2}]) == pytest.approx(2)


def test_vendi_of_two_items_at_an_angle():
    # Cosine 0.6: eigenvalues of K/2 are 0.8 and 0.2.
    expected = math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert diversity.vendi([{("a",): 1}, {("a",): 3, ("b",): 4}]) == pytest.approx(expected)


def test_paths_count_nodes_below_their_parents():
    counts = diversity.paths(ast.parse("x = -y"))
    assert counts["Assign",] == 1
    assert counts["Assign", "UnaryOp"] == 1
    assert counts["Module", "Assign", "UnaryOp"] == 1
    assert counts["Name",] == 2
    assert max(map(len, counts)) == 3


def test_distinct_n_is_the_share_of_different_runs():
    texts = [["a", "b", "a"], ["a", "b"]]
    assert diversity.distinct(texts, 1) == 2 / 5
    assert diversity.distinct(texts, 2) == 2 / 3  # ab, ba, ab
    assert diversity.distinct(texts, 3) == 1
    assert diversity.distinct([["a"]], 2) == 0


def test_self_bleu_is_one_for_equal_texts_and_small_for_different_ones():
    text = ["one", "two", "three", "four", "five", "six"]
    assert diversity.self_bleu([text] * 3) == pytest.approx(1)
    # Nothing in common: 0.1 stands for each count, of 6, 5, 4 and 3 runs.
    nothing = (0.1**4 / (6 * 5 * 4 * 3)) ** 0.25
    assert diversity.self_bleu([text, ["a", "b", "c", "d", "e", "f"]]) == pytest.approx(nothing)


def test_self_bleu_clips_at_the_best_other_text_and_punishes_the_short():
    # "a a a a" against "a a b b c": unigrams 2/4, bigrams 1/3, then 0.1/2 and 0.1/1; shorter by exp(1 - 5/4).
    first = math.exp(1 - 5 / 4) * (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** 0.25
    # The other way round: 2/5, 1/4, 0.1/3, 0.1/2.
    second = (2 / 5 * 1 / 4 * 0.1 / 3 * 0.1 / 2) ** 0.25
    assert diversity.self_bleu([list("aaaa"), list("aabbc")]) == pytest.approx((first + second) / 2)


def test_self_bleu_takes_each_count_from_the_best_of_all_others():
    # With "a a a a" twice, each finds its runs in the other, whatever the third says.
    scores = diversity.self_bleu([list("aaaa"), list("aaaa"), list("zzzz")])
    nothing = (0.1**4 / (4 * 3 * 2 * 1)) ** 0.25
    assert scores == pytest.approx((1 + 1 + nothing) / 3)


def test_compression_tells_repetition():
    assert diversity.compression_ratio(["the same text again"] * 50) > 10
    assert diversity.compression_ratio([str(hash(at) * 7919 % 99991) for at in range(50)]) < 3


def test_entropy_of_even_topics_is_the_logarithm_of_their_number():
    assert diversity.entropy([3, 3, 3, 3]) == pytest.approx(math.log(4))
    assert diversity.entropy([8, 0]) == 0


def test_an_exercise_counts_once_whatever_number_of_pairs_it_has():
    check = diversity.Diversity()
    for row, (exercise, topic) in enumerate([("e1", "sums")] * 9 + [("e2", "text")]):
        side = Side("x = 1" if topic == "sums" else "import os")
        check.add(
            PreferencePair(
                row=row, system="", prompt="p", chosen=side, rejected=side, exercise_id=exercise, topic=topic
            )
        )
    measured = {finding.check: finding.number for finding in check.findings()}
    assert measured["diversity:topics"] == pytest.approx(2)
    assert 1 < measured["diversity:vendi"] < 2


def test_a_reservoir_draws_evenly():
    drawn = Counter()
    sample = Reservoir(100)
    for at in range(10_000):
        sample.offer(lambda at=at: at)
    drawn.update(at // 2500 for at in sample.items)
    assert len(sample.items) == 100
    assert all(12 <= drawn[quarter] <= 40 for quarter in range(4))
