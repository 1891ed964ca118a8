"""Tests in pytest's form: functions and classes that a runner collects, with the fixtures and marks most of them use.

Where pytest itself cannot be imported (it is not of the standard library), a module of that name offers `raises`,
`approx`, `fixture`, `mark`, `skip`, `fail`, `warns` and the like, with the meaning that its documentation gives them
(https://docs.pytest.org). A fixture or plug-in that is not known here leaves its test unrun, and so the text a
`test_error`. Called by `judge`.
"""

from __future__ import annotations

import inspect
import io
import itertools
import math
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

_NOT_SET: Any = object()


class Recorder(Protocol):
    """What `judge.Sites` offers here."""

    def statement_failed(self) -> None: ...
    def mark(self) -> None: ...
    def undecided(self, reason: str) -> None: ...
    def held(self) -> None: ...
    def completed(self, name: str) -> None: ...


class Skipped(BaseException):
    """The test says that it is not to be run."""


class Unknown(BaseException):
    """The test wants something of pytest that is not known here."""


class Failed(AssertionError):
    """The test says that it has failed."""


# --- running ------------------------------------------------------------------------------------------------------


def run(names: Sequence[str], namespace: dict[str, Any], sites: Recorder) -> None:
    """Call every collected test as pytest would, each of its parameters apart; what one raises is recorded."""
    own = {n: v for n, v in namespace.items() if type(v) is types.FunctionType}
    fixtures = {n: v for n, v in own.items() if getattr(v, "_fixture_", None) is not None}
    with ExitStack() as stack:
        module = _Module(namespace, fixtures, stack)
        for name in names:
            found = namespace.get(name)
            if isinstance(found, type):
                if _is_test_case(found):
                    continue
                for method in [n for n in vars(found) if n.startswith("test")]:
                    _run_all(getattr(found, method), found, module, sites)
            elif callable(found):
                _run_all(found, None, module, sites)


class _Module:
    """What the tests of one text share."""

    def __init__(self, namespace: dict[str, Any], fixtures: dict[str, Any], stack: ExitStack) -> None:
        self.namespace, self.fixtures, self.stack = namespace, fixtures, stack
        self.made: dict[str, Any] = {}
        _hook(namespace, "setup_module")
        stack.callback(_hook, namespace, "teardown_module")


def _hook(owner: Any, name: str) -> None:
    """Call a set-up function of the old style, if there is one."""
    found = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
    if callable(found):
        found(*[None] * len(inspect.signature(found).parameters))


def _is_test_case(kind: type) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase)


def _run_all(test: Callable[..., Any], owner: type | None, module: _Module, sites: Recorder) -> None:
    marks = [*getattr(owner, "pytestmark", ()), *getattr(test, "pytestmark", ())]
    if any(mark.skips for mark in marks):
        return
    for values in _parameters(marks, _params_of(test, module.fixtures)):
        try:
            _run_one(test, owner, values, module)
            sites.completed(test.__name__)
        except Unknown as problem:
            sites.undecided(str(problem))
        except Skipped:
            pass  # its asserts were not reached, which counts unless a mark said so
        except BaseException:
            sites.statement_failed()
        sites.mark()


