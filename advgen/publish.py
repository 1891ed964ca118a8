"""The dataset folder and its card. Uploading it is `advcore.hub`'s job."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advcore import contract
from advcore.runs import write_atomic


def write_dataset(
    folder: Path, round_number: int, rows: Mapping[str, list[dict[str, Any]]], parent: Path | None
) -> None:
    """Write one round's rows of every config; the files of earlier rounds come along from `parent`.

    A config without rows in any round gets no file, since an empty one would not load.
    """
    if parent is not None:
        for file in sorted(parent.glob("*/round-*.parquet")):
            if file.name < f"round-{round_number:04d}":
                write_atomic(folder / file.parent.name / file.name, file.read_bytes())
    for config, config_rows in rows.items():
        if config_rows:
            contract.write_round(folder, config, round_number, config_rows)
        else:  # left by an earlier build of this round
            (folder / config / f"round-{round_number:04d}.parquet").unlink(missing_ok=True)


def write_card(folder: Path, funnel: Mapping[str, Any], teacher: str, student: str) -> None:
    """README.md with the loader's YAML and what the build measured."""
    configs = sorted({path.parent.name for path in folder.glob("*/*.parquet")})
    pairs = contract.read(folder, "dpo") if "dpo" in configs else []
    by_strategy = Counter(row["strategy"] for row in pairs)
    by_failure = Counter(row["failure_kind"] for row in pairs)
    files = "".join(
        f"- config_name: {config}\n  data_files: {config}/*.parquet\n"
        + ("  default: true\n" * (config == "dpo"))
        for config in configs
    )
    text = f"""---
language: [en]
task_categories: [text-generation]
tags: [dpo, preference, code, python, synthetic, execution-verified, distillation]
size_categories: [{"n<1K" if len(pairs) < 1000 else "1K<n<10K" if len(pairs) < 10_000 else "n>=10K"}]
configs:
{files}---
# Coding preference pairs proved by execution

`{teacher}` wrote the exercises, solutions and tests; `{student}` attempted them. In every pair of the `dpo` config,
chosen passes all tests and rejected fails one of them, twice, in a sandbox. Terms of use of the teacher model apply.

| round {funnel["round"]} | |
|---|---|
| exercises asked | {funnel["asked"]} |
| kept | {funnel["kept"]} |
{_table(funnel["turned_away"])}
## Pairs of all rounds: {len(pairs)}

| strategy | pairs |
|---|---|
{_table(by_strategy)}
| failure of the rejected side | pairs |
|---|---|
{_table(by_failure)}
"""
    write_atomic(folder / "README.md", text)


def _table(counts: Mapping[str, int]) -> str:
    return "".join(
        f"| {html.escape(name).replace('|', '&#124;')} | {count} |\n"
        for name, count in sorted(counts.items())
    )
