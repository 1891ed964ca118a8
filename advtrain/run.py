"""One training run: dataset to examples, trainer, adapter, margins, and a manifest of what came from what.

A run folder is one round. Rerunning it resumes: finished stages are not repeated, training goes on at its
last checkpoint. Called by `cli`; knows no training library by itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from advcore import DataError, contract, engine, runs, settings
from advtrain import data, ranks
from advtrain.config import RunConfig
from advtrain.data import Dataset, Example

if TYPE_CHECKING:  # torch is loaded when something is trained
    from advtrain import losses, models

LISTED = 5  # rows named one by one before the rest is only counted
LIBRARIES = ("advdistill", "torch", "trl", "transformers", "peft", "accelerate", "datasets")


def run(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train into `folder` and return the manifest; at once when the folder holds the finished run.

    Raises ConfigError and DataError before anything is trained.
    """
    config = with_measured_flips(config)
    manifest_file = folder / "manifest.json"
    if manifest_file.exists():
        _open_run(folder, config, read_dataset(config))
        manifest: dict[str, Any] = json.loads(manifest_file.read_text())
        ranks.say(f"{folder}: done")
        return manifest
    dataset, tokenizer, examples = prepare(config)  # before the folder is there: bad input leaves no trace
    _open_run(folder, config, dataset)
    return _train(config, folder, dataset, tokenizer, examples)


def _open_run(folder: Path, config: RunConfig, dataset: Dataset) -> None:
    """As `runs.open_run`; other rows at the same path make another run too."""
    if ranks.is_main():
        runs.open_run(folder, {**settings.resolved(config), "dataset_revision": dataset.revision})
    ranks.wait()


def prepare(config: RunConfig) -> tuple[Dataset, Any, list[Example]]:
    """The dataset and its rows as ids; tells on stderr which rows do not fit. Loads no model.

    Raises ConfigError for a `[trl]` key that cannot be used, DataError when no row fits.
    """
    from advtrain import models

    _method(config).options(config, Path())
    dataset = read_dataset(config)
    tokenizer = models.load_tokenizer(config.model)
    examples = data.encode(tokenizer, dataset.rows, _dataset_config(config), config.max_length)
    _report_lengths(examples, config.max_length)
    if all(example.dropped for example in examples):
        raise DataError(f"no prompt of {dataset.source} fits max_length = {config.max_length}")
    return dataset, tokenizer, examples


def with_measured_flips(config: RunConfig) -> RunConfig:
    """`dpo.label_smoothing` as the dataset has it, where the config says so. Raises DataError where it has none."""
    if config.method != "dpo" or not config.dpo.measured_flips:
        return config
    rate = read_dataset(config).flip_rate
    if rate is None:
        raise DataError(
            f"{config.dataset} has no {contract.CALIBRATION}: run advgen calibrate, or measured_flips = false"
        )
    ranks.say(f"label_smoothing = {rate:.4f}, as the dataset's {contract.CALIBRATION} says")
    return dataclasses.replace(config, dpo=dataclasses.replace(config.dpo, label_smoothing=rate))


def read_dataset(config: RunConfig) -> Dataset:
    """The rows that this run trains on. Raises DataError as `data.load` does."""
    return data.load(config.dataset, _dataset_config(config), config.rounds)


def _dataset_config(config: RunConfig) -> str:
    return config.sft.config if config.method == "sft" else "dpo"


def _method(config: RunConfig) -> ModuleType:
    """The module of the method, `dpo` or `sft`: both have `options` and `build`."""
    from advtrain import dpo, sft

    return dpo if config.method == "dpo" else sft


def _report_lengths(examples: Sequence[Example], max_length: int) -> None:
    dropped = [example.exercise_id for example in examples if example.dropped]
    cut = [example.exercise_id for example in examples if example.truncated and not example.dropped]
    for what, names in (("dropped, their prompt alone fills", dropped), ("cut at", cut)):
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            listed = ", ".join(names[:LISTED])
            ranks.say(f"{len(names)} of {len(examples)} rows {what} {max_length} tokens: {listed}{more}")


def _train(
    config: RunConfig, folder: Path, dataset: Dataset, tokenizer: Any, examples: list[Example]
) -> dict[str, Any]:
    from advtrain import dpo, models, trainer

    adapter = folder / "adapter"
    trained = adapter.exists()
    start = str(adapter) if trained else config.adapter
    policy = models.load_policy(config.model, start, config.lora, config.seed, flash=config.method == "sft")
    built = _method(config).build(config, policy, tokenizer, examples, folder)
    if not trained:
        if config.method == "dpo":
            dpo.with_reference(built, examples, models.content_id(models.reference(config), config.model))
        trainer.fit(built, folder, config.method)
        models.save_adapter(built, adapter, engine.base_name(config.model))
    rows = _scored(config, folder, built, examples) if config.method == "dpo" else []
    file = folder / "manifest.json"
    if ranks.is_main():
        results = _margins(config, folder, dataset, examples, rows) if rows else {}
        runs.write_json(
            file, {**_lineage(config, dataset), **_counts(examples), **results, **_outcome(folder)}
        )
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    ranks.wait()
    manifest: dict[str, Any] = json.loads(file.read_text())
    return manifest


