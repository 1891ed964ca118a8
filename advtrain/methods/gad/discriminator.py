"""GAD's discriminator: a score for a prompt with a reply to it, learnt from the teacher's replies and student samples.

A language model with frozen weights (the student's own, or others), a LoRA adapter and a scalar head on the last token.
Both sides' replies are encoded alike (`encoding.replies`), so that nothing but the text can tell them apart: a reply
that ended has the token that ends a turn, one that was cut has none, and both are cut at the same length. The teacher's
reply is read once for all samples of its prompt, and what is read for the rewards is what is learnt from. Called by
`trainer`. Shapes: B prompts, N samples of each, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from advcore import ConfigError
from advcore.engine import loading
from advtrain import CheckpointError, ranks
from advtrain.config import Discriminator as Config
from advtrain.forward import adapters, prefix
from advtrain.methods import losses

LOSSES = {"bradley_terry": losses.bradley_terry, "cross_entropy": losses.real_or_fake}


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with the teacher's reply and the student's samples, as ids: what each is after the prompt."""

    prompt: list[int]
    teacher: list[int]
    samples: list[list[int]]

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(map(len, (self.teacher, *self.samples)))


@dataclass(frozen=True, slots=True)
class Scores:
    """Of B groups, without gradients, in float32 on the CPU."""

    teacher_B: Tensor
    student_BN: Tensor
    loss: float
    grad_norm: float
    """0 where it did not learn."""


