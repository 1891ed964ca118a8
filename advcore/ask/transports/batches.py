"""Requests through a provider's batch API: collected, submitted together, waited for, through kills and restarts.

A batch is in the journal before it is at the provider (`intent`), gets the provider's id as soon as there is one
(`submitted`), and ends in one commit with its replies and bills. A process that starts takes over what an earlier one
left open: whoever asks for a key of such a batch waits for it. What a provider's API looks like is `vendors`' business.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from advcore import ConfigError, extras
from advcore.ask import providers
from advcore.ask.budget import Budget
from advcore.ask.config import ModelConfig
from advcore.ask.errors import RETRYABLE, RequestFailed
from advcore.ask.journal import Batch, BatchRequest, Journal
from advcore.ask.prices import Price
from advcore.ask.transports.vendors import Anthropic, OpenAI, Outcome, Vendor

Keep = Callable[[Outcome], dict[str, Any] | None]
"""The reply that is stored for an outcome, None for a failure that may be asked again."""

_LULL_S = 0.5
"""Requests that come closer together than this share a batch."""
LARGEST_ROWS, _LARGEST_BYTES = 25_000, 90_000_000
"""Half of what OpenAI takes (50,000 requests, 200 MB), and less than Anthropic does (100,000, 256 MB)."""
_POLL_S, _POLL_MOST_S, _POLL_GROWTH = 2.0, 120.0, 1.5
_GRACE_S = 30.0
"""A batch may show up in the provider's list this much later than it was submitted."""
_KEPT_S = 29 * 86_400.0
"""So long the providers keep results; OpenAI's are kept a day longer."""

_VENDORS: dict[str, Callable[[ModelConfig], Vendor]] = {"openai": OpenAI, "anthropic": Anthropic}

T = TypeVar("T")
Result = dict[str, Any] | BaseException | None
"""A stored reply, why there is none, or None for a request that turned out never to have been submitted."""
Results = dict[str, Result]
Alive = asyncio.Future[dict[str, Any] | None]


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError for a model without a batch API, without its key's variable, or without its SDK."""
    provider = providers.provider(config.model)
    if provider not in _VENDORS:
        raise ConfigError(f"batch = true is for openai/... and anthropic/... models, not for {config.model}")
    extras.need(provider, f"batches of {config.model}")
    variable = providers.BATCH_KEYS[provider]
    if not config.api_base and not os.environ.get(variable):
        raise ConfigError(f"{config.model} needs the environment variable {variable}")


