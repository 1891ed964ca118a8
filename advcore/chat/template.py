"""Messages -> token ids, such that text inside a message can never become a control token.

A chat template turns roles into control tokens such as `<|im_end|>`. A model that writes that very string in its reply
must not thereby end a turn when the reply is fed back, so control strings inside `content` are cut in two before
encoding: the ids hold no control token, and decode to the same text (a tokenizer that begins every piece of text with
a blank, as SentencePiece does, leaves one at the cut). The data side, the trainer and the engine all encode through
this page.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from advcore import ConfigError

Message = dict[str, str]


def encode(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
    """Token ids of `messages` under the chat template of a Hugging Face `tokenizer`."""

    def render(rendered: list[Message]) -> str:
        text = tokenizer.apply_chat_template(
            rendered, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(text)

    return encode_with(render, _ids(tokenizer), _control(tokenizer), messages)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` by itself, of which none is a control token."""
    alone = [{"role": "", "content": text}]
    return encode_with(lambda rendered: rendered[0]["content"], _ids(tokenizer), _control(tokenizer), alone)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a chat template puts around a reply."""

    dropped: int
    """Tokens of the generation prompt that are not there once a reply follows."""
    lead: list[int]
    """Between the prompt and the reply's text, such as an empty block of thoughts."""
    before: str
    """What the text's first token takes in of the template, such as a blank."""
    end: list[int]
    """Behind the text."""


@functools.cache
def frame(tokenizer: Any) -> Frame:
    """That of the template of `tokenizer`, seen on two replies of a letter. Raises ConfigError if it shows none."""
    prompt = [{"role": "user", "content": "a"}]
    start = encode(tokenizer, prompt, add_generation_prompt=True)
    one, other = (
        encode(tokenizer, [*prompt, {"role": "assistant", "content": text}], add_generation_prompt=False)
        for text in ("a", "b")
    )
    if one == other:
        raise ConfigError("the chat template leaves out what a reply says")
    shared = common_prefix(start, one)
    one, other = one[shared:], other[shared:]
    begin, end = common_prefix(one, other), len(one) - common_prefix(one[::-1], other[::-1])
    seen = str(tokenizer.decode(one[begin:end]))
    return Frame(
        dropped=len(start) - shared, lead=one[:begin], before=seen.removesuffix("a") if seen.endswith("a") else "",
        end=one[end:],
    )  # fmt: skip


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Up to where the text of a reply begins: what a template puts before one that is there, such as an empty block of
    thoughts, is part of the prompt."""
    around = frame(tokenizer)
    start = encode(tokenizer, messages, add_generation_prompt=True)
    return start[: len(start) - around.dropped] + around.lead


def reply_ids(tokenizer: Any, messages: Sequence[Message], start: list[int], text: str) -> list[int]:
    """Of a reply's text behind `start`, the `prompt_ids` of the messages, as the template has it there. Where that
    would not give the text back, because the two merge into one token or the template takes something away, those of
    the text by itself: nothing that was said goes unseen."""
    around = frame(tokenizer)
    turn = [*messages, {"role": "assistant", "content": text}]
    whole = encode(tokenizer, turn, add_generation_prompt=False)
    ids = whole[len(start) : len(whole) - len(around.end)]
    if whole[: len(start)] == start and tokenizer.decode(ids) == around.before + text:
        return ids
    return encode_text(tokenizer, around.before + text)


def common_prefix(left: list[int], right: list[int]) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))


def end_of_turn(tokenizer: Any) -> int | None:
    """The control token that ends a reply in this tokenizer's template; None where there is none."""
    control = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return next((token for token in frame(tokenizer).end if token in control), None)


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a reply of `model`: what its generation config and its tokenizer name, which of a base model
    are not those of its template, and the template's."""
    named = model.generation_config.eos_token_id
    named = named if isinstance(named, list) else [named]
    return {*named, tokenizer.eos_token_id, end_of_turn(tokenizer)} - {None}


def _ids(tokenizer: Any) -> Callable[[str], list[int]]:
    return lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _control(tokenizer: Any) -> list[str]:
    """Some tokenizers add runs of blanks, which control nothing: cutting those would take indentation apart."""
    added = tokenizer.added_tokens_decoder.values()
    return [token.content for token in added if token.special or token.content.strip()]


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
