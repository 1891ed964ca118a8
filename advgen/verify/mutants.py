"""Small wrong versions of a right program, to measure whether a test suite would notice: the gate's family.

Each mutant differs from the original in one place: a comparison, an arithmetic or boolean operator, a constant, a
condition, or a returned value. Equivalent mutants are not ruled out, so a kill rate is a lower bound. The verifier's
own error rates are measured with another family (`operators`): a gate is not to be measured by what it was built on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from advgen.verify.edits import Edit, variants

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.FloorDiv,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip


def mutants(source: str, limit: int, seed: int = 0) -> list[str]:
    """At most `limit` distinct mutants of `source`, drawn from each kind of edit in turn. Raises ParseError."""
    return [each.source for each in variants(source, FAMILY, limit, seed)]


def comparison(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield lambda: node.ops.__setitem__(0, _COMPARE[type(node.ops[0])]())


def arithmetic(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield lambda: setattr(node, "op", _ARITHMETIC[type(node.op)]())


def boolean(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.BoolOp):
        yield lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())


def constant(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        number = node.value
        yield lambda: setattr(node, "value", number + 1)


def condition(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))


def returned(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Return) and node.value is not None:
        yield lambda: setattr(node, "value", ast.Constant(None))


FAMILY = (comparison, arithmetic, boolean, constant, condition, returned)