class Batches:
    """The batches of one model in one journal, of this process and of those before it.

    `provider` names the model in the journal. Two of the same name in one process do not know each other's batches.
    """

    def __init__(
        self, config: ModelConfig, provider: str, journal: Journal, budget: Budget, price: Price | None, keep: Keep
    ) -> None:  # fmt: skip
        self._config, self._provider, self._journal = config, provider, journal
        self._budget, self._price, self._keep = budget, price, keep
        self._vendor: Vendor | None = None
        self._alive: dict[str, Alive] = {}
        self._waiting: dict[str, BatchRequest] = {}
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Results]] = set()

    async def send(self, key: str, purpose: str, payload: dict[str, Any], sample: int) -> dict[str, Any]:
        """The reply, stored already; that of a batch that is under way, if the key is in one.

        Raises RequestFailed, BudgetExhausted.
        """
        self._start()
        while alive := self._alive.get(key):
            if (reply := await asyncio.shield(alive)) is not None:
                return reply
        future = self._alive[key] = asyncio.get_running_loop().create_future()
        most = self._price.at_most(payload) if self._price and self._budget.cap_usd else 0.0
        try:
            intent = await self._budget.reserve(key, most, held=True)
        except BaseException:
            self._resolve(key, None)  # others who wait for it try for themselves
            raise
        self._collect(key, BatchRequest(purpose, payload, sample, intent))
        reply = await asyncio.shield(future)
        assert reply is not None, "only batches of earlier processes are forgotten"
        return reply

    async def close(self) -> None:
        """Stop waiting and close the connections. What was submitted stays open for whoever comes next."""
        if self._timer:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # _leave has been called for each
        for key in list(self._alive):
            self._resolve(key, RequestFailed("connection", "closed"))
        for row in self._waiting.values():
            self._budget.settled(row.intent)
            if row.intent is not None:
                await self._journal.release(row.intent)
        self._waiting, self._bytes = {}, 0
        self._journal.leave_batches(self._provider)
        if self._vendor:
            await self._vendor.close()
        self._vendor = None

    # --- from requests to batches ---------------------------------------------------------------------------

    def _start(self) -> None:
        """Connect, and take over what earlier processes left open."""
        if self._vendor:
            return
        self._vendor = _VENDORS[providers.provider(self._config.model)](self._config)
        for batch in self._journal.take_batches(self._provider):
            for key, row in batch.rows.items():
                self._alive[key] = asyncio.get_running_loop().create_future()
                self._budget.adopted(row.intent)
            self._spawn(batch, self._resume)

    def _collect(self, key: str, row: BatchRequest) -> None:
        size = len(json.dumps(row.payload)) + 256  # and what the provider's form adds to it
        if self._waiting and self._bytes + size > _LARGEST_BYTES:
            self._submit_waiting()
        self._waiting[key] = row
        self._bytes += size
        if self._timer:
            self._timer.cancel()
        if len(self._waiting) >= LARGEST_ROWS:
            self._submit_waiting()
        else:
            self._timer = asyncio.get_running_loop().call_later(_LULL_S, self._submit_waiting)

    def _submit_waiting(self) -> None:
        rows, self._waiting, self._bytes = self._waiting, {}, 0
        self._spawn(Batch(str(uuid.uuid4()), self._provider, "", rows, time.time()), self._submit)

    def _spawn(self, batch: Batch, work: Callable[[Batch], Coroutine[Any, Any, Results]]) -> None:
        task = asyncio.get_running_loop().create_task(work(batch))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._leave(batch, done))

    def _leave(self, batch: Batch, task: asyncio.Task[Results]) -> None:
        """However the work on a batch ended, nobody waits for it any longer."""
        self._tasks.discard(task)
        for row in batch.rows.values():
            self._budget.settled(row.intent)
        problem = RequestFailed("connection", "closed") if task.cancelled() else task.exception()
        for key in batch.rows:
            if problem is None:
                self._resolve(key, task.result()[key])
            else:  # the batch is alive: the key stays taken, or it would be submitted again
                _settle(self._alive[key], problem)

    def _resolve(self, key: str, value: Result) -> None:
        if future := self._alive.pop(key, None):
            _settle(future, value)

    # --- the life of a batch, step by step; a kill may come between any two ------------------------------------

    async def _submit(self, batch: Batch) -> Results:
        """From the intent to the results. Raises only while the batch is, or may be, alive at the provider."""
        await self._journal.enter_batch(batch)
        bodies = {key: self._api.body(row.payload, int(key[:8], 16) >> 1) for key, row in batch.rows.items()}
        try:
            provider_id = await self._api.create(batch.id, bodies)
        except RequestFailed as error:
            # Of a request that broke off nobody knows whether it arrived.
            unclear = error.kind in RETRYABLE and error.kind != "rate"
            provider_id = await self._found(batch) if unclear else ""
            if not provider_id:
                await self._journal.forget_batch(batch)
                return dict.fromkeys(batch.rows, error)
        await self._journal.batch_submitted(batch, provider_id)
        return await self._finish(batch, provider_id)

    async def _resume(self, batch: Batch) -> Results:
        """The same for a batch of an earlier process; None for each request if it was never submitted."""
        provider_id = batch.provider_id
        if not provider_id:
            if not (provider_id := await self._found(batch)):
                await self._journal.forget_batch(batch)
                return dict.fromkeys(batch.rows)
            await self._journal.batch_submitted(batch, provider_id)
        return await self._finish(batch, provider_id)

    async def _found(self, batch: Batch) -> str:
        """The provider's id of a batch that may have been submitted; "" if it was not."""
        for pause_s in (0.0, _GRACE_S):
            await asyncio.sleep(pause_s)
            known = self._journal.batch_ids()
            if found := await self._patiently(functools.partial(self._api.find, batch, known, self._ended)):
                return found
        return ""

    async def _ended(self, provider_id: str) -> None:
        pause_s = _POLL_S
        while not await self._patiently(lambda: self._api.ended(provider_id)):
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * _POLL_GROWTH, _POLL_MOST_S)

    async def _finish(self, batch: Batch, provider_id: str) -> Results:
        """Wait for the results and store them."""
        try:
            await self._ended(provider_id)
            found, rest = await self._patiently(lambda: self._api.outcomes(provider_id))
        except RequestFailed as error:
            if error.kind != "not_found" or time.time() < batch.created + _KEPT_S:
                raise  # another key or address may yet find it
            found, rest = (
                {},
                RequestFailed("server", "the batch's results were not fetched in time", None, True),
            )
        results: Results = {}
        replies, unbilled = {}, []
        for key in batch.rows:
            outcome = found.get(key, rest)
            if (reply := self._keep(outcome)) is not None:
                results[key] = replies[key] = reply
                continue
            assert isinstance(outcome, RequestFailed), "every reply is kept"
            results[key] = outcome
            if not outcome.maybe_billed:
                unbilled.append(key)
        await self._journal.end_batch(batch, replies, unbilled)
        return results

    async def _patiently(self, look: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `look` gives, however long the provider is out of reach: nothing is lost by waiting."""
        pause_s = _POLL_S
        while True:
            try:
                return await look()
            except RequestFailed as error:
                if error.kind not in RETRYABLE:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * _POLL_GROWTH, _POLL_MOST_S)

    @property
    def _api(self) -> Vendor:
        assert self._vendor, "nothing is sent before _start"
        return self._vendor


def _settle(future: Alive, value: Result) -> None:
    if future.done():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
        future.exception()  # perhaps nobody waits for it: asyncio would complain
    else:
        future.set_result(value)
