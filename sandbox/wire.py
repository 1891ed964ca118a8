"""Tagged JSON: how values cross between the process under test and the one that judges it.

A scalar is itself; everything else is a list whose first item is a tag. Decoding builds exact builtin types and value
types of the standard library (with `preload`, arrays of numpy) and nothing else, so no `__eq__`, pickle or subclass of
the sender survives the crossing. Mutable containers are numbered in order of first visit (`Shared`), which keeps
aliases and cycles, and lets a message say "your second argument". What to do with a value that has no tag is the
caller's business (`foreign`).
"""

from __future__ import annotations

import builtins
import json
import math
import operator
import re
import select
import socket
import sys
import time
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_MESSAGE = 1 << 26
# larger integers travel as hex: decimal conversion is quadratic and capped by the interpreter
_JSON_INT = 1 << 60
MAX_DEPTH = 20_000
"""Frames that encoding, decoding or comparing one value may take."""

Node = Any  # None | bool | int | float | str | list of Nodes


class CannotCross(TypeError):
    """The value has no representation on the wire."""


class WireError(ValueError):
    """The other side did not keep to the format."""


class _Deep:
    """Allows values that are nested as deep as a program may build them."""

    def __init__(self) -> None:
        self._entered, self._saved = 0, 0

    def __enter__(self) -> None:
        self._entered += 1
        if self._entered == 1:
            self._saved = sys.getrecursionlimit()
            sys.setrecursionlimit(max(self._saved, MAX_DEPTH))

    def __exit__(self, *_: object) -> None:
        self._entered -= 1
        if self._entered == 0:
            sys.setrecursionlimit(self._saved)


deep = _Deep()


def refuse(value: object) -> Node:
    raise CannotCross(f"a value of type {type(value).__qualname__} cannot cross the process boundary")


def refuse_node(node: list[Node]) -> Any:
    raise WireError(f"unknown tag {node[0]!r}"[:80])


def _whole(part: object) -> int | None:
    return part if part is None or type(part) is int else refuse(part)


def _offset(zone: timezone) -> Node:
    shift = zone.utcoffset(None)
    return [shift.days, shift.seconds, shift.microseconds, zone.tzname(None)]


def _bytes_of(view: memoryview) -> str:
    return bytes(view).hex() if view.format == "B" and view.ndim == 1 else refuse(view)


# type -> (tag, its plain parts); the inverse is in _BUILD
_SPLIT: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("b", lambda v: v.hex()),
    bytearray: ("ba", lambda v: v.hex()),
    memoryview: ("mv", _bytes_of),
    complex: ("c", lambda v: [v.real, v.imag]),
    range: ("range", lambda v: [hex(v.start), hex(v.stop), hex(v.step)]),
    Decimal: ("decimal", str),
    Fraction: ("fraction", lambda v: [hex(v.numerator), hex(v.denominator)]),
    datetime: ("datetime", lambda v: v.isoformat()),
    date: ("date", lambda v: v.isoformat()),
    clock_time: ("time", lambda v: v.isoformat()),
    timezone: ("timezone", _offset),
    timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    slice: ("slice", lambda v: [_whole(part) for part in (v.start, v.stop, v.step)]),
    type(NotImplemented): ("notimplemented", lambda v: None),
    type(...): ("ellipsis", lambda v: None),
}
_BUILD: dict[str, Callable[[Any], Any]] = {
    "i": lambda p: int(p, 16),
    "b": bytes.fromhex,
    "ba": bytearray.fromhex,
    "mv": lambda p: memoryview(bytes.fromhex(p)),
    "c": lambda p: complex(*p),
    "range": lambda p: range(*(int(part, 16) for part in p)),
    "decimal": Decimal,
    "fraction": lambda p: Fraction(*(int(part, 16) for part in p)),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": clock_time.fromisoformat,
    "timezone": lambda p: timezone(timedelta(*p[:3]), str(p[3])),
    "timedelta": lambda p: timedelta(*p),
    "slice": lambda p: slice(*p),
    "notimplemented": lambda p: NotImplemented,
    "ellipsis": lambda p: ...,
    "type": lambda name: _TYPES[name],
    "builtin": lambda name: _FUNCTIONS[name],
}
_TYPES: dict[str, type] = {
    t.__name__: t
    for t in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}