def _scored(config: RunConfig, folder: Path, built: Any, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The rows of the `margins` config; all ranks share the work, and each has them all."""
    from advtrain import margins, models

    names = {"model": _policy_id(config, str(folder / "adapter")), "reference": _reference_id(config)}
    content = models.content_id(models.reference(config), config.model)
    return margins.score(built, examples, names, content, config.dpo.margin_matmul)


def _margins(
    config: RunConfig, folder: Path, dataset: Dataset, examples: Sequence[Example], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write `margins/round-NNNN.parquet`, and tell what the margins look like."""
    from advtrain import margins

    file = contract.write_round(folder, "margins", dataset.round, rows)
    signature = margins.signature(rows)
    ranks.say(
        f"margins of {signature.count} exercises: mean {signature.mean:+.4f}, std {signature.std:.4f}, "
        f"accuracy {signature.accuracy:.2f}, effective samples {signature.effective_samples:.1f}"
    )
    found = margins.warnings(signature, _margins_before(config), data.near_copies(examples), signature.count)
    for warning in found:
        ranks.say(f"warning: {warning}")
    return {
        "margins": {
            "file": str(file.relative_to(folder)),
            "sha256": _hash([file]),
            **dataclasses.asdict(signature),
        },
        "warnings": found,
    }


def _margins_before(config: RunConfig) -> losses.Signature | None:
    """Of the round whose adapter this one goes on with, where its run folder still stands around the adapter."""
    from advtrain import losses

    file = Path(config.adapter).parent / "manifest.json"
    if not config.adapter or not file.exists():
        return None
    before = json.loads(file.read_text()).get("margins") or {}
    names = [field.name for field in dataclasses.fields(losses.Signature)]
    return losses.Signature(**{name: before[name] for name in names}) if before else None


def _policy_id(config: RunConfig, adapter: str) -> str:
    """Base and content of the adapter on it: the same id for the same weights, wherever they lie."""
    return f"{config.model}+{_hash_folder(adapter)[:12]}" if adapter else config.model


def _reference_id(config: RunConfig) -> str:
    """As `_policy_id` for an adapter; a whole model is its name, or the hash of its weights if it is a folder."""
    from advtrain import models

    reference = models.reference(config)
    if not reference or models.is_adapter(reference):
        return _policy_id(config, reference)
    return engine.identity(reference) if Path(reference).is_dir() else reference


def _lineage(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What the run came from: enough to make it again, and to see that two runs differ."""
    dtype, reason = engine.precision()
    parent = {"path": config.adapter, "sha256": _hash_folder(config.adapter)} if config.adapter else None
    return {
        "method": config.method,
        "dataset": {"source": dataset.source, "revision": dataset.revision, "round": dataset.round},
        "model": {"name": config.model, "dtype": str(dtype).removeprefix("torch."), "because": reason},
        "adapter_parent": parent,
        "reference": _reference_id(config) if config.method == "dpo" else None,
        "seed": config.seed,
        "config_sha256": runs.sha256_of(settings.resolved(config)),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
    }


def _version(library: str) -> str:
    return importlib.metadata.version(library)


def _counts(examples: Sequence[Example]) -> dict[str, Any]:
    return {
        "rows": {
            "read": len(examples),
            "trained": sum(not example.dropped for example in examples),
            "truncated": sum(example.truncated and not example.dropped for example in examples),
            "dropped": sum(example.dropped for example in examples),
        }
    }


def _outcome(folder: Path) -> dict[str, Any]:
    """The adapter's hash, and the last line of the metrics: what the trainer reports when it ends."""
    last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
    return {"adapter_sha256": _hash_folder(str(folder / "adapter")), "training": json.loads(last)}


def _hash_folder(folder: str) -> str:
    return _hash(engine.weight_files(Path(folder)))


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def plan(config: RunConfig) -> dict[str, Any]:
    """What `run` would do, without loading a weight: the resolved config, how many rows fit, tokens (a shared prompt
    counted once), optimizer steps, parameters, and an estimate of the memory it takes."""
    from advtrain import models

    config = with_measured_flips(config)
    _, _, examples = prepare(config)
    kept = [example for example in examples if not example.dropped]
    per_step = config.train.batch_size * config.train.gradient_accumulation
    size = models.size(config.model, config.lora)
    longest = sorted((example.tokens for example in kept), reverse=True)[: config.train.batch_size]
    return {
        "config": settings.resolved(config),
        **_counts(examples),
        "tokens_an_epoch": sum(example.tokens for example in kept),
        "steps": math.ceil(math.ceil(len(kept) / per_step) * config.train.epochs),
        "parameters": size.parameters,
        "trainable_parameters": size.trainable,
        "memory_bytes": _memory(size, sum(longest), checkpointed=models.on_gpu()),
    }


def _memory(size: models.Size, tokens: int, checkpointed: bool) -> dict[str, int]:
    """Estimated bytes at the peak of training, by what takes them; library and Python come on top.

    Adapter: weight, gradient and two moments in float32. Activations: 34 bytes a token, layer and hidden unit
    (arXiv 2205.05198, equation 2 without the attention matrix), 2 where layers are recomputed. Head: the logits of
    256 tokens in float32 and their gradient. `margin_pass`: the base in float32, after training.
    """
    dtype, _ = engine.precision()
    per_unit = 2 if checkpointed else 34
    parts = {
        "weights": size.parameters * dtype.itemsize,
        "adapter": size.trainable * 16,
        "activations": tokens * size.layers * size.hidden * per_unit * dtype.itemsize // 2,
        "head": 2 * 256 * size.vocabulary * 4,
    }
    return {**parts, "training": sum(parts.values()), "margin_pass": size.parameters * 4}
