"""A prompt goes through the model once for all its completions: one row of `prompt | first | second | ...` a prompt.

Positions of every completion start again after the prompt, and a mask keeps it from seeing the others, so that each
output is that of a forward pass of its own (arXiv 2410.20305). TRL encodes the prompt once a completion and pads all to
the longest of the batch. Tensors in, tensors out; `fused.score_selected` and `discriminator` put it to use. Shapes: R
sequences of T positions as TRL has them, of B prompts with K completions each; M positions of the shared rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtrain.losses import IGNORED


@dataclass(frozen=True, slots=True)
class Shared:
    """The rows, and where the tokens of the sequences that they were made of are in them."""

    inputs: dict[str, Tensor]
    """`input_ids` and `position_ids` (B, M), and a boolean `attention_mask` (B, 1, M, M)."""
    row_R: Tensor
    start_R: Tensor
    """Of a sequence, its first column that is no padding."""
    prompt_R: Tensor
    completion_R: Tensor
    """Lengths."""
    offset_R: Tensor
    """Column of the shared row at which the completion starts."""

    def places(self, sequences: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column here of what stands in these columns of these sequences."""
        at = columns - self.start_R[sequences]
        inside = at - self.prompt_R[sequences]
        return self.row_R[sequences], torch.where(inside >= 0, self.offset_R[sequences] + inside, at)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Row and column of the last token of every sequence."""
        return self.row_R, self.offset_R + self.completion_R - 1


def rows(input_ids: Tensor, attention_mask: Tensor, first_R: Tensor, members_BK: Tensor) -> Shared:
    """Shared rows for sequences (R, T), padded on either side, whose completions begin at columns `first_R`.

    `members_BK` are the sequences of each prompt; up to `first_R` those are the same.
    """
    start_R = attention_mask.int().argmax(1)
    prompt_R = first_R - start_R
    completion_R = attention_mask.sum(1) - prompt_R
    prompt_B, completion_BK = prompt_R[members_BK[:, 0]], completion_R[members_BK]
    offset_BK = prompt_B[:, None] + completion_BK.cumsum(1) - completion_BK
    place_M = torch.arange(int((prompt_B + completion_BK.sum(1)).max()), device=input_ids.device)
    # 0 is the prompt, k the k-th completion; padding counts as the last.
    part_BM = (place_M >= offset_BK[:, :, None]).sum(1)
    owner_BM = (part_BM - 1).clamp(min=0)
    moved_BM = torch.where(part_BM > 0, offset_BK.gather(1, owner_BM) - prompt_B[:, None], 0)
    position_BM = place_M - moved_BM
    source_BM = members_BK.gather(1, owner_BM)
    column_BM = (start_R[source_BM] + position_BM).clamp(max=input_ids.shape[1] - 1)
    causal_MM = place_M[:, None] >= place_M
    mask = causal_MM & ((part_BM[:, None] == 0) | (part_BM[:, None] == part_BM[:, :, None]))
    row_R, offset_R = torch.empty_like(first_R), torch.empty_like(first_R)
    row_R[members_BK] = torch.arange(len(members_BK), device=row_R.device)[:, None].expand_as(members_BK)
    offset_R[members_BK] = offset_BK
    inputs = {"input_ids": input_ids[source_BM, column_BM], "attention_mask": mask[:, None]}
    return Shared({**inputs, "position_ids": position_BM}, row_R, start_R, prompt_R, completion_R, offset_R)


def pays(prompt: int, completion: int, count: int, hidden: int) -> bool:
    """Whether `count` completions of so many tokens are cheaper behind one prompt: attention to the others, which the
    mask then hides, is computed all the same.

    By multiplications of a block of 12 hidden^2 weights: a row of M tokens takes M (6 hidden + M) / 3 of a unit.
    """
    alone, together = prompt + completion, prompt + count * completion
    return together * (6 * hidden + together) < count * alone * (6 * hidden + alone)


def apart(
    input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """What `share` gives, with every sequence in a row of its own: for a model that takes no mask of ours."""
    rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return {"input_ids": input_ids, "attention_mask": attention_mask}, (rows, columns)


def share(
    input_ids: Tensor, attention_mask: Tensor, labels: Tensor, members_BK: Tensor | None = None
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """The model's inputs for TRL's batch, (R, T) each, and per label the row and column that predict it.

    A completion begins at its sequence's first label. Without `members_BK` it is a preference batch: the chosen
    sequences first, then the rejected ones.
    """
    if members_BK is None:
        members_BK = torch.arange(len(input_ids), device=input_ids.device).view(2, -1).t()
    shared = rows(input_ids, attention_mask, (labels != IGNORED).int().argmax(1), members_BK)
    sequences, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return shared.inputs, shared.places(sequences, columns)
