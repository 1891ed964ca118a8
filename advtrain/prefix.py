"""A prompt goes through the model once for its two completions: one row of `prompt | chosen | rejected` a pair.

Positions of the rejected completion start again after the prompt, and a mask keeps it from seeing the chosen one, so
that every log-probability is that of a forward pass of its own (arXiv 2410.20305). TRL encodes the prompt twice and
pads both sequences to the longest of the batch. Tensors in, tensors out; `fused.score_selected` puts it to use.
Shapes: B pairs, T positions of TRL's batch, M of the shared rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from advtrain.losses import IGNORED


def share(
    input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """TRL's preference batch, (2B, T) each with the chosen sequences first, in shared rows.

    Gives the model's inputs, `input_ids` and `position_ids` of (B, M) and a boolean `attention_mask` of (B, 1, M, M);
    and of each labelled token, in the order of `labels`, the row and the column whose output predicts it. The prompt
    of a pair are the positions before its first label: there both its sequences are the same.
    """
    chosen, rejected = input_ids.chunk(2)
    chosen_length, rejected_length = attention_mask.sum(1).chunk(2)
    prompt = (labels.chunk(2)[0] != IGNORED).int().argmax(1)
    total = chosen_length + rejected_length - prompt
    place = torch.arange(int(total.max()), device=input_ids.device)[None]
    second = place >= chosen_length[:, None]
    positions = torch.where(second, place - (chosen_length - prompt)[:, None], place)
    last = input_ids.shape[1] - 1
    of_chosen, of_rejected = place.expand_as(positions).clamp(max=last), positions.clamp(max=last)
    ids = torch.where(second, rejected.gather(1, of_rejected), chosen.gather(1, of_chosen))
    first = (place >= prompt[:, None]) & ~second
    causal = place[0][:, None] >= place[0][None]
    mask = causal & ~(second[:, :, None] & first[:, None, :])
    rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    pair = rows % len(prompt)
    moved = (rows >= len(prompt)) & (columns >= prompt[pair])
    columns = columns + torch.where(moved, chosen_length[pair] - prompt[pair], 0)
    return {"input_ids": ids, "attention_mask": mask[:, None], "position_ids": positions}, (pair, columns)
