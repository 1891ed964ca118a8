"""The judge's conversation with the solution's process: requests, answers, and what each side may give the other.

Exceptions arrive as the nearest class that the tests could know, and never as one that a test's own control flow is
made of (AssertionError, StopIteration, BaseExceptions). A right program may suffer from what a copy or a stand-in
cannot do: then the session notes a doubt (`Session.refuse`), and no verdict hangs on it. Used by `judge` and `inside`.
"""

from __future__ import annotations

import builtins
import itertools
import sys
import threading
import time
import types
import warnings
from collections.abc import Iterable, Set
from typing import Any

from . import visitors
from .remote import (
    BASES,
    FORWARDS,
    Kind,
    Ref,
    Remote,
    RemoteClass,
    RemoteFunction,
    StandIn,
    known,
    local_class,
    ref,
    standard,
)
from .state import FROM_SOLUTION, State
from .wire import CannotCross, Channel, Decoder, Encoder, Node, Shared, WireError, deep, words_of

_MAX_ITERATOR = 10_000
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1e-4, 2e-3
_KEPT_UNUSED = 32
"""Shared containers that may be out of use before the table is swept."""
_MOST_WARNINGS = 100
_AWAITING = frozenset(("await", "anext", "aenter", "aexit"))
_CONTROL_FLOW = frozenset(("StopIteration", "StopAsyncIteration"))
# what the runners of tests catch for themselves
_RUNNERS = frozenset(("unittest", "doctest", "bdb", "pytest", "_pytest"))


