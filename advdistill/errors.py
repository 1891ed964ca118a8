"""The errors of the public API: all are children of `AdvdistillError`, whichever part raises them.

`SandboxUnavailable` is the sandbox's own, since that package imports nothing of ours; raised by a function of the API
it is a child of both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from advcore import AdvdistillError, ConfigError, DataError, TeacherError, extras
from advcore.extras import MissingExtra
from sandbox import SandboxUnavailable

__all__ = [
    "AdvdistillError", "ConfigError", "DataError", "MissingExtra", "SandboxUnavailable", "TeacherError",
    "under_one_root",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


class _Uncontained(AdvdistillError, SandboxUnavailable):
    exit_code = SandboxUnavailable.exit_code


def under_one_root(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with what it raises of the sandbox and of missing libraries as children of `AdvdistillError`."""

    @wraps(function)
    def told(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except AdvdistillError:
            raise
        except SandboxUnavailable as error:
            raise _Uncontained(str(error)) from error
        except ImportError as error:
            if not (reason := extras.explained(error)):
                raise
            raise MissingExtra(reason) from error

    return told
