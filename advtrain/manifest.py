"""The manifest of a run: what came from what, in hashes, so that two runs can be told apart and one made again.

Reads files of runs and adapters, trains nothing. Called by `run`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advcore import runs, settings
from advcore.engine import loading, names
from advtrain import models
from advtrain.config import RunConfig
from advtrain.encoding.rows import Dataset, Example
from advtrain.methods import losses
from advtrain.methods.gad import method

LIBRARIES = ("advdistill", "torch", "trl", "transformers", "peft", "accelerate", "datasets")


def described(
    config: RunConfig, dataset: Dataset, examples: Sequence[Example], folder: Path
) -> dict[str, Any]:
    """All of it but the margins, once the adapter and the metrics are there."""
    return {**_lineage(config, dataset), **counts(examples, config), **_outcome(folder)}


def _lineage(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What the run came from: enough to make it again, and to see that two runs differ."""
    dtype, reason = loading.precision()
    parent = {"path": config.adapter, "sha256": _hash_folder(config.adapter)} if config.adapter else None
    return {
        "method": config.method,
        "dataset": {"source": dataset.source, "revision": dataset.revision, "round": dataset.round},
        "model": {"name": config.model, "dtype": str(dtype).removeprefix("torch."), "because": reason},
        "adapter_parent": parent,
        "discriminator_parent": _discriminator(config),
        "reference": reference_id(config) if config.method == "dpo" else None,
        "seed": config.seed,
        "config_sha256": runs.sha256_of(settings.resolved(config)),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
    }


def _discriminator(config: RunConfig) -> dict[str, str] | None:
    file = config.discriminator.start if config.method == "gad" else ""
    return {"path": file, "sha256": runs.sha256_of_files([Path(file)])} if file else None


def _version(library: str) -> str:
    return importlib.metadata.version(library)


def counts(examples: Sequence[Example], config: RunConfig) -> dict[str, Any]:
    """Rows read, and what becomes of them."""
    trained = [example for example in examples if not example.dropped]
    held: dict[str, int] = {}
    if config.method == "gad":
        trained, others = method.split(config, examples)
        held = {"held_out": len(others)}
    return {
        "rows": {
            "read": len(examples),
            "trained": len(trained),
            **held,
            "truncated": sum(example.truncated and not example.dropped for example in examples),
            "dropped": sum(example.dropped for example in examples),
        }
    }


def _outcome(folder: Path) -> dict[str, Any]:
    """The adapter's hash, and where the last step came to: nothing that hangs on how often the run was stopped."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = next(row for row in reversed(rows) if "loss" in row)
    training = {name: last[name] for name in ("step", "epoch", "loss")}
    return {"adapter_sha256": _hash_folder(str(folder / "adapter")), "training": training}


def policy_id(config: RunConfig, adapter: str) -> str:
    """Base and content of the adapter on it: the same id for the same weights, wherever they lie."""
    return f"{config.model}+{_hash_folder(adapter)[:12]}" if adapter else config.model


def reference_id(config: RunConfig) -> str:
    """As `policy_id` for an adapter; a whole model is its name, or the hash of its weights if it is a folder."""
    reference = models.reference(config)
    if not reference or models.is_adapter(reference):
        return policy_id(config, reference)
    return names.identity(reference) if Path(reference).is_dir() else reference


def margins_before(config: RunConfig) -> losses.Signature | None:
    """Of the round whose adapter this one goes on with, where its run folder still stands around the adapter."""
    file = Path(config.adapter).parent / "manifest.json"
    if not config.adapter or not file.exists():
        return None
    before = json.loads(file.read_text()).get("margins") or {}
    names = [field.name for field in dataclasses.fields(losses.Signature)]
    return losses.Signature(**{name: before[name] for name in names}) if before else None


def _hash_folder(folder: str) -> str:
    return runs.sha256_of_files(names.weight_files(Path(folder)))
