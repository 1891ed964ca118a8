"""What one request costs the client, side by side: `python bench/client.py --out client.jsonl`.

The mock server (`python -m advcore.testing.servers`) runs in a process of its own on one core, the client on another.
Each round starts every arm once, in a fresh process and home folder, at each concurrency: prompts of 2 KB, replies of
1 KB, a fixed latency. Each reply must be its row's, and the server must have answered as many requests as there are
rows.

An arm is called three times: to warm up (imports), for one wave (`concurrency` requests), and for all requests. What
it costs is user + system time of its process and of all children that ended (distilabel's steps are processes, started
anew at each call: about 0.7 s of CPU). `CPU ms` is the slope between the last two calls: without what a call costs
whatever its size, and a rate, so arms may differ in their number of requests: all but ours and the floor take
`--slow-requests`. `all in` is the CPU of the last call over its requests, start included. Requests a second are a
slope too; slot utilisation is what the latency alone would take over what it took. RSS is the peak of the process,
which grows with the requests in some arms; of distilabel, the peak of the largest child stands beside it (pages that it
shares with the parent are counted in both).

The toolkits run as their users run them, results on disk and loaded again, but without telemetry, viewer and cached
replies, with the concurrency set and rate limits out of reach: curator by its `openai` backend (it posts one more,
empty request at each start, which the server refuses), distilabel in batches of the concurrency, data-designer with its
default buffer and tasks in flight, since other values made no difference.

Arms whose packages are not installed are left out, by name. `--python NAME=PATH` gives an arm an interpreter of its
own, since the rivals' requirements exclude each other: `python -m venv F; F/bin/pip install -r bench/rivals-NAME.txt`.
With `--out`, what the file holds is not measured again, failures included: delete their lines to try them again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)
PROMPT = "A question about a list of numbers, in a sentence of some length. " * 30
QUIET = {
    "TELEMETRY_ENABLED": "0",  # curator
    "CURATOR_VIEWER": "0",
    "NEMO_TELEMETRY_ENABLED": "false",  # data-designer
    "DISTILABEL_LOG_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "none",
}


def prompt(row: int) -> str:
    return f"row-{row} {PROMPT}"


def messages(row: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt(row)}]


def check(row: int, text: str | None) -> None:
    if f"row-{row} " not in (text or ""):
        raise SystemExit(f"row {row} got another one's reply: {text and text[:40]}")


def check_all(replies: Iterable[tuple[int, str | None]], requests: int) -> None:
    """Each row once, with its own reply."""
    found = list(replies)
    if sorted(row for row, _ in found) != list(range(requests)):
        raise SystemExit(f"{len(found)} rows came back of {requests}, or others")
    for row, text in found:
        check(row, text)


async def pooled(ask: Callable[[int], Awaitable[str]], requests: int, concurrency: int) -> None:
    """`concurrency` workers over the rows; each reply must belong to its row."""
    rows = iter(range(requests))

    async def worker() -> None:
        for row in rows:
            check(row, await ask(row))

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

    async with AsyncOpenAI(base_url=api_base, max_retries=0) as client:

        async def ask(row: int) -> str:
            reply = await client.chat.completions.create(model="m", messages=messages(row), max_tokens=256)  # type: ignore[arg-type]
            return reply.choices[0].message.content or ""

        await pooled(ask, requests, concurrency)


async def litellm(api_base: str, requests: int, concurrency: int) -> None:
    import litellm as library

    async def ask(row: int) -> str:
        given: dict[str, Any] = {"api_base": api_base, "max_tokens": 256, "num_retries": 0}
        reply = await library.acompletion(model="openai/m", messages=messages(row), **given)
        return str(reply.choices[0].message.content)

    await pooled(ask, requests, concurrency)


async def ours(api_base: str, requests: int, concurrency: int, direct: bool = True) -> None:
    from advcore.ask import Client, Journal, ModelConfig, providers

    if not direct:
        providers.KEYS.clear()  # then nobody is asked directly
    config = ModelConfig(model="openai/m", api_base=api_base, concurrency=concurrency, max_tokens=256)
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite") as journal:
        teacher = Client(config, journal)

        async def ask(row: int) -> str:
            return (await teacher.ask("bench", messages(row))).text

        await pooled(ask, requests, concurrency)
        await teacher.close()


async def ours_through_litellm(api_base: str, requests: int, concurrency: int) -> None:
    await ours(api_base, requests, concurrency, direct=False)


def curator(api_base: str, requests: int, concurrency: int) -> None:
    # It counts each prompt's tokens; the vocabulary would otherwise be downloaded.
    os.environ["TIKTOKEN_CACHE_DIR"] = str(files("litellm") / "litellm_core_utils" / "tokenizers")
    from bespokelabs.curator import LLM
    from bespokelabs.curator.log import logger
    from datasets import Dataset

    class Asker(LLM):  # type: ignore[misc]
        def prompt(self, input: dict[str, Any]) -> str:
            return str(input["prompt"])

        def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
            return {"row": input["row"], "reply": response}

    limits = {"max_requests_per_minute": 10**9, "max_tokens_per_minute": 10**12}
    backend = {"base_url": api_base, "max_concurrent_requests": concurrency, "max_retries": 0, **limits}
    llm = Asker("m", backend="openai", backend_params=backend, generation_params={"max_tokens": 256})
    rows = Dataset.from_list([{"row": row, "prompt": prompt(row)} for row in range(requests)])
    with tempfile.TemporaryDirectory() as folder:
        found = llm(rows, working_dir=folder).dataset[:]
    logger.handlers.clear()  # each call adds a log file, and would leave the next one to write to all of them
    check_all(zip(found["row"], found["reply"], strict=True), requests)


def distilabel(api_base: str, requests: int, concurrency: int) -> None:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [{"row": row, "instruction": prompt(row)} for row in range(requests)]
    given = {"max_new_tokens": 256}
    with tempfile.TemporaryDirectory() as folder:
        with Pipeline("bench", cache_dir=folder) as pipeline:
            llm = OpenAILLM(model="m", base_url=api_base, max_retries=0, generation_kwargs=given)
            ask = TextGeneration(
                llm=llm, input_batch_size=concurrency, add_raw_input=False, add_raw_output=False
            )
            LoadDataFromDicts(data=rows, batch_size=concurrency) >> ask
        found = pipeline.run(use_cache=False)["default"]["train"][:]
    check_all(zip(found["row"], found["generation"], strict=True), requests)


def data_designer(api_base: str, requests: int, concurrency: int) -> None:
    import data_designer.config as config
    import pandas
    from data_designer.interface import DataDesigner

    given = config.ChatCompletionInferenceParams(max_parallel_requests=concurrency, max_tokens=256)
    model = config.ModelConfig(
        alias="m", model="m", provider="mock", inference_parameters=given, skip_health_check=True
    )
    rows = pandas.DataFrame({"row": range(requests), "question": [prompt(row) for row in range(requests)]})
    plan = config.DataDesignerConfigBuilder(model_configs=[model])
    plan.with_seed_dataset(config.DataFrameSeedSource(df=rows))
    plan.add_column(config.LLMTextColumnConfig(name="reply", prompt="{{ question }}", model_alias="m"))
    provider = config.ModelProvider(name="mock", endpoint=api_base, api_key="none")
    run = config.RunConfig(buffer_size=1000, max_in_flight_tasks=1024, otel_metrics_port=None)
    with tempfile.TemporaryDirectory() as folder:
        designer = DataDesigner(folder, model_providers=[provider], auto_configure_logging=False)
        designer.set_run_config(run)
        found = designer.create(plan, num_records=requests).load_dataset()
    check_all(zip(found["row"], found["reply"], strict=True), requests)


class Arm(NamedTuple):
    """`run(api_base, requests, concurrency)` asks for rows 0 to requests - 1; `package` is what it needs.

    `slow` arms take fewer requests; those with `children` work in child processes.
    """

    run: Callable[[str, int, int], Coroutine[Any, Any, None] | None]
    package: str
    slow: bool = True
    children: bool = False


ARMS = {
    "ours, direct, journal on": Arm(ours, "aiohttp", slow=False),
    "ours, through litellm": Arm(ours_through_litellm, "litellm"),
    "aiohttp, the floor": Arm(floor, "aiohttp", slow=False),
    "litellm": Arm(litellm, "litellm"),
    "openai": Arm(openai, "openai"),
    "curator": Arm(curator, "bespokelabs"),
    "distilabel": Arm(distilabel, "distilabel", children=True),
    "data-designer": Arm(data_designer, "data_designer"),
}


# --- one arm, in a process of its own -----------------------------------------------------------------------


def measure(name: str, api_base: str, requests: int, concurrency: int) -> dict[str, float]:
    """What the last call and the wave before it took. Raises SystemExit for requests too many or too few."""
    with asyncio.Runner() as runner:

        def spent(size: int) -> tuple[float, float]:
            before, started, cpu = served(api_base), time.perf_counter(), cpu_s()
            if (running := ARMS[name].run(api_base, size, concurrency)) is not None:
                runner.run(running)
            wall, cpu = time.perf_counter() - started, cpu_s() - cpu
            if (asked := served(api_base) - before) != size:
                raise SystemExit(f"{asked} requests instead of {size}")
            return wall, cpu

        spent(2 * concurrency)
        (wave_s, wave_cpu_s), (wall_s, all_cpu_s) = spent(concurrency), spent(requests)
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in WHO)
    took = {"wall_s": wall_s, "cpu_s": all_cpu_s, "wave_wall_s": wave_s, "wave_cpu_s": wave_cpu_s}
    # The peak of a child that only looked something up (`lsb_release`) is its parent's, from before its exec.
    return took | {"rss_mb": own, "child_rss_mb": child if ARMS[name].children else 0.0}


WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in WHO)


def served(api_base: str) -> int:
    """How many requests the server has answered with 200 so far."""
    with urllib.request.urlopen(f"{api_base}/stats") as reply:
        return int(json.load(reply)["by_status"].get("200", 0))


# --- all of them --------------------------------------------------------------------------------------------


class mock:
    """The server on core 0."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "advcore.testing.servers", "--profile", f"fixed:{self._latency_s}"]
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


