"""Takes a test text apart into assert sites, so that each is executed and recorded on its own.

Pure: text in, code object and facts about it out. An assert at the top level, or straight inside
`check(candidate)` or a `test_*` function, is *soft*: when it fails the rest still runs. Anywhere else it
raises as it always did, because the code around it may count on that. The recording calls go to a
`judge.Sites` object under the name SITES.
"""

from __future__ import annotations

import ast
import builtins
import marshal
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

SITES = "__sites__"
_DOCTEST_PROMPT = ">>> "
_OPERATORS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
    ast.Is: "is_", ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
}  # fmt: skip
_PATCHING = re.compile(
    r"^\s*(from|import)\b.*\bmock\b|\bredirect_std(out|err)\b|\bsys\.std(in|out|err)\b", re.MULTILINE
)
_WORD = re.compile(r"\w+")
# never the solution's: it would be asked for the tests' own means of judging it
_THIRD_PARTY = frozenset(
    [
        "pytest",
        "hypothesis",
        "numpy",
        "pandas",
        "scipy",
        "sympy",
        "torch",
        "nose",
        "parameterized",
        "sklearn",
        "mock",
    ]
)
_BUILTINS = frozenset(dir(builtins))
_TRANSPARENT = (ast.If, ast.For)  # a soft assert inside these stays soft
_EXPECTING = (
    "suppress",
    "raises",
    "warns",
    "assertRaises",
    "assertRaisesRegex",
    "assertWarns",
    "assertWarnsRegex",
)


class Plan(NamedTuple):
    """A test text ready to run."""

    code: types.CodeType
    required: tuple[bool, ...]
    """Per assert site: whether a pass needs it executed (it stands under no condition, loop or handler)."""
    candidate_check: bool
    """There is a `check(candidate)` that nobody calls: the judge has to, with the entry point."""
    module: str
    """What the tests call the solution's module; `solution` when they import none."""
    patches: bool
    """The tests patch, with `mock` or by another standard stream: what they patch is in the solution's process."""
    doctest: str
    """The text, if it is a doctest: its examples are the sites, found one by one."""
    plain: frozenset[str] | None
    """What the tests call, where they do nothing but assert on calls of it with literals; otherwise None."""

    def names(self) -> frozenset[str]:
        """Every name the tests use, of a global or an attribute."""
        return frozenset(_WORD.findall(self.doctest)) | frozenset(_names(self.code))

    def dump(self) -> bytes:
        return marshal.dumps(tuple(self))

    @classmethod
    def load(cls, data: bytes) -> Plan:
        """Only where the tests themselves may run: `marshal` trusts what it reads."""
        return cls(*marshal.loads(data))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def plan(tests: str) -> Plan:
    """Raises SyntaxError or ValueError where the text is no Python."""
    if is_doctest(tests):
        return Plan(compile("", "tests.py", "exec"), (), False, "solution", False, tests, None)
    tree = ast.parse(tests, "tests.py")
    module = _module(tree) if "import" in tests else "solution"
    plain = _plain(tree.body)
    uncalled_check, sites = _instrument(tree, set() if plain is not None else _assigned(tree))
    code = compile(tree, "tests.py", "exec", dont_inherit=True)
    patches = _PATCHING.search(tests) is not None
    return Plan(code, tuple(sites.required), uncalled_check, module, patches, "", plain)


def soft_sites(tests: str) -> dict[int, tuple[int, int]]:
    """The soft sites, and where they stand: line and column."""
    return _instrument(ast.parse(tests), set())[1].soft


