"""Where a call of the public API runs: event loops that run already are neither needed nor held up.

The commands' own loops (`asyncio.run`) cannot start inside a running one, such as a notebook's; a thread of its own
has room for one. Ctrl-C and cancelling reach what runs there, so that what was paid for is stored.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any, Generic, ParamSpec, TypeVar

from advcore import progress

P = ParamSpec("P")
T = TypeVar("T")


class _Thread(threading.Thread, Generic[T]):
    """One call, with the context of whoever made it."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__(name="advdistill", daemon=True)
        self.result: Future[T] = Future()
        self._call, self._context = call, contextvars.copy_context()

    def run(self) -> None:
        try:
            self.result.set_result(self._context.run(self._call))
        except BaseException as error:  # it is raised where the call was made
            self.result.set_exception(error)


def run(call: Callable[[], T]) -> T:
    """What `call` returns; in a thread of its own where an event loop runs already. The caller waits either way."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    thread = _Thread(call)
    thread.start()
    pressed = False
    while True:
        try:
            return thread.result.result()
        except asyncio.CancelledError:  # of its own loop, at the second Ctrl-C
            raise KeyboardInterrupt from None
        except KeyboardInterrupt:
            if thread.result.done() or (not progress.interrupt(thread) and pressed):
                raise
            pressed = True


def twin(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The asynchronous twin of a function: it runs in a thread, and the caller's event loop goes on meanwhile.

    Cancelling it does what Ctrl-C does to a command: what is in flight comes home and is stored first. Nothing goes on
    behind the caller's back: the thread has ended when the cancelling is through.
    """

    @wraps(function)
    async def awaited(*arguments: P.args, **named: P.kwargs) -> T:
        thread = _Thread(partial(function, *arguments, **named))
        thread.start()
        ended = asyncio.wrap_future(thread.result)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not ended.done():
                progress.interrupt(thread)
                await _end(ended, thread)
            raise

    awaited.__name__ = awaited.__qualname__ = f"a{function.__name__}"
    return awaited


async def _end(ended: asyncio.Future[Any], thread: threading.Thread) -> None:
    """Wait for the thread's end; cancelled once more, it is interrupted once more."""
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            progress.interrupt(thread)
    thread.join()  # it has nothing left to do
    ended.cancelled() or ended.exception()  # seen: what a stopped run raises is no news