_TYPE_NAMES = {t: name for name, t in _TYPES.items()}
_FUNCTIONS: dict[str, Any] = {
    name: getattr(builtins, name)
    for name in (
        "abs", "all", "any", "ascii", "bin", "chr", "divmod", "hash", "hex", "len", "max", "min", "oct", "ord", "pow",
        "repr", "round", "sorted", "sum",
    )
}  # fmt: skip
"""Functions that may come back as themselves: pure, and harmless whatever they are called with."""


def _calling(name: str) -> Callable[[Any, Any], Any]:
    return lambda module, part: getattr(module, name)(part)


# "module.type" -> (what it is made of, how it is made again in that module); loaded where one comes along, not before
_LIBRARY: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "zoneinfo.ZoneInfo": (lambda v: v.key, lambda m, p: m.ZoneInfo(p)),
    "datetime.datetime": (
        lambda v: (v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo),
        lambda m, p: m.datetime.fromisoformat(p[0]).replace(fold=p[1], tzinfo=p[2]),
    ),
    "uuid.UUID": (lambda v: v.hex, lambda m, p: m.UUID(p)),
    "array.array": (lambda v: (v.typecode, v.tobytes()), lambda m, p: m.array(*p)),
    "types.SimpleNamespace": (lambda v: vars(v), lambda m, p: m.SimpleNamespace(**p)),
    "collections.ChainMap": (lambda v: v.maps, lambda m, p: m.ChainMap(*p)),
    "collections.UserDict": (lambda v: v.data, lambda m, p: m.UserDict(p)),
    "collections.UserList": (lambda v: v.data, lambda m, p: m.UserList(p)),
    "collections.UserString": (lambda v: v.data, lambda m, p: m.UserString(p)),
    "re.Pattern": (lambda v: (v.pattern, v.flags), lambda m, p: m.compile(*p)),
    "builtins.mappingproxy": (dict, lambda m, p: types.MappingProxyType(p)),
    "builtins.dict_keys": (list, lambda m, p: dict.fromkeys(p).keys()),
    "builtins.dict_values": (list, lambda m, p: dict(enumerate(p)).values()),
    "builtins.dict_items": (list, lambda m, p: dict(p).items()),
    "numpy.ndarray": (lambda v: _array_parts(v), lambda m, p: _array(m, *p)),
    **{
        f"{module}.{name}": (str, _calling(name))
        for module, names in {
            "pathlib": "PurePosixPath PureWindowsPath PosixPath",
            "ipaddress": "IPv4Address IPv6Address IPv4Network IPv6Network IPv4Interface IPv6Interface",
        }.items()
        for name in names.split()
    },
}  # fmt: skip
_MUTABLE_LIBRARY = frozenset(
    [
        "array.array",
        "types.SimpleNamespace",
        "collections.ChainMap",
        "collections.UserDict",
        "collections.UserList",
        "numpy.ndarray",
    ]
    + [f"builtins.{name}" for name in ("mappingproxy", "dict_keys", "dict_values", "dict_items")]
)
_LIBRARIES = frozenset(name.partition(".")[0] for name in _LIBRARY)
_NUMBERS = re.compile(r"[<>|=]?[biufcSU]\d+(\[\w+\])?|[<>]?[mM]8\[\w+\]")


def _array_parts(array: Any) -> Any:
    if not _NUMBERS.fullmatch(array.dtype.str):
        return refuse(array)
    return array.dtype.str, array.shape, array.tobytes()


