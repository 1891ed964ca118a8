"""Runs the tests, holds the expected values and writes the one verdict of a run.

It never runs a line of the solution, but asks for it through `remote`: in the clerk's own process where the tests are
plain, else in one forked for the run. Where tests have to stand in the solution's process, `sealed` keeps what they
expect here.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import operator
import os
import socket
import sys
import types
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any, NoReturn

from . import forms, plain, pytest_form, solution_server, split
from .remote import Remote, RemoteFunction, is_class, ref
from .session import Contract, RunEnded, Session, SolutionExited
from .state import State
from .wire import CannotCross, Channel, Decoder, Node, deep, dumps, loads, words_of

GONE = 10
"""Exit code of a judge whose solution ended under its hands."""
UNPLANNABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
MAX_TEXT = 1000
"""Characters kept of a value's or an exception's text."""
_BUILTINS = frozenset(dir(builtins))
_HOOKS = frozenset(
    ("setUpModule", "tearDownModule", "load_tests", "pytestmark", "setup_module", "teardown_module")
)
"""What runners look for in the tests' module, where a solution's name has no business."""
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

    def __init__(self, plan: split.Plan, session: Session, fail_fast: bool = False) -> None:
        self._plan, self._fail_fast = plan, fail_fast
        self.outcomes = ["not_run"] * len(plan.required)
        self.runs = 0
        self.status: str | None = None
        self.error: dict[str, Any] | None = None
        self.doubt = ""
        """What a failure may be due to that no other way to run the tests would help."""
        self.session = session
        self._labels: list[str] = []
        self._entered: set[int] = set()
        self._skipped: set[int] = set()
        self._requests = 0

    def enter(self, index: int, fresh: bool) -> int:
        """`fresh`: what breaks in this assert before it asks the solution for anything is not the solution's doing."""
        self._requests = self._traffic() if fresh else 0
        return index

    def entered(self, function: int) -> None:
        self._entered.add(function)

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
        if operation in ("is_", "is_not") and isinstance(left, Remote) is not isinstance(right, Remote):
            self.session.refuse("an object of the solution's is compared by identity")
        if issubclass(type(left), type) or issubclass(type(right), type):
            left, right = self.session.class_of(left), self.session.class_of(right)
        with deep:
            holds = _COMPARE[operation](left, right)
        if self._executed(index, holds):
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

    def add(self, label: str) -> int:
        """One more site, found while the tests run."""
        self.outcomes.append("not_run")
        self._labels.append(label)
        self.mark()
        return len(self.outcomes) - 1

    def completed(self, name: str) -> None:
        """A test function came to its end: what it expects in other ways than by `assert` has held."""
        self.runs += name in self._plan.functions

    def held(self) -> None:
        """Something other than an assert that was waited for has come."""
        self.runs += 1

    def passed(self, index: int) -> None:
        self._executed(index, True)

    def skipped(self, index: int) -> None:
        """A test that says itself that it is not to be run."""
        self._skipped.add(index)

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

    def guard_failed(self, index: int) -> None:
        """An `assert False` that marks the place a missing exception leads to."""
        self.runs += 1
        self._record(index, "fail", "fail", "AssertionError", "the expected exception was not raised")
        raise AssertionError("the expected exception was not raised")

    def guard_passed(self, index: int) -> None:
        if self.outcomes[index] == "not_run":
            self._executed(index, True)

    def broke(self, index: int, soft: bool, shielded: bool = False, caught: bool = False) -> None:
        """Called in the handler around an assert: soft ones swallow what happened, after noting it; shielded ones,
        in a `try` or `with`, leave what is no failed assert to that.
        """
        problem = sys.exception()
        assert problem is not None
        if shielded and not soft and not isinstance(problem, AssertionError | RunEnded | Unsplittable):
            if caught:  # it was reached, and what became of it is for the `try` to say
                self._skipped.add(index)
            raise problem
        if self.outcomes[index] != "fail" or not isinstance(problem, AssertionError):
            self.runs += 1
            self._note(problem, index)
        if not soft or isinstance(problem, RunEnded | Unsplittable):
            raise problem
        self.stop_if_failed()

    def statement_failed(self) -> None:
        """Called in the handler around a statement of the test text that is no assert."""
        problem = sys.exception()
        assert problem is not None
        leaves = (
            isinstance(problem, SystemExit) and not isinstance(problem, SolutionExited) and not problem.code
        )
        if leaves:
            if missing := self._never_reached():
                self.undecided(missing)
            raise RunEnded("the tests end themselves")  # what they did not come to, the verdict finds
        if not (isinstance(problem, AssertionError) and self.status):
            self._note(problem, None)
        self.mark()
        if isinstance(problem, RunEnded | Unsplittable):
            raise problem
        self.stop_if_failed()

    def ended_as(self, reason: str) -> None:
        """The other side went before the tests were through."""
        self._record(None, "error", reason, "SolutionEnded", "the solution's process ended during the run")

    def undecided(self, reason: str) -> None:
        """What the solution gave cannot be looked at from here."""
        self._record(None, "error", "test_error", "CannotCross", reason)

    def stop_if_failed(self) -> None:
        """Where nobody asked for all outcomes, the first that is bad is the last."""
        if self._fail_fast and self.status not in (None, "pass"):
            raise RunEnded("stopped")

    def failed_to_load(self, problem: BaseException) -> None:
        """The solution raised at import: its own AssertionError is an error, not a failed test."""
        status = self._classify(problem)
        self._record(None, "error", status, _kind(problem), words_of(problem))

    def _note(self, problem: BaseException, index: int | None) -> None:
        if isinstance(problem, CannotCross) and self.session.unsplittable:
            raise Unsplittable(str(problem)) from problem
        status = self._classify(problem)
        if (
            self.session.has_instances
            and problem is not self.session.last_raised
            and status in ("error", "test_error")
        ):
            self.session.refuse(f"the tests broke with a stand-in in their hands: {_kind(problem)}")
        outcome = "fail" if status == "fail" else "error"
        self._record(index, outcome, status, _kind(problem), words_of(problem))

    def _classify(self, problem: BaseException) -> str:
        if isinstance(problem, RunEnded):
            return problem.reason
        if isinstance(problem, SolutionExited):
            return "exited"
        if isinstance(problem, SystemExit):
            return "test_error"  # the tests', not the solution's
        if isinstance(problem, MemoryError):
            return "memory"
        if isinstance(problem, AssertionError):
            return "error" if isinstance(problem, Contract) else "fail"
        asked = self.session.requests > self._requests
        return "error" if asked or self._lacks_a_name(problem) else "test_error"

    def _lacks_a_name(self, problem: BaseException) -> bool:
        """Whether the tests miss something that the solution should have; a library is the tests' to import."""
        if isinstance(problem, ModuleNotFoundError):
            return False
        if isinstance(problem, NameError):
            return problem.name not in sys.stdlib_module_names
        return isinstance(problem, ImportError) and not str(problem.name).startswith("test")

    def _traffic(self) -> int:
        return self.session.requests

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

    def verdict(self) -> Verdict:
        """The record of the run. A pass needs every site that may run to have run, and any at all."""
        if self.session.failed and self.status in (None, "error"):
            self.status = self.error = None
            self._record(None, "fail", "fail", "AssertionError", words_of(self.session.failed))
        if self.status is None and self.session.ended:
            self._record(
                None, "error", self.session.ended, "SolutionEnded", "the tests caught the end of the run"
            )
        elif self.status is None and not self.runs:
            self.status = "no_tests"
        elif self.status is None and (missing := self._never_reached()):
            self._record(None, "error", "test_error", "TestError", missing)
        found = {
            "status": self.status or "pass",
            "labels": self._labels,
            "total": len(self.outcomes),
            "run": self.runs,
            "outcomes": self.outcomes,
            "error": self.error,
        }
        if found["status"] == "pass" and self.session.hindered:
            error = {"type": "Undecided", "message": str(self.session.refused)[:MAX_TEXT]}
            found |= {"status": "test_error", "error": error}
        if found["status"] in ("fail", "error") and self.doubt:
            found |= {"status": "test_error", "error": {"type": "Undecided", "message": self.doubt}}
        elif found["status"] in ("fail", "error", "exited", "test_error", "no_tests") and (
            doubt := self.session.refused or self._plan.state
        ):
            found["doubt"] = doubt if isinstance(doubt, str) else ""
        elif found["status"] == "timeout" and self.session.may_wait:
            found["doubt"] = self.session.may_wait
        return found

    def _never_reached(self) -> str:
        """The first of what asserts and should have run."""
        sites = [site for site, needed in enumerate(self._plan.required) if needed]
        sites += range(len(self._plan.required), len(self.outcomes))
        for site in sites:
            if self.outcomes[site] == "not_run" and site not in self._skipped:
                return f"assert {site} was never reached"
        for group in self._plan.alternatives:
            if all(self.outcomes[site] == "not_run" for site in group):
                return f"none of the asserts {', '.join(map(str, group))} was reached"
        for number, name in enumerate(self._plan.functions):
            if number not in self._entered:
                return f"nothing called {name}, which asserts"
        return ""