def _instrument(tree: ast.Module, assigned: set[str]) -> tuple[bool, _Instrument]:
    """Replace the asserts of `tree` and call its tests; whether there is a `check` that nobody calls, and the sites."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = _called(tree) if functions else set()
    bodies = {name: f for name, f in functions.items() if name not in called and _is_test(f)}
    uncalled_check = "check" in functions and "check" not in called and len(functions["check"].args.args) == 1
    soft = set(bodies.values()) | ({functions["check"]} if "check" in functions else set())
    sites = _Instrument(soft, assigned)
    tree.body = [statement for node in tree.body for statement in sites.top(node)]
    tree.body += [_guarded(ast.parse(f"{name}()").body) for name in bodies]
    return uncalled_check, sites


def is_doctest(tests: str) -> bool:
    return tests.lstrip().startswith(_DOCTEST_PROMPT)


def _assigned(tree: ast.Module) -> set[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _called(tree: ast.Module) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def _is_test(function: ast.FunctionDef) -> bool:
    return function.name.startswith("test") and not function.args.args and not function.decorator_list


def _module(tree: ast.Module) -> str:
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]
    unknown = (n for n in imported if n.isidentifier() and n not in sys.stdlib_module_names | _THIRD_PARTY)
    return next((name for name in unknown if not name.startswith("test")), "solution")


# --- tests that are nothing but data ----------------------------------------------------------------------------


def _plain(body: list[ast.stmt]) -> frozenset[str] | None:
    """The names called, if all is asserts on calls with literals, in HumanEval's `check(candidate)` or outside."""
    called: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef) and _is_check(node):
            inside: set[str] = set()
            if not all(_is_plain(each, inside) for each in node.body) or not inside <= {
                node.args.args[0].arg
            }:
                return None
        elif not _is_plain(node, called):
            return None
    return None if called & _BUILTINS else frozenset(called)


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


def _is_plain(node: ast.stmt, called: set[str]) -> bool:
    if isinstance(node, ast.Assert):
        return _is_asserted_call(node.test, called) and (node.msg is None or _is_literal(node.msg))
    if isinstance(node, ast.Assign):  # HumanEval's METADATA
        return all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets) and _is_literal(
            node.value
        )
    is_docstring = isinstance(node, ast.Expr) and _is_literal(node.value)
    return is_docstring or isinstance(node, ast.Pass)


def _is_asserted_call(node: ast.expr, called: set[str]) -> bool:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        sides = [node.left, node.comparators[0]]
        return sum(_is_call(side, called) for side in sides) + sum(map(_is_literal, sides)) == 2
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_call(node.operand, called)
    return _is_call(node, called)


def _is_call(node: ast.expr, called: set[str]) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    called.add(node.func.id)
    return all(map(_is_literal, node.args)) and all(k.arg and _is_literal(k.value) for k in node.keywords)


def _is_literal(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_literal, node.elts))
    if isinstance(node, ast.Dict):
        return all(map(_is_literal, node.keys)) and all(map(_is_literal, node.values))
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


# --- building what replaces an assert: by hand, since parsing it anew each time is half of a plan's cost ---------

_PLACE: Any = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
_SITES = ast.Name(SITES, ast.Load(), **_PLACE)
_METHODS = {
    name: ast.Attribute(_SITES, name, ast.Load(), **_PLACE)
    for name in ("enter", "compare", "truth", "broke", "stumbled", "fired", "unfired")
}
_ANYTHING = ast.Name("BaseException", ast.Load(), **_PLACE)


def _constant(value: str | int) -> ast.Constant:
    return ast.Constant(value, **_PLACE)


def _record(method: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_METHODS[method], [*arguments], [], **_PLACE)


def _statement(call: ast.Call) -> ast.stmt:
    return ast.Expr(call, **_PLACE)


def _context_names(node: ast.With) -> list[str]:
    functions = [each.context_expr.func for each in node.items if isinstance(each.context_expr, ast.Call)]
    return [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions]


def is_sub_test(node: ast.With) -> bool:
    return _context_names(node) == ["subTest"]


def _expects(node: ast.With) -> bool:
    """Whether it waits for an exception, so that what stands inside need not be reached."""
    return any(name in _EXPECTING for name in _context_names(node))


def _unfired(index: int) -> ast.stmt:
    return _statement(_record("unfired", _constant(index)))


def _watched(body: list[ast.stmt], handler: ast.Call) -> ast.stmt:
    """The statements, and `handler` for whatever they raise."""
    caught = ast.ExceptHandler(_ANYTHING, None, [_statement(handler)], **_PLACE)
    return ast.Try(body, [caught], [], [], **_PLACE)


