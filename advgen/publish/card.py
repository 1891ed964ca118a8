"""The dataset's card: the loader's YAML, and what was measured of its rounds, in tables. Measures nothing itself."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advcore import DataError, contract
from advcore.runs import read_json, write_atomic
from advgen import rounds as told


def write_card(folder: Path) -> None:
    """README.md with the loader's YAML and what was measured of the last round. Raises DataError without rounds."""
    if not (rounds := told.read(folder)):
        raise DataError(f"{folder} has no {contract.ROUNDS}; it was not written by advgen build")
    funnel = rounds[-1]
    teacher, student = funnel["teacher"], funnel["student"]
    configs = sorted({path.parent.name for path in folder.glob("*/*.parquet")})
    pairs = _counted(folder) if "dpo" in configs else Counter()
    files = "".join(
        f"- config_name: {config}\n  data_files: {config}/*.parquet\n"
        + ("  default: true\n" * (config == "dpo"))
        for config in configs
    )
    total, layers = pairs.total(), funnel["decontamination"]
    text = f"""---
language: [en]
task_categories: [text-generation]
tags: [dpo, preference, code, python, synthetic, execution-verified, distillation]
size_categories: [{"n<1K" if total < 1000 else "1K<n<10K" if total < 10_000 else "n>=10K"}]
configs:
{files}---
# Coding preference pairs separated by execution

`{teacher}` wrote exercises, solutions and tests; `{student}` attempted them.{_others(funnel)}
In every pair of the `dpo` config, chosen passes all tests and rejected fails one of them, under three hash seeds, in a
sandbox: `advgen verify` runs them again. That the tests are right is likely, and not certain: `p_true` says how likely
for each pair. Terms of use of the teacher model apply.

{_verdict(funnel["audit"])}

| round {funnel["round"]} | |
|---|---|
{_table(_stages(funnel))}
| strategy | asked | kept | pairs | student passes | against the parent | teacher tokens |
|---|---|---|---|---|---|---|
{_strategies(funnel["strategies"])}
## Pairs of all rounds: {total}

| failure of the rejected side | pairs |
|---|---|
{_table(pairs)}
## Truth

| pairs whose sides are both what they are called, as `p_true` expects | |
|---|---|
{_table(_truth(rounds))}
## Decontamination

| layer | against |
|---|---|
{_table({layer["name"]: layer["note"] if layer["runs"] else f"did not run: {layer['note']}" for layer in layers})}
{_rates(read_json(folder / contract.CALIBRATION, None))}## Limits

Expected values of tests with `source` "given" came with their task. Others are what independent solutions of one model
agree on, or what a program returned that the statement was written from: a misreading that they share passes.
Statements, programs and tests are a model's text: run them in a sandbox only.
"""
    write_atomic(folder / "README.md", text)


def _others(funnel: Mapping[str, Any]) -> str:
    """A sentence on further sources, where there are any."""
    witnesses = ", ".join(f"`{name}`" for name in funnel.get("witnesses", ()))
    return f" Kept is what {witnesses} reproduced too." if witnesses else ""


def _counted(folder: Path) -> Counter[str]:
    """Pairs by kind of failure."""
    return Counter(row["failure_kind"] for row in contract.rows(folder, "dpo"))


def _stages(funnel: Mapping[str, Any]) -> dict[str, str]:
    """The funnel as lines, and where the rest of the exercises went."""
    stages = {f"exercises {name}": str(funnel[name]) for name in ("asked", "written", "new", "kept")}
    gone = {f"turned away: {name}": str(count) for name, count in funnel["turned_away"].items()}
    shares = {
        "tests an exercise": f"{funnel['tests_per_exercise']:.1f}",
        "mutants killed": f"{funnel['kill_rate']:.0%}",
        "blocks of the reference reached": f"{funnel['coverage']:.0%}",
    }
    return stages | gone | shares


def _truth(rounds: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By round, but for those of releases without `p_true`; and in the last one by the student's pass rate."""
    lines = {}
    for each in rounds:
        wrong = each.get("curation", {}).get("expected_wrong")
        if each["pairs"] and wrong is not None:
            lines[f"round {each['round']}"] = f"{each['pairs'] - wrong:.1f} of {each['pairs']}"
    last = rounds[-1].get("curation", {})
    for name, true in last.get("expected_true", {}).items():
        lines[f"pass rate {name}"] = f"{true:.1f} of {last['by_pass_rate'][name]}"
    return lines


def _strategies(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, row in found.items():
        low, high = row["student_pass_interval"]
        passes = f"{row['student_pass_rate']:.0%} [{low:.0%}, {high:.0%}]"
        cells = (
            name,
            row["asked"],
            row["kept"],
            row["pairs"],
            passes,
            _intent(row["intent"]),
            row["teacher_tokens"],
        )
        lines.append(f"| {' | '.join(map(str, cells))} |\n")
    return "".join(lines)


def _intent(effect: Mapping[str, Any] | None) -> str:
    """Change of the pass rate, else the share of children that did what the strategy declares."""
    if effect is None:
        return ""
    if effect["change"] is not None:
        low, high = effect["interval"]
        return f"{effect['change']:+.0%} [{low:+.0%}, {high:+.0%}], {effect['outcome']}"
    low, high = effect["held_interval"]
    return f"held by {effect['held_share'] or 0:.0%} [{low:.0%}, {high:.0%}], {effect['outcome']}"


def _rates(found: Mapping[str, Any] | None) -> str:
    """The verifier's error rates, '' where nobody has measured them."""
    if not found:
        return ""
    lines = {
        "wrong programs that pass": _share(found["false_accept"], found["false_accept_interval"]),
        "right programs that fail": _share(found["false_reject"], found["false_reject_interval"]),
    }
    measured = (found["consensus"] or {}).get("pairs", {})
    for name, what in (
        ("inverted", "pairs whose rejected side is right"),
        ("chosen_fails", "pairs whose chosen side is wrong"),
        ("on_wrong_suite", "pairs that rest on a wrong suite"),
    ):
        if (rate := measured.get(name)) and rate["share"] is not None:
            lines[f"{what}, on a benchmark's statements"] = _share(rate["share"], rate["interval"])
    return f"## Error rates of the verifier\n\n| | |\n|---|---|\n{_table(lines)}\n"


def _share(rate: float, interval: Sequence[float]) -> str:
    return f"{rate:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _verdict(audit: Mapping[str, Any]) -> str:
    """What the audit says of all pairs, in a line or a list."""
    if not audit:
        return "No pairs, so nothing was audited."
    if audit["publishable"]:
        return "The audit found no pair twice and no shortcut by form; it ran nothing again (`advgen audit` does)."
    found = "".join(f"- {_escaped(error)}\n" for error in audit["errors"])
    return f"**Not fit to be published**: the audit found\n\n{found}"


def _table(counts: Mapping[str, object]) -> str:
    return "".join(f"| {_escaped(name)} | {_escaped(str(count))} |\n" for name, count in counts.items())


def _escaped(text: str) -> str:
    return html.escape(text).replace("|", "&#124;")
