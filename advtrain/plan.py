"""What a run would do and take, before anything is loaded: `advtrain run --dry-run`."""

from __future__ import annotations

from typing import Any

import torch

from advcore import settings
from advcore.engine import loading
from advtrain import methods, models
from advtrain.config import RunConfig
from advtrain.loop import log
from advtrain.methods.base import Method


@log.quietly()
def plan(config: RunConfig) -> dict[str, Any]:
    """What `run` would do, without loading a weight of the base: the resolved config, how many rows fit, tokens (a
    shared prompt counted once), optimizer steps, parameters, and an estimate of the memory it takes.

    Raises ConfigError and DataError as `run.run` does for a dataset, a model or an adapter that cannot be used.
    """
    config = methods.settled(config)
    method = methods.of(config)
    examples = method.prepare().examples
    kept = [example for example in examples if not example.dropped]
    counts = method.counts(examples)
    size = models.size(config.model, config.adapter, config.lora)
    longest = sorted(map(method.row_tokens, kept), reverse=True)[: config.train.batch_size]
    return {
        "config": settings.resolved(config),
        **counts,
        "tokens_an_epoch": sum(example.tokens for example in kept),
        "steps": method.steps(counts["rows"]["trained"]),
        "parameters": size.parameters,
        "trainable_parameters": size.trainable,
        "memory_bytes": _memory(method, size, sum(longest)),
    }


def _memory(method: Method, size: models.Size, tokens: int) -> dict[str, int]:
    """Estimated bytes at the peak of training, by what takes them.

    Weights: of the base, and of a companion of its own. Adapter: as the method trains it. Activations: what autograd
    keeps of a gated block (hidden size h, feed-forward f) a token and layer, 8h in float32 for two norms and 6h + 4f
    numbers for attention and feed-forward; on a GPU, where layers are recomputed, their inputs and one layer whole.
    Head: the logits of 256 tokens in float32 and their gradient. Phases of the method beside training follow. On top
    come the libraries (0.5 GB) and, on a CPU, the allocator's gaps: a 135M student with 1,280 tokens a pass took
    1.9 GB, 2.3 with them.
    """
    dtype, _ = loading.precision()
    other = models.size(method.companion, "", method.config.lora).parameters if method.companion else 0
    kept = size.hidden * 8 + (6 * size.hidden + 4 * size.feed_forward) * dtype.itemsize
    on_gpu = torch.cuda.is_available()
    a_token = kept + size.layers * size.hidden * dtype.itemsize if on_gpu else size.layers * kept
    parts = {
        "weights": (size.parameters + other) * dtype.itemsize,
        "adapter": size.trainable * method.adapter_bytes,
        "activations": tokens * a_token,
        "head": 2 * 256 * size.vocabulary * 4,
    }
    return {**parts, "training": sum(parts.values()), **method.other_phases(size, parts, tokens)}
