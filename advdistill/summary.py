"""What a loop of rounds came to: figures as JSON, and as tables in a terminal. Reads results, measures nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advcore import contract, runs
from advgen.audit.report import printable

if TYPE_CHECKING:
    from advdistill.loop import Round, Rounds
    from advdistill.results import Evaluation


def of(done: Rounds) -> dict[str, Any]:
    """All figures: the student before and after, and one entry a round with its strategies."""
    return {
        "before": _scored(done.before),
        "after": _scored(done.after),
        "rounds": [_round(each) for each in done.rounds],
    }


def write(done: Rounds) -> Path:
    """Write `summary.json` beside the rounds; its path."""
    file = done.path / "summary.json"
    runs.write_json(file, of(done))
    return file


def show(done: Rounds) -> None:
    """Print the rounds side by side, their strategies, a pair, and where all of it lies, on stderr."""
    from rich.console import Console
    from rich.table import Table

    console, figures = Console(file=sys.stderr), of(done)
    table = Table("", *(f"round {at}" for at in range(len(done.rounds))))
    lines = [_lines(each) for each in figures["rounds"]]
    for name in lines[0]:
        table.add_row(name, *(line[name] for line in lines))
    console.print(table)
    strategies = Table("round", "strategy", "asked", "kept", "pairs", "student passes", "against the parent")
    for at, each in enumerate(figures["rounds"]):
        for name, row in each["strategies"].items():
            counts = [str(row[key]) for key in ("asked", "kept", "pairs")]
            rate = _share(row["student_pass_rate"], row["student_pass_interval"])
            strategies.add_row(str(at), name, *counts, rate, _intent(row.get("intent")))
    console.print(strategies)
    for line in _sentences(done, figures):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _round(each: Round) -> dict[str, Any]:
    funnel = each.build.summary
    rows = list(contract.rows(each.training.path, "margins")) if _has_margins(each) else []
    margins = [row["margin"] for row in rows if not row["dropped"]]
    named = (
        "asked", "kept", "turned_away", "pairs", "tests_per_exercise", "kill_rate", "teacher_pass_rate",
        "student_pass_rate", "strategies", "draw", "stop_reasons", "warnings", "audit",
    )  # fmt: skip
    return {
        **{name: funnel[name] for name in named},
        "cost": each.build.cost,
        "margin_mean": sum(margins) / len(margins) if margins else None,
        "margin_above_0": sum(margin > 0 for margin in margins) / len(margins) if margins else None,
        "paths": {"dataset": str(each.build.dataset), "adapter": str(each.training.adapter)},
    }


def _has_margins(each: Round) -> bool:
    return "margins" in each.training.summary


def _scored(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    return {"pass@1": evaluation.pass_at_1, "interval": evaluation.interval, "tasks": evaluation.tasks}


def _lines(each: Mapping[str, Any]) -> dict[str, str]:
    """One column of the table: name -> text."""
    teacher, student = each["cost"].get("teacher", {}), each["cost"].get("student", {})
    draw, margin = each["draw"], each["margin_mean"]
    return {
        "exercises kept / asked": f"{each['kept']} / {each['asked']}",
        "turned away": ", ".join(f"{count} {name}" for name, count in each["turned_away"].items()) or "none",
        "preference pairs": str(each["pairs"]),
        "tests an exercise": f"{each['tests_per_exercise']:.1f}",
        "mutants killed": f"{each['kill_rate']:.0%}",
        "teacher passes": f"{each['teacher_pass_rate']:.0%}",
        "student passes": f"{each['student_pass_rate']:.0%}",
        "tokens of the teacher": str(teacher.get("completion_tokens", "")),
        "tokens of the student": str(student.get("completion_tokens", "")),
        "parents drawn (effective)": f"{draw['parents']} ({draw['effective_sample_size']:.1f})"
        if draw
        else "",
        "margin after training, mean": f"{margin:.3f}" if margin is not None else "",
        "pairs with a margin above 0": f"{each['margin_above_0']:.0%}" if margin is not None else "",
        "fit to publish": {True: "yes", False: "no", None: "no new pairs"}[each["audit"].get("publishable")],
    }


def _sentences(done: Rounds, figures: Mapping[str, Any]) -> list[str]:
    before, after = figures["before"], figures["after"]
    lines = []
    if before and after:
        lines.append(
            f"HumanEval pass@1 on {after['tasks']} tasks: {_score_text(before)} before, {_score_text(after)} after; "
            "the intervals (95 %, Wilson) say what so few tasks can show."
        )
    for at, each in enumerate(figures["rounds"]):
        notes = [*each["stop_reasons"], *(f"{note['name']} {note['value']:.3f}" for note in each["warnings"])]
        lines += [f"round {at}: {note}" for note in notes]
    last = done.rounds[-1]
    lines += [
        f"dataset: {last.build.dataset}", f"adapter: {last.training.adapter}",
        f"curves:  {last.training.path / 'report.html'}", f"figures: {done.path / 'summary.json'}",
    ]  # fmt: skip
    return [*_pair(last.build.dataset), *lines]


def _pair(dataset: Path) -> list[str]:
    """The newest pair, as a reader would look at it: statement, both programs, and the test that tells them apart."""
    if not any((dataset / "dpo").glob("*.parquet")):
        return []
    row = list(contract.rows(dataset, "dpo"))[-1]
    tests = json.loads(row["tests"])
    failed = tests[row["failed_test"]] if 0 <= row.get("failed_test", -1) < len(tests) else {}
    shown = {
        "A pair of the last round": row["prompt"], "Chosen": row["chosen"], "Rejected": row["rejected"],
    }  # fmt: skip
    lines = [f"{name}:\n{messages[-1]['content']}\n" for name, messages in shown.items()]
    fails = [f"The rejected program fails this test: {contract.assertion(failed)}\n"] if failed else []
    return [printable(part) for text in [*lines, *fails] for part in text.split("\n")]


def _score_text(scored: Mapping[str, Any] | None) -> str:
    return _share(scored["pass@1"], scored["interval"]) if scored else ""


def _share(rate: float, interval: Sequence[float], form: str = ".0%") -> str:
    return f"{rate:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


def _intent(effect: Mapping[str, Any] | None) -> str:
    """Change of the student's pass rate, else the share of children that did what the strategy declares."""
    if effect is None:
        return ""
    if effect["change"] is not None:
        return f"{_share(effect['change'], effect['interval'], '+.0%')} {effect['outcome']}"
    return f"held {_share(effect['held_share'] or 0.0, effect['held_interval'])} {effect['outcome']}"
