"""One training run: dataset to examples, trainer, adapter, margins, and a manifest of what came from what.

A run folder is one round. Rerunning it resumes: finished stages are not repeated, training goes on at its
last checkpoint. Called by `cli`; knows no training library by itself.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from advcore import ConfigError, DataError, contract, runs, settings
from advcore.engine import names
from advtrain import encoding, ranks
from advtrain.config import RunConfig
from advtrain.encoding.rows import Dataset, Example
from advtrain.methods import margins

MAY_CHANGE = ("report_to", "evaluation")  # of a resumed run: they change nothing of what is trained
LISTED = 5  # rows named one by one before the rest is only counted


def run(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train into `folder` and return the manifest; at once when the folder holds the finished run.

    Raises ConfigError and DataError before anything is trained.
    """
    config = with_measured_flips(config)
    manifest_file = folder / "manifest.json"
    if manifest_file.exists():
        _open_run(folder, config, read_dataset(config))
        finished: dict[str, Any] = json.loads(manifest_file.read_text())
        _clear(folder)
        ranks.say(f"{folder}: done")
        return finished
    dataset, tokenizer, examples = prepare(config)  # before the folder is there: bad input leaves no trace
    _open_run(folder, config, dataset)
    return _train(config, folder, dataset, tokenizer, examples)


def _open_run(folder: Path, config: RunConfig, dataset: Dataset) -> None:
    """As `runs.open_run`; other rows or other first weights at the same path make another run too."""
    if ranks.is_main():
        start = [Path(config.discriminator.start)] if config.discriminator.start else []
        first = [*names.weight_files(Path(config.adapter)), *start] if config.adapter else start
        content = {"dataset_revision": dataset.revision, "start_sha256": runs.sha256_of_files(first)}
        described = {**settings.resolved(config), **content}
        runs.open_run(folder, described, MAY_CHANGE)
    ranks.wait()


def prepare(config: RunConfig) -> tuple[Dataset, Any, list[Example]]:
    """The dataset and its rows as ids; tells on stderr which rows do not fit. Loads no model.

    Raises ConfigError for a `[trl]` key or first weights that cannot be used and for a stage without a step,
    DataError when no row fits.
    """
    from advtrain import models

    _method(config).options(config, Path())
    if config.adapter:
        models.check_adapter(config.adapter, config.model)
    start = Path(config.discriminator.start)
    if config.discriminator.start and not start.is_file():
        raise ConfigError(f"discriminator.start: there is no file {start}")
    dataset = read_dataset(config)
    tokenizer = models.load_tokenizer(config.model)
    reply = config.gad.max_new_tokens if _samples(config) else 0
    examples = encoding.encode(tokenizer, dataset.rows, _dataset_config(config), config.max_length, reply)
    _report_lengths(examples, config)
    if all(example.dropped for example in examples):
        raise DataError(f"no prompt of {dataset.source} fits max_length = {config.max_length}")
    if config.method == "gad":
        trained, _ = _method(config).split(config, examples)
        _method(config).steps(config, len(trained), ranks.count())
    return dataset, tokenizer, examples


def with_measured_flips(config: RunConfig) -> RunConfig:
    """`dpo.label_smoothing` as the dataset has it, where the config says so. Raises DataError where it has none."""
    if config.method != "dpo" or config.dpo.smoothing != "measured":
        return config
    rate = encoding.flip_rate(config.dataset)
    if rate is None:
        raise DataError(
            f"{config.dataset} has no {contract.CALIBRATION}: run advgen calibrate, or leave dpo.smoothing out"
        )
    ranks.say(f"label_smoothing = {rate:.4f}, as the dataset's {contract.CALIBRATION} says")
    measured = dataclasses.replace(config.dpo, smoothing="fixed", label_smoothing=rate)
    return dataclasses.replace(config, dpo=measured)


def read_dataset(config: RunConfig) -> Dataset:
    """The rows that this run trains on. Raises DataError as `encoding.load` does."""
    return encoding.load(config.dataset, _dataset_config(config), config.rounds)


def _dataset_config(config: RunConfig) -> str:
    return {"sft": config.sft.config, "dpo": config.dpo.config, "gad": "gad"}[config.method]


