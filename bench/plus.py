"""The tasks of HumanEval+ and MBPP+ as test texts: an assert for each plus input, on what the own solution gives.

`tasks(FILE)` runs those solutions, which are trusted, in one process apart and with a fixed hash seed, since some give
lists in the order of a set. Values are compared with `==`, floats too: the solutions give the same bits again.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

LONGEST = 300_000
"""Characters of one assert. An input that takes more is left out: the longest would take hundreds of millions."""
_FIRST_OF_TOO_MANY_DIGITS = 10**4000  # the compiler reads no decimal number of more than 4,300


class Task(NamedTuple):
    name: str
    """`HumanEval/0` or `Mbpp/2`."""
    entry_point: str
    code: str
    """The prompt, which has the imports, and the task's own solution."""
    inputs: list[list[Any]]
    expected: list[Any]
    """What the solution gives for each of the inputs; True for an object that is no data."""
    seconds: list[float]
    """What it takes for that."""
    asserts: list[str]
    left_out: int
    atol: float
    """The tolerance that evalplus is to apply."""

    def first(self, count: int | None) -> Task:
        """The task with so many of its tests."""
        lists = ("inputs", "expected", "seconds", "asserts")
        return self._replace(**{name: getattr(self, name)[:count] for name in lists})

    def text(self) -> str:
        imports = "from collections import Counter\n" if Counter in map(type, self.expected) else ""
        return imports + "".join(self.asserts)


def tasks(path: Path, names: Iterable[str] = ()) -> Iterator[Task]:
    """Those of these names, or all of the file. Raises CalledProcessError when the process that runs them dies."""
    command = [sys.executable, "-P", __file__, str(path), *names]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        while process.stdout.peek(1):
            yield Task(*pickle.load(process.stdout))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


# --- writing an assert --------------------------------------------------------------------------------------


class NoLiteral(TypeError):
    """The value is an object, and no data."""


def literal(value: Any) -> str:
    """Python that reads back as the very value."""
    kind = type(value)
    if kind is int:
        return hex(value) if abs(value) >= _FIRST_OF_TOO_MANY_DIGITS else repr(value)
    if kind is float and not math.isfinite(value):
        return f"float('{value}')"
    if kind in (list, tuple, set):
        return _sequence(value)
    if kind in (dict, Counter):
        items = ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items())
        return f"{{{items}}}" if kind is dict else f"Counter({{{items}}})"
    if kind in (str, bytes, bool, float, complex, type(None)):
        return repr(value)
    raise NoLiteral(kind.__name__)


def _sequence(value: Any) -> str:
    items = ", ".join(map(literal, value))
    if type(value) is list:
        return f"[{items}]"
    if type(value) is set:
        return f"{{{items}}}" if value else "set()"
    return f"({items},)" if len(value) == 1 else f"({items})"


def _is_long(value: Any) -> bool:
    """Found out without writing hundreds of megabytes; what cannot be pickled is no data, and short."""
    try:
        return len(pickle.dumps(value)) > LONGEST
    except (TypeError, pickle.PicklingError):
        return False


# --- running a task's own solution --------------------------------------------------------------------------


def _task(row: dict[str, Any]) -> Task:
    namespace: dict[str, Any] = {}
    code = row["prompt"] + row["canonical_solution"]
    exec(code, namespace)
    found = [_tried(namespace[row["entry_point"]], row["entry_point"], each) for each in _inputs(row)]
    kept = [each for each in found if each is not None]
    inputs, expected, seconds, asserts = map(list, zip(*kept, strict=True)) if kept else ([], [], [], [])
    left_out = len(found) - len(kept)
    return Task(
        row["task_id"], row["entry_point"], code, inputs, expected, seconds, asserts, left_out, row["atol"]
    )


def _tried(function: Any, name: str, arguments: list[Any]) -> tuple[list[Any], Any, float, str] | None:
    """The arguments, what the function gives for them, the seconds that takes, the assert; None when that is too long.

    Of an object that is no data only its presence is asserted, which is all that evalplus asks.
    """
    copies, start = deepcopy(arguments), time.perf_counter()
    with redirect_stdout(StringIO()):
        value = function(*copies)
    seconds = time.perf_counter() - start
    if _is_long(value):
        return None
    try:
        judgement = f"== {literal(value)}"
    except NoLiteral:
        value, judgement = True, "is not None"
    line = f"assert {name}({', '.join(map(literal, arguments))}) {judgement}\n"
    return (arguments, value, seconds, line) if len(line) <= LONGEST else None


# --- the types that JSON lost -------------------------------------------------------------------------------


def _inputs(row: dict[str, Any]) -> list[list[Any]]:
    """The plus inputs with tuples, sets and numbers where the asserts that MBPP+ prints in its rows have them."""
    if "assertion" not in row:
        return row["plus_input"]
    calls = list(_calls(row["assertion"], row["entry_point"]))
    columns = [[call[place] for call in calls if place < len(call)] for place in range(max(map(len, calls)))]
    return [list(map(_argument, arguments, columns)) for arguments in row["plus_input"]]


def _calls(asserts: str, name: str) -> Iterator[list[Any]]:
    """The arguments of each call of that name."""
    for node in ast.walk(ast.parse(asserts)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield [eval(ast.unparse(each)) for each in node.args]


def _argument(value: Any, examples: Sequence[Any]) -> Any:
    """JSON has no complex numbers: they stand there as text, and the real ones with them."""
    if type(value) is str and str not in map(type, examples):
        with suppress(ValueError):
            number = complex(value)
            return number if number.imag else number.real
    return _like(value, examples)


def _like(value: Any, examples: Sequence[Any], outer: type = list) -> Any:
    """`value` as the type that the examples have at its place, or where they have none, of what it is in."""
    kinds = set(map(type, examples))
    if type(value) is list:
        own = next((kind for kind in (list, tuple, set) if kind in kinds), outer)
        inner = [item for each in examples if isinstance(each, list | tuple | set) for item in each]
        return own(_like(item, inner, own) for item in value)
    if type(value) is dict:
        inner = [item for each in examples if isinstance(each, dict) for item in each.values()]
        return {key: _like(item, inner) for key, item in value.items()}
    return value


def main(path: str, *names: str) -> None:
    sys.setrecursionlimit(10_000)
    sys.set_int_max_str_digits(0)
    for row in rows(Path(path)):
        if not names or row["task_id"] in names:
            pickle.dump(tuple(_task(row)), sys.stdout.buffer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
