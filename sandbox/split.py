"""Takes a test text apart into assert sites, so that each is executed and recorded on its own.

Pure: text in, code object and facts about it out. An assert at the top level, or straight inside
`check(candidate)` or a `test_*` function, is *soft*: when it fails the rest still runs. Anywhere else it
raises as it always did, because the code around it may count on that. The recording calls go to a
`judge.Sites` object under the name SITES.
"""

from __future__ import annotations

import ast
import re
import sys
import types
from dataclasses import dataclass

SITES = "__sites__"
_OPERATORS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
    ast.Is: "is_", ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
}  # fmt: skip
_MOCK = re.compile(r"^\s*(from|import)\b.*\bmock\b", re.MULTILINE)
_WORD = re.compile(r"\w+")
_TRANSPARENT = (ast.If, ast.For, ast.With)  # a soft assert inside these stays soft


@dataclass(frozen=True, slots=True)
class Plan:
    """A test text ready to run."""

    code: types.CodeType
    required: tuple[bool, ...]
    """Per assert site: whether a pass needs it executed (it stands under no condition, loop or handler)."""
    names: frozenset[str]
    """Every identifier the tests use."""
    candidate_check: bool
    """There is a `check(candidate)` that nobody calls: the judge has to, with the entry point."""
    module: str
    """What the tests call the solution's module; `solution` when they import none."""
    patches: bool
    """The tests import `mock`: what they patch is in the solution's process."""


def plan(tests: str) -> Plan:
    """Raises SyntaxError or ValueError where the text is no Python."""
    tree = ast.parse(tests, "tests.py")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    bodies = {name: f for name, f in functions.items() if name not in called and _is_test(f)}
    uncalled_check = "check" in functions and "check" not in called and len(functions["check"].args.args) == 1
    soft = set(bodies.values()) | ({functions["check"]} if "check" in functions else set())
    sites = _Instrument(soft)
    tree.body = [statement for node in tree.body for statement in sites.top(node)]
    tree.body += [_guarded([_parse_call(name)]) for name in bodies]
    ast.fix_missing_locations(tree)
    patches = _MOCK.search(tests) is not None
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return Plan(
        compile(tree, "tests.py", "exec", dont_inherit=True),
        tuple(sites.required),
        names,
        uncalled_check,
        _module(tree),
        patches,
    )


def plan_doctest(tests: str) -> Plan:
    """Nothing to compile ahead: the examples are the sites, found one by one."""
    return Plan(
        compile("", "tests.py", "exec"), (), frozenset(_WORD.findall(tests)), False, "solution", False
    )


def _is_test(function: ast.FunctionDef) -> bool:
    return function.name.startswith("test") and not function.args.args and not function.decorator_list


def _module(tree: ast.Module) -> str:
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]
    unknown = (n for n in imported if n.isidentifier() and n not in sys.stdlib_module_names)
    return next((name for name in unknown if not name.startswith("test")), "solution")


def _parse_call(name: str) -> ast.stmt:
    return ast.parse(f"{name}()").body[0]


def _guarded(body: list[ast.stmt]) -> ast.stmt:
    """The statements, with whatever they raise recorded and the run going on."""
    template = ast.parse(f"try: pass\nexcept BaseException: {SITES}.stumbled()").body[0]
    assert isinstance(template, ast.Try)
    template.body = body
    return ast.copy_location(template, body[0])


class _Instrument(ast.NodeTransformer):
    """Replaces each assert by its recorded form, numbering them in source order."""

    def __init__(self, soft_functions: set[ast.FunctionDef]) -> None:
        self.required: list[bool] = []
        self._soft_functions = soft_functions
        self._soft, self._sure, self._in_try = True, True, False
        self._open_guards: list[int] = []

    def top(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return [node]
        changed = self.visit(node)
        statements = changed if isinstance(changed, list) else [changed]
        return statements if isinstance(node, ast.Assert) else [_guarded(statements)]

    def generic_visit(self, node: ast.AST) -> ast.AST:
        saved = self._soft, self._sure, self._in_try
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            self._soft = self._sure = node in self._soft_functions
            self._in_try = False
        elif isinstance(node, ast.stmt) and not isinstance(node, ast.Assert):
            self._soft &= isinstance(node, _TRANSPARENT)
            self._sure &= isinstance(node, ast.With)
        super().generic_visit(node)
        self._soft, self._sure, self._in_try = saved
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        outer, self._open_guards = self._open_guards, []
        saved = self._soft, self._sure, self._in_try
        self._soft = self._sure = False
        self._in_try = True
        node.body = self._visit_all(node.body)
        self._in_try = saved[2]
        node.handlers = [self.generic_visit(handler) for handler in node.handlers]  # type: ignore[misc]
        node.orelse, node.finalbody = self._visit_all(node.orelse), self._visit_all(node.finalbody)
        self._soft, self._sure, self._in_try = saved
        guards, self._open_guards = self._open_guards, outer
        return [node, *(ast.parse(f"{SITES}.unfired({index})").body[0] for index in guards)]

    def _visit_all(self, body: list[ast.stmt]) -> list[ast.stmt]:
        visited = [self.visit(node) for node in body]
        return [statement for item in visited for statement in (item if isinstance(item, list) else [item])]

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        index = len(self.required)
        if self._in_try and isinstance(node.test, ast.Constant) and not node.test.value:
            self._open_guards.append(index)
            self.required.append(False)
            return _located(f"{SITES}.fired({index})", node)
        self.required.append(self._sure)
        handler = f"except BaseException: {SITES}.broke({index}, {self._soft})"
        form = f"try: {SITES}.truth({SITES}.enter({index}))\n{handler}"
        recorded = ast.parse(form).body[0]
        assert isinstance(recorded, ast.Try)
        call = next(each for each in ast.walk(recorded) if isinstance(each, ast.Call))
        assert isinstance(call.func, ast.Attribute)
        self._describe(node, call, call.func)
        return ast.copy_location(recorded, node)

    def _describe(self, node: ast.Assert, call: ast.Call, method: ast.Attribute) -> None:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            method.attr = "compare"
            flipped = isinstance(test.left, ast.Constant) and not isinstance(
                test.comparators[0], ast.Constant
            )
            facts = ast.Constant(_OPERATORS[type(test.ops[0])]), ast.Constant(flipped)
            call.args += [*facts, test.left, test.comparators[0]]
        else:
            call.args.append(test)
        if isinstance(node.msg, ast.Constant | ast.JoinedStr | ast.Name):
            quiet = ast.parse("lambda: 0", mode="eval").body
            assert isinstance(quiet, ast.Lambda)
            quiet.body = node.msg
            call.args.append(quiet)


def _located(source: str, node: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.parse(source).body[0], node)
