"""Prints what a quickstart measured, from the files its steps left: `python recipes/summary.py RUNS [--seconds N]`.

Only reads. The same numbers go to RUNS/summary.json, with the paths of the results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from advcore import contract
from advcore.runs import write_json

SECONDS = "seconds, downloads apart"


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def round_rows(runs: Path, number: int) -> list[tuple[str, str]]:
    """The lines of one round: funnel, pass rates, tokens, margins."""
    funnel, cost = (
        read(runs / f"round-{number}" / "funnel.json"),
        read(runs / f"round-{number}" / "cost.json"),
    )
    margins = [
        row["margin"] for row in contract.read(runs / f"train-{number}", "margins") if not row["dropped"]
    ]
    turned = ", ".join(f"{count} {name}" for name, count in funnel["turned_away"].items()) or "none"
    pairs = ", ".join(f"{name} {row['pairs']}" for name, row in funnel["strategies"].items())
    rows = [
        ("exercises asked / kept", f"{funnel['asked']} / {funnel['kept']}"),
        ("turned away", turned),
        ("preference pairs", f"{funnel['pairs']} ({pairs})"),
        (
            "tests an exercise, mutants killed",
            f"{funnel['tests_per_exercise']:.1f}, {funnel['kill_rate']:.0%}",
        ),
        (
            "pass rate teacher / student, of kept",
            f"{funnel['teacher_pass_rate']:.0%} / {funnel['student_pass_rate']:.0%}",
        ),
    ]
    for role in ("teacher", "student"):
        usage = cost[role]
        rows.append((f"{role} tokens, tokens/s", f"{usage['completion_tokens']}, {usage['tokens_per_s']}"))
    if funnel["draw"]:
        draw = funnel["draw"]
        rows.append(
            (
                "parents drawn, effective sample size",
                f"{draw['parents']}, {draw['effective_sample_size']:.1f}",
            )
        )
    mean = sum(margins) / max(len(margins), 1)
    accuracy = sum(margin > 0 for margin in margins) / max(len(margins), 1)
    rows.append(("margins after training: mean, above 0", f"{mean:.2e}, {accuracy:.0%}"))
    return rows


def evaluation(file: Path) -> str:
    """pass@1 with its interval, as one line."""
    result = read(file)
    low, high = result["interval"]
    return f"{result['pass@1']:.1%} [{low:.1%}, {high:.1%}] of {result['tasks']} tasks"


def earlier_seconds(runs: Path) -> float:
    """What the first run took: one that finds everything done measures nothing."""
    file = runs / "summary.json"
    return float(read(file)[SECONDS]) if file.exists() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="time the steps took, to print")
    arguments = parser.parse_args()
    runs: Path = arguments.runs
    table = Table("", "value", title="Quickstart")
    lines = [
        (f"round {number}: {name}", value) for number in (0, 1) for name, value in round_rows(runs, number)
    ]
    lines.append(("HumanEval pass@1 before", evaluation(runs / "eval-before.json")))
    lines.append(("HumanEval pass@1 after", evaluation(runs / "eval-after.json")))
    seconds = arguments.seconds or earlier_seconds(runs)
    lines.append((SECONDS, f"{seconds:.0f}"))
    for name, value in lines:
        table.add_row(name, value)
    console = Console()
    console.print(table)
    console.print(
        "Both evaluations ran on the same subset and engine; the intervals (95 %, Wilson) say what it can show."
    )
    write_json(runs / "summary.json", dict(lines))
    for name, path in (
        ("dataset", "round-1/dataset"),
        ("adapter", "train-1/adapter"),
        ("numbers", "summary.json"),
    ):
        console.print(f"{name}: {runs / path}", soft_wrap=True)


if __name__ == "__main__":
    main()
