"""Every provider that LiteLLM knows, and the local engine, which it is taught as the provider `local`.

The only importer of litellm, which is loaded with the first request that needs it. Same interface and same errors as
`direct`.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

from advcore import ConfigError, engine
from advcore.engine import names
from advgen.teacher.direct import seconds
from advgen.teacher.errors import Kind, RequestFailed, kind_of

Messages = list[dict[str, str]]


class LiteLLM:
    """One model behind LiteLLM."""

    def __init__(self, model: str, api_base: str, timeout_s: float) -> None:
        self._model, self._api_base, self._timeout_s = model, api_base, timeout_s

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """One reply: text, finish_reason, prompt_tokens, completion_tokens, and cost_usd where it is known.

        Raises RequestFailed; ConfigError for a local model that cannot be loaded.
        """
        litellm = _litellm()
        if self._model.startswith("local/"):  # here, so that a model that does not load is not retried
            await asyncio.to_thread(engine.open_engine, self._model.removeprefix("local/"))
        request = {name: value for name, value in payload.items() if name not in ("model", "identity")}
        request |= {"model": self._model, "timeout": self._timeout_s, "seed": seed}
        request |= {"num_retries": 0, "max_retries": 0}  # of LiteLLM and of the client below it
        if self._model.startswith("anthropic/"):
            request.pop("top_p", None)  # its newer models refuse it beside a temperature
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
    if model.startswith("local/"):
        names.check_model(model.removeprefix("local/"))
        return
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
