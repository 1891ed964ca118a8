"""Several processes at one run, as `accelerate launch` starts them: which one writes, and where all wait.

Alone, a process is the main one and waits for nobody.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes the run's files and speaks for all."""
    return rank() == 0


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def barrier() -> None:
    """Wait until every process is here. The process group must exist: TRL's options make it."""
    if world_size() > 1:
        import accelerate

        accelerate.PartialState().wait_for_everyone()


def broadcast(value: T) -> T:
    """Return the main process's `value` in all: what one sees on a shared disk another may not see yet."""
    if world_size() > 1:
        import accelerate.utils

        (value,) = accelerate.utils.broadcast_object_list([value])
    return value


def average(tensors: Sequence[Any]) -> None:
    """Put the mean over all processes in the place of each tensor."""
    if world_size() > 1:
        import torch

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for tensor, mean in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def shutdown() -> None:
    """End the process group: one that a process simply leaves can abort the others."""
    if world_size() > 1:
        import accelerate

        gc.collect()  # a trainer that still refers to it keeps its threads, and those abort at the interpreter's end
        accelerate.PartialState().destroy_process_group()


def print_main(line: str) -> None:
    """Print a line to stderr, from the main process alone."""
    if is_main():
        print(line, file=sys.stderr)