def _short(value: Any) -> str:
    try:
        with deep:
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
    fail_fast: bool
    tests: bytes
    plan: bytes
    _end: int

    @classmethod
    def read(cls, fd: int) -> Request:
        line, _, body = solution_server.read_all(fd).partition(b"\n")
        header = loads(line)
        size = header["bytes"]
        return cls(header["entry_point"], header["fail_fast"], body[:size], body[size:], len(line) + 1 + size)

    def append(self, fd: int, plan: bytes) -> None:
        os.pwrite(fd, plan, self._end)


def judge_alone(sock: socket.socket, tests_fd: int, verdict_fd: int, deadline: float) -> NoReturn:
    """Run tests that the clerk has planned, in this process of their own."""
    request = Request.read(tests_fd)
    verdict, _ = judge(sock, split.Plan.load(request.plan), request, deadline)
    write(verdict_fd, verdict)
    os._exit(GONE if verdict.get("status") == "gone" else 0)


def judge(sock: socket.socket, plan: split.Plan, request: Request, deadline: float) -> tuple[Verdict, int]:
    """Run tests against the solution at the other end; the verdict, and how many bytes the solution sent. A plain plan
    executes nothing that stays in this process.
    """
    channel = Channel(sock)
    return _judged(Session(channel, deadline), plan, request), channel.received


