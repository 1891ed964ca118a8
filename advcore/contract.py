"""The dataset both sides meet through: configs, columns, checks, schema version. The one place that names them.

A dataset is a folder (or a Hub dataset repository) with one sub-folder of Parquet files a config, one file a round:
`dpo/round-0000.parquet`. Uploading a later round adds files, so a repository is cumulative and so is a run's folder.
Heavy libraries (pyarrow) are imported inside the functions that need them.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advcore import DataError, literals

SCHEMA_VERSION = 2
_ROUND_FILE = re.compile(r"\w+/round-\d{4,}\.parquet")
_BATCH = 500  # rows held in memory by a writer or reader
_GROUP = 2  # batches in a Parquet row group
STRATEGIES = ("seed", "incremental", "opposite", "deceptive")
ROUNDS = "rounds.json"  # in a dataset folder: what each round so far came to, oldest first
CALIBRATION = "calibration.json"  # in a dataset folder: the verifier's own error rates, by `advgen calibrate`
CHOSEN_SOURCES = ("teacher", "student", "repaired", "given")

# Column types: "messages" is a list of {role, content}, "turns" one that may be empty; "json" a string that holds JSON;
# the rest are scalars.
_LINEAGE = {
    "exercise_id": "string", "parent_id": "string", "round": "int", "strategy": "string",
    "topic": "string", "subtopic": "string", "entry_point": "string", "tests": "json",
}  # fmt: skip
_ORIGIN = {
    "teacher": "string",
    "student": "string",
    "sandbox": "json",
    "provenance": "json",
    "schema_version": "int",
}

COLUMNS: dict[str, dict[str, str]] = {
    "dpo": {
        "prompt": "messages", "chosen": "messages", "rejected": "messages", **_LINEAGE,
        "chosen_source": "string", "failure_kind": "string", "failed_test": "int", "student_pass_rate": "float",
        "n_attempts": "int", "chosen_chars": "int", "rejected_chars": "int", "p_true": "float", **_ORIGIN,
    },
    "sft": {"prompt": "messages", "completion": "messages", **_LINEAGE, **_ORIGIN},
    "kto": {"prompt": "messages", "completion": "messages", "label": "bool", **_LINEAGE, **_ORIGIN},
    "rl": {"prompt": "messages", **_LINEAGE, **_ORIGIN},
    "gad": {"prompt": "messages", "teacher_response": "string", **_LINEAGE, **_ORIGIN},
    "margins": {
        "exercise_id": "string", "margin": "float", "margin_per_token": "float", "r_chosen": "float",
        "r_rejected": "float", "chosen_tokens": "int", "rejected_tokens": "int", "truncated": "bool",
        "dropped": "bool", "model": "string", "reference": "string", "schema_version": "int",
    },
    # Everything that was tried, with its reason: `status` is "kept" or the gate that turned it away.
    "raw": {
        **_LINEAGE, "stub": "string", "status": "string", "reason": "string", "prompt": "turns", "response": "string",
        "solutions": "json", "attempts": "json", "testimony": "json", "mended": "json", "check": "json",
        "usage": "json",
        "teacher_pass_rate": "float", "student_pass_rate": "float", "n_attempts": "int", "kill_rate": "float",
        "coverage": "float", **_ORIGIN,
    },
}  # fmt: skip


# Columns of version 2 as a reader finds them in rows of version 1: nobody knew.
_SINCE_2: dict[str, dict[str, Any]] = {"dpo": {"p_true": math.nan}, "raw": {"testimony": "{}"}}

# What a reader may count on where it is less than COLUMNS: answers to any prompt file have no exercise behind them.
REQUIRED = {"gad": ("prompt", "teacher_response", "schema_version")}

# What `advgen answer` writes, before the columns of the prompt file itself.
ANSWERS = {
    "gad": {
        "prompt": "messages", "teacher_response": "string", "sample": "int", "finish_reason": "string",
        "prompt_tokens": "int", "completion_tokens": "int", "cost_usd": "float", "teacher": "string",
        "request": "string", "schema_version": "int",
    },
    "raw": {"line": "int", "sample": "int", "status": "string", "reason": "string", "schema_version": "int"},
}  # fmt: skip


_HELPERS = {
    "_close": """\
