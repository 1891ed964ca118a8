"""A prompt goes through the model once for all its completions: one row of `prompt | first | second | ...` a prompt.

Positions of every completion start again after the prompt, and a mask keeps it from seeing the others, so that each
output is that of a forward pass of its own (arXiv 2410.20305); `attention` does not compute what the mask hides. TRL
encodes the prompt once a completion and pads all to the longest of the batch. `takes_masks` tells which models obey;
`patches.score_selected` and `discriminator` put it to use. Shapes: R sequences of T positions as TRL has them, of B
prompts with K completions each; M positions of the shared rows, P and C of the longest prompt and completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from advtrain import ranks
from advtrain.encoding.rows import IGNORED
from advtrain.forward import attention, fused

# Nats a token. Rounding of other matrix shapes stays far below, a model that does not obey the mask far above.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}


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
        """Row and column of the last token of every sequence; of one without a completion that of its prompt."""
        last_R = self.offset_R + self.completion_R - 1
        return self.row_R, torch.where(self.completion_R > 0, last_R, self.prompt_R - 1)


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
    inside_BM = place_M - offset_BK.gather(1, owner_BM)
    position_BM = torch.where(part_BM > 0, prompt_B[:, None] + inside_BM, place_M)
    source_BM = members_BK.gather(1, owner_BM)
    column_BM = (start_R[source_BM] + position_BM).clamp(max=input_ids.shape[1] - 1)
    causal_MM = place_M[:, None] >= place_M
    mask = causal_MM & ((part_BM[:, None] == 0) | (part_BM[:, None] == part_BM[:, :, None]))
    row_R, offset_R = torch.empty_like(first_R), torch.empty_like(first_R)
    row_R[members_BK] = torch.arange(len(members_BK), device=row_R.device)[:, None].expand_as(members_BK)
    offset_R[members_BK] = offset_BK
    inputs = {"input_ids": input_ids[source_BM, column_BM], "attention_mask": mask[:, None]}
    attention.PARTS[inputs["attention_mask"]] = _parts(prompt_B, completion_BK, offset_BK, part_BM, inside_BM)
    return Shared({**inputs, "position_ids": position_BM}, row_R, start_R, prompt_R, completion_R, offset_R)


def _parts(
    prompt_B: Tensor, completion_BK: Tensor, offset_BK: Tensor, part_BM: Tensor, inside_BM: Tensor
) -> attention.Parts:
    (rows, count), width = completion_BK.shape, part_BM.shape[1]
    longest, most = int(prompt_B.max()), max(1, int(completion_BK.max()))  # transformers takes no 0 queries
    place_P, place_C, place_M, row_B = (
        torch.arange(size, device=prompt_B.device) for size in (longest, most, width, rows)
    )
    column_BKC = (offset_BK[:, :, None] + place_C).clamp(max=width - 1)
    before = (place_P < prompt_B[:, None]).repeat_interleave(count, 0)[:, None].expand(-1, most, -1)
    own = (place_C[:, None] >= place_C).expand(rows * count, -1, -1)
    in_prompt_BM = row_B[:, None] * longest + place_M.clamp(max=longest - 1)
    completion_BM = row_B[:, None] * count + part_BM - 1
    in_completion_BM = rows * longest + completion_BM * most + inside_BM.clamp(max=most - 1)
    return attention.Parts(
        prompt=longest, taken=(row_B[:, None, None] * width + column_BKC).flatten(),
        mask=torch.cat([before, own], 2)[:, None],
        put_back=torch.where(part_BM > 0, in_completion_BM, in_prompt_BM).flatten(),
    )  # fmt: skip


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


def takes_masks(model: Any, prompt: list[int], completions: Sequence[list[int]]) -> bool:
    """Whether completions that share their prompt are to `model` what they are apart; where not, it is told on stderr.

    Not so for a recurrent state, or for a sliding window that the sequences do not fit into.
    """
    sequences = [torch.tensor(prompt + ids) for ids in completions]
    ids = pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([len(each) for each in sequences])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    labels = ids.masked_fill((mask == 0) | (torch.arange(ids.shape[1]) < len(prompt)), IGNORED)
    ids, mask, labels = (each.to(model.device) for each in (ids, mask, labels))
    members = torch.arange(len(ids), device=ids.device)[None]
    targets = labels[:, 1:][labels[:, 1:] != IGNORED]
    logps = []
    for inputs, where in (apart(ids, mask, labels), share(ids, mask, labels, members)):
        with torch.no_grad():
            hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[where]
            logps.append(fused.TokenLogps.apply(hidden, model.get_output_embeddings().weight, targets)[0])
    difference = (logps[0] - logps[1]).abs().max().item()
    if difference <= _TOLERANCE[model.dtype]:
        return True
    ranks.print_main(
        f"note: {type(model).__name__} does not take a mask of ours (log-probabilities differ by {difference:.3g}): "
        f"every prompt is encoded once for each completion, as TRL does"
    )
    return False
