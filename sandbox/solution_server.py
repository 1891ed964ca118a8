"""The solution's process: runs the program under test and answers calls.

Everything here shares an interpreter with hostile code and is worth nothing as evidence: it holds no test, no
expected value and no verdict. Whatever it says is taken apart by `wire.Decoder` on the other side. Called by
`zygote` in a freshly forked, jailed child.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import io
import json
import math
import operator
import os
import socket
import sys
import threading
import types
import warnings
from collections import UserDict, UserList, UserString
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from . import processes, visitors
from .state import FROM_SOLUTION, State
from .wire import (
    Budget,
    CannotCross,
    Channel,
    Decoder,
    Encoder,
    Node,
    Shared,
    TooMuch,
    WireError,
    deep,
    dumps,
    loads,
    words_of,
)

# how to get at the data of a subclass without its own methods, which may say something else
PLAIN: dict[type, Callable[[Any], Any]] = {
    tuple: lambda v: tuple.__getitem__(v, slice(None)),
    list: lambda v: list.__getitem__(v, slice(None)),
    dict: dict.copy,
    set: lambda v: set().union(v),
    frozenset: lambda v: frozenset().union(v),
    str: str.__str__,
    bytes: lambda v: bytes(memoryview(v)),
    int: int.__int__,
    float: float.__float__,
    UserDict: lambda v: UserDict(v.data),
    UserList: lambda v: UserList(v.data),
    UserString: lambda v: UserString(v.data),
}
_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    functools.partial,
    functools._lru_cache_wrapper,
)
_CO_COROUTINE = 0x80
MAX_PRINTED = 1 << 20
_MOST_WARNINGS = 100  # between two messages
_OPERATORS = (
    "lt le eq ne ge gt not_ abs add and_ floordiv index inv invert lshift mod mul matmul neg or_ pos pow"
    " rshift sub truediv xor contains delitem getitem setitem"
    " iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor"
)


def _await(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return _run(function(*args, **kwargs))


def _run(coroutine: Any) -> Any:
    import asyncio  # 40 ms that only asynchronous solutions pay for

    async def awaited() -> Any:
        return await coroutine

    return asyncio.run(awaited())


def base_of(value: Any) -> type | None:
    """The builtin type whose data an object of a subclass holds."""
    return next((base for base in PLAIN if issubclass(type(value), base)), None)


def plain(value: Any) -> Any:
    base = base_of(value)
    return PLAIN[base](value) if base else value


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "await": _await,
    "plain": plain,
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "setglobal": lambda name, *value: _set_global(name, *value),
    "isinstance": isinstance,
    "issubclass": issubclass,
    "next": next,
    "enter": lambda manager: manager.__enter__(),
    "exit": lambda manager, kind, text: manager.__exit__(kind, kind and kind(text), None),
    "anext": lambda it: _run(it.__anext__()),
    "aenter": lambda it: _run(it.__aenter__()),
    "aexit": lambda it, *told: _run(it.__aexit__(*[*told, None, None, None][:3])),
    "aiter": lambda it: it.__aiter__(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f.__name__: f
        for f in (
            len,
            iter,
            bool,
            repr,
            str,
            hash,
            int,
            float,
            reversed,
            round,
            dir,
            format,
            divmod,
            complex,
            bytes,
        )
    },
    **{f.__name__: f for f in (math.trunc, math.floor, math.ceil)},
    "fspath": os.fspath,
    **{name: getattr(operator, name) for name in _OPERATORS.split()},
}


def _set_global(name: str, *value: Any) -> None:
    names = vars(sys.modules["solution"])
    if value:
        names[name] = value[0]
    else:
        names.pop(name, None)


def read_all(fd: int) -> bytes:
    data = bytearray()
    while part := os.pread(fd, 1 << 20, len(data)):
        data += part
    return bytes(data)


def load(source: bytes, module: types.ModuleType, file_name: str = "solution.py") -> types.ModuleType:
    """Run the program as `module`, named `solution`; its exceptions are the caller's."""
    module.__file__ = file_name
    processes.install()
    sys.set_int_max_str_digits(0)  # a limit that the time of a run takes care of
    sys.modules["solution"] = sys.modules["__main__"] = module
    code = compile(source, file_name, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module


def serve(sock: socket.socket, source_fd: int) -> NoReturn:
    """Split mode: load, say which names there are, then answer until the other side closes."""
    channel = Channel(sock)
    host = Host(channel)
    host.note_warnings()
    host.introduce(source_fd)
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
        self._shared = Shared()
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._callbacks: dict[int, Any] = {}
        self._told: dict[int, Node] = {}
        self._untold: list[int] = []
        self._warned: list[Node] = []
        self._refused = ""
        self._state: State | None = None
        self._thread = threading.get_ident()
        self._flush = sys.stdout.flush
        self._foreign: dict[int, int] = {}
        self._foreign_kinds: dict[str, type[Exception]] = {}
        self._originals: dict[tuple[str, str], Any] = {}
        self._module: dict[str, Any] = {}
        self._entry_points: dict[str, Any] = {}
        self._known_names: dict[str, Any] = {}

    def note_warnings(self) -> None:
        """Keep what the program warns of for the next message: it belongs where the tests may wait for it."""
        warnings.simplefilter("always")

        def note(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
            if len(self._warned) < _MOST_WARNINGS:
                self._warned.append([names_of(category.__mro__), str(message)[:1000]])

        warnings.showwarning = note  # type: ignore[assignment]

    def introduce(self, source_fd: int) -> None:
        """Load the program and say what it defines, or what it raised. One that ends itself when it is done has defined
        what it defines all the same.
        """
        module, told = types.ModuleType("solution"), {}
        self._module = vars(module)
        try:
            load(read_all(source_fd), module)
            self._flush()
        except BaseException as problem:
            told = self.describe(problem)
            if not isinstance(problem, SystemExit):
                return self.send(told)
        names = [(n, v) for n, v in vars(module).items() if type(n) is str and not n.startswith("__")]
        exports = {"names": [[name, self._export(value)] for name, value in names]}
        self._known_names = dict(self._module)
        self._shared.agree()
        self.send(exports | told)

    def _export(self, value: Any) -> Node:
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        origin = getattr(value, "__module__", None)
        if callable(value) and isinstance(origin, str) and origin != "solution":
            return ["import", origin, getattr(value, "__name__", ""), self._encode(value)]
        return self._encode(value)

    def _encode(self, value: Any) -> Node:
        return Encoder(self._shared, foreign=self.refer).encode(value)

    def answer_until(self, is_end: Callable[[Node], bool]) -> Node:
        while not is_end(message := self._channel.receive()):
            if "calls" in message:
                self._answer_calls(message["calls"])
                continue
            self._reply(self._answer(message))
        return message

    def _reply(self, reply: Node) -> None:
        try:
            self.send(reply)
        except (TooMuch, MemoryError) as problem:
            self.send({"too_much": words_of(problem)})

    def _answer(self, message: Node) -> Node:
        self._shared.drop(message.get("dropped", ()))
        decoder = Decoder(self._shared, foreign=self._resolve)
        with deep:
            args, kwargs = decoder.decode(message["args"]), decoder.decode(message["kwargs"])
            if "process" in message:
                self._state = self._state or State(FROM_SOLUTION)
                self._state.take(Decoder().decode(message["process"]))
            for module, attribute, node in message.get("replaced", ()):
                self._replace(module, attribute, node, decoder)
            for number, node in message.get("changed", ()):
                decoder.restore(number, node)
        self._shared.agree()
        mark = self._shared.mark
        saved, printed = sys.stdout, io.StringIO()
        if "echo" in message:  # the tests listen to what is printed
            sys.stdout = printed
        try:
            result = OPERATIONS[message["op"]](*args, **kwargs)
            self._flush()
            reply = self._crossing(result, mark)
        except BaseException as problem:  # of the program under test: the other side raises it again
            self._shared.rewind(mark)  # numbers of a half-encoded result are void
            reply = self.describe(problem, message["op"])
        if "echo" in message:
            sys.stdout = saved
            reply["printed"] = printed.getvalue()[:MAX_PRINTED]
        with deep:
            return reply | self._changes()

    def _replace(self, module: str, attribute: str, node: Node, decoder: Decoder) -> None:
        """Do in this process what the tests have done in theirs: put something else in place of a library's."""
        owner = __import__(module, fromlist=["_"])
        original = self._originals.setdefault((module, attribute), getattr(owner, attribute, None))
        setattr(owner, attribute, original if node == ["pristine"] else decoder.decode(node))

    def _crossing(self, result: Any, mark: int) -> dict[str, Node]:
        with deep:
            try:
                return {"ok": self._encode(result)}
            except RecursionError:
                self._shared.rewind(mark)
                return {"too_deep": True}

    def _changes(self) -> dict[str, Node]:
        """What else the other side holds and no longer knows right."""
        encoder = Encoder(self._shared, foreign=self.refer)
        rebound = [[name, encoder.encode(self._module[name])] for name in self._rebound()]
        changed = [[k, encoder.contents(self._shared.values[k])] for k in self._shared.changed()]
        self._shared.agree()
        state = self._state.changed() if self._state else {}
        told = {"rebound": rebound, "changed": changed, "process": Encoder().encode(state) if state else None}
        return {name: node for name, node in told.items() if node}

    def _rebound(self) -> list[str]:
        """Global names that stand for something else than when the other side was told."""
        known = self._known_names
        found = [
            name for name, value in self._module.items() if value is not known.get(name) and name[:2] != "__"
        ]
        known.update({name: self._module[name] for name in found})
        return found

    def refer(self, value: Any) -> Node:
        """What stands for a value that has to stay here: a number, and what its class is, said before any question."""
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            return ["n", self._encode(value.item())]  # a numpy scalar: tests compare it as the number it is
        if isinstance(value, BaseException):
            return ["e", self.describe(value)]
        if value in self._foreign_kinds.values():
            return ["raised kind", next(n for n, kind in self._foreign_kinds.items() if kind is value)]
        number = self._number(value)
        if isinstance(value, type):
            self._tell(value)
            return ["h", number, "class", value.__name__, names_of(value.__mro__)]
        self._tell(type(value))
        kind = "function" if isinstance(value, _FUNCTIONS) else "object"
        if kind == "function" and getattr(getattr(value, "__code__", None), "co_flags", 0) & _CO_COROUTINE:
            kind = "async"
        base = base_of(value)
        name = value.__name__ if isinstance(value, types.FunctionType) else type(value).__name__
        texts = _texts(value) if kind != "object" else []
        more = texts if kind != "object" else [_hash(value)]
        return ["h", number, kind, name, base and base.__name__, self._number(type(value)), *more]

    def _tell(self, kind: type) -> None:
        """Have the next message describe a class, the first time that something speaks of it."""
        number = self._number(kind)
        if number not in self._told:
            kin = [self._number(base) for base in kind.__mro__]
            self._told[number] = [
                number,
                kind.__name__,
                kin,
                names_of(kind.__mro__),
                dunders(kind),
                *_texts(kind),
            ]
            self._untold.append(number)

    def send(self, message: dict[str, Node]) -> None:
        if self._untold:
            message["classes"] = [self._told[number] for number in self._untold]
            self._untold = []
        if self._refused:
            message["refused"] = self._refused
        if self._warned:
            message["warned"], self._warned = self._warned, []
        try:
            self._channel.send(message)
        except RecursionError:
            with deep:
                self._channel.send(message)

    def _number(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number

    def _resolve(self, node: list[Node]) -> Any:
        if node[0] == "h":
            return self._objects[node[1]]
        if node[0] == "exception":
            return getattr(builtins, node[1])
        if node[0] == "iterator":
            return iter(Decoder(self._shared, foreign=self._resolve).decode(node[1]))
        if node[0] in ("callback", "visitor"):
            return self._callback(*node[1:])
        raise WireError(f"unknown tag {node[0]!r}")

    def _callback(self, number: int, texts: Any, special: list[str] | None = None) -> Any:
        """The stand-in for a function or an object of the other side; always the same one, so that it can be a key."""
        if number not in self._callbacks:
            ask = functools.partial(self._call_back, number)
            made = _function(ask, texts) if special is None else visitors.visitor(str(texts), special, ask)
            self._callbacks[number] = made
        return self._callbacks[number]

    def _call_back(self, number: int, operation: str, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            self._refused = "a function of the tests was called from a thread"
            raise RuntimeError(self._refused)
        message = {
            "callback": number,
            "do": operation,
            "args": self._encode(args),
            "kwargs": self._encode(kwargs),
        }
        self.send(message | self._changes())
        reply = self.answer_until(lambda message: "op" not in message)
        self._shared.drop(reply.get("dropped", ()))
        decoder = Decoder(self._shared, foreign=self._resolve)
        result = decoder.decode(reply["ok"]) if "ok" in reply else None
        for changed, node in reply.get("changed", ()):
            decoder.restore(changed, node)
        self._shared.agree()
        if "raise" in reply:
            raise self._raised_there(*reply["raise"])
        return result

    def _raised_there(self, number: int, name: str, text: str) -> BaseException:
        """What code of the tests raised when it was called from here: an exception that is theirs again over there."""
        known = getattr(builtins, name, None)
        if not (isinstance(known, type) and issubclass(known, Exception)):
            known = self._foreign_kinds.setdefault(name, type(name, (Exception,), {}))
        problem = known(text)
        self._foreign[id(problem)] = number
        self._objects.append(problem)  # it lives as long as its number
        return problem

    def describe(self, problem: BaseException, operation: str = "", depth: int = 0) -> dict[str, Node]:
        """An exception as data: its classes, arguments, attributes and cause."""
        if isinstance(problem, StopIteration) and operation == "next":
            return {"stop": True}
        if isinstance(problem, StopAsyncIteration) and operation == "anext":
            return {"stop": True}
        mark = self._shared.mark
        try:
            args, state = self._encode(problem.args), self._encode(_attributes(problem))
        except (CannotCross, RecursionError):
            self._shared.rewind(mark)
            args, state = ["t", words_of(problem)], ["d"]
        if id(problem) in self._foreign:
            return {"raised": self._foreign[id(problem)]}
        told = {
            "raise": names_of(type(problem).__mro__),
            "args": args,
            "state": state,
            "text": words_of(problem)[:1000],
        }
        if type(problem).__module__ == "solution":
            told |= {"class": self.refer(type(problem)), "repr": _repr(problem)[:1000]}
        for name, earlier in (("cause", problem.__cause__), ("context", problem.__context__)):
            if earlier is not None and depth < 4:
                told[name] = self.describe(earlier, depth=depth + 1)
        if problem.__suppress_context__:
            told["suppressed"] = True
        return told

    # --- calls with literals, many at once -------------------------------------------------------------------

    def _answer_calls(self, calls: list[Node]) -> None:
        """One reply a call, sent as the call ends; they share nothing but the program itself."""
        decoder = Decoder(self._shared, foreign=self._resolve)
        encoder = Encoder(Shared(), foreign=self.refer)
        for path, args, kwargs in calls:
            self._shared.forget()
            encoder.forget()
            positional, named = decoder.decode(args), decoder.decode(kwargs)
            try:
                result = self._called(path)(*positional, **named)
                self._flush()
                reply = {"ok": _encoded(encoder, result)}
            except BaseException as problem:  # of the program under test
                self._shared.forget()
                reply = self.describe(problem)
            self._reply(reply)
        self._shared.forget()

    def _called(self, path: str) -> Any:
        """What a call calls: a name as it is now; any other entry point as it was made for the first call."""
        if path in self._module:
            return self._module[path]
        if path not in self._entry_points:
            self._entry_points[path] = entry_point(self._module, path)
        return self._entry_points[path]


def _function(ask: Callable[..., Any], texts: list[str | None]) -> Callable[..., Any]:
    """A function that calls one of the tests and looks like it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return ask("call", *args, **kwargs)

    call.__name__, call.__qualname__, call.__doc__ = texts[0] or "call", texts[1] or "call", texts[2]
    return call


def _encoded(encoder: Encoder, value: Any) -> Node:
    """Depth is seldom: what it costs is paid by values that have it."""
    try:
        return encoder.encode(value)
    except RecursionError:
        encoder.forget()
        with deep:
            return encoder.encode(value)


def _hash(value: Any) -> int | None:
    """That of the program's own making; where there is none, any will do."""
    made: Any = type(value).__hash__
    if made in (object.__hash__, None):
        return None
    try:
        return hash(value)
    except Exception:  # the program's own: it holds something that has none
        return None


def _repr(problem: BaseException) -> str:
    try:
        return repr(problem)
    except Exception as failed:  # the program's own
        return f"<no repr: {type(failed).__name__}>"


_KEPT_IN_SLOTS: dict[type[BaseException], tuple[str, ...]] = {
    NameError: ("name",), ImportError: ("name", "path"), AttributeError: ("name", "obj"),
    OSError: ("filename", "filename2"),
}  # fmt: skip


def _attributes(problem: BaseException) -> dict[str, Any]:
    """Those of the program's own, and what builtin classes keep beside their arguments."""
    names = (name for kind, kept in _KEPT_IN_SLOTS.items() if isinstance(problem, kind) for name in kept)
    return dict(vars(problem)) | {
        name: value for name in names if (value := getattr(problem, name)) is not None
    }


def names_of(classes: tuple[type, ...]) -> list[str]:
    """`name` of a builtin class, `module:name` of any other, with an empty module where it is the solution's own."""
    modules = [("" if c.__module__ == "solution" else f"{c.__module__}") for c in classes]
    return [
        c.__name__ if module == "builtins" else f"{module}:{c.__qualname__}"
        for c, module in zip(classes, modules, strict=True)
    ]


def dunders(kind: type) -> list[str]:
    """The special methods that the program itself gave to a class, or that a class of a library has."""
    known = {name for base in kind.__mro__ if base is not object for name in vars(base) if type(name) is str}
    special = [name for name in known if name.startswith("__") and name.endswith("__")]
    return [name for name in special if getattr(kind, name, None) is not None]


def _texts(value: Any) -> list[str | None]:
    """Docstring and qualified name."""
    texts = [getattr(value, name, None) for name in ("__doc__", "__qualname__", "__module__")]
    return [text[:10_000] if isinstance(text, str) else None for text in texts]


CALL_BYTES = 1 << 23
"""What the calls of one run may return, as JSON."""
_REFUSAL = (
    dumps({"status": "output_limit", "error": f"over {CALL_BYTES} bytes of results in one run"}) + b"\n"
)


def call_all(source_fd: int, calls_fd: int, output_fd: int) -> NoReturn:
    """Call mode: one line of JSON per call, written as it ends, so that a crash keeps those before it."""
    request = loads(read_all(calls_fd))
    module = types.ModuleType("solution")
    try:
        with suppress(SystemExit):
            load(read_all(source_fd), module)
        function = entry_point(vars(module), request["entry_point"])
    except BaseException as problem:
        _write(output_fd, _line({"load": _failure(problem)}))
        os._exit(0)
    room, budget = CALL_BYTES - len(_REFUSAL) * len(request["calls"]), Budget.of_run()
    for node in request["calls"]:
        line = _line(_one_call(function, node, budget))
        fits = len(line) <= room
        _write(output_fd, line if fits else _REFUSAL)
        room -= len(line) * fits
    os._exit(0)


def entry_point(names: dict[str, Any], path: str) -> Any:
    """What `f`, `Class.method` or `Class().method` names. Raises NameError where the program does not define it."""
    return _reached(names, ast.parse(path, mode="eval").body)


def _reached(names: dict[str, Any], node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute):
        return getattr(_reached(names, node.value), node.attr)
    if isinstance(node, ast.Call):
        return _reached(names, node.func)()
    name = ast.unparse(node)
    if name not in names:
        raise NameError(f"the solution does not define {name!r}")
    return names[name]


def is_entry_point(path: str) -> bool:
    """Whether it is one of the forms that `entry_point` reads."""
    try:
        node = ast.parse(path, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Call) and not (node.args or node.keywords):
            node = node.func
        elif isinstance(node, ast.Attribute):
            node = node.value
        else:
            return False
    return True


def _one_call(function: Callable[..., Any], node: Node, budget: Budget) -> dict[str, Node]:
    args = Decoder(exact=Budget()).decode(node)
    try:
        value = function(*args)
        sys.stdout.flush()
    except BaseException as problem:
        return _failure(problem) | _mutated(args, budget)
    try:
        with deep:
            return {"status": "ok", "value": _exact(value, budget)} | _mutated(args, budget)
    except (CannotCross, RecursionError) as problem:
        return _failure(problem) | _mutated(args, budget)


def _exact(value: Any, budget: Budget) -> Node:
    return Encoder(exact=budget.of_one_value()).encode(value)


def _mutated(args: tuple[Any, ...], budget: Budget) -> dict[str, Node]:
    try:
        with deep:
            return {"args": _exact(args, budget)}
    except (CannotCross, RecursionError):
        return {}


def _failure(problem: BaseException) -> dict[str, Node]:
    status = "error"
    for kind, name in ((MemoryError, "memory"), (SystemExit, "exited"), (TooMuch, "output_limit")):
        if isinstance(problem, kind):
            status = name
    return {"status": status, "error": f"{type(problem).__name__}: {words_of(problem)}"[:500]}


def _line(record: dict[str, Node]) -> bytes:
    with deep:
        return dumps(record) + b"\n"


def _write(fd: int, data: bytes) -> None:
    line = memoryview(data)
    while line:
        line = line[os.write(fd, line) :]
