"""pass@1 on a benchmark: generate with the local engine, execute in the sandbox, count.

Benchmark text is read from the verified file in the cache, shown to the model and the sandbox, and stored
nowhere. Replies are not stored either. Called by `cli`.
"""

from __future__ import annotations

import ast
import asyncio
import gzip
import json
import math
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from advcore import ConfigError, chat, engine, progress, stats
from advcore.chat.syntax import UNPARSABLE, here, module_of
from advcore.engine import names, weights
from sandbox import Limits, Sandbox, SandboxUnavailable

BENCHES = ("humaneval",)
WALL_S = 10.0  # of one task's tests; the slowest reference solution needs well under a second
MAX_LOST = 0.05  # share of runs that the sandbox may lose before the score means nothing
ASK = (
    "Complete this Python function. Reply with the whole function in one code block.\n\n```python\n{stub}```"
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One problem: `stub` is imports, helpers, signature and docstring; `tests` defines and calls a check."""

    task_id: str
    entry_point: str
    stub: str
    tests: str


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One reply and its verdict. `status` is the sandbox's, or `unreadable` where the reply holds no program."""

    status: str
    finish_reason: str
    completion_tokens: int


def evaluate(
    model: str,
    bench: str,
    limit: int,
    samples: int,
    temperature: float,
    max_tokens: int,
    backend: engine.Backend,
) -> dict[str, Any]:
    """Score `model` on `limit` evenly spaced tasks of `bench` (0: all), `samples` replies each.

    Raises ConfigError for an unknown bench or model, SandboxUnavailable when runs cannot be contained or
    more than 5 % of them are lost to the sandbox itself.
    """
    engine.check(model, backend)  # before anything is fetched
    every = load_tasks(bench)
    tasks = spaced(every, limit or len(every))
    draws = [
        engine.Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed) for seed in range(samples)
    ]
    start = time.monotonic()
    attempts = attempt(model, tasks, draws, backend)
    return {
        "bench": bench,
        "model": model,
        "identity": names.identity(model),
        "backend": backend,
        "samples": samples,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "tasks_in_bench": len(every),
        "seconds": round(time.monotonic() - start, 1),
        **score(attempts),
        "results": {
            task.task_id: [asdict(each) for each in tries]
            for task, tries in zip(tasks, attempts, strict=True)
        },
    }


def attempt(
    model: str, tasks: Sequence[Task], draws: Sequence[engine.Sampling], backend: engine.Backend
) -> list[list[Attempt]]:
    """For every task one attempt per draw, executed. Raises as `evaluate`."""
    with Sandbox(limits=Limits(wall_s=WALL_S)) as box:  # before the model: a refusal should come at once
        replies = asyncio.run(_replies(engine.open_engine(model, backend), tasks, draws))
        attempts = _execute(box, tasks, replies)
    lost = sum(each.status == "sandbox_error" for tries in attempts for each in tries)
    if lost > MAX_LOST * len(tasks) * len(draws):
        raise SandboxUnavailable(f"the sandbox lost {lost} of {len(tasks) * len(draws)} runs; no score")
    return attempts


def load_tasks(bench: str) -> list[Task]:
    """All tasks of a benchmark, in its order. Raises ConfigError for an unknown name."""
    if bench not in BENCHES:
        raise ConfigError(f"unknown bench {bench}; known: {', '.join(BENCHES)}")
    with gzip.open(weights.fetch(bench), "rt") as file:
        rows = [json.loads(line) for line in file]
    return [
        Task(
            task_id=row["task_id"],
            entry_point=row["entry_point"],
            stub=row["prompt"],
            tests=f"{row['test']}\n\ncheck({row['entry_point']})\n",
        )
        for row in rows
    ]


