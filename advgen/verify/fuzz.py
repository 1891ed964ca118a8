"""Arguments like those of the tests, by type-aware mutation, to tell two programs apart. Pure.

The idea is EvalPlus's (Liu et al. 2023, arXiv 2305.01210): a value is mutated according to its type, and its parts come
from values seen. Kept narrower here: a parameter gets negative numbers or other characters only where the tests show
some, since outside what a statement allows two right programs may differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Args = tuple[Any, ...]
_MAX_CHARS = 20_000  # of one input as text: the calls of a run are bounded
_TRIES = 5  # new inputs are looked for among so many times the number wanted


def inputs(seeds: Sequence[Args], count: int, seed: int = 0) -> list[Args]:
    """The seeds, then new tuples of arguments, at most `count` in all and none twice."""
    chance = random.Random(seed)
    pools = [_Pool.of(column) for column in zip(*seeds, strict=False)]
    found = {repr(args): args for args in seeds}
    for _ in range(_TRIES * count):
        if len(found) >= count or not pools:
            break
        args = list(chance.choice(list(found.values())[: 4 * len(seeds)]))
        for at in chance.sample(range(len(args)), chance.randint(1, len(args))):
            args[at] = pools[min(at, len(pools) - 1)].mutated(args[at], chance)
        text = repr(tuple(args))
        if len(text) <= _MAX_CHARS:
            found.setdefault(text, tuple(args))
    return list(found.values())[:count]


@dataclass(slots=True)
class _Pool:
    """What the tests show of one parameter."""

    values: list[Any]
    """As they are given."""
    parts: dict[type, list[Any]] = field(default_factory=dict)
    """They and all that is in them, by type."""

    @classmethod
    def of(cls, values: Sequence[Any]) -> _Pool:
        pool = cls(list(values))
        for value in values:
            for part in _parts(value):
                pool.parts.setdefault(type(part), []).append(part)
        return pool

    def mutated(self, value: Any, chance: random.Random) -> Any:
        """Another value of the same type, most likely; or one that the tests have."""
        if chance.random() < 0.1:
            return chance.choice(self.values)
        return self._other(value, chance)

    def _other(self, value: Any, chance: random.Random) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int | float):
            return self._number(value, chance)
        if isinstance(value, str):
            return "".join(self._sequence(list(value), self._characters(), chance))
        if isinstance(value, list):
            return self._sequence(value, self._items(value, list), chance)
        if isinstance(value, tuple):  # a record more often than a sequence: its length stays
            return self._one_replaced(value, chance)
        if isinstance(value, dict):
            return self._mapping(value, chance)
        if isinstance(value, set | frozenset):
            return type(value)(
                self._sequence(sorted(value, key=repr), self._items(value, set, frozenset), chance)
            )
        return value

    def _number(self, value: float, chance: random.Random) -> float:
        seen = self.parts.get(type(value), [value])
        most = max(10, 2 * max(abs(each) for each in seen))
        other = chance.choice(
            (value + 1, value - 1, 2 * value, value // 2, 0, 1, -value, chance.choice(seen))
        )
        if min(seen) >= 0:
            other = abs(other)
        return type(value)(other) if abs(other) <= most else value

    def _characters(self) -> list[str]:
        return sorted({character for text in self.parts.get(str, []) for character in text}) or [" "]

    def _items(self, value: Any, *kinds: type) -> list[Any]:
        """What may be put into it: what stands in others of its kind, of the type of what it holds."""
        held = [item for kind in kinds for each in self.parts.get(kind, []) for item in each]
        types = {type(item) for item in value}
        return [item for item in held if type(item) in types or not types]

    def _sequence(self, items: list[Any], more: list[Any], chance: random.Random) -> list[Any]:
        """A copy with one thing done to it. Characters are replaced, other items mutated."""
        items = list(items)
        at = chance.randrange(len(items)) if items else 0
        change = chance.choice(("insert", "remove", "repeat", "swap", "mutate", "mutate", "reverse"))
        if not items or change == "insert":
            items[at:at] = [chance.choice(more)] if more else []
        elif change == "remove":
            del items[at : at + chance.randint(1, 2)]
        elif change == "repeat":
            items[at:at] = items[at : at + chance.randint(1, 3)]
        elif change == "swap":
            other = chance.randrange(len(items))
            items[at], items[other] = items[other], items[at]
        elif change == "reverse":
            items.reverse()
        else:
            characters = more and all(isinstance(each, str) and len(each) == 1 for each in more)
            items[at] = chance.choice(more) if characters else self._other(items[at], chance)
        return items

    def _one_replaced(self, value: tuple[Any, ...], chance: random.Random) -> tuple[Any, ...]:
        if not value:
            return value
        at = chance.randrange(len(value))
        return (*value[:at], self._other(value[at], chance), *value[at + 1 :])

    def _mapping(self, value: dict[Any, Any], chance: random.Random) -> dict[Any, Any]:
        made = dict(value)
        if not made:
            return dict(chance.choice(self.parts.get(dict, [value])))
        key = chance.choice(list(made))
        change = chance.choice(("remove", "value", "key"))
        item = made.pop(key) if change != "value" else made[key]
        if change == "value":
            made[key] = self._other(item, chance)
        elif change == "key":
            made[self._other(key, chance)] = item
        return made


def _parts(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(key)
            yield from _parts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _parts(item)
