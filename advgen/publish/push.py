"""Uploading a finished build: what is not fit to be published, or comes too late, is refused."""

from __future__ import annotations

from pathlib import Path

from advcore import ConfigError, contract, hub, runs


def push(run: Path, repo: str, *, private: bool = True, anyway: bool = False) -> str:
    """Upload the dataset of a run folder with its card, tagged `round-N`; the URL of the commit.

    `anyway` pushes what is not finished or what the audit calls not fit too. Raises ConfigError for these, and what
    `hub.push` raises.
    """
    folder, funnel = run / "dataset", run / "funnel.json"
    if not (folder.is_dir() and funnel.is_file()):
        raise ConfigError(f"{run} holds no finished build (dataset/ and funnel.json)")
    try:
        measured = runs.read_json(funnel)
        number, verdict, finished = measured["round"], measured["audit"], measured["finished"]
        errors = verdict["errors"] if verdict and not verdict["publishable"] else []
    except (ValueError, LookupError, TypeError):
        raise ConfigError(f"{funnel} is broken; run the build again") from None
    if not finished and not anyway:
        raise ConfigError(f"{run} is not finished: run the build again, or push it as it is with --anyway")
    if errors and not anyway:
        raise ConfigError(f"{run} is not fit to be published: {errors[0]} (see {run}/audit.json; --anyway)")
    contract.refuse_older(repo, hub.files(repo), number, f"round {number} comes too late for it")
    return hub.push(folder, repo, private=private, tag=f"round-{number}", message=f"Round {number}")
