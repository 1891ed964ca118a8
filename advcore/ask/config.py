"""How a model is asked: one section of a TOML file. A field's text stands below it."""

from __future__ import annotations

from dataclasses import dataclass

from advcore import engine
from advcore.settings import at_least, at_most

# Of a resumed run these may be others than at its start: they say what it may cost and how fast it goes.
MAY_CHANGE = frozenset((
    "concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "retries", "usd_per_request",
    "usd_per_million_prompt", "usd_per_million_completion", "batch",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model, whatever serves it."""

    model: str
    """`local/teacher` or `local/FOLDER` for the engine of this machine, `openai/NAME` with `api_base` for a server that
    speaks OpenAI's protocol, or any LiteLLM model string."""
    api_base: str = ""
    """URL of an OpenAI-compatible server; empty for the provider's own."""
    backend: engine.Backend = "auto"
    """What runs a `local/` model: `auto` takes openvino for the embedded ones and transformers for folders."""
    revision: str = ""
    """Declared revision of a served model; part of the journal's key, so that another revision is asked anew."""
    temperature: float = 0.8
    """0 is greedy."""
    top_p: float = 0.95
    """Nucleus of the sampling distribution."""
    seed: int = 0
    """Of what is drawn. Each request has a seed of its own, made of this, its prompt and its sample number."""
    max_tokens: int = 700
    """Longest reply, in tokens."""
    concurrency: int = 32
    """Requests in flight at once, at most; the limiter starts with few and finds out how many the endpoint takes."""
    requests_per_minute: float = 0.0
    """Budget of the endpoint; 0 is none."""
    tokens_per_minute: float = 0.0
    """Budget of the endpoint, prompt and completion together; 0 is none."""
    usd_per_million_prompt: float = 0.0
    """Price of a million prompt tokens; with all three prices 0, the listed one counts."""
    usd_per_million_completion: float = 0.0
    """Price of a million completion tokens."""
    usd_per_request: float = 0.0
    """Price of a request, whatever its length."""
    timeout_s: float = 600.0
    """After this a request counts as failed and is retried."""
    retries: int = 4
    """Further tries after a timeout, a connection error or a server error; a rate limit is waited for."""
    batch: bool = False
    """Ask through the provider's batch API: half the price, up to a day's wait. Only `openai/...`, `anthropic/...`."""

    def __post_init__(self) -> None:
        at_least(1, self, "max_tokens", "concurrency")
        at_least(
            0,
            self,
            "temperature",
            "top_p",
            "timeout_s",
            "retries",
            "requests_per_minute",
            "tokens_per_minute",
        )
        at_least(0, self, "usd_per_million_prompt", "usd_per_million_completion", "usd_per_request")
        at_most(1, self, "top_p")