def _array(numpy: Any, kind: str, shape: tuple[int, ...], data: bytes) -> Any:
    if not _NUMBERS.fullmatch(kind):
        raise WireError("an array of no numbers")
    return numpy.frombuffer(data, dtype=kind).reshape(shape).copy()


_SEQUENCES: dict[type, str] = {list: "l", deque: "q", set: "s"}
_MAPPINGS: dict[type, str] = {dict: "d", Counter: "counter", OrderedDict: "od", defaultdict: "dd"}
_FROZEN: dict[type, str] = {tuple: "t", frozenset: "f"}
_MUTABLE_BY_TAG: dict[str, type] = {tag: t for t, tag in (_SEQUENCES | _MAPPINGS).items()}
_FROZEN_BY_TAG: dict[str, type] = {tag: t for t, tag in _FROZEN.items()}
_PLAIN = frozenset((type(None), bool, str, float))
_SCALARS = _PLAIN | {int}
MUTABLE = frozenset(_SEQUENCES | _MAPPINGS)


# what `Sandbox.call` hands to a caller: the builtin types and nothing else
EXACT = frozenset((type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset))
EXACT_TAGS = frozenset(("i", "b", "c", "l", "t", "d", "s", "f"))
MAX_HASHED = 1 << 13
"""Keys and set items of one value that a hostile sender can make collide, and the square of that is what it costs."""


class TooMuch(CannotCross):
    """The value has a representation, but one that is over a limit of ours."""


class Budget:
    """How many keys may still be hashed, in one value and in all of one run: tuples and the like, since numbers of one
    word do not collide for long and texts are hashed with a secret.
    """

    def __init__(self, left: int = MAX_HASHED, run: Budget | None = None) -> None:
        self._left, self._run = left, run

    @classmethod
    def of_run(cls) -> Budget:
        return cls(8 * MAX_HASHED)

    def of_one_value(self) -> Budget:
        return Budget(run=self)

    def spend(self, count: int, refusal: type[Exception]) -> None:
        self._left -= count
        if self._left < 0:
            raise refusal("more keys and set items than may be hashed")
        if self._run:
            self._run.spend(count, refusal)


