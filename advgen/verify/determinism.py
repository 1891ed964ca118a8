"""What in a program's text forbids believing a single run: a scan before anything runs, and the order of tests after.

`sandbox.nondeterminism` reads what is used by name; added here is what is enough to be imported, and a star import. The
order of a set is left to the hash seeds, under which programs run: most loops over a set end in a sum or a sort.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from typing import TypeVar

from advgen.parse import tree
from sandbox import nondeterminism

T = TypeVar("T")

_LEFT_TO_RUNS = frozenset(("set order",))
_MODULES = {
    "subprocess": "processes", "signal": "processes", "tempfile": "files", "shutil": "files", "glob": "files",
    "pathlib": "files", "platform": "the machine", "getpass": "the machine", "gc": "the machine",
    "ctypes": "the machine", "importlib": "hidden imports", "threading": "threads", "multiprocessing": "threads",
}  # fmt: skip
_STARRED = {"random": "random", "time": "time", "datetime": "time", "secrets": "random", "uuid": "random"}
_HARMLESS_OS = frozenset(("path", "sep", "linesep"))
_CALLS = {"open": "files", "__import__": "hidden imports"}


def causes(source: str) -> tuple[str, ...]:
    """Sorted causes that two runs may differ: time, random, threads, network, hash, address, input, files, processes,
    the machine, hidden imports. Raises ParseError where `source` is no Python that is read here.
    """
    module = tree(source)
    found = set(nondeterminism(ast.unparse(module))) - _LEFT_TO_RUNS
    for node in ast.walk(module):
        found |= _of(node)
    return tuple(sorted(found))


def _of(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {_MODULES[name.name] for name in node.names if name.name in _MODULES}
    if isinstance(node, ast.ImportFrom):
        names = {name.name for name in node.names}
        module = node.module or ""
        return (
            ({_MODULES[module]} if module in _MODULES else set())
            | ({_STARRED[module]} if module in _STARRED and "*" in names else set())
            | ({"the machine"} if module == "os" and names - _HARMLESS_OS else set())
        )
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
        return set() if node.attr in _HARMLESS_OS else {"the machine"}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        return {_CALLS[node.func.id]}
    return set()


def shuffled(tests: Sequence[T], seed: int) -> list[T]:
    """All of `tests` in another order, the same for the same seed."""
    return random.Random(seed).sample(tests, len(tests))
