"""Prompt files: any JSONL or Parquet with a prompt a row, as messages, beside whatever other columns it has.

Known forms: `prompt`, `messages` or `content` as text or messages; `turns` with one question (Vicuna); `instruction`
with `context` or `input` (Dolly, Alpaca) or with one of `instances` (Self-Instruct). A row that cannot be read is given
with its problem, so that it can be recorded; it never ends the reading. Nothing here asks a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError, contract
from advcore.chat import Message

DIRECT = ("prompt", "messages", "content")  # text or messages, the first of them that is there
MATERIAL = ("context", "input")  # what an `instruction` is about


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a prompt file. `columns` are those that are not the prompt; `problem` says why it cannot be asked."""

    number: int
    messages: list[Message]
    columns: dict[str, Any]
    problem: str = ""


def files(path: Path) -> list[Path]:
    """`path` itself, or the Parquet files of a folder such as one config of a dataset.

    Raises DataError when there is nothing to read.
    """
    if path.is_dir():
        if found := sorted(path.glob("*.parquet")):
            return found
        raise DataError(
            f"{path} holds no Parquet file; give one, a JSONL file, or a config's folder of a dataset"
        )
    if not path.is_file():
        raise DataError(f"prompt file {path} does not exist")
    return [path]


def count(path: Path) -> int:
    """How many rows `rows` will give. Raises DataError."""
    return sum(_parquet_length(file) if _is_parquet(file) else _lines(file) for file in files(path))


def digest(path: Path) -> str:
    """SHA-256 of the content. Raises DataError."""
    whole = hashlib.sha256()
    for file in files(path):
        with open(file, "rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()


def rows(path: Path, system: str = "") -> Iterator[Row]:
    """The rows in order, numbered by line; `system` opens those whose prompt is no list of messages.

    Raises DataError for a file that cannot be opened or is no Parquet.
    """
    number = 0
    for file in files(path):
        if _is_parquet(file):
            for columns in contract.file_rows(file):
                yield parsed(number, columns, system)
                number += 1
            continue
        with open(file, "rb") as lines:
            yield from (_line(number, line, system) for number, line in enumerate(lines) if line.strip())


def parsed(number: int, columns: dict[str, Any], system: str = "") -> Row:
    """A row from its columns, of which the prompt's own are taken out."""
    rest = dict(columns)
    try:
        given = _prompt(rest)
    except (LookupError, TypeError, ValueError) as error:
        return Row(number, [], rest, str(error.args[0]))
    if isinstance(given, str):
        opening = [{"role": "system", "content": system}] if system else []
        return Row(number, [*opening, {"role": "user", "content": given}], rest)
    problem = contract.message_problem(given)
    return Row(number, [] if problem else given, rest, f"prompt {problem}" if problem else "")


def _prompt(columns: dict[str, Any]) -> Any:
    """Take the prompt out of `columns`. Raises LookupError, TypeError or ValueError with what is wrong."""
    for name in DIRECT:
        if name in columns:
            return columns.pop(name)
    if "turns" in columns:
        return _only(columns.pop("turns"), "turns")
    if "instruction" in columns:
        parts = [columns.pop("instruction"), _material(columns)]
        if not all(isinstance(part, str) for part in parts):
            raise TypeError("instruction or what belongs to it is no text")
        return "\n\n".join(part for part in parts if part)
    raise LookupError("no JSON object with a prompt: none of prompt, messages, content, turns, instruction")


def _material(columns: dict[str, Any]) -> Any:
    for name in MATERIAL:
        if columns.get(name):
            return columns.pop(name)
    if not columns.get("instances"):
        return ""
    instance = _only(columns["instances"], "instances")
    return instance.get("input", "") if isinstance(instance, dict) else None


def _only(values: Any, name: str) -> Any:
    if not isinstance(values, list) or len(values) != 1:
        held = f"holds {len(values)}" if isinstance(values, list) else "is no list"
        raise ValueError(f"{name} {held}; a prompt is one, on a row of its own")
    return values[0]


def _line(number: int, line: bytes, system: str) -> Row:
    try:
        columns = _without_surrogates(json.loads(line), line)
    except (ValueError, RecursionError) as error:
        return Row(number, [], {}, f"no JSON object with a prompt ({type(error).__name__})")
    if not isinstance(columns, dict):
        return Row(number, [], {}, f"no JSON object with a prompt ({type(columns).__name__})")
    return parsed(number, columns, system)


def _without_surrogates(value: Any, line: bytes) -> Any:
    """A lone surrogate would break every file it comes into; only an escape can bring one."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _is_parquet(file: Path) -> bool:
    return file.suffix == ".parquet"


def _parquet_length(file: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def _lines(file: Path) -> int:
    with open(file, "rb") as lines:
        return sum(1 for line in lines if line.strip())
