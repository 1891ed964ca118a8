"""How long `--help` takes against a bare interpreter's start, interleaved, best of N: `python bench/startup.py`.

The budget is ten times the bare start. The tests check by an allow-list what is imported; here is the time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "advgen --help": [sys.executable, "-m", "advgen", "--help"],
    "advtrain --help": [sys.executable, "-m", "advtrain", "--help"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            best[name] = min(best[name], seconds(command))
    for name, value in best.items():
        print(f"{name:16} {value * 1000:6.0f} ms  {value / best['bare']:5.1f} x bare")


if __name__ == "__main__":
    main()