class Shared:
    """The mutable containers that both sides hold, numbered alike, and what was in them when both last agreed."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._agreed: dict[int, list[Any]] = {}
        self._next = 0

    def number(self, value: Any) -> int | None:
        return self._numbers.get(id(value))

    def add(self, value: Any) -> None:
        self.values[self._next] = value
        self._numbers[id(value)] = self._next
        self._next += 1

    def forget(self) -> None:
        """Begin anew, on both sides."""
        if self._next:
            self.values.clear()
            self._numbers.clear()
            self._agreed.clear()
            self._next = 0

    @property
    def mark(self) -> int:
        return self._next

    def rewind(self, mark: int) -> None:
        """Forget what was added since `mark`: the message that named it was never sent."""
        self.drop([number for number in self.values if number >= mark])
        self._next = mark

    def drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._numbers.pop(id(self.values.pop(number, None)), None)
            self._agreed.pop(number, None)

    def unused(self) -> list[int]:
        """Those that nobody here but this table holds any more."""
        return [number for number in self.values if sys.getrefcount(self.values[number]) <= 2]

    def changed(self) -> list[int]:
        """Those agreed on once that hold something else now."""
        return [number for number, old in self._agreed.items() if not _same(old, self.values[number])]

    def agree(self) -> None:
        """What they hold now, both sides know."""
        for number in self.changed():
            self._agreed[number] = _snapshot(self.values[number])
        for number in self.values.keys() - self._agreed.keys():
            self._agreed[number] = _snapshot(self.values[number])


def _snapshot(value: Any) -> list[Any]:
    if isinstance(value, float):
        return []
    return list(value.items()) if isinstance(value, dict) else list(value)


def _same(old: list[Any], value: Any) -> bool:
    """Whether a container still holds the very objects it held; cheap, and wrong only on the safe side."""
    if isinstance(value, float):
        return True
    if len(old) != len(value):
        return False
    if isinstance(value, dict):
        pairs = zip(old, value.items(), strict=True)
        return all(k is key and v is item for (k, v), (key, item) in pairs)
    return all(map(operator.is_, old, value))


class Encoder:
    """Values of one message; what is in `shared` both sides have numbered already."""

    def __init__(
        self,
        shared: Shared | None = None,
        foreign: Callable[[Any], Node] = refuse,
        exact: Budget | None = None,
    ) -> None:
        """With `exact`, only EXACT types and no aliases: a cycle raises RecursionError."""
        self._shared = shared or Shared()
        self._exact = exact
        self._foreign = foreign
        self.copied = ""
        """The type of a value that crossed as a copy, although it may change on either side."""

    def forget(self) -> None:
        """Begin anew with the containers."""
        self._shared.forget()

    def encode(self, value: Any) -> Node:
        kind = type(value)
        if kind in _PLAIN:
            return value if value == value or self._exact else self._numbered(value)
        if self._exact:
            return self._encode_exact(value, self._exact)
        return self._numbered(value) if kind in MUTABLE else self._tagged(value)

    def _tagged(self, value: Any) -> Node:
        kind = type(value)
        if kind is int:
            return value if -_JSON_INT < value < _JSON_INT else ["i", hex(value)]
        if kind in _FROZEN:
            return [_FROZEN[kind], *(value if _crosses_as_it_is(value) else map(self.encode, value))]
        if kind is type and value in _TYPE_NAMES:
            return ["type", _TYPE_NAMES[value]]
        if kind is types.BuiltinFunctionType and _FUNCTIONS.get(name := value.__name__) is value:
            return ["builtin", name]
        if kind in _SPLIT or kind.__module__ in _LIBRARIES:
            try:
                return self._parts(value)
            except CannotCross:  # some values of a type that crosses do not
                return self._foreign(value)
        return self._foreign(value)

    def _parts(self, value: Any) -> Node:
        kind = type(value)
        if kind in (bytearray, memoryview):
            self.copied = kind.__name__
        if kind in _SPLIT and not (kind is datetime and type(value.tzinfo) not in (timezone, type(None))):
            tag, parts = _SPLIT[kind]
            return [tag, parts(value)]
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _LIBRARY and _is_real(kind):
            self.copied = self.copied or name * (name in _MUTABLE_LIBRARY)
            return ["library", name, self.encode(_LIBRARY[name][0](value))]
        return refuse(value)

    def _encode_exact(self, value: Any, budget: Budget) -> Node:
        kind = type(value)
        if kind in (Counter, OrderedDict, defaultdict):  # equal to the dictionary that they hold
            value, kind = dict(value), dict
        if kind not in EXACT:
            return self._foreign(value)
        if kind in (set, frozenset, dict):
            budget.spend(sum(map(_may_collide, value)), TooMuch)
        if kind in MUTABLE:
            return self.contents(value)
        return self._tagged(value)

    def _numbered(self, value: Any) -> Node:
        """A container, or a NaN, which equals itself only while it is the same object."""
        number = self._shared.number(value)
        if number is not None:
            return ["r", number]
        self._shared.add(value)
        return ["nan"] if type(value) is float else self.contents(value)

    def contents(self, value: Any) -> Node:
        """The container without its number: what a message sends of one that was changed."""
        kind = type(value)
        if kind is deque:
            return ["q", value.maxlen, *map(self.encode, value)]
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *(value if _crosses_as_it_is(value) else map(self.encode, value))]
        pairs = ([self.encode(key), self.encode(item)] for key, item in value.items())
        if kind is defaultdict:
            return ["dd", self.encode(value.default_factory), *pairs]
        return [_MAPPINGS[kind], *pairs]


def _crosses_as_it_is(values: Any) -> bool:
    """Whether all are texts, truth values or small numbers; without a look at each, since most lists are of these."""
    kinds = set(map(type, values))
    if int in kinds:
        if len(kinds) > 1:
            return False
        return bool(min(values) > -_JSON_INT and max(values) < _JSON_INT)
    if float in kinds:
        return len(kinds) == 1 and not any(map(math.isnan, values))
    return kinds <= _PLAIN


def _may_collide(key: Any) -> bool:
    """Of a key or of its node."""
    return type(key) not in _PLAIN and not (type(key) is int and -_JSON_INT < key < _JSON_INT)


def _is_real(kind: type) -> bool:
    """Whether it is the library's own, not one that took its name."""
    known = getattr(sys.modules.get(kind.__module__), kind.__qualname__, kind)
    return known is kind and (
        kind.__flags__ & 1 << 9 == 0 or kind.__module__ in sys.stdlib_module_names | {"numpy"}
    )


