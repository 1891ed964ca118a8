"""Values and the text of tests: literals read and written, outcomes of calls, and when two are the same to a test.

`f([1] * 3, float("inf"))` is read as a call with values, none of it is run: what is computed here is bounded. Arguments
are written exactly, what is expected with floats to 12 digits; what does not read back as the same is in no test.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_CHARS = 2_000  # a value longer than this is no test that a person would read
TOLERANCE = 1e-9  # relative and absolute, of floats in tests
_MOST_ITEMS, _MOST_BITS = 10_000, 20_000
_NO_LITERAL = (ValueError, TypeError, SyntaxError, ArithmeticError, RecursionError, MemoryError)

RAISABLE = frozenset((
    "ArithmeticError", "AttributeError", "EOFError", "FileNotFoundError", "IndexError", "KeyError", "LookupError",
    "NotImplementedError", "OverflowError", "PermissionError", "RuntimeError", "TimeoutError", "TypeError",
    "UnicodeDecodeError", "UnicodeEncodeError", "ValueError", "ZeroDivisionError",
))  # fmt: skip
"""Builtin exceptions that a statement may demand. AssertionError and Exception would take a failed test for a raise."""


# --- reading ----------------------------------------------------------------------------------------------------------


def value_of(source: str | ast.expr) -> Any:
    """The value of an expression of literals: with arithmetic, `range`, `float("inf")`, `set()` and the like.

    Raises ValueError for anything else, and for what is too large.
    """
    try:
        return _value(ast.parse(source.strip(), mode="eval").body if isinstance(source, str) else source)
    except _NO_LITERAL as error:
        raise ValueError(str(error)) from None


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b, ast.LShift: lambda a, b: a << b,
}  # fmt: skip
_CONSTRUCTORS: dict[str, Any] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict, "float": float, "int": int,
    "str": str, "bytes": bytes, "complex": complex,
}  # fmt: skip


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp):
        return _combined(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        if isinstance(value, bool) or not isinstance(value, int | float | complex):
            raise ValueError("a sign before what is no number")
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _called(node.func.id, [_value(argument) for argument in node.args])
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [_value(item) for item in node.elts]
        return {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)](items)
    if isinstance(node, ast.Dict) and all(node.keys):
        return dict(zip(map(_value, node.keys), map(_value, node.values), strict=True))  # type: ignore[arg-type]
    return ast.literal_eval(node)


def _combined(node: ast.BinOp) -> Any:
    if type(node.op) not in _BINARY:
        raise ValueError("no arithmetic of literals")
    left, right = _value(node.left), _value(node.right)
    sizes = [_size(side) for side in (left, right) if isinstance(side, str | bytes | list | tuple)]
    numbers = [side for side in (left, right) if isinstance(side, int)]
    if isinstance(node.op, ast.Mod) and sizes:
        raise ValueError("formatted text")
    if isinstance(node.op, ast.Mult) and sizes and numbers and sizes[0] * numbers[0] > _MOST_ITEMS:
        raise ValueError("too large")
    if isinstance(node.op, ast.Pow | ast.LShift) and len(numbers) == 2:
        bits = left.bit_length() * right if isinstance(node.op, ast.Pow) else left.bit_length() + right
        if bits > _MOST_BITS:
            raise ValueError("too large")
    return _BINARY[type(node.op)](left, right)


def _size(value: Any) -> int:
    """How much there would be to write: repetitions hold the same item many times."""
    if isinstance(value, str | bytes):
        return len(value)
    return 1 + sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _called(name: str, given: list[Any]) -> Any:
    if name == "range":
        made = range(*given)
        if len(made) > _MOST_ITEMS:
            raise ValueError("too large")
        return made
    if name not in _CONSTRUCTORS or len(given) > 1 or (name == "bytes" and given and type(given[0]) is int):
        raise ValueError(f"{name} is no literal")
    return _CONSTRUCTORS[name](*given)


def arguments(call: str) -> tuple[Any, ...]:
    """The arguments of `f(...)`. Raises ValueError where it is no call with literals by position."""
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except _NO_LITERAL as error:
        raise ValueError(f"no call: {error}") from None
    if not isinstance(node, ast.Call) or node.keywords:
        raise ValueError("no call with positional arguments")
    return tuple(value_of(argument) for argument in node.args)


# --- writing ----------------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """`value` as the text of a test, '' for what no test can hold; sets and dictionaries that are equal have one."""
    try:
        text = _text(value)
        return text if len(text) <= MAX_CHARS and same(value_of(text), value) else ""
    except _NO_LITERAL:  # unknown type, huge number, deep nesting
        return ""


def call_text(name: str, args: tuple[Any, ...]) -> str:
    """`name(...)` with these arguments, exactly as they are; '' where they cannot be written."""
    try:
        parts = [_exact(value) for value in args]
        text = f"{name}({', '.join(parts)})"
        return text if len(text) <= MAX_CHARS and all(map(_reads_back, parts, args)) else ""
    except _NO_LITERAL:
        return ""


def _reads_back(text: str, value: Any) -> bool:
    return repr(value_of(text)) == repr(value) or value_of(text) == value


def _text(value: Any) -> str:
    """With floats to 12 digits. Raises ValueError for other types."""
    if type(value) is float:
        if value != value:
            raise ValueError("nan equals nothing")
        return _float(float(f"{value:.12g}"))
    return _written(value, _text)


def _exact(value: Any) -> str:
    """As it is: the order of a dictionary may matter to who is given it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_exact(key)}: {_exact(item)}" for key, item in value.items()) + "}"
    return _float(value) if type(value) is float else _written(value, _exact)


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float('{value}')"


