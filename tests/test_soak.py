"""Longer than CI allows: `make soak`."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advcore import contract
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
