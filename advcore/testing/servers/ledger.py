"""What a mock server was asked and what it sent: counters, and a JSONL log for those who look from outside.

Log lines: `arrived` (method, path, `content` for a model call), `sent` (status), `lost` (why the answer did not get
out); each with `id` and `t` (Unix seconds). A batch's rows have lines of their own, with the id BATCH:CUSTOM_ID.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

_DELIVERY = {"stream", "stream_options", "user", "metadata", "store", "service_tier"}


class Ledger:
    """Counters of requests from arrival to the last byte. Every line is one unbuffered write: a kill loses none."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = open(path, "ab", buffering=0) if path else None  # noqa: SIM115
        self._by_status: Counter[int] = Counter()
        self._recent: deque[float] = deque()
        self._in_flight = self._peak = self._lost = self._rows = 0

    def arrived(self, name: str, method: str, path: str, body: dict[str, Any] | None) -> None:
        """A request is here; `body` if it is a model call."""
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        if self._file:
            self._line("arrived", name, method=method, path=path, content=body and content_hash(body))

    def sent(self, name: str, status: int) -> None:
        """Its answer was handed to the kernel, whole."""
        self._in_flight -= 1
        self._by_status[status] += 1
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] < now - 1:
            self._recent.popleft()
        self._line("sent", name, status=status)

    def lost(self, name: str, why: str) -> None:
        """Its answer did not get out."""
        self._in_flight -= 1
        self._lost += 1
        self._line("lost", name, why=why)

    def row_arrived(self, name: str, body: dict[str, Any]) -> None:
        """A row of a batch that was taken on."""
        self._rows += 1
        if self._file:
            self._line("arrived", name, content=content_hash(body))

    def row_done(self, name: str, status: int) -> None:
        """The row has its result; status 0 for one that timed out."""
        self._line("sent", name, status=status)

    def stats(self) -> dict[str, Any]:
        """Answers sent, by status, requests in flight and at most so far, answers in the last second, lost, rows."""
        now = time.monotonic()
        return {
            "served": sum(self._by_status.values()),
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "in_flight": self._in_flight,
            "peak_in_flight": self._peak,
            "requests_per_s": sum(at >= now - 1 for at in list(self._recent)),
            "lost": self._lost,
            "batch_rows": self._rows,
        }

    def close(self) -> None:
        """Close the log."""
        if self._file:
            self._file.close()

    def _line(self, event: str, name: str, **values: object) -> None:
        if self._file:
            line = {"event": event, "id": name, "t": time.time(), **values}
            self._file.write(json.dumps(line).encode() + b"\n")


def content_hash(body: dict[str, Any]) -> str:
    """Hex digest of all of a model call that may change its reply: not how it is delivered, nor for whom."""
    asked = {name: value for name, value in body.items() if name not in _DELIVERY}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
