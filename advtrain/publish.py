"""What a training run gives back to the Hub: its margins, beside the dataset they were made on.

`advgen build --parent user/name@round-N-margins` reads pool and margins from there, so that the loop closes without a
shared disk. Called by `cli`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from advcore import ConfigError, DataError, hub


def push_margins(run: Path, repo: str) -> str:
    """Upload `margins/` of a finished run to the dataset repository `repo`; the URL of the commit.

    Raises ConfigError for a folder without a finished dpo run; DataError where `repo` is not there or holds a later
    round; what `hub.push` raises.
    """
    file = run / "manifest.json"
    manifest = json.loads(file.read_text()) if file.exists() else {}
    if "margins" not in manifest:
        raise ConfigError(f"{run} holds no finished dpo run (manifest.json with margins)")
    number = manifest["dataset"]["round"]
    _check_newest(repo, number)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(run / "margins", Path(folder) / "margins")
        return hub.push(
            Path(folder),
            repo,
            private=False,
            tag=f"round-{number}-margins",
            message=f"Margins of round {number}",
        )


def _check_newest(repo: str, number: int) -> None:
    """A revision holds all that was pushed before it: the next round would grow from later rounds as well.

    And margins alone are no dataset, so that a repository is not made for them (it would be public).
    """
    files = hub.pull(repo).glob("*/round-*.parquet")
    later = max((file.stem for file in files if file.name > f"round-{number:04d}.parquet"), default="")
    if later:
        raise DataError(
            f"{repo} holds {later} already, so margins of round {number} come too late; "
            "give the run to advgen build --margins"
        )
