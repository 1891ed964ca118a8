"""CPU of the sandbox and of evalplus's checker on whole suites of HumanEval+ and MBPP+: `bench/sandbox.py --plus`.

Each side is one process, given a task once (here its test text, there its inputs and expected values) and then one
program after the other, in turns with the other side: the task's own solution, which passes, and simple mutants of it
that evalplus fails. Both end a run at the first assert that does not hold. Charged is the CPU time of the process and
of all of its descendants. The first run on a task is shown apart from those after it: a text has to be read once.
"""

from __future__ import annotations

import argparse
import ast
import json
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from bench import cpu, plus

ROOT = Path(__file__).resolve().parents[1]
FILES = ("HumanEvalPlus-v0.1.10.jsonl.gz", "MbppPlus-v0.2.0.jsonl.gz")
WALL_S = 60.0
"""Of a run, here as there."""
ENDLESS_S = 0.9
"""A mutant that takes evalplus longer would measure limits on time: of each call there, of the run here."""
PATIENCE_S = 10.0
"""A program that took so long is not run again."""
MEASURED = ("passing", "failing")
SIDES = ("ours", "evalplus")
Row = dict[str, Any]
Check = Callable[[Row, str], str]
"""Task, program -> status."""


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whole suites of HumanEval+ and MBPP+")
    group.add_argument("--plus", type=Path, metavar="FOLDER", help=f"measure these, of {' and '.join(FILES)}")
    group.add_argument("--rivals", default=sys.executable, metavar="PYTHON", help="the one that has evalplus")
    group.add_argument("--sample", type=int, help="so many tasks, evenly spread over both files")
    group.add_argument("--first", type=int, help="only so many tests of each task")
    group.add_argument("--repeats", type=int, default=10, help="of each program, after a first run")
    group.add_argument("--out", type=Path, help="a line for each program; what is there is not done again")


# --- the two sides, each in a process of its own -------------------------------------------------------------


def ours() -> Check:
    from sandbox import Limits, Sandbox

    box = Sandbox(slots=1, limits=Limits(wall_s=WALL_S))
    return lambda task, code: str(box.check(code, task["text"], task["entry_point"], fail_fast=True).status)


def evalplus() -> Check:
    from evalplus.eval import MBPP_OUTPUT_NOT_NONE_TASKS, untrusted_check

    def check(task: Row, code: str) -> str:
        name, expected = task["entry_point"], task["expected"]
        if name in MBPP_OUTPUT_NOT_NONE_TASKS:
            expected = [value is not None for value in expected]
        dataset = "mbpp" if task["name"].startswith("Mbpp") else "humaneval"
        rest = task["inputs"], name, expected, task["atol"], task["seconds"], True
        return str(untrusted_check(dataset, code, *rest)[0])

    return check


