"""Samples replies of the model that is being trained, in place: several to each prompt, token by token.

Beside `generate` of transformers: a prompt is read once for all its samples, keys and values are written into room
that is there instead of being copied for every token, and a reply that has ended leaves the batch. Knows no text and no
reward. Called by `methods.gad.trainer` and `soda`. Shapes: P prompts, S samples in the batch, T positions so far,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from advtrain import CheckpointError
from advtrain.forward import packing

CACHE_TOKENS = (
    1 << 17
)  # positions whose keys and values are held at once: 3 GB of a 135M student, 8 GB of a 7B one
LEFT = 0.75  # of the batch: with fewer still going on, those that have ended are taken out, at the price of one copy


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache that grows by half when it is full, not by one copy a token."""

    keys: Tensor
    values: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = _appended(self.keys, key_states)
        self.values = _appended(self.values, value_states)
        return self.keys, self.values


def _appended(states: Tensor, new: Tensor) -> Tensor:
    """`states` (S, heads, T, width) with `new` behind them: in their own storage where that has room, else in a larger
    one."""
    old = states.shape[2] if states.numel() else 0
    whole = states._base
    if whole is None or whole.shape[2] < old + new.shape[2] or whole.shape[0] != new.shape[0]:
        whole = new.new_empty((*new.shape[:2], (old + new.shape[2]) * 3 // 2, new.shape[3]))
        if old:
            whole[:, :, :old] = states
    whole[:, :, old : old + new.shape[2]] = new
    return whole[:, :, : old + new.shape[2]]


def sample(
    model: Any, prompts: Sequence[list[int]], count: int, temperature: float, most: int, stop: Collection[int]
) -> list[list[int]]:  # fmt: skip
    """`count` replies to each prompt, in its order: ids up to and with the first of `stop`, at most `most`.

    Draws from the whole distribution at `temperature`, by torch's global generator; 0 takes the likeliest. Raises
    CheckpointError where the logits are no numbers.
    `model` is a causal language model on one device; it is left in the mode it was in.
    """
    training = model.training
    model.eval()
    found: dict[int, list[list[int]]] = {}
    try:
        with torch.no_grad():
            for places in packing.batches(
                range(len(prompts)), lambda at: count * (len(prompts[at]) + most), CACHE_TOKENS
            ):
                some = [prompts[at] for at in places]
                ids = _sampled(model, some, count, temperature, most, torch.tensor(sorted(stop)))
                found |= {at: ids[turn * count : (turn + 1) * count] for turn, at in enumerate(places)}
    finally:
        model.train(training)
    return [reply for at in range(len(prompts)) for reply in found[at]]


def _sampled(
    model: Any, prompts: Sequence[list[int]], count: int, temperature: float, most: int, stop: Tensor
) -> list[list[int]]:  # fmt: skip
    width = max(map(len, prompts))
    rows = [[0] * (width - len(ids)) + ids for ids in prompts]  # padding is masked: any id will do
    kept = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    ids, mask = torch.tensor(rows, device=model.device), torch.tensor(kept, device=model.device)
    cache = _growing_cache(model)
    logits = _next(model, cache, ids, mask)  # (P, V)
    cache.batch_repeat_interleave(count)
    logits, mask = logits.repeat_interleave(count, 0), mask.repeat_interleave(count, 0)
    stop = stop.to(model.device)
    tokens = torch.full((len(mask), most), -1, device=model.device)  # (S, most)
    live = torch.arange(len(mask), device=model.device)  # rows of `tokens` that the batch holds
    ended = torch.zeros(len(mask), dtype=torch.bool, device=model.device)
    for step in range(most):
        drawn = _drawn(logits, temperature)
        tokens[live[~ended], step] = drawn[~ended]
        ended = ended | torch.isin(drawn, stop)
        left = (~ended).nonzero()[:, 0]
        if not len(left) or step + 1 == most:
            break
        if len(left) < LEFT * len(live):
            cache.batch_select_indices(left)
            live, mask, drawn, ended = live[left], mask[left], drawn[left], ended[left]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits = _next(model, cache, drawn[:, None], mask)
    return [[token for token in row if token >= 0] for row in tokens.tolist()]


def _growing_cache(model: Any) -> DynamicCache:
    """The model's own kinds of layers (sliding windows, recurrent states), the plain ones with room."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _next(model: Any, cache: DynamicCache, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits of the token after `ids`, (S, V), in float32; their keys and values go into the cache."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _drawn(logits: Tensor, temperature: float) -> Tensor:
    if not temperature:
        return logits.argmax(1)
    # multinomial draws an exponential variate for every token of the vocabulary.
    below = (logits / temperature).softmax(1).cumsum(1, dtype=torch.float64)
    if not below[:, -1].isfinite().all():
        raise CheckpointError(
            "the student's logits are no numbers; with a lower train.learning_rate a new run may go well"
        )
    drawn = torch.rand_like(below[:, :1]) * below[:, -1:]
    # Where the product is rounded up to the whole, the last token.
    return torch.searchsorted(below, drawn, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
