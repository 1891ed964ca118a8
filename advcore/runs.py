"""Run folders: atomic writes, the files of a run, and progress lines. Knows nothing of what a run does."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from advcore import ConfigError, DataError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `path` so that a reader sees the old file or the new one, never a part; the new one survives a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written atomically."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


_REQUIRED: Any = object()


def read_json(file: Path, default: Any = _REQUIRED) -> Any:
    """The JSON value of a run's file; `default`, if given, where there is no such file. Raises DataError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is _REQUIRED:
            raise DataError(f"there is no file {file}") from None
        return default
    except ValueError:  # no JSON, or no text
        raise DataError(f"{file} is broken; remove it and run its command again") from None


def append_json(file: Path, row: Any) -> None:
    """Write `row` as a line at the end of a JSONL file; a line that a kill tore gives way to it."""
    with open(file, "ab+") as opened:
        end = opened.tell()
        if end and _last_byte(opened) != b"\n":
            opened.seek(0)
            whole = opened.read().rpartition(b"\n")[:2]
            opened.truncate(sum(map(len, whole)))
        opened.write(json.dumps(row).encode() + b"\n")


def write_jsonl(file: Path, rows: Iterable[Any]) -> None:
    """Write a JSONL file anew, atomically."""
    write_atomic(file, "".join(json.dumps(row) + "\n" for row in rows))


def _last_byte(opened: IO[bytes]) -> bytes:
    opened.seek(-1, os.SEEK_END)
    return opened.read(1)


def read_jsonl(file: Path, lenient: bool = False) -> list[Any]:
    """The rows of a JSONL file that `append_json` wrote; none where there is no file.

    A line that a kill tore is as good as none. Raises DataError for a line within that is no JSON; with `lenient`, for
    a cache whose rows can be made again, that is left out too.
    """
    if not file.exists():
        return []
    *lines, _torn = file.read_bytes().split(b"\n")
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            if not lenient:
                raise DataError(f"{file} is broken; remove it and run its command again") from None
    return rows


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a file or a folder among processes; the kernel lets go of it however the process ends.

    Where another process holds it: waits, having called `waiting`, or without that raises ConfigError.
    """
    with open(path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise ConfigError(
                    f"{path} is in use by another run; wait for it, or use another folder"
                ) from None
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256_of(value: Any) -> str:
    """Content hash of any JSON value, independent of key order."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
    ).hexdigest()


def sha256_of_files(files: Iterable[Path]) -> str:
    """Of their bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            hashlib.file_digest(opened, lambda: digest)
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make the folder and those above it where they are not there. Raises ConfigError when one of them is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(each for each in (folder, *folder.parents) if each.exists())
        raise ConfigError(f"{file} is a file; give the path of a folder") from None


@contextmanager
def run_folder(folder: Path, config: dict[str, Any], may_change: Iterable[str] = ()) -> Iterator[None]:
    """Hold a run folder for the time of the block, made or reopened as `open_run` does.

    Raises ConfigError when another process has it, and as `open_run` does.
    """
    make_folder(folder)
    with locked(folder):
        open_run(folder, config, may_change)
        yield


def open_run(folder: Path, config: dict[str, Any], may_change: Iterable[str] = ()) -> Path:
    """Make or reopen a run folder. Reopening with another config is refused, since a folder holds one run; but for the
    keys that `may_change`, by their last names: what a run may cost or how fast it may go is not what it is.

    Raises ConfigError when `config.json` is there and differs, naming the first key that does.
    """
    file = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give the path of a folder")
    if file.exists():
        try:
            before = json.loads(file.read_text())
        except ValueError:
            raise ConfigError(f"{file} is broken; give another --out, or remove it") from None
        changed = _first_difference(_without(before, may_change), _without(config, may_change))
        if changed:
            raise ConfigError(
                f"{folder} holds a run with another {changed}; give another --out, or remove it"
            )
        if before == config:
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, config)
    return folder


def _without(config: Any, names: Iterable[str]) -> Any:
    if not isinstance(config, dict):
        return config
    return {name: _without(value, names) for name, value in config.items() if name not in names}


def _first_difference(before: Any, after: Any, where: str = "") -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            found = _first_difference(before.get(key), after.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return ""
    return "" if before == after else where


class Progress:
    """Counts towards a total on stderr: a live Rich bar on a terminal, a plain line every ten seconds elsewhere.

    `note` is free text at the end of the line (tokens, rates, cost).
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done, self.note = label, total, 0, ""
        self._start = time.monotonic()
        self._shown = self._start
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int = 1, note: Callable[[], str] | None = None) -> None:
        """Count `count` more items as done; `note` is only called when there is something to show."""
        self.done += count
        now = time.monotonic()
        if now - self._shown < (10 if self._bar is None else 0.1) and self.done != self.total:
            return
        self._shown = now
        self.note = note() if note else self.note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self.note)
        else:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The state as one line: counts, rate, time left, note."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate else float("inf")
        eta = f"{left:.0f} s left" if left != float("inf") else "no estimate yet"
        return f"{self.label}: {self.done}/{self.total}, {rate:.2f}/s, {elapsed:.0f} s, {eta} {self.note}".rstrip()


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A `Progress` for the time of the block."""
    bar = Progress(label, total)
    if not sys.stderr.isatty():
        yield bar
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    times = (TimeElapsedColumn(), TimeRemainingColumn())
    columns: tuple[Any, ...] = ("{task.description}", BarColumn(), MofNCompleteColumn(), *times)
    with RichProgress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as rich_bar:
        bar._bar, bar._task = rich_bar, rich_bar.add_task(label, total=total, note="")
        yield bar


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """For the time of the block, in a running event loop: the first Ctrl-C calls `stop`, a second one interrupts."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        print("stopping when what is in flight is done; Ctrl-C again leaves at once", file=sys.stderr)
        stop()

    with suppress(RuntimeError, ValueError):  # not the main thread: nobody presses Ctrl-C here
        loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        with suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)
