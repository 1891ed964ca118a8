"""A bounded, evenly drawn sample of a stream whose length nobody knows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Reservoir(Generic[T]):
    """At most `size` of the offered items, each as likely as any other (Vitter 1985, algorithm R); seeded."""

    def __init__(self, size: int) -> None:
        self.items: list[T] = []
        self._size, self._offered, self._random = size, 0, random.Random(0)

    def offer(self, make: Callable[[], T]) -> None:
        """`make` is called only for an item that is taken in."""
        self._offered += 1
        if len(self.items) < self._size:
            self.items.append(make())
        elif (at := self._random.randrange(self._offered)) < self._size:
            self.items[at] = make()
