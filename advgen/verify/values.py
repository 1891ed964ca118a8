"""Values of calls: as the text of a test, and whether two of them are the same to a test. Pure."""

from __future__ import annotations

import ast
import math
from ast import literal_eval
from typing import Any

from advgen.parse import tree

MAX_VALUE_CHARS = 2_000  # an expected value longer than this is no test that a person would read
TOLERANCE = 1e-9  # that of `advcore.contract.assertion`


def literal_repr(value: Any) -> str:
    """`value` as the text of a test, the same for equal values; '' for what no test can hold.

    A float inside a container is turned away: only a float by itself is compared with a tolerance.
    """
    if type(value) is float:
        return repr(float(f"{value:.12g}")) if math.isfinite(value) else ""
    try:
        text = _canonical(value)
        return text if len(text) <= MAX_VALUE_CHARS and literal_eval(text) == value else ""
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # unknown type, huge number, deep nesting
        return ""


def _canonical(value: Any) -> str:
    """repr with the members of sets and dicts in a fixed order. Raises ValueError for other types."""
    if type(value) in (list, tuple):
        items = [_canonical(item) for item in value]
        joined = ", ".join(items) + ("," if type(value) is tuple and len(items) == 1 else "")
        return f"[{joined}]" if type(value) is list else f"({joined})"
    if type(value) is dict:
        return (
            "{"
            + ", ".join(sorted(f"{_canonical(key)}: {_canonical(item)}" for key, item in value.items()))
            + "}"
        )
    if type(value) is set and value:
        return "{" + ", ".join(sorted(map(_canonical, value))) + "}"
    if value is None or type(value) in (int, bool, str, bytes):
        return repr(value)
    raise ValueError(f"{type(value).__name__} cannot stand in a test")


def same(one: Any, other: Any) -> bool:
    """Whether a test that expects one accepts the other: floats within TOLERANCE, a bool is no number.

    In doubt (too deep to be compared) they are the same, so that a difference is always a shown one.
    """
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        return _alike(one, other)
    except RecursionError:
        return True


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return _close(one, other)
    if type(one) is not type(other):
        return bool(one == other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    return bool(one == other)


def _close(one: Any, other: Any) -> bool:
    if not (isinstance(one, int | float) and isinstance(other, int | float)):
        return False
    if one != one and other != other:  # two nan
        return True
    try:
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # an int beyond every float
        return False


def arguments(call: str) -> tuple[Any, ...]:
    """The literal arguments of `f(...)`. Raises ValueError where it is no call with literals by position."""
    body = tree(call).body
    node = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    if not isinstance(node, ast.Call) or node.keywords:
        raise ValueError("no call with positional arguments")
    try:
        return tuple(literal_eval(argument) for argument in node.args)
    except (TypeError, SyntaxError, RecursionError, MemoryError) as error:  # an unhashable key, for one
        raise ValueError(str(error)) from None
