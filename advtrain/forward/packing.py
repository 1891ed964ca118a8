"""What goes through a model together: items of like length, up to a number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Positions, padding included, of one forward pass; a prompt with all its completions is one row.
BATCH_TOKENS = 4096


def batches(items: Iterable[T], tokens: Callable[[T], int], most: int = BATCH_TOKENS) -> Iterator[list[T]]:
    """Items of like length together, longest first, as many as `most` tokens hold with padding; at least one."""
    batch: list[T] = []
    for item in sorted(items, key=tokens, reverse=True):
        if batch and tokens(batch[0]) * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
