"""Runs a test text that `sealed` has divided: the tests beside the solution, the answers in a process of the judge's.

The first half asks a question at each place of an assert and reports what it came to, as data. It shares its process
with hostile code and is worth as much as the solution's own word. The second half holds what is expected and compares.
Every question has to come once; nothing is said back. Both are started by `zygote`.
"""

from __future__ import annotations

import linecache
import marshal
import operator
import os
import re
import socket
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from . import forms, judge, pytest_form, sealed, solution_server, split
from .remote import standard
from .session import RunEnded, Session, exception_class
from .wire import (
    CannotCross,
    Channel,
    Decoder,
    Encoder,
    Node,
    Shared,
    WireError,
    deep,
    dumps,
    loads,
    words_of,
)


def request(solution: bytes, half: bytes) -> bytes:
    """What `run` reads: a line of JSON, the program, and the half of the tests that goes beside it."""
    return dumps({"bytes": len(solution)}) + b"\n" + solution + half


# --- beside the solution ------------------------------------------------------------------------------------------


def run(sock: socket.socket, request_fd: int) -> NoReturn:
    """Load the solution, run the tests in its process, and report."""
    line, _, body = solution_server.read_all(request_fd).partition(b"\n")
    size = loads(line)["bytes"]
    source = body[:size]
    asker, flush = _Asker(solution_server.Host(Channel(sock))), sys.stdout.flush
    code, tests, candidate_check, imports, free, entry_point, examples = marshal.loads(body[size:])
    module = types.ModuleType("solution")
    linecache.cache["solution.py"] = (
        len(source),
        None,
        source.decode(errors="replace").splitlines(True),
        "solution.py",
    )
    try:
        with suppress(SystemExit):
            solution_server.load(source, module)
    except BaseException as problem:
        _end(asker, flush, {"load": True}, problem)
    names = {n: v for n, v in vars(module).items() if type(n) is str and not n.startswith("__")}
    plan = types.SimpleNamespace(imports=imports, free=free)
    head = judge.head_of(entry_point)
    own = judge.module_of(plan, names, head)
    namespace = judge.namespace_of(
        names, own, frozenset((head,)) if head else frozenset(), module, sites=asker
    )
    namespace[sealed.ASK] = asker
    exec(code, namespace)
    if candidate_check:
        asker.guard(lambda: namespace["check"](judge.candidate(names, entry_point)))
    pytest_form.run(tests, namespace, asker)
    forms.run_unittest_classes(namespace, asker)
    for number, text in enumerate(examples):
        asker.example(number, lambda text=text: forms.Shown(namespace).run(text))  # type: ignore[misc]
    _end(asker, flush, {"end": True})


def _end(
    asker: _Asker, flush: Callable[[], None], message: dict[str, Node], problem: BaseException | None = None
) -> NoReturn:  # fmt: skip
    """Report the last message and leave. What was printed goes first: who hears the message ends this process."""
    with suppress(OSError, ValueError):  # too much of it, or a stream that the program closed
        flush()
    asker.report(message, problem)
    os._exit(0)


def _answers_anything(value: Any) -> bool:
    """Whether an object of the solution's own gives one answer whatever it is compared with: no honest one does."""
    low, high = -987_654_321_987, 876_543_210_987
    for operation in (operator.eq, operator.lt, operator.gt, operator.contains, operator.sub, operator.mod):
        if not hasattr(type(value), f"__{operation.__name__}__"):
            continue
        with suppress(Exception):  # the solution's
            answers = operation(value, low), operation(value, high)
            if answers == (True, True) or (type(answers[0]) in (int, float) and answers[0] == answers[1]):
                return solution_server.base_of(value) is None
    return False


_SPEAKING = frozenset((
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__bool__", "__len__", "__contains__",
    "__iter__", "__getitem__", "__next__", "__call__", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__",
    "__rmul__", "__truediv__", "__mod__", "__pow__", "__and__", "__or__", "__xor__", "__neg__", "__abs__", "__int__",
    "__float__", "__index__", "__round__", "__str__", "__repr__", "__format__",
))  # fmt: skip
"""With none of these an object equals nothing but itself and can be computed with as little: it need not be seen."""