def run_arm(python: str, key: dict[str, Any], api_base: str, timeout_s: float) -> dict[str, Any]:
    """What `measure` found, or `failed` and the reason. Nothing that the arm started outlives it."""
    given = [f"--{name}={key[name]}" for name in ("arm", "requests", "concurrency")]
    command = pinned(1, [python, __file__, *given, f"--api-base={api_base}"])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = {**os.environ, **QUIET, "HOME": home, "TMPDIR": home}
        with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
            try:
                out, talk = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                return {"failed": f"no result within {timeout_s:g} s"}
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        return {"failed": f"exit code {process.returncode}: {(talk.strip().splitlines() or [''])[-1]}"}
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def compare(given: argparse.Namespace, pythons: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each measurement, in `--out` as soon as it is there."""
    saved = given.out.read_text().splitlines() if given.out and given.out.exists() else []
    known, found = [json.loads(line) for line in saved], []
    for key in plan(given, list(pythons)):
        row = next((row for row in known if key.items() <= row.items()), None)
        if row is None:
            with mock(given.latency) as api_base:
                row = key | run_arm(pythons[key["arm"]], key, api_base, given.timeout)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(json.dumps(row), file=sys.stderr)
        found.append(row)
    return found


def plan(given: argparse.Namespace, names: list[str]) -> Iterable[dict[str, Any]]:
    for turn in range(1, given.rounds + 1):
        for concurrency in given.concurrency:
            for name in names:
                requests = given.slow_requests if ARMS[name].slow else given.requests
                key = {"arm": name, "concurrency": concurrency, "requests": requests}
                yield {"round": turn, "latency_s": given.latency, **key}


def figures(row: dict[str, Any]) -> list[float]:
    """CPU ms a request, the same all in, requests/s, utilisation, RSS and the largest child's in MB."""
    requests, wave = row["requests"], row["concurrency"]
    cpu_s = (row["cpu_s"] - row["wave_cpu_s"]) / (requests - wave)
    rate = (requests - wave) / (row["wall_s"] - row["wave_wall_s"])
    cost = [cpu_s * 1e3, row["cpu_s"] / requests * 1e3]
    return [*cost, rate, rate * row["latency_s"] / wave, row["rss_mb"], row["child_rss_mb"]]


def table(found: list[dict[str, Any]], names: Iterable[str], levels: list[int]) -> str:
    """Medians over the rounds that did not fail; a line each for an arm at a concurrency."""
    heads = ("in flight", "requests", "CPU ms", "all in", "requests/s", "slots used", "RSS MB", "child MB")
    lines = [" ".join([f"{'':24}", *(f"{head:>10}" for head in heads)])]
    for name in names:
        for level in levels:
            rows = [row for row in found if (row["arm"], row["concurrency"]) == (name, level)]
            failed = [row["failed"] for row in rows if "failed" in row]
            line = f"{name:24} {level:10} {rows[0]['requests']:10}"
            if len(failed) < len(rows):
                each = zip(*(figures(row) for row in rows if "failed" not in row), strict=True)
                shapes = ("10.3f", "10.3f", "10.0f", "10.0%", "10.0f", "10.0f")
                middle = map(statistics.median, each)
                line = " ".join([line, *(format(*pair) for pair in zip(middle, shapes, strict=True))])
            lines.append(line + (f"  failed {len(failed)} of {len(rows)}: {failed[0]}" if failed else ""))
    return "\n".join(lines)


def has(python: str, package: str) -> bool:
    find = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)"
    return not subprocess.run([python, "-c", find, package]).returncode


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--requests", type=int, default=20_000)
    add("--slow-requests", type=int, default=4_000, help="of all arms but ours and the floor")
    add("--concurrency", type=int, nargs="+", default=[64, 256, 512])
    add("--latency", type=float, default=0.05, help="seconds the server takes")
    add(
        "--timeout",
        type=float,
        default=300,
        help="seconds after which an arm's process is ended and has failed",
    )
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    add("--python", nargs="*", default=[], metavar="ARM=PATH", help="interpreter of an arm")
    add("--out", type=Path, help="JSONL file of all measurements; what it holds is not measured again")
    add("--arm", help="measure this one alone and print JSON")
    add("--api-base", default="")
    return parser


def main() -> None:
    parser = arguments()
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(measure(given.arm, given.api_base, given.requests, given.concurrency[0])))
        return
    if min(given.requests, given.slow_requests) <= max(given.concurrency):
        parser.error("a slope needs more requests than the concurrency")
    own = dict(each.split("=", 1) for each in given.python)
    if unknown := own.keys() - ARMS.keys():
        parser.error(f"--python: no such arm: {', '.join(unknown)}")
    pythons = {name: own.get(name, sys.executable) for name in given.arms}
    for name in [name for name in pythons if not has(pythons[name], ARMS[name].package)]:
        print(f"left out: {name} ({ARMS[name].package} is not installed)", file=sys.stderr)
        del pythons[name]
    print(table(compare(given, pythons), pythons, given.concurrency))


if __name__ == "__main__":
    main()
