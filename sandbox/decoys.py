"""Values like one that the tests expect, but for a detail: to ask an object about without telling it which is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_COUNT = 7
"""So many beside the one that is meant: who guesses is right once in eight."""


def beside(value: Any) -> list[Any]:
    """Values of the same type, each a slip of the pen away and none equal to it."""
    from random import Random  # not in a slot's memory: it seeds itself anew in every fork

    chance = Random()
    made = [_other(value, chance) for _ in range(_COUNT)]
    return [each for each in made if each != value]


def shuffled(values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """The values with their places, in an order that nobody knows."""
    from random import Random

    places = list(range(len(values)))
    Random().shuffle(places)
    return ((place, values[place]) for place in places)


def _other(value: Any, chance: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, list | tuple | set) and value:
        items = list(value)
        place = chance.randrange(len(items))
        return type(value)([*items[:place], _other(items[place], chance), *items[place + 1 :]])
    if isinstance(value, dict) and value:
        key = chance.choice(list(value))
        return value | {key: _other(value[key], chance)}
    return _beside(value, chance)


def _beside(value: Any, chance: Any) -> Any:
    step = chance.choice((-3, -2, -1, 1, 2, 3))
    if isinstance(value, int):
        return value + step
    if isinstance(value, float | complex):
        return value * (1 + step / 16) + step / 8
    if isinstance(value, str) and value:
        place = chance.randrange(len(value))
        letter = chance.choice([c for c in "aeiounrst0123" if c != value[place]])
        return value[:place] + letter + value[place + 1 :]
    if isinstance(value, bytes):
        return value + bytes([97 + step])
    others: dict[type, Any] = {
        str: "a",
        list: [step],
        tuple: (step,),
        set: {step},
        dict: {step: 0},
        type(None): step,
    }
    return others.get(type(value), step)
