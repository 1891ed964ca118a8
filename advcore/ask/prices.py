"""What a request costs: the config's price, or LiteLLM's list, read as the data file it is."""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore.ask import providers
from advcore.ask.config import ModelConfig

BATCH_FACTOR = 0.5
"""https://platform.openai.com/docs/guides/batch, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing"""
CHARS_PER_TOKEN = 4  # for estimates and rate budgets; the reply's own count settles it
_LONG_BYTES = 100_000  # no provider's price rises below 128,000 tokens
PRICE_MAP = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class Price:
    """USD: a request, a prompt token, a completion token; `factor` is what a discount leaves of them."""

    request: float
    prompt: float
    completion: float
    factor: float = 1.0
    long: float = 1.0
    """By how much a token of a long prompt, or of a reply to one, costs more at most."""

    def of(self, reply: dict[str, Any]) -> float:
        tokens: tuple[int, int] = reply["prompt_tokens"], reply["completion_tokens"]
        return self._usd(*tokens)

    def at_most(self, payload: dict[str, Any]) -> float:
        """No token is shorter than a byte; a template adds a few to each message."""
        longest: int = payload["max_tokens"]
        size = prompt_bytes(payload["messages"]) + len(json.dumps(payload.get("response_format", "")))
        return self._usd(size, longest) * (self.long if size > _LONG_BYTES else 1.0)

    def _usd(self, prompt: int, completion: int) -> float:
        return self.factor * (self.request + prompt * self.prompt + completion * self.completion)


def prompt_bytes(messages: list[dict[str, str]]) -> int:
    """Length of a prompt, with what a template adds at most."""
    return sum(len(message["content"].encode(errors="replace")) + 16 for message in messages)


def has_own_price(config: ModelConfig) -> bool:
    prices = config.usd_per_request, config.usd_per_million_prompt, config.usd_per_million_completion
    return any(prices)


def price(config: ModelConfig) -> Price | None:
    """The config's price if it gives one, else the listed one, halved for batches; None where there is neither."""
    factor = BATCH_FACTOR if config.batch else 1.0
    if has_own_price(config):
        million = config.usd_per_million_prompt / 1e6, config.usd_per_million_completion / 1e6
        return Price(config.usd_per_request, *million, factor)
    if providers.is_local(config.model):
        return Price(0.0, 0.0, 0.0)
    listed = _price_map().get(config.model) or _price_map().get(config.model.partition("/")[2])
    if not listed or "input_cost_per_token" not in listed:
        return None
    prompt, completion = listed["input_cost_per_token"], listed.get("output_cost_per_token", 0.0)
    rises = (
        value / base
        for name, value in listed.items()
        if "_cost_per_token_above_" in name
        for base in [prompt if name.startswith("input") else completion]
        if base
    )
    return Price(0.0, prompt, completion, factor, max(1.0, *rises, 1.0))


def estimate(config: ModelConfig, requests: int, prompt_tokens: int) -> float | None:
    """USD of `requests` with `prompt_tokens` in all, if every reply is as long as it may be; None without a price."""
    if (listed := price(config)) is None:
        return None
    whole = {"prompt_tokens": prompt_tokens, "completion_tokens": requests * config.max_tokens}
    return round(listed.of(whole) + (requests - 1) * listed.factor * listed.request, 4) if requests else 0.0


@functools.cache
def _price_map() -> dict[str, Any]:
    """LiteLLM's own file, without importing LiteLLM (seconds) and without fetching it (network)."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder) / PRICE_MAP
        if file.is_file():
            return dict(json.loads(file.read_text(encoding="utf-8")))
    return {}
