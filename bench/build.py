"""How busy a build keeps its models and its sandbox, and what memory it takes: `python bench/build.py`.

Teacher and student are scripted models, each in a mock server (`python -m advcore.testing.servers`) that takes a fixed
latency; between them `advgen build` runs as its user runs it: journal, worker processes, sandbox, dataset. Nothing is
left out of an exercise: statement, solutions, calls and asserts of the teacher, verification, attempts of the student.
How many sandbox runs that costs is counted on one exercise before the build starts.

Utilisation of a model is the time-weighted mean of the requests that its server has in its hands over those allowed,
from the server's own log, in the steady part: a window of exercises is open at a time, so that begins when the first
window's exercises have all made room for others (the reply to statement number 2 x window) and ends with the reply to
the last statement; its length is told. That of the sandbox is the busy time of the worker processes over the time there
was (`cost.json`, start and end included). CPU is user + system time in the steady part, in ms an exercise: of the main
process, of its workers, of all processes in their slots, of the mocks. `needs s` is the latency below which these cores
cannot keep the teacher busy, however they are used: in flight x CPU an exercise / cores / requests an exercise.
`cut or restored` counts the limiter's moves because it took replies for slow ones: here all are as fast.

`--memory KIND` shows peak resident memory at `--rows` 10,000 and 100,000: of the main process until the last exercise
has ended (asking) and until the dataset is audited (all), and of its largest worker. KIND is `kept`: the whole path,
with the cheapest exercises there are and without latency; `unreadable`: statements that are none, which leaves the main
process's part of asking; `recorded`: the finished rows of a small build under new names and in new words, which leaves
the novelty gate, the dataset and its audit. So every part sees 100,000 rows without 1.3 million sandbox runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[1])
CALLS, ASSERTS = 7, 2
WINDOWS = 6  # of exercises, in a build of the default size: two of ramp, four that are measured
TICKS_S = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.5
TAB = "\t"
KEY_WORD = re.compile(r"\b[0-9a-f]{8}\b")  # of a scripted statement
KINDS = ("kept", "unreadable", "recorded")


class Shape(NamedTuple):
    """What an exercise asks for, and how hard."""

    solutions: int
    attempts: int
    mutants: int
    in_flight: int = 64
    asserts: int = ASSERTS

    @property
    def window(self) -> int:
        """Exercises that are open at a time."""
        return 2 * (self.in_flight + self.in_flight)

    def config(self, teacher: str, student: str, exercises: int) -> str:
        """The TOML of a build. The gate asks for nothing that so few mutants cannot show."""
        models = "".join(
            f'[{role}]\nmodel = "openai/{role}"\napi_base = "{api_base}"\nconcurrency = {self.in_flight}\n'
            for role, api_base in (("teacher", teacher), ("student", student))
        )
        return models + (
            f"[exercises]\ncount = {exercises}\nsolutions = {self.solutions}\ncalls = {CALLS}\n"
            f"asserts = {self.asserts}\n[attempts]\ncount = {self.attempts}\n"
            f"[gate]\nmax_mutants = {self.mutants}\nmin_kill_rate = 0.0\n"
        )


# --- a build, watched from outside ----------------------------------------------------------------------------


@dataclass
class Watched:
    """A build that has ended: its folder, and what /proc said of its processes while it ran."""

    out: Path
    cpu: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    """Unix time, and seconds of CPU by role so far."""
    used: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """The same by role and process, those that have ended too: a slot is started anew now and then."""
    asking_kb: int = 0
    all_kb: int = 0
    worker_kb: int = 0
    """Peaks: the main process until all exercises had ended, to its end, and the largest worker."""
    seconds: float = 0.0

    def cpu_between(self, start: float, end: float) -> dict[str, float]:
        """Cores used, by role."""
        (t0, before), *_, (t1, after) = [each for each in self.cpu if start <= each[0] <= end]
        return {role: (after[role] - before[role]) / (t1 - t0) for role in after}


@contextlib.contextmanager
def mock(replies: str, latency_s: float, log: Path | None = None) -> Iterator[dict[str, Any]]:
    """A mock server as a process of its own: what it says of itself."""
    command = [
        sys.executable,
        "-m",
        "advcore.testing.servers",
        "--replies",
        f"advgen.testing:{replies}",
        "--profile",
        f"fixed:{latency_s}",
    ]
    command += ["--log", str(log)] if log else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=sys.path[0]) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def watched(config: str, out: Path, mocks: dict[str, list[int]]) -> Watched:
    """Build in `out`. `mocks`: process ids by role, whose CPU is looked at too."""
    out.mkdir(parents=True, exist_ok=True)
    file, found, started = out.with_suffix(".toml"), Watched(out), time.monotonic()
    file.write_text(config)
    command = [sys.executable, "-m", "advgen", "build", str(file), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=sys.path[0]) as process:
        while process.poll() is None:
            _look(found, process.pid, mocks)
            time.sleep(SAMPLE_S)
    if process.returncode:
        raise SystemExit(f"the build ended with {process.returncode}")
    found.seconds = time.monotonic() - started
    return found


def _look(found: Watched, main: int, mocks: dict[str, list[int]]) -> None:
    peak = _peak_kb(main)
    found.all_kb = max(found.all_kb, peak)
    if not (found.out / "cost.json").exists():  # it is written when the last exercise has ended
        found.asking_kb = found.all_kb
    tree = _children()
    workers = [pid for pid in tree.get(main, []) if b"--multiprocessing-fork" in _read(pid, "cmdline")]
    found.worker_kb = max([found.worker_kb, *map(_peak_kb, workers)])
    slots = [pid for worker in workers for child in tree.get(worker, []) for pid in _family(child, tree)]
    roles = mocks | {"main": [main], "workers": workers, "slots": slots}
    for role, pids in roles.items():
        for pid in pids:
            # A run is a process of some milliseconds: once it is gone, the slot has it in its account.
            found.used[role][pid] = max(found.used[role].get(pid, 0.0), _cpu_s(pid, children=role == "slots"))
    found.cpu.append((time.time(), {role: sum(found.used[role].values()) for role in roles}))


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _peak_kb(pid: int) -> int:
    peak = re.search(rb"VmHWM:\s+(\d+)", _read(pid, "status"))
    return int(peak[1]) if peak else 0


def _cpu_s(pid: int, children: bool) -> float:
    """User and system time of the process, and of those of its children that have ended."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()[11:15]
    return sum(map(int, fields if children else fields[:2])) / TICKS_S


