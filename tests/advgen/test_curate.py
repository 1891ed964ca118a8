"""`raw` rows to the other configs: what may be paired, in which form, and what is left out."""

import json
import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from advgen import curate, parse
from advgen.config import CurationConfig
from advgen.pipeline.records import Record
from advgen.specs import ExerciseSpec
from advgen.verify import Attempt, Stored, Testimony, Verification, Votes, truth

GOLDEN = Path(__file__).parents[2] / "data" / "golden.jsonl"
STATEMENT = parse.statement(
    'def double(x: int) -> int:\n    """Twice the number x, whatever its sign may be, as an int."""'
)
GOOD = "def double(x):\n    return 2 * x"
BAD = "def double(x):\n    return x"
ORIGIN = {"teacher": "t", "student": "s", "sandbox": "{}", "provenance": {}}
PASS = Attempt(code="def double(x):\n    return x + x", status="pass")


def failing(code=BAD, status="fail", kind="wrong_answer", failed_test=0):
    failed = (failed_test,) if failed_test >= 0 else ()
    return Attempt(code=code, status=status, failure_kind=kind, failed_test=failed_test, failed=failed)


def told_by(attempts, alike=None):
    if alike is None:
        alike = [at for at, each in enumerate(attempts) if each.passed]
    passes = sum(each.passed for each in attempts)
    vote = Votes(
        teacher=1, teacher_against=1, student=passes, student_against=len(attempts) - passes, stated=False, backed=False
    )  # fmt: skip
    return Testimony(
        votes=(vote,), attempts=len(attempts), like_reference=(1 + passes) / (2 + len(attempts)),
        like_attempt=(0.0,) * len(attempts), passing_alike=tuple(alike),
    )  # fmt: skip


def row(*attempts, status="kept", name="e", good=GOOD, repairs=(), alike=None):
    test = {"call": "double(2)", "expected": "4", "source": "agreement"}
    record = Record(
        spec=ExerciseSpec(index=0, round=0, strategy="seed", topic="t", subtopic="s"), exercise_id=name, status=status,
        statement=STATEMENT, prompt=[{"role": "user", "content": "p"}],
        solutions=["def double(x):\n    return 3", good],
        verification=Verification(
            status="kept", right=(good,), tests=(test,), teacher_pass_rate=0.5, kill_rate=0.75, coverage=1.0
        ),
        response=f"Here:\n```python\n{good}\n```", attempts=list(attempts), repairs=list(repairs),
        testimony=told_by(attempts, alike),
    )  # fmt: skip
    return record.row(ORIGIN)


def pairs(*attempts, chosen="teacher", most=5, **values):
    found, _, _ = curated([row(*attempts, **values)], pairs_per_exercise=most, chosen=chosen)
    return found


def curated(rows, before=(), **config):
    with closing(
        curate.Curator(
            CurationConfig(**{"max_kind_share": 1.0, "min_p_wrong": 0.0, "min_p_true": 0.0, **config}), before
        )
    ) as curator:
        made = list(curator.curate(lambda: iter(rows)))
    return [found for name, found in made if name == "dpo"], Counter(name for name, _ in made), curator.report


def test_chosen_and_rejected_are_written_in_the_same_form():
    (pair,) = pairs(failing(), PASS)
    assert pair["chosen"] == [{"role": "assistant", "content": f"```python\n{GOOD}\n```"}]
    assert pair["rejected"] == [{"role": "assistant", "content": f"```python\n{BAD}\n```"}]
    assert (pair["student_pass_rate"], pair["n_attempts"], pair["failed_test"]) == (0.5, 2, 0)


@pytest.mark.parametrize(
    "attempt",
    [
        PASS,
        failing(status="flaky"),
        failing(code="", status="unreadable", kind="syntax"),
        failing(status="timeout", kind="timeout"),
        failing(failed_test=-1),
        failing(code=GOOD.replace("x", "number")),  # the right program under other names
        failing(code=PASS.code),
    ],
)
def test_what_execution_did_not_separate_is_never_a_pair(attempt):
    assert not pairs(PASS, attempt)


def test_failing_programs_that_differ_in_names_and_layout_only_make_one_pair():
    same = failing(code="def double(y):\n    # nothing\n    return (y)")
    other = failing(code="def double(x):\n    return -x")
    assert len(pairs(failing(), same, other)) == 2
    assert len(pairs(failing(), same, other, most=1)) == 1


def test_a_wrong_answer_is_taken_before_an_exception():
    raising = failing(code="def double(x):\n    return x.y", status="error", kind="exception:AttributeError")
    (pair,) = pairs(raising, failing(), most=1)
    assert pair["failure_kind"] == "wrong_answer"


def test_the_chosen_side_comes_from_where_the_config_says_or_there_is_no_pair():
    (own,) = pairs(failing(), PASS, chosen="student")
    assert (own["chosen_source"], own["chosen"]) == ("student", curate.reply(PASS.code))
    assert not pairs(failing(), chosen="student")
    code = "def double(x):\n    return x * 2"
    (repaired,) = pairs(PASS, failing(), chosen="repaired", repairs=["", code])
    assert (repaired["chosen_source"], repaired["chosen"]) == ("repaired", curate.reply(code))
    assert not pairs(PASS, failing(), chosen="repaired", repairs=["", ""])


def test_a_kept_row_gives_rows_to_every_config_and_another_one_to_none():
    _, counts, report = curated([row(failing(), PASS), row(status="weak_tests", name="f")])
    assert counts == {"dpo": 1, "sft": 1, "kto": 2, "rl": 1, "gad": 1}
    assert (report.kept, report.pairs, report.failure_kinds) == (1, {"seed": 1}, {"wrong_answer": 1})


