"""The solution's process: runs the program under test and answers calls.

Everything here shares an interpreter with hostile code and is worth nothing as evidence: it holds no test, no
expected value and no verdict. Whatever it says is taken apart by `wire.Decoder` on the other side. Called by
`zygote` in a freshly forked, jailed child.
"""

from __future__ import annotations

import builtins
import json
import operator
import os
import socket
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from .wire import (
    MUTABLE,
    Budget,
    CannotCross,
    Channel,
    Decoder,
    Encoder,
    Node,
    WireError,
    dumps,
    loads,
    words_of,
)

# subclasses of these can show their plain data
_BASES = (tuple, list, dict, set, frozenset, str, bytes, int, float)
_CO_COROUTINE = 0x80
_OPERATORS = (
    "lt le eq ne ge gt not_ abs add and_ floordiv index inv invert lshift mod mul matmul neg or_ pos pow"
    " rshift sub truediv xor contains delitem getitem setitem iadd"
)


def _await(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio  # 40 ms that only asynchronous solutions pay for

    return asyncio.run(function(*args, **kwargs))


def _plain(value: Any) -> Any:
    base = next(base for base in _BASES if issubclass(type(value), base))
    return base(value)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "await": _await,
    "plain": _plain,
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "next": next,
    "enter": lambda manager: manager.__enter__(),
    "exit": lambda manager, kind, text: manager.__exit__(kind, kind and kind(text), None),
    **{f.__name__: f for f in (len, iter, bool, repr, str, hash, int, float, reversed, round, dir)},
    **{name: getattr(operator, name) for name in _OPERATORS.split()},
}


def read_all(fd: int) -> bytes:
    data = bytearray()
    while part := os.pread(fd, 1 << 20, len(data)):
        data += part
    return bytes(data)


