"""What a start costs: `python bench/startup.py`, and of a local model's first answer `--reply student-small`.

`--help` is timed against a bare interpreter's start, interleaved, best of N; the budget is ten times the bare start.
The tests check by an allow-list what is imported; here is the time. With `--reply MODEL` it is `advgen answer` to one
prompt in a fresh process, from nothing to the written dataset, seconds and peak memory as the median of N; `--against
FOLDER` interleaves the same of another checkout of this project. The models have to be fetched before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "advgen --help": [sys.executable, "-m", "advgen", "--help"],
    "advtrain --help": [sys.executable, "-m", "advtrain", "--help"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_answer(model: str, checkout: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of one answer, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text(json.dumps({"prompt": "Say hello."}) + "\n")
        command = [sys.executable, "-m", "advgen", "answer", str(prompts), "--model", f"local/{model}"]
        command += [
            "--out",
            f"{folder}/run",
            "--set",
            "teacher.max_tokens=8",
            "--set",
            "teacher.temperature=0",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": str(checkout)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed in {checkout}")
        return time.perf_counter() - start, usage.ru_maxrss / 1024


def replies(model: str, checkouts: list[Path], repeats: int) -> None:
    measured: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(repeats):
        for checkout in checkouts:
            measured[checkout].append(first_answer(model, checkout))
    medians = {
        each: [statistics.median(column) for column in zip(*measured[each], strict=True)]
        for each in checkouts
    }
    own = medians[ROOT]
    for checkout, (took, memory) in medians.items():
        print(
            f"{checkout}: {took:5.1f} s, {memory:5.0f} MB; this one takes {own[0] / took:.2f} of the seconds and "
            f"{own[1] / memory:.2f} of the memory"
        )


def starts(repeats: int) -> None:
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            best[name] = min(best[name], seconds(command))
    for name, value in best.items():
        print(f"{name:16} {value * 1000:6.0f} ms  {value / best['bare']:5.1f} x bare")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--reply", metavar="MODEL", help="a local model: an embedded name or a folder")
    parser.add_argument("--against", type=Path, nargs="*", default=[], metavar="FOLDER")
    given = parser.parse_args()
    if given.reply:
        replies(given.reply, [ROOT, *given.against], given.repeats)
    else:
        starts(given.repeats)


if __name__ == "__main__":
    main()