class Discriminator:
    """`model` is a PeftModel that has the adapter `adapters.DISCRIMINATOR`, the student's or one of its own."""

    def __init__(
        self,
        model: Any,
        config: Config,
        *,
        batch_size: int,
        weight_decay: float,
        max_grad_norm: float,
        seed: int,
    ) -> None:
        """`batch_size`: prompts a forward pass, each with all its replies. A `max_grad_norm` of 0 clips nothing."""
        self.model, self.config = model, config
        self.batch_size, self.max_grad_norm = batch_size, max_grad_norm
        self.shares = True
        """Replies to one prompt share it in a forward pass; not for a model that takes no mask of ours."""
        base = model.get_base_model()
        hidden = base.config.get_text_config().hidden_size
        self.head = torch.nn.Linear(hidden, 1, bias=False, device=base.device, dtype=torch.float32)
        # The same on all ranks, and no draw from the generator that samples.
        drawn = torch.randn(hidden, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            self.head.weight.copy_(drawn[None] * base.config.get_text_config().initializer_range)
        self.weights = {
            name: weight for name, weight in model.named_parameters() if f".{adapters.DISCRIMINATOR}." in name
        } | {"head": self.head.weight}
        # Not one that accelerate prepared: its steps would be skipped within a gradient accumulation.
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=config.learning_rate, weight_decay=weight_decay
        )

    def score_and_step(self, groups: Sequence[Group], learn: bool) -> Scores:
        """Scores of all groups by the weights as they are; then, with `learn`, one step on them.

        Ranks bring as many groups each and take the same step.
        """
        found: dict[int, tuple[Tensor, Tensor]] = {}
        total = 0.0
        with adapters.as_adapter(self.model, adapters.DISCRIMINATOR), torch.set_grad_enabled(learn):
            for places in self._batches(groups):
                teacher_B, student_BN = self._scores([groups[place] for place in places])
                loss = self._loss(teacher_B, student_BN).sum() / len(groups)
                if learn:
                    loss.backward()
                total += loss.item()
                scores = teacher_B.detach().cpu(), student_BN.detach().cpu()
                found.update(zip(places, zip(*scores, strict=True), strict=True))
        if not math.isfinite(total):
            raise CheckpointError(
                "the discriminator's loss is no number; with a lower discriminator.learning_rate a new run may go well"
            )
        norm = self._step() if learn else 0.0
        teacher, student = zip(*(found[place] for place in range(len(groups))), strict=True)
        return Scores(torch.stack(teacher), torch.stack(student), total, norm)

    def _batches(self, groups: Sequence[Group]) -> list[list[int]]:
        """Places of groups of like length."""
        order = sorted(range(len(groups)), key=lambda place: groups[place].tokens, reverse=True)
        return [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]

    def rewards(self, student_BN: Tensor, groups: Sequence[Group]) -> Tensor:
        """What the student is given for its samples: the scores, clamped and debiased as configured."""
        if self.config.score_clamp:
            student_BN = student_BN.clamp(-self.config.score_clamp, self.config.score_clamp)
        lengths_BN = torch.tensor([[len(ids) for ids in group.samples] for group in groups])
        return student_BN - self.config.length_debias * torch.log1p(lengths_BN.float())

    def _loss(self, teacher_B: Tensor, student_BN: Tensor) -> Tensor:
        """Of each group, (B,)."""
        loss_B = LOSSES[self.config.loss](teacher_B, student_BN)
        if self.config.score_l2:
            loss_B = loss_B + self.config.score_l2 * (teacher_B**2 + (student_BN**2).mean(dim=1)) / 2
        return loss_B

    def _scores(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """Teacher's (B,) and samples' (B, N): the prompt of a group goes through the model once for all of them."""
        replies = [reply for group in groups for reply in (group.teacher, *group.samples)]
        members_BK = torch.arange(len(replies)).view(len(groups), -1)
        prompts = [group.prompt for group in groups for _ in range(members_BK.shape[1])]
        base = self.model.get_base_model()
        sequences = [
            torch.tensor(prompt + reply, dtype=torch.long)
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        lengths = torch.tensor([len(each) for each in sequences])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        first = torch.tensor([len(prompt) for prompt in prompts])
        ids, mask, first, members_BK, lengths = (
            each.to(base.device) for each in (ids, mask, first, members_BK, lengths)
        )
        inputs, ends = {"input_ids": ids, "attention_mask": mask}, (members_BK.flatten(), lengths - 1)
        if self.shares:
            shared = prefix.rows(ids, mask, first, members_BK)
            inputs, ends = shared.inputs, shared.ends()
        with torch.autocast(base.device.type, torch.bfloat16, enabled=base.device.type == "cuda"):
            hidden = base.base_model(**inputs, use_cache=False).last_hidden_state[ends]
        scores_BK = self.head(hidden.float())[:, 0].view(len(groups), -1)
        return scores_BK[:, 0], scores_BK[:, 1:]

    def _step(self) -> float:
        """The optimizer's, on the mean of all ranks' gradients; returns their norm before it is clipped."""
        for weight in self.weights.values():  # what no reply of this rank came to has none
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        ranks.average([weight.grad for weight in self.weights.values()])
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.max_grad_norm or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad()  # to None: the student's norm is taken over all of the model's gradients
        return float(norm)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        weights = {name: weight.detach().cpu() for name, weight in self.weights.items()}
        return {"weights": weights, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Undoes `state`."""
        self._set(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _set(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])

    def save(self, file: Path, base: str) -> None:
        """Write the weights and the name of what they stand on."""
        partial = file.with_name(f".{file.name}.tmp")
        save_file(self.state()["weights"], partial, metadata={"base": base})
        partial.rename(file)

    def load(self, file: Path, base: str) -> None:
        """Go on from a file of `save`, with a new optimizer. Raises ConfigError for any other."""
        with loading.loading(str(file)), safe_open(file, "pt") as opened:
            made_on = (opened.metadata() or {}).get("base")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        if made_on != base:
            raise ConfigError(f"discriminator {file} was trained on {made_on}, not on {base}")
        shapes = [{name: each.shape for name, each in some.items()} for some in (weights, self.weights)]
        if shapes[0] != shapes[1]:
            raise ConfigError(f"discriminator {file} was trained with another [lora]")
        self._set(weights)
