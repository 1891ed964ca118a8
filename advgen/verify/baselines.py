"""Constant baselines: programs that return None or an empty value of the result's type. Suites must fail them. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from advcore.literals import Returned, outcome_of
from advgen.parse import Statement

_EMPTY = {
    "int": "0", "float": "0.0", "str": "''", "bool": "False", "bytes": "b''", "list": "[]", "tuple": "()",
    "dict": "{}", "set": "set()",
}  # fmt: skip


def constant_baselines(exercise: Statement, tests: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The value each program returns -> the program. The types are those declared and those that the tests expect:
    either may be missing, and a declaration may be wrong.
    """
    expected = [outcome.value for test in tests if isinstance(outcome := outcome_of(test), Returned)]
    types = _declared(exercise) | {type(value).__name__ for value in expected}
    values = ["None", *(empty for name, empty in _EMPTY.items() if name in types)]
    return {value: f"{exercise.stub}\n    return {value}\n" for value in values}


def _declared(exercise: Statement) -> set[str]:
    """Names in the annotation of the result, in lower case: `Optional[List[int]]` names a list too."""
    returns = exercise.function.returns
    names = ast.walk(returns) if returns else ()
    return {node.id.lower() for node in names if isinstance(node, ast.Name)}
