"""What one request costs the client, side by side: `python bench/client.py`.

The mock server (`python -m advgen.testing`) runs in a process of its own on one core, the client on another. Each
round starts every arm once, in a fresh process, at each concurrency: prompts of 2 KB, replies of 1 KB, a fixed latency.
CPU is user + system time of the client process from its first request to its last; slot utilisation is what the
latency alone would take over what it took. Arms whose packages are not installed are left out, by name;
`--python NAME=PATH` gives an arm an interpreter of its own, since the rivals' requirements exclude each other.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)
PROMPT = "A question about a list of numbers, in a sentence of some length. " * 30
FLOOR = "aiohttp, the floor"


def messages(row: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"row-{row} {PROMPT}"}]


async def pooled(ask: Callable[[int], Awaitable[str]], requests: int, concurrency: int) -> None:
    """`concurrency` workers over the rows; each reply must belong to its row."""
    rows = iter(range(requests))

    async def worker() -> None:
        for row in rows:
            text = await ask(row)
            if f"row-{row}" not in text:
                raise SystemExit(f"row {row} got another one's reply: {text[:40]}")

    await asyncio.gather(*(worker() for _ in range(concurrency)))


# --- the arms -----------------------------------------------------------------------------------------------


async def floor(api_base: str, requests: int, concurrency: int) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(row: int) -> str:
            body = json.dumps({"model": "m", "messages": messages(row), "max_tokens": 256}).encode()
            async with session.post(f"{api_base}/chat/completions", data=body) as response:
                return str(json.loads(await response.read())["choices"][0]["message"]["content"])

        await pooled(ask, requests, concurrency)


async def openai(api_base: str, requests: int, concurrency: int) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=api_base, api_key="none", max_retries=0) as client:

        async def ask(row: int) -> str:
            reply = await client.chat.completions.create(model="m", messages=messages(row), max_tokens=256)  # type: ignore[arg-type]
            return reply.choices[0].message.content or ""

        await pooled(ask, requests, concurrency)


async def litellm(api_base: str, requests: int, concurrency: int) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm as library

    async def ask(row: int) -> str:
        given: dict[str, Any] = {"api_base": api_base, "api_key": "none", "max_tokens": 256, "num_retries": 0}
        reply = await library.acompletion(model="openai/m", messages=messages(row), **given)
        return str(reply.choices[0].message.content)

    await pooled(ask, requests, concurrency)


async def ours(api_base: str, requests: int, concurrency: int, direct: bool = True) -> None:
    from advgen import teacher as engine
    from advgen.config import ModelConfig
    from advgen.journal import Journal

    if not direct:
        engine.PREFIXES = ()
    config = ModelConfig(model="openai/m", api_base=api_base, concurrency=concurrency, max_tokens=256)
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite") as journal:
        teacher = engine.Teacher(config, journal)

        async def ask(row: int) -> str:
            return (await teacher.ask("bench", messages(row))).text

        await pooled(ask, requests, concurrency)
        await teacher.close()


async def ours_through_litellm(api_base: str, requests: int, concurrency: int) -> None:
    os.environ["OPENAI_API_KEY"] = "none"
    await ours(api_base, requests, concurrency, direct=False)


ARMS: dict[str, tuple[Callable[[str, int, int], Awaitable[None]], str]] = {
    "ours, direct, journal on": (ours, "aiohttp"),
    "ours, through litellm": (ours_through_litellm, "litellm"),
    FLOOR: (floor, "aiohttp"),
    "litellm": (litellm, "litellm"),
    "openai": (openai, "openai"),
}


# --- one arm, in a process of its own -----------------------------------------------------------------------


def measure(name: str, api_base: str, requests: int, concurrency: int) -> dict[str, float]:
    arm = ARMS[name][0]

    async def run() -> tuple[float, float]:
        await arm(api_base, 2 * concurrency, concurrency)  # imports, connections
        started, cpu = time.perf_counter(), time.process_time()
        await arm(api_base, requests, concurrency)
        return time.perf_counter() - started, time.process_time() - cpu

    wall, cpu = asyncio.run(run())
    return {
        "cpu_ms": cpu / requests * 1e3,
        "requests_s": requests / wall,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def compare(given: argparse.Namespace, names: list[str]) -> list[dict[str, Any]]:
    found = []
    for turn in range(given.rounds):
        for concurrency in given.concurrency:
            for name in names:
                with mock(given.latency) as api_base:
                    one = run_arm(name, given, api_base, concurrency)
                found.append({"arm": name, "concurrency": concurrency, **one})
        print(f"round {turn + 1} of {given.rounds} done", file=sys.stderr)
    return found


class mock:
    """The server on core 0."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "advgen.testing", "--profile", f"fixed:{self._latency_s}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            pinned(0, command), stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout
        return str(json.loads(self._process.stdout.readline())["api_base"])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core % (os.cpu_count() or 1)), *command]


def run_arm(name: str, given: argparse.Namespace, api_base: str, concurrency: int) -> dict[str, float]:
    python = dict(each.split("=", 1) for each in given.python).get(name, sys.executable)
    sizes = ["--requests", str(given.requests), "--concurrency", str(concurrency)]
    command = pinned(1, [python, __file__, "--arm", name, "--api-base", api_base, *sizes])
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result | {"utilisation": result["requests_s"] * given.latency / concurrency}


def table(found: list[dict[str, Any]], names: list[str], levels: list[int]) -> str:
    lines = [f"{'':28} {'concurrency':>11} {'CPU ms':>8} {'requests/s':>11} {'slots used':>11} {'RSS MB':>8}"]
    for name in names:
        for level in levels:
            rows = [row for row in found if (row["arm"], row["concurrency"]) == (name, level)]
            cpu, rate, used, rss = (
                statistics.median(row[key] for row in rows)
                for key in ("cpu_ms", "requests_s", "utilisation", "rss_mb")
            )
            lines.append(f"{name:28} {level:11} {cpu:8.3f} {rate:11.0f} {used:11.0%} {rss:8.0f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds the server takes")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--python", nargs="*", default=[], metavar="ARM=PATH", help="interpreter of an arm")
    parser.add_argument("--arm", help="measure this one alone and print JSON")
    parser.add_argument("--api-base", default="")
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(measure(given.arm, given.api_base, given.requests, given.concurrency[0])))
        return
    absent = [name for name in given.arms if importlib.util.find_spec(ARMS[name][1]) is None]
    for name in absent:
        print(f"left out: {name} ({ARMS[name][1]} is not installed)", file=sys.stderr)
    names = [name for name in given.arms if name not in absent]
    print(table(compare(given, names), names, given.concurrency))


if __name__ == "__main__":
    main()
