"""The test process: runs the tests, holds the expected values and writes the one verdict.

In split mode it never runs a line of the solution; it asks for it through `remote`. In in-process mode
solution and tests share this process, which the solution can then lie to: `box` accepts such a pass only when
bent twins of the tests fail. Called by `zygote` in a freshly forked, jailed child.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import operator
import os
import socket
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from . import callee, forms, split
from .remote import RemoteObject, RunEnded, Session, SolutionExited
from .wire import CannotCross, Channel, dumps, loads

_MAX_TEXT = 1000
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "is_", "is_not")},
    "in": lambda left, right: left in right,
    "not_in": lambda left, right: left not in right,
}


class Unsplittable(BaseException):
    """The tests hand over something that cannot cross; they have to run in the solution's process."""


class Sites:
    """The record of a run: one outcome per assert site, and the first thing that went wrong."""

    def __init__(self, count: int, session: Session | None = None, bend: Sequence[int] = ()) -> None:
        self.outcomes = ["not_run"] * count
        self.runs = 0
        self.status: str | None = None
        self.error: dict[str, Any] | None = None
        self._session = session
        self._bend = frozenset(bend)
        self._bendable: set[int] = set()
        self._requests = 0

    def enter(self, index: int) -> int:
        self.mark()
        return index

    def mark(self) -> None:
        """From here on, a breakdown without a request to the solution is the tests' own."""
        self._requests = self._traffic()

    def compare(
        self,
        index: int,
        operation: str,
        flipped: bool,
        left: Any,
        right: Any,
        text: Callable[[], Any] | None = None,
    ) -> None:
        expected, got = (left, right) if flipped else (right, left)
        if operation == "eq":
            expected = self.bent(index, expected)
            left, right = (expected, got) if flipped else (got, expected)
        if self._executed(index, _COMPARE[operation](left, right)):
            return
        message = _text(text) or f"{_short(left)} {operation.strip('_')} {_short(right)} is false"
        self._record(index, "fail", "fail", "AssertionError", message, _short(expected), _short(got))
        raise AssertionError(message)

    def truth(self, index: int, value: Any, text: Callable[[], Any] | None = None) -> None:
        if self._executed(index, value):
            return
        message = _text(text) or f"{_short(value)} is not true"
        self._record(index, "fail", "fail", "AssertionError", message, "a true value", _short(value))
        raise AssertionError(message)

    @property
    def split(self) -> bool:
        return self._session is not None

    def add(self) -> int:
        """One more site, found while the tests run."""
        self.outcomes.append("not_run")
        self.mark()
        return len(self.outcomes) - 1

    def bent(self, index: int, value: Any) -> Any:
        """The expected value, or in a twin that bends this site, another one."""
        self._bendable.add(index)
        return bent(value) if index in self._bend else value

    def passed(self, index: int) -> None:
        self._executed(index, True)

    def differs(self, index: int, expected: str, got: str) -> None:
        self.runs += 1
        message = f"{_short(got)} is not {_short(expected)}"
        self._record(index, "fail", "fail", "AssertionError", message, _short(expected), _short(got))

    def _executed(self, index: int, holds: Any) -> bool:
        good = bool(holds)
        self.runs += 1
        if good and self.outcomes[index] == "not_run":
            self.outcomes[index] = "pass"
        return good

    def fired(self, index: int) -> None:
        """An `assert False` that marks the place a missing exception leads to."""
        self.runs += 1
        self._record(index, "fail", "fail", "AssertionError", "the expected exception was not raised")
        raise AssertionError("the expected exception was not raised")

    def unfired(self, index: int) -> None:
        if self.outcomes[index] == "not_run":
            self._executed(index, True)

    def broke(self, index: int, soft: bool) -> None:
        """Called in the handler around an assert: soft ones swallow what happened, after noting it."""
        problem = sys.exception()
        assert problem is not None
        if self.outcomes[index] != "fail" or not isinstance(problem, AssertionError):
            self.runs += 1
            self._note(problem, index)
        if not soft or isinstance(problem, RunEnded | Unsplittable):
            raise problem

    def stumbled(self) -> None:
        """Called in the handler around a statement of the test text that is no assert."""
        problem = sys.exception()
        assert problem is not None
        if not (isinstance(problem, AssertionError) and self.status):
            self._note(problem, None)
        self.mark()
        if isinstance(problem, RunEnded | Unsplittable):
            raise problem

    def failed_to_load(self, problem: BaseException) -> None:
        """The solution raised at import: its own AssertionError is an error, not a failed test."""
        status = "error" if isinstance(problem, AssertionError) else self._classify(problem)
        self._record(None, "error", status, _kind(problem), str(problem))

    def _note(self, problem: BaseException, index: int | None) -> None:
        if isinstance(problem, CannotCross) and self._session and self._session.unsplittable:
            raise Unsplittable(str(problem)) from problem
        status = self._classify(problem)
        outcome = "fail" if status == "fail" else "error"
        self._record(index, outcome, status, _kind(problem), str(problem))

    def _classify(self, problem: BaseException) -> str:
        if isinstance(problem, RunEnded):
            return problem.reason
        if isinstance(problem, SolutionExited) or (isinstance(problem, SystemExit) and self._session is None):
            return "exited"
        if isinstance(problem, MemoryError):
            return "memory"
        if isinstance(problem, AssertionError):
            return "fail"
        asked = self._session is None or self._traffic() > self._requests
        return "error" if asked or isinstance(problem, NameError | ImportError) else "test_error"

    def _traffic(self) -> int:
        return self._session.requests if self._session else 0

    def _record(
        self, index: int | None, outcome: str, status: str, kind: str, message: str,
        expected: str | None = None, got: str | None = None,
    ) -> None:  # fmt: skip
        if index is not None:
            self.outcomes[index] = outcome
        if self.status is None:
            self.status = status
            facts = {"assert_index": index, "expected": expected, "got": got}
            self.error = {"type": kind, "message": message[:_MAX_TEXT], **facts}

    def verdict(self, required: Sequence[bool]) -> dict[str, Any]:
        """`required` goes with the first sites; a pass needs those executed, and any at all."""
        unreached = any(o == "not_run" for o, needed in zip(self.outcomes, required, strict=False) if needed)
        if self.status is None and self._session and self._session.ended:
            self._record(
                None, "error", self._session.ended, "SolutionEnded", "the tests caught the end of the run"
            )
        elif self.status is None and not self.runs:
            self.status = "no_tests"
        elif self.status is None and unreached:
            self._record(None, "error", "test_error", "TestError", "an assert was never reached")
        return {
            "status": self.status or "pass",
            "bendable": sorted(self._bendable),
            "total": len(self.outcomes),
            "run": self.runs,
            "outcomes": self.outcomes,
            "error": self.error,
        }


