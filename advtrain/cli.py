"""The command line of the student side: `advtrain run`, `report`, `push` and `eval`.

Parses and prints; the work is in `run` and `evaluate`.
Training libraries are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from advcore import cli, runs

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Train a student on a dataset that advgen built.",
)  # fmt: skip


class Backend(StrEnum):
    """`advcore.engine.Backend`, in the form Typer lists as choices."""

    auto = "auto"
    openvino = "openvino"
    transformers = "transformers"


@app.callback()
def _options(version: cli.Version = False) -> None: ...


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(help="TOML file; its keys are documented in advtrain/config.py.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; by default runs/<name of CONFIG>.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, over the file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print config, rows, tokens and steps; train nothing.")
    ] = False,
) -> None:
    """Train by CONFIG, then score margins (dpo). A finished run is left alone, an interrupted one goes on."""
    from advtrain import config as configs

    settings = configs.load(config, sets or [])
    from advtrain import ranks, run

    if dry_run:
        from advtrain import plan

        print(json.dumps(plan.plan(settings), indent=2))
        return
    folder = out or Path("runs") / config.stem
    run.run(settings, folder)
    if ranks.is_main():
        print(folder)
    ranks.shutdown()


@app.command("report")
def report_command(run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")]) -> None:
    """Write a run's curves and margins as HTML.

    RUN/report.html shows curves, margins by strategy and round, and lineage; it is one file that loads nothing.
    """
    from advtrain import report

    print(report.write(run))


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished dpo run.")],
    margins: Annotated[str, typer.Option(help="Dataset repository user/name that its margins go to.")],
) -> None:
    """Upload a run's margins to its dataset.

    They go beside the rows they were measured on, tagged `round-N-margins`.
    """
    from advtrain import publish

    print(publish.push_margins(run, margins))


@app.command("eval")
def eval_command(
    model: Annotated[str, typer.Argument(help="Embedded name, model folder or adapter folder.")],
    bench: Annotated[str, typer.Option(help="Benchmark.")] = "humaneval",
    limit: Annotated[int, typer.Option(min=0, help="Tasks, evenly spaced; 0 is all.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Replies a task.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a reply at most.")] = 512,
    backend: Annotated[
        Backend, typer.Option(help="transformers scores an embedded model on the engine its adapters need.")
    ] = Backend.auto,
) -> None:
    """Measure pass@1 on a benchmark.

    Replies are generated, then executed in the sandbox; prints JSON on stdout and a table on stderr.
    """
    from advtrain import evaluate

    result = evaluate.evaluate(model, bench, limit, samples, temperature, max_tokens, backend.value)
    evaluate.show(result)
    text = json.dumps(result, indent=2)
    if out:
        runs.write_atomic(out, text + "\n")
    print(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code, as `advcore.cli.run` does."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # of one training library to another
    return cli.run(app, argv)
