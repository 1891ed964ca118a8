"""Messages -> token ids, such that text inside a message can never become a control token.

A chat template turns roles into control tokens such as `<|im_end|>`. A model that writes that very string in its reply
must not thereby end a turn when the reply is fed back, so control strings inside `content` are cut in two before
encoding: the ids decode to the same text and hold no control token. The data side, the trainer and the engine all
encode through this page.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Message = dict[str, str]


def encode(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    """Token ids of `messages` under the chat template of a Hugging Face `tokenizer`."""

    def render(rendered: list[Message]) -> str:
        text = tokenizer.apply_chat_template(
            rendered, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(text)

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    control = [token.content for token in tokenizer.added_tokens_decoder.values()]
    return encode_with(render, ids, control, messages)


def encode_with(
    render: Callable[[list[Message]], str],
    ids: Callable[[str], list[int]],
    control: Iterable[str],
    messages: Sequence[Message],
) -> list[int]:
    """As `encode`, given what any tokenizer offers: `render` the template, `ids` of text, its `control` strings."""
    pattern = re.compile(
        "|".join(re.escape(token) for token in sorted(control, key=len, reverse=True)) or "(?!)"
    )
    nonce = secrets.token_hex(8)
    masked, hidden = [], {}
    for index, message in enumerate(messages):
        if pattern.search(message["content"]):
            hidden[f"{nonce}x{index}x"] = message["content"]
            message = {**message, "content": f"{nonce}x{index}x"}
        masked.append(dict(message))
    text = render(masked)
    if not hidden:
        return ids(text)
    parts = re.split(f"({'|'.join(hidden)})", text)
    pieces = [
        piece for part in parts for piece in (_cut(pattern, hidden[part]) if part in hidden else [part])
    ]
    return [token for piece in pieces if piece for token in ids(piece)]


def _cut(pattern: re.Pattern[str], text: str) -> list[str]:
    """`text` in pieces none of which holds a control string: each one found is cut behind its first character."""
    pieces: list[str] = []
    while found := pattern.search(text):
        pieces.append(text[: found.start() + 1])
        text = text[found.start() + 1 :]
    return [*pieces, text]