def _written(value: Any, inner: Callable[[Any], str]) -> str:
    """The members of sets and dicts in a fixed order; what derives from a dict as a dict."""
    if type(value) in (list, tuple):
        joined = ", ".join(map(inner, value)) + ("," if type(value) is tuple and len(value) == 1 else "")
        return f"[{joined}]" if type(value) is list else f"({joined})"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{_exact(key)}: {inner(item)}" for key, item in value.items())) + "}"
    if type(value) in (set, frozenset):
        members = "{" + ", ".join(sorted(map(_exact, value))) + "}" if value else ""
        return members if type(value) is set and value else f"{type(value).__name__}({members})"
    if value is None or type(value) in (int, bool, str, bytes, complex):
        return repr(value)
    raise ValueError(f"{type(value).__name__} cannot stand in a test")


# --- outcomes of calls ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Returned:
    """A call gives this value, as `text_of` writes it."""

    text: str

    @property
    def value(self) -> Any:
        return value_of(self.text)

    @property
    def entry(self) -> dict[str, str]:
        """What an entry of the `tests` column says of it."""
        return {"expected": self.text}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Raised:
    """A call raises a builtin exception of this name."""

    name: str

    @property
    def entry(self) -> dict[str, str]:
        """What an entry of the `tests` column says of it."""
        return {"raises": self.name}

    def __str__(self) -> str:
        return self.name


Outcome = Returned | Raised


def outcome_of(entry: Mapping[str, Any]) -> Outcome:
    """What an entry `{call, expected}` or `{call, raises}` expects. Raises ValueError for one of another kind."""
    if isinstance(name := entry.get("raises"), str) and name in RAISABLE:
        return Raised(name)
    if isinstance(text := entry.get("expected"), str):
        value_of(text)
        return Returned(text)
    raise ValueError("a test that expects neither a value nor a known exception")


def alike(expected: Outcome, other: Outcome) -> bool:
    """Whether a test that expects the one accepts the other."""
    if isinstance(expected, Returned) and isinstance(other, Returned):
        return expected == other or same(expected.value, other.value)
    return expected == other


def same(expected: Any, other: Any) -> bool:
    """Whether a test that expects one value accepts the other: what is to be a float may be within TOLERANCE of it, a
    bool by itself is no number.

    In doubt (too deep to be compared) they are the same, so that a difference is always a shown one.
    """
    if isinstance(expected, bool) != isinstance(other, bool):
        return False
    try:
        return _alike(expected, other)
    except RecursionError:
        return True


def _alike(expected: Any, other: Any) -> bool:
    if isinstance(expected, float):
        return _close(expected, other)
    if isinstance(expected, dict) and isinstance(other, dict):
        return expected.keys() == other.keys() and all(_alike(expected[key], other[key]) for key in expected)
    if type(expected) is type(other) and isinstance(expected, list | tuple):
        return len(expected) == len(other) and all(map(_alike, expected, other))
    return bool(expected == other)


def _close(expected: float, other: Any) -> bool:
    """As `_close` of `contract.suite` has it; and two nan are the same."""
    if not isinstance(other, int | float) or isinstance(other, bool):
        return False
    finite = abs(other) < 1e308 and abs(expected) < 1e308
    near = finite and abs(other - expected) <= TOLERANCE * max(1.0, abs(expected))
    return expected == other or near or (expected != expected and other != other)
