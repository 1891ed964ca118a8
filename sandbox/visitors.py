"""Objects of the tests in the solution's hands: mocks, streams, instances of classes that the tests define.

The object stays with the judge, so that what it records of its use is true; the solution gets a `Visitor`, whose every
use is a request to the judge. What may be asked is the little that an object is for: calls, public attributes, the
methods behind operators. Nothing that leads on into the judge's process: no function, module or frame has attributes
here, and a mock says nothing of what it has recorded, nor lets it be set.
"""

from __future__ import annotations

import io
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

_STREAMS = (io.StringIO, io.BytesIO)
_MAKERS = frozenset(("tests", "unittest.mock"))
_SHOWN = frozenset(("__name__", "__qualname__", "__doc__", "__init__"))
_DATA = (type(None), bool, int, float, str, bytes)
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_SPECIAL: dict[str, Callable[..., Any]] = {
    "call": lambda it, *args, **kwargs: it(*args, **kwargs),
    "enter": lambda it: it.__enter__(),
    "exit": lambda it, *args: it.__exit__(*args),
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "hash": hash,
    "str": str,
    "repr": repr,
    "int": int,
    "float": float,
    "index": operator.index,
    **{
        name: getattr(operator, name)
        for name in (
            *("getitem", "setitem", "delitem", "contains", "eq", "ne", "lt", "le", "gt", "ge"),
            *("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "abs", "iadd"),
        )
    },
}


def is_visitable(value: Any) -> bool:
    """Whether the solution may be given a `Visitor` for it."""
    if isinstance(value, _FUNCTIONS):
        return False
    kind = value if type(value) is type else type(value)
    return any(base in _STREAMS or base.__module__ in _MAKERS for base in kind.__mro__)


def special_methods(value: Any) -> list[str]:
    """Those of its class that a `Visitor` passes on."""
    kind = type(value)
    return [name for name in _SPECIAL if getattr(kind, f"__{name}__", None) is not None]


def perform(operation: str, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do for the solution what it asks of an object. Raises AttributeError for what it may not ask."""
    if operation in ("getattr", "setattr"):
        _check_attribute(value, args[0])
        if operation == "setattr" and _is_mock(value) and type(args[1]) not in _DATA:
            raise AttributeError(args[0])
        return (getattr if operation == "getattr" else setattr)(value, *args)
    if not is_visitable(value) and operation != "call":
        raise AttributeError(operation)
    return _SPECIAL[operation](value, *args, **kwargs)


def _check_attribute(value: Any, name: Any) -> None:
    recorded = (
        _is_mock(value)
        and name != "return_value"
        and name in dir(sys.modules["unittest.mock"].NonCallableMock)
    )
    hidden = type(name) is not str or (name.startswith("_") and name not in _SHOWN)
    if hidden or not is_visitable(value) or recorded:
        raise AttributeError(name)


def _is_mock(value: Any) -> bool:
    mock: Any = sys.modules.get("unittest.mock")
    return mock is not None and isinstance(value, mock.NonCallableMock)


# --- in the solution's process ------------------------------------------------------------------------------------


class Visitor:
    """The stand-in for an object of the tests."""

    __init__ = property(lambda self: self._ask_("getattr", "__init__"))

    def __getattr__(self, name: str) -> Any:
        return self._ask_("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask_("setattr", name, value)


def visitor(name: str, special: list[str], ask: Callable[..., Any]) -> Visitor:
    """One with these special methods."""
    methods = {f"__{each}__": _forward(each) for each in special if each in _SPECIAL}
    kind: type[Visitor] = type(name, (Visitor,), methods)
    made = object.__new__(kind)
    object.__setattr__(made, "_ask_", ask)
    return made


def _forward(operation: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: self._ask_(operation, *args, **kwargs)
