"""One training run: dataset to examples, trainer, adapter, results, and a manifest of what came from what.

A run folder is one round. Rerunning it resumes: finished stages are not repeated, training goes on at its
last checkpoint. Called by `cli`; knows no method by name (`methods.base`). The training libraries are imported when
there is something to train: a finished run is told at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advcore import runs, settings
from advcore.engine import names
from advtrain import encoding, methods, ranks
from advtrain.config import RunConfig, dataset_config
from advtrain.encoding import Dataset

if TYPE_CHECKING:
    from advtrain.methods.base import Method, Prepared

MAY_CHANGE = ("report_to", "evaluation")  # of a resumed run: they change nothing of what is trained
PASSING = ("checkpoints", "best")  # folders that a run needs until it is finished


def run(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train into `folder` and return the manifest; at once when the folder holds the finished run.

    Raises ConfigError and DataError before anything is trained.
    """
    config = methods.settled(config)
    file = folder / "manifest.json"
    if file.exists():
        rows = dataset_config(settings.resolved(config))
        _same_run(folder, config, encoding.load(config.dataset, rows, config.rounds))
        _clear(folder)
        ranks.print_main(f"{folder}: done")
    else:
        _train(config, folder)
    manifest: dict[str, Any] = runs.read_json(file)
    return manifest


@contextmanager
def _opened(folder: Path, config: RunConfig, dataset: Dataset) -> Iterator[None]:
    """As `runs.run_folder`, which the main process holds for all."""
    with ExitStack() as held:
        if ranks.is_main():
            runs.make_folder(folder)
            held.enter_context(runs.locked_run(folder))
        _same_run(folder, config, dataset)
        yield
        _clear(folder)
        ranks.barrier()


def _same_run(folder: Path, config: RunConfig, dataset: Dataset) -> None:
    """As `runs.open_run`; other rows or other first weights at the same path make another run too."""
    if ranks.is_main():
        start = [Path(config.discriminator.init_from)] if config.discriminator.init_from else []
        first = [*names.weight_files(Path(config.adapter)), *start] if config.adapter else start
        content = {"dataset_revision": dataset.revision, "start_sha256": runs.sha256_of_files(first)}
        runs.open_run(folder, config, MAY_CHANGE, **content)
    ranks.barrier()


def _clear(folder: Path) -> None:
    if ranks.is_main():
        for passing in PASSING:
            shutil.rmtree(folder / passing, ignore_errors=True)


def _train(config: RunConfig, folder: Path) -> None:
    from advtrain.loop import log

    method = methods.of(config)
    with log.quietly():
        prepared = method.prepare()  # before the folder is there: bad input leaves no trace
        with _opened(folder, config, prepared.dataset):
            _stages(method, prepared, folder)


def _stages(method: Method, prepared: Prepared, folder: Path) -> None:
    """Train what is not trained yet, and write the manifest."""
    from advtrain import manifest, models
    from advtrain.loop import checkpoints

    config, (dataset, tokenizer, examples) = method.config, prepared
    adapter = folder / "adapter"
    trained = ranks.broadcast(adapter.exists())
    start = str(adapter) if trained else config.adapter
    policy = models.load_policy(config.model, start, config.lora, config.seed, flash=method.flash)
    examples = method.sampled(policy, tokenizer, examples, folder)
    trainer = method.build(policy, tokenizer, examples, folder)
    if not trained:
        method.fit(trainer, examples, folder)
        with checkpoints.writing(adapter):
            method.keep(trainer, folder)
    results = method.results(trainer, dataset, examples, folder)
    if ranks.is_main():
        lineage, counts = method.lineage(), method.counts(examples)
        described = manifest.described(config, dataset, lineage, counts, folder)
        runs.write_json(folder / "manifest.json", {**described, **results})
