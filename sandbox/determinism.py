"""What in a program could make two runs differ: a scan of its text, without running it.

Pure. A finding is a reason to run again under other hash seeds or to leave the program out, not a proof; a
program that hides what it does is not found.
"""

from __future__ import annotations

import ast

_CALLS = {
    "time": "time", "datetime": "time", "random": "random", "secrets": "random", "uuid": "random",
    "threading": "threads", "multiprocessing": "threads", "concurrent": "threads", "asyncio": "threads",
    "socket": "network", "urllib": "network", "http": "network", "requests": "network", "ssl": "network",
}  # fmt: skip
_HARMLESS = frozenset(("datetime.timedelta", "datetime.timezone", "time.struct_time", "random.seed"))
_CLOCK_METHODS = frozenset(("now", "utcnow", "today"))
_NAMES = {"hash": "hash", "id": "address", "input": "input"}


def nondeterminism(source: str) -> tuple[str, ...]:
    """Sorted causes among time, random, threads, network, hash, address, input, set order.

    Raises SyntaxError where the text is no Python.
    """
    tree = ast.parse(source)
    origins = _imported(tree)
    used = [_origin(node, origins) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    found = {cause for name in used if (cause := _cause(name))}
    if (
        "random" in found
        and _seeds(used)
        and not any(name.startswith(("secrets.", "uuid.")) for name in used)
    ):
        found.discard("random")
    found |= {_NAMES[name] for name in used if name in _NAMES}
    found |= {"set order" for node in ast.walk(tree) if isinstance(node, ast.For) and _is_set(node.iter)}
    return tuple(sorted(found))


def _imported(tree: ast.AST) -> dict[str, str]:
    """Local name to dotted origin."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origins |= {
                (a.asname or a.name).split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            origins |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return origins


def _origin(node: ast.expr, origins: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_origin(node.value, origins)}.{node.attr}"
    return origins.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _cause(name: str) -> str | None:
    module, _, member = name.partition(".")
    if not member or name in _HARMLESS or module not in _CALLS:
        return None
    if module == "datetime" and member.rpartition(".")[2] not in _CLOCK_METHODS:
        return None
    return _CALLS[module]


def _seeds(used: list[str]) -> bool:
    return "random.seed" in used


def _is_set(node: ast.expr) -> bool:
    called = (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("set", "frozenset")
    )
    return called or isinstance(node, ast.Set | ast.SetComp)
