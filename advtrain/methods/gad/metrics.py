"""One step of the discriminator in numbers, for `metrics.jsonl`, `alarms` and the report. Called by `trainer`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from advtrain.methods import losses
from advtrain.methods.gad import held_out
from advtrain.methods.gad.discriminator import Group, Scores


def of_step(
    scores: Scores, groups: Sequence[Group], texts: Sequence[tuple[str, str]]
) -> dict[str, float]:  # fmt: skip
    """By their names in `metrics.jsonl`; lengths in tokens of the discriminator. `texts` are of teacher and sample."""
    gap_BN = scores.teacher_B[:, None] - scores.student_BN
    accuracy_B = losses.discriminator_accuracy(scores.teacher_B, scores.student_BN)
    return {
        "discriminator/loss": scores.loss,
        "discriminator/accuracy": accuracy_B.mean().item(),
        "discriminator/gap": gap_BN.mean().item(),
        "discriminator/teacher": scores.teacher_B.mean().item(),
        "discriminator/grad_norm": scores.grad_norm,
        "discriminator/spread": scores.student_BN.std(dim=1).mean().item(),
        "length/teacher": fmean(len(group.teacher) for group in groups),
        "length/student": fmean(len(ids) for group in groups for ids in group.samples),
        # What length alone tells: 1 where the teacher's is the longer reply, a half where they are as long.
        "length/longer": fmean(
            (len(group.teacher) > len(ids)) + (len(group.teacher) == len(ids)) / 2
            for group in groups
            for ids in group.samples
        ),
        "rouge_l": fmean(held_out.rouge_l(*both) for both in texts),
    }
