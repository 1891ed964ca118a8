"""The judge's view of the solution: proxies whose every use is a request to the other process.

Results come back as plain data where they can; what cannot cross stays there and is seen through a
`RemoteObject`, which never equals local data on the other side's word. Exceptions arrive as the nearest
builtin Exception, and never as one that a test's own control flow is made of (AssertionError, StopIteration,
BaseExceptions). Used by `judge` only.
"""

from __future__ import annotations

import builtins
import itertools
import operator
import sys
import types
from collections.abc import Callable, Iterator, Set
from typing import Any

from .wire import CannotCross, Channel, Decoder, Encoder, Node, WireError, words_of

_MAX_ITERATOR = 10_000
_CONTROL_FLOW = frozenset(("AssertionError", "StopIteration", "StopAsyncIteration"))
_MUTABLE_BASES = frozenset(("list", "dict", "set"))
_BASES = {t.__name__: t for t in (tuple, list, dict, set, frozenset, str, bytes, int, float)}
# what data is asked about itself with yes or no for an answer
_PREDICATES = {n for t in _BASES.values() for n in dir(t) if n.startswith("is")} | {"startswith", "endswith"}


class RunEnded(BaseException):
    """No further answer will come: the run is over, whatever the tests would catch."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SolutionExited(SystemExit):
    """The solution raised SystemExit; tests may expect that."""


class Session:
    """The conversation with one solution process."""

    def __init__(self, channel: Channel, deadline: float, may_import: bool) -> None:
        self._channel, self._deadline, self._may_import = channel, deadline, may_import
        self._objects: dict[int, Any] = {}
        self._callbacks: list[Callable[..., Any]] = []
        self._callback_numbers: dict[int, int] = {}
        self._exception_kinds: dict[str, type[Exception]] = {}
        self._exception_numbers: dict[type, int] = {}
        self.requests = 0
        self.ended: str | None = None
        self.unsplittable: str | None = None
        """Why the tests need the solution's own process: only what they made themselves can be the cause."""
        self._made_by_tests = False
        self.has_classes = False
        self.imported: set[str] = set()
        """Names that the solution took from the standard library."""
        self.named: Set[str] = frozenset()
        """Classes of the solution that the tests speak of by name: their objects may compare themselves."""

    def open(self) -> dict[str, Any]:
        """Wait for the program to load; its public names, or the exception it loaded with."""
        reply = self._receive()
        self.requests += 1
        if "raise" in reply:
            raise self._exception(reply)
        decoder = Decoder(foreign=self._borrow)
        try:
            named = [
                (name, node) for name, node in reply["names"] if name.isidentifier() and name[:2] != "__"
            ]
            return {name: self._imported(name, node, decoder) for name, node in named}
        except (WireError, LookupError, TypeError, ValueError, AttributeError) as problem:
            raise self._end("tampered") from problem

    def _imported(self, name: str, node: Node, decoder: Decoder) -> Any:
        """The solution's word for a name, except that what it took from the standard library is taken from
        ours, where it may be imported.
        """
        if type(node) is list and node[0] in ("module", "import"):
            self.imported.add(name)
        if not self._may_import and name in self.imported:
            return None if node[0] == "module" else decoder.decode(node[3])
        if type(node) is list and node[0] == "module":
            return _standard(node[1]) if node[1] in (name, "") else None
        if type(node) is list and node[0] == "import":
            ours = getattr(_standard(node[1]), name, None) if node[2] == name else None
            return decoder.decode(node[3]) if ours is None else ours
        return decoder.decode(node)

    def request(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        if self.ended:
            raise RunEnded(self.ended)
        self.requests += 1
        encoder = Encoder(foreign=self._lend)
        try:
            message = {"op": operation, "args": encoder.encode(args), "kwargs": encoder.encode(kwargs)}
        except CannotCross as problem:
            if self._made_by_tests:
                self.unsplittable = str(problem)
            raise
        self._send(message)
        reply = self._receive()
        while "callback" in reply:
            self._send(self._run_callback(reply))
            reply = self._receive()
        if "stop" in reply and operation != "next":
            raise self._end("tampered")
        return self._accept(reply, encoder.table)

    def _accept(self, reply: Node, known: list[object]) -> Any:
        try:
            decoder = Decoder(known, foreign=self._borrow)
            value = decoder.decode(reply["ok"]) if "ok" in reply else None
            for number, node in reply.get("changed", ()):
                decoder.restore(number, node)
        except (WireError, TypeError, ValueError, ArithmeticError) as problem:
            raise self._end("tampered") from problem
        if "ok" in reply:
            return value
        raise self._exception(reply)

    def _exception(self, reply: Node) -> BaseException:
        if "stop" in reply:
            return StopIteration()
        try:
            kinds, text = [str(kind) for kind in reply["raise"]], str(reply["text"])
            if "SystemExit" in kinds:
                args = Decoder().decode(reply["args"])
                return SolutionExited(*(args if type(args) is tuple else (text,)))
            return _build(self._nearest(kinds), Decoder().decode(reply["args"]), text)
        except (WireError, KeyError, TypeError):
            return self._end("tampered")

    def _nearest(self, kinds: list[str]) -> type[Exception]:
        for name in kinds:
            found = self._exception_kinds.get(name) or getattr(builtins, name, None)
            if name not in _CONTROL_FLOW and isinstance(found, type) and issubclass(found, Exception):
                return found
        return RuntimeError

    def _send(self, message: Node) -> None:
        try:
            self._channel.send(message)
        except OSError as problem:
            raise self._end("timeout" if isinstance(problem, TimeoutError) else "gone") from problem

    def _receive(self) -> dict[str, Node]:
        try:
            reply = self._channel.receive(self._deadline)
        except EOFError as problem:
            raise self._end("gone") from problem
        except TimeoutError as problem:
            raise self._end("timeout") from problem
        except WireError as problem:
            raise self._end("tampered") from problem
        if type(reply) is not dict:
            raise self._end("tampered")
        return reply

    def _end(self, reason: str) -> RunEnded:
        self.ended = reason
        return RunEnded(reason)

    def _run_callback(self, message: Node) -> Node:
        """A function the tests passed in, called by the solution: it gets data or proxies, like any test
        code.
        """
        try:
            function = self._callbacks[message["callback"]]
            decoder = Decoder(foreign=self._borrow)
            args, kwargs = decoder.decode(message["args"]), decoder.decode(message["kwargs"])
        except (WireError, LookupError, TypeError) as problem:
            raise self._end("tampered") from problem
        try:
            return {"ok": Encoder(foreign=self._lend).encode(function(*args, **kwargs))}
        except Exception as problem:  # belongs to the solution: it may be the very thing it is to catch
            return {"raise": type(problem).__name__, "text": words_of(problem)[:1000]}

    def _lend(self, value: Any) -> Node:
        if type(value) is RemoteObject:
            return ["h", object.__getattribute__(value, "_number")]
        self._made_by_tests = _is_of_the_tests(value)
        if isinstance(value, type):
            if value in self._exception_numbers:
                return ["h", self._exception_numbers[value]]
            if issubclass(value, BaseException) and value in vars(builtins).values():
                return ["builtin", value.__name__]
            raise CannotCross(f"the class {value.__name__} cannot cross the process boundary")
        if hasattr(value, "__next__") and not hasattr(value, "read"):
            items = list(itertools.islice(value, _MAX_ITERATOR + 1))
            if len(items) <= _MAX_ITERATOR:
                return ["iterator", Encoder(foreign=self._lend).encode(items)]
        elif callable(value):
            number = self._callback_numbers.setdefault(id(value), len(self._callbacks))
            if number == len(self._callbacks):
                self._callbacks.append(value)
            return ["callback", number]
        raise CannotCross(f"a value of type {type(value).__name__} cannot cross the process boundary")

    def _borrow(self, node: list[Node]) -> Any:
        if node[0] != "h" or len(node) != 5 or type(node[1]) is not int:
            raise WireError(f"unknown tag {node[0]!r}"[:80])
        _, number, kind, name, extra = node
        self.has_classes |= kind == "class"
        if kind == "class" and "Exception" in extra:
            return self._exception_kind(number, str(name), [str(base) for base in extra[1:]])
        if number not in self._objects:
            self._objects[number] = RemoteObject(self, number, str(kind), str(name), extra)
        return self._objects[number]

    def can_name(self, kind: type[BaseException]) -> bool:
        """Whether the solution's process knows this exception class too."""
        return kind in self._exception_numbers or kind in vars(builtins).values()

    def _exception_kind(self, number: int, name: str, bases: list[str]) -> type[Exception]:
        """A local class for an exception class of the solution, so that tests can catch it."""
        ours = getattr(builtins, name, None)
        if isinstance(ours, type) and issubclass(ours, Exception):
            return ours
        if name not in self._exception_kinds:
            kind = type(name, (self._nearest(bases),), {})
            self._exception_kinds[name] = kind
            self._exception_numbers[kind] = number
        return self._exception_kinds[name]


def is_class(value: Any) -> bool:
    """Whether it is a class of the solution."""
    return type(value) is RemoteObject and object.__getattribute__(value, "_kind") == "class"


def _is_of_the_tests(value: Any) -> bool:
    """Whether the solution cannot have put it into the tests' hands: it sends data, exceptions and proxies only."""
    if isinstance(value, type):
        return not issubclass(value, BaseException)
    return isinstance(value, types.GeneratorType) or type(value).__module__ != "builtins"


def _standard(module: str) -> Any:
    """A module of the standard library by name; None for any other."""
    if module.split(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        __import__(module)
    except ImportError:
        return None
    return sys.modules[module]


def _build(kind: type[Exception], args: Any, text: str) -> Exception:
    try:
        return kind(*args)
    except TypeError:  # UnicodeDecodeError and the like want five arguments
        return RuntimeError(f"{kind.__name__}: {text}")


class RemoteObject:
    """An object that stayed in the solution's process."""

    _session: Session
    _number: int
    _kind: str
    _name: str
    _extra: Any

    def __init__(self, session: Session, number: int, kind: str, name: str, extra: Any) -> None:
        for field, value in zip(self.__annotations__, (session, number, kind, name, extra), strict=True):
            object.__setattr__(self, field, value)
        if kind in ("function", "async", "class"):
            object.__setattr__(self, "__name__", name)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return self._session.request(operation, self, *args, **kwargs)

    def _value(self) -> Any:
        """The plain data of a subclass of a builtin type; asked for once where it cannot change, or two answers
        could suit two comparisons.
        """
        if self._extra in _MUTABLE_BASES:
            return self._ask("plain")
        if "_plain" not in self.__dict__:
            object.__setattr__(self, "_plain", self._ask("plain"))
        return self.__dict__["_plain"]

    def _base(self) -> type | None:
        return _BASES.get(self._extra) if self._kind == "object" and isinstance(self._extra, str) else None

    def _speaks_for_itself(self) -> bool:
        """Only for objects of classes the tests name may the other side decide a comparison."""
        return self._name in self._session.named

    @property  # type: ignore[misc]  # isinstance(x, tuple) holds for a named tuple, as it would at home
    def __class__(self) -> Any:
        return self._base() or RemoteObject

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._kind == "async":
            return self._coroutine(args, kwargs)
        return self._ask("call", *args, **kwargs)

    async def _coroutine(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._ask("await", *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _PREDICATES and not self._speaks_for_itself():
            if self._base() is None:
                raise AttributeError(f"an object of the solution's own may not answer {name}() about itself")
            return getattr(self._value(), name)
        return self._ask("getattr", name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        self._session.unsplittable = "the tests derive a class from one of the solution's"
        raise CannotCross(self._session.unsplittable)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("delattr", name)

    def __instancecheck__(self, value: Any) -> bool:
        return type(value) is RemoteObject and self._session.request("isinstance", value, self) is True

    def __subclasscheck__(self, kind: Any) -> bool:
        return type(kind) is RemoteObject and self._session.request("issubclass", kind, self) is True

    def __eq__(self, other: object) -> bool:
        if type(other) is RemoteObject:
            return self is other or (self._speaks_for_itself() and self._ask("eq", other) is True)
        return self._base() is not None and bool(self._value() == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        if self._base() is not None:
            return hash(self._value())
        return hash(self._ask("hash")) if self._speaks_for_itself() else id(self)

    def _order(self, operation: str, other: Any) -> Any:
        if self._base() is not None:
            return getattr(self._value(), f"__{operation}__")(other)
        if self._speaks_for_itself() and type(other) is RemoteObject:
            return self._ask(operation, other) is True
        return NotImplemented

    def __lt__(self, other: Any) -> Any:
        return self._order("lt", other)

    def __le__(self, other: Any) -> Any:
        return self._order("le", other)

    def __gt__(self, other: Any) -> Any:
        return self._order("gt", other)

    def __ge__(self, other: Any) -> Any:
        return self._order("ge", other)

    def __contains__(self, item: Any) -> bool:
        if self._speaks_for_itself():
            return self._ask("contains", item) is True
        return any(item == each for each in self)

    def __bool__(self) -> bool:
        return not (self._speaks_for_itself() or self._base()) or self._ask("bool") is True

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._ask("iter")
        return found

    def __len__(self) -> int:
        return int(self._ask("len"))

    def __str__(self) -> str:
        return str(self._ask("str"))

    def __repr__(self) -> str:
        return str(self._ask("repr"))

    def __enter__(self) -> Any:
        return self._ask("enter")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Only a class that the tests name may swallow an exception, and none a failed assert."""
        told = kind if kind and issubclass(kind, Exception) and self._session.can_name(kind) else None
        swallowed = self._ask("exit", told, "") is True and self._speaks_for_itself()
        return swallowed and kind is not None and not issubclass(kind, AssertionError)


def _forward(operation: str) -> Callable[..., Any]:
    return lambda self, *args: self._ask(operation, *args)


for _name in [
    "next",
    "getitem",
    "setitem",
    "delitem",
    "int",
    "float",
    "round",
    "reversed",
    "abs",
    "neg",
    "pos",
    "invert",
    "index",
    "iadd",
]:
    setattr(RemoteObject, f"__{_name}__", _forward(_name))


def _binary(operation: str, reflected: bool) -> Callable[..., Any]:
    """With local data as the other operand the solution would be told what is expected, so only objects of classes
    that the tests name work it out themselves.
    """
    function = getattr(operator, operation)

    def apply(self: RemoteObject, other: Any) -> Any:
        if self._base() is not None and not self._speaks_for_itself():
            mine = self._value()
            return function(other, mine) if reflected else function(mine, other)
        if not self._speaks_for_itself() and type(other) is not RemoteObject:
            return NotImplemented
        return self._session.request(operation, *((other, self) if reflected else (self, other)))

    return apply


for _name in [
    "add",
    "sub",
    "mul",
    "matmul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
]:
    setattr(RemoteObject, f"__{_name.rstrip('_')}__", _binary(_name, reflected=False))
    setattr(RemoteObject, f"__r{_name.rstrip('_')}__", _binary(_name, reflected=True))
