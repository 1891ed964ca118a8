"""Near copies of texts, by MinHash. SQLite on disk, so that millions of texts fit. The one place that says how near.

MinHash (Broder 1997) with 128 permutations, its signature cut into bands that are looked up by equality: two texts
share a band with probability 1 - (1 - J^rows)^bands at Jaccard similarity J. What a band finds is only a candidate;
the stored signatures give the estimate of J (standard error at most 0.044), without the texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
import sqlite3
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advcore import DataError, extras
from advcore.rouge import words

NEAR_COPY = 0.7
"""Jaccard similarity from which a text is a near copy."""

PERMUTATIONS = 128
_SEED = 1
# A band that a phrase of a whole family decides leads to thousands; true copies share bands of their own besides.
_BAND_ENTRIES = 100
_CANDIDATES = 50

_INDEX = """
CREATE TABLE entries (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, signature BLOB NOT NULL);
CREATE TABLE bands (band INTEGER, entry INTEGER, PRIMARY KEY (band, entry)) WITHOUT ROWID;
CREATE TABLE merged (last INTEGER NOT NULL);
INSERT INTO merged VALUES (0);"""
# Bands lie anywhere in their table: entered one by one, each would cost a page on disk. Those of the newest entries
# wait in memory and go in together, in order; after a restart they are made again from the signatures.
_FRESH = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE fresh (band INTEGER, entry INTEGER, PRIMARY KEY (band, entry)) WITHOUT ROWID;"""
_FRESH_ENTRIES = 4_000
_CACHE_KIB = 4096
_LOOK_UP = """
SELECT entry FROM bands WHERE band = :band UNION ALL SELECT entry FROM fresh WHERE band = :band LIMIT :most"""

Candidate = tuple[str, float]
"""The name of an entry, and the estimated Jaccard similarity to it."""


class NearIndex(contextlib.AbstractContextManager["NearIndex"]):
    """Names of texts by what they resemble, in the file `path`, or in one of its own for None.

    Texts are sets of runs of `shingle` words, signatures are cut into bands of `rows` values. As it is by default, a
    pair at Jaccard 0.7 is found with probability 0.99, at 0.5 with 0.55, at 0.1 with 0.0003.
    Raises DataError when the file is no index of this form, ConfigError without rensa.
    """

    def __init__(self, path: Path | None, *, shingle: int = 5, rows: int = 5) -> None:
        extras.need("rensa", "finding near copies")
        from rensa import RMinHash

        self._minhash: Any = RMinHash
        self._shingle, self._rows = shingle, rows
        version = RMinHash.ALGORITHM_VERSION * 10_000 + shingle * 100 + rows
        self.db = _opened(path, version)
        self.db.executescript(_FRESH)
        self._merged: int = self.db.execute("SELECT last FROM merged").fetchone()[0]
        newest = "SELECT id, signature FROM entries WHERE id > ?"
        for entry, signature in self.db.execute(newest, (self._merged,)).fetchall():
            self._enter(entry, signature)
        self.db.commit()

    def add(self, name: str, text: str) -> None:
        """Enter `text` as `name`; a name that is there already stays as it is."""
        signature = self._signature(text)
        entered = self.db.execute(
            "INSERT OR IGNORE INTO entries (name, signature) VALUES (?, ?)", (name, signature)
        )
        if entered.rowcount and entered.lastrowid:
            self._enter(entered.lastrowid, signature)
            if entered.lastrowid - self._merged >= _FRESH_ENTRIES:
                self._merge(entered.lastrowid)

    def candidates(self, text: str) -> list[Candidate]:
        """The names that share a band with `text` and their estimated Jaccard similarity, best first; at most 50.

        Of a band that very many share only the oldest entries are looked at, so that no look-up takes long.
        """
        signature = self._signature(text)
        shared: Counter[int] = Counter()
        for band in self._bands(signature):
            found = self.db.execute(_LOOK_UP, {"band": band, "most": _BAND_ENTRIES})
            shared.update(entry for (entry,) in found)
        values = array("I", signature)
        read = "SELECT name, signature FROM entries WHERE id = ?"
        rows = [self.db.execute(read, (entry,)).fetchone() for entry, _ in shared.most_common(_CANDIDATES)]
        estimates = [(name, _agreement(values, array("I", other))) for name, other in rows]
        return sorted(estimates, key=lambda each: -each[1])

    def copy_of(self, text: str) -> Candidate | None:
        """The entry that `text` is a near copy of, the nearest one; None without any."""
        return nearest_copy(self.candidates(text))

    def commit(self) -> None:
        """Make durable what was added; what was not is gone after `close`."""
        self.db.commit()

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM entries").fetchone()[0])

    def _enter(self, entry: int, signature: bytes) -> None:
        rows = [(band, entry) for band in self._bands(signature)]
        self.db.executemany("INSERT OR IGNORE INTO fresh VALUES (?, ?)", rows)

    def _merge(self, last: int) -> None:
        # No conflict can occur; to be able to undo one, a plain INSERT would keep every page it touches in memory.
        self.db.execute("INSERT OR IGNORE INTO bands SELECT band, entry FROM fresh ORDER BY band, entry")
        self.db.execute("DELETE FROM fresh")
        self.db.execute("UPDATE merged SET last = ?", (last,))
        self._merged = last

    def _signature(self, text: str) -> bytes:
        """`PERMUTATIONS` unsigned 32-bit integers; none for a text without words, which resembles nothing."""
        runs = [" ".join(run) for run in shingles(words(text), self._shingle)]
        if not runs:
            return b""
        sketch = self._minhash(PERMUTATIONS, _SEED)
        sketch.update(runs)
        return array("I", sketch.digest()).tobytes()

    def _bands(self, signature: bytes) -> list[int]:
        """48 bits of each band, its place included: what two texts share by chance is screened by the estimate."""
        size = 4 * self._rows
        starts = range(0, len(signature) - size + 1, size)
        slices = [b"%d:%b" % (start, signature[start : start + size]) for start in starts]
        return [int.from_bytes(hashlib.blake2b(each, digest_size=6).digest(), "little") for each in slices]


def shingles(tokens: Sequence[str], n: int) -> set[tuple[str, ...]]:
    """Every run of `n` tokens; of fewer tokens the one run there is, of none the empty set."""
    runs = {tuple(tokens[at : at + n]) for at in range(max(1, len(tokens) - n + 1))}
    return runs - {()}


def nearest_copy(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first of `candidates`, which come best first, if it is a near copy."""
    return candidates[0] if candidates and candidates[0][1] >= NEAR_COPY else None


def _opened(path: Path | None, version: int) -> sqlite3.Connection:
    """The index in `path`, made if it is not there; `version` stands for everything that signatures depend on."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path or "")  # "": a file without a name that goes with the connection
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if not found and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            db.executescript(
                f"PRAGMA journal_mode = WAL; BEGIN; {_INDEX} PRAGMA user_version = {version}; COMMIT"
            )
            found = version
        db.executescript(f"PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{_CACHE_KIB}")  # KiB
    except sqlite3.DatabaseError as error:
        db.close()
        raise DataError(f"{path} is no index of near copies: {error}") from None
    if found != version:
        db.close()
        raise DataError(f"{path} is an index of near copies of another form: build it anew")
    return db


def _agreement(one: array[int], other: array[int]) -> float:
    matches: int = sum(map(operator.eq, one, other))
    return matches / PERMUTATIONS
