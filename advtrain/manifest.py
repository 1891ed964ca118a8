"""The manifest of a run: what came from what, in hashes, so that two runs can be told apart and one made again.

Reads files of runs and adapters, trains nothing. Called by `run`.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advcore import runs, settings
from advcore.engine import loading
from advtrain import models
from advtrain.config import RunConfig
from advtrain.encoding import Dataset

LIBRARIES = ("advdistill", "torch", "trl", "transformers", "peft", "accelerate", "datasets")


def described(
    config: RunConfig, dataset: Dataset, lineage: Mapping[str, Any], counts: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """All of it but the method's results, once the adapter and the metrics are there; `lineage` and `counts` are what
    the method says of the weights that it started from and of the rows."""
    return {**_came_from(config, dataset, lineage), **counts, **_outcome(folder)}


def _came_from(config: RunConfig, dataset: Dataset, lineage: Mapping[str, Any]) -> dict[str, Any]:
    """What the run came from: enough to make it again, and to see that two runs differ."""
    dtype, reason = loading.precision()
    parent = (
        {"path": config.adapter, "sha256": models.adapter_hash(config.adapter)} if config.adapter else None
    )
    return {
        "method": config.method,
        "dataset": {"source": dataset.source, "revision": dataset.revision, "round": dataset.round},
        "model": {"name": config.model, "dtype": str(dtype).removeprefix("torch."), "because": reason},
        "adapter_parent": parent,
        **lineage,
        "seed": config.seed,
        "config_sha256": runs.sha256_of(settings.resolved(config)),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
    }


def _version(library: str) -> str:
    return importlib.metadata.version(library)


def _outcome(folder: Path) -> dict[str, Any]:
    """The adapter's hash, and where the last step came to: nothing that hangs on how often the run was stopped."""
    rows = runs.read_jsonl(folder / "metrics.jsonl")
    last = next(row for row in reversed(rows) if "loss" in row)
    training = {name: last[name] for name in ("step", "epoch", "loss")}
    return {"adapter_sha256": models.adapter_hash(str(folder / "adapter")), "training": training}