class Opaque:
    """Stands with the judge for such an object."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _untold(self, *_: object) -> Any:
        raise CannotCross(f"a value of type {self._name} cannot cross the process boundary")

    __str__ = __repr__ = __format__ = __hash__ = _untold


class _Asker:
    """What stands in the tests where asserts stood. What the runners call has the names of `judge.Sites`."""

    def __init__(self, host: solution_server.Host) -> None:
        self._host = host
        self._kept: list[Any] = []

    def ask(self, number: int, values: Callable[[], tuple[Any, ...]]) -> None:
        """Report what the solution's part of an assert came to."""
        try:
            found = values()
        except BaseException as problem:
            return self.report({"question": number}, problem)
        try:
            with deep:
                nodes = [self._encode(value) for value in found]
        except (CannotCross, RecursionError) as problem:
            lies = any(map(_answers_anything, found))
            return self.report({"question": number, "cannot": words_of(problem)[:500], "lies": lies})
        self.report({"question": number, "values": nodes})

    def raises(self, number: int, act: Callable[[], Any]) -> Any:
        """Report what it raises; what `assertRaises` and `pytest.raises` would give."""
        caught: BaseException | None = None
        try:
            act()
        except BaseException as problem:
            caught = problem
        told = self._host.describe(caught) if caught is not None else {"raise": [], "text": ""}
        self.report({"question": number, "values": [["l", *told["raise"]], told["text"]]})
        return types.SimpleNamespace(exception=caught, value=caught, type=type(caught))

    set_item = staticmethod(operator.setitem)

    def calls(self, mock: Any) -> list[Any]:
        return [(tuple(call.args), dict(call.kwargs)) for call in mock.call_args_list]

    def example(self, number: int, shown: Callable[[], str]) -> None:
        try:
            self.report({"example": number, "shown": shown()})
        except Exception as problem:
            text = f"{type(problem).__name__}: {words_of(problem)}\n"
            self.report({"example": number, "raised": text}, problem)

    def guard(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except BaseException:
            self.statement_failed()

    def statement_failed(self) -> None:
        problem = sys.exception()
        assert problem is not None
        self.report({"statement_failed": True}, problem)

    def report(self, message: dict[str, Node], problem: BaseException | None = None) -> None:
        told = self._host.describe(problem) if problem is not None else {}
        self._host.send(message | told)

    def _encode(self, value: Any) -> Node:
        return Encoder(Shared(), foreign=self._data).encode(value)

    def _data(self, value: Any) -> Node:
        """The data of a subclass of a builtin type; exceptions as what they are."""
        if isinstance(value, BaseException) and type(value).__module__ != "solution":
            return ["e", self._host.describe(value)]
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            return self._encode(value.item())
        if _SPEAKING.isdisjoint(solution_server.dunders(type(value))):
            self._kept.append(value)  # as long as its number
            return ["opaque", id(value), type(value).__qualname__]
        if solution_server.base_of(value) is None:
            raise CannotCross(f"a value of type {type(value).__qualname__} cannot cross the process boundary")
        return self._encode(solution_server.plain(value))

    # of the runners: each test is what its questions are
    def add(self, label: str) -> int:
        return 0

    def passed(self, index: int) -> None: ...

    def skipped(self, index: int) -> None: ...

    def mark(self) -> None: ...

    def held(self) -> None: ...

    def completed(self, name: str) -> None: ...

    def undecided(self, reason: str) -> None:
        self.report({"undecided": reason[:500]})

    def differs(self, index: int, expected: str, got: str) -> None: ...

    def broke(self, index: int, soft: bool) -> None:
        self.statement_failed()


# --- with the judge -----------------------------------------------------------------------------------------------


def answer(sock: socket.socket, half_fd: int, verdict_fd: int, deadline: float) -> NoReturn:
    """Compare what comes with what is expected, and write the verdict."""
    request = judge.Request.read(half_fd)
    dumped, wants = marshal.loads(request.plan)
    plan = split.Plan.load(dumped)
    session = Session(Channel(sock), deadline)
    session.deaf = True
    sites = judge.Sites(plan, session, request.fail_fast)
    try:
        _Answers(plan, wants, session, sites).hear()
    except RunEnded as ended:
        if sites.status is None:
            sites.ended_as(ended.reason)
    verdict = sites.verdict()
    judge.write(verdict_fd, verdict)
    os._exit(judge.GONE if verdict.get("status") == "gone" else 0)


class Help:
    """What the judge's half calls beside the builtins."""

    @staticmethod
    def raised(names: Sequence[str], *paths: str) -> bool:
        """Whether what was raised is of a class that is expected: a name alone is a builtin's or the solution's."""
        if not _is_lineage(names):
            return False
        wanted = set()
        for path in paths:
            module, _, name = path.rpartition(".")
            kind = getattr(standard(module) or sys.modules.get(module), name, None) if module else None
            if kind is not None:
                wanted.add(
                    name if kind.__module__ == "builtins" else f"{kind.__module__}:{kind.__qualname__}"
                )
            else:
                wanted |= {name, f":{name}"} if hasattr(__builtins__, name) or not module else {f":{name}"}
        return not wanted.isdisjoint(names)

    @staticmethod
    def found(pattern: str, text: str) -> bool:
        return re.search(pattern, text) is not None


def _is_lineage(names: Sequence[str]) -> bool:
    """Whether there can be a class with these bases: behind one that is known, its own stand and no others."""
    for place, name in enumerate(names):
        kind = exception_class(name)
        if kind is not None:
            return list(names[place:]) == solution_server.names_of(kind.__mro__)
    return False


class _Answers:
    def __init__(self, plan: split.Plan, wants: Sequence[Any], session: Session, sites: judge.Sites) -> None:
        self._wants, self._session, self._sites = wants, session, sites
        self._asked: set[int] = set()
        self._questions = len(wants) or sum(name.startswith("answer_") for name in plan.functions)
        self._opaque: dict[Any, Opaque] = {}
        self._examples = [sites.add("") if want or expected else -1 for want, expected, _ in wants]
        self._names: dict[str, Any] = {split.SITES: sites, sealed.HELP: Help}
        exec(plan.code, self._names)

    def hear(self) -> None:
        """Until the end of the tests. Raises RunEnded where the other side goes before."""
        while True:
            message = self._session.receive()
            self._sites.mark()
            self._session.requests += 1
            if "end" in message:
                if len(self._asked) < self._questions and self._sites.status is None:
                    raise self._session.end("tampered")  # an honest run asks them all, or says why not
                return
            if "load" in message:
                self._sites.failed_to_load(self._session.exception(message))
                return
            self._take(message)
            self._sites.stop_if_failed()

    def _take(self, message: dict[str, Node]) -> None:
        number = message.get("question", message.get("example", -1))
        if type(number) is not int or number in self._asked:
            raise self._session.end("tampered")
        self._asked |= {number} - {-1}
        try:
            if "example" in message:
                self._compare_example(number, message)
            elif "values" in message:
                self._names[f"answer_{number}"](*self._values(message["values"]))
            elif "undecided" in message:
                self._sites.undecided(str(message["undecided"]))
            elif message.get("lies") is True:
                raise self._session.end("tampered")
            elif "cannot" in message:
                raise CannotCross(str(message["cannot"]))
            elif isinstance(problem := self._session.exception(message), ModuleNotFoundError):
                self._sites.undecided(str(problem))
            else:
                raise problem
        except CannotCross as problem:
            self._session.refuse(str(problem))
            self._sites.undecided(str(problem))
        except RunEnded:
            raise
        except BaseException:
            self._sites.statement_failed()

    def _values(self, nodes: Node) -> list[Any]:
        try:
            with deep:
                return [Decoder(Shared(), foreign=self._foreign).decode(node) for node in nodes]
        except (WireError, TypeError) as problem:
            raise self._session.end("tampered") from problem

    def _foreign(self, node: list[Node]) -> Any:
        if node[0] == "opaque":
            return self._opaque.setdefault(node[1], Opaque(str(node[2])))
        return self._session.borrow(node)

    def _compare_example(self, number: int, message: dict[str, Node]) -> None:
        if not 0 <= number < len(self._wants):
            raise self._session.end("tampered")
        want, expected, flags = self._wants[number]
        if "raised" in message and expected is None:
            raise self._session.exception(message)
        got, index = str(message.get("raised", message.get("shown"))), self._examples[number]
        if index < 0:
            return
        if forms.shows(expected or want, got, flags):
            self._sites.passed(index)
        else:
            self._sites.differs(index, expected or want, got)
