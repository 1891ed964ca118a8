"""State of a process that tests set for the solution: seeds, environment, arguments, limits. Each side tells the other.

In one process there is one of each; here there are two, kept alike by messages. What the tests set goes to the
solution; of what the solution changes only the stream of `random` comes back, since nothing else that the tests compute
with may depend on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def _random() -> Any:
    return sys.modules["random"].getstate() if "random" in sys.modules else None


def _set_random(state: Any) -> None:
    import random

    random.setstate(state)


def _decimal() -> Any:
    if "decimal" not in sys.modules:
        return None
    context = sys.modules["decimal"].getcontext()
    return context.prec, context.rounding, context.Emin, context.Emax


def _set_decimal(state: Any) -> None:
    import decimal

    context = decimal.getcontext()
    context.prec, context.rounding, context.Emin, context.Emax = state


def _set_environment(state: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(state)


_KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "random": (_random, _set_random),
    "decimal": (_decimal, _set_decimal),
    "environment": (lambda: dict(os.environ), _set_environment),
    "arguments": (lambda: list(sys.argv), lambda state: sys.argv.__setitem__(slice(None), state)),
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
}
FROM_SOLUTION = ("random",)


class State:
    """What both sides know of it."""

    def __init__(self, kinds: tuple[str, ...] = tuple(_KINDS)) -> None:
        self._kinds = kinds
        self._known = {kind: _KINDS[kind][0]() for kind in kinds}

    def changed(self) -> dict[str, Any]:
        """What is not as it was when the other side last heard of it."""
        now = {kind: _KINDS[kind][0]() for kind in self._kinds}
        found = {
            kind: value for kind, value in now.items() if value is not None and value != self._known[kind]
        }
        self._known |= found
        return found

    def take(self, told: dict[str, Any]) -> None:
        """Set what the other side tells. Raises ValueError or TypeError for what is no state."""
        for kind in _KINDS:
            if kind in told:
                _KINDS[kind][1](told[kind])
                if kind in self._known:
                    self._known[kind] = _KINDS[kind][0]()
