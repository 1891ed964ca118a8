"""Many independent requests to one model: how many are open at once, and when no more are sent.

It ends early with the first error that every further request would meet, past a share of requests without a reply, or
at Ctrl-C; what was asked until then is in the journal. It does not know what is asked. `answer` and `judge` use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from advcore import TeacherError
from advcore.ask import Answer, Client, LimiterStopped, ReplyError, note
from advcore.progress import Progress, interruptible, progress

Work = TypeVar("Work")
ALL_REFUSED = 20  # refusals with no reply among them: it is the settings, not the prompts
FEW = 10  # lost requests that stop no run, whatever their share


class RequestPool:
    """The open requests of one run. `ended` says why the run stopped early, if it did."""

    def __init__(self, client: Client, max_failure_share: float) -> None:
        self.client = client
        self.ended: TeacherError | None = None
        self._max_failure_share = max_failure_share
        self._stopping = False
        self._taken = self._lost = self._refused = 0

    async def run(
        self, label: str, total: int, work: Iterator[Work], one: Callable[[Work], Awaitable[None]]
    ) -> None:
        """Await `one` for each item of `work`, taking items as there is room; then close the connections.

        Raises TeacherError after Ctrl-C, and what `one` raises but LimiterStopped.
        """
        try:
            with interruptible(self._stop), progress(label, total) as bar:
                workers = min(self.client.open_requests, total)
                await asyncio.gather(*(self._worker(work, one, bar) for _ in range(workers)))
        finally:
            await self.client.close()
        if self._stopping:
            raise TeacherError("stopped; what was asked is stored, run the same command again to go on")

    async def ask(
        self, purpose: str, messages: list[dict[str, str]], sample: int = 0, max_tokens: int = 0
    ) -> Answer:
        """Ask as `Client.ask` does. Raises ReplyError, and LimiterStopped once the run has ended."""
        try:
            return await self.client.ask(purpose, messages, sample, max_tokens)
        except ReplyError as error:
            self._count(error)
            raise
        except TeacherError as error:
            self._end(error)
            raise LimiterStopped from None

    async def _worker(
        self, work: Iterator[Work], one: Callable[[Work], Awaitable[None]], bar: Progress
    ) -> None:
        for item in work:
            if self._stopping or self.ended:
                return
            self._taken += 1
            try:
                await one(item)
            except LimiterStopped:
                return
            bar.advance(note=lambda: note([self.client], bar.done / bar.total))

    def _count(self, error: ReplyError) -> None:
        self._lost += error.infrastructure
        self._refused += not error.infrastructure
        if self._refused >= ALL_REFUSED and not self.client.usage.requests:
            self._end(TeacherError(f"the first {self._refused} requests were all refused: {error}"))
        if self._lost > max(FEW, self._max_failure_share * self._taken):
            self._end(TeacherError(f"{self._lost} requests got no reply, the last one: {error}"))

    def _stop(self) -> None:
        self._stopping = True
        self.client.limiter.stop()

    def _end(self, error: TeacherError) -> None:
        """No further request; the first reason is the one that is told."""
        self.ended = self.ended or error
        self.client.limiter.stop()
