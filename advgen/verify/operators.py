"""Wrong versions of a program by mistakes that programmers make: the held-out family, which no gate uses.

The verifier's false accepts are measured with these (`calibration`), the tests' strength is gated with those of
`mutants`: the two must have no operator in common, or the gate would be measured by what it was fitted to.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from functools import partial
from itertools import pairwise
from typing import TypeGuard

from advgen.verify.edits import Edit, blocks, places, update

_FUNCTIONS = {
    "min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "sum": "len",
}  # fmt: skip
_METHODS = {
    "strip": "lstrip", "lstrip": "strip", "rstrip": "strip", "lower": "upper", "upper": "lower", "find": "rfind",
    "rfind": "find", "index": "count", "startswith": "endswith", "endswith": "startswith", "isdigit": "isalnum",
    "isalpha": "isalnum", "isalnum": "isalpha", "union": "intersection", "intersection": "union", "keys": "values",
    "values": "keys", "append": "extend", "popleft": "pop", "title": "capitalize", "islower": "isupper",
    "isupper": "islower", "ljust": "rjust", "rjust": "ljust",
}  # fmt: skip
_UNWRAPPED = frozenset(("abs", "int", "float", "str", "round", "set", "sorted", "list", "reversed", "tuple"))
_MIRRORED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_INITIAL: dict[type, int | float | str] = {
    int: -1,
    float: 1.0,
    str: " ",
}  # unlike the gate's, which adds 1 to whole numbers


def swapped_arguments(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call) and len(node.args) >= 2 and not _starred(node.args[:2]):
        yield partial(node.args.__setitem__, slice(0, 2), node.args[1::-1])


def shifted_slice(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Slice):
        if not isinstance(node.lower, ast.Constant):  # the gate adds 1 to constants
            yield partial(setattr, node, "lower", _plus(node.lower, 1) if node.lower else ast.Constant(1))
        yield partial(setattr, node, "upper", _plus(node.upper, -1) if node.upper else ast.Constant(-1))


def shifted_index(node: ast.AST) -> Iterator[Edit]:
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.slice, ast.Name)
    ):
        yield partial(setattr, node, "slice", _plus(node.slice, -1))


def shifted_range(node: ast.AST) -> Iterator[Edit]:
    if not _calls(node, {"range"}) or _starred(node.args):
        return
    if len(node.args) == 1:
        yield partial(setattr, node, "args", [ast.Constant(1), *node.args])
        yield partial(setattr, node, "args", [_plus(node.args[0], -1)])
    elif node.args:
        if not isinstance(node.args[0], ast.Constant):  # see above
            yield partial(node.args.__setitem__, 0, _plus(node.args[0], 1))
        yield partial(node.args.__setitem__, 1, _plus(node.args[1], -1))


def dropped_else(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.If) and node.orelse:
        yield partial(setattr, node, "orelse", [])


def dropped_guard(node: ast.AST) -> Iterator[Edit]:
    """An `if` that ends in return, raise, continue or break and has no other arm: a special case forgotten."""
    for block in blocks(node):
        for at, each in enumerate(block):
            if isinstance(each, ast.If) and not each.orelse and _leaves(each.body) and len(block) > 1:
                yield partial(block.pop, at)


def removed_statement(node: ast.AST) -> Iterator[Edit]:
    for block in blocks(node):
        for at, each in enumerate(block):
            if isinstance(each, ast.AugAssign | ast.Continue | ast.Break) or _is_call(each):
                yield partial(block.__setitem__, at, ast.Pass())


def initial_value(node: ast.AST) -> Iterator[Edit]:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return
    value = node.value
    if isinstance(value, ast.Constant) and type(value.value) is bool:
        yield partial(setattr, node, "value", ast.Constant(not value.value))
    elif isinstance(value, ast.Constant) and type(value.value) in _INITIAL:
        other = _INITIAL[type(value.value)]
        yield partial(setattr, node, "value", ast.Constant(other))
    elif isinstance(value, ast.List) and not value.elts:
        yield partial(value.elts.append, ast.Constant(0))


def swapped_operands(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _MIRRORED):
        yield partial(update, node, left=node.comparators[0], comparators=[node.left])
    elif isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow
    ):
        yield partial(update, node, left=node.right, right=node.left)


def negated_part(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.BoolOp):
        for at, value in enumerate(node.values):
            yield partial(node.values.__setitem__, at, ast.UnaryOp(ast.Not(), value))


def dropped_part(node: ast.AST) -> Iterator[Edit]:
    """One side of an `and` or `or` forgotten."""
    if isinstance(node, ast.BoolOp):
        for at in range(len(node.values)):
            yield partial(node.values.__setitem__, at, ast.Constant(isinstance(node.op, ast.And)))


def other_method(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
        function = node.func
        yield partial(setattr, function, "attr", _METHODS[function.attr])


def other_function(node: ast.AST) -> Iterator[Edit]:
    if _calls(node, _FUNCTIONS) and isinstance(node.func, ast.Name):
        function = node.func
        yield partial(setattr, function, "id", _FUNCTIONS[function.id])


def reversed_order(node: ast.AST) -> Iterator[Edit]:
    sorts = _calls(node, {"sorted"}) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sort"
    )
    if not sorts or not isinstance(node, ast.Call):
        return
    if any(keyword.arg == "reverse" for keyword in node.keywords):
        yield lambda: setattr(node, "keywords", [each for each in node.keywords if each.arg != "reverse"])
    else:
        yield partial(node.keywords.append, ast.keyword("reverse", ast.Constant(True)))


def forgotten_key(node: ast.AST) -> Iterator[Edit]:
    """`key=` or `default=` forgotten."""
    if isinstance(node, ast.Call):
        for at, keyword in enumerate(node.keywords):
            if keyword.arg in ("key", "default"):
                yield partial(node.keywords.pop, at)


def unwrapped(node: ast.AST) -> Iterator[Edit]:
    """`set(x)` becomes `x`: a conversion forgotten."""
    for value, put in places(node):
        if _calls(value, _UNWRAPPED) and len(value.args) == 1 and not _starred(value.args):
            yield partial(put, value.args[0])


def other_exit(node: ast.AST) -> Iterator[Edit]:
    for block in blocks(node):
        for at, each in enumerate(block):
            if isinstance(each, ast.Break | ast.Continue):
                other = ast.Continue() if isinstance(each, ast.Break) else ast.Break()
                yield partial(block.__setitem__, at, other)


def early_return(node: ast.AST) -> Iterator[Edit]:
    """The return after a loop indented into it."""
    for block in blocks(node):
        for loop, after in pairwise(block):
            if isinstance(loop, ast.For | ast.While) and isinstance(after, ast.Return):
                yield partial(loop.body.append, after)


def loop_once(node: ast.AST) -> Iterator[Edit]:
    for block in blocks(node):
        for at, each in enumerate(block):
            if isinstance(each, ast.While) and not each.orelse and not _exits(each):
                once = ast.If(each.test, each.body, [])
                yield partial(block.__setitem__, at, once)


def other_variable(node: ast.AST) -> Iterator[Edit]:
    """One use of a parameter replaced by the next parameter."""
    if not isinstance(node, ast.FunctionDef):
        return
    parameters = [argument.arg for argument in node.args.args]
    following = dict(zip(parameters, parameters[1:] + parameters[:1], strict=True))
    for each in ast.walk(node):
        if (
            isinstance(each, ast.Name)
            and isinstance(each.ctx, ast.Load)
            and len(parameters) > 1
            and each.id in following
        ):
            yield partial(setattr, each, "id", following[each.id])


FAMILY = (
    swapped_arguments, shifted_slice, shifted_index, shifted_range, dropped_else, dropped_guard, removed_statement,
    initial_value, swapped_operands, negated_part, dropped_part, other_method, other_function, reversed_order,
    forgotten_key, unwrapped, other_exit, early_return, loop_once, other_variable,
)  # fmt: skip


def _calls(node: object, names: Container[str]) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _starred(arguments: list[ast.expr]) -> bool:
    return any(isinstance(each, ast.Starred) for each in arguments)


def _plus(value: ast.expr, step: int) -> ast.expr:
    return ast.BinOp(value, ast.Add() if step > 0 else ast.Sub(), ast.Constant(abs(step)))


def _is_call(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _leaves(body: list[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)


def _exits(loop: ast.While) -> bool:
    """Whether a `break` or `continue` is in it, if only in a loop inside: those are left alone too."""
    return any(isinstance(node, ast.Break | ast.Continue) for node in ast.walk(loop))
