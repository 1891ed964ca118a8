"""The cap on what requests cost, kept by reservation.

Before a request goes out, the most it can cost is committed to the journal; when its reply is there, what it did cost
takes that place. So neither 256 requests in flight nor a kill can lead past it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from advcore import ConfigError, TeacherError
from advcore.ask.config import ModelConfig
from advcore.ask.journal import Journal
from advcore.ask.prices import price


class BudgetExhausted(TeacherError):
    """What is left of `budget_usd` does not cover the next request, and nothing in flight will free any."""


class Budget:
    """One cap for all models of a run. `cap_usd` 0 is none."""

    def __init__(self, cap_usd: float, journal: Journal) -> None:
        self.cap_usd, self._journal = cap_usd, journal
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def check(self, config: ModelConfig) -> None:
        """Raise ConfigError where a cap could not be kept."""
        if self.cap_usd and price(config) is None:
            raise ConfigError(
                f"budget_usd needs a price and none is listed for {config.model}: give usd_per_million_prompt and"
                " usd_per_million_completion, or usd_per_request"
            )

    async def reserve(self, key: str, usd: float, *, held: bool = False) -> int | None:
        """Commit `usd` as spent until it is settled; waits while requests in flight may give some back.

        `held` as in `Journal.reserve`.

        Raises BudgetExhausted.
        """
        if not self.cap_usd:
            return None
        while self._journal.spent_usd + usd > self.cap_usd + 1e-9:
            if not self._open:
                raise BudgetExhausted(
                    f"budget_usd {self.cap_usd:g} is used up: ${self._journal.spent_usd:.4f} spent and the next"
                    f" request may cost ${usd:.4f}; run the same command with a larger one to go on"
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._open += 1
        try:
            return await self._journal.reserve(key, usd, held=held)
        except BaseException:  # cancelled, or the disk is full: nothing was reserved
            self._settle()
            raise

    def adopted(self, intent: int | None) -> None:
        """An earlier process's reservation is in flight again: it may give some back."""
        self._open += intent is not None

    def settled(self, intent: int | None) -> None:
        """A reservation has become a cost, or nothing: whoever waits may look again."""
        if intent is not None:
            self._settle()

    def _settle(self) -> None:
        self._open -= 1
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
