"""OpenAI-compatible servers (vLLM, SGLang, llama.cpp, Ollama, ...) asked without a client library in between.

There the client is the bottleneck: https://platform.openai.com/docs/api-reference/chat/create over one aiohttp session
takes a tenth of LiteLLM's CPU time (`bench/client.py`). Same interface and same errors as `providers`.
"""

from __future__ import annotations

import json
import os
from typing import Any

from advgen.teacher.errors import RequestFailed, kind_of

PREFIXES = ("openai/", "hosted_vllm/", "custom_openai/", "lm_studio/", "llamafile/")
"""LiteLLM's names for servers that speak this protocol."""
_FIELDS = ("messages", "temperature", "top_p", "max_tokens", "response_format")


class Direct:
    """One server. The session is opened with the first request, inside the running loop."""

    def __init__(self, model: str, api_base: str, timeout_s: float) -> None:
        self._model = model.partition("/")[2]
        self._url = api_base.rstrip("/") + "/chat/completions"
        self._timeout_s = timeout_s
        self._session: Any = None

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """One reply: text, finish_reason, prompt_tokens, completion_tokens. Raises RequestFailed."""
        import aiohttp

        if self._session is None:
            self._session = self._open()
        body: dict[str, Any] = {"model": self._model, "seed": seed}
        body |= {name: payload[name] for name in _FIELDS if name in payload}
        sent = json.dumps(body).encode()
        try:
            async with self._session.post(self._url, data=sent) as response:
                data = await response.read()
        except TimeoutError:
            raise RequestFailed("timeout", f"no reply within {self._timeout_s:g} s") from None
        except aiohttp.ClientConnectorError as error:  # nothing was sent
            raise RequestFailed("connection", f"{type(error).__name__}: {error}", None, False) from None
        except aiohttp.ClientError as error:
            raise RequestFailed("connection", f"{type(error).__name__}: {error}") from None
        if response.status != 200:
            raise _failure(response.status, data, response.headers.get("Retry-After"))
        return _reply(data, len(sent))

    def _open(self) -> Any:
        import aiohttp

        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        connector = aiohttp.TCPConnector(limit=0)  # the flow is what limits
        return aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _reply(data: bytes, prompt_bytes: int) -> dict[str, Any]:
    try:
        return completion(json.loads(data), prompt_bytes)
    except ValueError:
        raise RequestFailed("server", "an answer that is no JSON", None, True) from None


def completion(body: Any, prompt_bytes: int = 0) -> dict[str, Any]:
    """What `Direct.send` gives, out of a chat completion. Raises RequestFailed when it is none.

    `prompt_bytes` stands in for the prompt's tokens where the server does not count them.
    """
    try:
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        text = choice["message"].get("content") or ""
        if not usage:  # no token is shorter than a byte, so that a cap still holds
            usage = {"prompt_tokens": prompt_bytes, "completion_tokens": len(text.encode(errors="replace"))}
        return {
            # a lone surrogate would break every file it comes into
            "text": text.encode(errors="replace").decode(),
            "finish_reason": str(choice.get("finish_reason") or ""),
            "prompt_tokens": int(usage.get("prompt_tokens") or 0),
            "completion_tokens": int(usage.get("completion_tokens") or 0),
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RequestFailed(
            "server", f"an answer that is no completion ({type(error).__name__})", None, True
        ) from None


def _failure(status: int, data: bytes, retry_after: str | None) -> RequestFailed:
    text, code = data[:2000].decode(errors="replace"), ""
    try:
        error = json.loads(data)["error"]
        text, code = str(error.get("message") or text), f"{error.get('code')} {error.get('type')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # no JSON, or of another shape: the text is all there is
    return RequestFailed(kind_of(status, code, text), f"HTTP {status} {text}", seconds(retry_after))


def seconds(retry_after: str | None) -> float | None:
    """The header's number of seconds; its other form, a date, is not used by any of these servers."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
