"""What holds for a provider, told by the first part of a model's name. A new rule goes here.

LiteLLM knows the rest.
"""

from __future__ import annotations

from typing import Any

LOCAL = "local/"
"""The engine of this machine: `local/NAME` or `local/FOLDER`."""
KEYS = {
    "openai": "OPENAI_API_KEY", "custom_openai": "OPENAI_API_KEY", "hosted_vllm": "HOSTED_VLLM_API_KEY",
    "lm_studio": "LM_STUDIO_API_KEY", "llamafile": "LLAMAFILE_API_KEY",
}  # fmt: skip
"""LiteLLM's names for servers that speak OpenAI's protocol, and where it looks for their keys. With an `api_base` they
are asked directly."""
BATCH_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Providers with a batch API, and where their keys are."""
REFUSED = {"anthropic": ("top_p",)}
"""Fields that a provider does not take: Anthropic's newer models refuse `top_p` beside a temperature."""

_OURS = ("model", "identity")  # the transport has a name of its own for the model


def provider(model: str) -> str:
    """`openai` of `openai/NAME`."""
    return model.partition("/")[0]


def taken(model: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What of a request goes to the provider of `model`: without what it refuses, and what is there for the journal."""
    left_out = (*_OURS, *REFUSED.get(provider(model), ()))
    return {name: value for name, value in payload.items() if name not in left_out}


def is_local(model: str) -> bool:
    """Whether this machine's engine runs it."""
    return model.startswith(LOCAL)


def local_name(model: str) -> str:
    """`NAME` of `local/NAME`: an embedded name or a folder."""
    return model.removeprefix(LOCAL)


def is_direct(model: str, api_base: str) -> bool:
    """Whether a server of OpenAI's protocol is asked, without a client library in between."""
    return bool(api_base) and provider(model) in KEYS