class RunEnded(BaseException):
    """No further answer will come: the run is over, whatever the tests would catch."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SolutionExited(SystemExit):
    """The solution raised SystemExit; tests may expect that."""


class Contract(AssertionError):
    """The solution raised AssertionError: something tests may expect, and no failed test."""


Contract.__name__ = Contract.__qualname__ = "AssertionError"


class Session:
    """The conversation with one solution process."""

    def __init__(self, channel: Channel, deadline: float) -> None:
        self.channel, self._deadline = channel, deadline
        self.shared = Shared()
        self._alone = Decoder(foreign=self.borrow)
        """Of answers that share nothing."""
        self._stdout = sys.stdout
        self.modules: list[dict[str, Any]] = []
        """The solution's module, under every name that the tests have imported it by."""
        self.namespace: dict[str, Any] = {}
        self.followed: dict[str, Any] = {}
        """Global names of the solution that the tests read in their own namespace, and never bind."""
        self._watched: dict[tuple[str, str], list[Any]] = {}
        self._objects: dict[int, Any] = {}
        self._kinds: dict[int, Kind] = {}
        self._stand_ins: dict[int, type] = {}
        self._local: dict[int, Any] = {}
        self._callbacks: list[Any] = []
        self.has_instances = False
        self.hindered = False
        self.last_raised: BaseException | None = None
        """What the solution raised last, as the tests got it."""
        self.failed: BaseException | None = None
        """The first failed assertion of the tests in a function of theirs that the solution called."""
        self.deaf = False
        """The other side answers no questions."""
        self._raised: list[BaseException] = []
        """What code of the tests raised when the solution called it."""
        self._callback_numbers: dict[int, int] = {}
        self._exception_kinds: dict[int, type[BaseException]] = {}
        self._exception_numbers: dict[type, int] = {}
        self._turn, self._thread = threading.RLock(), threading.get_ident()
        """A request and its answer are one turn, whichever thread of the tests takes it."""
        self.may_wait: str | None = None
        """Why the solution may wait in vain for what the tests do meanwhile."""
        self.requests = 0
        self.ended: str | None = None
        self.refused: str | None = None
        """Why a right program may have been refused something; the first reason."""
        self.state: State | None = None
        """Of this process, where the tests may set it."""
        self.unsplittable: str | None = None
        """Why the tests need the solution's own process."""
        self.exited: BaseException | None = None
        """What the program ended itself with when it was loaded."""
        self.named: Set[int] = frozenset()
        """Classes of the solution that the tests speak of: their objects may compare themselves with data."""
        self.made_with_test_data: set[int] = set()
        """Objects of the solution that were made with data of the tests as an operand."""

    # --- opening ----------------------------------------------------------------------------------------------

    def open(self) -> dict[str, Node]:
        """Wait for the program to load; the nodes of its public names, or the exception it loaded with."""
        reply = self.receive()
        self.requests += 1
        if "raise" in reply:
            self.exited = self.exception(reply)
        try:
            names = {str(name): node for name, node in reply.get("names", ()) if name.isidentifier()}
        except (TypeError, ValueError, AttributeError) as problem:
            raise self.end("tampered") from problem
        if self.exited and (not isinstance(self.exited, SolutionExited) or not names):
            raise self.exited
        if not names and "names" not in reply:
            raise self.end("tampered")
        return {name: node for name, node in names.items() if name[:2] != "__"}

    def exports(self, nodes: dict[str, Node], believed: Set[str]) -> dict[str, Any]:
        """What the names stand for. A module of the standard library is ours, and so is what the program took from one,
        but for the names in `believed`, which the tests are about.
        """
        decoder = Decoder(self.shared, foreign=self.borrow)
        try:
            found = {
                name: self._exported(name, node, decoder, name in believed) for name, node in nodes.items()
            }
        except (WireError, LookupError, TypeError, ValueError, AttributeError) as problem:
            raise self.end("tampered") from problem
        self.shared.agree()
        return {name: value for name, value in found.items() if value is not None}

    def _exported(self, name: str, node: Node, decoder: Decoder, believed: bool) -> Any:
        if type(node) is not list or node[0] not in ("module", "import"):
            return decoder.decode(node)
        if node[0] == "module":
            return None if believed else known(node[1])
        theirs = decoder.decode(node[3])  # in any case: it may hold a container that later messages number
        ours = getattr(known(node[1]), name, None) if node[2] == name else None
        return theirs if believed or ours is None else ours

    def watch(self, patched: Iterable[tuple[str, str]]) -> None:
        """Attributes of library modules that the tests may put something else in place of, for the solution as well."""
        for module, attribute in patched:
            owner: Any = standard(module)
            self._watched[module, attribute] = [owner, getattr(owner, attribute, None)] * 2

    def _replaced(self, encoder: Encoder) -> list[Node]:
        """What the tests have replaced since the last message, or put back."""
        told = []
        for (module, attribute), state in self._watched.items():
            owner, pristine, _, known = state
            now = getattr(owner, attribute, None)
            if now is not known:
                state[3] = now
                told.append([module, attribute, ["pristine"] if now is pristine else encoder.encode(now)])
        return told

    # --- asking -----------------------------------------------------------------------------------------------

    def hinder(self, reason: str) -> None:
        """Note that something was answered for the solution, or not asked: no failure may hang on that, and no pass."""
        self.hindered = True
        self.refuse(reason)

    def refuse(self, reason: str) -> None:
        """Note that a right program may fail for this, and not for what it does."""
        self.refused = self.refused or reason

    def request(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        if self.ended:
            raise RunEnded(self.ended)
        if self.deaf:
            raise CannotCross("an object of the solution's is where it cannot be asked")
        if operation in _AWAITING:
            self.may_wait = "the tests await the solution, and do nothing else until it has answered"
        if threading.get_ident() != self._thread:
            self.may_wait = "the tests use the solution from several threads, which take turns"
        with self._turn:
            return self._request(operation, args, kwargs)

    def _request(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.requests += 1
        head = {"op": operation} if sys.stdout is self._stdout else {"op": operation, "echo": True}
        message = self._message(head, args=args, kwargs=kwargs)
        self._send(message)
        reply = self.receive()
        while "callback" in reply:
            self._send(self._run_callback(reply))
            reply = self.receive()
        if "stop" in reply and operation not in ("next", "anext"):
            raise self.end("tampered")
        if "stop" in reply and operation == "anext":
            raise StopAsyncIteration
        return self._accept(reply)

    def send_bytes(self, message: bytes) -> None:
        """A message that was written before: `next_answer` gives what each of its calls comes to, in their order."""
        try:
            self.channel.send_bytes(message)
        except OSError as problem:
            raise self.end("timeout" if isinstance(problem, TimeoutError) else "gone") from problem

    def next_answer(self) -> Any:
        """Raises what the call raised, or RunEnded."""
        if self.ended:
            raise RunEnded(self.ended)
        self.requests += 1
        if not self.channel.waiting():
            self._doze()
        reply = self.receive()
        if "stop" in reply or "callback" in reply:
            raise self.end("tampered")
        if len(reply) == 1 and "ok" in reply:
            return self._data(reply["ok"])
        self.shared.forget()
        return self._accept(reply)

    def _data(self, node: Node) -> Any:
        if type(node) is not list and type(node) is not dict:
            return node
        self._alone.forget()
        try:
            return self._alone.decode(node)
        except WireError as problem:
            raise self.end("tampered") from problem

    @property
    def has_objects(self) -> bool:
        """Whether an object of the solution has come."""
        return bool(self._objects)

    def _message(self, head: Node, **values: Any) -> Node:
        """A message with these values and with what has changed since the last one."""
        unused = self.shared.unused() if len(self.shared.values) > _KEPT_UNUSED else []
        self.shared.drop(unused)
        encoder, mark = Encoder(self.shared, foreign=self._lend), self.shared.mark
        if self.state and (told := self.state.changed()):
            head = head | {"process": Encoder().encode(told)}
        try:
            with deep:
                nodes = {name: encoder.encode(value) for name, value in values.items()}
                if encoder.copied:
                    self.refuse(f"the solution sees a {encoder.copied} of the tests as a copy")
                replaced = self._replaced(encoder) if self._watched else []
                changed = [[n, encoder.contents(self.shared.values[n])] for n in self.shared.changed()]
        except (CannotCross, RecursionError) as problem:
            self.shared.rewind(mark)
            self.hinder(words_of(problem))
            raise
        self.shared.agree()
        head = head | {"replaced": replaced} if replaced else head
        return (
            head | nodes | ({"changed": changed} if changed else {}) | ({"dropped": unused} if unused else {})
        )

    def _accept(self, reply: Node) -> Any:
        if "too_much" in reply:
            raise self.end("output_limit")
        if "too_deep" in reply:
            self.hinder("a value of the solution's is nested too deep to cross")
            raise CannotCross(str(self.refused))
        if "ok" not in reply:
            problem = self.exception(reply)
        try:
            decoder = Decoder(self.shared, foreign=self.borrow)
            with deep:
                value = decoder.decode(reply["ok"]) if "ok" in reply else None
                if decoder.copied:
                    self.refuse(f"the tests see a {decoder.copied} of the solution's as a copy")
                for name, node in reply.get("rebound", ()):
                    self._rebind(name, decoder.decode(node))
                for number, node in reply.get("changed", ()):
                    decoder.restore(number, node)
        except (WireError, TypeError, ValueError, ArithmeticError) as broken:
            raise self.end("tampered") from broken
        self.shared.agree()
        if "ok" in reply:
            return value
        self.last_raised = problem
        raise problem

    def _rebind(self, name: str, value: Any) -> None:
        """A global name of the solution stands for something else: where the tests see it, it does so too."""
        for module in self.modules:
            if name in module:
                module[name] = value
        if name in self.followed:
            self.followed[name] = value
            self.namespace[name] = value

    def _send(self, message: Node) -> None:
        try:
            with deep:
                self.channel.send(message)
        except OSError as problem:
            raise self.end("timeout" if isinstance(problem, TimeoutError) else "gone") from problem

    def receive(self) -> dict[str, Node]:
        """The next message. Raises RunEnded where there is none to come."""
        try:
            with deep:
                reply = self.channel.receive(self._deadline)
        except EOFError as problem:
            raise self.end("gone") from problem
        except TimeoutError as problem:
            raise self.end("timeout") from problem
        except WireError as problem:
            raise self.end("tampered") from problem
        if type(reply) is not dict:
            raise self.end("tampered")
        if "classes" in reply:
            self._learn(reply["classes"])
        if "printed" in reply:
            sys.stdout.write(str(reply["printed"]))
        if "process" in reply and self.state:
            self._take_state(reply["process"])
        if "refused" in reply:
            self.refuse(str(reply["refused"]))
        if "warned" in reply:
            self._warn(reply["warned"])
        return reply

    def _doze(self) -> None:
        """Let replies pile up: being woken for each costs both processes more than the call."""
        pause = _SHORTEST_PAUSE_S
        while not self.channel.waiting() and pause < _LONGEST_PAUSE_S:
            time.sleep(pause)
            pause *= 2

    def _take_state(self, node: Node) -> None:
        try:
            told = Decoder().decode(node)
            self.state.take({kind: told[kind] for kind in FROM_SOLUTION if kind in told})  # type: ignore[union-attr]
        except (WireError, TypeError, ValueError, OverflowError) as problem:
            raise self.end("tampered") from problem

    def _warn(self, warned: Node) -> None:
        """Warn as the solution did, where the tests can wait for it."""
        try:
            told = [([str(name) for name in names], str(text)) for names, text in warned[:_MOST_WARNINGS]]
        except (TypeError, ValueError) as problem:
            raise self.end("tampered") from problem
        for names, text in told:
            known = (kind for name in names if (kind := exception_class(name)) is not None)
            kind = next((kind for kind in known if issubclass(kind, Warning)), UserWarning)
            warnings.warn_explicit(text, kind, "solution.py", 1)

    def _learn(self, classes: Node) -> None:
        """What the solution says of its classes counts from the first time on."""
        try:
            for number, name, kin, lineage, special, doc, *_ in classes:
                kind = Kind(
                    number, str(name), tuple(map(int, kin)), tuple(map(str, lineage)), frozenset(map(str, special)),
                    doc if isinstance(doc, str) else None,
                )  # fmt: skip
                self._kinds.setdefault(number, kind)
        except (TypeError, ValueError) as problem:
            raise self.end("tampered") from problem

    def end(self, reason: str) -> RunEnded:
        self.ended = reason
        return RunEnded(reason)

    # --- exceptions -------------------------------------------------------------------------------------------

    def exception(self, reply: Node) -> BaseException:
        if "stop" in reply:
            return StopIteration()
        try:
            return self._built(reply)
        except (WireError, KeyError, TypeError, ValueError, AttributeError):
            return self.end("tampered")

    def _built(self, told: Node, depth: int = 0) -> BaseException:
        """An exception of the nearest class that is known here, with its arguments, attributes and cause."""
        if type(number := told.get("raised")) is int and 0 <= number < len(self._raised):
            return self._raised[number]
        names, text = [str(name) for name in told["raise"]], str(told["text"])
        decoder = Decoder(self.shared, foreign=self.borrow)
        args, state = decoder.decode(told["args"]), decoder.decode(told.get("state", ["d"]))
        args = args if type(args) is tuple else (text,)
        if "SystemExit" in names:
            return SolutionExited(*args)
        kind = self.borrow(told["class"]) if "class" in told else self._nearest(names)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise WireError("no class of exceptions")
        problem = _made(kind, args, text)
        if "class" in told:
            problem._told_ = text, str(told.get("repr"))  # type: ignore[attr-defined]
        for name, value in state.items() if type(state) is dict else ():
            if type(name) is str and not name.startswith("__"):
                setattr(problem, name, value)
        for name in ("cause", "context"):
            if type(earlier := told.get(name)) is dict and depth < 5:
                setattr(problem, f"__{name}__", self._built(earlier, depth + 1))
        problem.__suppress_context__ = told.get("suppressed") is True
        return problem

    def _nearest(self, names: list[str]) -> type[BaseException]:
        """The first of them that the tests could know, else a class of that name below the next that they could."""
        for place, name in enumerate(names):
            if name == "AssertionError":
                return Contract
            found = exception_class(name)
            if found is None or name in _CONTROL_FLOW or not issubclass(found, Exception):
                continue
            if place and ":" in names[0] and not names[0].startswith(":"):
                return type(
                    names[0].rpartition(":")[2], (found,), {"__module__": names[0].rpartition(":")[0]}
                )
            if any(each in _CONTROL_FLOW for each in names[:place]):
                self.refuse(f"the solution raised {names[0]}, which tests make their own control flow of")
            return found
        self.refuse(f"the solution raised {names[0] if names else 'nothing'}, which is no Exception")
        return RuntimeError

    def _exception_kind(self, number: int, name: str, lineage: list[str]) -> type[BaseException]:
        """A local class for an exception class of the solution, so that tests can catch it."""
        if not lineage[0].startswith(":") and exception_class(lineage[0]):
            return self._nearest(lineage)
        if number not in self._exception_kinds:
            body = {
                "__module__": "solution", "__str__": lambda problem: vars(problem).get("_told_", ("", ""))[0],
                "__repr__": lambda problem: vars(problem).get("_told_", ("", ""))[1],
                "__getattr__": lambda _, wanted: self._missing(wanted),
            }  # fmt: skip
            kind = _class_below(name, self._bases_of(number, lineage), body)
            self._exception_kinds[number] = kind
            self._exception_numbers[kind] = number
        return self._exception_kinds[number]

    def _bases_of(self, number: int, lineage: list[str]) -> list[type[BaseException]]:
        """The next class of the solution's own, if there is one, and all that are known here: tests may catch any."""
        kin = self._kinds[number].kin if number in self._kinds else ()
        bases: list[type[BaseException]] = []
        if len(lineage) > 1 and lineage[1].startswith(":") and len(kin) == len(lineage):
            bases.append(self._exception_kind(kin[1], lineage[1][1:], lineage[1:]))
        for kind in filter(None, map(exception_class, lineage[1:])):
            kind = Contract if kind is AssertionError else kind
            if issubclass(kind, Exception) and kind.__name__ not in _CONTROL_FLOW:
                bases += [] if any(issubclass(base, kind) for base in bases) else [kind]
        return bases or [self._nearest(lineage[1:])]

    def _missing(self, name: str) -> Any:
        """For attributes of its own exceptions that did not cross: their methods."""
        if not name.startswith("__"):
            self.refuse(f"{name} of an exception of the solution's own is not known here")
        raise AttributeError(name)

    def can_name(self, kind: type[BaseException]) -> bool:
        """Whether the solution's process knows this exception class too."""
        return kind in self._exception_numbers or kind in vars(builtins).values()

    # --- what the tests hand over -----------------------------------------------------------------------------

    def _run_callback(self, message: Node) -> Node:
        """A function the tests passed in, called by the solution: it gets data or stand-ins, like any test code."""
        try:
            lent, operation = self._callbacks[message["callback"]], str(message.get("do", "call"))
            decoder = Decoder(self.shared, foreign=self.borrow)
            args, kwargs = decoder.decode(message["args"]), decoder.decode(message["kwargs"])
            for number, node in message.get("changed", ()):
                decoder.restore(number, node)
            self.shared.agree()
        except (WireError, LookupError, TypeError, ValueError) as problem:
            raise self.end("tampered") from problem
        try:
            return self._message({}, ok=visitors.perform(operation, lent, args, kwargs))
        except Exception as problem:  # belongs to the solution: it may be the very thing it is to catch
            self._raised.append(problem)
            failed = isinstance(problem, AssertionError) and not isinstance(problem, Contract)
            if failed:  # whatever becomes of it there; and its text tells what is expected
                self.failed = self.failed or problem
            told = [len(self._raised) - 1, type(problem).__name__, "" if failed else words_of(problem)[:1000]]
            return self._message({"raise": told})

    def _lend(self, value: Any) -> Node:
        if isinstance(value, Remote):
            return ["h", ref(value).number]
        if isinstance(value, type):
            if value in self._exception_numbers:
                return ["h", self._exception_numbers[value]]
            if issubclass(value, BaseException) and value in vars(builtins).values():
                return ["exception", value.__name__]
            if (kind := self.kind_of(value)) is not None:
                return ["h", kind.number]
        if visitors.is_visitable(value):
            self.refuse(
                f"the solution was given {type(value).__name__} of the tests, which it sees through a stand-in"
            )
            return ["visitor", self._lent(value), type(value).__name__, visitors.special_methods(value)]
        if isinstance(value, type):
            raise CannotCross(f"the class {value.__name__} cannot cross the process boundary")
        if (
            isinstance(value, types.BuiltinFunctionType)
            and getattr(builtins, name := value.__name__, None) is value
        ):
            return ["exception", name]  # it has that function itself
        if hasattr(value, "__next__") and not hasattr(value, "read"):
            items = list(itertools.islice(value, _MAX_ITERATOR + 1))
            self.refuse("an iterator of the tests was read ahead")
            if len(items) <= _MAX_ITERATOR:
                return ["iterator", Encoder(self.shared, foreign=self._lend).encode(items)]
        elif callable(value):
            self.refuse("the solution was given a function of the tests, which it sees through a stand-in")
            texts = [getattr(value, name, None) for name in ("__name__", "__qualname__", "__doc__")]
            return [
                "callback",
                self._lent(value),
                [text if isinstance(text, str) else None for text in texts],
            ]
        raise CannotCross(f"a value of type {type(value).__name__} cannot cross the process boundary")

    def _lent(self, value: Any) -> int:
        number = self._callback_numbers.setdefault(id(value), len(self._callbacks))
        if number == len(self._callbacks):
            self._callbacks.append(value)
        return number

    # --- what comes from the solution -------------------------------------------------------------------------

    def borrow(self, node: list[Node]) -> Any:
        """The stand-in for a node that `solution_server.Host.refer` wrote."""
        if node[0] == "raised kind":
            for problem in self._raised:
                if type(problem).__name__ == node[1]:
                    return type(problem)
            raise WireError("no such class was raised")
        if node[0] == "e" and len(node) == 2 and type(node[1]) is dict:
            self.refuse("the tests see an exception of the solution's as a copy")
            return self._built(node[1])
        if node[0] == "n" and len(node) == 2:
            self.refuse("the tests see a number of numpy as one of Python's")
            return Decoder(self.shared).decode(node[1])
        if node[0] != "h" or len(node) < 5 or type(node[1]) is not int:
            raise WireError(f"unknown tag {node[0]!r}"[:80])
        _, number, what, name, extra, *more = node
        if what == "class" and {"Exception", "BaseException"} & set(map(str, extra)):
            return self._exception_kind(number, str(name), [str(base) for base in extra])
        if number not in self._objects:
            kind = self._kinds.get(number if what == "class" else more[0] if more else -1)
            kind = kind or Kind(-1, str(name), (), (f":{name}",), frozenset())
            base = extra if isinstance(extra, str) and what == "object" else None
            self.has_instances |= what == "object"
            own_hash = more[1] if what == "object" and more[1:] and type(more[1]) is int else None
            self._objects[number] = self._made(
                Ref(self, number, str(what), str(name), base, kind, own_hash), more[1:]
            )
        return self._objects[number]

    def _made(self, where: Ref, texts: list[Node]) -> Any:
        if where.what == "object":
            return self._stand_in(where.kind)(where)
        doc, path, module = [
            *texts,
            where.kind.doc if where.what == "class" else None,
            where.name,
            "solution",
        ][:3]
        return (RemoteClass if where.what == "class" else RemoteFunction)(where, (doc, path, module))

    def _stand_in(self, kind: Kind) -> type:
        """A local class with the methods of `kind`, for its objects: one that cannot be counted has no length here."""
        if kind.number not in self._stand_ins or kind.number < 0:
            body = {name: FORWARDS[name] for name in FORWARDS if not kind.lineage or name in kind.special}
            texts = {"__module__": "solution", "__doc__": kind.doc, "__slots__": (), "_session_": self}
            made = StandIn(kind.name, (Remote,), body | texts)
            self._stand_ins[kind.number] = made
        return self._stand_ins[kind.number]

    def kind_of(self, stand_in: Any) -> Kind | None:
        """Of a local class: the one of the solution that it stands for."""
        found = next((n for n, made in self._stand_ins.items() if made is stand_in and n >= 0), None)
        return None if found is None else self._kinds[found]

    def class_of(self, stand_in: Any) -> Any:
        """What `type(x)` gives, as the class that the tests may compare it with."""
        kind = self.kind_of(stand_in) if type(stand_in) is StandIn else None
        return stand_in if kind is None else self._class(kind)

    def _class(self, kind: Kind) -> Any:
        if kind.number not in self._objects:
            self._objects[kind.number] = self._made(
                Ref(self, kind.number, "class", kind.name, None, kind), []
            )
        return self._objects[kind.number]

    def local_class(self, where: Ref) -> Any:
        """What an object says its class is: what it was said to derive from of the standard library, else its own."""
        kind = where.kind
        if kind.number < 0:
            return types.FunctionType if where.what != "object" else BASES.get(where.base or "", Remote)
        if kind.number not in self._local:
            self._local[kind.number] = local_class(where) or self._class(kind)
        return self._local[kind.number]


def exception_class(name: str) -> type[BaseException] | None:
    """A builtin one, or one of a library that somebody has imported already."""
    module, _, path = name.rpartition(":")
    if not module and name.startswith(":"):
        return None
    if module.split(".")[0] in _RUNNERS | {"builtins"}:
        return None
    found = getattr(sys.modules.get(module) if module else builtins, path, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _class_below(name: str, bases: list[type[BaseException]], body: dict[str, Any]) -> type[BaseException]:
    try:
        return type(name, tuple(bases), body)
    except TypeError:  # their layouts do not go together
        return type(name, tuple(bases[:1]), body)


def _made(kind: type[BaseException], args: tuple[Any, ...], text: str) -> BaseException:
    """Without its `__init__`, which may want more than what it keeps as its arguments."""
    try:
        problem = kind.__new__(kind, *args)
        if kind.__init__ in (Exception.__init__, BaseException.__init__) or kind.__module__ == "builtins":
            problem.__init__(*args)  # type: ignore[misc]  # sets what the builtin ones keep beside their arguments
    except TypeError:  # UnicodeDecodeError and the like want five arguments
        return RuntimeError(f"{kind.__name__}: {text}")
    problem.args = args
    return problem
