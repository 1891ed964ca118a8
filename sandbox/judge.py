"""Runs the tests, holds the expected values and writes the one verdict of a run.

In split mode it never runs a line of the solution, but asks for it through `remote`: in the clerk's own process
where the tests are plain, else in one forked for the run. In in-process mode solution and tests share a process, which
the solution can then lie to: `box` accepts such a pass only when bent twins of the tests fail.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import operator
import os
import socket
import sys
import types
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, NoReturn

from . import callee, forms, split, twins
from .remote import RemoteObject, RunEnded, Session, SolutionExited, is_class
from .wire import CannotCross, Channel, dumps, loads, words_of

GONE = 10
"""Exit code of a judge whose solution ended under its hands."""
UNPLANNABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
MAX_TEXT = 1000
"""Characters kept of a value's or an exception's text."""
_BUILTINS = frozenset(dir(builtins))
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "is_", "is_not")},
    "in": lambda left, right: left in right,
    "not_in": lambda left, right: left not in right,
}


Verdict = dict[str, Any]
"""The one record of a run, see `Sites.verdict`; or why the tests cannot be split."""


class Unsplittable(BaseException):
    """The tests hand over something that cannot cross; they have to run in the solution's process."""


class Sites:
    """The record of a run: one outcome per assert site, and the first thing that went wrong."""

    def __init__(self, count: int, session: Session | None = None) -> None:
        self.outcomes = ["not_run"] * count
        self.runs = 0
        self.status: str | None = None
        self.error: dict[str, Any] | None = None
        self._session = session
        self._labels: list[str] = []
        self._requests = 0

    def enter(self, index: int, fresh: bool) -> int:
        """`fresh`: what breaks in this assert before it asks the solution for anything is not the solution's doing."""
        self._requests = self._traffic() if fresh else 0
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
        if self._executed(index, _COMPARE[operation](left, right)):
            return
        expected, got = (left, right) if flipped else (right, left)
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
    def imported(self) -> Set[str]:
        """Names that the solution only took from the standard library."""
        return self._session.imported if self._session else frozenset()

    @property
    def split(self) -> bool:
        return self._session is not None

    def add(self, label: str) -> int:
        """One more site, found while the tests run."""
        self.outcomes.append("not_run")
        self._labels.append(label)
        self.mark()
        return len(self.outcomes) - 1

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

    def broke(self, index: int, soft: bool, shielded: bool = False) -> None:
        """Called in the handler around an assert: soft ones swallow what happened, after noting it; shielded ones,
        in a `try` or `with`, leave what is no failed assert to that.
        """
        problem = sys.exception()
        assert problem is not None
        if shielded and not soft and not isinstance(problem, AssertionError | RunEnded | Unsplittable):
            raise problem
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
        self._record(None, "error", status, _kind(problem), words_of(problem))

    def _note(self, problem: BaseException, index: int | None) -> None:
        if isinstance(problem, CannotCross) and self._session and self._session.unsplittable:
            raise Unsplittable(str(problem)) from problem
        status = self._classify(problem)
        outcome = "fail" if status == "fail" else "error"
        self._record(index, outcome, status, _kind(problem), words_of(problem))

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
            self.error = {"type": kind, "message": message[:MAX_TEXT], **facts}

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
            "labels": self._labels,
            "total": len(self.outcomes),
            "run": self.runs,
            "outcomes": self.outcomes,
            "error": self.error,
        }


def _short(value: Any) -> str:
    try:
        return repr(value)[:MAX_TEXT]
    except (
        Exception,
        SolutionExited,
        RunEnded,
    ) as problem:  # a proxy's repr runs in the solution: anything may come
        return f"<no repr: {type(problem).__name__}>"


def _text(text: Callable[[], Any] | None) -> str:
    return str(text())[:MAX_TEXT] if text else ""  # a literal, an f-string or a name of the tests


def _kind(problem: BaseException) -> str:
    return {"RunEnded": "SolutionEnded", "SolutionExited": "SystemExit"}.get(type(problem).__name__) or type(
        problem
    ).__name__


# --- the two ways to run ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What the supervisor wrote: a line of JSON and the test text; after that the clerk may have put its plan."""

    entry_point: str | None
    tests: bytes
    plan: bytes
    _end: int

    @classmethod
    def read(cls, fd: int) -> Request:
        line, _, body = callee.read_all(fd).partition(b"\n")
        header = loads(line)
        size = header["bytes"]
        return cls(header["entry_point"], body[:size], body[size:], len(line) + 1 + size)

    def append(self, fd: int, plan: bytes) -> None:
        os.pwrite(fd, plan, self._end)


def judge_alone(sock: socket.socket, tests_fd: int, verdict_fd: int, deadline: float) -> NoReturn:
    """Run tests that the clerk has planned, in this process of their own."""
    request = Request.read(tests_fd)
    verdict, _ = judge(sock, split.Plan.load(request.plan), request.entry_point, deadline)
    write(verdict_fd, verdict)
    os._exit(GONE if verdict.get("status") == "gone" else 0)


def judge(
    sock: socket.socket, plan: split.Plan, entry_point: str | None, deadline: float
) -> tuple[Verdict, int]:
    """Run tests against the solution at the other end; the verdict, and how many bytes the solution sent. A plain plan
    executes nothing that stays in this process.
    """
    channel = Channel(sock)
    return _judged(channel, plan, entry_point, deadline), channel.received


