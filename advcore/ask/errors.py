"""What can go wrong with one request, in the same words for every provider.

A transport raises `RequestFailed`; `Client` decides what becomes of it. A refusal or a truncation that came as a reply
is no error: it is data.
"""

from __future__ import annotations

import os
from typing import Literal

Kind = Literal[
    "rate",  # too many requests or tokens: asked again when the limiter lets it
    "server",  # 5xx, overloaded, an answer that is no JSON
    "timeout",
    "connection",
    "context_length",
    "content_filter",
    "bad_request",
    "auth",  # the key is wrong, or may not do this
    "quota",  # the account has no credit left
    "not_found",  # no such model or endpoint
]
RETRYABLE: frozenset[Kind] = frozenset(("rate", "server", "timeout", "connection"))
REFUSALS: frozenset[Kind] = frozenset(("context_length", "content_filter"))
FATAL: frozenset[Kind] = frozenset(("auth", "quota", "not_found"))
"""No further request would fare better: the run stops."""

_NO_CREDIT = ("insufficient_quota", "credit balance", "billing_hard_limit")
_TOO_LONG = ("context_length", "context length", "context size", "maximum context", "prompt is too long")
_MODERATED = ("moderation", "flagged")
"""Of a 403 about the prompt and not the key: https://openrouter.ai/docs/api-reference/errors"""
_POLICIES = ("content_filter", "content_policy", "content management policy", "content filtering policy")


class RequestFailed(RuntimeError):
    """One request that got no reply. `retry_after_s` is the server's own wish; `maybe_billed` means that it may have
    done the work, so that what was reserved for it stays spent.
    """

    def __init__(
        self, kind: Kind, text: str, retry_after_s: float | None = None, maybe_billed: bool | None = None
    ) -> None:
        super().__init__(f"{kind.replace('_', ' ')}: {redacted(text, secrets()).partition(chr(10))[0][:300]}")
        self.kind: Kind = kind
        self.retry_after_s = retry_after_s
        self.maybe_billed = kind in ("timeout", "connection") if maybe_billed is None else maybe_billed


def kind_of(status: int, code: str, text: str) -> Kind:
    """The kind of an HTTP error, by status, the provider's error code and its words.

    Codes: https://platform.openai.com/docs/guides/error-codes, https://docs.anthropic.com/en/api/errors
    """
    said = f"{code} {text}".lower()
    if status == 403 and _any(_MODERATED, said):
        return "content_filter"
    if status in (401, 403):
        return "auth"
    if status == 404:
        return "not_found"
    if status == 402 or _any(_NO_CREDIT, said):
        return "quota"
    if status == 429:
        return "rate"
    if status in (408, 504):
        return "timeout"
    if status >= 500 or status == 409:
        return "server"
    if _any(_TOO_LONG, said):
        return "context_length"
    return "content_filter" if _any(_POLICIES, said) else "bad_request"


def _any(signs: tuple[str, ...], said: str) -> bool:
    return any(sign in said for sign in signs)


def secrets() -> tuple[str, ...]:
    """The values of all variables of the environment whose names say that they are secret."""
    named = (value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN", "_SECRET")))
    return tuple(
        {value for value in named if len(value) >= 8 and not value.isalpha()}
    )  # no SORT_KEY=username


def redacted(text: str, hidden: tuple[str, ...]) -> str:
    """Replace each of the `hidden` strings in `text` by asterisks."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return text
