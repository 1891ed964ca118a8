"""Longer than CI allows: `make soak`."""

import contextlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from advcore import contract
from advcore.testing.servers.ledger import content_hash
from sandbox import Sandbox


@pytest.mark.soak
def test_a_storm_of_kills_loses_no_committed_reply_and_ends_in_the_same_dataset(tmp_path, servers):
    teacher, student = servers
    config = tmp_path / "config.toml"
    config.write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\nconcurrency = 2\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\nconcurrency = 2\n'
        "[exercises]\ncount = 40\nsolutions = 2\n"
    )

    def command(out):
        return [sys.executable, "-m", "advgen", "build", str(config), "--out", str(tmp_path / out)]

    chance = random.Random(0)
    for _ in range(12):
        process = subprocess.Popen(command("stormy"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(2.0, 9.0))
        process.kill()
        process.wait()
    subprocess.run(command("stormy"), check=True, stdout=subprocess.DEVNULL)
    sent = [json.dumps([body["messages"], body["seed"]]) for body in teacher.requests]
    assert len(sent) - len(set(sent)) <= 12 * 2  # at most what was in flight at each kill
    subprocess.run(command("calm"), check=True, stdout=subprocess.DEVNULL)
    ids = [
        {row["exercise_id"]: row["tests"] for row in contract.read(tmp_path / out / "dataset", "raw")}
        for out in ("stormy", "calm")
    ]
    assert ids[0] == ids[1]


@pytest.mark.soak
def test_the_sandbox_stays_flat_over_a_hundred_thousand_runs():
    """Descriptors, processes and memory, of this process and of all in its slots."""

    def descendants(pid):
        children = [
            int(c) for p in Path(f"/proc/{pid}/task").glob("*/children") for c in p.read_text().split()
        ]
        return children + [each for child in children for each in descendants(child)]

    def state():
        pids = [os.getpid(), *descendants(os.getpid())]
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
        return len(os.listdir("/proc/self/fd")), len(pids), sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def batch(number):
        right = "def f(x):\n    return x + 1"
        for turn in range(500):
            distinct = f"assert f({number}) == {number + 1}\nassert f({turn}) == {turn + 1}"
            yield right, distinct
            yield right, "assert f(1) == 2\nassert f(2) == 3"
            yield right.replace("1", "2"), "assert f(1) == 2"
            yield "def f(x): raise ValueError(x)", distinct
            yield right, f"x = f({turn})\nassert x == {turn + 1}"

    with Sandbox(slots=2) as box:
        box.check_many(batch(0))
        before = state()
        for number in range(1, 41):
            reports = box.check_many(batch(number))
            assert [report.status for report in reports] == ["pass", "pass", "fail", "error", "pass"] * 500
            print(number * len(reports), *state(), flush=True)
        after = state()
    assert after[:2] == before[:2]
    assert after[2] < before[2] + (8 << 20)


def answer_command(api_base, prompts, out, *sets):
    command = [sys.executable, "-m", "advgen", "answer", str(prompts), "--model", "openai/m"]
    return [
        *command,
        "--api-base",
        api_base,
        "--out",
        str(out),
        *(word for each in sets for word in ("--set", each)),
    ]


@contextlib.contextmanager
def mock(*arguments):
    """The mock server as a process of its own; its API base."""
    command = [sys.executable, "-m", "advcore.testing.servers", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["api_base"]
        finally:
            process.terminate()


def numbered(path, count):
    path.write_text(
        "".join(json.dumps({"prompt": f"row-{n} {'x' * 200}", "id": n}) + "\n" for n in range(count))
    )
    return path


def killed(command, chance, least_s, most_s):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(chance.uniform(least_s, most_s))
    process.kill()
    process.wait()


@pytest.mark.soak
def test_twenty_kills_under_faults_lose_no_row_and_no_stored_reply_is_asked_for_again(tmp_path):
    prompts, log, chance = (
        numbered(tmp_path / "prompts.jsonl", 5000),
        tmp_path / "log.jsonl",
        random.Random(0),
    )
    faults = "error:0.01,reset:0.005,hang:0.002,truncated:0.01"
    sets = ["teacher.concurrency=64", "teacher.max_tokens=64", "teacher.timeout_s=5", "max_failure_share=1.0"]
    with mock("--profile", "lognormal:0.1,0.5", "--faults", faults, "--log", log) as api_base:
        command = answer_command(api_base, prompts, tmp_path / "run", *sets)
        for _ in range(20):
            killed(command, chance, 0.6, 1.9)
        for _ in range(5):
            done = subprocess.run(command, check=True, capture_output=True)
            if not json.loads(done.stdout)["failed"]:
                break
    rows = contract.read(tmp_path / "run" / "dataset", "gad")
    assert [row["id"] for row in rows] == list(range(5000))
    assert all(row["teacher_response"].startswith(f"row-{row['id']}") for row in rows)
    arrivals = defaultdict(list)
    for event in map(json.loads, log.read_text().splitlines()):
        if event["event"] == "arrived" and event.get("content"):
            arrivals[event["content"]].append(event["t"])
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "journal.sqlite")) as database:
        for key, payload, written in database.execute("SELECT key, payload, written FROM replies"):
            asked = {
                name: json.loads(payload)[name] for name in ("messages", "temperature", "top_p", "max_tokens")
            }
            times = arrivals[content_hash({"model": "m", "seed": int(key[:8], 16) >> 1, **asked})]
            assert times
            assert max(times) <= written + 0.005


