"""Crash-safe store of every request and its reply, keyed by content, so that no committed reply is asked for twice.

The key hashes the exact payload (model and its identity, messages, sampling) and the sample index. A reply is stored as
it came, before anything parses it: another parser asks for nothing, another prompt only for its own replies.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from advcore.runs import sha256_of


def key(payload: dict[str, Any], sample: int) -> str:
    """The content key of one sample of one request."""
    return sha256_of({"payload": payload, "sample": sample})


class Journal:
    """One SQLite file in WAL mode with one writer; a reply is committed before `put` returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(
            "PRAGMA synchronous=NORMAL"
        )  # WAL: a killed process loses nothing that was committed
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS replies"
            " (key TEXT PRIMARY KEY, purpose TEXT, payload TEXT, sample INT, reply TEXT, written REAL)"
        )

    def get(self, key: str) -> dict[str, Any] | None:
        """The reply stored under `key`, or None."""
        row = self._database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(
        self, key: str, purpose: str, payload: dict[str, Any], sample: int, reply: dict[str, Any]
    ) -> None:
        """Store a reply; a second one under the same key is ignored, so that the first stays the truth."""
        row = (key, purpose, json.dumps(payload), sample, json.dumps(reply), time.time())
        self._database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM replies").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()
