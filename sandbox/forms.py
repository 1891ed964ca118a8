"""The other forms tests come in: `unittest` classes and doctests, run so that each part is one assert site.

A test method is a site, an example with an expected output is a site. In a doctest only values are compared:
what the solution prints goes to its own process. Called by `judge` with the namespace the tests were executed
in.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

DOCTEST_PROMPT = ">>> "
_EQUALITIES = (
    "assertEqual", "assertMultiLineEqual", "assertSequenceEqual", "assertListEqual", "assertTupleEqual",
    "assertSetEqual", "assertDictEqual", "assertCountEqual",
)  # fmt: skip


class Recorder(Protocol):
    """What `judge.Sites` offers here."""

    def add(self) -> int: ...
    def bent(self, index: int, value: Any) -> Any: ...
    def passed(self, index: int) -> None: ...
    def differs(self, index: int, expected: str, got: str) -> None: ...
    def broke(self, index: int, soft: bool) -> None: ...


def is_doctest(tests: str) -> bool:
    return tests.lstrip().startswith(DOCTEST_PROMPT)


def run_unittest_classes(namespace: dict[str, Any], sites: Recorder) -> None:
    """Every TestCase the tests define; unittest is only there when they imported it."""
    unittest = sys.modules.get("unittest")
    if unittest is None:
        return
    cases = [c for c in namespace.values() if isinstance(c, type) and issubclass(c, unittest.TestCase)]
    for case in (case for case in cases if case.__module__ == namespace["__name__"]):
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            _run_method(unittest, test, sites)


def _bending(equal: Callable[..., None], index: int, sites: Recorder) -> Callable[..., None]:
    return lambda first, second, *rest, **named: equal(first, sites.bent(index, second), *rest, **named)


def _run_method(unittest: types.ModuleType, test: Any, sites: Recorder) -> None:
    index = sites.add()
    problems: list[BaseException] = []
    skipped: list[str] = []
    result = unittest.TestResult()
    result.addError = result.addFailure = lambda _, info: problems.append(info[1])
    result.addSubTest = lambda _, part, info: problems.append(info[1]) if info else None
    result.addSkip = lambda _, reason: skipped.append(reason)
    for name in _EQUALITIES:
        setattr(test, name, _bending(getattr(test, name), index, sites))
    test.run(result)
    try:
        if problems:
            raise problems[0]
    except BaseException:
        sites.broke(index, True)
    else:
        if not skipped:
            sites.passed(index)


def run_doctest(tests: str, namespace: dict[str, Any], sites: Recorder) -> None:
    """Raises ValueError where the text is no doctest."""
    import doctest  # 30 ms that only doctests pay for

    checker = doctest.OutputChecker()
    for example in doctest.DocTestParser().get_examples(tests):
        shown = _Shown(namespace)
        if not example.want:
            shown.run(example.source)
            continue
        index = sites.add()
        try:
            got = shown.run(example.source)
        except Exception as problem:
            if example.exc_msg is None:
                sites.broke(index, True)
                continue
            got = f"{type(problem).__name__}: {problem}\n"
        want = sites.bent(index, example.exc_msg or example.want)
        flags = sum(flag for flag, on in example.options.items() if on)
        if checker.check_output(want, got, flags):
            sites.passed(index)
        else:
            sites.differs(index, want, got)


class _Shown:
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
        try:
            exec(compile(source, "tests.py", "single", dont_inherit=True), self._namespace)
        finally:
            sys.displayhook = saved
        return self._text