@pytest.mark.soak
def test_the_cap_holds_at_256_in_flight_and_across_kills(tmp_path):
    prompts, chance = numbered(tmp_path / "prompts.jsonl", 1000), random.Random(0)
    sets = [
        "budget_usd=1.0",
        "teacher.usd_per_request=0.01",
        "teacher.concurrency=256",
        "teacher.max_tokens=64",
    ]
    for name, kills in (("calm", 0), ("stormy", 3)):
        with mock("--profile", "fixed:0.2", "--log", tmp_path / f"{name}.jsonl") as api_base:
            command = answer_command(api_base, prompts, tmp_path / name, *sets)
            for _ in range(kills):
                killed(command, chance, 0.5, 1.3)
            assert subprocess.run(command, capture_output=True).returncode == 1
        events = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        arrived = sum(event["event"] == "arrived" and bool(event.get("content")) for event in events)
        assert arrived <= 100
        assert arrived >= 95 or kills


@pytest.mark.soak
@pytest.mark.parametrize("header", ["--retry-after", "--no-retry-after"])
def test_an_allowance_of_fifty_a_second_is_used_and_not_overrun(tmp_path, header):
    prompts, log = numbered(tmp_path / "prompts.jsonl", 2000), tmp_path / "log.jsonl"
    limits = ["--requests-per-s", 50, "--burst", 10, header]
    with mock("--profile", "lognormal:0.2,1", *limits, "--log", log) as api_base:
        sets = ["teacher.concurrency=256", "teacher.max_tokens=64"]
        subprocess.run(
            answer_command(api_base, prompts, tmp_path / "run", *sets), check=True, capture_output=True
        )
    sent = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "sent"]
    first, last = sent[0]["t"] + 10, sent[-1]["t"] - 2
    late = [event["status"] for event in sent if first < event["t"] < last]
    assert late.count(429) <= 0.02 * len(late)
    assert late.count(200) >= 0.9 * 50 * (last - first)


@pytest.mark.soak
def test_a_hundred_thousand_rows_in_flat_memory_and_resumed_in_two_seconds(tmp_path):
    prompts = numbered(tmp_path / "prompts.jsonl", 100_000)
    with mock("--profile", "fixed:0.02") as api_base:
        command = answer_command(
            api_base, prompts, tmp_path / "run", "teacher.concurrency=512", "teacher.max_tokens=64"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run(command, check=True, capture_output=True)
        most_kb = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        again_s = time.monotonic() - started
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "advgen", "answer", "--help"], check=True, capture_output=True)
    start_up_s = time.monotonic() - started
    print(f"most resident {most_kb / 1024:.0f} MB, again {again_s:.2f} s, start-up {start_up_s:.2f} s")
    assert most_kb < 150 * 1024
    assert again_s < 2 + start_up_s