def _params_of(function: Any, fixtures: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The choices that fixtures with `params` give, by the name `param of NAME`."""
    found = []
    for name in inspect.signature(function).parameters:
        if name in fixtures:
            params = fixtures[name]._fixture_.get("params")
            found += [[{f"param of {name}": each} for each in params]] if params else []
            found += _params_of(fixtures[name], fixtures)
    return found


def _parameters(marks: Sequence[_Mark], params: Sequence[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The values of a test's arguments, one dictionary a run."""
    for choice in itertools.product(*(mark.choices for mark in marks if mark.choices is not None), *params):
        yield {name: value for values in choice for name, value in values.items()}


def _run_one(test: Callable[..., Any], owner: type | None, values: dict[str, Any], module: _Module) -> None:
    with ExitStack() as stack:
        if owner is None:
            _hook(module.namespace, "setup_function")
            stack.callback(_hook, module.namespace, "teardown_function")
        scene = _Scene(stack, owner() if owner else None, values, module)
        scene.around()
        _finish(scene.call(getattr(scene.owner, test.__name__) if owner else test))
        scene.after()


def _finish(result: Any) -> Any:
    if inspect.iscoroutine(result):
        import asyncio

        return asyncio.run(result)
    return result


def _given_by_mock(function: Any) -> int:
    """How many arguments `mock.patch` hands to a function that it decorates."""
    mock: Any = sys.modules.get("unittest.mock")
    patchings = getattr(function, "patchings", ())
    return sum(each.attribute_name is None and each.new is mock.DEFAULT for each in patchings)


class _Scene:
    """One run of one test: its fixtures, each made once."""

    def __init__(self, stack: ExitStack, owner: Any, values: dict[str, Any], module: _Module) -> None:
        self._stack, self.owner, self._module = stack, owner, module
        self._made, self._fixtures = dict(values), dict(module.fixtures)
        for name in dir(type(owner)) if owner is not None else ():
            if getattr(getattr(type(owner), name), "_fixture_", None) is not None:
                self._fixtures[name] = getattr(owner, name)

    def around(self) -> None:
        for name in ("setup_class", "setup_method", "setup"):
            _hook(self.owner, name)
        for name, made in self._fixtures.items():
            if made._fixture_.get("autouse"):
                self._value(name)

    def after(self) -> None:
        for name in ("teardown_method", "teardown", "teardown_class"):
            _hook(self.owner, name)

    def call(self, function: Callable[..., Any], name: str = "") -> Any:
        wanted = [
            name
            for name, parameter in list(inspect.signature(function).parameters.items())[
                _given_by_mock(function) :
            ]
            if parameter.default is inspect.Parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        return function(**{each: self._value(each, name) for each in wanted})

    def _value(self, name: str, wanted_by: str = "") -> Any:
        if name == "request":
            param = self._made.get(f"param of {wanted_by}")
            return types.SimpleNamespace(param=param, addfinalizer=self._stack.callback)
        wide = (
            name in self._fixtures and self._fixtures[name]._fixture_.get("scope", "function") != "function"
        )
        made = self._module.made if wide else self._made
        if name not in made:
            made[name] = self._make(name, self._module.stack if wide else self._stack)
        return made[name]

    def _make(self, name: str, stack: ExitStack) -> Any:
        if name in self._fixtures:
            made = self.call(self._fixtures[name], name)
            if inspect.isgenerator(made):
                value = next(made)
                stack.callback(lambda: next(made, None))
                return value
            return _finish(made)
        if name in _FIXTURES:
            return self._stack.enter_context(_FIXTURES[name]())
        raise Unknown(f"there is no fixture {name!r} here")


# --- fixtures -----------------------------------------------------------------------------------------------------


class _Monkeypatch:
    """Sets attributes and items for the time of one test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def setattr(self, target: Any, name: Any, value: Any = _NOT_SET, raising: bool = True) -> None:
        if value is _NOT_SET:  # setattr("module.name", value)
            path, _, attribute = target.rpartition(".")
            target, name, value = __import__(path, fromlist=["_"]), attribute, name
        old = getattr(target, name, _NOT_SET)
        if old is _NOT_SET and raising:
            raise AttributeError(name)
        undo = (delattr, target, name) if old is _NOT_SET else (setattr, target, name, old)
        self._stack.callback(*undo)
        setattr(target, name, value)

    def setitem(self, target: Any, key: Any, value: Any) -> None:
        undo = (target.__setitem__, key, target[key]) if key in target else (target.__delitem__, key)
        self._stack.callback(*undo)
        target[key] = value

    def delitem(self, target: Any, key: Any, raising: bool = True) -> None:
        if key in target:
            self._stack.callback(target.__setitem__, key, target[key])
            del target[key]
        elif raising:
            raise KeyError(key)

    def delattr(self, target: Any, name: str, raising: bool = True) -> None:
        if hasattr(target, name):
            self._stack.callback(setattr, target, name, getattr(target, name))
            delattr(target, name)
        elif raising:
            raise AttributeError(name)

    def setenv(self, name: str, value: str) -> None:
        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        self.delitem(os.environ, name, raising)


@contextmanager
def _monkeypatch() -> Iterator[_Monkeypatch]:
    with ExitStack() as stack:
        yield _Monkeypatch(stack)


class _Capture:
    """What is printed in the time of one test."""

    def __init__(self) -> None:
        self.streams = io.StringIO(), io.StringIO()

    def readouterr(self) -> Any:
        texts = [stream.getvalue() for stream in self.streams]
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        return _Captured(*texts)


class _Captured(tuple[str, str]):
    def __new__(cls, out: str, err: str) -> _Captured:
        return super().__new__(cls, (out, err))

    out = property(lambda self: self[0])
    err = property(lambda self: self[1])


@contextmanager
def _capture() -> Iterator[_Capture]:
    capture, saved = _Capture(), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = capture.streams
    try:
        yield capture
    finally:
        sys.stdout, sys.stderr = saved


_FIXTURES = {"monkeypatch": _monkeypatch, "capsys": _capture, "capfd": _capture}


# --- the module ---------------------------------------------------------------------------------------------------


class _Mark:
    """A decorator that notes something on a test: whether it is skipped, or what it is called with."""

    def __init__(self, skips: bool = False, choices: list[dict[str, Any]] | None = None) -> None:
        self.skips, self.choices = skips, choices

    def __call__(self, *args: Any, **_: Any) -> Any:
        if len(args) == 1 and callable(args[0]):
            args[0].pytestmark = [*getattr(args[0], "pytestmark", ()), self]
            return args[0]
        return self


class _Marks:
    """`pytest.mark`: those that decide whether and with what a test is called; all others say nothing here."""

    def __getattr__(self, name: str) -> _Mark:
        return _Mark()

    skip = property(lambda self: _Mark(skips=True))
    xfail = property(lambda self: _Mark(skips=True))  # may fail, and so says nothing

    def skipif(self, condition: Any = True, *, reason: str = "") -> _Mark:
        return _Mark(skips=bool(condition))

    def parametrize(self, names: Any, values: Any, **_: Any) -> _Mark:
        """Every set of values is a run of its own; those under a skipping mark are left out."""
        split = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        choices = []
        for each in values:
            if isinstance(each, _Param):
                if any(mark.skips for mark in each.marks):
                    continue
                each = each.values if len(split) > 1 else each.values[0]
            choices.append(dict(zip(split, each if len(split) > 1 else [each], strict=True)))
        return _Mark(choices=choices)


class _Param:
    def __init__(self, *values: Any, marks: Any = (), id: str | None = None) -> None:
        self.values, self.marks = values, marks if isinstance(marks, list | tuple) else [marks]


def _fixture(function: Any = None, **options: Any) -> Any:
    def note(made: Any) -> Any:
        made._fixture_ = options
        return made

    return note(function) if callable(function) else note


class _Raises:
    """Waits for an exception in its block; `value`, `type` and `match` speak of it."""

    value: Any = None
    type: Any = None

    def __init__(self, expected: Any, match: str | None = None) -> None:
        self._expected, self._match = expected, match

    def __enter__(self) -> _Raises:
        return self

    def __exit__(self, kind: Any, problem: Any, _: Any) -> bool:
        if kind is None:
            raise Failed(f"DID NOT RAISE {self._expected}")
        if not issubclass(kind, self._expected):
            return False
        self.value, self.type = problem, kind
        if self._match is not None:
            self.match(self._match)
        _held()
        return True

    def match(self, pattern: str) -> bool:
        if not re.search(pattern, str(self.value)):
            raise Failed(f"{str(self.value)!r} does not match {pattern!r}")
        return True


def _raises(expected: Any, *args: Any, match: str | None = None, **kwargs: Any) -> Any:
    waiting = _Raises(expected, None if args else match)
    if not args:
        return waiting
    function, *given = args
    with waiting:
        function(*given, **kwargs)
    return waiting


@contextmanager
def _warns(expected: Any = Warning, match: str | None = None) -> Iterator[Any]:
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    if not any(issubclass(w.category, expected) and re.search(match or "", str(w.message)) for w in caught):
        raise Failed(f"DID NOT WARN {expected}")
    _held()


class _Approx:
    """Equal within a tolerance: 1e-6 of the expected value, or 1e-12 where that is more."""

    def __init__(self, expected: Any, rel: Any = None, abs: Any = None, nan_ok: bool = False) -> None:
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, got: object) -> bool:
        expected: Any = self._expected
        if isinstance(expected, dict):
            return (
                isinstance(got, dict)
                and got.keys() == expected.keys()
                and all(self._near(got[key], expected[key]) for key in expected)
            )
        if isinstance(expected, list | tuple):
            if not isinstance(got, list | tuple) or len(got) != len(expected):
                return False
            return all(map(self._near, got, expected))
        return self._near(got, expected)

    def _near(self, got: Any, expected: Any) -> bool:
        if (
            isinstance(expected, bool)
            or not isinstance(expected, int | float | complex)
            or isinstance(got, str)
        ):
            return bool(got == expected)
        if got == expected:
            return True
        if not isinstance(got, int | float | complex) and not hasattr(got, "__float__"):
            return False
        if math.isnan(abs(expected)):
            return self._nan_ok and math.isnan(abs(got))
        if math.isinf(abs(expected)):
            return False
        absolute = 1e-12 if self._abs is None else self._abs
        relative = (0.0 if self._abs is not None else 1e-6) if self._rel is None else self._rel
        return bool(abs(got - expected) <= max(absolute, relative * abs(expected)))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"


def _leave(kind: type[BaseException]) -> Callable[..., Any]:
    def leave(reason: str = "", **_: Any) -> Any:
        raise kind(reason)

    return leave


def _import_or_skip(name: str, **_: Any) -> Any:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError as problem:
        raise Skipped(str(problem)) from problem


_listeners: list[Recorder] = []


def _held() -> None:
    """Tell that something waited for came: an assert of its own kind."""
    for each in _listeners:
        each.held()


def provide(sites: Recorder) -> None:
    """Put the module in its place, unless the real one can be imported."""
    import importlib.util

    if "pytest" in sys.modules or importlib.util.find_spec("pytest") is not None:
        return
    _listeners.append(sites)
    module = types.ModuleType("pytest")
    vars(module).update(
        raises=_raises, approx=_Approx, fixture=_fixture, mark=_Marks(), param=_Param, warns=_warns,
        skip=_leave(Skipped), fail=_leave(Failed), xfail=_leave(Skipped), importorskip=_import_or_skip,
        main=lambda *_, **__: 0,
    )  # fmt: skip
    sys.modules["pytest"] = module
