"""Crash-safe store of every request and its reply, keyed by content, and the ledger of what they cost.

A reply is stored as it came, before anything parses it: another parser asks for nothing, another prompt only for its
own replies. Money is entered before a request goes out. What `put`, `reserve` or `release` returned for survives
kill -9; a power cut may take the last moments (SQLite in WAL mode, synchronous=NORMAL). Not for network file systems.

One thread writes, in one transaction, all that came within a few milliseconds, so that a thousand requests in flight
cost a few commits. Everything is called from the one thread of the event loop. No cap is set here: `budget` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from advcore import DataError
from advcore.runs import locked, make_folder, sha256_of

VERSION = 1
"""Of the tables' form; stands in `PRAGMA user_version`."""

GROUP_S = 0.002
"""How long the writer waits for company once there is something to write."""

# `id` is the order of writing. The ledger has a row for each bill and each open intent and is never pruned, since a
# reply that was dropped has still been paid for. Of the pages SQLite makes by default, each would hold one row of
# 2.7 KB and 1.4 KB of nothing.
TABLES = """
PRAGMA page_size = 16384;
BEGIN;
CREATE TABLE replies (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, purpose TEXT NOT NULL,
    payload TEXT NOT NULL, sample INTEGER NOT NULL, reply TEXT NOT NULL, written REAL NOT NULL);
CREATE TABLE ledger (id INTEGER PRIMARY KEY, key TEXT NOT NULL, usd REAL NOT NULL, open INTEGER NOT NULL,
    written REAL NOT NULL);
PRAGMA user_version = %d;
COMMIT"""
# Of provider batches. `keys` holds all that their results are stored with; once a batch has ended, its keys alone.
# Apart from the others, since journals of this version are older than it.
BATCHES = """
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY, provider TEXT NOT NULL, state TEXT NOT NULL,
    provider_id TEXT NOT NULL, keys TEXT NOT NULL, created REAL NOT NULL)"""
STORE = """
INSERT INTO replies (key, purpose, payload, sample, reply, written) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO NOTHING"""
ENTER = "INSERT OR REPLACE INTO ledger (id, key, usd, open, written) VALUES (?, ?, ?, ?, ?)"
STRIKE = "DELETE FROM ledger WHERE id = ?"
HELD = 2
"""`open` of an intent that waits for a batch: a process that was killed had sent nothing for it."""
STATS = """
SELECT purpose, json_extract(payload, '$.model') AS model, count(*) AS replies,
    sum(json_extract(reply, '$.prompt_tokens')) AS prompt_tokens,
    sum(json_extract(reply, '$.completion_tokens')) AS completion_tokens,
    total(json_extract(reply, '$.cost_usd')) AS cost_usd,
    sum(json_extract(reply, '$.finish_reason') = 'length') AS truncated,
    min(written) AS first_s, max(written) AS last_s
FROM replies GROUP BY 1, 2 ORDER BY 1, 2"""

Statement = tuple[str, tuple[Any, ...]]
Write = tuple[list[Statement], "asyncio.Future[str]"]
"""What one caller wants in one transaction, and the future that gets "" once it is, or what went wrong."""


def key(payload: dict[str, Any], sample: int) -> str:
    """The content key of one sample of one request: a hash of the exact payload and the sample's index."""
    return sha256_of({"payload": payload, "sample": sample})


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch: what its reply is stored with, and the open intent of its reservation, if it has one."""

    purpose: str
    payload: dict[str, Any]
    sample: int
    intent: int | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that were, or were about to be, handed to a provider together.

    `id` is our own; `provider_id` the provider's, "" until it is known. `provider` says whom it went to, in the
    caller's words. `created` is in Unix seconds.
    """

    id: str
    provider: str
    provider_id: str
    rows: dict[str, BatchRequest]
    created: float


