"""Tests that are nothing but calls with literals and what they should give: read as data, without running any of them.

`assert f(1, [2]) == (3,)` holds no code that would have to run beside the values it expects, so the clerk can ask for
all calls of a text at once and compare data with data. Most generated suites have this form, some with thousands of
asserts, so a text of such lines is not even parsed: written as JSON, it is read by the decoder of the standard
library, some ten times faster than Python's own parser reads it. What is not surely read alike goes to the parser.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterator
from typing import Any

from .wire import CannotCross, Encoder, Node, deep, dumps

CANDIDATE = "candidate"
"""Stands for the entry point, whatever the parameter of `check` is called."""
_OPERATORS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
    ast.Is: "is_", ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
}  # fmt: skip
_BUILTINS = frozenset(dir(builtins))


Check = tuple[str, Node, Node, bool, str]
"""One assert: an operation of `_OPERATORS` on two operands, of which one at least is a call, or `truth` or `not` of the
first alone; whether what is expected stands first; its message. An operand is a node of `wire`, or ["call", number].
"""
Call = tuple[str, Node, Node]
"""Name, arguments and keyword arguments, as nodes."""
_FIRST_PART, _GROWTH = 32, 4


class Suite:
    """All calls of a text, in their order, and its asserts."""

    def __init__(self, calls: list[Call], checks: list[Check]) -> None:
        self.calls, self.checks = calls, checks
        names = frozenset(name for name, _, _ in calls)
        self.names, self.wants_candidate = names - {CANDIDATE}, CANDIDATE in names
        self.last_calls = [max(side[1] for side in check[1:3] if _is_call(side)) for check in checks]
        """For each check, the number of the last call that it waits for."""
        self._parts: dict[str | None, list[tuple[int, bytes]]] = {}

    def parts(self, entry_point: str | None) -> list[tuple[int, bytes]]:
        """The messages that ask for all calls, each with the number of the first call behind it. The first is small: a
        program that fails early is asked for no more.
        """
        if entry_point not in self._parts:
            self._parts[entry_point] = list(self._divided(entry_point))
        return self._parts[entry_point]

    def _divided(self, entry_point: str | None) -> Iterator[tuple[int, bytes]]:
        start, size = 0, _FIRST_PART
        while start < len(self.calls):
            part = self.calls[start : start + size]
            named = [[entry_point if name == CANDIDATE else name, *given] for name, *given in part]
            start, size = start + len(part), size * _GROWTH
            yield start, dumps({"calls": named})


def read(tests: str) -> Suite | None:
    """The suite, or None where the text is anything else. Raises SyntaxError or ValueError where it is no Python."""
    try:
        found = _read_lines(tests)
    except (_Other, CannotCross):
        found = None
    return found or _read_tree(ast.parse(tests, "tests.py"))


# --- without parsing ----------------------------------------------------------------------------------------------

_FIRST = re.compile(r"\s*assert (?P<name>[A-Za-z_]\w*)\(")
_STRING = re.compile(r"""('[^'\\\n]*(?:\\.[^'\\\n]*)*'|"[^"\\\n]*(?:\\.[^"\\\n]*)*")""")
_HOLE = "\0"
_PREFIXED = re.compile(rf"\w{_HOLE}|{_HOLE} *{_HOLE}")
_OTHERWISE = ("{", "#", "null", "true", "false", "NaN", "Infinity", "float(", "set(", "complex(", "\t", _HOLE)
"""What stands for something else in JSON than in Python, or for nothing in one of them."""
_as_json = json.JSONDecoder(strict=False).decode


def _read_lines(tests: str) -> Suite | None:
    """A text all of whose lines are `assert f(...) == ...` with the same `f`, by way of JSON, but for lines of another
    kind here and there; None for any other text.
    """
    lines = [line for line in tests.split("\n") if line and not line.startswith("#")]
    first = _FIRST.match(lines[0]) if lines else None
    if not first or first["name"] in _BUILTINS:
        return None
    start = f"assert {first['name']}("
    found = [text for text in _OTHERWISE if text in tests]
    others = [at for at, line in enumerate(lines) if any(text in line for text in found)] if found else []
    if len(others) > len(lines) / 2 or not all(line.startswith(start) for line in lines):
        return None
    chosen = set(others)
    alike = [line for at, line in enumerate(lines) if at not in chosen] if chosen else lines
    pairs = _as_pairs(alike, first["name"])
    if pairs is None:
        return None
    reader, following = _Reader(), iter(pairs)
    for at, line in enumerate(lines):
        if at in chosen:
            reader.read_all(ast.parse(line).body, None)
        else:
            reader.add(first["name"], *next(following))
    return Suite(reader.calls, reader.checks)


def _as_pairs(lines: list[str], name: str) -> list[list[Node]] | None:
    """Arguments and expected value of each line; None if one of them is not as it seems."""
    pieces = _split("\n".join(lines))
    code = _HOLE.join(pieces[::2])
    if "'" in code or '"' in code or "\\" in code or (len(pieces) > 1 and _PREFIXED.search(code)):
        return None
    start, code = f"\nassert {name}(", "\n" + code
    if not code.count(start) == code.count("\n") == code.count(" == ") == len(lines):
        return None
    code = _in_brackets(code).replace(f'\nassert {name}["p"', '],\n[["p"').replace(" == ", ",")
    try:
        pieces[1::2] = map(_quoted, pieces[1::2])
        pieces[::2] = code.split(_HOLE)
        pairs: list[list[Node]] = _as_json("[" + "".join(pieces)[3:] + "]]")
    except (ValueError, SyntaxError, RecursionError):
        return None
    fitting = all(len(pair) == 2 and type(pair[0]) is list and pair[0][:1] == ["p"] for pair in pairs)
    return pairs if fitting else None


def _in_brackets(code: str) -> str:
    """Lists, parentheses and constants as JSON has them: a last comma makes a tuple of what is else a value."""
    code = code.replace(", )", ",)").replace(",)", ',["c"])')
    code = code.replace("[", '["l",').replace('["l","c"', '["c"')
    code = code.replace("(", '["p",').replace(")", "]").replace(", ]", ",]").replace(",]", "]")
    return code.replace("True", "true").replace("False", "false").replace("None", "null")


def _split(tests: str) -> list[str]:
    """Code and strings in turn."""
    if '"' in tests or "\\" in tests:
        return _STRING.split(tests)
    pieces = tests.split("'")  # the same, at a third of the cost
    pieces[1::2] = [f"'{piece}'" for piece in pieces[1::2]]
    return pieces if len(pieces) % 2 else [tests]


def _quoted(string: str) -> str:
    """A string of Python as one of JSON. Raises ValueError for one that is none."""
    if "\\" in string:
        return json.dumps(ast.literal_eval(string))
    if "\n" in string:
        raise ValueError("a string of several lines")
    if string[0] == '"':
        return string
    return f'"{string[1:-1]}"' if '"' not in string else json.dumps(string[1:-1])


# --- by parsing ---------------------------------------------------------------------------------------------------


def _read_tree(tree: ast.Module) -> Suite | None:
    reader = _Reader()
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
    try:
        for node in tree.body:
            if node is check and _is_check(node):
                reader.read_all(node.body, node.args.args[0].arg)
            else:
                reader.read_all([node], None)
    except (_Other, CannotCross, RecursionError):
        return None
    return Suite(reader.calls, reader.checks)


class _Other(ValueError):
    """The text is more than calls with literals."""


class _Reader:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.checks: list[Check] = []
        self._parameter: str | None = None

    def add(self, name: str, arguments: Node, wanted: Node) -> None:
        """An assert as `_as_pairs` gives it."""
        # a call's last comma says nothing
        given = arguments[1:-1] if arguments[-1] == ["c"] else arguments[1:]
        self.checks.append(("eq", ["call", len(self.calls)], wanted, False, ""))
        self.calls.append((name, ["t", *given], ["d"]))

    def read_all(self, body: list[ast.stmt], parameter: str | None) -> None:
        self._parameter = parameter
        for node in body:
            if isinstance(node, ast.Assert):
                self.checks.append(self._check(node))
            elif not _says_nothing(node):
                raise _Other

    def _check(self, node: ast.Assert) -> Check:
        message = str(value(node.msg)) if node.msg else ""
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right = self._operand(test.left), self._operand(test.comparators[0])
            if not (_is_call(left) or _is_call(right)):
                raise _Other
            return _OPERATORS[type(test.ops[0])], left, right, not _is_call(left), message
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        operand = self._operand(test.operand if negated else test)  # type: ignore[attr-defined]
        if not _is_call(operand):
            raise _Other
        return "not" if negated else "truth", operand, None, False, message

    def _operand(self, node: ast.expr) -> Node:
        if (
            not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
            or node.func.id in _CONSTRUCTORS
        ):
            return _node(node)
        name = node.func.id
        if (name != self._parameter) is (self._parameter is not None) or name in _BUILTINS:
            raise _Other
        if any(k.arg is None for k in node.keywords):
            raise _Other
        args = ["t", *map(_node, node.args)]
        kwargs = ["d", *([k.arg, _node(k.value)] for k in node.keywords)]
        self.calls.append((CANDIDATE if self._parameter else name, args, kwargs))
        return ["call", len(self.calls) - 1]


def _is_call(node: Node) -> bool:
    return type(node) is list and node[0] == "call"


def _says_nothing(node: ast.stmt) -> bool:
    """HumanEval's METADATA, a docstring, `pass`."""
    if isinstance(node, ast.Assign):
        named = all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets)
        return named and value(node.value) is not _Other
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _is_check(node: ast.FunctionDef) -> bool:
    arguments = node.args
    extra = (
        arguments.posonlyargs
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
        or arguments.defaults
    )
    annotated = node.decorator_list or node.returns or any(each.annotation for each in arguments.args)
    return node.name == "check" and len(arguments.args) == 1 and not extra and not annotated


_CONSTRUCTORS: dict[str, Any] = {"float": float, "set": set, "frozenset": frozenset, "complex": complex}
"""Of values that have no literal: `float("inf")`, `set()`."""


def value(node: ast.expr) -> Any:
    """The value of a literal. Raises _Other for anything else."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CONSTRUCTORS:
            if node.keywords or len(node.args) > 1:
                raise _Other
            return _CONSTRUCTORS[node.func.id](*map(value, node.args))
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.op, ast.USub)
            and isinstance(node.operand, ast.Call)
        ):
            return -value(node.operand)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            kinds: dict[type, type] = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
            return kinds[type(node)](map(value, node.elts))
        if isinstance(node, ast.Dict) and all(node.keys):
            return dict(zip(map(value, node.keys), map(value, node.values), strict=True))  # type: ignore[arg-type]
        return ast.literal_eval(node)
    except (TypeError, ValueError, MemoryError, RecursionError) as problem:
        raise _Other from problem


def _node(node: ast.expr) -> Node:
    with deep:
        return Encoder().encode(value(node))
