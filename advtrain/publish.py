"""What a training run gives back to the Hub: its margins, beside the dataset they were made on.

`advgen build --parent user/name@round-N-margins` reads pool and margins from there, so that the loop closes without a
shared disk. Called by `cli`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from advcore import ConfigError, DataError, contract, hub, runs


def push_margins(run: Path, repo: str) -> str:
    """Upload `margins/` of a finished run to the dataset repository `repo`; the URL of the commit.

    Raises ConfigError for a folder without a finished dpo run; DataError where `repo` is not there or holds a later
    round; what `hub.push` raises.
    """
    manifest = runs.read_json(run / "manifest.json", {})
    if "margins" not in manifest:
        raise ConfigError(f"{run} holds no finished dpo run (manifest.json with margins)")
    number, paths = manifest["dataset"]["round"], hub.files(repo)
    if not paths:  # margins alone are no dataset, so that no repository is made for them (it would be public)
        raise DataError(
            f"no such repository, or an empty one: {repo}; push the dataset first, with advgen push"
        )
    so = f"margins of round {number} come too late; give the run to advgen build --margins"
    contract.refuse_older(repo, paths, number, so)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(run / "margins", Path(folder) / "margins")
        tag, message = f"round-{number}-margins", f"Margins of round {number}"
        return hub.push(Path(folder), repo, private=False, tag=tag, message=message)
