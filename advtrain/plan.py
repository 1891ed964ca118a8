"""What a run would do and take, before anything is loaded: `advtrain run --dry-run`."""

from __future__ import annotations

import math
from typing import Any

from advcore import engine, settings
from advtrain import gad, manifest, models, run
from advtrain.config import RunConfig
from advtrain.data import Example


def plan(config: RunConfig) -> dict[str, Any]:
    """What `run` would do, without loading a weight of the base: the resolved config, how many rows fit, tokens (a
    shared prompt counted once), optimizer steps, parameters, and an estimate of the memory it takes.

    Raises ConfigError and DataError as `run.run` does for a dataset, a model or an adapter that cannot be used.
    """
    config = run.with_measured_flips(config)
    _, _, examples = run.prepare(config)
    kept = [example for example in examples if not example.dropped]
    size = models.size(config.model, config.adapter, config.lora)
    longest = sorted((_row_tokens(config, example) for example in kept), reverse=True)[
        : config.train.batch_size
    ]
    return {
        "config": settings.resolved(config),
        **manifest.counts(examples, config),
        "tokens_an_epoch": sum(example.tokens for example in kept),
        "steps": _steps(config, len(kept)),
        "parameters": size.parameters,
        "trainable_parameters": size.trainable,
        "memory_bytes": _memory(config, size, sum(longest)),
    }


def _steps(config: RunConfig, rows: int) -> int:
    if config.method == "gad":
        return gad.steps(config, rows - config.gad.held_out)[1]
    per_step = config.train.batch_size * config.train.gradient_accumulation
    return math.ceil(math.ceil(rows / per_step) * config.train.epochs)


def _row_tokens(config: RunConfig, example: Example) -> int:
    """That go through a model together for one row; samples are taken to be as long as they may be."""
    if config.method == "gad":  # the discriminator reads the teacher's reply beside the samples
        return len(example.prompt) + (1 + config.gad.samples) * config.gad.max_new_tokens
    return example.tokens


def _memory(config: RunConfig, size: models.Size, tokens: int) -> dict[str, int]:
    """Estimated bytes at the peak of training, by what takes them.

    Weights: of the base, and of DPO's reference where that is a whole model. Adapter: weight, gradient and two moments
    in float32. Activations: what autograd keeps of a gated block (hidden size h, feed-forward f) a token and layer,
    8h in float32 for two norms and 6h + 4f numbers for attention and feed-forward; on a GPU, where layers are
    recomputed, their inputs and one layer whole. Head: the logits of 256 tokens in float32 and their gradient.
    `margin_pass`: the weights in float32, after training. On top come the libraries (0.5 GB) and, on a CPU, the
    allocator's gaps: a 135M student with 1,280 tokens a pass took 1.9 GB, 2.3 with them.
    """
    dtype, _ = engine.precision()
    parameters = size.parameters + _whole_reference(config)
    kept = size.hidden * 8 + (6 * size.hidden + 4 * size.feed_forward) * dtype.itemsize
    a_token = kept + size.layers * size.hidden * dtype.itemsize if models.on_gpu() else size.layers * kept
    parts = {
        "weights": parameters * dtype.itemsize,
        "adapter": size.trainable * 16,
        "activations": tokens * a_token,
        "head": 2 * 256 * size.vocabulary * 4,
    }
    return {**parts, "training": sum(parts.values()), "margin_pass": parameters * 4}


def _whole_reference(config: RunConfig) -> int:
    """Parameters of a reference that is a model of its own, which stays in memory beside the policy."""
    reference = models.reference(config) if config.method == "dpo" else ""
    if not reference or models.is_adapter(reference):
        return 0
    return models.size(reference, "", config.lora).parameters