def _judged(channel: Channel, plan: split.Plan, entry_point: str | None, deadline: float) -> Verdict:
    session = Session(channel, deadline, may_import=plan.plain is None)
    sites = Sites(len(plan.required), session)
    try:
        exports = session.open()
    except BaseException as problem:  # whatever the solution raised while it loaded
        sites.failed_to_load(problem)
        return sites.verdict(plan.required)
    if session.has_classes:
        session.named = plan.names() & {n for n, value in exports.items() if is_class(value)}
        session.named -= _BUILTINS | {entry_point}
    try:
        (_execute if plan.plain is None else _execute_plain)(plan, exports, sites, entry_point)
    except RunEnded:
        pass  # noted where it happened
    except Unsplittable as problem:
        return {"unsplittable": str(problem)}
    return sites.verdict(plan.required)


def plan_twins(tests_fd: int, verdict_fd: int) -> None:
    """The test text as it is and several times bent, for runs in the solution's own process, with the names of the
    sites that can be bent.
    """
    import random  # not in the slot's memory, see `zygote.warm_up`

    text = Request.read(tests_fd).tests.decode("utf-8", "surrogatepass")
    straight, bent, sites = twins.family(text, random.Random(os.urandom(16)))
    plans = [(split.plan(twin).dump().hex(), [*bends]) for twin, bends in bent]
    plan = split.plan(straight)
    required = [site for site, needed in enumerate(plan.required) if needed]
    names = [*sites, *(site for site in required if site not in sites)]
    write(verdict_fd, {"straight": plan.dump().hex(), "twins": plans, "bendable": [*sites], "needed": names})


def _execute_plain(plan: split.Plan, exports: dict[str, Any], sites: Sites, entry_point: str | None) -> None:
    assert plan.plain is not None
    namespace: dict[str, Any] = {"__builtins__": {"BaseException": BaseException}, split.SITES: sites}
    namespace |= {name: exports[name] for name in plan.plain & exports.keys() if exports[name] is not None}
    sites.mark()
    exec(plan.code, namespace)
    if plan.candidate_check:
        _check_candidate(namespace, exports, sites, entry_point)


def _check_candidate(
    namespace: dict[str, Any], exports: dict[str, Any], sites: Sites, entry_point: str | None
) -> None:
    try:
        namespace["check"](_candidate(exports, entry_point, sites.imported))
    except BaseException:
        sites.stumbled()


def _execute(plan: split.Plan, exports: dict[str, Any], sites: Sites, entry_point: str | None) -> None:
    module = types.ModuleType("tests")
    sys.modules["tests"] = sys.modules["__main__"] = module
    namespace = module.__dict__
    namespace |= {
        n: v for n, v in exports.items() if v is not None and (n not in _BUILTINS or n == entry_point)
    }
    namespace[split.SITES] = sites
    solution = None if sites.split else sys.modules.get("solution")
    sys.meta_path.append(_SolutionImports(plan.module, exports, namespace, solution))
    sites.mark()
    exec(plan.code, namespace)
    if plan.candidate_check:
        _check_candidate(namespace, exports, sites, entry_point)
    forms.run_unittest_classes(namespace, sites)
    if plan.doctest:
        forms.run_doctest(plan.doctest, namespace, sites)


def _candidate(exports: dict[str, Any], entry_point: str | None, imported: Set[str]) -> Any:
    if entry_point is not None:
        if entry_point not in exports:
            raise NameError(f"the solution does not define {entry_point!r}")
        return exports[entry_point]
    own = [value for name, value in exports.items() if name not in imported]
    functions = [v for v in own if type(v) is RemoteObject or isinstance(v, types.FunctionType)]
    if len(functions) != 1:
        raise TypeError("check(candidate) needs an entry_point: the solution defines several names")
    return functions[0]


class _SolutionImports:
    """The module that the tests import by any name of its own stands for the solution, and a `test...` module for
    what the tests have defined so far: `from accumulate import accumulate`, `from test_utils import Helper`.
    """

    def __init__(
        self, name: str, exports: dict[str, Any], namespace: dict[str, Any], solution: types.ModuleType | None
    ) -> None:
        self._name, self._exports, self._namespace, self._solution = name, exports, namespace, solution

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if (
            name not in (self._name, "solution") and not name.startswith("test")
        ) or name in sys.stdlib_module_names:
            return None
        return importlib.machinery.ModuleSpec(name, self)  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self._solution  # in-process, tests may patch the real one

    def exec_module(self, module: types.ModuleType) -> None:
        if self._solution is None:
            vars(module).update(self._exports)
            # what a star import must not put over the tests' own names, or over a builtin
            taken = {
                n for n, value in self._namespace.items() if value is not self._exports.get(n)
            } | _BUILTINS
            vars(module)["__all__"] = [n for n in self._exports if n not in taken and not n.startswith("_")]
        for name in self._namespace.keys() - vars(module).keys() - {split.SITES}:
            setattr(module, name, self._namespace[name])


def run_in_process(solution_fd: int, tests_fd: int, verdict_fd: int) -> NoReturn:
    """The tests beside the solution. What it writes is worth what the twins make of it."""
    request = Request.read(tests_fd)
    plan = split.Plan.load(request.plan)
    sites = Sites(len(plan.required))
    os.close(tests_fd)
    try:
        exports = dict(vars(callee.load(solution_fd, f"{plan.module}.py")))
    except BaseException as problem:
        sites.failed_to_load(problem)
    else:
        public = {name: value for name, value in exports.items() if not name.startswith("__")}
        _execute(plan, public, sites, request.entry_point)
        sys.stdout.flush()
    write(verdict_fd, sites.verdict(plan.required))
    os._exit(0)


def broken(status: str, problem: BaseException) -> Verdict:
    error = {"type": type(problem).__name__, "message": words_of(problem)[:MAX_TEXT]}
    return {"status": status, "total": 0, "run": 0, "outcomes": [], "error": error}


def write(verdict_fd: int, verdict: Verdict) -> None:
    os.pwrite(verdict_fd, dumps(verdict), 0)
