"""What is compared: rows, hits, and the items of benchmark files. Reads; hashes, compares and runs nothing.

HumanEval(+), MBPP and MBPP+ as their authors publish them, and any JSON Lines file that has `prompt`, `text` or
`instruction`, and optionally `canonical_solution` or `code`, `test`, `test_list` or `assertion`, and `entry_point`.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError


@dataclass(frozen=True, slots=True)
class Text:
    """One row as it would be trained on: the prompt with its statement, and the program; either may be ""."""

    prompt: str
    code: str
    entry_point: str


@dataclass(frozen=True, slots=True)
class Hit:
    """`item` is "" where only hashes of the benchmark are at hand."""

    layer: str
    benchmark: str
    item: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One task. What a file does not give is empty."""

    benchmark: str
    name: str
    prompt: str
    code: str
    """The whole solution, with the stub where the file gives the body alone."""
    entry_point: str
    tests: str
    inputs: tuple[tuple[Any, ...], ...] = ()
    """Arguments that programs are compared on, where a file has them (EvalPlus's)."""
    unordered: bool = False
    """What is returned is compared as a set."""

    @property
    def statement(self) -> str:
        """Signature and docstring; where the prompt has no signature, that of the solution."""
        functions = [node for node in ast.parse(self.code).body if isinstance(node, ast.FunctionDef)]
        found = [node for node in functions if node.name == self.entry_point]
        if re.search(rf"^def {re.escape(self.entry_point)}\b", self.prompt, re.MULTILINE) or not found:
            return self.prompt
        found[-1].body, found[-1].decorator_list = [ast.Pass()], []
        docstring = self.prompt.strip().strip('"').strip().replace("\\", "\\\\").replace("\n", "\n    ")
        return f'{ast.unparse(found[-1]).removesuffix("pass").rstrip()}\n    """{docstring}\n    """'


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A benchmark file by its name and content."""

    benchmark: str
    file: str
    sha256: str
    items: int


def read(path: Path) -> tuple[Source, list[Item]]:
    """The items of a `.jsonl` or `.jsonl.gz` file. Raises DataError: not there, not readable, a row without a text."""
    benchmark = path.name.split(".jsonl")[0]
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        # not splitlines: rows may hold Unicode's own line separators
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        items = [_item(benchmark, number, row) for number, row in enumerate(rows)]
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{path} is no benchmark in JSON Lines: {type(error).__name__} {error}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    return Source(benchmark=benchmark, file=path.name, sha256=sha256, items=len(items)), items


def _item(benchmark: str, number: int, row: Mapping[str, Any]) -> Item:
    prompt = next((row[key] for key in ("prompt", "text", "instruction") if row.get(key)), None)
    if not isinstance(prompt, str):
        raise KeyError(f"row {number} has no prompt, text or instruction")
    name = str(row.get("task_id", number))
    body = str(row.get("canonical_solution") or row.get("code") or "").replace("\r\n", "\n")
    asserts = [row.get("test_setup_code") or "", *(row.get("test_list") or [])]
    tests = str(row.get("test") or row.get("assertion") or "\n".join(asserts)).replace("\r\n", "\n").strip()
    entry_point = str(row.get("entry_point") or _tested(body, tests))
    whole = (
        body
        if not body or re.search(rf"^def {re.escape(entry_point)}\b", body, re.MULTILINE)
        else prompt + body
    )
    return Item(
        benchmark=benchmark, name=name if "/" in name else f"{benchmark}/{name}", prompt=prompt, code=whole,
        entry_point=entry_point, tests=tests,
        inputs=tuple(map(tuple, [*(row.get("base_input") or ()), *(row.get("plus_input") or ())])),
        unordered=bool(re.search(rf"assert set\({re.escape(entry_point)}\(", prompt)),
    )  # fmt: skip


def _tested(code: str, tests: str) -> str:
    """The function of `code` that the tests call, else the last one it defines, else ""."""
    defined = re.findall(r"^def (\w+)", code, re.MULTILINE)
    called = re.findall(r"\w+(?=\()", tests)
    return next((name for name in called if name in defined), defined[-1] if defined else "")


def parameters(module: ast.Module, entry_point: str) -> tuple[list[str], int] | None:
    """The names of the entry point's positional parameters, and how many have no default; None if it is not there."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and node.name == entry_point:
            names = [each.arg for each in [*node.args.posonlyargs, *node.args.args]]
            return names, len(names) - len(node.args.defaults)
    return None