def load(source_fd: int, file_name: str = "solution.py") -> types.ModuleType:
    """Run the program as the module `solution`; its exceptions are the caller's."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = sys.modules["__main__"] = module
    code = compile(read_all(source_fd), file_name, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module


def serve(sock: socket.socket, source_fd: int) -> NoReturn:
    """Split mode: load, say which names there are, then answer until the other side closes."""
    channel = Channel(sock)
    host = Host(channel)
    channel.send(host.introduce(source_fd))
    with suppress(EOFError):
        host.answer_until(lambda message: False)
    os._exit(0)


def keep_builtins() -> None:
    """Give our own modules their builtins for good: a program that patches them should fail, not break the
    answers.
    """
    for namespace in (globals(), Encoder.__init__.__globals__, vars(json.encoder), vars(json.decoder)):
        for name, value in vars(builtins).items():
            namespace.setdefault(name, value)


class Host:
    """The objects of the solution that the other side may refer to, and the answers about them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._callbacks: dict[int, Callable[..., Any]] = {}
        self._flush = sys.stdout.flush

    def introduce(self, source_fd: int) -> Node:
        try:
            module = load(source_fd)
            self._flush()
        except BaseException as problem:
            return self._describe(problem)
        names = [(n, v) for n, v in vars(module).items() if type(n) is str and not n.startswith("__")]
        return {"names": [[name, self._export(value)] for name, value in names]}

    def _export(self, value: Any) -> Node:
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        origin = getattr(value, "__module__", None)
        if callable(value) and isinstance(origin, str) and origin != "solution":
            return ["import", origin, getattr(value, "__name__", ""), self._encode(value)]
        return self._encode(value)

    def _encode(self, value: Any) -> Node:
        return Encoder(foreign=self._refer).encode(value)

    def answer_until(self, is_end: Callable[[Node], bool]) -> Node:
        while not is_end(message := self._channel.receive()):
            try:
                self._channel.send(self._answer(message))
            except CannotCross as problem:
                self._channel.send(self._describe(problem))
        return message

    def _answer(self, message: Node) -> Node:
        decoder = Decoder(foreign=self._resolve)
        args, kwargs = decoder.decode(message["args"]), decoder.decode(message["kwargs"])
        before = [_snapshot(value) for value in decoder.table]
        encoder = Encoder(decoder.table, foreign=self._refer)
        try:
            result = OPERATIONS[message["op"]](*args, **kwargs)
            self._flush()
            reply = {"ok": encoder.encode(result)}
        except BaseException as problem:  # of the program under test: the other side raises it again
            encoder = Encoder(decoder.table, foreign=self._refer)  # numbers of a half-encoded result are void
            reply = self._describe(problem, message["op"])
        changed = [k for k, old in enumerate(before) if not _same(old, decoder.table[k])]
        if changed:
            reply["changed"] = [[k, encoder.contents(decoder.table[k])] for k in changed]
        return reply

    def _refer(self, value: Any) -> Node:
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            return self._encode(value.item())  # a numpy scalar: tests compare it as the number it is
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        if isinstance(value, type):
            return ["h", number, "class", value.__name__, [base.__name__ for base in value.__mro__]]
        kind = "function" if callable(value) else "object"
        if kind == "function" and getattr(getattr(value, "__code__", None), "co_flags", 0) & _CO_COROUTINE:
            kind = "async"
        base = next((base.__name__ for base in _BASES if issubclass(type(value), base)), None)
        name = value.__name__ if isinstance(value, types.FunctionType) else type(value).__name__
        return ["h", number, kind, name, base]

    def _resolve(self, node: list[Node]) -> Any:
        if node[0] == "h":
            return self._objects[node[1]]
        if node[0] == "builtin":
            return getattr(builtins, node[1])
        if node[0] == "iterator":
            return iter(Decoder(foreign=self._resolve).decode(node[1]))
        if node[0] == "callback":
            return self._callback(node[1])
        raise WireError(f"unknown tag {node[0]!r}")

    def _callback(self, number: int) -> Callable[..., Any]:
        """The stand-in for a function of the other side; the same one each time, so that it can be a key."""
        if number not in self._callbacks:
            self._callbacks[number] = lambda *args, **kwargs: self._call_back(number, args, kwargs)
        return self._callbacks[number]

    def _call_back(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        encoder = Encoder(foreign=self._refer)
        self._channel.send(
            {"callback": number, "args": encoder.encode(args), "kwargs": encoder.encode(kwargs)}
        )
        reply = self.answer_until(lambda message: "op" not in message)
        if "raise" in reply:
            raise getattr(builtins, reply["raise"], RuntimeError)(reply["text"])
        return Decoder(foreign=self._resolve).decode(reply["ok"])

    def _describe(self, problem: BaseException, operation: str = "") -> dict[str, Node]:
        if isinstance(problem, StopIteration) and operation == "next":
            return {"stop": True}
        try:
            args = Encoder().encode(problem.args)
        except (CannotCross, RecursionError):
            args = ["t", words_of(problem)]
        kinds = [kind.__name__ for kind in type(problem).__mro__]
        return {"raise": kinds, "args": args, "text": words_of(problem)[:1000]}


def _snapshot(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else list(value)


def _same(old: list[Any], value: Any) -> bool:
    """Whether a container still holds the very objects it held; cheap, and wrong only on the safe side."""
    if type(value) not in MUTABLE or len(old) != len(value):
        return False
    if isinstance(value, dict):
        pairs = zip(old, value.items(), strict=True)
        return all(k is key and v is item for (k, v), (key, item) in pairs)
    return all(map(operator.is_, old, value))


def call_all(source_fd: int, calls_fd: int, output_fd: int) -> NoReturn:
    """Call mode: one line of JSON per call, written as it ends, so that a crash keeps those before it."""
    request = loads(read_all(calls_fd))
    try:
        function = _entry_point(load(source_fd), request["entry_point"])
    except BaseException as problem:
        _write_line(output_fd, {"load": _failure(problem)})
        os._exit(0)
    budget = Budget()
    for node in request["calls"]:
        _write_line(output_fd, _one_call(function, node, budget))
    os._exit(0)


def _entry_point(module: types.ModuleType, name: str) -> Callable[..., Any]:
    if name not in vars(module):
        raise NameError(f"the solution does not define {name!r}")
    function: Callable[..., Any] = vars(module)[name]
    return function


def _one_call(function: Callable[..., Any], node: Node, budget: Budget) -> dict[str, Node]:
    decoder = Decoder(exact=Budget())
    args = decoder.decode(node)
    try:
        value = function(*args)
        sys.stdout.flush()
    except BaseException as problem:
        return _failure(problem) | _mutated(args, budget)
    try:
        return {"status": "ok", "value": Encoder(exact=budget).encode(value)} | _mutated(args, budget)
    except (CannotCross, RecursionError) as problem:
        return _failure(problem) | _mutated(args, budget)


def _mutated(args: tuple[Any, ...], budget: Budget) -> dict[str, Node]:
    try:
        return {"args": Encoder(exact=budget).encode(args)}
    except (CannotCross, RecursionError):
        return {}


def _failure(problem: BaseException) -> dict[str, Node]:
    status = (
        "memory"
        if isinstance(problem, MemoryError)
        else "exited"
        if isinstance(problem, SystemExit)
        else "error"
    )
    return {"status": status, "error": f"{type(problem).__name__}: {words_of(problem)}"[:500]}


def _write_line(fd: int, record: dict[str, Node]) -> None:
    line = memoryview(dumps(record) + b"\n")
    while line:
        line = line[os.write(fd, line) :]
