"""The two protocols that the mock server speaks, as JSON values: what is asked, replies, streams, errors, headers.

Sources: https://platform.openai.com/docs/api-reference/chat and https://docs.anthropic.com/en/api/messages, with
https://docs.anthropic.com/en/api/errors. Text only: no tools, no images, one choice a request. A token is a word.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from advcore.testing.servers.behaviour import Refusal

Json = dict[str, Any]
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class ServedReply:
    """One reply before it is put into a protocol's words. `full` is false when it ended at a limit."""

    id: str
    model: str
    text: str
    full: bool
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """Words of the text."""
        return len(self.text.split())


def parse_body(data: bytes) -> Json:
    """A JSON object. Raises Refusal (400)."""
    try:
        body = json.loads(data)
    except ValueError:
        raise Refusal(400, None, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise Refusal(400, None, "The body of your request is not a JSON object.")
    return body


class OpenAI:
    """Chat completions. `needs` are the parameters without which a request is refused."""

    needs = ("model", "messages")
    name = "chatcmpl"

    def messages(self, body: Json) -> Messages:
        """The messages with plain text as content."""
        return [_plain(message) for message in body["messages"]]

    def body(self, reply: ServedReply) -> Json:
        """The answer's body."""
        choice = {"index": 0, "message": {"role": "assistant", "content": reply.text}}
        return {
            "id": reply.id, "object": "chat.completion", "created": 0, "model": reply.model,
            "choices": [{**choice, "finish_reason": _finish(reply)}], "usage": _usage(reply),
        }  # fmt: skip

    def events(self, reply: ServedReply, body: Json) -> list[bytes]:
        """The same as server-sent events, a word each; usage only when `stream_options` ask for it."""
        chunk = {"id": reply.id, "object": "chat.completion.chunk", "created": 0, "model": reply.model}
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in _words(reply.text)] + [{}]
        last = len(deltas) - 1
        choices = [
            [{"index": 0, "delta": delta, "finish_reason": _finish(reply) if at == last else None}]
            for at, delta in enumerate(deltas)
        ]
        values = [{**chunk, "choices": choice} for choice in choices]
        if (body.get("stream_options") or {}).get("include_usage"):
            values.append({**chunk, "choices": [], "usage": _usage(reply)})
        return [*(b"data: %b\n\n" % json.dumps(value).encode() for value in values), b"data: [DONE]\n\n"]

    def error(self, refusal: Refusal) -> tuple[int, Json]:
        """Status and body of an error."""
        values = {"message": refusal.message, "type": _openai_kind(refusal), "param": None}
        return refusal.status, {"error": {**values, "code": refusal.code}}

    def rate_headers(self, per_minute: int, left: int, full_in_s: float) -> Json:
        """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers"""
        start = "x-ratelimit"
        return {
            f"{start}-limit-requests": per_minute, f"{start}-remaining-requests": left,
            f"{start}-reset-requests": f"{full_in_s * 1000:.0f}ms",
        }  # fmt: skip


class Anthropic:
    """Messages."""

    needs = ("model", "messages", "max_tokens")
    name = "msg"
    _kinds = {  # noqa: RUF012
        401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "api_error",
        529: "overloaded_error",
    }  # fmt: skip

    def messages(self, body: Json) -> Messages:
        """The messages with plain text as content, `system` as the first of them."""
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return [_plain(message) for message in [*system, *body["messages"]]]

    def body(self, reply: ServedReply) -> Json:
        """The answer's body."""
        usage = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.completion_tokens}
        return {
            "id": reply.id, "type": "message", "role": "assistant", "model": reply.model,
            "content": [{"type": "text", "text": reply.text}],
            "stop_reason": "end_turn" if reply.full else "max_tokens", "stop_sequence": None, "usage": usage,
        }  # fmt: skip

    def events(self, reply: ServedReply, body: Json) -> list[bytes]:
        """The same as server-sent events, a word each: https://docs.anthropic.com/en/api/messages-streaming"""
        whole = self.body(reply)
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        start = {
            **whole,
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": reply.prompt_tokens, "output_tokens": 0},
        }
        values: list[Json] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in _words(reply.text)
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": reply.completion_tokens}},
            {"type": "message_stop"},
        ]
        return [
            b"event: %b\ndata: %b\n\n" % (value["type"].encode(), json.dumps(value).encode())
            for value in values
        ]

    def error(self, refusal: Refusal) -> tuple[int, Json]:
        """Status and body of an error. No credit is a 400 like any bad request, to be told by its words alone."""
        status, message = refusal.status, refusal.message
        if refusal.code == "insufficient_quota":
            status, message = 400, "Your credit balance is too low to access the Anthropic API."
        elif refusal.code == "context_length_exceeded":
            message = "prompt is too long: 200001 tokens > 200000 maximum"
        elif refusal.code == "content_filter":
            message = "Output blocked by content filtering policy"
        kind = self._kinds.get(status, "invalid_request_error")
        return status, {"type": "error", "error": {"type": kind, "message": message}}

    def rate_headers(self, per_minute: int, left: int, full_in_s: float) -> Json:
        """https://docs.anthropic.com/en/api/rate-limits#response-headers"""
        start, full = "anthropic-ratelimit-requests", datetime.now(UTC) + timedelta(seconds=full_in_s)
        return {
            f"{start}-limit": per_minute, f"{start}-remaining": left, f"{start}-reset": full.isoformat(),
        }  # fmt: skip


Dialect = OpenAI | Anthropic


def check(dialect: Dialect, body: Json) -> None:
    """Raise Refusal (400) for a model call that lacks what it needs, or whose messages are not messages."""
    for name in dialect.needs:
        if name not in body:
            raise Refusal(400, "missing_required_parameter", f"Missing required parameter: '{name}'.")
    messages = body["messages"]
    well = isinstance(messages, list) and all(isinstance(each, dict) and "role" in each for each in messages)
    if not well or not messages:
        raise Refusal(400, None, "Invalid 'messages': a list of at least one object with a role is needed.")


def _plain(message: Json) -> dict[str, str]:
    content = message.get("content")
    if isinstance(content, str):
        return message
    parts = content if isinstance(content, list) else []
    text = "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
    return {**message, "content": text}


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _openai_kind(refusal: Refusal) -> str | None:
    if refusal.status == 429:
        return refusal.code if refusal.code == "insufficient_quota" else "requests"
    if refusal.status >= 500:
        return "server_error"
    # A bare 401 or 403 of a test gets no type: LiteLLM takes this one for a bad request, whatever the status.
    return "invalid_request_error" if refusal.code or refusal.status in (400, 404, 409) else None


def _finish(reply: ServedReply) -> str:
    return "stop" if reply.full else "length"


def _usage(reply: ServedReply) -> Json:
    prompt, completion = reply.prompt_tokens, reply.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
