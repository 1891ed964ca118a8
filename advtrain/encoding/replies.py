"""A reply to a prompt, as text and as token ids: the teacher's and the student's go through here, so that both are cut
and read alike.

Renders and encodes through `advcore.chat`: what spells a control token stays text. Loads no model. Called by `rows` for
teachers' replies and by whoever samples for students'.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from advcore import ConfigError, chat

Message = dict[str, str]
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a character decodes to that was cut in two


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finished: bool
    """It ended by itself and was not cut."""


def end_of_turn(tokenizer: Any) -> int:
    """The token that ends a reply in this tokenizer's template. Raises ConfigError where none does."""
    token = chat.end_of_turn(tokenizer)
    if token is not None:
        return token
    raise ConfigError(
        "the chat template ends a reply without a control token: nothing would tell that it has ended"
    )


def ending(tokenizer: Any) -> list[int]:
    """What ends a reply in this tokenizer's template: one control token, or else whatever text it puts there."""
    token = chat.end_of_turn(tokenizer)
    return chat.frame(tokenizer).end if token is None else [token]


def encode(
    tokenizer: Any, prompt: Sequence[Message], replies: Sequence[Reply]
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt, and of each reply its text and, if it is finished, the token that ends it.

    Raises ConfigError where the template has no such token.
    """
    start, end = chat.prompt_ids(tokenizer, prompt), [end_of_turn(tokenizer)]
    return start, [encode_after(tokenizer, prompt, start, reply, end) for reply in replies]


def encode_after(
    tokenizer: Any, prompt: Sequence[Message], start: list[int], reply: Reply, end: list[int] | None = None
) -> list[int]:
    """Ids of one reply behind `start`, those of its prompt; `end` follows one that is finished."""
    ids = chat.reply_ids(tokenizer, prompt, start, reply.text)
    return ids + (ending(tokenizer) if end is None else end) if reply.finished else ids


def encode_cut(
    tokenizer: Any, prompt: Sequence[Message], start: list[int], reply: Reply, most: int
) -> tuple[Reply, list[int]]:
    """The reply and its ids as they are when it is cut at `most` tokens, its end included, as a student's is: the ids
    are those of the text that is left, which is encoded anew."""
    end = [end_of_turn(tokenizer)]
    ids = encode_after(tokenizer, prompt, start, reply, end)
    if len(ids) <= most:
        return reply, ids
    left = decode(tokenizer, ids[:most], ())
    return left, encode_after(tokenizer, prompt, start, left, end)


def cut(tokenizer: Any, prompt: Sequence[Message], reply: Reply, most: int) -> Reply:
    """As `encode_cut`, the text alone."""
    return encode_cut(tokenizer, prompt, chat.prompt_ids(tokenizer, prompt), reply, most)[0]


def decode(tokenizer: Any, ids: list[int], stop: Collection[int]) -> Reply:
    """What was sampled; control tokens other than the one that ended it are seen as text, half a character is not."""
    finished = ids[-1] in stop
    text = tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=False)
    text = text.removeprefix(chat.frame(tokenizer).before)
    return Reply(text if finished else text.rstrip(_BROKEN), finished)
