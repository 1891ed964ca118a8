"""Run folders: their lock, atomic writes, JSON files and append-only stores. Knows nothing of what a run does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from advcore import ConfigError, DataError, settings


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `path` so that a reader sees the old file or the new one, never a part; the new one survives a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written atomically."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


_REQUIRED: Any = object()
_BLOCK_BYTES = 1 << 16


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
    """Write `row` at the end of a JSONL file; a line that a kill tore gives way to it. Processes take turns."""
    with open(file, "ab+") as opened:
        _flock(opened, "LOCK_EX")
        cut_torn(opened)
        opened.write(json.dumps(row).encode() + b"\n")


def cut_torn(opened: IO[bytes]) -> int:
    """Cut off what stands behind the last whole line of a file, and return where that ends."""
    size = start = opened.seek(0, os.SEEK_END)
    end = 0
    while start and not end:
        stop, start = start, max(0, start - _BLOCK_BYTES)
        opened.seek(start)
        if (found := opened.read(stop - start).rfind(b"\n")) >= 0:
            end = start + found + 1
    if end < size:
        opened.truncate(end)
    return opened.seek(end)


def whole_lines(opened: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines from here on, each with its place; one that a kill tore is as good as none."""
    place = opened.tell()
    for line in opened:
        if line.endswith(b"\n"):
            yield place, line
        place += len(line)


def write_jsonl(file: Path, rows: Iterable[Any]) -> None:
    """Write a JSONL file anew, atomically."""
    write_atomic(file, "".join(json.dumps(row) + "\n" for row in rows))


def read_jsonl(file: Path, lenient: bool = False) -> list[Any]:
    """The rows of a JSONL file that `append_json` wrote; none where there is no file.

    A line that a kill tore is as good as none. Raises DataError for a line within that is no JSON; with `lenient`, for
    a cache whose rows can be made again, that is left out too.
    """
    if not file.exists():
        return []
    rows = []
    with open(file, "rb") as opened:
        for number, (_, line) in enumerate(whole_lines(opened), 1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                if not lenient:
                    raise DataError(
                        f"line {number} of {file} is no JSON; remove that line and run its command again"
                    ) from None
    return rows


@contextmanager
def locked(lock: Path, what: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the file `lock`, which stands for `what`, among processes; it falls with the process, so that a kill leaves
    nothing locked. Where another process holds it: waits, having called `waiting`, or without that raises ConfigError.
    """
    with open(lock, "w") as file:
        try:
            if not _flock(file, "LOCK_EX", "LOCK_NB"):
                print(f"note: no lock can be held on {what}: start no second run on it", file=sys.stderr)
        except BlockingIOError:
            if waiting is None:
                raise ConfigError(
                    f"{what} is in use by another run; wait for it, or use another folder"
                ) from None
            waiting()
            _flock(file, "LOCK_EX")
        try:
            yield
        finally:
            _flock(file, "LOCK_UN")  # a forked child may hold the file open for longer


def _flock(file: IO[Any], *operation: str) -> bool:
    """As fcntl.flock; whether there are locks (Windows, NFS without lockd and some Lustre have none)."""
    try:
        import fcntl

        fcntl.flock(file, sum(getattr(fcntl, name) for name in operation))
    except ImportError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return False
    return True


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
def run_folder(folder: Path, config: Any, may_change: Iterable[str] = (), **content: Any) -> Iterator[None]:
    """Hold a run folder for the time of the block, made or reopened as `open_run` does.

    Raises ConfigError when another process has it, and as `open_run` does.
    """
    make_folder(folder)
    with locked_run(folder):
        open_run(folder, config, may_change, **content)
        yield


def locked_run(folder: Path) -> AbstractContextManager[None]:
    """The lock of a run folder that is there: whoever writes into it holds it."""
    return locked(folder / ".lock", folder)


def open_run(folder: Path, config: Any, may_change: Iterable[str] = (), **content: Any) -> None:
    """Make or reopen the folder of a run by `config`, a config dataclass, and by `content`, whatever else makes it this
    run. Reopening with another config is refused, since a folder holds one run; but for the keys that `may_change`, by
    their last names: what a run may cost or how fast it may go is not what it is. An option that was not there when
    the run began counts as what it is by default.

    Raises ConfigError when `config.json` is there and differs, naming the first key that does.
    """
    file, described = folder / "config.json", {**settings.resolved(config), **content}
    if file.exists():
        try:
            before = json.loads(file.read_text())
        except ValueError:
            raise ConfigError(f"{file} is broken; give another --out, or remove it") from None
        known = _filled(before, settings.defaults(config))
        changed = _first_difference(_without(known, may_change), _without(described, may_change))
        if changed:
            raise ConfigError(
                f"{folder} holds a run with another {changed}; give another --out, or remove it"
            )
        if before == described:
            return
    make_folder(folder)
    write_json(file, described)


def _filled(before: Any, usual: Any) -> Any:
    """`before` with what only `usual` has, at any depth."""
    if isinstance(before, dict) and isinstance(usual, dict):
        both = {key: _filled(value, usual.get(key)) for key, value in before.items()}
        return {**usual, **both}
    if isinstance(before, list) and isinstance(usual, list) and len(before) == len(usual):
        return [_filled(one, other) for one, other in zip(before, usual, strict=True)]
    return before


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
