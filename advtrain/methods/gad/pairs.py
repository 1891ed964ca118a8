"""A prompt with its teacher's reply, as the student reads them and as the discriminator does: encoded once a tokenizer.

Made by `method` before the first step, read by `trainer` and `held_out` at every one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advtrain.encoding import Example, Message, Reply, replies
from advtrain.methods.gad.discriminator import Group


@dataclass(frozen=True, slots=True)
class Ids:
    """Of a prompt and of the teacher's reply to it, by one tokenizer."""

    prompt: list[int]
    reply: list[int]


@dataclass(frozen=True, slots=True)
class Pair:
    messages: list[Message]
    teacher: Reply
    """Cut where the student's replies are."""
    student: Ids
    discriminator: Ids
    """The student's, where both have one tokenizer."""


def pairs_of(examples: Sequence[Example], tokenizer: Any | None) -> list[Pair]:
    """Of examples of the `gad` config; `tokenizer` is the discriminator's where it has one of its own."""
    return [_pair(example, tokenizer) for example in examples]


def _pair(example: Example, tokenizer: Any | None) -> Pair:
    (reply,), (ids,) = example.replies, example.completions
    student = discriminator = Ids(example.prompt, ids)
    if tokenizer is not None:
        prompt, (own,) = replies.encode(tokenizer, example.messages, [reply])
        discriminator = Ids(prompt, own)
    return Pair(example.messages, reply, student, discriminator)


def grouped(tokenizer: Any, pair: Pair, samples: Sequence[Reply]) -> Group:
    """The pair with replies to its prompt beside the teacher's, as the discriminator reads them by `tokenizer`."""
    prompt, end = pair.discriminator.prompt, [replies.end_of_turn(tokenizer)]
    return Group(
        prompt, pair.discriminator.reply,
        [replies.encode_after(tokenizer, pair.messages, prompt, sample, end) for sample in samples],
    )  # fmt: skip
