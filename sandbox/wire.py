"""Tagged JSON: how values cross between the process under test and the one that judges it.

A scalar is itself; everything else is a list whose first item is a tag. Decoding builds exact builtin types
(and a few value types of the standard library) and nothing else, so no `__eq__`, pickle or subclass of the
sender survives the crossing. Mutable containers are numbered in order of first visit, which keeps aliases and
cycles, and lets a reply say "your second argument". What to do with a value that has no tag is the caller's
business (`foreign`).
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_MESSAGE = 1 << 24
# larger integers travel as hex: decimal conversion is quadratic and capped by the interpreter
_JSON_INT = 1 << 62

Node = Any  # None | bool | int | float | str | list of Nodes


class CannotCross(TypeError):
    """The value has no representation on the wire."""


class WireError(ValueError):
    """The other side did not keep to the format."""


def refuse(value: object) -> Node:
    raise CannotCross(f"a value of type {type(value).__qualname__} cannot cross the process boundary")


def refuse_node(node: list[Node]) -> Any:
    raise WireError(f"unknown tag {node[0]!r}"[:80])


def _whole(part: object) -> int | None:
    return part if part is None or type(part) is int else refuse(part)


# type -> (tag, its plain parts); the inverse is in _BUILD
_SPLIT: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("b", lambda v: v.hex()),
    bytearray: ("ba", lambda v: v.hex()),
    complex: ("c", lambda v: [v.real, v.imag]),
    range: ("range", lambda v: [hex(v.start), hex(v.stop), hex(v.step)]),
    Decimal: ("decimal", str),
    Fraction: ("fraction", lambda v: [hex(v.numerator), hex(v.denominator)]),
    datetime: ("datetime", lambda v: v.isoformat()),
    date: ("date", lambda v: v.isoformat()),
    timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    slice: ("slice", lambda v: [_whole(part) for part in (v.start, v.stop, v.step)]),
    type(NotImplemented): ("notimplemented", lambda v: None),
    type(...): ("ellipsis", lambda v: None),
}
_BUILD: dict[str, Callable[[Any], Any]] = {
    "i": lambda p: int(p, 16),
    "b": bytes.fromhex,
    "ba": bytearray.fromhex,
    "c": lambda p: complex(*p),
    "range": lambda p: range(*(int(part, 16) for part in p)),
    "decimal": Decimal,
    "fraction": lambda p: Fraction(*(int(part, 16) for part in p)),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda p: timedelta(*p),
    "slice": lambda p: slice(*p),
    "notimplemented": lambda p: NotImplemented,
    "ellipsis": lambda p: ...,
    "type": lambda name: _TYPES[name],
}
_TYPES: dict[str, type] = {
    t.__name__: t
    for t in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}
_TYPE_NAMES = {t: name for name, t in _TYPES.items()}
_SEQUENCES: dict[type, str] = {list: "l", deque: "q", set: "s"}
_MAPPINGS: dict[type, str] = {dict: "d", Counter: "counter", OrderedDict: "od", defaultdict: "dd"}
_FROZEN: dict[type, str] = {tuple: "t", frozenset: "f"}
_MUTABLE_BY_TAG: dict[str, type] = {tag: t for t, tag in (_SEQUENCES | _MAPPINGS).items()}
_FROZEN_BY_TAG: dict[str, type] = {tag: t for t, tag in _FROZEN.items()}
_PLAIN = frozenset((type(None), bool, str, float))
MUTABLE = frozenset(_SEQUENCES | _MAPPINGS)


# what `Sandbox.call` hands to a caller: the builtin types and nothing else
EXACT = frozenset((type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset))
EXACT_TAGS = frozenset(("i", "b", "c", "l", "t", "d", "s", "f"))
MAX_HASHED = 1 << 13
"""Keys and set items of one `Budget`: a hostile sender can make them collide, and its square is what that costs."""


class Budget:
    """What one run may still have hashed."""

    def __init__(self) -> None:
        self._left = MAX_HASHED

    def spend(self, count: int, refusal: type[Exception]) -> None:
        self._left -= count
        if self._left < 0:
            raise refusal(f"more than {MAX_HASHED} keys and set items in one run")


class Encoder:
    """One message's worth of values; `known` are mutable containers that both sides have numbered already."""

    def __init__(
        self,
        known: Iterable[object] = (),
        foreign: Callable[[Any], Node] = refuse,
        exact: Budget | None = None,
    ) -> None:
        """With `exact`, only EXACT types and no aliases: a cycle raises RecursionError."""
        self.table: list[Any] = list(known)
        self._exact = exact
        self._numbers = {id(value): number for number, value in enumerate(self.table)}
        self._foreign = foreign

    def encode(self, value: Any) -> Node:
        kind = type(value)
        if self._exact and kind not in _PLAIN:
            return self._encode_exact(value, self._exact)
        if kind in _PLAIN:
            return value
        return self._mutable(value) if kind in MUTABLE else self._tagged(value)

    def _tagged(self, value: Any) -> Node:
        kind = type(value)
        if kind is int:
            return value if -_JSON_INT < value < _JSON_INT else ["i", hex(value)]
        if kind in _FROZEN:
            return [_FROZEN[kind], *map(self.encode, value)]
        if kind in _SPLIT:
            tag, parts = _SPLIT[kind]
            return [tag, parts(value)]
        if kind is type and value in _TYPE_NAMES:
            return ["type", _TYPE_NAMES[value]]
        return self._foreign(value)

    def _encode_exact(self, value: Any, budget: Budget) -> Node:
        kind = type(value)
        if kind not in EXACT:
            return self._foreign(value)
        if kind in (set, frozenset, dict):
            budget.spend(len(value), CannotCross)
        if kind in MUTABLE:
            return self.contents(value)
        return self._tagged(value)

    def _mutable(self, value: Any) -> Node:
        number = self._numbers.get(id(value))
        if number is not None:
            return ["r", number]
        self._numbers[id(value)] = len(self.table)
        self.table.append(value)
        return self.contents(value)

    def contents(self, value: Any) -> Node:
        """The container without its number: what a reply sends back for an argument that was changed."""
        kind = type(value)
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *map(self.encode, value)]
        return [_MAPPINGS[kind], *([self.encode(key), self.encode(item)] for key, item in value.items())]


