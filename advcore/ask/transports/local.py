"""The engine of this machine, asked in this process. Same interface and same errors as `direct`."""

from __future__ import annotations

import asyncio
from typing import Any

from advcore import TeacherError, engine
from advcore.ask import providers
from advcore.ask.config import ModelConfig
from advcore.ask.errors import RequestFailed


class Local:
    """One local model, loaded with the first request."""

    def __init__(self, config: ModelConfig) -> None:
        self._model, self._backend = providers.local_name(config.model), config.backend

    async def send(self, payload: dict[str, Any], seed: int) -> dict[str, Any]:
        """One reply: text, finish_reason, prompt_tokens, completion_tokens; it costs nothing.

        Raises RequestFailed; ConfigError for a model that cannot be loaded.
        """
        served = await asyncio.to_thread(engine.open_engine, self._model, self._backend)
        sampling = engine.Sampling(
            temperature=payload["temperature"], top_p=payload["top_p"], max_tokens=payload["max_tokens"], seed=seed
        )  # fmt: skip
        try:
            reply = await served.generate(payload["messages"], sampling)
        except engine.PromptRefused as error:
            raise RequestFailed("bad_request", str(error), maybe_billed=False) from None
        except TeacherError as error:
            raise RequestFailed("server", str(error)) from None
        return {
            "text": reply.text, "finish_reason": reply.finish_reason, "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens, "cost_usd": 0.0,
        }  # fmt: skip

    async def close(self) -> None:
        """The engine stays, for others who ask it."""
