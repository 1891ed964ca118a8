"""Contamination by behaviour: a row's program put to the tests of benchmark tasks. Picks the tests; others run them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import fsum

from advcore.rouge import words
from advgen.hygiene.items import Hit, Item, Text, parameters
from advgen.hygiene.normal import parsed

Passes = Callable[[str, str, str], bool]
"""(code, tests, entry_point) -> whether the code passes the tests; from whoever has a sandbox."""

NEAREST = 20
"""Tasks that a program is tried on: a run costs milliseconds, and half of all tasks take one argument."""

_ASSERTS = 3  # fewer show too little of what a program computes


class Trials:
    """The tasks of `items` whose tests tell programs apart; of tasks with the same tests, the first."""

    def __init__(self, items: Iterable[Item]) -> None:
        discriminating: dict[str, Item] = {}
        for item in items:
            if _is_discriminating(item.tests):
                discriminating.setdefault(item.tests, item)
        self._tasks = [
            (item, len(found[0]), _vocabulary(item.prompt, item.entry_point))
            for item in discriminating.values()
            if (module := parsed(item.code)) and (found := parameters(module, item.entry_point))
        ]
        self._frequency = Counter(word for *_, vocabulary in self._tasks for word in vocabulary)

    @property
    def benchmarks(self) -> list[str]:
        """Where the tasks are from."""
        return list(dict.fromkeys(item.benchmark for item, *_ in self._tasks))

    def hits(self, row: Text, passes: Passes) -> list[Hit]:
        """The tasks nearest to `row` whose tests its program passes under their name."""
        return [
            Hit("behaviour", item.benchmark, item.name)
            for item in self.nearest(row)
            if passes(_renamed(row, item), item.tests, item.entry_point)
        ]

    def nearest(self, row: Text) -> list[Item]:
        """`NEAREST` tasks that can be called as the row's function can, by the words in common, rare ones first."""
        module = parsed(row.code)
        found = parameters(module, row.entry_point) if module else None
        if found is None:
            return []
        (names, needed), ours = found, _vocabulary(row.prompt, row.entry_point)
        fitting = [(item, theirs) for item, count, theirs in self._tasks if needed <= count <= len(names)]
        fitting.sort(key=lambda task: -fsum(1 / self._frequency[word] for word in ours & task[1]))
        return [item for item, _ in fitting[:NEAREST]]


def _vocabulary(prompt: str, entry_point: str) -> frozenset[str]:
    return frozenset(word for word in words(f"{prompt} {entry_point}") if not word.isdigit())


def _renamed(row: Text, item: Item) -> str:
    if row.entry_point == item.entry_point:
        return row.code
    return f"{row.code}\n\n{item.entry_point} = {row.entry_point}\n"


def _is_discriminating(tests: str) -> bool:
    """Whether there are several asserts, and more than one answer for them."""
    expected = re.findall(r"==\s*(.+)", tests)
    return len(re.findall(r"\bassert\b", tests)) >= _ASSERTS and (not expected or len(set(expected)) > 1)