class Decoder:
    """The inverse. Raises WireError for anything an Encoder would not have written."""

    def __init__(
        self,
        known: Iterable[object] = (),
        foreign: Callable[[list[Node]], Any] = refuse_node,
        exact: Budget | None = None,
    ) -> None:
        """With `exact`, only EXACT types and no aliases: what comes out is no larger than what went in."""
        self.table: list[Any] = list(known)
        self._foreign = foreign
        self._exact = exact

    def decode(self, node: Node) -> Any:
        try:
            return self._decode(node)
        except WireError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as problem:
            raise WireError(f"{type(problem).__name__}: {problem}"[:200]) from problem

    def restore(self, number: int, node: Node) -> None:
        """Overwrite a known container in place with what `Encoder.contents` said of it."""
        try:
            value = self.table[number]
            kind = type(value)
            if _MUTABLE_BY_TAG[node[0]] is not kind:
                raise WireError("a container changed its type")
            fresh = list(self._items(node))
            value.clear()
            _fill(value, fresh)
        except (TypeError, ValueError, KeyError, IndexError, RecursionError) as problem:
            raise WireError(f"{type(problem).__name__}: {problem}"[:200]) from problem

    def _decode(self, node: Node) -> Any:
        if type(node) is not list:
            if isinstance(node, dict):
                raise WireError("a JSON object is not a value")
            return node
        tag = node[0]
        if self._exact:
            if tag not in EXACT_TAGS:
                raise WireError(f"tag {tag!r} is not accepted here"[:80])
            if tag in "sdf":
                self._exact.spend(len(node) - 1, WireError)
        if tag in _FROZEN_BY_TAG:
            return _FROZEN_BY_TAG[tag](map(self._decode, node[1:]))
        if tag in _MUTABLE_BY_TAG:
            value = _MUTABLE_BY_TAG[tag]()
            self.table.append(value)
            _fill(value, self._items(node))
            return value
        if tag == "r":
            return self.table[node[1]]
        if tag in _BUILD:
            return _BUILD[tag](node[1])
        return self._foreign(node)

    def _items(self, node: Node) -> Iterator[Any]:
        if _MUTABLE_BY_TAG[node[0]] in _SEQUENCES:
            return map(self._decode, node[1:])
        return ((self._decode(key), self._decode(item)) for key, item in node[1:])


def _fill(value: Any, items: Iterable[Any]) -> None:
    if isinstance(value, dict):
        for key, item in items:
            value[key] = item
    elif isinstance(value, set):
        value.update(items)
    else:
        value.extend(items)


_to_text = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_from_text = json.JSONDecoder().decode


def dumps(message: Node) -> bytes:
    return _to_text(message).encode("ascii")


def loads(data: bytes) -> Node:
    try:
        return _from_text(data.decode("ascii"))
    except (ValueError, RecursionError) as problem:
        raise WireError(f"not JSON: {problem}"[:200]) from problem


def words_of(problem: BaseException) -> str:
    """Its text, of whatever making: `__str__` may be the solution's, and an int too long to print is a ValueError."""
    try:
        return str(problem)
    except Exception:
        return f"<no text: {type(problem).__name__}>"


class Channel:
    """Length-prefixed messages over a stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unread = bytearray()
        self.received = 0
        """Bytes so far."""
        self._set_at = 0.0

    def send(self, message: Node) -> None:
        data = dumps(message)
        if len(data) > MAX_MESSAGE:
            raise CannotCross(f"a message of {len(data)} bytes is over the {MAX_MESSAGE} allowed")
        self._sock.sendall(len(data).to_bytes(4, "big") + data)

    def receive(self, deadline: float | None = None) -> Node:
        """Raises EOFError when the other side is gone, TimeoutError at the deadline (time.monotonic)."""
        size = int.from_bytes(self._exactly(4, deadline), "big")
        if size > MAX_MESSAGE:
            raise WireError(f"a message of {size} bytes is over the {MAX_MESSAGE} allowed")
        return loads(self._exactly(size, deadline))

    def _exactly(self, size: int, deadline: float | None) -> bytes:
        while len(self._unread) < size:
            if deadline is not None:
                self._set_timeout(deadline)
            try:
                part = self._sock.recv(1 << 16)
            except ConnectionError as problem:
                raise EOFError(str(problem)) from problem
            if not part:
                raise EOFError("the other side closed the channel")
            self._unread += part
            self.received += len(part)
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    def _set_timeout(self, deadline: float) -> None:
        """Now and then only, because it costs a system call; in between the deadline is kept to 50 ms."""
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError("the deadline has passed")
        if now - self._set_at > 0.05:
            self._sock.settimeout(max(deadline - now, 1e-3))
            self._set_at = now
