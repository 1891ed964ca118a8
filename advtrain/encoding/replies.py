"""A reply to a prompt, as text and as token ids: the teacher's and the student's go through here, so that both are cut
and read alike.

Renders and encodes through `advcore.chat`: what spells a control token stays text. Loads no model. Called by `gad`,
`adversarial`, `held_out` and `soda`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from advcore import ConfigError, DataError, chat
from advtrain.encoding import rows
from advtrain.encoding.rows import Message, Row

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a character decodes to that was cut in two


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finished: bool
    """It ended by itself and was not cut."""


def of_teacher(row: Row) -> tuple[list[Message], Reply]:
    """Prompt and reply of a row of the `gad` config. Raises DataError where there is no one reply."""
    found = rows.messages(row["teacher_response"], "assistant")
    if len(found) != 1 or not found[0]["content"].strip():
        raise DataError(
            f"teacher_response is {len(found)} messages or empty, not one reply: {str(found)[:80]}"
        )
    finished = row.get("finish_reason") != "length"
    return rows.messages(row["prompt"], "user"), Reply(found[0]["content"], finished)


def end_of_turn(tokenizer: Any) -> int:
    """The token that ends a reply in this tokenizer's template. Raises ConfigError where none does."""
    token = chat.end_of_turn(tokenizer)
    if token is not None:
        return token
    raise ConfigError(
        "the chat template ends a reply without a control token: nothing would tell that it has ended"
    )


def encode(
    tokenizer: Any, prompt: Sequence[Message], replies: Sequence[Reply]
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt, and of each reply its text and, if it is finished, the token that ends it."""
    start, end = chat.prompt_ids(tokenizer, prompt), end_of_turn(tokenizer)
    return start, [
        chat.reply_ids(tokenizer, prompt, start, reply.text) + [end] * reply.finished for reply in replies
    ]


def cut(tokenizer: Any, prompt: Sequence[Message], reply: Reply, most: int) -> Reply:
    """The reply as it is when it is cut at `most` tokens, its end included, as a student's is."""
    _, (ids,) = encode(tokenizer, prompt, [reply])
    return reply if len(ids) <= most else decode(tokenizer, ids[:most], ())


def decode(tokenizer: Any, ids: list[int], stop: Collection[int]) -> Reply:
    """What was sampled; control tokens other than the one that ended it are seen as text, half a character is not."""
    finished = ids[-1] in stop
    text = tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=False)
    text = text.removeprefix(chat.frame(tokenizer).before)
    return Reply(text if finished else text.rstrip(_BROKEN), finished)
