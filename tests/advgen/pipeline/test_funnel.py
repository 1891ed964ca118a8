"""Rows to counts: stages, strategies with their intents, and what the curriculum watches."""

import json

import pytest

from advcore.stats import wilson
from advgen.pipeline.funnel import Funnel


def row(
    status="kept", strategy="seed", passes=0, attempts=8, check=None, parent="", stub="def f", usage=None
):
    return {
        "status": status, "strategy": strategy, "stub": stub, "tests": json.dumps([{}] * 6), "parent_id": parent,
        "reason": f"why {status}",
        "teacher_pass_rate": 1.0, "student_pass_rate": passes / attempts, "n_attempts": attempts, "kill_rate": 0.8,
        "coverage": 1.0, "check": json.dumps(check or {}),
        "usage": json.dumps({"usd": 0.25, "solution": [4, 100], "attempt": [8, 40], **(usage or {})}),
    }  # fmt: skip


def funnel(*rows, parents=None, draw=None):
    made = Funnel(1, 0, parents or {}, draw or {})
    for each in rows:
        made.add(each)
    return made


def test_every_row_counts_at_the_stages_it_came_past():
    made = funnel(
        row(passes=4), row(passes=2), row("unreadable", stub=""), row("no_reply", stub=""), row("duplicate"),
        row("weak_tests"), row("sandbox_error"),
    ).as_json({"seed": 2})  # fmt: skip
    assert [made[name] for name in ("asked", "written", "new", "kept", "pairs")] == [7, 5, 4, 2, 2]
    assert made["turned_away"] == {
        "duplicate": 1, "no_reply": 1, "sandbox_error": 1, "unreadable": 1, "weak_tests": 1,
    }  # fmt: skip
    assert made["commonest_reason"] == {"status": "unreadable", "reason": "why unreadable", "count": 1}
    assert (made["student_pass_rate"], made["tests_per_exercise"]) == (0.375, 6.0)
    assert (made["teacher_tokens"], made["student_tokens"], made["usd"]) == (700, 280, 1.75)
    assert (made["teacher_tokens_per_pair"], made["usd_per_pair"]) == (350, 0.875)


def test_the_interval_of_the_pass_rate_counts_exercises_and_not_attempts():
    made = funnel(row(passes=8), row(passes=0), row(passes=4)).as_json({})
    assert made["student_pass_interval"] == [round(end, 4) for end in wilson(1.5, 3)]


def test_a_strategy_is_judged_by_fresh_attempts_and_an_opposite_by_the_parents_solution():
    parents = {"p": {"student_pass_rate": 0.25}}
    rates = {"parent_passes": 8, "parent_n": 8, "parent_words": 20, "child_words": 30}
    made = funnel(
        row(strategy="incremental", passes=2, check={**rates}, parent="p"),
        row(strategy="deceptive", passes=0, check={**rates}, parent="p"),
        row(
            strategy="opposite",
            check={**rates, "same_signature": True, "parent_solution": "fail"},
            parent="p",
        ),
        row(
            strategy="opposite",
            check={**rates, "same_signature": True, "parent_solution": "error"},
            parent="p",
        ),
        parents=parents,
    )
    found = made.as_json({})["strategies"]
    fallen = found["incremental"]["intent"]
    assert (fallen["outcomes"], fallen["change"]) == ({"held": 1}, -0.75)
    assert found["deceptive"]["intent"]["outcomes"] == {"missed": 1}  # longer than its parent
    assert found["opposite"]["intent"]["outcomes"] == {"held": 1, "missed": 1}
    assert made.stats([]).retest_change == 0.75


def test_an_exercise_that_the_student_solves_more_often_than_the_teacher_is_an_inversion():
    rows = [{**row(passes=passes), "teacher_pass_rate": 0.75} for passes in (6, 7, 8)]
    assert funnel(*rows, row("weak_tests", passes=8)).as_json({})["inversions"] == 2


def test_the_round_is_described_for_whoever_decides_on_the_next():
    made = funnel(row(passes=4), row("duplicate"), row("refused"), parents={"a": {}, "b": {}}, draw={
        "effective_sample_size": 1.5,
    })  # fmt: skip
    stats = made.stats([{"margin": -0.5}, {"margin": 0.1}, {"margin": 2.0}])
    assert (stats.statements, stats.novel, stats.judged, stats.solvable) == (3, 2, 1, 1)
    assert (stats.pool, stats.effective_sample_size, stats.median_margin) == (2, 1.5, 0.5)
    assert stats.mean_pass_rate == pytest.approx(0.5)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_margin_that_is_no_number_is_in_no_median(at):
    margins = [{"margin": 0.001}, {"margin": 0.003}]
    margins.insert(at, {"margin": float("nan")})
    assert funnel(row()).stats(margins).median_margin == 0.002
    assert funnel(row()).stats([{"margin": float("nan")}]).median_margin is None
