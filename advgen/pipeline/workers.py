"""Processes that parse and run Python beside the event loop, each with a state of its own (a `Verifier`).

Processes and not threads, because CPython 3.11 parses wrongly in two threads at once ("AST constructor recursion depth
mismatch"), and because text that crashes the parser then costs a job and not the run. loky's and not the standard
library's, which import the user's script again, and so run it again unless it has a main guard. Knows nothing of the
jobs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import loky

from advcore import processes

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

JOB_S = 1800
"""Longest a job may take; one that takes longer dies with its process, whatever it is stuck in."""
_alarm = getattr(signal, "alarm", lambda seconds: None)  # Windows has none, and no sandbox
_state: Any = None  # of this process, if it is a worker


class WorkerLost(RuntimeError):
    """A job whose process died, twice."""


class Workers:
    """One process a core. `start(*arguments)` makes the state that every job gets first; it is a context manager that
    is entered once and left with the process.
    """

    def __init__(self, start: Callable[..., Any], *arguments: Any) -> None:
        self.count = loky.cpu_count()
        self.busy_s = 0.0
        """Summed over the processes."""
        self._start = (start, arguments)
        self._pool = self._opened()

    async def run(
        self, function: Callable[Concatenate[Any, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """`function(state, *arguments)` in a process. Raises what that raises, and WorkerLost when it kills two."""
        for _ in range(2):
            pool = self._pool
            try:
                job = pool.submit(_run, self._start, function, arguments, named)
                result, seconds = await asyncio.wrap_future(job)
            except loky.BrokenProcessPool:
                if pool is self._pool:  # else another job has seen it before
                    pool.shutdown(wait=False)
                    self._pool = self._opened()
                continue
            self.busy_s += seconds
            if isinstance(result, _Raised):
                raise result.error
            return cast(T, result)
        raise WorkerLost(f"its worker process died or took over {JOB_S} s, twice")

    def close(self) -> None:
        """Let the jobs under way end, and the processes with them."""
        self._pool.shutdown()

    def _opened(self) -> loky.ProcessPoolExecutor:
        return loky.ProcessPoolExecutor(self.count, initializer=_start, initargs=(os.getpid(),))


class _Raised:
    """An exception as a result, so that the time it took is told too."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _start(parent: int) -> None:
    """A killed run leaves no processes behind; Ctrl-C is for the run to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.die_with(parent)


def _run(
    start: tuple[Callable[..., Any], tuple[Any, ...]], function: Callable[..., T], arguments: Any, named: Any
) -> tuple[T | _Raised, float]:
    global _state
    started = time.perf_counter()
    _alarm(JOB_S)  # nothing handles it: it ends the process, also inside of a C function
    try:
        if _state is None:  # here and not in the initializer, whose exceptions are lost
            make, given = start
            _state = make(*given)
        result: T | _Raised = function(_state, *arguments, **named)
    except Exception as error:  # of any kind: it is raised where the job was given
        result = _Raised(processes.portable(error))
    finally:
        _alarm(0)
    return result, time.perf_counter() - started
