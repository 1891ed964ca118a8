"""A reply to a prompt, as text and as token ids: the teacher's and the student's go through here, so that both are cut
alike.

Renders and encodes through `advcore.chat`: what spells a control token stays text. Loads no model. Called by `gad`,
`adversarial`, `held_out` and `soda`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from advcore import chat
from advtrain import data
from advtrain.data import Message, Row


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    finished: bool
    """It ended by itself and was not cut."""


def of_teacher(row: Row) -> tuple[list[Message], Reply]:
    """Prompt and reply of a row of the `gad` config. Raises TypeError where they are neither text nor messages."""
    (message,) = data.messages(row["teacher_response"], "assistant")
    return data.messages(row["prompt"], "user"), Reply(
        message["content"], row.get("finish_reason") != "length"
    )


def encode(
    tokenizer: Any, prompt: Sequence[Message], replies: Sequence[Reply], most: int
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt up to where a reply begins, and of each reply: up to and with the token that ends its turn if
    it is finished, at most `most`."""
    start, end = chat.encode(tokenizer, prompt, add_generation_prompt=True), data.turn_end(tokenizer)
    found = []
    for reply in replies:
        turn = [*prompt, {"role": "assistant", "content": reply.text}]
        whole = chat.encode(tokenizer, turn, add_generation_prompt=False)
        # A template may render the prompt otherwise once a reply follows: the reply then starts where they part.
        content = whole[data.common_prefix(start, whole) : len(whole) - len(end)]
        found.append((content + end[:1] * reply.finished)[:most])
    return start, found


def decode(tokenizer: Any, ids: list[int], stop: Collection[int]) -> Reply:
    """What was sampled; control tokens other than the one that ended it are seen as text."""
    finished = ids[-1] in stop
    return Reply(tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=False), finished)


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a reply of `model`: all that its generation config names, and the tokenizer's own."""
    named = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
