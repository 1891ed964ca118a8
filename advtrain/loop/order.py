"""In which order a trainer goes through its rows: the same whenever a run is resumed, and like lengths together.

TRL draws, these orders stand between it and accelerate. Called by every method's trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler


class EpochSeeded(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """An order that depends on the seed and on the trainer's epoch alone, and so not on where a run was resumed.

    accelerate tells its samplers the epoch through two wrappers; several processes that resume have three.
    """

    def __init__(self, drawn: Any, seed: int, trainer: Any) -> None:
        self.drawn, self.seed, self.trainer = drawn, seed, trainer

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[int]:
        self.drawn.generator.manual_seed(self.seed + int(self.trainer.state.epoch or 0))
        yield from self.drawn


class StepSorted(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """Rows as they were drawn, those of one optimizer step by length: like lengths share a forward pass.

    A step's rows stay the step's, so that its gradient is the same sum. The last rows of an epoch, when they do not
    fill a batch, stay by themselves: their batch weighs as much as a full one.
    """

    def __init__(self, drawn: EpochSeeded, lengths: Sequence[int], batch: int, step: int) -> None:
        self.drawn, self.lengths, self.batch, self.step = drawn, lengths, batch, step

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[int]:
        order = list(self.drawn)
        for start in range(0, len(order), self.step):
            rows = order[start : start + self.step]
            whole = len(rows) // self.batch * self.batch
            yield from sorted(rows[:whole], key=self.lengths.__getitem__, reverse=True)
            yield from rows[whole:]


def epoch_seeded(trainer: Any, drawn: Any) -> Any:
    """TRL's plain random order by epochs; `drawn` as it is when it is none."""
    if type(drawn) is not torch.utils.data.RandomSampler:
        return drawn
    rows = trainer.train_dataset
    # As accelerate seeds the sampler that it would put in the place of a random one.
    plan = SeedableRandomSampler(rows, generator=drawn.generator, data_seed=trainer.args.data_seed)
    plain = torch.utils.data.RandomSampler(rows, generator=torch.Generator())
    return EpochSeeded(plain, plan.initial_seed, trainer)


def step_sorted(trainer: Any, drawn: Any) -> Any:
    """`epoch_seeded` with the rows of each step sorted, by the length of all their lists of ids together."""
    rows, args, drawn = trainer.train_dataset, trainer.args, epoch_seeded(trainer, drawn)
    if not isinstance(drawn, EpochSeeded):
        return drawn
    ids = [name for name in rows.column_names if name.endswith("_ids")]
    lengths = [sum(map(len, row)) for row in zip(*(rows[name] for name in ids), strict=True)]
    step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return StepSorted(drawn, lengths, args.train_batch_size, step)
