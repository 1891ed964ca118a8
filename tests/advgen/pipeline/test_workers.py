"""Worker processes: each has its own state, none outlives the run, and one that dies costs a job and not the run."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from advcore import ConfigError
from advgen.pipeline import workers as module
from advgen.pipeline.workers import WorkerLost, Workers


class State:
    def __init__(self, word):
        self.word, self.jobs = word, 0


class Broken:
    def __init__(self):
        raise ConfigError("no state on this machine")


def greet(state, name):
    state.jobs += 1
    return f"{state.word} {name}", os.getpid(), state.jobs


def die(state):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(state, text):
    raise ConfigError(text)


def nap(state, seconds):
    time.sleep(seconds)


@pytest.fixture
def workers():
    with contextlib.closing(Workers(State, "hello")) as opened:
        yield opened


def run(*coroutines):
    async def together():
        return await asyncio.gather(*coroutines, return_exceptions=True)

    return asyncio.run(together())


def hang(state):
    module.JOB_S = 1  # in the worker
    module._run((State, ("hello",)), nap, (60,), {})


def test_a_job_that_hangs_dies_with_its_process_and_the_next_one_runs(workers):
    started = time.monotonic()
    (lost,) = run(workers.run(hang))
    assert isinstance(lost, WorkerLost)
    assert "took over 1800 s, twice" in str(lost)
    assert time.monotonic() - started < 40
    assert run(workers.run(greet, "you"))[0][0] == "hello you"


def test_a_process_keeps_its_state_from_job_to_job(workers):
    results = run(*(workers.run(greet, "you") for _ in range(20)))
    assert {text for text, _, _ in results} == {"hello you"}
    processes = {pid for _, pid, _ in results}
    assert os.getpid() not in processes
    assert sum(max(jobs for _, pid, jobs in results if pid == each) for each in processes) == 20


def test_what_a_job_raises_is_raised_and_what_starting_raises_too(workers):
    (raised,) = run(workers.run(fail, "the reason"))
    assert (type(raised), str(raised)) == (ConfigError, "the reason")
    with contextlib.closing(Workers(Broken)) as broken:
        (raised,) = run(broken.run(greet, "you"))
    assert str(raised) == "no state on this machine"


def test_a_job_that_kills_its_process_is_lost_and_later_ones_are_not(workers):
    (lost,) = run(workers.run(die))
    assert isinstance(lost, WorkerLost)
    assert run(workers.run(greet, "again"))[0][0] == "hello again"


def test_the_time_spent_in_jobs_is_summed_up(workers):
    run(workers.run(nap, 0.2), workers.run(nap, 0.2))
    assert 0.4 <= workers.busy_s < 1.5


def test_a_killed_run_leaves_no_process_behind(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, sys\nfrom advgen.pipeline.workers import Workers\n"
        "def pid(state):\n    import os\n    return os.getpid()\n"
        "def wait(state):\n    import time\n    time.sleep(60)\n"
        "async def main():\n    workers = Workers(dict)\n    print(await workers.run(pid), flush=True)\n"
        "    await workers.run(wait)\n"
        "if __name__ == '__main__':\n    asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    worker = int(process.stdout.readline())
    assert os.path.exists(f"/proc/{worker}")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while _alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(pid):
    """A zombie that nobody has reaped yet is dead."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