def test_of_two_exercises_with_one_solution_the_first_stays_also_across_rounds():
    other = "def double(x):\n    return [x, 2][1] * x"
    twin = row(failing(), name="twin", good=GOOD.replace("x", "y"))
    rows = [
        row(failing(), name="a"),
        twin,
        row(failing("def double(x):\n    return 7"), name="b", good=other),
    ]
    found, _, report = curated(rows)
    assert [each["exercise_id"] for each in found] == ["a", "b"]
    assert report.duplicates == {"solution": 1}
    found, _, report = curated(rows, before=[twin])
    assert [each["exercise_id"] for each in found] == ["b"]


def test_a_rejected_program_stands_in_one_pair_only():
    other = "def double(x):\n    return sum([x, x])"
    found, _, report = curated([row(failing(), name="a"), row(failing(), name="b", good=other)])
    assert [each["exercise_id"] for each in found] == ["a"]
    assert report.duplicates == {"rejected": 1}


def test_pairs_are_chosen_so_that_length_tells_nothing():
    def kept(number):
        good = f"def double(x):\n    return {number} * x + x * (2 - {number})"
        short = failing(f"def double(x):\n    return {number}")
        lines = [
            f"    result = {number}",
            "    for step in range(x):",
            "        result += 3",
            "    return result",
        ]
        long = failing("\n".join(["def double(x):", *lines]))
        return row(short, long, name=str(number), good=good)

    found, _, _ = curated([kept(number) for number in range(3, 23)])
    longer = sum(pair["chosen_chars"] > pair["rejected_chars"] for pair in found)
    assert (len(found), longer) in {(20, 9), (20, 10), (20, 11)}


def test_caps_hold_for_what_is_left_and_wrong_answers_have_none():
    kinds = Counter({"wrong_answer": 10, "timeout": 8, "exception:ValueError": 1})
    assert curate.allowed(kinds, 0.25) == {"wrong_answer": 10, "timeout": 3, "exception:ValueError": 1}
    assert curate.allowed(Counter({"timeout": 5}), 0.25) == {"timeout": 1}
    assert curate.allowed(kinds, 1.0) == kinds


def test_pairs_over_the_cap_are_left_out_and_counted():
    def solution(number):
        return f"def double(x):\n    return {number} + 2 * x - {number} * {'1 * ' * number}1"

    rows = [
        row(failing(f"def double(x):\n    return x - {at}", kind=kind), name=str(at), good=solution(at))
        for at, kind in enumerate(["wrong_answer"] * 3 + ["exception:KeyError"] * 3)
    ]
    found, _, report = curated(rows, max_kind_share=0.25)
    assert Counter(each["failure_kind"] for each in found) == {"wrong_answer": 3, "exception:KeyError": 1}
    assert report.over_cap == {"exception:KeyError": 2}


def test_a_pair_says_how_likely_it_is_and_unlikely_ones_are_left_out():
    (pair,) = pairs(failing(), PASS)
    kept = row(failing(), PASS)
    p_wrong = truth.load().of_rejected(Stored(kept).testimony, 0, [0])
    assert 0 < pair["p_true"] < p_wrong < 1
    for name, value in (("min_p_true", pair["p_true"]), ("min_p_wrong", p_wrong)):
        for floor, count in ((value - 0.001, 1), (value + 0.001, 0)):
            assert len(curated([kept], **{name: floor})[0]) == count


def test_an_attempt_is_chosen_only_where_it_does_as_the_reference_does():
    other = Attempt(code="def double(x):\n    return x and x + x", status="pass")
    (pair,) = pairs(failing(), PASS, other, chosen="student", alike=(2,))
    assert pair["chosen"] == curate.reply(other.code)
    assert not pairs(failing(), PASS, other, chosen="student", alike=())


def test_the_truth_that_is_expected_is_told_by_how_often_the_student_solves_it():
    other = "def double(x):\n    return sum([x, x])"
    rows = [row(failing(), PASS), row(failing("def double(x):\n    return 7"), name="hard", good=other)]
    (easy, hard), _, report = curated(rows)
    assert report.by_pass_rate == {"to 1/2": 1, "0": 1}
    assert report.expected_true == pytest.approx({"to 1/2": easy["p_true"], "0": hard["p_true"]})
    assert hard["p_true"] < easy["p_true"]


def test_the_golden_rows_are_what_the_data_side_writes_today():
    """`UPDATE_GOLDEN=1 pytest tests/advgen/test_curate.py` rewrites the file; the trainer's tests read it."""
    kept = row(failing(), PASS)
    made = dict(reversed([*curate.Curator(CurationConfig()).curate(lambda: [kept]), ("raw", kept)]))
    text = "".join(json.dumps({"config": config, "row": each}) + "\n" for config, each in made.items())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text


def test_a_share_is_of_the_pairs_that_stay_and_not_of_those_that_repeat_each_other():
    wrong = [
        row(failing(), name=f"w{at}", good=f"def double(x):\n    return x * 2 + {at} - {at}")
        for at in range(9)
    ]
    kinds = [
        row(failing(code=f"def double(x):\n    return x + '{at}'", status="error", kind="exception:TypeError"),
            name=f"t{at}", good=f"def double(x):\n    return 2 * x - {at} + {at}")
        for at in range(3)
    ]  # fmt: skip
    _, _, report = curated([*wrong, *kinds], max_kind_share=0.25)
    assert report.failure_kinds == {"wrong_answer": 1, "exception:TypeError": 1}
    assert report.over_cap == {"exception:TypeError": 2}
