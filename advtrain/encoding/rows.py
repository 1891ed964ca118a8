"""A dataset revision to token ids: where rows come from, what they must hold, how they become examples.

Each row is rendered and encoded once, through `advcore.chat`, so that text which spells a control token stays text.
Trains nothing and loads no model. Called by `methods.base`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from advcore import DataError, chat, contract, hub
from advcore.runs import sha256_of
from advtrain.encoding import replies
from advtrain.encoding.replies import Message, Reply

IGNORED = -100  # the label of what is not scored, in PyTorch's cross-entropy and in TRL

REPLY = "teacher_response"
"""The column of a reply as a model gave it, text that may have been cut, where others hold turns that are whole."""
# The columns of each config that training reads: the prompt first, then the completions. The paper's data for GAD
# (ytz20/LMSYS-Chat-GPT-5-Chat-Response) calls its prompt `content`.
NEEDED = {
    "dpo": ("prompt", "chosen", "rejected"),
    "sft": ("prompt", "completion"),
    "gad": ("prompt", REPLY),
}

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows as read, and what they are called in the manifest."""

    source: str
    revision: str
    """Commit of the Hub repository; for files the SHA-256 of the rows."""
    rows: list[Row]

    @property
    def round(self) -> int:
        """The latest round among the rows; 0 for a dataset that knows no rounds."""
        return max(int(row.get("round", 0)) for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row as text and as ids, made once. `completions` holds (chosen, rejected) for DPO, else the one there is."""

    exercise_id: str
    prompt: list[int]
    completions: tuple[list[int], ...]
    messages: list[Message] = field(default_factory=list, repr=False)
    """The prompt's."""
    replies: tuple[Reply, ...] = field(default=(), repr=False)
    """What each completion says, and whether it ended; of one that `max_length` cuts, all that it said."""
    truncated: bool
    """A completion was cut at max_length."""
    dropped: bool
    """The prompt leaves no room for a completion: not trained on."""
    row: Row = field(default_factory=dict, repr=False)
    """What it was made of."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence of the row."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)

    @property
    def tokens(self) -> int:
        """Tokens with the prompt counted once: what a model is fed where completions share it."""
        return len(self.prompt) + sum(len(completion) for completion in self.completions)


def load(dataset: str, config: str, rounds: str = "all") -> Dataset:
    """Read the rows of `config` ("dpo", "sft", "gad") from a folder, a JSONL file or the Hub.

    Raises DataError: nothing there, a file that is no JSONL, no such config, a missing column (naming those
    found), no rows.
    """
    path, commit = _located(dataset)
    rows = _read(dataset, path, config, foreign=bool(commit))
    if REPLY in NEEDED[config]:
        rows = [{"prompt": row.get("content"), **row} for row in rows]
    check_columns(dataset, rows, config)
    if rounds == "last":
        last = max(row.get("round", 0) for row in rows)
        if path.is_dir() and last < (built := contract.latest_round(path) or 0):
            raise DataError(
                f'round {built} of {dataset} has no {config} rows; rounds = "all" trains on those before'
            )
        rows = [row for row in rows if row.get("round", 0) == last]
    return Dataset(source=dataset, revision=commit or sha256_of(rows), rows=rows)


def flip_rate(dataset: str) -> float | None:
    """Share of pairs whose sides may be the wrong way round, where the dataset has measured it. Raises DataError."""
    return contract.flip_rate(_located(dataset)[0])


def _located(dataset: str) -> tuple[Path, str]:
    """Where it lies, and the commit of one on the Hub."""
    path = Path(dataset)
    if path.exists():
        return path, ""
    if not hub.is_hub_id(dataset):
        raise DataError(f"dataset {dataset} is no folder, no JSONL file and no user/name@revision")
    folder = hub.pull(dataset)
    return folder, folder.name  # the Hub client names a snapshot's folder by its commit


def check_columns(source: str, rows: Sequence[Row], config: str) -> None:
    """Raise DataError unless there are rows and every one has the columns that `config` needs."""
    if not rows:
        raise DataError(f"{source} has no {config} rows")
    for number, row in enumerate(rows):
        missing = [name for name in NEEDED[config] if row.get(name) is None]
        if missing:
            found = ", ".join(sorted(name for name in row if row[name] is not None))
            raise DataError(f"{source} row {number} lacks {', '.join(missing)} (found: {found or 'nothing'})")


def _read(source: str, path: Path, config: str, foreign: bool) -> list[Row]:
    """In our layout, or where that is not there and `foreign`, in any that `datasets` reads."""
    if path.is_file():
        return list(contract.file_rows(path))
    if foreign and not any((path / config).glob("*.parquet")):
        return _read_foreign(source, path)
    return contract.read(path, config)


def _read_foreign(spec: str, folder: Path) -> list[Row]:
    import datasets

    try:
        return list(datasets.load_dataset(str(folder), split="train"))
    except (ValueError, OSError) as error:
        raise DataError(f"{spec} has no train split that can be read: {str(error).splitlines()[0]}") from None


def encode(
    tokenizer: Any, rows: Iterable[Row], config: str, max_length: int, reply_tokens: int = 0
) -> list[Example]:
    """Every row as an `Example`, in order; rows that do not fit are marked, not left out.

    A completion is what the chat template adds after the generation prompt: its tokens and the end of its turn. Of the
    `gad` config it is the reply's text and the token that ends it, without that token where its `finish_reason` is
    `length`. With `reply_tokens` a prompt must leave room for so many, and a reply is cut there as a student's samples
    are; 0 cuts at `max_length` alone. Raises DataError, naming the row, for a prompt or completion that is neither text
    nor messages.
    """
    prompt_column, *columns = NEEDED[config]
    examples = []
    for number, row in enumerate(rows):
        try:
            prompt = messages(row[prompt_column], "user")
            completions = [messages(row[column], "assistant") for column in columns]
            if REPLY in columns:
                read = _read_reply(tokenizer, prompt, completions[0], row, reply_tokens)
            else:
                read = _read_completions(tokenizer, prompt, completions)
        except (TypeError, jinja2.TemplateError) as error:  # a template can refuse an order of roles
            raise DataError(f"row {number}: {error}") from None
        name = str(row.get("exercise_id", number))
        examples.append(_fitted(name, row, prompt, read, max_length, reply_tokens))
    return examples


@dataclass(frozen=True, slots=True)
class _Read:
    """A row's prompt and completions as ids, before `max_length` cuts them."""

    start: list[int]
    completions: list[list[int]]
    replies: list[Reply]
    cut: bool = False
    """A reply was cut already."""


def _fitted(
    name: str, row: Row, prompt: list[Message], read: _Read, max_length: int, reply_tokens: int
) -> Example:  # fmt: skip
    room = max_length - len(read.start)
    return Example(
        exercise_id=name, prompt=read.start, completions=tuple(ids[: max(0, room)] for ids in read.completions),
        messages=prompt, replies=tuple(read.replies), row=row, dropped=room < max(1, reply_tokens),
        truncated=read.cut or any(len(ids) > room for ids in read.completions),
    )  # fmt: skip


def _read_completions(tokenizer: Any, prompt: list[Message], completions: list[list[Message]]) -> _Read:
    """A template may render the prompt otherwise once a completion follows; that then starts where they part."""
    prompt_ids = chat.encode(tokenizer, prompt, add_generation_prompt=True)
    whole = [
        chat.encode(tokenizer, prompt + completion, add_generation_prompt=False) for completion in completions
    ]
    start = min(chat.common_prefix(prompt_ids, ids) for ids in whole)
    said = ["".join(message["content"] for message in completion) for completion in completions]
    return _Read(whole[0][:start], [ids[start:] for ids in whole], [Reply(text, True) for text in said])


def _read_reply(tokenizer: Any, prompt: list[Message], found: list[Message], row: Row, most: int) -> _Read:
    reply = _only(found, row, may_be_empty=not most)
    start = chat.prompt_ids(tokenizer, prompt)
    if not most:
        return _Read(start, [replies.encode_after(tokenizer, prompt, start, reply)], [reply])
    short, ids = replies.encode_cut(tokenizer, prompt, start, reply, most)
    return _Read(start, [ids], [short], cut=short is not reply)


def of_teacher(row: Row) -> tuple[list[Message], Reply]:
    """Prompt and reply of a row of the `gad` config. Raises DataError where there is no one reply."""
    try:
        reply = _only(messages(row[REPLY], "assistant"), row, may_be_empty=False)
    except TypeError as error:
        raise DataError(str(error)) from None
    return messages(row["prompt"], "user"), reply


def _only(found: list[Message], row: Row, may_be_empty: bool) -> Reply:
    text = found[0]["content"]
    if len(found) != 1 or not (text.strip() or may_be_empty):
        raise TypeError(
            f"teacher_response is {len(found)} messages or empty, not one reply: {str(found)[:80]}"
        )
    return Reply(text, row.get("finish_reason") != "length")


def messages(value: Any, role: str) -> list[Message]:
    """A column's value as messages: a string is one message of `role`. Raises TypeError for anything else."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list) and value and all(_is_message(message) for message in value):
        return [{"role": message["role"], "content": message["content"]} for message in value]
    raise TypeError(f"expected text or a list of messages, found {type(value).__name__}")


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))
