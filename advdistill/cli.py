"""The `advdistill` command: the loop of rounds, and the shipped recipes. Data goes to stdout, talk to stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from advcore import cli

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Adversarial distillation, round after round. The steps are advgen and advtrain.",
)  # fmt: skip

Set = Annotated[list[str] | None, typer.Option("--set", help="Key of BUILD: --set exercises.count=8")]
SetTrain = Annotated[list[str] | None, typer.Option("--set-train", help="Key of TRAIN: --set-train seed=1")]


@app.callback()
def _options(version: cli.Version = False) -> None: ...


@app.command()
def rounds(
    build: Annotated[Path, typer.Argument(help="TOML file of a build.")],
    train: Annotated[Path, typer.Argument(help="TOML file of a training; its dataset is set by the loop.")],
    out: Annotated[Path, typer.Option(help="Folder of all rounds; running again resumes.")],
    count: Annotated[int, typer.Option("--rounds", min=1, help="How many.")] = 3,
    repo: Annotated[
        str, typer.Option(help="user/name: push each round, and read the next one from there.")
    ] = "",
    tasks: Annotated[str, typer.Option(help="First round: folder of tasks with tests, or `shipped`.")] = "",
    seeds: Annotated[
        str, typer.Option(help="First round: FILE.py, FILE.jsonl:COLUMN or user/name:COLUMN.")
    ] = "",
    evaluate: Annotated[int, typer.Option(min=0, help="HumanEval tasks before and after; 0 is none.")] = 32,
    set_: Set = None,
    set_train: SetTrain = None,
) -> None:
    """Build, train and hand back margins, N times."""
    from advcore import settings
    from advdistill import loop, summary
    from advgen.config import BuildConfig
    from advtrain.config import RunConfig

    done = loop.rounds(
        settings.load(BuildConfig, build, set_ or []), settings.load(RunConfig, train, set_train or []), out,
        count=count, repo=repo, tasks=tasks, seeds=seeds, evaluate=evaluate,
    )  # fmt: skip
    summary.show(done)
    print(summary.write(done))


@app.command()
def recipes(
    name: Annotated[str, typer.Argument(help="Recipe to copy; all are listed without one.")] = "",
    to: Annotated[Path, typer.Option(help="Folder to copy it into.")] = Path(),
) -> None:
    """List the shipped recipes, or copy one."""
    from advdistill import recipes as shipped

    if name:
        for copied in shipped.copy(name, to):
            print(copied)
        return
    for file, words in shipped.listed().items():
        print(f"{file:24} {words}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code, as `advcore.cli.run` does."""
    return cli.run(app, argv)
