"""Progress of a loop on stderr, and how Ctrl-C or another thread ends it."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Progress:
    """Counts towards a total on stderr: a live Rich bar on a terminal, a plain line every ten seconds elsewhere.

    `note` is free text at the end of the line (tokens, rates, cost).
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done, self.note = label, total, 0, ""
        self._start = time.monotonic()
        self._shown = self._start
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int = 1, note: Callable[[], str] | None = None) -> None:
        """Count `count` more items as done; `note` is only called when there is something to show."""
        self.done += count
        now = time.monotonic()
        if now - self._shown < (10 if self._bar is None else 0.1) and self.done != self.total:
            return
        self._shown = now
        self.note = note() if note else self.note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self.note)
        else:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The state as one line: counts, rate, time left, note."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate else float("inf")
        eta = f"{left:.0f} s left" if left != float("inf") else "no estimate yet"
        return f"{self.label}: {self.done}/{self.total}, {rate:.2f}/s, {elapsed:.0f} s, {eta} {self.note}".rstrip()


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A `Progress` for the time of the block."""
    bar = Progress(label, total)
    if not sys.stderr.isatty():
        yield bar
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    times = (TimeElapsedColumn(), TimeRemainingColumn())
    columns: tuple[Any, ...] = ("{task.description}", BarColumn(), MofNCompleteColumn(), *times)
    with RichProgress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as rich_bar:
        bar._bar, bar._task = rich_bar, rich_bar.add_task(label, total=total, note="")
        yield bar


_interrupts: dict[threading.Thread, Callable[[], None]] = {}
"""Of every thread but the main one that is in an `interruptible` block."""
_early: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads that were interrupted before they came to one: it stops at once."""
_lock = threading.Lock()
"""Of both: an interrupt finds the block, or the block finds it."""


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """For the time of the block, in a running event loop: the first Ctrl-C calls `stop`, a second one interrupts. In
    another thread than the main one, where no Ctrl-C arrives, `interrupt` takes its place.
    """
    loop, task, thread = asyncio.get_running_loop(), asyncio.current_task(), threading.current_thread()
    stopping = False

    def first() -> None:
        nonlocal stopping
        stopping = True
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
        print("stopping when what is in flight is done; Ctrl-C again leaves at once", file=sys.stderr)
        stop()

    def from_outside() -> None:
        if not stopping:
            first()
        elif task:
            task.cancel()

    def interrupt() -> None:
        loop.call_soon_threadsafe(from_outside)

    if thread is threading.main_thread():
        with _handling_sigint(loop, first):
            yield
        return
    with _lock:
        _interrupts[thread] = interrupt
        early = thread in _early
    if early:
        first()
    try:
        yield
    finally:
        with _lock:
            _interrupts.pop(thread, None)


@contextmanager
def _handling_sigint(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> Iterator[None]:
    """`act` at Ctrl-C, and then the handler that was there before; one who ignores it (nohup) goes on doing so."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        yield
        return
    with suppress(NotImplementedError):  # Windows: the first Ctrl-C interrupts
        loop.add_signal_handler(signal.SIGINT, act)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, before)


def interrupt(thread: threading.Thread) -> bool:
    """Do to what is `interruptible` in `thread` what Ctrl-C does in the main one; False where it is not there yet."""
    with _lock:
        if (act := _interrupts.get(thread)) is None:
            _early.add(thread)
            return False
    with suppress(RuntimeError):  # its loop closed a moment ago
        act()
    return True
