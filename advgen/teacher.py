"""Calls to any model behind LiteLLM: journal first, then the wire, with retries, usage and cost.

The only importer of litellm. It also registers the local engine as LiteLLM's provider `local`, so that `local/teacher`
or `local/path/to/adapter` is one more model string. Teacher and student are both asked through here. It does not know
what it asks for and does not parse what it gets.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from advcore import ConfigError, TeacherError, engine
from advcore.runs import sha256_of
from advgen.config import ModelConfig
from advgen.journal import Journal, key

Messages = list[dict[str, str]]


class ReplyError(RuntimeError):
    """One request that got no reply. `infrastructure` tells a broken endpoint from a request that was refused."""

    def __init__(self, reason: str, *, infrastructure: bool) -> None:
        super().__init__(reason)
        self.infrastructure = infrastructure


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
    fresh_tokens: int = 0
    """Generated in this process, not replayed."""
    busy_s: float = 0.0
    """Time during which at least one request was in flight."""

    def as_json(self) -> dict[str, Any]:
        """The totals as plain values, with the rate of generated tokens while busy."""
        rate = self.fresh_tokens / self.busy_s if self.busy_s else 0.0
        return {**asdict(self), "tokens_per_s": round(rate, 1)}


class Teacher:
    """One model, asked with bounded concurrency. The student is a `Teacher` too: a model that is asked things."""

    def __init__(self, config: ModelConfig, journal: Journal) -> None:
        check_model(config)
        self.config, self.journal, self.usage = config, journal, Usage()
        self._identity = _identity(config)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._in_flight, self._busy_since = 0, 0.0

    async def ask(self, purpose: str, messages: Messages, sample: int = 0, max_tokens: int = 0) -> Answer:
        """Sample number `sample` of the reply to `messages`, from the journal if it is there.

        `max_tokens` shortens what the config allows, for replies known to be short.

        Raises ReplyError when this request gets no reply, TeacherError when no request would.
        """
        limit = min(max_tokens or self.config.max_tokens, self.config.max_tokens)
        payload = {
            "model": self.config.model, "identity": self._identity, "messages": messages,
            "temperature": self.config.temperature, "top_p": self.config.top_p, "max_tokens": limit,
        }  # fmt: skip
        name = key(payload, sample)
        if stored := self.journal.get(name):
            return self._counted(Answer(**stored, key=name), replayed=True)
        async with self._slots:
            self._enter()
            try:
                reply = await self._with_retries(self._request(payload, seed=int(name[:8], 16) >> 1))
            finally:
                self._leave()
        self.journal.put(name, purpose, payload, sample, reply)
        return self._counted(Answer(**reply, key=name), replayed=False)

    async def ask_many(self, purpose: str, messages: Messages, count: int) -> list[Answer]:
        """`count` independent samples."""
        return list(await asyncio.gather(*(self.ask(purpose, messages, sample) for sample in range(count))))

    def _enter(self) -> None:
        if self._in_flight == 0:
            self._busy_since = time.monotonic()
        self._in_flight += 1

    def _leave(self) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self.usage.busy_s += time.monotonic() - self._busy_since

    def _counted(self, answer: Answer, *, replayed: bool) -> Answer:
        self.usage.requests += 1
        self.usage.replayed += replayed
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.completion_tokens += answer.completion_tokens
        self.usage.fresh_tokens += 0 if replayed else answer.completion_tokens
        self.usage.cost_usd += answer.cost_usd
        self.usage.truncated += answer.finish_reason == "length"
        return answer

    async def _with_retries(self, request: dict[str, Any]) -> dict[str, Any]:
        litellm = _litellm()
        if self.config.model.startswith("local/"):  # here, so that a model that does not load is not retried
            await asyncio.to_thread(engine.open_engine, self.config.model.removeprefix("local/"))
        for attempt in range(self.config.retries + 1):
            try:
                return _reply(await litellm.acompletion(**request))
            except (
                litellm.AuthenticationError,
                litellm.PermissionDeniedError,
                litellm.NotFoundError,
            ) as error:
                raise TeacherError(f"{self.config.model}: {_plain(error)}") from None
            except (
                litellm.BadRequestError
            ) as error:  # context length, content filter, malformed: no retry mends it
                raise ReplyError(_plain(error), infrastructure=False) from None
            except _api_error() as error:  # rate limit, timeout, connection, server
                if attempt == self.config.retries:
                    raise ReplyError(_plain(error), infrastructure=True) from None
            await asyncio.sleep(random.uniform(0.5, 1.0) * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _request(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        request = {name: value for name, value in payload.items() if name != "identity"}
        request |= {"timeout": self.config.timeout_s, "seed": seed, "num_retries": 0}
        if self.config.api_base:
            request["api_base"] = self.config.api_base
            if self.config.model.startswith("openai/") and not os.environ.get("OPENAI_API_KEY"):
                request["api_key"] = (
                    "none"  # self-hosted servers want one to be present and do not look at it
                )
        return request


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError now, before anything is asked: unknown model or provider, or the key's variable is not set."""
    if config.model.startswith("local/"):
        engine.check_model(config.model.removeprefix("local/"))
        return
    litellm = _litellm()
    try:
        litellm.get_llm_provider(config.model, api_base=config.api_base or None)
    except litellm.BadRequestError:
        raise ConfigError(
            f"unknown model {config.model}; give a LiteLLM string: openai/NAME, anthropic/NAME, local/teacher, ..."
        ) from None
    missing = [] if config.api_base else litellm.validate_environment(config.model)["missing_keys"]
    if missing:
        raise ConfigError(f"{config.model} needs the environment variable {' or '.join(missing)}")


