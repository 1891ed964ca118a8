"""OpenAI-compatible servers (vLLM, SGLang, llama.cpp, Ollama, ...) asked without a client library in between.

There the client is the bottleneck: https://platform.openai.com/docs/api-reference/chat/create over one aiohttp session
takes a tenth of LiteLLM's CPU time (`bench/client.py`). Same interface and same errors as `litellm`.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from advcore.ask import providers
from advcore.ask.errors import RequestFailed, kind_of

_MOST_TOKENS = 2**40  # of a reply; what a server says beyond it is no count


class Direct:
    """One server. The session is opened with the first request, inside the running loop."""

    def __init__(self, model: str, api_base: str, timeout_s: float) -> None:
        self._model = model
        self._variable = providers.KEYS[providers.provider(model)]
        self._url = api_base.rstrip("/") + "/chat/completions"
        self._timeout_s = timeout_s
        self._session: Any = None

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """One reply: text, finish_reason, prompt_tokens, completion_tokens. Raises RequestFailed."""
        import aiohttp

        if self._session is None:
            self._session = self._open()
        body = providers.taken(self._model, payload)
        body |= {"model": self._model.partition("/")[2], "seed": seed}
        sent = json.dumps(body).encode()
        try:
            async with self._session.post(self._url, data=sent) as response:
                data = await response.read()
        except TimeoutError:
            raise RequestFailed("timeout", f"no reply within {self._timeout_s:g} s") from None
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:  # nothing was sent
            raise RequestFailed("connection", f"{type(error).__name__}: {error}", None, False) from None
        except aiohttp.ClientError as error:
            raise RequestFailed("connection", f"{type(error).__name__}: {error}") from None
        if response.status != 200:
            raise _failure(response.status, data, response.headers.get("Retry-After"))
        return _reply(data, len(sent))

    def _open(self) -> Any:
        import aiohttp

        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self._variable):
            headers["Authorization"] = f"Bearer {key}"
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        _allow_connections()
        connector = aiohttp.TCPConnector(limit=0)  # the limiter is what limits
        return aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _allow_connections() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    with suppress(
        ImportError, ValueError, OSError
    ):  # Windows has no such limit, macOS a lower one than it tells
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _reply(data: bytes, prompt_bytes: int) -> dict[str, Any]:
    try:
        return completion(json.loads(data), prompt_bytes)
    except (ValueError, RecursionError):
        raise RequestFailed("server", "an answer that is no JSON", None, True) from None


def completion(body: Any, prompt_bytes: int = 0) -> dict[str, Any]:
    """What `Direct.send` gives, out of a chat completion. Raises RequestFailed when it is none.

    `prompt_bytes` stands in for the prompt's tokens where the server does not count them.
    """
    try:
        choice = body["choices"][0]
        message, usage = choice["message"], body.get("usage") or {}
        refused = not message.get("content") and message.get("refusal")
        text = (message.get("content") or refused or "").encode(errors="replace")
        return {
            "text": text.decode(),  # a lone surrogate would break every file it comes into
            "finish_reason": "content_filter" if refused else str(choice.get("finish_reason") or ""),
            "prompt_tokens": _count(usage.get("prompt_tokens"), prompt_bytes),
            "completion_tokens": _count(usage.get("completion_tokens"), len(text)),
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RequestFailed(
            "server", f"an answer that is no completion ({type(error).__name__})", None, True
        ) from None


def _count(said: Any, most: int) -> int:
    """Tokens as the server counts them, else their bytes: no token is shorter, so that a cap still holds."""
    return said if type(said) is int and 0 <= said < _MOST_TOKENS else most


def _failure(status: int, data: bytes, retry_after: str | None) -> RequestFailed:
    text, code = data[:2000].decode(errors="replace"), ""
    try:
        error = json.loads(data)["error"]
        text, code = str(error.get("message") or text), f"{error.get('code')} {error.get('type')}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # no JSON, or of another shape: the text is all there is
    return RequestFailed(kind_of(status, code, text), f"HTTP {status} {text}", seconds(retry_after))


def seconds(retry_after: str | None) -> float | None:
    """The header's number of seconds; its other form, a date, is not used by any of these servers."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
