"""The journal: nothing that was acknowledged is lost, no cap is passed, and no failure goes unheard."""

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc

import pytest

from advcore import ConfigError, DataError
from advcore.ask import Journal, JournalReader
from advcore.ask.journal import key
from advcore.runs import sha256_of

PAYLOAD = {"model": "openai/x", "messages": [{"role": "user", "content": "say é \ud800 \0 'x'"}]}
REPLY = {"text": "x", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 5, "cost_usd": 0.0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "journal.sqlite"


def put(journal, *names, purpose="solve", payload=PAYLOAD, intent=None, **reply):
    """A coroutine that puts one reply under each of `names`, all at once."""

    async def all_of_them():
        puts = [journal.put(name, purpose, payload, 0, REPLY | reply, intent) for name in names]
        await asyncio.gather(*puts)

    return all_of_them()


def started(code, path):
    """A child process that runs `code` with `path` and `journal` at hand."""
    setup = f"import asyncio, os\nfrom pathlib import Path\nfrom advcore.ask import Journal\npath = {str(path)!r}\n"
    code = f"{setup}journal = Journal(Path(path))\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def killed(child):
    """kill -9, and what it had printed."""
    child.kill()
    return child.communicate()[0]


def test_a_reply_comes_back_as_it_was_and_the_first_one_stays(path):
    with Journal(path) as journal:
        asyncio.run(put(journal, "a", text="first \ud800 \0 é"))
        asyncio.run(put(journal, "a", text="second"))
        assert journal.get("a") == REPLY | {"text": "first \ud800 \0 é"}
        assert journal.get("b") is None
    with Journal(path) as journal:
        assert journal.get("a")["text"] == "first \ud800 \0 é"
        assert (journal.keys(), len(journal)) == ({"a"}, 1)


def test_the_key_is_the_content_of_the_request_and_the_sample():
    assert (
        key({"a": 1, "b": [2]}, 0)
        == key({"b": [2], "a": 1}, 0)
        == sha256_of({"payload": {"a": 1, "b": [2]}, "sample": 0})
    )
    assert len({key(PAYLOAD, 0), key(PAYLOAD, 1), key(PAYLOAD | {"model": "y"}, 0)}) == 3


def test_the_file_holds_what_was_given_and_nothing_else(path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with Journal(path) as journal:
        asyncio.run(put(journal, "a", cost_usd=0.5))
    database = sqlite3.connect(path)
    (reply,) = database.execute("SELECT key, purpose, payload, sample, reply FROM replies")
    (bill,) = database.execute("SELECT key, usd, open FROM ledger")
    tables = {
        name: [column[1] for column in database.execute(f"PRAGMA table_info({name})")]
        for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    database.close()
    assert reply == ("a", "solve", json.dumps(PAYLOAD), 0, json.dumps(REPLY | {"cost_usd": 0.5}))
    assert bill == ("a", 0.5, 0)
    assert tables == {
        "replies": ["id", "key", "purpose", "payload", "sample", "reply", "written"],
        "ledger": ["id", "key", "usd", "open", "written"],
        "batches": ["id", "provider", "state", "provider_id", "keys", "created"],
    }
    assert b"secret" not in path.read_bytes()


PUTTING = """
async def puts(task):
    for number in range(10**9):
        name = f"{task}-{number}"
        await journal.put(name, "solve", {"prompt": "x" * 2000}, 0, {"text": name})
        os.write(1, (name + "\\n").encode())

async def main():
    await asyncio.gather(*map(puts, range(64)))

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", range(6))
def test_kill_9_in_the_middle_of_puts_loses_nothing_that_was_acknowledged(path, moment):
    child = started(PUTTING, path)
    first = child.stdout.readline()
    time.sleep(random.uniform(0, 0.3))
    acknowledged = set((first + killed(child)).decode().splitlines())
    assert child.returncode == -signal.SIGKILL
    assert len(acknowledged) >= 1
    with Journal(path) as journal:
        assert acknowledged <= journal.keys()
        assert all(row["reply"] == {"text": row["key"]} for row in journal.export())


SPENDING = """
wire = os.open(path + ".wire", os.O_APPEND | os.O_CREAT | os.O_WRONLY)

async def requests(task):
    while journal.spent_usd + 1 <= 3000:
        intent = await journal.reserve("k", 1.0)
        os.write(wire, b".")
        await asyncio.sleep(0.001 * task % 5)
        if intent % 3 == 0:
            await journal.put(f"k{intent}", "solve", {}, 0, {"cost_usd": 1.0}, intent)

async def main():
    os.write(1, b"ready\\n")
    await asyncio.gather(*map(requests, range(64)))

asyncio.run(main())
"""


def test_no_kill_9_leads_past_a_cap_that_is_looked_at_before_each_reserve(path):
    for kills_left in reversed(range(9)):
        child = started(SPENDING, path)
        child.stdout.readline()
        if kills_left:
            time.sleep(random.uniform(0, 0.1))
            killed(child)
        else:
            child.communicate()
        sent = os.path.getsize(f"{path}.wire")
        with Journal(path) as journal:
            assert sent <= journal.spent_usd <= 3000
    assert (child.returncode, journal.spent_usd) == (0, 3000)
    assert sent >= 3000 - 8 * 64  # a kill wastes what was being committed, not more


def test_what_a_killed_process_had_reserved_counts_as_spent_and_as_orphaned(path):
    code = """
async def main():
    billed, released, unknown = [await journal.reserve("k", 0.5) for _ in range(3)]
    await journal.put("k", "solve", {}, 0, {"cost_usd": 0.125}, billed)
    await journal.release(released)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    child = started(code, path)
    assert child.stdout.readline() == b"ready\n"
    killed(child)
    with Journal(path) as journal:
        assert (journal.spent_usd, journal.orphaned_usd) == (0.625, 0.5)
        asyncio.run(journal.reserve("k", 1.0))
        assert (journal.spent_usd, journal.orphaned_usd) == (1.625, 0.5)
        assert journal.stats()["open_intents"] == 2
    with Journal(path) as journal:
        assert (journal.spent_usd, journal.orphaned_usd) == (1.625, 1.5)


def test_a_release_gives_back_and_a_put_takes_the_place_of_its_reserve(path):
    async def main(journal):
        one, two = await journal.reserve("a", 1.0), await journal.reserve("b", 2.0)
        assert journal.spent_usd == 3.0
        await journal.release(one)
        assert journal.spent_usd == 2.0
        await put(journal, "b", cost_usd=0.25, intent=two)
        assert journal.spent_usd == 0.25
        await put(journal, "c", cost_usd=0.5)
        await put(journal, "c", cost_usd=0.5)  # not stored, but billed
        assert journal.spent_usd == 1.25
        for closed in (one, two):
            with pytest.raises(KeyError):
                await journal.release(closed)

    with Journal(path) as journal:
        asyncio.run(main(journal))
    with Journal(path) as journal:
        assert (journal.spent_usd, journal.orphaned_usd) == (1.25, 0.0)


def test_a_reply_and_its_bill_are_one_transaction(path):
    async def main(journal):
        intent = await journal.reserve("a", 1.0)
        statements = []
        journal._writer.set_trace_callback(statements.append)
        await put(journal, "a", cost_usd=0.25, intent=intent)
        assert [each.split()[0] for each in statements] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]

    with Journal(path) as journal:
        asyncio.run(main(journal))


def test_a_reserve_counts_before_it_is_committed(path):
    async def main(journal):
        async def request():
            if journal.spent_usd + 1 <= 3:
                await journal.reserve("k", 1.0)

        await asyncio.gather(*(request() for _ in range(10)))

    with Journal(path) as journal:
        asyncio.run(main(journal))
        assert journal.spent_usd == 3


def test_a_cancelled_reserve_costs_nothing_and_a_cancelled_put_is_stored(path):
    async def main(journal):
        tasks = [
            asyncio.create_task(journal.reserve("k", 1.0)),
            asyncio.create_task(put(journal, "a", cost_usd=0.5)),
        ]
        await asyncio.sleep(0)  # the reserve waits for its commit
        await asyncio.sleep(0)  # and so does the put
        assert journal.spent_usd == 1.5
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    journal = Journal(path)
    with journal._writing:  # the writer gets to it only when the event loop is gone
        asyncio.run(main(journal))
    assert journal.spent_usd == 0.5
    asyncio.run(asyncio.wait_for(put(journal, "b"), timeout=10))  # the next one is served
    journal.close()
    with Journal(path) as journal:
        assert (journal.spent_usd, journal.keys()) == (0.5, {"a", "b"})


def test_closing_writes_what_is_still_queued(path):
    async def main(journal):
        task = asyncio.create_task(put(journal, "a"))
        while not (journal._queue.qsize() or journal.keys()):
            await asyncio.sleep(0)
        journal.close()
        await asyncio.wait_for(task, timeout=10)

    asyncio.run(main(Journal(path)))
    with Journal(path) as journal:
        assert journal.keys() == {"a"}


def test_a_cancelled_caller_does_not_leave_the_others_of_its_group_waiting(path):
    async def main(journal):
        tasks = [asyncio.create_task(put(journal, name)) for name in "ab"]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait_for(tasks[1], timeout=10)

    with Journal(path) as journal:
        asyncio.run(main(journal))
        assert journal.keys() == {"a", "b"}


def test_a_second_writer_is_refused_in_one_line_until_the_first_ends(path):
    refusal = f"^{re.escape(str(path))} is in use[^\n]*$"
    with Journal(path), pytest.raises(ConfigError, match=refusal):
        Journal(path)
    child = started("print('open', flush=True)\ninput()", path)
    child.stdout.readline()
    with pytest.raises(ConfigError, match=refusal):
        Journal(path)
    killed(child)
    Journal(path).close()


def test_a_file_that_is_no_journal_of_this_version_is_refused_in_one_line_and_left_alone(path):
    Journal(path).close()
    later, before, other = (path.with_name(name) for name in ("later", "before", "other"))
    later.write_bytes(path.read_bytes())
    for file, statement in ((later, "PRAGMA user_version = 99"), (before, "CREATE TABLE replies (key)")):
        database = sqlite3.connect(file)
        database.execute(statement)
        database.close()
    other.write_text("no database, but as long as the header of one: " + "x" * 100)
    for file, form in ((later, "form 99"), (before, "form 0"), (other, "not a database")):
        was = file.read_bytes()
        for _ in range(2):  # a refusal keeps no lock
            with pytest.raises(DataError, match=f"^{re.escape(str(file))} [^\n]*{form}[^\n]*$"):
                Journal(file)
        assert file.read_bytes() == was


def test_a_full_disk_is_told_to_every_waiter_and_every_later_caller(path):
    journal = Journal(path)
    asyncio.run(put(journal, "before"))
    pages = journal._writer.execute("PRAGMA page_count").fetchone()[0]
    journal._writer.execute(f"PRAGMA max_page_count = {pages}")

    async def main():
        puts = [put(journal, f"{number}", text="x" * 50_000) for number in range(100)]
        reserves = [journal.reserve("k", 1.0) for _ in range(100)]
        told = await asyncio.gather(*puts, *reserves, return_exceptions=True)
        assert {(type(each), str(each)) for each in told} == {
            (sqlite3.OperationalError, f"{path}: database or disk is full")
        }
        for later in (put(journal, "later"), journal.reserve("k", 1.0)):
            with pytest.raises(sqlite3.OperationalError, match="full"):
                await later

    asyncio.run(main())
    assert journal.get("before")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.close()
    journal.close()
    with Journal(path) as journal:
        assert journal.keys() == {"before"}  # all of a transaction or nothing


def test_an_error_that_is_not_the_databases_reaches_the_caller_too(path):
    journal = Journal(path)
    with pytest.raises(sqlite3.OperationalError, match="too large"):
        asyncio.run(asyncio.wait_for(journal.put("a", "solve", {}, 2**70, {}), timeout=10))
    with pytest.raises(sqlite3.OperationalError, match="too large"):
        journal.close()


def test_a_reply_that_breaks_the_tables_rules_is_not_dropped_in_silence(path):
    journal = Journal(path)
    with pytest.raises(sqlite3.OperationalError, match="purpose"):
        asyncio.run(put(journal, "a", purpose=None))
    with pytest.raises(sqlite3.OperationalError, match="purpose"):
        journal.close()


def test_a_reply_that_is_no_json_fails_its_own_caller_only(path):
    with Journal(path) as journal:
        with pytest.raises(TypeError):
            asyncio.run(put(journal, "a", text=object()))
        asyncio.run(put(journal, "b"))
        assert journal.keys() == {"b"}


def test_ten_thousand_puts_at_once_share_a_few_transactions(path):
    with Journal(path) as journal:
        begun = []
        journal._writer.set_trace_callback(lambda sql: begun.append(sql) if sql == "BEGIN" else None)
        asyncio.run(put(journal, *map(str, range(10_000))))
        assert len(journal) == 10_000
        assert 1 <= len(begun) <= 200


def test_stats_sum_up_by_purpose_and_model(path):
    other = PAYLOAD | {"model": "openai/y"}
    before = time.time()
    with Journal(path) as journal:
        asyncio.run(put(journal, "a", "b", cost_usd=0.25))
        asyncio.run(put(journal, "c", finish_reason="length"))
        asyncio.run(put(journal, "d", payload=other))
        asyncio.run(journal.reserve("e", 2.0))
        stats = journal.stats()
        assert stats["file_bytes"] >= path.stat().st_size
    first, second = stats.pop("replies")
    assert (
        before <= first.pop("first_s") <= first.pop("last_s") <= second.pop("first_s") == second.pop("last_s")
    )
    assert first == {
        "purpose": "solve", "model": "openai/x", "replies": 3, "prompt_tokens": 9, "completion_tokens": 15,
        "cost_usd": 0.5, "truncated": 1,
    }  # fmt: skip
    assert (second["model"], second["replies"], second["truncated"]) == ("openai/y", 1, 0)
    assert stats.pop("file_bytes") > 0
    assert stats == {"spent_usd": 2.5, "reserved_usd": 2.0, "open_intents": 1}


def test_export_gives_every_reply_in_the_order_of_writing_without_holding_all(path):
    with Journal(path) as journal:
        names = [str(number) for number in random.sample(range(10_000), 2000)]
        asyncio.run(put(journal, *names, text="x" * 5000))
        tracemalloc.start()
        rows = journal.export()
        assert next(rows) | {"written": 0} == {
            "key": names[0], "purpose": "solve", "payload": PAYLOAD, "sample": 0,
            "reply": REPLY | {"text": "x" * 5000}, "written": 0,
        }  # fmt: skip
        assert [row["key"] for row in rows] == names[1:]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_a_negative_cost_gives_no_money_back(path):
    with Journal(path) as journal:
        asyncio.run(put(journal, "a", cost_usd=-5.0))
        assert journal.spent_usd == 0.0


def test_a_reader_sees_what_is_committed_while_a_writer_holds_the_file(path):
    with Journal(path) as journal, JournalReader(path) as reader:
        asyncio.run(put(journal, "a", cost_usd=0.5))
        assert (len(reader), reader.keys(), reader.get("a")["cost_usd"]) == (1, {"a"}, 0.5)
        asyncio.run(put(journal, "b", cost_usd=0.5))
        assert [row["key"] for row in reader.export()] == ["a", "b"]
        assert reader.stats()["spent_usd"] == 1.0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._reader.execute("DELETE FROM replies")


def test_vacuum_drops_what_is_not_kept_but_no_bill(path):
    with Journal(path) as journal:
        asyncio.run(put(journal, *map(str, range(1000)), text="x" * 5000, cost_usd=0.25))
        assert journal.vacuum() >= 0
        assert len(journal) == 1000
        size = path.stat().st_size
        assert 4_000_000 < journal.vacuum({"1", "2", "unknown"}) < size
        assert path.stat().st_size < 200_000
        asyncio.run(put(journal, "new"))
        assert [row["key"] for row in journal.export()] == ["1", "2", "new"]
        assert journal.spent_usd == 250
    with Journal(path) as journal:
        assert (journal.keys(), journal.spent_usd) == ({"1", "2", "new"}, 250)


def test_a_closed_journal_says_so(path):
    journal = Journal(path)
    journal.close()
    journal.close()
    with pytest.raises(sqlite3.OperationalError, match="closed"):
        asyncio.run(put(journal, "a"))
