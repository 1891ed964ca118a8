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


def line(round_number: int, name: str, row: dict[str, Any]) -> list[str]:
    tokens = row["teacher_tokens"] / row["kept"] if row["kept"] else float("nan")
    counts = [str(row[key]) for key in ("asked", "written", "new", "kept", "pairs")]
    passes = share(row["student_pass_rate"], row["student_pass_interval"])
    return [str(round_number), name, *counts, passes, intent(row.get("intent")), f"{tokens:.0f}"]


def main() -> None:
    runs, console = Path(sys.argv[1]), Console()
    table = Table(*COLUMNS, title="Rounds")
    for file in sorted(runs.glob("round-*/funnel.json")):
        funnel = json.loads(file.read_text())
        for name, row in funnel["strategies"].items():
            table.add_row(*line(funnel["round"], name, row))
        table.add_row(*line(funnel["round"], "all", funnel), end_section=True)
        for text in (
            *funnel["stop_reasons"],
            *(f"{each['name']}: {each['value']:.3f}" for each in funnel["warnings"]),
        ):
            console.print(f"round {funnel['round']}: {text}")
        verdict = funnel["audit"]
        if verdict:
            console.print(
                f"round {funnel['round']}: {'publishable' if verdict['publishable'] else verdict['errors']}"
            )
    console.print(table)


if __name__ == "__main__":
    main()