class Decoder:
    """The inverse. Raises WireError for anything an Encoder would not have written."""

    def __init__(
        self,
        shared: Shared | None = None,
        foreign: Callable[[list[Node]], Any] = refuse_node,
        exact: Budget | None = None,
    ) -> None:
        """With `exact`, only EXACT types and no aliases: what comes out is no larger than what went in."""
        self._shared = shared or Shared()
        self._foreign = foreign
        self._exact = exact
        self.copied = ""
        """As that of an Encoder."""

    def forget(self) -> None:
        """Begin anew with the containers."""
        self._shared.forget()

    def decode(self, node: Node) -> Any:
        try:
            return self._decode(node)
        except WireError:
            raise
        except _MALFORMED as problem:
            raise WireError(f"{type(problem).__name__}: {problem}"[:200]) from problem

    def restore(self, number: int, node: Node) -> None:
        """Overwrite a shared container in place with what `Encoder.contents` said of it."""
        try:
            value: Any = self._shared.values[number]
            kind = type(value)
            if _MUTABLE_BY_TAG[node[0]] is not kind:
                raise WireError("a container changed its type")
            fresh = list(self._items(node))
            value.clear()
            _fill(value, fresh)
        except _MALFORMED as problem:
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
                keys = (item[0] for item in node[1:]) if tag == "d" else node[1:]
                self._exact.spend(sum(map(_may_collide, keys)), WireError)
        if tag in _FROZEN_BY_TAG:
            body = node[1:]
            return _FROZEN_BY_TAG[tag](
                body if _SCALARS.issuperset(map(type, body)) else map(self._decode, body)
            )
        if tag in _MUTABLE_BY_TAG:
            value = self._empty(tag, node)
            if not self._exact:
                self._shared.add(value)
            _fill(value, self._items(node))
            return value
        if tag == "p":
            return self._in_parentheses(node)
        if tag == "nan":
            self._shared.add(value := float("nan"))
            return value
        if tag == "r":
            return self._shared.values[node[1]]
        if tag in _BUILD:
            self.copied = self.copied or tag * (tag in ("ba", "mv"))
            return _BUILD[tag](node[1])
        if tag == "library":
            self.copied = self.copied or node[1] * (node[1] in _MUTABLE_LIBRARY)
            module = _library_module(node[1])
            return _LIBRARY[node[1]][1](module, self._decode(node[2]))
        return self._foreign(node)

    def _in_parentheses(self, node: Node) -> Any:
        """What `plain` has read as `(...)`: a tuple, but for one value without a comma behind it."""
        comma = node[-1] == ["c"]
        items = tuple(map(self._decode, node[1:-1] if comma else node[1:]))
        return items[0] if len(items) == 1 and not comma else items

    def _empty(self, tag: str, node: Node) -> Any:
        if tag == "q":
            return deque(maxlen=node[1])
        if tag == "dd":
            value: Any = defaultdict()
            value.default_factory = self._decode(node[1])
            return value
        return _MUTABLE_BY_TAG[tag]()

    def _items(self, node: Node) -> Iterable[Any]:
        body = node[2:] if node[0] in ("q", "dd") else node[1:]
        if _MUTABLE_BY_TAG[node[0]] in _SEQUENCES:
            return body if _SCALARS.issuperset(map(type, body)) else map(self._decode, body)
        return ((self._decode(key), self._decode(item)) for key, item in body)


