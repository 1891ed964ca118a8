"""What requests cost, and the cap on it.

Prices come from LiteLLM's map, read as the data file it is, or from the config. A cap is kept by reservation: before a
request goes out, the most it can cost is committed to the journal; when its reply is there, what it did cost takes that
place. So neither 256 requests in flight nor a kill can lead past it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import ConfigError, TeacherError
from advgen.config import ModelConfig
from advgen.journal import Journal

BATCH_FACTOR = 0.5
"""https://platform.openai.com/docs/guides/batch, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing"""
CHARS_PER_TOKEN = 4  # for estimates and rate budgets; the reply's own count settles it
_LONG_BYTES = 100_000  # no provider's price rises below 128,000 tokens
PRICE_MAP = "model_prices_and_context_window_backup.json"


class BudgetExhausted(TeacherError):
    """What is left of `budget_usd` does not cover the next request, and nothing in flight will free any."""


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
    if config.model.startswith("local/"):
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


class Budget:
    """One cap for all models of a run. `cap_usd` 0 is none."""

    def __init__(self, cap_usd: float, journal: Journal) -> None:
        self.cap_usd, self._journal = cap_usd, journal
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def check(self, config: ModelConfig) -> None:
        """Raise ConfigError where a cap could not be kept."""
        if self.cap_usd and price(config) is None:
            raise ConfigError(
                f"budget_usd needs a price and none is listed for {config.model}: give usd_per_million_prompt and"
                " usd_per_million_completion, or usd_per_request"
            )

    async def reserve(self, key: str, usd: float, *, held: bool = False) -> int | None:
        """Commit `usd` as spent until it is settled; waits while requests in flight may give some back.

        `held` as in `Journal.reserve`.

        Raises BudgetExhausted.
        """
        if not self.cap_usd:
            return None
        while self._journal.spent_usd + usd > self.cap_usd + 1e-9:
            if not self._open:
                raise BudgetExhausted(
                    f"budget_usd {self.cap_usd:g} is used up: ${self._journal.spent_usd:.4f} spent and the next"
                    f" request may cost ${usd:.4f}; run the same command with a larger one to go on"
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._open += 1
        try:
            return await self._journal.reserve(key, usd, held=held)
        except BaseException:  # cancelled, or the disk is full: nothing was reserved
            self._settle()
            raise

    def adopted(self, intent: int | None) -> None:
        """An earlier process's reservation is in flight again: it may give some back."""
        self._open += intent is not None

    def settled(self, intent: int | None) -> None:
        """A reservation has become a cost, or nothing: whoever waits may look again."""
        if intent is not None:
            self._settle()

    def _settle(self) -> None:
        self._open -= 1
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