def serve(side: str) -> None:
    """Answer a task with None and a program with its status, until standard input ends."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    check = {"ours": ours, "evalplus": evalplus}[side]()
    task: Row = {}
    while sys.stdin.buffer.peek(1):
        message, answer = pickle.load(sys.stdin.buffer), None
        if isinstance(message, dict):
            task = message
        else:
            answer = check(task, message)
        pickle.dump(answer, answers)
        answers.flush()


class Side:
    """One of the two, from outside."""

    def __init__(self, name: str, interpreter: str) -> None:
        command = [interpreter, "-m", "bench.plus_suites", name]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, message: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def run(self, code: str) -> tuple[str, float]:
        """The status and the CPU seconds; once more where a slot was replaced, whose account is lost with it."""
        before = cpu.of_tree(self._process.pid)
        status = self.ask(code)
        spent = cpu.of_tree(self._process.pid) - before
        return (status, spent) if spent >= 0 else self.run(code)


# --- the programs --------------------------------------------------------------------------------------------

_OPPOSITES = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


def mutants(code: str) -> Iterator[tuple[str, str]]:
    """The program with its first `+`, comparison or integer changed, each with the name of what was done."""
    for name, change in _CHANGES.items():
        tree = ast.parse(code)
        nodes = sorted(filter(_place, ast.walk(tree)), key=_place)
        if any(map(change, nodes)):  # ends at the first that it changes
            yield name, ast.unparse(tree)


def _place(node: ast.AST) -> tuple[int, int] | None:
    return (node.lineno, node.col_offset) if isinstance(node, ast.expr | ast.stmt) else None


def _plus(node: ast.AST) -> bool:
    found = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add)
    if found:
        node.op = ast.Sub()
    return found


def _comparison(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        node.ops[0] = _OPPOSITES[type(node.ops[0])]()
    return isinstance(node, ast.Compare)


def _integer(node: ast.AST) -> bool:
    found = isinstance(node, ast.Constant) and type(node.value) is int
    if found:
        node.value += 1
    return found


_CHANGES = {"plus": _plus, "comparison": _comparison, "integer": _integer}


# --- the comparison ------------------------------------------------------------------------------------------


def compare(options: argparse.Namespace) -> str:
    """The tables, over what earlier calls measured too."""
    rows = plus.rows(options.out) if options.out and options.out.exists() else []
    known = {row["task"] for row in rows}
    with Side("ours", sys.executable) as own, Side("evalplus", options.rivals) as other:
        for task in _tasks(options, known):
            sides = {"ours": own, "evalplus": other}
            fresh = list(_measured(task.first(options.first), sides, options.repeats))
            rows += fresh
            if options.out:
                _append(options.out, fresh)
            print(task.name, *(row["program"] for row in fresh), file=sys.stderr)
    return "\n\n".join(_table(kind, [row for row in rows if row["kind"] == kind]) for kind in MEASURED)


def _append(path: Path, rows: list[Row]) -> None:
    with path.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def _tasks(options: argparse.Namespace, known: Collection[str]) -> Iterator[plus.Task]:
    listed = [
        (options.plus / file, row["task_id"]) for file in FILES for row in plus.rows(options.plus / file)
    ]
    count = min(options.sample or len(listed), len(listed))
    chosen = [listed[number * len(listed) // count] for number in range(count)]
    for path in dict(chosen):
        if names := [name for each, name in chosen if each == path and name not in known]:
            yield from plus.tasks(path, names)


def _measured(task: plus.Task, sides: dict[str, Side], repeats: int) -> Iterator[Row]:
    """The task's own solution, then those of its mutants that evalplus fails in good time."""
    if not task.asserts:
        return
    for program, code in [("own", task.code), *mutants(task.code)]:
        for side in sides.values():
            side.ask(task._asdict() | {"text": f"{task.text()}# {program}\n"})
        kind = _kind(program, code, sides["evalplus"])
        row = {"task": task.name, "program": program, "kind": kind, "tests": len(task.asserts)}
        if kind in MEASURED:
            row |= _runs(code, sides, repeats)
        yield row


def _kind(program: str, code: str, evalplus: Side) -> str:
    if program == "own":
        return "passing"
    start = time.perf_counter()
    status = evalplus.ask(code)
    if time.perf_counter() - start > ENDLESS_S:
        return "endless"
    return "failing" if status != "pass" else "survived"


def _runs(code: str, sides: dict[str, Side], repeats: int) -> Row:
    """For each side its status and the CPU seconds of a first run and of one after that."""
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in sides}
    start = time.perf_counter()
    for number in range(1 + repeats):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found[name].append(sides[name].run(f"{code}\n# {number}"))
        if number and time.perf_counter() - start > PATIENCE_S:
            break
    return {
        name: {
            "status": " or ".join(sorted({status for status, _ in runs})),
            "first_s": runs[0][1],
            "later_s": statistics.mean(cpu_s for _, cpu_s in runs[1:]),
        }
        for name, runs in found.items()
    }


def _table(kind: str, rows: list[Row]) -> str:
    lines = [f"{kind}: {len(rows)} programs of {len({row['task'] for row in rows})} tasks"]
    for (when, take), name in _FIGURES.items() if rows else ():
        lines.append(_line(name, *(take([row[side][when] * 1e3 for row in rows]) for side in SIDES)))
    odd = [row for row in rows if (row["ours"]["status"] == "pass") != (row["evalplus"]["status"] == "pass")]
    lines += [f"verdicts differ on {row['task']}, {row['program']}: {_said(row)}" for row in odd]
    return "\n".join(lines)


_FIGURES: dict[tuple[str, Callable[[list[float]], float]], str] = {
    ("first_s", statistics.mean): "first runs, mean",  # one alone is not measured finely enough for a median
    ("later_s", statistics.mean): "later runs, mean",
    ("later_s", statistics.median): "later runs, median",
}


def _line(name: str, ours: float, theirs: float) -> str:
    return f"{name:20} CPU ms: ours {ours:8.1f}   evalplus {theirs:8.1f}   ratio {ours / theirs:.2f}"


def _said(row: Row) -> str:
    return ", ".join(f"{side} {row[side]['status']}" for side in SIDES)


if __name__ == "__main__":
    serve(sys.argv[1])
