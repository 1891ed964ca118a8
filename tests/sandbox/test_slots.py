"""Slots under violence: nothing is lost, nothing is left, and threads share them safely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxUnavailable
from sandbox.box import Slot

SLEEPY = "import time\ndef f(x):\n    time.sleep(0.5)\n    return x\n"


def children_of(pid: int | None) -> list[int]:
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]


def wait_until(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("victim", ["launcher", "zygote", "solution", "clerk"])
def test_killing_a_slot_during_a_run_loses_no_verdict(victim: str) -> None:
    with Sandbox(slots=1) as box, ThreadPoolExecutor() as pool:
        running = pool.submit(box.check, SLEEPY, "assert f(1) == 1")
        launcher = box._slots[0].pid
        assert launcher
        (zygote,) = children_of(launcher)
        assert wait_until(lambda: len(children_of(zygote)) == 2)
        clerk, solution = sorted(children_of(zygote))
        os.kill(
            {"launcher": launcher, "zygote": zygote, "clerk": clerk, "solution": solution}[victim],
            signal.SIGKILL,
        )
        report = running.result()
        assert report.status == ("crash" if victim == "solution" else "pass"), report
        assert box.check(SLEEPY, "assert f(1) == 1").passed
        assert (box._slots[0].pid == launcher) is (victim == "solution")


def restarted(slot: Slot, killed: int) -> bool:
    return slot.pid not in (None, killed) and slot._runs > 0


def test_a_storm_of_kills_loses_no_verdict() -> None:
    with Sandbox(slots=2) as box, ThreadPoolExecutor() as pool:
        program = SLEEPY.replace("0.5", "0.05")
        runs = pool.submit(box.check_many, [(program, "assert f(1) == 1")] * 40)
        for turn in range(6):
            time.sleep(0.3)
            slot = box._slots[turn % 2]
            if killed := slot.pid:
                os.kill(killed, signal.SIGKILL)
                # the run that was struck comes through first: on a busy machine the next kill would strike it again
                wait_until(lambda slot=slot, killed=killed: restarted(slot, killed) or runs.done(), 60)
        assert [report.status for report in runs.result()] == ["pass"] * 40


def test_closing_ends_every_process() -> None:
    box = Sandbox(slots=2)
    box.check_many([(SLEEPY, "assert f(1) == 1")] * 2)
    pids = [slot.pid for slot in box._slots]
    pids += [child for pid in list(pids) for child in children_of(pid)]
    assert len(pids) == 4
    box.close()
    assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    with pytest.raises(RuntimeError, match="closed"):
        box.check("", "")


def test_killing_the_supervisor_leaves_nothing() -> None:
    script = (
        "import sys, threading; from sandbox import Sandbox; box = Sandbox(slots=1);"
        "print(box._slots[0].pid, flush=True);"
        f"box.check({SLEEPY.replace('0.5', '3')!r}, 'assert f(1) == 1')"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    launcher = int(child.stdout.readline())
    assert wait_until(lambda: any(len(children_of(zygote)) == 2 for zygote in children_of(launcher)))
    (zygote,) = children_of(launcher)
    pids = [launcher, zygote, *children_of(zygote)]
    child.kill()
    child.wait()
    child.stdout.close()
    assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_many_threads_share_few_slots() -> None:
    with Sandbox(slots=2) as box, ThreadPoolExecutor(16) as pool:
        programs = [f"def f(): return {n}" for n in range(64)]
        reports = pool.map(lambda n: box.check(programs[n], f"assert f() == {n}"), range(64))
        assert all(report.passed for report in reports)


def test_a_slot_started_by_a_thread_that_ended_goes_on() -> None:
    with Sandbox(slots=1) as box:
        box._slots[0].kill()
        thread = threading.Thread(target=box.check, args=(SLEEPY, "assert f(1) == 1"))
        thread.start()
        thread.join()
        launcher = box._slots[0].pid
        assert box.check(SLEEPY, "assert f(1) == 1").passed
        assert box._slots[0].pid == launcher


def test_runs_do_not_see_each_other() -> None:
    with Sandbox(slots=1) as box:
        marking = "import builtins, sys\nbuiltins.mark = 1\nsys.modules['mark'] = sys\ndef f(): return 1"
        assert box.check(marking, "assert f() == 1").passed
        looking = "import builtins, sys\ndef f(): return hasattr(builtins, 'mark') or 'mark' in sys.modules"
        assert box.check(looking, "assert f() is False").passed


def test_descriptors_and_memory_stay_flat_over_many_runs() -> None:
    with Sandbox(slots=1, limits=Limits(wall_s=1.0)) as box:
        for _ in range(30):
            box.check("def f(): return 1", "assert f() == 1")
        zygote = children_of(box._slots[0].pid)[0]
        before = len(os.listdir("/proc/self/fd")), _resident(zygote)
        for _ in range(200):
            box.check("def f(): return 1", "assert f() == 1")
        after = len(os.listdir("/proc/self/fd")), _resident(zygote)
    assert after[0] == before[0]
    assert after[1] < before[1] + (1 << 20)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slot_is_replaced_after_its_share_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.box._RUNS_PER_SLOT", 5)
    with Sandbox(slots=1) as box:
        pids = [
            box._slots[0].pid for _ in range(12) if box.check("def f(): return 1", "assert f() == 1").passed
        ]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [5, 5, 2]


def test_a_zygote_that_falls_silent_is_given_up_and_the_run_is_done_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sandbox.box._WATCHDOG_S", 0.2)
    with Sandbox(slots=1, limits=Limits(wall_s=1.0)) as box:
        launcher = box._slots[0].pid
        (zygote,) = children_of(launcher)
        os.kill(zygote, signal.SIGSTOP)
        started = time.monotonic()
        assert box.check("def f(): return 1", "assert f() == 1").passed
        assert 1.2 <= time.monotonic() - started < 5
        assert box._slots[0].pid != launcher


def test_closing_during_runs_ends_them_and_starts_nothing_anew() -> None:
    box = Sandbox(slots=2)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(box.check, SLEEPY, "assert f(1) == 1") for _ in range(2)]
        time.sleep(0.2)
        box.close()
        assert [run.result().status for run in runs] == ["sandbox_error"] * 2
    assert [slot.pid for slot in box._slots] == [None, None]


def test_an_interrupted_check_does_not_hand_its_verdict_to_the_next() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Sandbox(slots=1) as box:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                box.check(SLEEPY, "assert f(1) == 1")
            assert box.check("def f(x): return 0", "assert f(1) == 1").status == "fail"
            assert box.check("def f(x): return x", "assert f(1) == 1").status == "pass"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_there_is_nowhere_to_write_unless_asked_and_then_it_is_emptied() -> None:
    leaving = (
        "import os\ndef f(x):\n    seen = os.listdir('.')\n    open('left', 'w').write(x)\n    return seen"
    )
    with Sandbox(slots=1) as box:
        report = box.check(leaving, "assert f('a') == []")
        assert report.error is not None
        assert (report.status, report.error.type) == ("error", "PermissionError")
    with Sandbox(slots=1, limits=Limits(scratch_bytes=1 << 20)) as box:
        launcher = box._slots[0].pid
        assert [box.check(leaving, "assert f('a') == []").status for _ in range(3)] == ["pass"] * 3
        assert box._slots[0].pid == launcher
        assert box.check(leaving, f"assert f('a' * {1 << 21}) == []").status == "error"
        writes = "def f(x): open('answers', 'w').write(x)"
        assert [out.status for out in box.call(writes, "f", [("a",)])] == ["ok"]
        assert box.call("import os\ndef f(): return os.listdir('.')", "f", [()])[0].value == []
        nested = "import os\ndef f(x):\n    os.makedirs('a/b/c')\n    return os.listdir('.')"
        assert [box.check(nested, "assert f(1) == ['a']").status for _ in range(2)] == ["pass"] * 2


def test_scratch_without_a_mount_namespace_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="mount namespace"):
        Sandbox(slots=1, limits=Limits(scratch_bytes=1 << 20), without=["mount"])


def test_an_installed_package_can_be_preloaded() -> None:
    program = "import pytest\ndef f(): return pytest.__name__"
    with Sandbox(slots=1, preload=["pytest"]) as box:
        assert box.check(program, "assert f() == 'pytest'").passed
    with Sandbox(slots=1) as box:
        report = box.check(program, "assert f() == 'pytest'")
    assert report.status == "error"
    assert report.error is not None
    assert "No module named 'pytest'" in report.error.message