def _guarded(body: list[ast.stmt]) -> ast.stmt:
    """The statements, with whatever they raise recorded and the run going on."""
    return _watched(body, _record("stumbled"))


class _Instrument(ast.NodeTransformer):
    """Replaces each assert by its recorded form, numbering them in source order."""

    def __init__(self, soft_functions: set[ast.FunctionDef], assigned: set[str]) -> None:
        self.required: list[bool] = []
        self.soft: dict[int, tuple[int, int]] = {}
        self._assigned = assigned
        self._soft_functions = soft_functions
        self._soft, self._sure, self._in_try, self._shielded = True, True, False, False
        self._open_guards: list[int] = []

    def top(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Assert):
            return [self.visit_Assert(node)]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return [node]
        changed = self.visit(node)
        return [_guarded(changed if isinstance(changed, list) else [changed])]

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr):
            return node  # no assert can stand inside
        saved = self._soft, self._sure, self._in_try, self._shielded
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._soft = self._sure = node in self._soft_functions
            self._in_try = self._shielded = False
        elif isinstance(node, ast.With):
            self._shielded = True
            self._soft &= is_sub_test(node)
            self._sure &= not _expects(node)
        elif isinstance(node, ast.stmt):
            self._soft &= isinstance(node, _TRANSPARENT)
            self._sure = False
        super().generic_visit(node)
        self._soft, self._sure, self._in_try, self._shielded = saved
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        outer, self._open_guards = self._open_guards, []
        saved = self._soft, self._sure, self._in_try, self._shielded
        self._soft = self._sure = False
        self._in_try = self._shielded = True
        node.body = self._visit_all(node.body)
        self._in_try, self._shielded = saved[2:]
        node.handlers = [self.generic_visit(handler) for handler in node.handlers]  # type: ignore[misc]
        for handler in node.handlers:  # it may leave the function
            handler.body[:0] = [_unfired(index) for index in self._open_guards]
        node.orelse, node.finalbody = self._visit_all(node.orelse), self._visit_all(node.finalbody)
        self._soft, self._sure, self._in_try, self._shielded = saved
        guards, self._open_guards = self._open_guards, outer
        return [node, *map(_unfired, guards)]

    def _visit_all(self, body: list[ast.stmt]) -> list[ast.stmt]:
        visited = [self.visit(node) for node in body]
        return [statement for item in visited for statement in (item if isinstance(item, list) else [item])]

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        number = len(self.required)
        index = _constant(number)
        if self._in_try and isinstance(node.test, ast.Constant) and not node.test.value:
            self._open_guards.append(number)
            self.required.append(False)
            return _statement(_record("fired", index))
        self.required.append(self._sure)
        if self._soft:
            self.soft[number] = node.lineno, node.col_offset
        recorded = self._recorded(node, _record("enter", index, _constant(self._is_fresh(node))))
        manner = _constant(self._soft), _constant(self._shielded)
        return _watched([_statement(recorded)], _record("broke", index, *manner))

    def _is_fresh(self, node: ast.Assert) -> bool:
        """Whether it speaks of nothing that an earlier statement may have had from the solution."""
        return not self._assigned or not any(
            isinstance(each, ast.Name) and each.id in self._assigned for each in ast.walk(node)
        )

    def _recorded(self, node: ast.Assert, index: ast.expr) -> ast.Call:
        test, text = node.test, []
        if isinstance(node.msg, ast.Constant | ast.JoinedStr | ast.Name):
            text = [ast.Lambda(_NO_ARGUMENTS, node.msg, **_PLACE)]
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return _record("truth", index, test, *text)
        left, right = test.left, test.comparators[0]
        flipped = isinstance(left, ast.Constant) and not isinstance(right, ast.Constant)
        operation = _constant(_OPERATORS[type(test.ops[0])])
        return _record("compare", index, operation, _constant(flipped), left, right, *text)


_NO_ARGUMENTS = ast.arguments([], [], None, [], [], None, [])
