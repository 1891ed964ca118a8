"""Processes that parse and run Python beside the event loop, each with a state of its own (a `Prover`).

Processes and not threads, because CPython 3.11 parses wrongly in two threads at once ("AST constructor recursion depth
mismatch"), and because text that crashes the parser then costs a job and not the run. Knows nothing of the jobs.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Concatenate, ParamSpec, TypeVar

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

JOB_S = 1800
"""Longest a job may take; one that takes longer dies with its process, whatever it is stuck in."""
_PR_SET_PDEATHSIG = 1
_state: Any = None  # of this process, if it is a worker


class WorkerLost(RuntimeError):
    """A job whose process died, twice."""


class Workers:
    """One process a core. `start(*arguments)` makes the state that every job gets first; it is a context manager that
    is entered once and left with the process.
    """

    def __init__(self, start: Callable[..., Any], *arguments: Any) -> None:
        self.count = len(os.sched_getaffinity(0))
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
            except BrokenProcessPool:
                if pool is self._pool:  # else another job has seen it before
                    pool.shutdown(wait=False)
                    self._pool = self._opened()
                continue
            self.busy_s += seconds
            if isinstance(result, _Raised):
                raise result.error
            return result
        raise WorkerLost(f"the process that was to check it died or took over {JOB_S} s, twice")

    def close(self) -> None:
        """Let the jobs under way end, and the processes with them."""
        self._pool.shutdown(cancel_futures=True)

    def _opened(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # this process has threads
        return ProcessPoolExecutor(self.count, context, _die_with_parent, (os.getpid(),))


class _Raised:
    """An exception as a result, so that the time it took is told too."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _die_with_parent(parent: int) -> None:
    """A killed run leaves no processes behind; Ctrl-C is for the run to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _run(
    start: tuple[Callable[..., Any], tuple[Any, ...]], function: Callable[..., T], arguments: Any, named: Any
) -> tuple[T | _Raised, float]:
    global _state
    started = time.perf_counter()
    signal.alarm(JOB_S)  # nothing handles it: it ends the process, also inside of a C function
    try:
        if _state is None:  # here and not in the initializer, whose exceptions are lost
            make, given = start
            _state = make(*given)
        result: T | _Raised = function(_state, *arguments, **named)
    except Exception as error:  # of any kind: it is raised where the job was given
        result = _Raised(error)
    finally:
        signal.alarm(0)
    return result, time.perf_counter() - started