def _close(got, expected):
    def close(got, expected):
        if isinstance(expected, float):
            if not isinstance(got, (int, float)) or isinstance(got, bool):
                return False
            finite = abs(got) < 1e308 and abs(expected) < 1e308
            return got == expected or (finite and abs(got - expected) <= 1e-9 * max(1.0, abs(expected)))
        if isinstance(expected, (list, tuple)):
            kind = list if isinstance(expected, list) else tuple
            return isinstance(got, kind) and len(got) == len(expected) and all(map(close, got, expected))
        if isinstance(expected, dict):
            alike = isinstance(got, dict) and got.keys() == expected.keys()
            return alike and all(close(got[key], expected[key]) for key in expected)
        return got == expected

    return close(got, expected)
""",
    "_raises": """\
def _raises(kind, act):
    try:
        act()
    except (MemoryError, RecursionError):
        raise
    except kind:
        return True
    except Exception:
        pass
    return False
""",
}
"""What a suite begins with where its asserts call them; without names of their own to look up wherever they run."""


def suite(tests: Sequence[Mapping[str, Any]]) -> str:
    """Items of the `tests` column as the text of a test file, one assert an item.

    `{"call": "f(1)", "expected": "3"}` with floats compared to 9 digits, in lists, tuples and values of dictionaries
    too; `{"call": "f(-1)", "raises": "ValueError"}`; or `{"code": "assert ..."}`. Raises ValueError, LookupError.
    """
    needed = [text for name, text in _HELPERS.items() if any(helper(test) == name for test in tests)]
    return "\n".join([*needed, *map(assertion, tests)])


def assertion(test: Mapping[str, Any]) -> str:
    """One item of the `tests` column as an assert; in `suite` it finds the function that it may need."""
    if "code" in test:
        return str(test["code"])
    call, outcome = test["call"], literals.outcome_of(test)
    if isinstance(outcome, literals.Raised):
        return f"assert _raises({outcome.name}, lambda: {call})"
    if helper(test):
        return f"assert _close({call}, {outcome.text})"
    alone = outcome.value is None or isinstance(
        outcome.value, bool
    )  # 1 == True, but who asks for a bool means one
    return f"assert {call} {'is' if alone else '=='} {outcome.text}"


def helper(test: Mapping[str, Any]) -> str:
    """The function of a suite that decides on this item, '' where a plain comparison does."""
    if "code" in test:
        return ""
    outcome = literals.outcome_of(test)
    if isinstance(outcome, literals.Raised):
        return "_raises"
    return "_close" if _holds_floats(outcome.value) else ""


def _holds_floats(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return any(map(_holds_floats, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def tests_of(column: str) -> list[dict[str, Any]]:
    """The items of a `tests` column, each of which is an assert. Raises DataError where it is no list of tests."""
    try:
        tests: list[dict[str, Any]] = json.loads(column)
        for test in tests:
            assertion(test)
            if "code" not in test:
                literals.arguments(test["call"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise DataError(f"tests cannot be read: {type(error).__name__}") from None
    return tests


_TYPES: dict[str, type] = {
    "string": str, "int": int, "float": float, "bool": bool, "json": str, "messages": list, "turns": list,
}  # fmt: skip


def latest_round(folder: Path) -> int | None:
    """The number of the last round that was built, with or without rows in a config; None where none is noted."""
    file = folder / ROUNDS
    try:
        return max(int(each["round"]) for each in json.loads(file.read_text())) if file.exists() else None
    except (ValueError, LookupError, TypeError):
        raise DataError(f"{file} is broken; build the round again") from None


def refuse_older(repo: str, paths: Iterable[str], number: int, so: str) -> None:
    """Raise DataError where a repository's `paths` hold a later round than `number`; `so` ends its line.

    A revision holds all that was pushed before it: the tag of the earlier round would lead to the later one's rows.
    """
    newest = max((Path(path).stem for path in paths if _ROUND_FILE.fullmatch(path)), default="")
    if newest > f"round-{number:04d}":
        raise DataError(f"{repo} holds {newest} already, so {so}")


def flip_rate(folder: Path) -> float | None:
    """The share of pairs whose sides may be the wrong way round, as `calibration.json` has it; None where it has none.

    Raises DataError where what the file holds is no share.
    """
    file = folder / CALIBRATION
    if not file.exists():
        return None
    try:
        rate = json.loads(file.read_text()).get("flip_rate")
    except (ValueError, AttributeError):
        rate = "broken"
    if rate is None:
        return None
    if not isinstance(rate, float | int) or not 0 <= rate <= 1:
        raise DataError(f"{file} holds no flip_rate from 0 to 1; run advgen calibrate again")
    return float(rate)


def check_row(config: str, row: Mapping[str, Any]) -> None:
    """Raise DataError, naming the column, unless `row` is one of `config`, and its JSON columns hold JSON: the check
    for a row that came from elsewhere.
    """
    check_columns(config, row)
    for name, kind in COLUMNS[config].items():
        if kind == "json" and not _is_json(row[name]):
            raise DataError(f"{config}.{name} does not hold JSON")


def check_columns(config: str, row: Mapping[str, Any]) -> None:
    """Raise DataError, naming the column, unless `row` has exactly the columns and types of `config`: the check for a
    row that we made, whose JSON columns `json.dumps` wrote.
    """
    columns = COLUMNS[config]
    if missing := [name for name in columns if name not in row]:
        raise DataError(f"a {config} row lacks {', '.join(missing)}")
    if extra := [name for name in row if name not in columns]:
        raise DataError(f"a {config} row has unknown columns {', '.join(extra)}")
    for name, kind in columns.items():
        if problem := _problem(kind, row[name]):
            raise DataError(f"{config}.{name} {problem}")
    if row.get("strategy", "seed") not in STRATEGIES:
        raise DataError(f"{config}.strategy is {row['strategy']!r}, not one of {', '.join(STRATEGIES)}")


def _problem(kind: str, value: Any) -> str:
    exact: Any = _TYPES[kind]
    if type(value) is not exact:
        return f"is {type(value).__name__}, not {kind}"
    return message_problem(value) if kind == "messages" or (kind == "turns" and value) else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def message_problem(messages: list[Any]) -> str:
    if not isinstance(messages, list):
        return "is no list of messages"
    if not messages:
        return "is an empty list of messages"
    for message in messages:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return "holds a message without exactly role and content"
        if not all(isinstance(part, str) for part in message.values()):
            return "holds a message whose role or content is not text"
    return ""


def write_round(folder: Path, config: str, round_number: int, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Check `rows` and write them as one Parquet file of `folder`; an earlier file of that round is replaced.

    Raises DataError for the first row that breaks the contract; nothing is written then.
    """
    with RoundWriter(folder, config, round_number, COLUMNS[config]) as writer:
        for row in rows:
            check_row(config, row)
            writer.add(row)
    return writer.path


