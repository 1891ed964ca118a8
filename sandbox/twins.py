"""Twins of a test text, with some expectations replaced by wrong ones: they must fail exactly there.

A solution that shares its process with the tests can forge any outcome, but has to guess which twin it is judged by: a
bent expectation is a literal of the same type like any other, and nothing in the process says that it was bent. Which
sites are bent is tossed for each one in each twin. Used by the clerk, before the solution is anywhere near.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import split

if TYPE_CHECKING:  # a slot must not import it: it seeds itself anew in every fork
    from random import Random

EQUALITIES = frozenset((
    "assertEqual", "assertMultiLineEqual", "assertSequenceEqual", "assertListEqual", "assertTupleEqual",
    "assertSetEqual", "assertDictEqual", "assertCountEqual",
))  # fmt: skip

Site = int | str
"""An assert site by its index, a method of a test class as `Class.method`."""
_TOSSES = 12  # at least so many in all, so that texts of few sites get more twins
_TWINS = 6


def family(tests: str, chance: Random) -> tuple[str, list[tuple[str, set[Site]]], set[Site]]:
    """The text as it is, its twins with the sites that must fail in each, and all sites that can be bent.

    Every text is written out from its syntax tree, so that neither layout nor position tells them apart.
    """
    if split.is_doctest(tests):
        return tests, [], set()
    sites = _bent(tests, chance, share=1.0)[1]
    twins = [_bent(tests, chance, share=0.5) for _ in range(max(_TWINS, _TOSSES // max(len(sites), 1)))]
    missed = sites - set().union(*(bends for _, bends in twins))
    if missed:  # each must have been bent at least once
        twins[chance.randrange(len(twins))] = _bent(tests, chance, share=1.0)
    return ast.unparse(ast.parse(tests)), twins if sites else [], sites


def _bent(tests: str, chance: Random, share: float) -> tuple[str, set[Site]]:
    tree = ast.parse(tests)
    bender = _Bender(tree, chance, share)
    places = {(node.lineno, node.col_offset): node for node in ast.walk(tree) if isinstance(node, ast.Assert)}
    for index, place in split.soft_sites(tests).items():
        bender.bend_assert(index, places[place])
    for case in _cases(tree):
        for method in case.body:
            if (
                isinstance(method, ast.FunctionDef)
                and _keeps_its_name(method)
                and not _may_skip(case, method)
            ):
                bender.bend_method(f"{case.name}.{method.name}", method)
    return ast.unparse(tree), bender.bends


def _may_skip(*nodes: ast.ClassDef | ast.FunctionDef) -> bool:
    return any(
        "skip" in ast.unparse(decorator).lower() for node in nodes for decorator in node.decorator_list
    )


def _cases(tree: ast.Module) -> list[ast.ClassDef]:
    """Test classes that stand alone: the methods of one that is inherited from would run under several names."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = {base.id for each in classes for base in each.bases if isinstance(base, ast.Name)}
    return [each for each in classes if each.name not in bases and _keeps_its_name(each)]


def _keeps_its_name(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """No decorator but those that patch or skip: others may make several tests of one."""
    names = [ast.unparse(decorator) for decorator in node.decorator_list]
    return all("patch" in name or "skip" in name for name in names)


class _Bender:
    """Tosses for every site it is shown, and bends in place."""

    def __init__(self, tree: ast.Module, chance: Random, share: float) -> None:
        self.bends: set[Site] = set()
        self._chance, self._share = chance, share
        self._pool = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]

    def bend_assert(self, index: int, node: ast.Assert) -> None:
        """A `==` of a literal with something that is none."""
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            sides = [test.left, *test.comparators]
            if self._bend_one(sides, {}):
                test.left, test.comparators = sides[0], sides[1:]
                self.bends.add(index)

    def bend_method(self, name: str, method: ast.FunctionDef) -> None:
        """One of the equalities that the method cannot leave out."""
        assigned = _assigned_once(method)
        calls = [call for call in _sure_calls(method.body) if _is_equality(call)]
        self._chance.shuffle(calls)
        if calls and any(self._bend_one(call.args, assigned) for call in calls[:1]):
            self.bends.add(name)

    def _bend_one(self, sides: list[ast.expr], assigned: dict[str, ast.Assign]) -> bool:
        """Bend the one literal of two sides, here or where its name is assigned; False if left as it was."""
        found = [_literal(_behind(s, assigned)) for s in sides[:2]]
        literals = [(position, value) for position, value in enumerate(found) if value is not None]
        if len(found) < 2 or len(literals) != 1 or self._chance.random() >= self._share:
            return False
        position, (value,) = literals[0]
        bent = ast.parse(repr(self._other(value)), mode="eval").body
        side = sides[position]
        if isinstance(side, ast.Name):
            assigned[side.id].value = bent
        else:
            sides[position] = bent
        return True

    def _other(self, value: Any) -> Any:
        """A value of the same type that is not equal to it."""
        if isinstance(value, bool):
            return not value
        if isinstance(value, list | tuple | set) and value:
            items = list(value)
            place = self._chance.randrange(len(items))
            changed = type(value)([*items[:place], self._other(items[place]), *items[place + 1 :]])
            return changed if changed != value else type(value)(items[:-1])
        if isinstance(value, dict) and value:
            key = self._chance.choice(list(value))
            return value | {key: self._other(value[key])}
        others = [each for each in self._pool if type(each) is type(value) and each != value]
        # seldom: a literal that stands twice would give itself away
        if others and self._chance.random() < 0.3:
            return self._chance.choice(others)
        return self._beside(value)

    def _beside(self, value: Any) -> Any:
        """One that a slip of the pen could have made of it."""
        step = self._chance.choice((-3, -2, -1, 1, 2, 3))
        if isinstance(value, int):
            return value + step
        if isinstance(value, float | complex):
            changed = value * (1 + step / 16) + step / 8
            return changed if changed != value and changed == changed else 0.5
        if isinstance(value, str) and value:
            place = self._chance.randrange(len(value))
            letter = self._chance.choice([c for c in "aeiounrst0123" if c != value[place]])
            return value[:place] + letter + value[place + 1 :]
        if isinstance(value, bytes):
            return value + b"s"
        others: dict[type, Any] = {str: "a", list: [0], tuple: (0,), set: {0}, dict: {0: 0}}
        return others.get(type(value), 0)


def _behind(node: ast.expr, assigned: dict[str, ast.Assign]) -> ast.expr:
    return assigned[node.id].value if isinstance(node, ast.Name) and node.id in assigned else node


def _literal(node: ast.expr) -> tuple[Any] | None:
    """Its value in a tuple, or None where it is no literal."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def _is_equality(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in EQUALITIES and len(call.args) >= 2


def _sure_calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Those that run whenever the method comes to its end: up to where it may return, or wait for an exception."""
    for statement in body:
        if any(isinstance(node, ast.Return) for node in ast.walk(statement)):
            return
        if isinstance(statement, ast.With) and split.is_sub_test(statement):
            yield from _sure_calls(statement.body)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield statement.value


def _assigned_once(method: ast.FunctionDef) -> dict[str, ast.Assign]:
    """Names that are given one value and read once."""
    names = [node for node in ast.walk(method) if isinstance(node, ast.Name)]
    counts = {node.id: [0, 0] for node in names}
    for node in names:
        counts[node.id][isinstance(node.ctx, ast.Load)] += 1
    assignments = [s for s in method.body if isinstance(s, ast.Assign) and len(s.targets) == 1]
    return {
        target.id: statement
        for statement in assignments
        if isinstance(target := statement.targets[0], ast.Name) and counts[target.id] == [1, 1]
    }
