"""Progress of a loop on stderr, and how Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
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


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """For the time of the block, in a running event loop: the first Ctrl-C calls `stop`, a second one interrupts."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        print("stopping when what is in flight is done; Ctrl-C again leaves at once", file=sys.stderr)
        stop()

    with suppress(RuntimeError, ValueError):  # not the main thread: nobody presses Ctrl-C here
        loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        with suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)