_MALFORMED = (
    TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError, AttributeError, ImportError, re.error,
)  # fmt: skip


def _library_module(name: str) -> Any:
    module = name.partition(".")[0]
    if name not in _LIBRARY:
        raise WireError(f"{name!r} does not cross"[:80])
    __import__(module)
    return sys.modules[module]


def _fill(value: Any, items: Iterable[Any]) -> None:
    if isinstance(value, dict):
        for key, item in items:
            value[key] = item
    elif isinstance(value, set):
        value.update(items)
    else:
        value.extend(items)


def _no_json(value: object) -> Node:
    raise TypeError(f"{type(value).__name__} is no JSON")


# what JSONEncoder.encode and JSONDecoder.decode set up anew each time, at twice the cost of a short message
_chunks = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _no_json, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True
)
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def dumps(message: Node) -> bytes:
    return "".join(_chunks(message, 0)).encode("ascii")


def loads(data: bytes) -> Node:
    text = ""
    try:
        text = data.decode("ascii")
        value, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration) as problem:
        raise WireError(f"not JSON: {problem}"[:200]) from problem
    if end != len(text):
        raise WireError("more than one JSON value")
    return value


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
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._unread = b""
        self._at = 0
        self.received = 0
        """Bytes so far."""
        self._set_at = 0.0

    def send(self, message: Node) -> None:
        self.send_bytes(dumps(message))

    def send_bytes(self, data: bytes) -> None:
        """What `dumps` has made. Raises TooMuch."""
        if len(data) > MAX_MESSAGE:
            raise TooMuch(f"a message of {len(data)} bytes is over the {MAX_MESSAGE} allowed")
        self._sock.sendall(len(data).to_bytes(4, "big") + data)

    def waiting(self) -> bool:
        """Whether something has come that was not yet taken; does not wait."""
        return self._at < len(self._unread) or bool(self._poll.poll(0))

    def receive(self, deadline: float | None = None) -> Node:
        """Raises EOFError when the other side is gone, TimeoutError at the deadline (time.monotonic)."""
        at, there = self._at, len(self._unread) - self._at
        if there > 4 and there >= 4 + (size := int.from_bytes(self._unread[at : at + 4], "big")):
            self._at = at + 4 + size
            return loads(self._unread[at + 4 : self._at])
        size = int.from_bytes(self._exactly(4, deadline), "big")
        if size > MAX_MESSAGE:
            raise WireError(f"a message of {size} bytes is over the {MAX_MESSAGE} allowed")
        return loads(self._exactly(size, deadline))

    def _exactly(self, size: int, deadline: float | None) -> bytes:
        parts, missing = [], size
        while missing > (there := len(self._unread) - self._at):
            parts.append(self._unread[self._at :])
            missing -= there
            self._wait(deadline)
        end = self._at + missing
        parts.append(self._unread[self._at : end])
        self._at = end
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wait(self, deadline: float | None) -> None:
        if deadline is not None:
            self._set_timeout(deadline)
        try:
            came = self._take(self._sock.recv(1 << 18))
        except ConnectionError as problem:
            raise EOFError(str(problem)) from problem
        if not came:
            raise EOFError("the other side closed the channel")

    def _take(self, data: bytes) -> bool:
        self._unread, self._at = data, 0
        self.received += len(data)
        return bool(data)

    def _set_timeout(self, deadline: float) -> None:
        """Now and then only, because it costs a system call; in between the deadline is kept to 50 ms."""
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError("the deadline has passed")
        if now - self._set_at > 0.05:
            self._sock.settimeout(max(deadline - now, 1e-3))
            self._set_at = now
