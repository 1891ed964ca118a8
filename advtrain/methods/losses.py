"""Rewards, margins and the numbers that tell whether they mean anything: tensors in, tensors out.

Knows no config, no model and no file. Of DPO and of the policy gradient TRL computes the loss that is trained, these
functions what is reported of it; the discriminator's loss is here. Called by `margins`, `discriminator` and the
toy recipe. Shapes: B pairs or prompts, N samples of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def dpo_loss(margins_B: Tensor) -> Tensor:
    """Mean of -log sigma(margin), a scalar (arXiv 2305.18290, equation 7); ln 2 where all are zero."""
    return -functional.logsigmoid(margins_B).mean()


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a set of margins looks like as a whole: where AKD's loop can go wrong without an error."""

    count: int
    """Exercises with a margin."""
    mean: float
    std: float
    accuracy: float
    """Share of margins above 0."""
    near_zero: float
    """Share with |margin| below the threshold: no signal there."""
    loss: float
    """DPO's sigmoid loss on the trained pairs; ln 2 says that nothing was learnt."""
    effective_samples: float
    """1 / sum w^2 of the weights softmax(-z-score of the margin); `count` is uniform, 1 one parent."""


def signature(margins_B: Tensor, near_zero: float = 1e-3) -> Signature:
    """Statistics of finite margins (AKD's failure signatures, with numbers). Raises ValueError when there
    is none."""
    margins = margins_B[torch.isfinite(margins_B)].double()
    if not len(margins):
        raise ValueError("no finite margin")
    std = margins.std(correction=0)
    z_scores = (margins - margins.mean()) / std if std > 0 else torch.zeros_like(margins)
    weights = torch.softmax(-z_scores, dim=0)
    return Signature(
        count=len(margins),
        mean=margins.mean().item(),
        std=std.item(),
        accuracy=(margins > 0).double().mean().item(),
        near_zero=(margins.abs() < near_zero).double().mean().item(),
        loss=dpo_loss(margins).item(),
        effective_samples=(1 / weights.square().sum()).item(),
    )


def bradley_terry(teacher_B: Tensor, student_BN: Tensor) -> Tensor:
    """The discriminator's loss of each prompt, (B,): mean over its samples of -log sigma(D(teacher) - D(sample)).

    ln 2 where it cannot tell them apart. arXiv 2511.10643, equations 3 and 8.
    """
    return -functional.logsigmoid(teacher_B[:, None] - student_BN).mean(dim=1)


def real_or_fake(teacher_B: Tensor, student_BN: Tensor) -> Tensor:
    """The same by cross-entropy, each side on its own: -log sigma(D(teacher)) - log(1 - sigma(D(sample))).

    2 ln 2 where all scores are zero. arXiv 2511.10643, equation 4: an ablation there.
    """
    return -functional.logsigmoid(teacher_B) - functional.logsigmoid(-student_BN).mean(dim=1)


def group_advantages(rewards_BN: Tensor, eps: float = 1e-4) -> Tensor:
    """z-scores within each prompt's samples, (B, N), by the unbiased deviation; zero where all are the same.

    arXiv 2511.10643, equation 6. TRL's GRPOTrainer does the same with this `eps`.
    """
    centred = rewards_BN - rewards_BN.mean(dim=1, keepdim=True)
    return centred / (rewards_BN.std(dim=1, keepdim=True) + eps)


def discriminator_accuracy(teacher_B: Tensor, student_BN: Tensor) -> Tensor:
    """The discriminator's accuracy of each prompt, (B,): share of its samples scored below the teacher, ties half."""
    gap_BN = teacher_B[:, None] - student_BN
    return ((gap_BN > 0).float() + (gap_BN == 0).float() / 2).mean(dim=1)
