"""Processes of our own making that end with the process that made them, and never import its script again (loky's)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

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


def apart(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call `function` in a new process that then ends, so that all its memory, a GPU's too, is free again.

    Ctrl-C is for that process to handle. Raises what the call raises, and AdvdistillError when the process dies.
    """
    from loky import BrokenProcessPool, ProcessPoolExecutor

    pool = ProcessPoolExecutor(1, initializer=die_with, initargs=(os.getpid(),))
    try:
        job = pool.submit(function, *arguments, **named)
        while True:
            try:
                return cast(T, job.result())
            except KeyboardInterrupt:
                if job.done():
                    raise
    except BrokenProcessPool as error:
        name = getattr(function, "__name__", "this step")
        raise AdvdistillError(f"the process of {name} died, as of too little memory: {error}") from None
    finally:
        pool.shutdown()
