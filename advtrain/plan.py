"""What a run would do and take, before anything is loaded: `advtrain run --dry-run`."""

from __future__ import annotations

import math
from typing import Any

import torch

from advcore import settings
from advcore.engine import loading
from advtrain import manifest, models, run
from advtrain.config import RunConfig
from advtrain.encoding.rows import Example
from advtrain.forward import rollout
from advtrain.methods.gad import method


def plan(config: RunConfig) -> dict[str, Any]:
    """What `run` would do, without loading a weight of the base: the resolved config, how many rows fit, tokens (a
    shared prompt counted once), optimizer steps, parameters, and an estimate of the memory it takes.

    Raises ConfigError and DataError as `run.run` does for a dataset, a model or an adapter that cannot be used.
    """
    config = run.with_measured_flips(config)
    _, _, examples = run.prepare(config)
    kept = [example for example in examples if not example.dropped]
    counts = manifest.counts(examples, config)
    size = models.size(config.model, config.adapter, config.lora)
    longest = sorted((_row_tokens(config, example) for example in kept), reverse=True)[
        : config.train.batch_size
    ]
    return {
        "config": settings.resolved(config),
        **counts,
        "tokens_an_epoch": sum(example.tokens for example in kept),
        "steps": _steps(config, counts["rows"]["trained"]),
        "parameters": size.parameters,
        "trainable_parameters": size.trainable,
        "memory_bytes": _memory(config, size, sum(longest)),
    }


def _steps(config: RunConfig, rows: int) -> int:
    if config.method == "gad":
        return method.steps(config, rows)[1]
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
    allocator's gaps: a 135M student with 1,280 tokens a pass took 1.9 GB, 2.3 with them. GAD has a discriminator's
    adapter beside the student's and, but for `gad.beta = 0`, the reference's weights; `rollouts` is what sampling
    takes.
    """
    dtype, _ = loading.precision()
    parameters = size.parameters + _other_model(config)
    kept = size.hidden * 8 + (6 * size.hidden + 4 * size.feed_forward) * dtype.itemsize
    a_token = (
        kept + size.layers * size.hidden * dtype.itemsize if torch.cuda.is_available() else size.layers * kept
    )
    parts = {
        "weights": parameters * dtype.itemsize,
        "adapter": size.trainable * (16 if config.method != "gad" else 32 + 4 * (config.gad.beta > 0)),
        "activations": tokens * a_token,
        "head": 2 * 256 * size.vocabulary * 4,
    }
    drawn = min(tokens * config.train.gradient_accumulation, rollout.BATCH_TOKENS)
    sampling = parts["weights"] + parts["adapter"] + drawn * size.cached * dtype.itemsize
    besides = {"dpo": {"margin_pass": parameters * 4}, "sft": {}, "gad": {"rollouts": sampling}}
    return {**parts, "training": sum(parts.values()), **besides[config.method]}


def _other_model(config: RunConfig) -> int:
    """Parameters of what stays in memory beside the policy: a reference or a discriminator with weights of its own."""
    reference = models.reference(config) if config.method == "dpo" else ""
    other = config.discriminator.model if config.method == "gad" else reference
    if not other or models.is_adapter(other):
        return 0
    return models.size(other, "", config.lora).parameters
