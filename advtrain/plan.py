"""What a run would do and take, before anything is loaded: `advtrain run --dry-run`."""

from __future__ import annotations

import math
from typing import Any

from advcore import engine, settings
from advtrain import manifest, models, run
from advtrain.config import RunConfig


def plan(config: RunConfig) -> dict[str, Any]:
    """What `run` would do, without loading a weight: the resolved config, how many rows fit, tokens (a shared prompt
    counted once), optimizer steps, parameters, and an estimate of the memory it takes."""
    config = run.with_measured_flips(config)
    _, _, examples = run.prepare(config)
    kept = [example for example in examples if not example.dropped]
    per_step = config.train.batch_size * config.train.gradient_accumulation
    size = models.size(config.model, config.lora)
    longest = sorted((example.tokens for example in kept), reverse=True)[: config.train.batch_size]
    return {
        "config": settings.resolved(config),
        **manifest.counts(examples),
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