def price(model: str) -> tuple[float, float] | None:
    """USD per prompt token and per completion token; None for a model that has no listed price."""
    if model.startswith("local/"):
        return 0.0, 0.0
    listed = _litellm().model_cost.get(model) or _litellm().model_cost.get(model.partition("/")[2])
    return (listed["input_cost_per_token"], listed["output_cost_per_token"]) if listed else None


def _identity(config: ModelConfig) -> str:
    if config.model.startswith("local/"):
        return engine.identity(config.model.removeprefix("local/"))
    return sha256_of([config.api_base, config.revision])


def _reply(response: Any) -> dict[str, Any]:
    if not response.choices:
        raise ReplyError("the reply holds no choice", infrastructure=False)
    choice = response.choices[0]
    usage = getattr(response, "usage", None)
    return {
        # A lone surrogate would break every hash and file that the text comes into.
        "text": (choice.message.content or "").encode(errors="replace").decode(),
        "finish_reason": choice.finish_reason or "",
        "prompt_tokens": int(usage.prompt_tokens) if usage else 0,
        "completion_tokens": int(usage.completion_tokens) if usage else 0,
        "cost_usd": float(response._hidden_params.get("response_cost") or 0.0),
    }


def _plain(error: Exception) -> str:
    """The error's first line, with every secret of the environment blotted out."""
    text = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
    for name, value in os.environ.items():
        if name.endswith(("_KEY", "_TOKEN", "_SECRET")) and len(value) >= 8:
            text = text.replace(value, "***")
    return text


def _api_error() -> type[Exception]:
    """The base class of every error that LiteLLM raises for a request."""
    import openai

    return openai.APIError


@functools.cache
def _litellm() -> Any:
    """litellm, loaded once, without the price map it would fetch and without telemetry, `local` registered."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError:
        raise ConfigError("model calls need litellm: pip install 'advdistill[gen]'") from None

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True  # a provider without seeds still serves

    class LocalModels(litellm.CustomLLM):  # type: ignore[misc]
        async def acompletion(self, model: str, messages: Messages, *args: Any, **values: Any) -> Any:
            options = values["optional_params"]
            sampling = engine.Sampling(
                temperature=options.get("temperature", 1.0), top_p=options.get("top_p", 1.0),
                max_tokens=options.get("max_tokens", 512), seed=options.get("seed", 0),
            )  # fmt: skip
            reply = await engine.open_engine(model).generate(messages, sampling)
            response = values["model_response"]
            response.model = model
            response.choices[0].message.content = reply.text
            response.choices[0].finish_reason = reply.finish_reason
            response.usage = litellm.Usage(
                prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
                total_tokens=reply.prompt_tokens + reply.completion_tokens,
            )  # fmt: skip
            return response

    litellm.custom_provider_map = [{"provider": "local", "custom_handler": LocalModels()}]
    return litellm