def _samples(config: RunConfig) -> bool:
    """Whether the student answers the prompts itself, which cuts the teacher's replies where its own are."""
    return config.method == "gad" or (config.method == "dpo" and config.dpo.config == "gad")


def _method(config: RunConfig) -> ModuleType:
    """The module of the method: each has `options` and `build`."""
    from advtrain.methods import dpo, sft
    from advtrain.methods.gad import method

    return {"dpo": dpo, "sft": sft, "gad": method}[config.method]


def _report_lengths(examples: Sequence[Example], config: RunConfig) -> None:
    dropped = [example.exercise_id for example in examples if example.dropped]
    cut = [example.exercise_id for example in examples if example.truncated and not example.dropped]
    fills, end = f"their prompt alone fills {config.max_length} tokens", f"cut at {config.max_length} tokens"
    if _samples(config):
        reply = config.gad.max_new_tokens
        fills = f"their prompt leaves no {reply} tokens of {config.max_length} for a reply"
        end = f"with a reply cut at {reply} tokens"
    for what, ids in ((f"dropped, {fills}", dropped), (end, cut)):
        if ids:
            more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
            ranks.say(f"{len(ids)} of {len(examples)} rows {what}: {', '.join(ids[:LISTED])}{more}")


def _train(
    config: RunConfig, folder: Path, dataset: Dataset, tokenizer: Any, examples: list[Example]
) -> dict[str, Any]:
    from advtrain import manifest, models
    from advtrain.loop import checkpoints, log
    from advtrain.methods import dpo, soda
    from advtrain.methods.gad import method

    adapter = folder / "adapter"
    trained = ranks.agreed(adapter.exists())
    start = str(adapter) if trained else config.adapter
    policy = models.load_policy(config.model, start, config.lora, config.seed, flash=config.method == "sft")
    if config.method == "dpo" and _samples(config):
        examples = soda.pairs(config, policy, tokenizer, examples, folder)
    built = _method(config).build(config, policy, tokenizer, examples, folder)
    if not trained:
        if config.method == "dpo":
            dpo.with_reference(built, examples, models.content_id(models.reference(config), config.model))
        log.fit(built, folder, config.method)
        with checkpoints.writing(adapter):
            if config.method == "gad":
                method.keep(built, config, folder)
            else:
                models.save_adapter(built, adapter, names.base_name(config.model))
    rows = _scored(config, folder, built, examples) if config.method == "dpo" else []
    file = folder / "manifest.json"
    if ranks.is_main():
        results = _margins(config, folder, dataset, examples, rows) if rows else {}
        if config.method == "gad":
            results = method.outcome(folder)
        runs.write_json(file, {**manifest.described(config, dataset, examples, folder), **results})
    _clear(folder)
    ranks.wait()
    written: dict[str, Any] = json.loads(file.read_text())
    return written


def _clear(folder: Path) -> None:
    """What a run needs until it is finished."""
    if ranks.is_main():
        for passing in ("checkpoints", "best"):
            shutil.rmtree(folder / passing, ignore_errors=True)


def _scored(config: RunConfig, folder: Path, built: Any, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The rows of the `margins` config; all ranks share the work, and each has them all."""
    from advtrain import manifest, models

    names = {
        "model": manifest.policy_id(config, str(folder / "adapter")),
        "reference": manifest.reference_id(config),
    }
    content = models.content_id(models.reference(config), config.model)
    return margins.score(built, examples, names, content, config.dpo.margin_matmul)


def _margins(
    config: RunConfig, folder: Path, dataset: Dataset, examples: Sequence[Example], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write `margins/round-NNNN.parquet`, and tell what the margins look like."""
    from advtrain import manifest

    file = contract.write_round(folder, "margins", dataset.round, rows)
    signature = margins.signature(rows)
    ranks.say(
        f"margins of {signature.count} exercises: mean {signature.mean:+.4f}, std {signature.std:.4f}, "
        f"accuracy {signature.accuracy:.2f}, effective samples {signature.effective_samples:.1f}"
    )
    found = margins.warnings(
        signature, manifest.margins_before(config), margins.near_copies(examples), signature.count
    )
    for warning in found:
        ranks.say(f"warning: {warning}")
    return {
        "margins": {
            "file": str(file.relative_to(folder)),
            "sha256": runs.sha256_of_files([file]),
            **dataclasses.asdict(signature),
        },
        "warnings": found,
    }