class JournalReader:
    """A journal to be looked into, also while a run holds it; changes nothing.

    Raises DataError when the file is no journal of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.ExitStack() as opened:
            self._reader = opened.enter_context(_connected(path, "?mode=ro"))
            self._opened = opened.pop_all()

    def get(self, key: str) -> dict[str, Any] | None:
        """The reply stored under `key`, or None."""
        row = self._reader.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def keys(self) -> set[str]:
        """The keys of all replies."""
        return {key for (key,) in self._reader.execute("SELECT key FROM replies")}

    def stats(self) -> dict[str, Any]:
        """The file's size, the money, and totals of the replies by purpose and model; times in Unix seconds.

        `reserved_usd` is the part of `spent_usd` that is not billed yet: in flight, or left by a kill.
        """
        money = self._reader.execute(
            "SELECT total(usd), total(usd * (open > 0)), total(open > 0) FROM ledger"
        )
        spent, reserved, intents = money.fetchone()
        cursor = self._reader.execute(STATS)
        names = [column[0] for column in cursor.description]
        return {
            "file_bytes": self._file_bytes(), "spent_usd": spent, "reserved_usd": reserved,
            "open_intents": int(intents), "replies": [dict(zip(names, row, strict=True)) for row in cursor],
        }  # fmt: skip

    def export(self) -> Iterator[dict[str, Any]]:
        """Every reply in the order of writing, as of the moment the first is taken."""
        names = ("key", "purpose", "payload", "sample", "reply", "written")
        for row in self._reader.execute(f"SELECT {', '.join(names)} FROM replies ORDER BY id"):
            found = dict(zip(names, row, strict=True))
            yield found | {"payload": json.loads(found["payload"]), "reply": json.loads(found["reply"])}

    def _file_bytes(self) -> int:
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def __len__(self) -> int:
        return int(self._reader.execute("SELECT count(*) FROM replies").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Journal(JournalReader):
    """One SQLite file, the thread that writes it, and `path`.lock that keeps other writers out while it is open.

    Raises ConfigError when the file is in use, DataError when it is no journal of this version. Whatever writes raises
    sqlite3.OperationalError once the file could not be written: from then on nothing is.
    """

    spent_usd: float
    """Every bill, also for replies that were not kept, and all open intents, those of killed processes too."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._path, self._failure = path, ""
        self._taken: dict[str, str] = {}
        with contextlib.ExitStack() as opened:
            opened.enter_context(locked(path.with_name(f"{path.name}.lock"), path))
            self._writer = opened.enter_context(_connected(path))
            self._reader = opened.enter_context(_connected(path))
            self._open_ledger()
            self._opened = opened.pop_all()
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def _open_ledger(self) -> None:
        self._writer.execute("DELETE FROM ledger WHERE open = ?", (HELD,))
        totals = self._reader.execute("SELECT total(usd), ifnull(max(id), 0) FROM ledger")
        self.spent_usd, last = totals.fetchone()
        self._open: dict[int, float] = dict(self._reader.execute("SELECT id, usd FROM ledger WHERE open"))
        self._first = int(last) + 1
        self._ids = itertools.count(self._first)

    @property
    def orphaned_usd(self) -> float:
        """The part of `spent_usd` that earlier processes reserved and neither billed nor released."""
        return sum(usd for intent, usd in self._open.items() if intent < self._first)

    async def put(
        self, key: str, purpose: str, payload: dict[str, Any], sample: int, reply: dict[str, Any],
        intent: int | None = None,
    ) -> None:  # fmt: skip
        """Commit a reply, and its `cost_usd` in place of what `intent` reserved.

        A second reply under a key is billed but not stored: the first stays the truth. When the caller is cancelled
        while it waits, the reply is stored all the same.
        """
        await self._commit(self._kept(key, BatchRequest(purpose, payload, sample, intent), reply))

    def _kept(self, key: str, row: BatchRequest, reply: dict[str, Any]) -> list[Statement]:
        now, usd, intent = time.time(), max(0.0, float(reply.get("cost_usd", 0.0))), row.intent
        stored = (key, row.purpose, json.dumps(row.payload), row.sample, json.dumps(reply), now)
        statements: list[Statement] = [(STORE, stored)]
        if usd or intent is not None:
            entry = intent if intent in self._open else next(self._ids)
            statements.append((ENTER, (entry, key, usd, False, now)))
            self.spent_usd += usd - self._open.pop(entry, 0.0)
        return statements

    async def reserve(self, key: str, usd: float, *, held: bool = False) -> int:
        """Commit that a request which may cost `usd` is about to be sent; gives the intent for `put` or `release`.

        It is part of `spent_usd` from the call on, so a cap holds for whoever looks there and calls this without
        awaiting in between. An intent that is `held` is struck out when the file is opened the next time, unless
        `enter_batch` came first.
        """
        intent = next(self._ids)
        self._open[intent] = usd
        self.spent_usd += usd
        try:
            await self._commit([(ENTER, (intent, key, usd, HELD if held else 1, time.time()))])
        except asyncio.CancelledError:  # so nothing was sent
            self._enqueue([self._struck(intent)])
            raise
        return intent

    async def release(self, intent: int) -> None:
        """Strike out an intent whose request was certainly not billed. Raises KeyError when it is not open."""
        await self._commit([self._struck(intent)])

    async def enter_batch(self, batch: Batch) -> None:
        """Commit that a batch is about to be submitted, before it is."""
        self._taken[batch.id] = batch.provider
        rows = json.dumps({key: asdict(row) for key, row in batch.rows.items()})
        entry = (batch.id, batch.provider, "intent", "", rows, batch.created)
        intents = [row.intent for row in batch.rows.values() if row.intent is not None]
        held: list[Statement] = [("UPDATE ledger SET open = 1 WHERE id = ?", (intent,)) for intent in intents]
        await self._commit([*held, ("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", entry)])

    async def batch_submitted(self, batch: Batch, provider_id: str) -> None:
        """Commit by which name the provider knows it."""
        update = "UPDATE batches SET state = 'submitted', provider_id = ? WHERE id = ?"
        await self._commit([(update, (provider_id, batch.id))])

    async def end_batch(
        self, batch: Batch, replies: dict[str, dict[str, Any]], released: Iterable[str]
    ) -> None:
        """Commit the replies, the release of what was reserved for the rows `released`, and that the batch is over:
        all or nothing, so that no result is billed twice.
        """
        statements: list[Statement] = []
        for key, reply in replies.items():
            statements += self._kept(key, batch.rows[key], reply)
        statements += self._struck_rows(batch, released)
        over = "UPDATE batches SET state = 'ended', keys = ? WHERE id = ?"
        await self._commit([*statements, (over, (json.dumps(list(batch.rows)), batch.id))])

    async def forget_batch(self, batch: Batch) -> None:
        """Strike out a batch that the provider never took on, with all that was reserved for it."""
        gone = ("DELETE FROM batches WHERE id = ?", (batch.id,))
        await self._commit([*self._struck_rows(batch, batch.rows), gone])

    def take_batches(self, provider: str) -> list[Batch]:
        """Those of `provider` that have not ended and that nobody in this process has, oldest first."""
        query = "SELECT id, provider, provider_id, keys, created FROM batches WHERE provider = ? AND state != 'ended'"
        found = self._reader.execute(f"{query} ORDER BY created", (provider,)).fetchall()
        free = [row for row in found if row[0] not in self._taken]
        self._taken |= {name: provider for name, *_ in free}
        return [
            Batch(
                name,
                whose,
                known,
                {key: BatchRequest(**row) for key, row in json.loads(keys).items()},
                created,
            )
            for name, whose, known, keys, created in free
        ]

    def leave_batches(self, provider: str) -> None:
        """Whoever had them waits for those of `provider` no longer."""
        self._taken = {name: whose for name, whose in self._taken.items() if whose != provider}

    def batched_keys(self, provider: str) -> set[str]:
        """The keys in batches of `provider` that have not ended."""
        query = (
            "SELECT each.key FROM batches, json_each(keys) AS each WHERE provider = ? AND state != 'ended'"
        )
        return {key for (key,) in self._reader.execute(query, (provider,))}

    def batch_ids(self) -> set[str]:
        """The providers' names of all batches."""
        return {name for (name,) in self._reader.execute("SELECT provider_id FROM batches")}

    def _struck_rows(self, batch: Batch, keys: Iterable[str]) -> list[Statement]:
        intents = [intent for key in keys if (intent := batch.rows[key].intent) is not None]
        return [self._struck(intent) for intent in intents]

    def _struck(self, intent: int) -> Statement:
        self.spent_usd -= self._open.pop(intent)
        return STRIKE, (intent,)

    def vacuum(self, keep: set[str] | None = None) -> int:
        """Drop the replies whose key is not in `keep`, compact the file, give the bytes won. Bills stay."""
        before = self._file_bytes()
        with self._writing:
            gone = [] if keep is None else [(key,) for key in self.keys() - keep]
            with self._writer:
                self._writer.execute("BEGIN")
                self._writer.executemany("DELETE FROM replies WHERE key = ?", gone)
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - self._file_bytes()

    def close(self) -> None:
        """Write what is queued and close the file; a second time nothing."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._opened.close()
        failure, self._failure = self._failure, self._failure or f"{self._path}: the journal is closed"
        if failure:
            raise sqlite3.OperationalError(failure)

    def _enqueue(self, statements: list[Statement]) -> asyncio.Future[str]:
        if self._failure:
            raise sqlite3.OperationalError(self._failure)
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.put((statements, done))
        return done

    async def _commit(self, statements: list[Statement]) -> None:
        if failure := await self._enqueue(statements):
            raise sqlite3.OperationalError(failure)

    def _write_groups(self) -> None:
        """The writer's thread, until it takes None from the queue."""
        items: list[Write | None] = []
        while None not in items:
            items = [self._queue.get()]
            time.sleep(GROUP_S)
            items += [self._queue.get() for _ in range(self._queue.qsize())]
            group = [item for item in items if item is not None]
            if not self._failure:
                self._write(group)
            _wake([done for _, done in group], self._failure)

    def _write(self, group: list[Write]) -> None:
        """One transaction. If it fails, all writing ends: replies would be paid for and lost."""
        try:
            with self._writing, self._writer:  # commits, or rolls back
                self._writer.execute("BEGIN")
                for statements, _ in group:
                    for statement in statements:
                        self._writer.execute(*statement)
        except Exception as error:  # of any kind, or those who wait would wait for ever
            self._failure = f"{self._path}: {error}"


def _wake(futures: list[asyncio.Future[str]], failure: str) -> None:
    """Tell all who wait how it went, with one call into each event loop; there is hardly ever more than one."""
    for loop in {future.get_loop() for future in futures}:
        theirs = [future for future in futures if future.get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, theirs, failure)


def _resolve(futures: list[asyncio.Future[str]], failure: str) -> None:
    for future in futures:
        if not future.done():  # it is when its task was cancelled
            future.set_result(failure)


@contextlib.contextmanager
def _connected(path: Path, mode: str = "") -> Iterator[sqlite3.Connection]:
    """A connection that commits only when told to, to a journal of this version, made if there is none.

    `mode` is SQLite's, `?mode=ro` for one that makes and changes nothing.
    """
    # The threads keep apart by themselves: `_writing` guards the one connection that two of them use.
    uri = path.absolute().as_uri() + mode
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection) as database:
        try:
            if not mode and not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                database.executescript(TABLES % VERSION)
            version = database.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} cannot be opened as a journal: {error}") from None
        if version != VERSION:
            raise DataError(f"{path} has form {version}, this program reads {VERSION}; give another --out")
        if not mode:
            database.execute(BATCHES)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
        yield database