def _judged(session: Session, plan: split.Plan, request: Request) -> Verdict:
    sites = Sites(plan, session, request.fail_fast)
    entry_point = request.entry_point
    head = head_of(entry_point)
    try:
        nodes = session.open()
        wanted = {head or ""} if head in plan.free else plan.free - _BUILTINS
        if session.exited and (wanted - nodes.keys()):
            raise session.exited
        if plan.plain is None:
            believed = frozenset((head,)) if head else plan.subjects
            exports = session.exports(nodes, believed)
    except BaseException as problem:  # whatever the solution raised while it loaded
        sites.failed_to_load(problem)
        return sites.verdict()
    try:
        if plan.plain is not None:
            with deep:
                _PlainRun(plan.plain, session, sites).run(nodes, entry_point)
        else:
            module = module_of(plan, exports, head)
            _acquaint(session, sites, plan, exports, module, believed, entry_point)
            _execute(plan, exports, sites, entry_point, module, believed)
    except RunEnded:
        pass  # noted where it happened
    except Unsplittable as problem:
        return {"unsplittable": str(problem)}
    return sites.verdict()


def _acquaint(
    session: Session, sites: Sites, plan: split.Plan, exports: dict[str, Any], module: str | None, believed: Set[str],
    entry_point: str | None,
) -> None:  # fmt: skip
    """Which of the solution's classes the tests speak of, and which names they were given of other making."""
    spoken_of = plan.free - _BUILTINS | {
        name for source, names in plan.imports if source == module for name in names
    }
    head = head_of(entry_point)
    asked_for = {head} if head is not None else set()
    spoken_of -= asked_for
    if any(_is_function(exports.get(name)) for name in spoken_of | asked_for):
        spoken_of = frozenset()  # the tests are about a function, whose results are to be data
    session.named = frozenset(
        ref(exports[name]).number for name in spoken_of & exports.keys() if is_class(exports[name])
    )
    if shadowed := (exports.keys() & plan.free & _BUILTINS) - believed:
        sites.doubt = f"the solution has its own {min(shadowed)}, the tests were given the builtin one"


