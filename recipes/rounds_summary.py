"""Prints what each round and strategy came to, from the funnels of a run: `python recipes/rounds_summary.py RUNS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "round", "strategy", "asked", "valid", "new", "kept", "pairs", "student passes", "against the parent",
    "teacher tokens a kept one",
)  # fmt: skip


def share(rate: float, interval: list[float], form: str = ".0%") -> str:
    return f"{rate:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


def intent(effect: dict[str, Any] | None) -> str:
    """Change of the student's pass rate, else the share of children that did what the strategy declares."""
    if effect is None:
        return ""
    if effect["change"] is not None:
        return f"{share(effect['change'], effect['interval'], '+.0%')} {effect['outcome']}"
    return f"held {share(effect['held_share'] or 0.0, effect['held_interval'])} {effect['outcome']}"


def line(round_name: str, name: str, row: dict[str, Any]) -> list[str]:
    tokens = row["teacher_tokens"] / row["kept"] if row["kept"] else float("nan")
    counts = [str(row[key]) for key in ("asked", "written", "new", "kept", "pairs")]
    passes = share(row["student_pass_rate"], row["student_pass_interval"])
    return [round_name, name, *counts, passes, intent(row.get("intent")), f"{tokens:.0f}"]


def main() -> None:
    runs, console = Path(sys.argv[1]), Console()
    table = Table(*COLUMNS, title="Rounds")
    again = [runs / name / "funnel.json" for name in ("no-feedback", "small-student")]
    for file in [*sorted(runs.glob("round-*/funnel.json")), *filter(Path.exists, again)]:
        funnel, label = json.loads(file.read_text()), file.parent.name.removeprefix("round-")
        for name, row in funnel["strategies"].items():
            table.add_row(*line(label, name, row))
        table.add_row(*line(label, "all", funnel), end_section=True)
        for text in (
            *funnel["stop_reasons"],
            *(f"{each['name']}: {each['value']:.3f}" for each in funnel["warnings"]),
        ):
            console.print(f"{label}: {text}")
        verdict = funnel["audit"]
        if verdict:
            console.print(f"{label}: {'publishable' if verdict['publishable'] else verdict['errors']}")
    console.print(table)


if __name__ == "__main__":
    main()