def bent(value: Any) -> Any:
    """A value that differs from the given one: what a twin of the tests expects instead."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1 + int.from_bytes(os.urandom(2), "big")
    if isinstance(value, str):
        return value + os.urandom(3).hex()
    if isinstance(value, list | tuple):
        return type(value)([*value, os.urandom(3).hex()])
    return [os.urandom(8).hex()]


def _short(value: Any) -> str:
    try:
        return repr(value)[:_MAX_TEXT]
    except (
        Exception,
        SolutionExited,
        RunEnded,
    ) as problem:  # a proxy's repr runs in the solution: anything may come
        return f"<no repr: {type(problem).__name__}>"


def _text(text: Callable[[], Any] | None) -> str:
    return str(text())[:_MAX_TEXT] if text else ""


def _kind(problem: BaseException) -> str:
    return {"RunEnded": "SolutionEnded", "SolutionExited": "SystemExit"}.get(type(problem).__name__) or type(
        problem
    ).__name__


# --- the two ways to run ------------------------------------------------------------------------------------


def run_split(sock: socket.socket, tests_fd: int, verdict_fd: int, deadline: float) -> None:
    request = loads(callee.read_all(tests_fd))
    session = Session(Channel(sock), deadline)
    try:
        test_plan = _plan(request["tests"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        _finish(verdict_fd, _broken("test_error", problem))
    if test_plan.patches:
        _finish(verdict_fd, {"unsplittable": "the tests patch the solution's own module"})
    sites = Sites(len(test_plan.required), session)
    try:
        exports = session.open()
    except BaseException as problem:  # whatever the solution raised while it loaded
        sites.failed_to_load(problem)
        _finish(verdict_fd, sites.verdict(test_plan.required))
    session.named = frozenset(name for name in exports if name in test_plan.names)
    try:
        _execute(test_plan, exports, sites, request)
    except RunEnded:
        pass  # noted where it happened
    except Unsplittable as problem:
        _finish(verdict_fd, {"unsplittable": str(problem)})
    _finish(verdict_fd, sites.verdict(test_plan.required))


def _plan(tests: str) -> split.Plan:
    return split.plan_doctest(tests) if forms.is_doctest(tests) else split.plan(tests)


def _execute(test_plan: split.Plan, exports: dict[str, Any], sites: Sites, request: dict[str, Any]) -> None:
    entry_point: str | None = request["entry_point"]
    module = types.ModuleType("tests")
    sys.modules["tests"] = sys.modules["__main__"] = module
    namespace = module.__dict__
    shadowing = frozenset(dir(__builtins__) if isinstance(__builtins__, types.ModuleType) else __builtins__)
    namespace |= {
        n: v for n, v in exports.items() if v is not None and (n not in shadowing or n == entry_point)
    }
    namespace[split.SITES] = sites
    solution = None if sites.split else sys.modules.get("solution")
    sys.meta_path.append(_SolutionImports(exports, namespace, solution))
    sites.mark()
    exec(test_plan.code, namespace)
    if test_plan.candidate_check:
        try:
            namespace["check"](_candidate(exports, entry_point))
        except BaseException:
            sites.stumbled()
    forms.run_unittest_classes(namespace, sites)
    if forms.is_doctest(request["tests"]):
        forms.run_doctest(request["tests"], namespace, sites)


def _candidate(exports: dict[str, Any], entry_point: str | None) -> Any:
    if entry_point is not None:
        if entry_point not in exports:
            raise NameError(f"the solution does not define {entry_point!r}")
        return exports[entry_point]
    functions = [v for v in exports.values() if type(v) is RemoteObject or isinstance(v, types.FunctionType)]
    if len(functions) != 1:
        raise TypeError("check(candidate) needs an entry_point: the solution defines several names")
    return functions[0]


class _SolutionImports(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Any module the tests import that is not the standard library's stands for the solution, and for what
    the tests have defined so far: `from accumulate import accumulate`, `from test_utils import Helper`.
    """

    def __init__(
        self, exports: dict[str, Any], namespace: dict[str, Any], solution: types.ModuleType | None
    ) -> None:
        self._exports, self._namespace, self._solution = exports, namespace, solution

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if "." in name or name in sys.stdlib_module_names:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._solution  # in-process, tests may patch the real one

    def exec_module(self, module: types.ModuleType) -> None:
        if self._solution is None:
            vars(module).update(self._exports)
        for name in self._namespace.keys() - vars(module).keys() - {split.SITES}:
            setattr(module, name, self._namespace[name])


def run_in_process(solution_fd: int, tests_fd: int, verdict_fd: int, deadline: float) -> None:
    request = loads(callee.read_all(tests_fd))
    try:
        test_plan = _plan(request["tests"])
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        _finish(verdict_fd, _broken("test_error", problem))
    sites = Sites(len(test_plan.required), bend=request["bend"])
    os.close(tests_fd)
    try:
        exports = dict(vars(callee.load(solution_fd, f"{test_plan.module}.py")))
    except BaseException as problem:
        sites.failed_to_load(problem)
        _finish(verdict_fd, sites.verdict(test_plan.required))
    public = {name: value for name, value in exports.items() if not name.startswith("__")}
    _execute(test_plan, public, sites, request)
    sys.stdout.flush()
    _finish(verdict_fd, sites.verdict(test_plan.required))


def _broken(status: str, problem: BaseException) -> dict[str, Any]:
    error = {"type": type(problem).__name__, "message": str(problem)[:_MAX_TEXT]}
    return {"status": status, "total": 0, "run": 0, "outcomes": [], "error": error}


def _finish(verdict_fd: int, verdict: dict[str, Any]) -> Any:
    data = dumps(verdict)
    os.pwrite(verdict_fd, data, 0)
    os._exit(0)
