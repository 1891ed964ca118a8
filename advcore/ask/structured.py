"""JSON out of replies: the schema as servers take it, tolerant reading, and the words of the one corrective turn.

Pure. Models wrap JSON in prose and fences and leave a comma at the end; what a strict reader would throw away has been
paid for.
"""

from __future__ import annotations

import json
import re
from typing import Any

from advcore import chat

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


class Unfit(ValueError):
    """A reply that holds no JSON value, or one that does not fit the schema."""


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/structured-outputs; vLLM, SGLang and LiteLLM take the same."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def parse(text: str, schema: dict[str, Any]) -> Any:
    """The first JSON value of the answer in `text` that fits `schema`. Raises Unfit with the reason."""
    import jsonschema

    reason = "the reply holds no JSON"
    for candidate in _candidates(chat.read(text).answer):
        try:
            jsonschema.validate(candidate, schema)
            return candidate
        except jsonschema.ValidationError as error:
            where = ".".join(map(str, error.absolute_path))
            reason = f"{where + ': ' if where else ''}{error.message}"[:300]
    raise Unfit(reason)


def correction(problem: Unfit) -> str:
    return f"That does not fit the schema: {problem}. Answer again with the corrected JSON and nothing else."


def _candidates(text: str) -> list[Any]:
    """Values in the order of likelihood: the whole text, fenced blocks, then from each bracket on."""
    found = [value for part in [text, *_FENCE.findall(text)] if (value := _read(part)) is not None]
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"[{\[]", text)):
        try:
            found.append(decoder.raw_decode(text, start)[0])
            break  # what is inside of it is a part, not another candidate
        except ValueError:
            continue
    return found


def _read(text: str) -> Any:
    for reader in (json.loads, lambda part: json.loads(_TRAILING_COMMA.sub(r"\1", part))):
        try:
            value = reader(text.strip())
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict | list | str | int | float) else None
    return None
