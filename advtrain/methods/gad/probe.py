"""How well a fixed classifier tells a student's replies from its teacher's: a linear probe on the frozen base.

GAD's own discriminator moves with the student, so that its score says nothing from one checkpoint to the next. Here a
reply is the mean of the base's last hidden states over its tokens, the adapters off; a logistic regression on the
difference of the two replies to a prompt is fitted on some prompts and asked about the others. Called by `held_out`.
Shapes: P prompts, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from advtrain.forward import packing

FOLDS = 5
DECAY = 1e-2
Reply = tuple[list[int], list[int]]
"""Ids of a prompt and of a reply to it."""


def features(base: Any, replies: Sequence[Reply]) -> Tensor:
    """(P, H) in float64: of each reply the mean of the last hidden states of its tokens, behind its prompt."""
    found: dict[int, Tensor] = {}
    for places in packing.batches(range(len(replies)), lambda at: sum(map(len, replies[at]))):
        sequences = [torch.tensor(replies[at][0] + replies[at][1], device=base.device) for at in places]
        ids = pad_sequence(sequences, batch_first=True)
        lengths = torch.tensor([len(each) for each in sequences], device=base.device)
        mask = torch.arange(ids.shape[1], device=base.device) < lengths[:, None]
        with torch.no_grad():
            hidden = base.base_model(
                input_ids=ids, attention_mask=mask.long(), use_cache=False
            ).last_hidden_state
        for at, states in zip(places, hidden, strict=True):
            prompt, reply = replies[at]
            found[at] = states[len(prompt) : len(prompt) + len(reply)].double().mean(0).cpu()
    return torch.stack([found[at] for at in range(len(replies))])


def p_teacher(teacher_PH: Tensor, student_PH: Tensor, seed: int = 0) -> Tensor:
    """Of each prompt, the probability, by the probe, that the student's reply is the teacher's, (P,). It was fitted
    on the prompts of other folds: 0 where it knows better, 1/2 where it cannot tell.
    """
    difference_PH = teacher_PH - student_PH
    difference_PH = difference_PH / difference_PH.norm(dim=1, keepdim=True).clamp(min=1e-12)
    fold_P = torch.randperm(len(difference_PH), generator=torch.Generator().manual_seed(seed)) % FOLDS
    p_P = torch.full((len(difference_PH),), 0.5, dtype=torch.double)
    for fold in range(FOLDS):
        held_P = fold_P == fold
        if held_P.any() and not held_P.all():
            p_P[held_P] = torch.sigmoid(-difference_PH[held_P] @ _fitted(difference_PH[~held_P]))
    return p_P


def _fitted(difference_PH: Tensor, steps: int = 50) -> Tensor:
    """(H,) that minimises the mean of log(1 + exp(-difference w)) + DECAY/2 |w|^2, by Newton's method, in P
    dimensions."""
    count = len(difference_PH)
    kernel_PP = difference_PH @ difference_PH.t()
    # w = difference^T a.
    a_P = torch.zeros(count, dtype=torch.double)
    for _ in range(steps):
        margin_P = kernel_PP @ a_P
        p_P = torch.sigmoid(-margin_P)
        curvature_P = p_P * (1 - p_P)
        # (W K + n decay I) a = W m + s: the Newton step of kernel logistic regression
        matrix_PP = curvature_P[:, None] * kernel_PP + count * DECAY * torch.eye(count, dtype=torch.double)
        new_P = torch.linalg.solve(matrix_PP, curvature_P * margin_P + p_P)
        done = torch.allclose(new_P, a_P, atol=1e-10)
        a_P = new_P
        if done:
            break
    return difference_PH.t() @ a_P
