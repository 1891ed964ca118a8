"""The two batch APIs in the same words: `create`, `ended`, `outcomes`, `find`. What is sent when is for `batches`.

The only user of the SDKs `openai` (also for compatible servers) and `anthropic`, which are loaded with the first batch.
A request's `custom_id` is its journal key: 64 hex digits, as long as Anthropic allows.

Sources: https://platform.openai.com/docs/api-reference/batch,
https://docs.anthropic.com/en/api/creating-message-batches and the pages after it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Literal, Protocol

from advcore.ask import providers
from advcore.ask.config import ModelConfig
from advcore.ask.errors import Kind, RequestFailed, kind_of
from advcore.ask.journal import Batch
from advcore.ask.transports.direct import completion, seconds

Outcome = dict[str, Any] | RequestFailed
"""What became of one request: a reply as `Transport.send` gives it, or why there is none."""
Wait = Callable[[str], Awaitable[None]]
"""Returns when the batch of that provider id has ended."""

_SKEW_S = 600.0  # between the provider's clock and ours
_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_FULL = ("token_limit_exceeded", "request_limit_exceeded", "batch_limit_exceeded")
_FULL_S = 60.0  # until it may be worth asking again
_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
    "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
"""https://docs.anthropic.com/en/api/errors"""
_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "refusal": "content_filter",
    "model_context_window_exceeded": "length",
}  # fmt: skip


