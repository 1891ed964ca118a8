"""Arguments drawn from scratch, of the types and sizes that the tests show, by Hypothesis.

Calibration holds programs against them: the gate mutates the arguments of the tests (`fuzz`) and adds tests where that
tells programs apart, so that its own inputs would find little that it missed.
"""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from advcore.engine import weights

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Args = tuple[Any, ...]
_LARGEST = (
    10**100
)  # of numbers that others are drawn like: larger ones have texts that Python refuses to write


def inputs(seeds: Sequence[Args], count: int) -> list[Args]:
    """At most `count` tuples of arguments like `seeds`, the same for the same seeds; none twice and none of them."""
    from hypothesis import HealthCheck, Phase, configuration, given, settings
    from hypothesis import strategies as st

    configuration.set_hypothesis_home_dir(
        weights.home() / "hypothesis"
    )  # else a folder where the user stands
    found = {repr(args): args for args in seeds}
    lengths = sorted({len(args) for args in seeds})
    shapes = [
        st.tuples(*map(_like, zip(*(args for args in seeds if len(args) == length), strict=True)))
        for length in lengths
    ]

    @settings(
        max_examples=2 * count, phases=[Phase.generate], derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.one_of(shapes))
    def draw(args: Args) -> None:
        found.setdefault(repr(args), args)

    if shapes:
        draw()
    return list(found.values())[len(seeds) :][:count]


def _like(values: Iterable[Any]) -> SearchStrategy[Any]:
    """Values of the types of `values`: numbers up to twice the largest, or 10, and negative only where one is; strings
    of the same kinds of characters, and containers of items like theirs, up to twice as long, or 1.
    """
    from hypothesis import strategies as st

    by_type = defaultdict[type, list[Any]](list)
    for value in values:
        by_type[type(value)].append(value)
    return st.one_of([_of_type(kind, seen) for kind, seen in by_type.items()])


def _of_type(kind: type, seen: Sequence[Any]) -> SearchStrategy[Any]:
    from hypothesis import strategies as st

    if kind is bool:
        return st.booleans()
    if kind in (int, float):
        finite = [abs(value) for value in seen if abs(value) < _LARGEST]
        most = 2 * max([5, *finite])
        least = -most if any(value < 0 for value in seen) else 0
        return st.integers(least, most) if kind is int else st.floats(least, most, allow_subnormal=False)
    if kind is str:
        return st.text(_alphabet("".join(seen)), max_size=_longest(seen))
    if kind in (list, set, frozenset):
        items = [item for value in seen for item in (value if kind is list else sorted(value, key=repr))]
        return st.lists(_like(items), max_size=_longest(seen) if items else 0).map(kind)
    if kind is tuple:
        lengths = {len(value) for value in seen}
        if len(lengths) == 1:
            return st.tuples(*map(_like, zip(*seen, strict=True)))
        items = [item for value in seen for item in value]
        return st.lists(_like(items), max_size=_longest(seen)).map(tuple)
    if issubclass(kind, dict) and any(seen):
        keys, items = ([part for value in seen for part in side(value)] for side in (dict.keys, dict.values))
        return st.dictionaries(_like(keys), _like(items), max_size=_longest(seen))
    return st.sampled_from(seen)


def _longest(seen: Sequence[Any]) -> int:
    return 2 * max(map(len, seen)) or 1


def _alphabet(seen: str) -> str:
    """The characters of `seen`, and the rest of the kinds among them."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    return "".join(sorted({*seen, *(each for kind in kinds if {*kind} & {*seen} for each in kind)})) or " "