class RoundWriter:
    """One Parquet file of a dataset, written row by row in bounded memory; it appears whole or not at all."""

    def __init__(self, folder: Path, config: str, round_number: int, columns: Mapping[str, str]) -> None:
        """`columns` names each column's type, in the words of COLUMNS."""
        self.path = folder / config / f"round-{round_number:04d}.parquet"
        self._columns = columns
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> RoundWriter:
        import pyarrow.ipc

        self._schema = _arrow_schema(self._columns)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A Parquet writer remembers every row group until it closes, 1 kB a column; this stream remembers nothing. So
        # groups can be larger than what is held while rows come, and of several open files one is written at a time.
        self._waiting = tempfile.TemporaryFile(dir=self.path.parent)
        options = pyarrow.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        self._stream = pyarrow.ipc.new_stream(self._waiting, self._schema, options=options)
        return self

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(dict(row))
        if len(self._rows) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        try:
            table = _table(self._rows, self._schema)
        except ValueError:  # a number that JSON does not know: nan, inf
            table = pyarrow.Table.from_pylist(self._rows, schema=self._schema)
        self._stream.write_table(table)
        self._rows.clear()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._waiting:
            if kind is None and self._rows:
                self._flush()
            self._stream.close()
            if kind is None:
                self._write()

    def _write(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._write_to(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _write_to(self, file: Path) -> None:
        """As Parquet, without what so few rows have no use for: statistics and dictionaries."""
        import pyarrow.parquet

        self._waiting.seek(0)
        options = pyarrow.ipc.IpcReadOptions(use_threads=False)
        with (
            pyarrow.ipc.open_stream(self._waiting, options=options) as batches,
            pyarrow.parquet.ParquetWriter(
                file, self._schema, compression="zstd", use_dictionary=False, write_statistics=False
            ) as writer,
        ):
            while group := list(itertools.islice(batches, _GROUP)):
                writer.write_table(pyarrow.Table.from_batches(group))


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    """By way of JSON, because `Table.from_pylist` imports pandas: 50 MB and half a second. Raises ValueError."""
    import pyarrow.json

    text = "\n".join(json.dumps(row, allow_nan=False) for row in rows).encode()
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
    return pyarrow.json.read_json(pyarrow.BufferReader(text), options, parse).select(schema.names)


def read(folder: Path, config: str) -> list[dict[str, Any]]:
    """All rows of `config`, in the order of the rounds. Raises DataError when the folder has no such config."""
    return list(rows(folder, config))


def rows(folder: Path, config: str) -> Iterator[dict[str, Any]]:
    """The same, a batch at a time in memory."""
    files = sorted((folder / config).glob("*.parquet"))
    if not files:
        raise DataError(f"{folder} has no {config} config (no {config}/*.parquet)")
    for file in files:
        yield from _checked(file, config)


def _checked(file: Path, config: str) -> Iterator[dict[str, Any]]:
    needed, later = REQUIRED.get(config, tuple(COLUMNS[config])), _SINCE_2.get(config, {})
    for number, row in enumerate(file_rows(file)):
        if row.get("schema_version") == 1:
            row = later | row
        if number == 0 and (missing := [name for name in needed if name not in row]):
            raise DataError(f"{file} lacks the columns {', '.join(missing)}; it has {', '.join(row)}")
        if type(row["schema_version"]) is not int:
            raise DataError(f"{file} row {number} has no schema_version")
        if row["schema_version"] > SCHEMA_VERSION:
            raise DataError(
                f"{file} has schema version {row['schema_version']}; this release reads {SCHEMA_VERSION}"
            )
        yield row


def file_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of any Parquet, .jsonl or .jsonl.gz file, a batch at a time in memory. Raises DataError."""
    return _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)


def data_files(folder: Path) -> list[Path]:
    """The files of a data set that is not ours; where some are called train, those. Raises DataError."""
    suffixes = (".parquet", ".jsonl", ".jsonl.gz")
    files = sorted(file for file in folder.rglob("*") if file.name.endswith(suffixes) and file.is_file())
    if not files:
        raise DataError(f"{folder} holds no Parquet or JSONL file")
    return [file for file in files if "train" in file.name] or files


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        # Buffering ahead would load the whole file, and memory that threads gave back is not used again by others.
        with pyarrow.parquet.ParquetFile(file, pre_buffer=False) as opened:
            for batch in opened.iter_batches(_BATCH, use_threads=False):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
        for number, line in enumerate(_lines(file, lines), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{file} line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{file} line {number} is not a JSON object")
            yield row


def _lines(file: Path, opened: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from opened
    except (OSError, EOFError, zlib.error) as error:  # of gzip, cut short or none at all
        raise DataError(f"{file} cannot be read: {error}") from None


def _arrow_schema(columns: Mapping[str, str]) -> Any:
    import pyarrow

    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    types = {
        "string": pyarrow.string(), "json": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(),
        "bool": pyarrow.bool_(), "messages": pyarrow.list_(message), "turns": pyarrow.list_(message),
    }  # fmt: skip
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
