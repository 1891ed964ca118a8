"""Marks are read strictly, and figures hold against numbers worked out by hand."""

import math

import pytest

from advgen import verdicts
from advgen.parse import ParseError
from advgen.verdicts import Verdict


def verdict(student_first, reference_first=None, chars=(100, 100), prompt="", **values):
    """Marks of (student, reference), the same in both orders unless a second pair is given."""
    return Verdict(
        row=0, sample=0, prompt=prompt, status="judged", student_first=student_first,
        reference_first=reference_first or student_first, student_chars=chars[0], reference_chars=chars[1],
        **values,
    )  # fmt: skip


def apart(*given):
    """The verdicts with a prompt each."""
    return [verdict(*arguments, prompt=str(at)) for at, arguments in enumerate(given)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"first": 7, "second": 10}', (7, 10)),
        ('```json\n{ "first" : 1,\n "second":8.5 }\n```', (1, 8.5)),
        ('The second is better.\n{"first": 3, "second": 6}\n', (3, 6)),
        ('{"second": 7, "first": 8, "third": {"first": 1, "second": 1}}', (8, 7)),
        ('{"first": 10, "second": 1} it says, but {"first": 2, "second": 8}', (2, 8)),
        ('The set {1, 2} and {"a": 1} are wrong.\n{"first": 4, "second": 7} {"first": 1}', (4, 7)),
        ('<think>{"first": 1, "second": 9}? No.</think>\n{"first": 9, "second": 1}', (9, 1)),
        ('Not {"first": 1, "second": 9}.\n</think>\n\n{"first": 9, "second": 1}', (9, 1)),
    ],
)
def test_two_marks_are_read_in_their_order(text, expected):
    assert verdicts.marks(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty reply"),
        ('<think>\n{"first": 7, "second": 8}', "thoughts alone"),
        ("first: 7, second: 8", "no object with two marks"),
        ('{"first": 10, "second": {"first": 2}}', "no number"),
        ('{"first": 7}', "no object with two marks"),
        ('{"first": "7", "second": 8}', "no number"),
        ('{"first": true, "second": 8}', "no number"),
        ('{"first": 7, "first": 8, "second": 9}', "no object with two marks"),
        ('{"first": 7, "second": 8} or {"first": 7, "second": "8"}', "no number"),
        ('{"first": -7, "second": 8}', "from 1 to 10"),
        ('{"first": NaN, "second": 8}', "from 1 to 10"),
        ('{"first": \u0667, "second": 8}', "no object with two marks"),
        ('{"first": 100, "second": 8}', "from 1 to 10"),
        ('{"first": 0, "second": 8}', "from 1 to 10"),
        ('{"first": 11, "second": 8}', "from 1 to 10"),
        ('{"first": 7, "second": 8', "no object with two marks"),
    ],
)
def test_anything_else_is_no_verdict_and_never_a_mark(text, says):
    with pytest.raises(ParseError, match=says):
        verdicts.marks(text)


def test_the_score_is_the_share_of_the_marks_over_both_orders():
    assert verdict((5, 5)).score == 50
    assert verdict((6, 2), (2, 6)).score == 50
    assert verdict((6, 2), (3, 2)).score == pytest.approx((75 + 60) / 2)


def test_the_figures_are_means_over_answers_and_over_marks():
    figures = verdicts.summary(apart(((6, 2), (3, 2)), ((1, 9), (1, 9))))
    assert figures["score"] == pytest.approx((67.5 + 10) / 2)
    assert figures["pooled_score"] == pytest.approx(100 * 11 / (11 + 22))
    assert figures["mean_marks"] == {"student": 11 / 4, "reference": 22 / 4}
    assert figures["interval"] == (10, 67.5)


def test_standing_first_is_measured_and_a_turned_verdict_is_counted():
    figures = verdicts.summary(apart(((6, 2), (2, 6)), ((5, 5), (5, 5)), ((8, 2), (6, 4)), ((4, 6), (4, 6))))
    bias = figures["position_bias"]
    assert bias["first_position_bonus"] == pytest.approx((25 + 0 + 10 + 0) / 4)
    assert bias["order_flips"] == 1 / 4
    assert bias["interval"][0] < bias["first_position_bonus"] < bias["interval"][1]
    assert figures["tied"] == 2 / 8


def test_the_score_at_equal_length_is_what_a_line_says_there():
    # Scores on a line by hand: 40 at equal length, 10 more for each doubling against the reference.
    doubled = [
        verdict((m, 100 - m), chars=(100 * 2**n, 100), prompt=str(n)) for n, m in ((1, 50), (2, 60), (3, 70))
    ]
    level = verdicts.summary(doubled)["length_controlled_score"]
    assert level["score"] == pytest.approx(40)
    assert level["slope"] == pytest.approx(10 * math.sqrt(2 / 3))  # 1, 2, 3 have this standard deviation
    assert level["log_ratio_mean"] == pytest.approx(math.log(4))
    assert verdicts.summary(doubled)["score"] == pytest.approx(60)


def test_without_a_spread_of_lengths_there_is_no_line():
    assert verdicts.summary(apart(((5, 5),), ((6, 4),)))["length_controlled_score"] is None


def test_an_empty_answer_has_a_length_too():
    assert verdict((1, 9), chars=(0, 100)).log_length_ratio == pytest.approx(-math.log(100))


def test_samples_of_one_prompt_are_drawn_together():
    alike = [verdict((m, 10 - m), prompt=str(at % 20)) for at in range(200) for m in [3 + 4 * (at % 20 < 10)]]
    single = [verdict(each.student_first, prompt=str(at)) for at, each in enumerate(alike)]
    wide, narrow = (verdicts.summary(each)["interval"] for each in (alike, single))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_what_has_no_score_stands_in_no_figure_but_is_told():
    lost = [Verdict(row=9, sample=0, prompt="x", status="unreadable", reason="no marks")]
    judged = apart(*[((5, 5),)] * 18)
    assert verdicts.summary(judged + lost)["score"] == 50
    assert verdicts.summary(judged + lost)["statuses"] == {"judged": 18, "unreadable": 1}
    assert not [line for line in verdicts.warnings(apart(*[((5, 6),)] * 40) + lost, 0) if "no score" in line]
    (line,) = [line for line in verdicts.warnings(judged + lost, 2) if "no score" in line]
    assert line.startswith("3 of 21 answers have no score (1 unreadable, 2 unanswered)")


def test_few_prompts_ties_and_extrapolation_are_told():
    (few,) = verdicts.warnings(apart(((5, 6), (6, 5), (90, 100)), ((7, 6), (7, 6), (120, 100))), 0)
    assert few.startswith("2 prompts were judged")
    told = verdicts.warnings(apart(*[((10, 10), (10, 10), (200, 100))] * 12), 0)
    assert [line[:12] for line in told] == ["every answer", "in 100 % of "]


def test_a_line_of_the_file_holds_what_there_is():
    assert verdict((6, 2)).as_json()["score"] == 75
    refused = Verdict(row=1, sample=0, prompt="p", status="no_reference", reason="content_filter").as_json()
    assert set(refused) == {"row", "sample", "prompt", "status", "reason", "requests"}
