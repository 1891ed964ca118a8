"""Any preference set as a stream of pairs: our own folders, Hub ids, Parquet and JSONL files.

One row is held at a time (a Parquet file gives them in batches). Judges nothing: a row without readable
prompt, chosen and rejected is not a finding but a DataError, since then this is no preference set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advcore import DataError, contract, hub
from advcore.contract import message_problem
from advgen.hygiene.pairs import PreferencePair, Side

_SIDES = {"chosen", "rejected"}

Message = Mapping[str, str]


def read(source: str) -> Iterator[PreferencePair]:
    """The pairs of a folder, a run folder, a file or a Hub id (`user/name@revision`), in the order of the files' names.

    `prompt`, `chosen` and `rejected` are text or lists of messages; without a prompt, or where both sides repeat
    it, it is the messages that both begin with. Of a folder every Parquet or JSONL file with `chosen` and
    `rejected` is read; where some are called train, only those. Raises DataError, in one line, for anything else.
    """
    path = Path(source)
    files = [path] if path.is_file() else contract.data_files(hub.dataset(source))
    number = 0
    found: set[str] = set()
    for file in files:
        for place, row in enumerate(contract.file_rows(file)):
            if not (place or path.is_file() or row.keys() >= _SIDES):  # another config of the same folder
                found |= row.keys()
                break
            yield _pair(number, row)
            number += 1
    if not number:
        columns = f" (columns found: {', '.join(sorted(found))})" if found else ""
        raise DataError(f"{source} has no rows with chosen and rejected{columns}")


def _pair(number: int, row: Mapping[str, Any]) -> PreferencePair:
    chosen, rejected = (_messages(number, row, name, "assistant") for name in ("chosen", "rejected"))
    shared = _shared(chosen, rejected)
    prompt = chosen[:shared]
    if row.get("prompt") is not None:
        prompt = _messages(number, row, "prompt", "user")
    if not prompt:
        raise DataError(f"row {number} has no prompt, nor messages that both sides begin with")
    rate, p_true = row.get("student_pass_rate"), row.get("p_true")
    return PreferencePair(
        row=number,
        system=_text([message for message in prompt if message["role"] == "system"]),
        prompt=_text([message for message in prompt if message["role"] != "system"]),
        chosen=Side(_text(chosen[shared:]), _string(row, "entry_point")),
        rejected=Side(_text(rejected[shared:]), _string(row, "entry_point")),
        student_pass_rate=rate if isinstance(rate, float) else None,
        p_true=p_true if isinstance(p_true, float) else None,
        **{name: _string(row, name) for name in _STRINGS},
    )


_STRINGS = ("exercise_id", "entry_point", "tests", "failure_kind", "chosen_source", "topic")


def _string(row: Mapping[str, Any], name: str) -> str:
    """A foreign set may use the name for something else: that is no value of ours."""
    value = row.get(name)
    return _encodable(value) if isinstance(value, str) else ""


def _encodable(text: str) -> str:
    """JSON can spell half a character, which no file, index or tokenizer takes: it becomes a question mark."""
    return text.encode(errors="replace").decode()


def _messages(number: int, row: Mapping[str, Any], name: str, role: str) -> Sequence[Message]:
    value = row.get(name)
    if isinstance(value, str):
        return [{"role": role, "content": _encodable(value)}]
    if not isinstance(value, list):
        raise DataError(
            f"row {number}: {name} is {type(value).__name__}, neither text nor a list of messages"
        )
    messages = [_message(each) if isinstance(each, dict) else each for each in value]
    if problem := message_problem(messages):
        raise DataError(f"row {number}: {name} {problem}")
    return [{key: _encodable(text) for key, text in message.items()} for message in messages]


def _message(value: Mapping[str, Any]) -> dict[str, Any]:
    """Foreign messages carry more than role and content."""
    return {key: value.get(key) for key in ("role", "content")}


def _shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many messages both begin with; the last one is an answer, even where the answers are the same."""
    most = min(len(chosen), len(rejected)) - 1
    return next((at for at in range(most) if chosen[at] != rejected[at]), most)


def _text(messages: Sequence[Message]) -> str:
    return "\n\n".join(message["content"] for message in messages)
