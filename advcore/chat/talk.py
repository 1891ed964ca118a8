"""What a program says of itself when it is loaded: prints, checks, dialogues, examples of use.

A model appends them, and a function is none the worse for it; but a dialogue reads what nobody writes, and an assert
may be the model's own mistake. Set-up that looks alike (`sys.setrecursionlimit(...)`, `_fill()`, a table that is filled
in a loop) is no talk: only what touches nothing that the entry point lives on is. That is read off the text, so a
trimmed program proves something only when it is run itself.
"""

from __future__ import annotations

import ast
import functools

from advcore.chat.syntax import BLOCKS, Part, binds, distinct, layout, names, parsed, parts_of, reached

_SAYS = frozenset({
    "print", "pprint", "pprint.pprint", "sys.stdout.write", "sys.stderr.write", "sys.stdout.flush", "unittest.main",
    "doctest.testmod", "pytest.main", "logging.basicConfig",
})  # fmt: skip
_ASKS = frozenset({"input", "raw_input", "sys.stdin", "stdin", "fileinput.input"})
_LEAVES = frozenset({"exit", "quit", "sys.exit", "os._exit"})
# What can be called without a trace in the module; `setattr` and `exec` are not of these.
_HARMLESS = frozenset({
    "abs", "all", "any", "bool", "bytes", "chr", "dict", "divmod", "enumerate", "filter", "float", "format", "hash",
    "frozenset", "int", "isinstance", "iter", "len", "list", "map", "max", "min", "next", "open", "ord", "pow", "print",
    "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip", "AssertionError",
    "EOFError", "Exception", "IndexError", "KeyError", "KeyboardInterrupt", "SystemExit", "TypeError", "ValueError",
    "ZeroDivisionError", "__name__", "__doc__",
})  # fmt: skip
_PURE = frozenset(
    {"itertools", "math", "random", "string", "time", "timeit"}
)  # modules of which nothing is set
_RUNS = frozenset(
    {"asyncio.run", "logging.debug", "logging.error", "logging.info", "logging.warning", "sys.argv"}
)


def trimmed(code: str, entry_point: str) -> str:
    """`code` without what only talks at its top level, evenly laid out; as it is where it does not parse."""
    module = parsed(code)
    if module is None:
        return code
    kept = parts_of(module)
    while len(left := _swept(kept, entry_point)) < len(kept):
        kept = left
    return layout(code, [part.node for part in kept])


def forms(code: str, entry_point: str) -> list[str]:
    """The forms in which a program of others may be run: as it was written, and without talk where it has any."""
    return distinct([code, trimmed(code, entry_point)])


def waits(code: str) -> bool:
    """Whether a program reads what a person would type when it is loaded."""
    module = parsed(code)
    parts = parts_of(module) if module else []
    return any(part.runs and not says(part.node) and _ASKS & set(names(part.node)) for part in parts)


def _swept(parts: list[Part], entry_point: str) -> list[Part]:
    """The parts, less those that only talk; from the last on, so that what talk alone uses goes too."""
    kept, asking = list(parts), _Asking(parts, entry_point)
    for at in reversed(range(len(parts))):
        part, later = parts[at], kept[at + 1 :]
        if says(part.node) or (not later and _leaves(part.node)) or asking.only(part, later, kept):
            del kept[at]
    return kept


def says(node: ast.stmt) -> bool:
    """Whether a statement does nothing but print, assert or stand there, or is for the file that is the program."""
    if isinstance(node, ast.If):
        return "__name__" in set(names(node.test))
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _called(node.value) in _SAYS
    return isinstance(node, ast.Assert)


def _leaves(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return node.exc is not None and "SystemExit" in set(names(node.exc))
    return isinstance(node, ast.Expr) and _called(node.value) in _LEAVES


def _called(value: ast.expr) -> str:
    """The name, dotted or not, of what an expression calls; '' where it calls nothing."""
    return next(iter(names(value.func)), "") if isinstance(value, ast.Call) else ""


class _Asking:
    """Statements that ask a person, or the entry point, and hand on what they are told to nobody else."""

    def __init__(self, parts: list[Part], entry_point: str) -> None:
        self._name = entry_point
        self._reach, self._names = functools.cache(self._reach_of), functools.cache(self._names_of)
        self._defined = [part for part in parts if not part.runs and entry_point not in part.binds]
        self._imported = {name for part in parts for name in part.binds - binds(part.node, imports=False)}
        self._bound = {name for part in parts for name in part.binds}
        self._asked = _ASKS - (self._bound - self._imported)
        self._fixed = {name for part in parts if _unchanging(part.node) for name in part.binds}
        self._told = {entry_point}
        """The entry point, and what is made of its results or of a person's words."""
        for part in parts:
            if self._asks(part):
                self._told |= part.binds

    def only(self, part: Part, later: list[Part], kept: list[Part]) -> bool:
        """Whether `part` is one, `later` being what still follows it of the parts that are kept."""
        if not self._asks(part):
            return False
        running = [each.reads for each in later if each.runs]
        live = reached({self._name}.union(*running), [each for each in kept if each is not part])
        return not part.binds & live and (self._waits(part) or self._harmless(part, live))

    def _asks(self, part: Part) -> bool:
        if not part.runs or self._name in part.binds:
            return False
        return self._waits(part) or bool(self._reach(part) & self._told)

    def _reach_of(self, part: Part) -> set[str]:
        """What it reads, and what the functions that it calls read, save the entry point."""
        return reached(part.reads, self._defined)

    def _names_of(self, part: Part) -> set[str]:
        """The names, dotted ones too, in it and in the functions that it calls."""
        reach = self._reach(part)
        nodes = [part.node, *(each.node for each in self._defined if each.binds & reach)]
        return {name for node in nodes for name in names(node)}

    def _waits(self, part: Part) -> bool:
        """Whether it reads what a person would type."""
        return bool(self._asked & self._names(part))

    def _harmless(self, part: Part, live: set[str]) -> bool:
        """Whether it changes nothing that the rest of the program lives on, nor a module."""
        used, idle = self._names(part), self._bound - self._imported - live
        if any(_changed(node) not in {None, *part.binds, *idle} for node in ast.walk(part.node)):
            return False
        if any(name.startswith(f"{self._name}.") for name in used):  # f.register(...), f.cache_clear()
            return False
        outside = self._reach(part) - self._told - part.binds - self._fixed - _HARMLESS - (_PURE - live)
        dotted = {name for name in used if name.partition(".")[0] in outside and "." in name}
        outside -= {name.partition(".")[0] for name in dotted} if dotted <= _SAYS | _LEAVES | _RUNS else set()
        return outside <= idle


def _unchanging(node: ast.stmt) -> bool:
    """Whether it binds a function, a class or a plain constant."""
    return isinstance(node, BLOCKS) or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))


def _changed(node: ast.AST) -> str | None:
    """The variable of which an attribute or an item is set, '' where it has no name; None where none is."""
    if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
        return None
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
