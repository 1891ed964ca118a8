"""Attention of our models in the place of transformers' `sdpa`: the same numbers, less work.

- Rows of `prefix` are taken apart, every completion with its prompt's keys: what their mask hides is not computed.
- A single token's query heads share the keys and values that they have in common, also where nothing is masked.

`patches.use_our_attention` sets it on a model; a mask that it does not know goes transformers' way. Shapes: B rows of M
positions, with a prompt of at most P and K completions of at most C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.integrations.sdpa_attention import sdpa_attention_forward


@dataclass(slots=True)
class Parts:
    """Rows as prompts (B, P), and as completions (B * K, C) that see P + C keys."""

    prompt: int
    """P."""
    taken: Tensor
    """Where a completion's positions are among the B * M of the rows, (B * K * C,)."""
    mask: Tensor
    """Of the completions, (B * K, 1, C, P + C): what they see, or what is added to their attention."""
    put_back: Tensor
    """Where the rows' positions are among B * P of prompts and then B * K * C of completions, (B * M,)."""

    def added(self, dtype: torch.dtype) -> Tensor:
        """The mask as numbers, made once for all layers: of a boolean one torch makes and keeps a copy a layer."""
        if self.mask.dtype != dtype:
            seen = self.mask if self.mask.dtype == torch.bool else self.mask == 0
            self.mask = torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, -torch.inf)
        return self.mask


# By the mask of the rows, which says the same: where it gets to another attention, nothing but time is lost.
PARTS = WeakTensorKeyDictionary()


def sdpa(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Of (B, heads, M, width), as (B, M, heads, width)."""
    parts = None if attention_mask is None else PARTS.get(attention_mask)
    if parts is not None:
        return _apart(module, (query, key, value), parts, options)
    if attention_mask is None and query.shape[2] == 1 and query.device.type == "cpu":
        # Unmasked, transformers leaves grouped heads to torch, whose kernel is seven times slower for one token.
        attention_mask = torch.ones(1, 1, 1, key.shape[2], dtype=torch.bool)
    output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return output


def _apart(
    module: Any, states: tuple[Tensor, Tensor, Tensor], parts: Parts, options: dict[str, Any]
) -> tuple[Tensor, None]:
    prompts = [each[:, :, : parts.prompt] for each in states]
    query, *own = (_completions(each, parts) for each in states)
    seen = [
        torch.cat([_repeated(each, len(query)), mine], 2) for each, mine in zip(prompts[1:], own, strict=True)
    ]
    options = {**options, "is_causal": True}  # where there is no mask
    first, _ = sdpa_attention_forward(module, *prompts, None, **options)
    rest, _ = sdpa_attention_forward(module, query, *seen, parts.added(query.dtype), **options)
    both = torch.cat([first.flatten(0, 1), rest.flatten(0, 1)])
    return both.index_select(0, parts.put_back).view(len(states[0]), -1, *both.shape[1:]), None


def _completions(states: Tensor, parts: Parts) -> Tensor:
    """(B, heads, M, width) -> (B * K, heads, C, width)."""
    flat = states.transpose(1, 2).reshape(-1, states.shape[1], states.shape[3])
    return flat.index_select(0, parts.taken).view(len(parts.mask), -1, *flat.shape[1:]).transpose(1, 2)


def _repeated(prompts: Tensor, completions: int) -> Tensor:
    """(B, heads, P, width) -> (B * K, heads, P, width)."""
    return prompts[:, None].expand(-1, completions // len(prompts), -1, -1, -1).flatten(0, 1)
