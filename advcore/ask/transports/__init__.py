"""How a request goes out and its reply comes back: one file a transport.

`local` asks the engine of this machine, `direct` a server of OpenAI's protocol, `litellm` every other provider;
`batches` goes through a provider's batch API, whose two dialects are in `vendors`.
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit

from advcore import ConfigError
from advcore.ask import providers
from advcore.ask.config import ModelConfig
from advcore.engine import names


class Transport(Protocol):
    """What every transport does; `direct.Direct.send` says what comes back and what is raised."""

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]: ...
    async def close(self) -> None: ...


def open_transport(config: ModelConfig) -> Transport:
    """The transport for this model; it connects, loads or imports with its first request."""
    if providers.is_local(config.model):
        from advcore.ask.transports.local import Local

        return Local(config)
    if providers.is_direct(config.model, config.api_base):
        from advcore.ask.transports.direct import Direct

        return Direct(config.model, config.api_base, config.timeout_s)
    from advcore.ask.transports.litellm import LiteLLM

    return LiteLLM(config.model, config.api_base, config.timeout_s)


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError now, before anything is asked: unknown model or provider, an `api_base` that is no plain URL,
    or the key's variable is not set.
    """
    if config.api_base:
        _check_url(config.api_base)
    if config.backend != "auto" and not providers.is_local(config.model):
        raise ConfigError(f"backend is for local/... models, not for {config.model}")
    if config.batch:
        from advcore.ask.transports import batches

        batches.check_model(config)
    elif providers.is_local(config.model):
        names.check_model(providers.local_name(config.model), config.backend)
    elif not providers.is_direct(config.model, config.api_base):
        from advcore.ask.transports import litellm  # seconds, which a direct or local model does not pay

        litellm.check_model(config.model, config.api_base)


def _check_url(api_base: str) -> None:
    parts = urlsplit(api_base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("api_base is no http:// or https:// URL, such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("api_base holds a user, a query or a fragment; keys go into environment variables")
