"""Longer than CI allows: `make soak`."""

import json
import os
import random
import subprocess
import sys
import time

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
def test_the_sandbox_stays_flat_over_twenty_thousand_runs():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    with Sandbox(slots=2) as box:
        run = [("def f(x):\n    return x + 1", "assert f(1) == 2\nassert f(2) == 3")] * 500
        box.check_many(run)
        before = descriptors()
        for _ in range(40):
            assert all(report.passed for report in box.check_many(run))
        assert descriptors() == before
