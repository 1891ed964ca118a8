"""Processes of our own making that end with the process that made them, and never import its script again (loky's)."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from advcore import AdvdistillError

P = ParamSpec("P")
T = TypeVar("T")
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the kernel end this process when `parent`, which has made it, ends; Linux alone can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def portable(error: Exception) -> Exception:
    """The error, or one with its text where it would not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of any kind, by whatever the error's class does there
        return AdvdistillError(f"{type(error).__name__}: {error}")
    return error


def apart(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call `function` in a new process that then ends, so that all its memory, a GPU's too, is free again.

    Ctrl-C is handed on to that process, which is in a group of its own. Raises what the call raises, and
    AdvdistillError when the process dies.
    """
    from loky import BrokenProcessPool, ProcessPoolExecutor

    pool = ProcessPoolExecutor(1, initializer=_begin, initargs=(os.getpid(),))
    interrupted = False
    try:
        process = pool.submit(os.getpid).result()
        job = pool.submit(_called, function, arguments, named)
        while True:
            try:
                result, error = job.result()
                break
            except KeyboardInterrupt:
                if job.done():
                    raise
                interrupted = True
                os.kill(process, signal.SIGINT)
    except BrokenProcessPool as problem:
        if interrupted:
            raise KeyboardInterrupt from None
        name = getattr(function, "__name__", "this step")
        raise AdvdistillError(f"the process of {name} died (out of memory?): {problem}") from None
    finally:
        pool.shutdown(kill_workers=interrupted)
    if error:
        raise error
    return cast(T, result)


def _begin(parent: int) -> None:
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    die_with(parent)


def _called(function: Callable[..., T], arguments: Any, named: Any) -> tuple[T | None, Exception | None]:
    try:
        return function(*arguments, **named), None
    except Exception as error:  # of any kind: it is raised where the call was made
        return None, portable(error)
