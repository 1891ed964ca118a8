"""Every provider that LiteLLM knows.

The only importer of litellm, which is loaded with the first request that needs it. Same interface and same errors as
`direct`.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from advcore import ConfigError, extras
from advcore.ask import providers
from advcore.ask.errors import Kind, RequestFailed, kind_of
from advcore.ask.transports.direct import seconds


class LiteLLM:
    """One model behind LiteLLM."""

    def __init__(self, model: str, api_base: str, timeout_s: float) -> None:
        self._model, self._api_base, self._timeout_s = model, api_base, timeout_s

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """One reply: text, finish_reason, prompt_tokens, completion_tokens, and cost_usd where it is known.

        Raises RequestFailed.
        """
        litellm = _litellm()
        request = providers.taken(self._model, payload)
        request |= {"model": self._model, "timeout": self._timeout_s, "seed": seed}
        request |= {"num_retries": 0, "max_retries": 0}  # of LiteLLM and of the client below it
        if self._api_base:
            request["api_base"] = self._api_base
        try:
            return _reply(await litellm.acompletion(**request))
        except _api_error() as error:
            raise _failure(litellm, error) from None

    async def close(self) -> None:
        """LiteLLM keeps its sessions for itself."""


def check_model(model: str, api_base: str) -> None:
    """Raise ConfigError now, before anything is asked: unknown model or provider, or the key's variable is not set."""
    litellm = _litellm()
    try:
        litellm.get_llm_provider(model, api_base=api_base or None)
    except litellm.BadRequestError:
        raise ConfigError(
            f"unknown model {model}; give a LiteLLM string: openai/NAME, anthropic/NAME, local/teacher, ..."
        ) from None
    missing = [] if api_base else litellm.validate_environment(model)["missing_keys"]
    if missing:
        raise ConfigError(f"{model} needs the environment variable {' or '.join(missing)}")


def _reply(response: Any) -> dict[str, Any]:
    if not response.choices:
        raise RequestFailed("server", "the reply holds no choice")
    choice, usage = response.choices[0], getattr(response, "usage", None)
    reply = {
        # a lone surrogate would break every hash and file that the text comes into
        "text": (choice.message.content or "").encode(errors="replace").decode(),
        "finish_reason": choice.finish_reason or "",
        "prompt_tokens": int(usage.prompt_tokens) if usage else 0,
        "completion_tokens": int(usage.completion_tokens) if usage else 0,
    }
    cost = response._hidden_params.get("response_cost")
    return reply if cost is None else reply | {"cost_usd": float(cost)}


def _failure(litellm: Any, error: Any) -> RequestFailed:
    text = f"{type(error).__name__}: {error}"
    response = getattr(error, "response", None)
    retry_after = response.headers.get("retry-after") if response is not None else None
    kinds: tuple[tuple[type[Exception], Kind], ...] = (
        (litellm.Timeout, "timeout"),
        (litellm.ContextWindowExceededError, "context_length"),
        (litellm.ContentPolicyViolationError, "content_filter"),
        (litellm.APIConnectionError, "connection"),
    )
    for cls, kind in kinds:
        if isinstance(error, cls):
            return RequestFailed(kind, text)
    status = int(getattr(error, "status_code", 0) or 500)
    body = error.body if isinstance(getattr(error, "body", None), dict) else {}
    code = f"{getattr(error, 'code', '')} {body.get('code')} {body.get('type')}"
    kind = kind_of(status, code, text)
    # A reply that LiteLLM could not read ends as a server error too, and was billed.
    return RequestFailed(kind, text, seconds(retry_after), maybe_billed=kind == "server" or None)


def _api_error() -> type[Exception]:
    """The base class of every error that LiteLLM raises for a request."""
    import openai

    return openai.APIError


@functools.cache
def _litellm() -> Any:
    """litellm, loaded once, without the price map it would fetch and without telemetry."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    extras.need("litellm", "models by LiteLLM")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True  # a provider without seeds still serves
    return litellm
