"""What a training run gives back to the Hub: its margins, beside the dataset they were made on.

`advgen build --parent user/name@round-N-margins` reads pool and margins from there, so that the loop closes without a
shared disk. Called by `cli`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from advcore import ConfigError, hub


def push_margins(run: Path, repo: str) -> str:
    """Upload `margins/` of a finished run to the dataset repository `repo`; the URL of the commit.

    Raises ConfigError for a folder without a finished dpo run, and what `hub.push` raises.
    """
    file = run / "manifest.json"
    manifest = json.loads(file.read_text()) if file.exists() else {}
    if "margins" not in manifest:
        raise ConfigError(f"{run} holds no finished dpo run (manifest.json with margins)")
    number = manifest["dataset"]["round"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(run / "margins", Path(folder) / "margins")
        return hub.push(
            Path(folder),
            repo,
            private=False,
            tag=f"round-{number}-margins",
            message=f"Margins of round {number}",
        )
