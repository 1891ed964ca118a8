"""Calls to any model: journal first, then the limiter, the budget and the wire.

A reply is committed to the journal before anything looks at it. This package does not know what it asks for and does
not parse what it gets.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

from advcore import TeacherError
from advcore.ask import providers, structured
from advcore.ask.budget import Budget
from advcore.ask.config import ModelConfig
from advcore.ask.errors import FATAL, REFUSALS, RETRYABLE, RequestFailed, redacted, secrets
from advcore.ask.journal import Journal, key
from advcore.ask.limiter import Feedback, LimiterStopped, Permit, RateLimiter
from advcore.ask.prices import CHARS_PER_TOKEN, has_own_price, price, prompt_bytes
from advcore.ask.transports import batches, check_model, open_transport
from advcore.ask.transports.vendors import Outcome
from advcore.engine import names
from advcore.runs import sha256_of

Messages = list[dict[str, str]]
Result = TypeVar("Result")
_NOTHING: dict[str, Any] = {"text": "", "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}
_DAY_S = 86_400.0
_LONGEST_PAUSE_S = 300.0  # that a server may ask for
_QUEUE_FULL_S = 60.0  # until a provider that takes no more batches is asked again, unless it says when


class ReplyError(RuntimeError):
    """One request that got no reply. `infrastructure` tells a broken endpoint from a request that was refused."""

    def __init__(self, reason: str, *, infrastructure: bool) -> None:
        super().__init__(reason)
        self.infrastructure = infrastructure


async def together(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """All at once, as `asyncio.gather`, but an error is raised when all have ended: what is in flight is paid for, so
    it comes home. Of several errors the first in order is raised, and a LimiterStopped, which follows from others,
    last.
    """
    ended = await asyncio.gather(*work, return_exceptions=True)
    errors = [each for each in ended if isinstance(each, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, LimiterStopped))
    return cast(list[Result], ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One reply as it came. `key` is its journal key; `cost_usd` is 0 for a local model."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    key: str


@dataclass(slots=True)
class Usage:
    """Totals of one model over all replies a run used; `replayed` ones came from the journal and cost nothing now."""

    requests: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    truncated: int = 0
    """Replies that ended at `max_tokens`."""
    retried: int = 0
    """Requests sent again after a rate limit, a timeout, a lost connection or a server error."""
    fresh_tokens: int = 0
    """Generated in this process, not replayed."""
    busy_s: float = 0.0
    """Time during which at least one request was in flight."""

    def as_json(self) -> dict[str, Any]:
        """The totals as plain values, with the rate of generated tokens while busy."""
        return {**asdict(self), "tokens_per_s": round(self.tokens_per_s, 1)}

    @property
    def tokens_per_s(self) -> float:
        """Generated in this process while busy."""
        return self.fresh_tokens / self.busy_s if self.busy_s else 0.0


class Client:
    """One model that is asked things: teacher, student, witness or judge."""

    def __init__(self, config: ModelConfig, journal: Journal, budget: Budget | None = None) -> None:
        check_model(config)
        self.config, self.journal, self.usage = config, journal, Usage()
        self.budget = budget or Budget(0.0, journal)
        self.budget.check(config)
        self.limiter = RateLimiter(
            ceiling=config.concurrency,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            fixed=providers.is_local(config.model),
        )
        self._identity = _identity(config)
        self._price = price(config)
        self._secrets = secrets()
        self._batches: batches.Batches | None = None
        provider = f"{config.model} {self._identity}"
        self._elsewhere = set() if config.batch else journal.batched_keys(provider)
        if config.batch:
            self._batches = batches.Batches(config, provider, journal, self.budget, self._price, self._kept)
        else:
            self._transport = open_transport(config)
        self._in_flight, self._busy_since = 0, 0.0
        self._asking: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def ask(
        self,
        purpose: str,
        messages: Messages,
        sample: int = 0,
        max_tokens: int = 0,
        schema: dict[str, Any] | None = None,
        priority: int = 0,
    ) -> Answer:
        """Sample number `sample` of the reply to `messages`, from the journal if it is there.

        `max_tokens` shortens what the config allows, for replies known to be short. Of those that wait for the endpoint
        the lowest `priority` is asked first.

        Raises ReplyError when this request gets no reply, TeacherError when no request would.
        """
        payload = self.payload(messages, max_tokens, schema)
        name = key(payload, sample)
        if stored := self.journal.get(name):
            return self._counted(Answer(**stored, key=name), replayed=True)
        # the same prompt twice in a file is paid for once
        while (asked := self._asking.get(name)) is not None:
            await asyncio.wait([asked])
            if not asked.cancelled():  # else who asked first was told to stop, not we
                return self._counted(Answer(**asked.result(), key=name), replayed=True)
        answer = self._asking[name] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(await self._obtain(purpose, payload, sample, name, priority))
        except Exception as error:  # of any kind: it is raised below, and for those who wait
            answer.set_exception(error)
        finally:
            del self._asking[name]
            answer.cancel()  # nothing, if it was answered
        return self._counted(Answer(**await answer, key=name), replayed=False)

    async def ask_json(
        self, purpose: str, messages: Messages, schema: dict[str, Any], sample: int = 0
    ) -> tuple[Any, list[Answer]]:
        """A JSON value that fits `schema`, and the replies it took: one, or two where the first had to be corrected.

        The schema goes along where the server takes one. Raises structured.Unfit when the second does not fit either,
        and what `ask` raises.
        """
        first = await self.ask(purpose, messages, sample, schema=schema)
        try:
            return structured.parse(first.text, schema), [first]
        except structured.Unfit as problem:
            said = {"role": "assistant", "content": first.text}
            turns = [said, {"role": "user", "content": structured.correction(problem)}]
        second = await self.ask(purpose, [*messages, *turns], sample, schema=schema)
        return structured.parse(second.text, schema), [first, second]

    async def ask_many(
        self, purpose: str, messages: Messages, count: int, first: int = 0, priority: int = 0
    ) -> list[Answer]:
        """`count` independent samples, numbered from `first`."""
        samples = range(first, first + count)
        return await together(self.ask(purpose, messages, sample, priority=priority) for sample in samples)

    @property
    def open_requests(self) -> int:
        """So many need to be asked at once for all of the endpoint to be used."""
        return batches.LARGEST_ROWS if self._batches else self.config.concurrency

    def payload(
        self, messages: Messages, max_tokens: int = 0, schema: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the journal's key is made of: all that the reply may depend on."""
        limit = min(max_tokens or self.config.max_tokens, self.config.max_tokens)
        payload = {
            "model": self.config.model, "identity": self._identity, "messages": messages,
            "temperature": self.config.temperature, "top_p": self.config.top_p, "max_tokens": limit,
        }  # fmt: skip
        if self.config.seed:
            payload["seed"] = self.config.seed
        if schema is not None:
            payload["response_format"] = structured.response_format(schema)
        return payload

    async def close(self) -> None:
        """Close the connections; further requests open new ones."""
        await (self._batches or self._transport).close()

    async def _obtain(
        self, purpose: str, payload: dict[str, Any], sample: int, name: str, priority: int
    ) -> dict[str, Any]:
        """Ask until there is a reply, and commit it."""
        if name in self._elsewhere:
            raise TeacherError(
                f"{self.config.model} has this request in a batch already: set batch = true to wait for it"
            )
        patience_s = _DAY_S if self._batches else self.config.timeout_s
        failures, give_up = 0, float("inf")
        while True:
            try:
                if self._batches:
                    return await self._batched(self._batches.send(name, purpose, payload, sample))
                messages = payload["messages"]
                tokens = prompt_bytes(messages) // CHARS_PER_TOKEN + payload["max_tokens"]
                permit = await self.limiter.admit(tokens, priority)
                return await self._once(permit, purpose, payload, sample, name)
            except RequestFailed as error:
                if error.kind in FATAL:
                    raise TeacherError(f"{self.config.model}: {error}") from None
                if error.kind not in RETRYABLE:
                    raise ReplyError(str(error), infrastructure=False) from None
                give_up = min(give_up, time.monotonic() + patience_s)  # from the first refusal on
                told = error.kind == "rate" or error.retry_after_s is not None
                failures += not told
                if failures > self.config.retries or (told and time.monotonic() > give_up):
                    raise ReplyError(str(error), infrastructure=True) from None
                if self._batches and error.kind == "rate":  # no limiter waits for us
                    await asyncio.sleep(error.retry_after_s or _QUEUE_FULL_S)
            self.usage.retried += 1
            if failures:
                await asyncio.sleep(random.uniform(0.5, 1.0) * 2 ** (failures - 1))

    async def _batched(self, sending: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        self._enter()
        try:
            return await sending
        finally:
            self._leave()

    async def _once(
        self, permit: Permit, purpose: str, payload: dict[str, Any], sample: int, name: str
    ) -> dict[str, Any]:
        most = self._price.at_most(payload) if self._price and self.budget.cap_usd else 0.0
        feedback: dict[str, Any] = {"outcome": "failed", "tokens": 0}
        try:
            intent = await self.budget.reserve(name, most)
            try:
                outcome, feedback = await self._sent(payload, int(name[:8], 16) >> 1)
                if (reply := self._kept(outcome)) is not None:
                    await self.journal.put(name, purpose, payload, sample, reply, intent)
                    return reply
                assert isinstance(outcome, RequestFailed), "every reply is kept"
                if intent is not None and not outcome.maybe_billed:
                    await self.journal.release(intent)
                raise outcome
            finally:
                self.budget.settled(intent)
        finally:
            permit.release(**feedback)  # not before the commit: what a kill can lose is what is in flight

    def _kept(self, outcome: Outcome) -> dict[str, Any] | None:
        """The reply that is stored for what came; None for a failure."""
        if isinstance(outcome, RequestFailed):
            # Asked again it would be refused again: the refusal is the reply.
            return _NOTHING | {"finish_reason": outcome.kind} if outcome.kind in REFUSALS else None
        outcome["text"] = redacted(outcome["text"], self._secrets)
        if "cost_usd" not in outcome or has_own_price(self.config):  # whatever LiteLLM makes of it
            outcome["cost_usd"] = self._price.of(outcome) if self._price else 0.0
        return outcome

    async def _sent(self, payload: dict[str, Any], seed: int) -> tuple[Outcome, dict[str, Any]]:
        """The wire itself: what came of it, and what the limiter learns from that."""
        started = time.monotonic()
        self._enter()
        try:
            reply = await self._transport.send(payload, seed)
        except RequestFailed as error:
            said = error.retry_after_s and min(error.retry_after_s, _LONGEST_PAUSE_S)
            kind: Feedback = (
                "rate" if error.kind == "rate" else "overload" if error.kind in RETRYABLE else "failed"
            )
            return error, {"outcome": kind, "tokens": 0, "retry_after_s": said}
        finally:
            self._leave()
        tokens, latency_s = reply["prompt_tokens"] + reply["completion_tokens"], time.monotonic() - started
        written = reply["completion_tokens"]
        return reply, {
            "outcome": "ok",
            "tokens": tokens,
            "completion_tokens": written,
            "latency_s": latency_s,
        }

    def _enter(self) -> None:
        self._count_busy()
        self._in_flight += 1

    def _leave(self) -> None:
        self._count_busy()
        self._in_flight -= 1

    def _count_busy(self) -> None:
        now = time.monotonic()
        self.usage.busy_s += now - self._busy_since if self._in_flight else 0.0
        self._busy_since = now

    def _counted(self, answer: Answer, *, replayed: bool) -> Answer:
        self.usage.requests += 1
        self.usage.replayed += replayed
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.completion_tokens += answer.completion_tokens
        self.usage.fresh_tokens += 0 if replayed else answer.completion_tokens
        self.usage.cost_usd += answer.cost_usd
        self.usage.truncated += answer.finish_reason == "length"
        return answer


def note(models: Sequence[Client], share: float) -> str:
    """What a progress line says of models that share a journal, when `share` of the work is done."""
    limiters = [model.limiter for model in models]
    flying = "+".join(f"{limiter.in_flight}/{limiter.limit:.0f}" for limiter in limiters)
    speed = "+".join(f"{model.usage.tokens_per_s:.0f}" for model in models)
    spent = models[0].journal.spent_usd
    money = f", ${spent:.4f} of ${spent / share:.2f} projected" if spent and share else ""
    return (
        f"{flying} in flight, {speed} tokens/s{money}, {sum(limiter.throttled for limiter in limiters)} x 429"
    )


def _identity(config: ModelConfig) -> str:
    if providers.is_local(config.model):
        content = names.identity(providers.local_name(config.model))
        return content if config.backend == "auto" else f"{content} on {config.backend}"
    return sha256_of([config.api_base, config.revision])