class Vendor(Protocol):
    """One provider's batches. Everything raises RequestFailed, of which nothing was billed."""

    def body(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """The request as it goes out."""
        ...

    async def create(self, name: str, bodies: dict[str, dict[str, Any]]) -> str:
        """Submit, once; the provider's id. `name` is ours."""
        ...

    async def ended(self, provider_id: str) -> bool:
        """Whether there will be no further results."""
        ...

    async def outcomes(self, provider_id: str) -> tuple[dict[str, Outcome], RequestFailed]:
        """Those there are, by key, and what holds for every other request of the batch."""
        ...

    async def find(self, batch: Batch, known: Collection[str], wait: Wait) -> str:
        """The id of a batch of which only the intent was noted, and not one of `known`; "" if there is none."""
        ...

    async def close(self) -> None: ...


class OpenAI:
    """Batches of chat completions; a batch is found again by its metadata."""

    def __init__(self, config: ModelConfig) -> None:
        import openai

        self._sdk, self._model, self._own = openai, config.model.partition("/")[2], not config.api_base
        self._client = openai.AsyncOpenAI(
            api_key=os.environ.get(providers.BATCH_KEYS["openai"]) or "none",
            base_url=config.api_base or None,
            timeout=config.timeout_s,
        )
        self._once = self._client.with_options(max_retries=0)  # a second try might be a second batch

    def body(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        limit = (
            "max_completion_tokens" if self._own else "max_tokens"
        )  # the old name, that its new models refuse
        body = {
            "model": self._model,
            "messages": payload["messages"],
            "seed": seed,
            limit: payload["max_tokens"],
        }
        extra = {"response_format": payload["response_format"]} if "response_format" in payload else {}
        return body | _sampling("openai", payload) | extra

    async def create(self, name: str, bodies: dict[str, dict[str, Any]]) -> str:
        rows = (
            {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}
            for key, body in bodies.items()
        )
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        with _translated(self._sdk):
            file = await self._once.files.create(file=(f"{name}.jsonl", lines), purpose="batch")
            made = await self._once.batches.create(
                input_file_id=file.id, endpoint=_ENDPOINT, completion_window="24h", metadata={"advgen": name}
            )
        return str(made.id)

    async def ended(self, provider_id: str) -> bool:
        with _translated(self._sdk):
            batch = await self._client.batches.retrieve(provider_id)
        return batch.status in ("completed", "failed", "expired", "cancelled")

    async def outcomes(self, provider_id: str) -> tuple[dict[str, Outcome], RequestFailed]:
        found: dict[str, Outcome] = {}
        with _translated(self._sdk):
            batch = await self._client.batches.retrieve(provider_id)
            if batch.status == "failed":  # in validation: no row was asked
                return {}, _openai_rest(batch)
            for file in filter(None, (batch.output_file_id, batch.error_file_id)):
                data = (await self._client.files.content(file)).content
                rows = [json.loads(line) for line in data.split(b"\n") if line.strip()]
                found |= {row["custom_id"]: _openai_outcome(row) for row in rows}
        return found, _openai_rest(batch)

    async def find(self, batch: Batch, known: Collection[str], wait: Wait) -> str:
        with _translated(self._sdk):
            async for each in self._client.batches.list(limit=100):  # newest first
                if each.created_at < batch.created - _SKEW_S:
                    break
                if (each.metadata or {}).get("advgen") == batch.id:
                    return str(each.id)
        return ""

    async def close(self) -> None:
        await self._client.close()


class Anthropic:
    """Batches of messages. They carry no metadata, so a batch is known again by its keys.

    A key is a hash of its request: a batch with the same keys asks the same things, whoever submitted it. They show
    only in the results, so a batch of that size and time is waited for until it has ended. Schemas are not sent.
    """

    def __init__(self, config: ModelConfig) -> None:
        import anthropic

        self._sdk, self._model = anthropic, config.model.partition("/")[2]
        self._client = anthropic.AsyncAnthropic(
            api_key=os.environ.get(providers.BATCH_KEYS["anthropic"]) or "none",
            base_url=config.api_base.rstrip("/").removesuffix("/v1") or None,
            timeout=config.timeout_s,
        )
        self._once = self._client.with_options(max_retries=0)

    def body(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        told = [each["content"] for each in payload["messages"] if each["role"] == "system"]
        turns = [each for each in payload["messages"] if each["role"] != "system"]
        body = {"model": self._model, "messages": turns, "max_tokens": payload["max_tokens"]}
        return body | _sampling("anthropic", payload) | ({"system": "\n\n".join(told)} if told else {})

    async def create(self, name: str, bodies: dict[str, dict[str, Any]]) -> str:
        rows: Any = [{"custom_id": key, "params": body} for key, body in bodies.items()]
        with _translated(self._sdk):
            return (await self._once.messages.batches.create(requests=rows)).id

    async def ended(self, provider_id: str) -> bool:
        with _translated(self._sdk):
            batch = await self._client.messages.batches.retrieve(provider_id)
        return batch.processing_status == "ended"

    async def outcomes(self, provider_id: str) -> tuple[dict[str, Outcome], RequestFailed]:
        with _translated(self._sdk):
            lines = await self._client.messages.batches.results(provider_id)
            found = {line.custom_id: _anthropic_outcome(line.result.model_dump()) async for line in lines}
        return found, _unbilled("server", "the batch has no result for this request")

    async def find(self, batch: Batch, known: Collection[str], wait: Wait) -> str:
        alike: list[str] = []
        with _translated(self._sdk):
            async for each in self._client.messages.batches.list(limit=100):  # newest first
                if each.created_at.timestamp() < batch.created - _SKEW_S:
                    break
                if sum(each.request_counts.model_dump().values()) == len(batch.rows) and each.id not in known:
                    alike.append(each.id)
        for name in reversed(alike):
            await wait(name)
            if set((await self.outcomes(name))[0]) == set(batch.rows):
                return name
        return ""

    async def close(self) -> None:
        await self._client.close()


def _sampling(provider: str, payload: dict[str, Any]) -> dict[str, float]:
    """Without what is 1, as it is by default: models that allow nothing else refuse it even so."""
    taken = providers.taken(provider, payload)
    return {name: taken[name] for name in ("temperature", "top_p") if taken.get(name, 1.0) != 1.0}


def _openai_outcome(row: dict[str, Any]) -> Outcome:
    answer, error = row.get("response"), row.get("error")
    if error or not answer:
        code = str((error or {}).get("code"))
        text = f"{code}: {(error or {}).get('message')}"
        return _unbilled("bad_request" if code == "batch_cancelled" else "server", text)
    if answer["status_code"] != 200:
        problem = (answer.get("body") or {}).get("error") or {}
        text = str(problem.get("message") or f"status {answer['status_code']}")
        code = f"{problem.get('code')} {problem.get('type')}"
        return _unbilled(kind_of(answer["status_code"], code, text), text)
    return _completed(completion, answer["body"])


def _openai_rest(batch: Any) -> RequestFailed:
    problems = batch.errors.data if batch.errors and batch.errors.data else []
    if batch.status == "cancelled":
        return _unbilled("bad_request", "the batch was cancelled")
    if batch.status != "failed" or not problems:
        return _unbilled("server", f"the batch is {batch.status} and has no result for this request")
    first = problems[0]
    text = f"the batch failed: {first.message}"
    if first.code in _FULL:
        return _unbilled("rate", text, _FULL_S)
    return _unbilled(kind_of(400, str(first.code), text), text)


def _anthropic_outcome(result: dict[str, Any]) -> Outcome:
    match result["type"]:
        case "succeeded":
            return _completed(_message, result["message"])
        case "errored":
            error = result["error"].get("error") or {}
            code, text = str(error.get("type")), str(error.get("message"))
            return _unbilled(kind_of(_STATUS.get(code, 500), code, text), text)
        case "canceled":
            return _unbilled("bad_request", "the batch was cancelled")
    return _unbilled("server", f"the request is {result['type']}")


def _message(body: dict[str, Any]) -> dict[str, Any]:
    text = "".join(part["text"] for part in body["content"] if part["type"] == "text")
    usage, reason = body["usage"], body["stop_reason"]
    cached = (usage.get("cache_creation_input_tokens") or 0) + (usage.get("cache_read_input_tokens") or 0)
    return {
        "text": text.encode(errors="replace").decode(),
        "finish_reason": _FINISH.get(reason, str(reason or "")),
        "prompt_tokens": usage["input_tokens"] + cached,
        "completion_tokens": usage["output_tokens"],
    }


def _completed(read: Callable[[Any], dict[str, Any]], body: Any) -> Outcome:
    """A result that says it is good. One that cannot be read may have been billed."""
    try:
        return read(body)
    except RequestFailed as error:
        return error
    except (LookupError, TypeError) as error:
        return RequestFailed("server", f"an answer that is none ({type(error).__name__})", None, True)


def _unbilled(kind: Kind, text: str, retry_after_s: float | None = None) -> RequestFailed:
    """Neither provider bills a row without a result, so a timeout in a batch is a timeout without a bill."""
    failure = RequestFailed(kind, text, retry_after_s)
    failure.maybe_billed = False
    return failure


@contextlib.contextmanager
def _translated(sdk: Any) -> Iterator[None]:
    """What either SDK raises, in our words; both are made by the same generator and name their errors alike."""
    import httpx

    try:
        yield
    except sdk.APITimeoutError as error:
        raise _unbilled("timeout", str(error)) from None
    except sdk.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        code = f"{body.get('code')} {body.get('type')}"
        wait_s = seconds(error.response.headers.get("retry-after"))
        raise _unbilled(kind_of(error.status_code, code, str(error)), str(error), wait_s) from None
    except (sdk.APIError, httpx.HTTPError) as error:
        raise _unbilled("connection", f"{type(error).__name__}: {error}") from None
    except (ValueError, LookupError) as error:
        raise _unbilled("server", f"an answer that cannot be read ({type(error).__name__})") from None