def _is_function(value: Any) -> bool:
    """Whether it is a function of the solution, or an object that can be called like one."""
    if type(value) is RemoteFunction:
        return True
    return isinstance(value, Remote) and not is_class(value) and "__call__" in ref(value).kind.special


def head_of(entry_point: str | None) -> str | None:
    """The name that an entry point such as `Solution().sum` begins with."""
    return entry_point.partition(".")[0].removesuffix("()") if entry_point else None


def module_of(plan: Any, exports: dict[str, Any], head: str | None) -> str | None:
    """What the tests call the solution's module, if they import it: helpers of theirs are not its to give."""
    unknown = [(module, names) for module, names in plan.imports if not _is_here(module)]
    if head:
        found = [module for module, names in unknown if head in names]
    elif any(module == "solution" for module, _ in unknown):
        found = ["solution"]
    elif plan.free & (exports.keys() - _BUILTINS):
        found = [module for module, names in unknown if "*" in names]
    else:
        found = [
            module for module, names in unknown if set(names) - {"*"} <= exports.keys() or len(unknown) == 1
        ]
    return found[0] if found else None


def _is_here(module: str) -> bool:
    """Whether it can be imported: the caller has preloaded it."""
    import importlib.util

    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class _PlainRun:
    """All calls of a plain suite in a few messages, and the checks as the answers come."""

    def __init__(self, suite: plain.Suite, session: Session, sites: Sites) -> None:
        self._suite, self._session, self._sites = suite, session, sites
        self._values: list[Any] = []
        self._decoder = Decoder()

    def run(self, nodes: dict[str, Node], entry_point: str | None) -> None:
        """Raises RunEnded where the solution ends before the last answer."""
        suite = self._suite
        if suite.wants_candidate and not (entry_point := entry_point or _only_function(nodes)):
            return self._sites.undecided(
                "check(candidate) needs an entry_point: the solution defines several names"
            )
        parts = iter(suite.parts(entry_point))
        asked, following = 0, next(parts, None)
        for number, (check, last) in enumerate(zip(suite.checks, suite.last_calls, strict=True)):
            while len(self._values) <= last:
                if following and 2 * len(self._values) >= asked:  # before the other side has to wait for more
                    self._session.send_bytes(following[1])
                    asked, following = following[0], next(parts, None)
                self._values.append(self._answer())
                # an object can be asked only when all else is answered
                while self._session.has_objects and len(self._values) < asked:
                    self._values.append(self._answer())
            self._check(number, *check)

    def _answer(self) -> Any:
        """The value of the next call, or what it raised."""
        try:
            return self._session.next_answer()
        except BaseException as problem:  # the solution's; it belongs to the check that wants it
            return _Raised(problem)

    def _check(
        self, number: int, operation: str, left: Node, right: Node, flipped: bool, message: str
    ) -> None:
        try:
            if operation == "eq" and self._side(left) == self._side(right):
                return self._sites.passed(number)
            text = (lambda: message) if message else None
            if operation in ("truth", "not"):
                holds = self._side(left)
                self._sites.truth(number, holds if operation == "truth" else not holds, text)
            else:
                self._sites.compare(number, operation, flipped, self._side(left), self._side(right), text)
        except BaseException:
            self._sites.broke(number, True)

    def _side(self, node: Node) -> Any:
        if type(node) is not list:
            return node
        if node[0] != "call":
            self._decoder.forget()
            return self._decoder.decode(node)
        value = self._values[node[1]]
        if type(value) is _Raised:
            raise value.problem
        return value


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a call raised, in place of a value."""

    problem: BaseException


def _only_function(nodes: dict[str, Node]) -> str | None:
    own = [n for n, node in nodes.items() if type(node) is list and node[0] == "h" and node[2] != "object"]
    return own[0] if len(own) == 1 else None


def _check_candidate(
    namespace: dict[str, Any], exports: dict[str, Any], sites: Sites, entry_point: str | None
) -> None:
    try:
        namespace["check"](candidate(exports, entry_point))
    except BaseException:
        sites.statement_failed()


def _execute(
    plan: split.Plan, exports: dict[str, Any], sites: Sites, entry_point: str | None, module: str | None,
    believed: Set[str],
) -> None:  # fmt: skip
    session = sites.session
    session.watch(plan.patched)
    session.state = State() if plan.state else None
    namespace = namespace_of(exports, module, believed, session=session, sites=sites)
    session.namespace = namespace
    session.followed = {name: exports.get(name) for name in plan.free - _BUILTINS}
    namespace[split.SITES] = sites
    sites.mark()
    exec(plan.code, namespace)
    if plan.candidate_check:
        _check_candidate(namespace, exports, sites, entry_point)
    pytest_form.run(plan.tests, namespace, sites)
    forms.run_unittest_classes(namespace, sites)
    if plan.doctest:
        forms.run_doctest(plan.doctest, namespace, sites)


def namespace_of(
    exports: dict[str, Any], module: str | None, believed: Set[str], solution: types.ModuleType | None = None,
    session: Session | None = None, sites: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """The module of the tests, with the solution's names in it and the imports they may make. A name of a builtin is
    the builtin's, but for those in `believed`.
    """
    tests = types.ModuleType("tests") if session is None else RemoteModule("tests", session)
    sys.modules["tests"] = sys.modules["__main__"] = tests
    namespace = tests.__dict__
    namespace |= {n: v for n, v in exports.items() if n not in _BUILTINS | _HOOKS or n in believed}
    sys.meta_path.append(SolutionImports(module, exports, namespace, solution, session))
    pytest_form.provide(sites)
    return namespace


def candidate(exports: dict[str, Any], entry_point: str | None) -> Any:
    if entry_point is not None:
        return solution_server.entry_point(exports, entry_point)
    functions = [v for v in exports.values() if callable(v) and getattr(v, "__module__", None) == "solution"]
    if len(functions) != 1:
        raise TypeError("check(candidate) needs an entry_point: the solution defines several names")
    return functions[0]


class RemoteModule(types.ModuleType):
    """The solution's module as the tests import it: what they set in it is set there."""

    __slots__ = ("_session_",)

    def __init__(self, name: str, session: Session) -> None:
        super().__init__(name)
        object.__setattr__(self, "_session_", session)
        if name != "tests":
            session.modules.append(vars(self))

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name.startswith("__") and name.endswith("__")):
            self._session_.request("setglobal", name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._session_.request("setglobal", name)
        super().__delattr__(name)


class SolutionImports:
    """The module that the tests import by any name of its own stands for the solution, and a `test...` module for
    what the tests have defined so far: `from accumulate import accumulate`, `from test_utils import Helper`.
    """

    def __init__(
        self, name: str | None, exports: dict[str, Any], namespace: dict[str, Any],
        solution: types.ModuleType | None = None, session: Session | None = None,
    ) -> None:  # fmt: skip
        """`solution` is the real module, where the tests share its process."""
        self._name, self._exports, self._namespace = name, exports, namespace
        self._solution, self._session = solution, session

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        own = name == "solution" or (self._name is not None and f"{self._name}.".startswith(f"{name}."))
        if not own and (not name.startswith("test") or name in sys.stdlib_module_names):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=own)  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        if self._solution is None and self._session and not spec.name.startswith("test"):
            return RemoteModule(spec.name, self._session)
        return self._solution

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__.startswith("test"):
            own = {n: v for n, v in self._namespace.items() if v is not self._exports.get(n, self)}
            vars(module).update({n: v for n, v in own.items() if n != split.SITES and not n.startswith("__")})
            return
        if self._solution is None:
            vars(module).update(self._exports)
            # what a star import must not put over the tests' own names, or over a builtin
            taken = {
                n for n, value in self._namespace.items() if value is not self._exports.get(n)
            } | _BUILTINS
            vars(module)["__all__"] = [n for n in self._exports if n not in taken and not n.startswith("_")]
        for name in self._namespace.keys() - vars(module).keys() - {split.SITES}:
            vars(module)[name] = self._namespace[name]


def broken(status: str, problem: BaseException) -> Verdict:
    error = {"type": type(problem).__name__, "message": words_of(problem)[:MAX_TEXT]}
    return {"status": status, "total": 0, "run": 0, "outcomes": [], "error": error}


def write(verdict_fd: int, verdict: Verdict) -> None:
    os.pwrite(verdict_fd, dumps(verdict), 0)
