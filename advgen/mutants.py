"""Small wrong versions of a right program, to measure whether a test suite would notice. Pure syntax-tree work.

Each mutant differs from the original in one place: a comparison, an arithmetic or boolean operator, a constant, a
condition, or a returned value. Equivalent mutants are not ruled out, so a kill rate is a lower bound.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.FloorDiv,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip


def mutants(source: str, limit: int, seed: int = 0) -> list[str]:
    """At most `limit` distinct mutants of `source`, drawn evenly at random when there are more."""
    original = ast.parse(source)
    sites = [index for index, node in enumerate(ast.walk(original)) if any(_changes(node))]
    made: dict[str, None] = {}
    for index in sites:
        for choice in range(len(list(_changes(_nth(original, index))))):
            tree = copy.deepcopy(original)
            node = _nth(tree, index)
            next(change for at, change in enumerate(_changes(node)) if at == choice)()
            made.setdefault(ast.unparse(ast.fix_missing_locations(tree)))
    made.pop(ast.unparse(original), None)
    found = list(made)
    return found if len(found) <= limit else random.Random(seed).sample(found, limit)


def _nth(tree: ast.AST, index: int) -> ast.AST:
    return next(node for at, node in enumerate(ast.walk(tree)) if at == index)


def _changes(node: ast.AST) -> Iterator[Callable[[], None]]:
    """The one-place edits `node` allows, as callables that make them in place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield lambda: node.ops.__setitem__(0, _COMPARE[type(node.ops[0])]())
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield lambda: setattr(node, "op", _ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        number = node.value
        yield lambda: setattr(node, "value", number + 1)
    elif isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield lambda: setattr(node, "value", ast.Constant(None))