def spaced(tasks: Sequence[Task], count: int) -> list[Task]:
    """`count` tasks at even distances: the same subset every time, not only the first and easy ones."""
    count = min(count, len(tasks))
    return [tasks[index * len(tasks) // count] for index in range(count)]


async def _replies(
    served: engine.Engine, tasks: Sequence[Task], draws: Sequence[engine.Sampling]
) -> list[list[engine.Reply]]:
    """One reply per task and draw; all are asked at once, so that they share batches."""
    with progress.progress("replies", len(tasks) * len(draws)) as bar:

        async def reply(task: Task, sampling: engine.Sampling) -> engine.Reply:
            message = {"role": "user", "content": ASK.format(stub=task.stub)}
            answer = await served.generate([message], sampling)
            bar.advance()
            return answer

        return [
            list(await asyncio.gather(*each))
            for each in [[asyncio.ensure_future(reply(task, draw)) for draw in draws] for task in tasks]
        ]


def _execute(
    box: Sandbox, tasks: Sequence[Task], replies: Sequence[Sequence[engine.Reply]]
) -> list[list[Attempt]]:
    programs = [
        program(task, reply.text) for task, each in zip(tasks, replies, strict=True) for reply in each
    ]
    asked = [task for task, each in zip(tasks, replies, strict=True) for _ in each]
    statuses = iter(_statuses(box, asked, programs))
    return [
        [
            Attempt(
                status=next(statuses),
                finish_reason=reply.finish_reason,
                completion_tokens=reply.completion_tokens,
            )
            for reply in each
        ]
        for each in replies
    ]


def _statuses(box: Sandbox, tasks: Sequence[Task], programs: Sequence[str]) -> list[str]:
    """The verdict on each program as it was written; on one that does not pass so, that on it without its talk."""
    found = ["unreadable"] * len(programs)
    left = {at: chat.forms(code, tasks[at].entry_point) for at, code in enumerate(programs) if code}
    while left:
        checks = [(forms[0], tasks[at].tests, tasks[at].entry_point) for at, forms in left.items()]
        for at, report in zip(left, box.check_many(checks), strict=True):
            found[at] = report.status
        left = {at: forms[1:] for at, forms in left.items() if forms[1:] and found[at] != "pass"}
    return found


def program(task: Task, reply: str) -> str:
    """The program to test: the reply's code below what the stub has above the function; '' where it holds none.

    A reply that does not define the function is taken as its body if it can be that. One cut short is run as far as it
    goes.
    """
    try:
        code = chat.program(reply, task.entry_point, truncated=True)
    except chat.NoCode:
        return ""
    if chat.defines(code, task.entry_point):
        above = task.stub[: _header(task).start()]
        return chat.above(above, code) + "\n"
    bodies = (code, textwrap.indent(textwrap.dedent(code), "    "))
    return next((task.stub + body for body in bodies if _completes(task, body)), "")


def _header(task: Task) -> re.Match[str]:
    """Where the function of the stub begins, its decorators included."""
    header = rf"^(?:@[^\n]*\n)*(?:async\s+)?def\s+{re.escape(task.entry_point)}\b"
    found = list(re.finditer(header, task.stub, re.MULTILINE))
    return found[-1]


def _completes(task: Task, body: str) -> bool:
    """Whether the function of the stub returns something with `body` behind it; prose and calls do not."""
    try:
        module = module_of(task.stub + body)
    except UNPARSABLE:
        return False
    function = next(node for node in module.body if getattr(node, "name", "") == task.entry_point)
    after = getattr(function, "body", [])[1:]
    gives = (isinstance(each, ast.Return | ast.Yield | ast.Raise) for node in after for each in here(node))
    return any(gives)


def score(attempts: Sequence[Sequence[Attempt]]) -> dict[str, Any]:
    """pass@1 over tasks with its Wilson interval; runs lost to the sandbox are left out and counted.

    With several samples a task counts by its share of passes. The interval takes tasks, not samples, as its
    number of trials, because the samples of one task are alike: it is too wide rather than too narrow.
    """
    shares = []
    for each in attempts:
        judged = [attempt.status == "pass" for attempt in each if attempt.status != "sandbox_error"]
        if judged:
            shares.append(sum(judged) / len(judged))
    rate = sum(shares) / len(shares) if shares else math.nan
    return {
        "tasks": len(shares),
        "pass@1": rate,
        "interval": stats.wilson(sum(shares), len(shares)),
        "statuses": dict(Counter(attempt.status for each in attempts for attempt in each).most_common()),
    }


def show(result: dict[str, Any]) -> None:
    """The result as a small table on stderr."""
    from rich.console import Console
    from rich.table import Table

    low, high = result["interval"]
    table = Table("model", "bench", "tasks", "pass@1", "95% interval", "statuses", "seconds")
    table.add_row(
        result["model"],
        result["bench"],
        f"{result['tasks']} of {result['tasks_in_bench']}",
        f"{result['pass@1']:.1%}",
        f"{low:.1%} to {high:.1%}",
        ", ".join(f"{count} {status}" for status, count in result["statuses"].items()),
        f"{result['seconds']}",
    )
    Console(file=sys.stderr).print(table)