def _children() -> dict[int, list[int]]:
    """Process ids by their parent's."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _read(int(folder.name), "stat").rpartition(b")")[2].split():
            found.setdefault(int(fields[1]), []).append(int(folder.name))
    return found


def _family(pid: int, tree: dict[int, list[int]]) -> list[int]:
    return [pid, *(each for child in tree.get(pid, []) for each in _family(child, tree))]


# --- utilisation ----------------------------------------------------------------------------------------------


def runs_of_an_exercise(shape: Shape) -> int:
    """Sandbox runs that one exercise costs: it is verified and attempted here, and its slots have counted them."""
    from advgen import prompts
    from advgen.config import GateConfig, SandboxConfig
    from advgen.pipeline import jobs
    from advgen.testing import ScriptedStudent, scripted
    from advgen.verify import Verifier

    student, gate = ScriptedStudent(), GateConfig(max_mutants=shape.mutants, min_kill_rate=0.0)
    with Verifier(SandboxConfig(), gate) as verifier:
        text = scripted(prompts.messages("exercise", topic="lists", subtopic="sums"), 0)
        reading = jobs.read(verifier, text)
        about = {"stub": reading.statement.stub, "count": CALLS}
        solutions = tuple(scripted(reading.question, seed) for seed in range(shape.solutions))
        calls, claims = (scripted(prompts.messages(name, **about), 0) for name in ("calls", "asserts"))
        evidence = jobs.Evidence(solutions, (calls,), (claims,), shape.solutions)
        verified = jobs.verify(verifier, reading, evidence)
        jobs.run_attempts(
            verifier, [student(reading.question, seed) for seed in range(shape.attempts)], verified
        )
        if verified.verification.status != "kept":
            raise SystemExit(f"the scripted exercise is not kept: {verified.verification.reason}")
        return sum(slot._runs for box in (*verifier.boxes, verifier._hasty) for slot in box._slots)


def steady(out: Path, window: int) -> tuple[float, float, int]:
    """Begin and end of the steady part in Unix seconds, and the exercises that were begun in it."""
    query = "SELECT written FROM replies WHERE purpose = 'statement' ORDER BY written"
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        written = [at for (at,) in journal.execute(query)]
    return written[2 * window], written[-1], len(written) - 1 - 2 * window


def in_flight(log: Path, start: float, end: float) -> tuple[float, int, float]:
    """Requests that the server had in its hands between two times: mean, most, and answers a second."""
    steps = sorted((event["t"], 1 if event["event"] == "arrived" else -1) for event in _events(log))
    area, level, most, answers, at = 0.0, 0, 0, 0, start
    for moment, step in steps:
        now = min(max(moment, start), end)
        area, at, level = area + level * (now - at), now, level + step
        if start < moment <= end:
            most, answers = max(most, level), answers + (step < 0)
    return (area + level * (end - at)) / (end - start), most, answers / (end - start)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with log.open() as lines:
        yield from map(json.loads, lines)


def utilisation(shape: Shape, exercises: int, latency_s: float, folder: Path) -> dict[str, float]:
    """One build, in figures. Shares are of 1, CPU is in cores."""
    logs = {role: folder / f"{role}-{latency_s:g}.jsonl" for role in ("teacher", "student")}
    with (
        mock("teacher", latency_s, logs["teacher"]) as teacher,
        mock("student", latency_s, logs["student"]) as student,
    ):
        config = shape.config(teacher["api_base"], student["api_base"], exercises)
        mocks = {"mocks": [teacher["pid"], student["pid"]]}
        build = watched(config, folder / f"run-{latency_s:g}", mocks)
    start, end, begun = steady(build.out, shape.window)
    seen = {role: in_flight(log, start, end) for role, log in logs.items()}
    cost, funnel = (json.loads((build.out / f"{name}.json").read_text()) for name in ("cost", "funnel"))
    sandbox, moves = cost["sandbox"], cost["teacher"]["limits"]["history"]
    cpu, rate, requests_s = build.cpu_between(start, end), begun / (end - start), seen["teacher"][2]
    cores = sum(cpu.values())
    return {
        "latency s": latency_s,
        "teacher": seen["teacher"][0] / shape.in_flight,
        "student": seen["student"][0] / shape.in_flight,
        "sandbox": sandbox["busy_s"] / sandbox["processes"] / cost["seconds"],
        "kept": funnel["kept"] / exercises,
        "most in flight": seen["teacher"][1],
        "cut or restored": sum(why == "queueing" for _, _, why in moves),
        "requests/s": requests_s,
        "exercises/s": rate,
        "steady s": end - start,
        "of s": cost["seconds"],
        **{f"{role} ms": used / rate * 1e3 for role, used in cpu.items()},
        "cores": cores,
        "needs s": shape.in_flight * cores / requests_s / len(os.sched_getaffinity(0)),
    }


# --- memory ---------------------------------------------------------------------------------------------------


def memory(kind: str, rows: int, shape: Shape, folder: Path) -> Watched:
    """A build of so many rows of that kind."""
    out = folder / f"{kind}-{rows}"
    replies = "rows" if kind == "unreadable" else "teacher"
    with mock(replies, 0) as teacher, mock("student", 0) as student:
        urls = teacher["api_base"], student["api_base"]
        if kind == "recorded":
            small = watched(shape.config(*urls, 200), folder / f"small-{rows}", {})
            out.mkdir()
            with (out / "records.jsonl").open("w") as store:
                store.writelines(_recorded(small.out / "records.jsonl", rows))
        return watched(shape.config(*urls, rows), out, {})


def _recorded(records: Path, rows: int) -> Iterator[str]:
    """The lines of a store of `rows` rows, made of those of another; no two are alike."""
    made_by, *lines = records.read_text().splitlines(keepends=True)
    yield made_by
    for at in range(rows):
        yield f"{at}\t{_other(lines[at % len(lines)].partition(TAB)[2], at)}"


def _other(row: str, at: int) -> str:
    """`row` with another id, other key words in its statement, and another number in its programs and tests."""
    fields = json.loads(row)
    row = row.replace(fields["exercise_id"], f"{at:016x}")
    row = KEY_WORD.sub(lambda word: f"{(int(word[0], 16) + at * 0x9E3779B1) % 2**32:08x}", row)
    return row.replace(fields["entry_point"].rpartition("_")[2], str(10_000_000 + at))


# --- what is shown --------------------------------------------------------------------------------------------


def busy(given: argparse.Namespace, folder: Path) -> str:
    """A column a latency, a line a figure."""
    shape = Shape(given.solutions, given.attempts, given.mutants, given.in_flight)
    runs, exercises = runs_of_an_exercise(shape), given.exercises or WINDOWS * shape.window
    columns = [utilisation(shape, exercises, latency_s, folder) for latency_s in given.latency]
    lines = [f"{exercises} exercises of {runs} sandbox runs each, {shape.in_flight} in flight at most"]
    for name in columns[0]:
        share = name in ("teacher", "student", "sandbox", "kept")
        cells = (format(column[name], "10.1%" if share else "10.2f") for column in columns)
        lines.append(f"{name:18}{''.join(cells)}")
    return "\n".join(lines)


def resident(given: argparse.Namespace, folder: Path) -> str:
    """A line a number of rows."""
    shape = Shape(solutions=2, attempts=1, mutants=0, in_flight=given.in_flight, asserts=0)
    lines = [f"{given.memory:12}{'asking MB':>12}{'all MB':>12}{'worker MB':>12}{'rows/s':>12}"]
    for rows in given.rows:
        build = memory(given.memory, rows, shape, folder)
        peaks = (f"{kb / 1024:12.1f}" for kb in (build.asking_kb, build.all_kb, build.worker_kb))
        lines.append(f"{rows:<12}{''.join(peaks)}{rows / build.seconds:12.1f}")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--in-flight", type=int, default=64, help="requests at once, to the teacher and to the student")
    add(
        "--latency",
        type=float,
        nargs="+",
        default=[0.2, 2.0],
        help="seconds that both models take; a build each",
    )
    add("--exercises", type=int, default=0, help=f"of a build; 0: {WINDOWS} windows")
    add("--solutions", type=int, default=2, help="of an exercise, each a request and four sandbox runs")
    add("--attempts", type=int, default=4, help="of the student, three of four wrong and run twice")
    add("--mutants", type=int, default=2, help="a sandbox run each")
    add("--memory", choices=KINDS, help="show memory instead, with rows of this kind")
    add("--rows", type=int, nargs="+", default=[10_000, 100_000])
    add("--folder", type=Path, help="keep the run folders and the servers' logs here")
    return parser


def main() -> None:
    parser = arguments()
    given = parser.parse_args()
    if given.folder and given.folder.exists():
        parser.error(f"{given.folder} is there already: what it holds would be gone on with")
    if given.exercises and given.exercises < 4 * Shape(2, 1, 0, given.in_flight).window:
        parser.error("fewer exercises than four windows leave no steady part")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(resident(given, folder) if given.memory else busy(given, folder))


if __name__ == "__main__":
    main()
