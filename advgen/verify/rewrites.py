"""Other programs that do the same: known-right ones, to measure how often the verifier turns a right program away.

Each rewrite keeps the meaning by construction, for programs that hold to plain functions: where classes, scopes named
by hand, or looks at the interpreter's own state are in play, nothing is rewritten.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, pairwise

from advgen.parse import tree
from advgen.verify.edits import Edit, Operator, Variant, blocks, names, places, update, variants

_NOT_PLAIN = (ast.ClassDef, ast.AsyncFunctionDef, ast.Global, ast.Nonlocal, ast.Match, ast.Await)
_OWN_SCOPE = (ast.FunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_REFLECTIVE = frozenset(("locals", "globals", "vars", "dir", "eval", "exec", "inspect", "sys", "traceback"))
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq,
}  # fmt: skip


def rewrites(source: str, limit: int, seed: int = 0) -> list[Variant]:
    """At most `limit` programs that do what `source` does, each rewritten in one place. Raises ParseError."""
    module = tree(source)
    nodes = list(ast.walk(module))
    if any(isinstance(node, _NOT_PLAIN) for node in nodes) or names(module) & _REFLECTIVE:
        return []
    rewriter = _Rewriter(names(module), _bound(module))
    return variants(source, rewriter.family(), limit, seed)


def _bound(node: ast.AST) -> set[str]:
    """Names that are given a meaning anywhere in it."""
    stored = {
        each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    return stored | _bound_by_others(node)


def _bound_by_others(node: ast.AST) -> set[str]:
    """By parameters, definitions, imports and handlers, which hold the name as text."""
    found: set[str | None] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            found.add(each.arg)
        elif isinstance(each, ast.FunctionDef | ast.ExceptHandler):
            found.add(each.name)
        elif isinstance(each, ast.alias):
            found.add((each.asname or each.name).split(".")[0])
    return {name for name in found if name}


class _Rewriter:
    """The operators, with the names of the program they are for."""

    def __init__(self, taken: set[str], bound: set[str]) -> None:
        self._taken, self._bound = taken, bound

    def family(self) -> tuple[Operator, ...]:
        return (
            self.inverted_if, self.de_morgan, self.mirrored_comparison, self.unchained_comparison, self.else_after_exit,
            self.named_result, self.for_as_while, self.endless_while, self.comprehension_as_loop,
            self.spelled_out_assignment, self.renamed_locals, self.reordered_functions, self.delegated,
        )  # fmt: skip

    def _fresh(self, stem: str) -> str:
        return next(name for at in count() if (name := f"{stem}_{at}") not in self._taken)

    def inverted_if(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.If) and node.orelse:
            test = ast.UnaryOp(ast.Not(), node.test)
            yield partial(update, node, test=test, body=node.orelse, orelse=node.body)

    def de_morgan(self, node: ast.AST) -> Iterator[Edit]:
        """Of a condition only, where nothing but its truth is used."""
        if isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(node.test, ast.BoolOp):
            other = ast.Or() if isinstance(node.test.op, ast.And) else ast.And()
            parts: list[ast.expr] = [ast.UnaryOp(ast.Not(), value) for value in node.test.values]
            yield partial(setattr, node, "test", ast.UnaryOp(ast.Not(), ast.BoolOp(other, parts)))

    def mirrored_comparison(self, node: ast.AST) -> Iterator[Edit]:
        """`a < b` as `b > a`; of names and constants only, which may be looked at in any order."""
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _MIRRORED:
            left, right = node.left, node.comparators[0]
            if _simple(left) and _simple(right):
                yield partial(
                    update, node, left=right, ops=[_MIRRORED[type(node.ops[0])]()], comparators=[left]
                )

    def unchained_comparison(self, node: ast.AST) -> Iterator[Edit]:
        """`a < b < c` as `a < b and b < c`."""
        for value, put in places(node):
            if isinstance(value, ast.Compare) and len(value.ops) == 2 and _simple(value.comparators[0]):
                middle, last = value.comparators
                first = ast.Compare(value.left, value.ops[:1], [middle])
                yield partial(put, ast.BoolOp(ast.And(), [first, ast.Compare(middle, value.ops[1:], [last])]))

    def else_after_exit(self, node: ast.AST) -> Iterator[Edit]:
        """What follows an `if` that leaves becomes its `else`."""
        for block in blocks(node):
            for at, each in enumerate(block[:-1]):
                if (
                    isinstance(each, ast.If)
                    and not each.orelse
                    and isinstance(each.body[-1], ast.Return | ast.Raise)
                ):
                    joined = ast.If(each.test, each.body, block[at + 1 :])
                    yield partial(block.__setitem__, slice(at, None), [joined])

    def named_result(self, node: ast.AST) -> Iterator[Edit]:
        for block in blocks(node):
            for at, each in enumerate(block):
                if isinstance(each, ast.Return) and each.value is not None and not _simple(each.value):
                    yield partial(
                        block.__setitem__, slice(at, at + 1), _named(each.value, self._fresh("result"))
                    )

    def for_as_while(self, node: ast.AST) -> Iterator[Edit]:
        if self._bound & {"iter", "next", "StopIteration"}:
            return
        for block in blocks(node):
            for at, each in enumerate(block):
                if isinstance(each, ast.For) and not each.orelse and _only_names(each.target):
                    yield partial(block.__setitem__, slice(at, at + 1), _while(each, self._fresh("items")))

    def endless_while(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.While) and not node.orelse and not isinstance(node.test, ast.Constant):
            exit_ = ast.If(ast.UnaryOp(ast.Not(), node.test), [ast.Break()], [])
            yield partial(update, node, test=ast.Constant(True), body=[exit_, *node.body])

    def comprehension_as_loop(self, node: ast.AST) -> Iterator[Edit]:
        for block in blocks(node):
            for at, each in enumerate(block):
                if not isinstance(each, ast.Return | ast.Assign) or not isinstance(each.value, ast.ListComp):
                    continue
                if _unrollable(each.value):
                    yield partial(self._unroll, block, at, each, each.value)

    def _unroll(
        self, block: list[ast.stmt], at: int, each: ast.Return | ast.Assign, made: ast.ListComp
    ) -> None:
        (generator,) = made.generators
        # Its variables are its own: in a loop they would be the function's, so they get names of nobody.
        own = {name.id for name in ast.walk(generator.target) if isinstance(name, ast.Name)}
        inside: list[ast.expr] = [generator.target, made.elt, *generator.ifs]
        _rename(inside, {name: self._fresh(name) for name in own})
        built = self._fresh("built")
        append = ast.Attribute(ast.Name(built, ast.Load()), "append", ast.Load())
        body: ast.stmt = ast.Expr(ast.Call(append, [made.elt], []))
        for condition in reversed(generator.ifs):
            body = ast.If(condition, [body], [])
        each.value = ast.Name(built, ast.Load())
        start = ast.Assign([ast.Name(built, ast.Store())], ast.List([], ast.Load()))
        block[at : at + 1] = [start, ast.For(generator.target, generator.iter, [body], []), each]

    def spelled_out_assignment(self, node: ast.AST) -> Iterator[Edit]:
        """`x += y` as `x = x + y`, where x begins as a number or a string: no sum of those is changed in place."""
        if not isinstance(node, ast.FunctionDef) or _has_inner_scope(node):
            return
        immutable = _immutable(node)
        for holder in ast.walk(node):
            for block in blocks(holder):
                for at, each in enumerate(block):
                    if (
                        isinstance(each, ast.AugAssign)
                        and isinstance(each.target, ast.Name)
                        and each.target.id in immutable
                    ):
                        long = ast.BinOp(ast.Name(each.target.id, ast.Load()), each.op, each.value)
                        yield partial(block.__setitem__, at, ast.Assign([each.target], long))

    def renamed_locals(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.FunctionDef) or _has_inner_scope(node):
            return
        own = _stored_outside_comprehensions(node) - _bound_by_others(node)
        if own:
            yield partial(_rename, [node], {name: self._fresh(name) for name in own})

    def reordered_functions(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Module):
            return
        for at, (first, second) in enumerate(pairwise(node.body)):
            if (
                isinstance(first, ast.FunctionDef)
                and isinstance(second, ast.FunctionDef)
                and _independent(first, second)
            ):
                yield partial(node.body.__setitem__, slice(at, at + 2), [second, first])

    def delegated(self, node: ast.AST) -> Iterator[Edit]:
        """A function that only hands on to the renamed one. Not where it is called in the program itself: recursion
        would go twice as deep.
        """
        if not isinstance(node, ast.Module):
            return
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        for at, each in enumerate(node.body):
            if isinstance(each, ast.FunctionDef) and not each.decorator_list and each.name not in used:
                yield partial(self._delegate, node.body, at, each)

    def _delegate(self, block: list[ast.stmt], at: int, function: ast.FunctionDef) -> None:
        inner = self._fresh(function.name)
        text = f"def {function.name}(*args, **kwargs):\n    return {inner}(*args, **kwargs)"
        function.name = inner
        block[at + 1 : at + 1] = ast.parse(text).body


def _simple(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Constant)


def _only_names(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) or (
        isinstance(target, ast.Tuple) and all(isinstance(each, ast.Name) for each in target.elts)
    )


def _named(value: ast.expr, name: str) -> list[ast.stmt]:
    return [ast.Assign([ast.Name(name, ast.Store())], value), ast.Return(ast.Name(name, ast.Load()))]


def _while(loop: ast.For, name: str) -> list[ast.stmt]:
    advance = ast.Assign([loop.target], _call("next", ast.Name(name, ast.Load())))
    end = ast.ExceptHandler(ast.Name("StopIteration", ast.Load()), None, [ast.Break()])
    start = ast.Assign([ast.Name(name, ast.Store())], _call("iter", loop.iter))
    step = ast.Try([advance], [end], [], [])
    return [start, ast.While(ast.Constant(True), [step, *loop.body], [])]


def _call(function: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), [argument], [])


def _unrollable(made: ast.ListComp) -> bool:
    """One plain generator, and nothing inside that has variables of its own or keeps them for later."""
    generator = made.generators[0]
    parts = [made.elt, *generator.ifs]
    inner = (*_COMPREHENSIONS, ast.Lambda, ast.NamedExpr, ast.Yield, ast.YieldFrom)
    plain = not any(isinstance(node, inner) for part in parts for node in ast.walk(part))
    return plain and len(made.generators) == 1 and not generator.is_async and _only_names(generator.target)


def _rename(nodes: Sequence[ast.AST], new: dict[str, str]) -> None:
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and each.id in new:
                each.id = new[each.id]


def _has_inner_scope(function: ast.FunctionDef) -> bool:
    return any(isinstance(each, _OWN_SCOPE) for each in ast.walk(function) if each is not function)


def _stored_outside_comprehensions(node: ast.AST) -> set[str]:
    if isinstance(node, _COMPREHENSIONS):
        return set()
    found = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return found.union(*map(_stored_outside_comprehensions, ast.iter_child_nodes(node)))


def _immutable(function: ast.FunctionDef) -> set[str]:
    """Locals that are only ever given number or string constants, or changed by `+=` and `-=`."""
    allowed: set[int] = set()
    for each in ast.walk(function):
        if isinstance(each, ast.AugAssign) and isinstance(each.op, ast.Add | ast.Sub):
            allowed.add(id(each.target))
        elif isinstance(each, ast.Assign) and _is_plain_constant(each.value):
            allowed |= {id(target) for target in each.targets}
    stored = [
        each for each in ast.walk(function) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    ]
    other = {each.id for each in stored if id(each) not in allowed} | _bound_by_others(function)
    return {each.id for each in stored} - other


def _is_plain_constant(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float | str)


def _independent(one: ast.FunctionDef, other: ast.FunctionDef) -> bool:
    """Whether it makes no difference which of two neighbours is defined first."""
    for each in (one, other):
        defaults = [*each.args.defaults, *(value for value in each.args.kw_defaults if value)]
        if each.decorator_list or not all(isinstance(value, ast.Constant) for value in defaults):
            return False
        if {one.name, other.name} & (names(each.args) | (names(each.returns) if each.returns else set())):
            return False
    return one.name != other.name
