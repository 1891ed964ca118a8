"""The other forms tests come in: `unittest` classes and doctests, run so that each part is one assert site.

A test method is a site, an example with an expected output is a site. In a doctest only values are compared:
what the solution prints goes to its own process. Called by `judge` with the namespace the tests were executed
in.
"""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, Protocol


class Recorder(Protocol):
    """What `judge.Sites` offers here."""

    def add(self, label: str) -> int: ...
    def passed(self, index: int) -> None: ...
    def skipped(self, index: int) -> None: ...
    def differs(self, index: int, expected: str, got: str) -> None: ...
    def broke(self, index: int, soft: bool) -> None: ...
    def statement_failed(self) -> None: ...
    def undecided(self, reason: str) -> None: ...


def run_unittest_classes(namespace: dict[str, Any], sites: Recorder) -> None:
    """Every TestCase the tests define; unittest is only there when they imported it."""
    unittest: Any = sys.modules.get("unittest")
    if unittest is None:
        return
    if callable(namespace.get("load_tests")):
        sites.undecided("the tests choose themselves what is run (load_tests)")
    unittest.main = lambda *_, **__: None  # the tests are run here, whether they ask for it or not
    cases = [c for c in namespace.values() if issubclass(type(c), type) and issubclass(c, unittest.TestCase)]
    for case in (case for case in cases if case.__module__ == namespace["__name__"]):
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(_recording(unittest, sites))


def _recording(unittest: types.ModuleType, sites: Recorder) -> Any:
    """A TestResult that makes each method a site; what breaks around methods (setUpClass) is one of its own."""

    class Recording(unittest.TestResult):  # type: ignore[misc,name-defined]  # the module is only here at run time
        index = -1

        def startTest(self, test: Any) -> None:
            super().startTest(test)
            self.index = sites.add(f"{type(test).__name__}.{test._testMethodName}")

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)
            self.index = -1

        def addSuccess(self, test: Any) -> None:
            sites.passed(self.index)

        def addError(self, test: Any, problem: Any) -> None:
            _record(problem[1], self.index if self.index >= 0 else sites.add(""), sites)

        addFailure = addError

        def addSkip(self, test: Any, reason: str) -> None:
            if self.index >= 0 and getattr(getattr(test, test._testMethodName), "__unittest_skip__", False):
                sites.skipped(self.index)

        def addSubTest(self, test: Any, part: Any, problem: Any) -> None:
            if problem:
                self.addError(test, problem)

    return Recording()


def _record(problem: BaseException, index: int, sites: Recorder) -> None:
    try:
        raise problem
    except BaseException:
        sites.broke(index, True)


def run_doctest(tests: str, namespace: dict[str, Any], sites: Recorder) -> None:
    """Raises ValueError where the text is no doctest."""
    import doctest  # 30 ms that only doctests pay for

    for example in doctest.DocTestParser().get_examples(tests):
        shown = Shown(namespace)
        if not example.want:
            try:
                shown.run(example.source)
            except BaseException:
                sites.statement_failed()
            continue
        index = sites.add("")
        try:
            got = shown.run(example.source)
        except Exception as problem:
            if example.exc_msg is None:
                sites.broke(index, True)
                continue
            got = f"{type(problem).__name__}: {problem}\n"
        want = example.exc_msg or example.want
        flags = sum(flag for flag, on in example.options.items() if on)
        if shows(want, got, flags):
            sites.passed(index)
        else:
            sites.differs(index, want, got)


def shows(want: str, got: str, flags: int) -> bool:
    """Whether what an example shows is what it is to show, by the rules of `doctest`."""
    import doctest

    if flags & doctest.IGNORE_EXCEPTION_DETAIL and (name := re.match(r"(?:\w+\.)*(\w+)", want)):
        return re.match(rf"(?:\w+\.)*{name[1]}\b", got) is not None
    return doctest.OutputChecker().check_output(want, got, flags)


class Shown:
    """Runs a statement as the interactive prompt would and keeps what it shows."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._text = ""

    def _show(self, value: object) -> None:
        if value is not None:
            self._text += repr(value) + "\n"

    def run(self, source: str) -> str:
        saved: Callable[[object], Any] = sys.displayhook
        sys.displayhook = self._show
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                exec(compile(source, "tests.py", "single", dont_inherit=True), self._namespace)
        finally:
            sys.displayhook = saved
        text = printed.getvalue() + self._text
        return text if not text or text.endswith("\n") else text + "\n"
