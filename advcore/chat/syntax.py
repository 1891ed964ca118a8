"""Python text as its statements: the tree, and the names that a statement binds and reads. Runs nothing.

What a model writes is hostile to parsers too, so text beyond `MAX_SOURCE_CHARS` is never given to one.
"""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_SOURCE_CHARS = 20_000  # beyond it a reply is a runaway, and Python's parser a risk
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def module_of(source: str) -> ast.Module:
    """The syntax tree. Raises one of UNPARSABLE. Never in two threads at once: it mutes Python's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in a model's strings are not our concern
        return ast.parse(source)


def parsed(source: str) -> ast.Module | None:
    """The same, and None for what cannot be parsed or is too long to try."""
    if len(source) > MAX_SOURCE_CHARS:
        return None
    try:
        return module_of(source)
    except UNPARSABLE:
        return None


def binds(node: ast.stmt, imports: bool = True) -> set[str]:
    """The names that a statement binds where it stands, in its branches and loops too, inside of functions not."""
    found: set[str] = set()
    for each in here(node):
        if isinstance(each, BLOCKS):
            found.add(each.name)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            found |= {name.asname or name.name.split(".")[0] for name in each.names} if imports else set()
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            found.add(each.id)
        elif isinstance(each, ast.ExceptHandler) and each.name:
            found.add(each.name)
    return found


def here(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is inside of it, without a new scope's inside."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        if not isinstance(
            each, (*BLOCKS, ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)
        ):
            waiting.extend(ast.iter_child_nodes(each))


def reads(nodes: Iterable[ast.stmt]) -> set[str]:
    """The global names that statements read or declare, in their functions too; empty where Python cannot say."""
    found: set[str] = set()
    try:
        tables = [symtable.symtable(ast.unparse(ast.Module([*nodes], [])), "reply", "exec")]
    except UNPARSABLE:
        return found
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (top and symbol.is_referenced()) or (not top and symbol.is_global())
        }
    return found


def names(node: ast.AST) -> Iterator[str]:
    """Every name and dotted name inside of `node`, such as `sys.stdin`."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            yield f"{each.value.id}.{each.attr}"


def is_stub(node: ast.stmt) -> bool:
    """Whether a function has no body: nothing but `pass` or `...` behind its docstring."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and all(
        isinstance(each, ast.Pass) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in node.body
    )


@dataclass(frozen=True)
class Part:
    """One statement of a module, with the names it deals in."""

    node: ast.stmt
    binds: frozenset[str]
    reads: frozenset[str]

    @property
    def runs(self) -> bool:
        """Whether it does anything when the module is loaded, other than to define a function or a class."""
        return not isinstance(self.node, BLOCKS)


def parts_of(module: ast.Module) -> list[Part]:
    """The statements of a module."""
    return [
        Part(node, frozenset(binds(node)), frozenset(reads([node]) | _deleted(node))) for node in module.body
    ]


def _deleted(node: ast.stmt) -> set[str]:
    return {each.id for each in here(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Del)}


def reached(start: Iterable[str], parts: Iterable[Part]) -> set[str]:
    """The names `start`, and all that the statements binding them read, and so on."""
    found: set[str] = set()
    waiting, known = set(start), list(parts)
    while waiting:
        found |= waiting
        waiting = set().union(*(part.reads for part in known if part.binds & waiting)) - found
    return found


def distinct(programs: Iterable[str]) -> list[str]:
    """Those of the programs that say something else than the ones before them, be it laid out as it may."""
    found: dict[str, str] = {}
    for code in programs:
        try:
            found.setdefault(ast.dump(parsed(code) or ast.Constant(code)), code)
        except RecursionError:  # a tree too deep to be written down
            found.setdefault(code, code)
    return list(found.values())


def layout(source: str, kept: Iterable[ast.stmt]) -> str:
    """The text of these statements of `source`, with even gaps; those that share a line are written once."""
    lines, written, end = source.split("\n"), "", 0
    for node in kept:
        last = node.end_lineno or node.lineno
        start = max(first_line(node), end + 1)
        if start <= last:
            gap = ("\n\n" if isinstance(node, BLOCKS) else "\n") if written else ""
            written += gap + "\n".join(lines[start - 1 : last])
            end = last
    return written


def first_line(node: ast.stmt) -> int:
    """That of its first decorator, if it has one."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
