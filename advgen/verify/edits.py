"""Versions of a program that differ from it in one place: what mutants and rewrites are made with. Pure tree work."""

from __future__ import annotations

import ast
import copy
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from advgen.parse import tree

Edit = Callable[[], Any]
Operator = Callable[[ast.AST], Iterator[Edit]]
"""The edits that one node allows, each made in place on the tree it is part of. Its name is the operator's."""


@dataclass(frozen=True, slots=True)
class Variant:
    """`source` after one edit by `operator`."""

    operator: str
    source: str


def variants(source: str, family: Sequence[Operator], limit: int, seed: int = 0) -> list[Variant]:
    """At most `limit` distinct variants, drawn at random from each operator in turn, so that rare ones are not lost.

    Raises ParseError.
    """
    original = tree(source)
    sites = _in_turn(_sites(original, family), random.Random(seed))
    made = {ast.unparse(original): ""}
    for operator, index, choice in sites:
        if len(made) > limit:
            break
        copied = copy.deepcopy(original)
        next(edit for at, edit in enumerate(operator(_nth(copied, index))) if at == choice)()
        made.setdefault(ast.unparse(ast.fix_missing_locations(copied)), operator.__name__)
    return [Variant(name, text) for text, name in list(made.items())[1:]]


_Site = tuple[
    Operator, int, int
]  # with the node's number in the walk, and the edit's among those it allows there


def _sites(original: ast.Module, family: Sequence[Operator]) -> dict[str, list[_Site]]:
    found: dict[str, list[_Site]] = defaultdict(list)
    for index, node in enumerate(ast.walk(original)):
        for operator in family:
            found[operator.__name__] += [(operator, index, choice) for choice, _ in enumerate(operator(node))]
    return found


def _in_turn(sites: dict[str, list[_Site]], chance: random.Random) -> list[_Site]:
    for each in sites.values():
        chance.shuffle(each)
    rounds = zip_longest(*sites.values())
    return [site for site in chain.from_iterable(rounds) if site is not None]


def _nth(module: ast.AST, index: int) -> ast.AST:
    return next(node for at, node in enumerate(ast.walk(module)) if at == index)


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements that `node` holds itself."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list) and block:
            yield block


def places(node: ast.AST) -> Iterator[tuple[ast.expr, Callable[[ast.expr], Any]]]:
    """The expressions that `node` holds itself, each with what puts another one in its place."""
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            yield value, partial(setattr, node, field)
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if isinstance(item, ast.expr):
                    yield item, partial(value.__setitem__, at)


def update(node: ast.AST, **fields: object) -> None:
    """Several fields at once."""
    for name, value in fields.items():
        setattr(node, name, value)


def names(node: ast.AST) -> set[str]:
    """Every name that is written anywhere in it: variables, parameters, functions, attributes, imports."""
    texts = (
        getattr(each, field, None)
        for each in ast.walk(node)
        for field in ("id", "arg", "name", "attr", "asname")
    )
    return {text for text in texts if isinstance(text, str)}
