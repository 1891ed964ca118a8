"""Takes a test text apart into assert sites, so that each is executed and recorded on its own.

Pure: text in, code object and facts about it out. An assert at the top level, or straight inside
`check(candidate)` or a test function, is *soft*: when it fails the rest still runs. Anywhere else it
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
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

from . import plain

SITES = "__sites__"
_DOCTEST_PROMPT = ">>> "
_OPERATORS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
    ast.Is: "is_", ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
}  # fmt: skip
_STATE = re.compile(
    r"\b(seed|setstate|setrecursionlimit|getcontext|setcontext|localcontext|catch_warnings|simplefilter|filterwarnings"
    r"|assertLogs|assertNoLogs|assertWarns\w*|warns|environ|putenv|chdir|setlocale|signal|setattr|delattr|getsource"
    r"|getLogger|gc|tracemalloc|builtins|subprocess|tempfile|sys\.(argv|modules|path|set\w+|std\w+)|threading|monkeypatch|cap(sys|fd|log)"
    r"|mock|redirect_std(out|err)|weakref|del|excinfo|exception|except\b.*\bas)\b|\btype\(|\.__(?!name__|init__|main__)\w+__"
)
"""What reaches into the process that the tests stand in, which should be the solution's as well."""
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
_RUNNERS = frozenset(("pytest", "unittest", "mark", "skip", "skipIf", "skipUnless", "skipif", "xfail"))
_SURROUNDINGS = frozenset(("sys", "os", "platform", "__name__", "TYPE_CHECKING", "typing", "__debug__"))


_NOTHING = compile("", "tests.py", "exec")


class Plan(NamedTuple):
    """A test text ready to run."""

    code: types.CodeType
    required: tuple[bool, ...]
    """Per assert site: whether a pass needs it executed."""
    alternatives: tuple[tuple[int, ...], ...]
    """Sites in the branches of one statement: a pass needs one of each group."""
    functions: tuple[str, ...]
    """Functions that assert, by their number: a pass needs each to be entered."""
    candidate_check: bool
    """There is a `check(candidate)` that nobody calls: the judge has to, with the entry point."""
    tests: tuple[str, ...]
    """Test functions and classes that nobody calls, in their order: the judge has to."""
    imports: tuple[tuple[str, tuple[str, ...]], ...]
    """Modules that the standard library does not have, and what the tests take from each."""
    patched: tuple[tuple[str, str], ...]
    """Module and attribute of what the tests put something of theirs in place of, in the standard library."""
    state: bool
    """The tests may set state of their own process, which the solution does not see."""
    doctest: str
    """The text, if it is a doctest: its examples are the sites, found one by one."""
    plain: plain.Suite | None
    """Where the tests are nothing but calls with literals; a plan with one stays in the clerk."""
    free: frozenset[str]
    """Names that the tests read and never bind: the solution's, if it has them."""
    subjects: frozenset[str]
    """Those that are called with data rather than with results of others."""

    def dump(self) -> bytes:
        fields: tuple[Any, ...] = self
        return marshal.dumps(tuple(fields))

    @classmethod
    def load(cls, data: bytes) -> Plan:
        """Only where the tests themselves may run: `marshal` trusts what it reads."""
        return cls(*marshal.loads(data))


def plan(tests: str, given: Set[str] = frozenset()) -> Plan:
    """`given` are names that hold what the solution gave. Raises SyntaxError or ValueError for what is no Python."""
    if is_doctest(tests):
        tree = ast.parse("\n".join(line for line in _examples(tests)))
        return Plan(
            _NOTHING, (), (), (), False, (), imports(tree), (), True, tests, None, *_names(tree)
        )  # fmt: skip
    if (suite := plain.read(tests)) is not None:
        names, required = suite.names, (True,) * len(suite.checks)
        return Plan(_NOTHING, required, (), (), False, (), (), (), False, "", suite, names, names)
    tree = ast.parse(tests, "tests.py")
    tidy(tree)
    found, named = imports(tree), _names(tree)
    collected = tuple(name for name in _collected(tree) if name not in _called(tree))
    uncalled, sites = _instrument(tree, _assigned(tree) | given)
    code = compile(tree, "tests.py", "exec", dont_inherit=True)
    return Plan(
        code, tuple(sites.required), tuple(sites.alternatives), tuple(sites.functions), uncalled, collected, found,
        _patched(tree), _STATE.search(tests) is not None, "", None, *named,
    )  # fmt: skip


def _examples(tests: str) -> Iterator[str]:
    """The source lines of a doctest, those that parse."""
    for line in tests.splitlines():
        if line.lstrip().startswith((">>> ", "... ")):
            source = line.lstrip()[4:].strip()
            try:
                ast.parse(source)
            except (SyntaxError, ValueError):
                source = " ".join(re.findall(r"[^\W\d]\w*", source)).replace(" ", ";")
                try:
                    ast.parse(source)
                except (SyntaxError, ValueError):
                    continue
            yield source


def _instrument(tree: ast.Module, assigned: set[str]) -> tuple[bool, _Instrument]:
    """Replace the asserts of `tree`; whether there is a `check` that nobody calls, and the sites."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = _called(tree) if functions else set()
    uncalled_check = "check" in functions and "check" not in called and len(functions["check"].args.args) == 1
    soft: set[ast.AST] = {functions["check"]} if "check" in functions else set()
    for node in tree.body:
        if isinstance(node, _FUNCTIONS) and is_test(node.name) and node.name not in called:
            soft.add(node)
        elif isinstance(node, ast.ClassDef) and is_test_class(node.name):
            soft |= {each for each in node.body if isinstance(each, _FUNCTIONS) and is_test(each.name)}
    sites = _Instrument(soft, assigned)
    tree.body = [statement for node in tree.body for statement in sites.top(node)]
    return uncalled_check, sites


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_doctest(tests: str) -> bool:
    return tests.lstrip().startswith(_DOCTEST_PROMPT)


def is_test(name: str) -> bool:
    """Whether pytest would take a function of this name for a test."""
    return name.startswith("test")


def is_test_class(name: str) -> bool:
    return name.startswith("Test")


def _collected(tree: ast.Module) -> list[str]:
    """What a runner would run: test functions and test classes that are no TestCase, which `unittest` runs."""
    return [
        node.name
        for node in tree.body
        if (isinstance(node, _FUNCTIONS) and is_test(node.name))
        or (isinstance(node, ast.ClassDef) and is_test_class(node.name))
    ]


def _assigned(tree: ast.Module) -> set[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _called(tree: ast.Module) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def _names(tree: ast.Module) -> tuple[frozenset[str], frozenset[str]]:
    """What the text reads and never binds; and of that, what it calls with data, not only with what others returned."""
    read: set[str] = set()
    bound: set[str] = set()
    subjects: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler):
            bound |= {node.name} if node.name else set()
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not _wraps(node):
            subjects.add(node.func.id)
    free = frozenset(read - bound)
    return free, frozenset(subjects & free)


def _wraps(call: ast.Call) -> bool:
    """Whether it is called with what another call returned."""
    return any(isinstance(node, ast.Call | ast.Await) for arg in call.args for node in ast.walk(arg))


def imports(tree: ast.Module) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Modules that are neither of the standard library nor of the tests' own, and the names taken from each."""
    found: dict[str, list[str]] = {}
    attributes = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.setdefault(node.module or "solution", []).extend(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name
                found.setdefault(alias.name, []).extend(attr for name, attr in attributes if name == local)
    return tuple((module, tuple(names)) for module, names in found.items() if _is_unknown(module))


_PATCHERS = ("patch", "patch.object", "patch.dict", "monkeypatch.setattr", "monkeypatch.delattr")


def _patched(tree: ast.Module) -> tuple[tuple[str, str], ...]:
    """By `mock.patch`, by `monkeypatch` or by assignment; what is the solution's own goes to its module as it is."""
    origins = {
        (alias.asname or alias.name).split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(_PATCHERS):
            target, *more = node.args
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                found.append(target.value)
            elif more and isinstance(more[0], ast.Constant):
                found.append(".".join((ast.unparse(target), str(more[0].value))))
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            found.append(ast.unparse(node))
    paths = [(origins.get(head, head), rest) for head, _, rest in (path.partition(".") for path in found)]
    names = [f"{head}.{rest}".rpartition(".") for head, rest in paths if head in sys.stdlib_module_names]
    return tuple(dict.fromkeys((m, a) for m, _, a in names if (m, a) not in _OURS))


_OURS = {("sys", "stdout"), ("sys", "stderr"), ("sys", "path"), ("sys", "modules")}
"""What is printed comes with each answer; the rest is no business of the solution's."""


def _is_unknown(module: str) -> bool:
    top = module.split(".")[0]
    return (
        top not in sys.stdlib_module_names
        and not top.startswith("test")
        and top not in ("__future__", "pytest")
    )


def tidy(tree: ast.Module) -> None:
    """Cut what no run of the text as a script would get to, and open what every such run would."""
    _remove_dead(tree)
    tree.body = [statement for node in tree.body for statement in _opened(node)]


def _opened(node: ast.stmt) -> list[ast.stmt]:
    """What stands under `if __name__ == "__main__"`, but for calls of a runner: the judge is that."""
    if not isinstance(node, ast.If) or ast.unparse(node.test).replace('"', "'") != "__name__ == '__main__'":
        return [node]
    return [
        each
        for each in node.body
        if not re.search(r"\b(unittest|pytest|doctest)\.|^main\(", ast.unparse(each))
    ]


def _remove_dead(tree: ast.AST) -> None:
    """Cut what stands behind a statement that always leaves: no assert there can run."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if not isinstance(body, list):
                continue
            for place, statement in enumerate(body):
                if isinstance(statement, ast.Return | ast.Raise | ast.Break | ast.Continue):
                    del body[place + 1 :]
                    break


# --- building what replaces an assert: by hand, since parsing it anew each time is half of a plan's cost ---------

_PLACE: Any = {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
_SITES = ast.Name(SITES, ast.Load(), **_PLACE)
_METHODS = {
    name: ast.Attribute(_SITES, name, ast.Load(), **_PLACE)
    for name in (
        "enter",
        "entered",
        "held",
        "compare",
        "truth",
        "broke",
        "statement_failed",
        "guard_failed",
        "guard_passed",
    )
}
_ANYTHING = ast.Name("BaseException", ast.Load(), **_PLACE)


def _constant(value: str | int) -> ast.Constant:
    return ast.Constant(value, **_PLACE)


def _record(method: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_METHODS[method], [*arguments], [], **_PLACE)


def _statement(call: ast.Call) -> ast.stmt:
    return ast.Expr(call, **_PLACE)


def _context_names(node: Any) -> list[str]:
    functions = [each.context_expr.func for each in node.items if isinstance(each.context_expr, ast.Call)]
    return [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions]


def is_sub_test(node: Any) -> bool:
    return _context_names(node) == ["subTest"]


def _expects(node: Any) -> bool:
    """Whether it waits for an exception, so that what stands inside need not be reached."""
    return any(name in _EXPECTING for name in _context_names(node))


def _guard_passed(index: int) -> ast.stmt:
    return _statement(_record("guard_passed", _constant(index)))


def _watched(body: list[ast.stmt], handler: ast.Call) -> ast.stmt:
    """The statements, and `handler` for whatever they raise."""
    caught = ast.ExceptHandler(_ANYTHING, None, [_statement(handler)], **_PLACE)
    return ast.Try(body, [caught], [], [], **_PLACE)


def _guarded(body: list[ast.stmt]) -> ast.stmt:
    """The statements, with whatever they raise recorded and the run going on."""
    return _watched(body, _record("statement_failed"))


def _may_skip(node: Any) -> bool:
    """Whether a decorator keeps it from being run, without asking the solution."""
    return any(
        "skip" in ast.unparse(decorator).lower()
        and {each.id for each in ast.walk(decorator) if isinstance(each, ast.Name)}
        <= _SURROUNDINGS | _RUNNERS
        for decorator in node.decorator_list
    )


def _asserts(function: Any) -> bool:
    """Whether it asserts itself, by the statement or by a method of a TestCase, not only in functions inside."""
    level: list[ast.AST] = list(function.body)
    while level:
        node = level.pop()
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and is_assertion(node.func)):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            level.extend(ast.iter_child_nodes(node))
    return False


def is_assertion(function: ast.expr) -> bool:
    """Whether it is a method such as `self.assertEqual`, `mock.assert_called` or `pytest.raises`."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.startswith("assert") or name in ("fail", "raises", "warns")


def _behind_docstring(node: Any) -> int:
    return int(ast.get_docstring(node, clean=False) is not None)


class _Instrument(ast.NodeTransformer):
    """Replaces each assert by its recorded form, numbering them in source order."""

    def __init__(self, soft_functions: set[ast.AST], assigned: set[str]) -> None:
        self.required: list[bool] = []
        self.alternatives: list[tuple[int, ...]] = []
        self.functions: list[str] = []
        self._assigned = assigned
        self._soft_functions = soft_functions
        self._soft, self._sure, self._in_try, self._shielded = True, True, False, False
        self._caught = False
        self._open_guards: list[int] = []

    def top(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Assert):
            return [self.visit_Assert(node)]
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return [node]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return [node]  # a docstring, behind which a __future__ import may stand
        changed = self.visit(node)
        body = changed if isinstance(changed, list) else [changed]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and is_assertion(node.value.func):
            body.append(_statement(_record("held")))
        return [_guarded(body)]

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr):
            return node  # no assert can stand inside
        saved, caught = (self._soft, self._sure, self._in_try, self._shielded), self._caught
        if isinstance(node, ast.With | ast.AsyncWith):
            self._shielded, self._caught = True, False
            self._soft &= is_sub_test(node)
            self._sure &= not _expects(node)
        elif isinstance(node, ast.stmt):
            self._soft &= isinstance(node, _TRANSPARENT)
        super().generic_visit(node)
        self._soft, self._sure, self._in_try, self._shielded = saved
        self._caught = caught
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        saved = self._soft, self._sure, self._in_try, self._shielded
        outer, self._open_guards = self._open_guards, []
        self._soft = node in self._soft_functions
        self._sure = not _may_skip(node)
        self._in_try = self._shielded = self._caught = False
        asserts = self._sure and _asserts(node)
        node.body = self._visit_all(node.body)
        if asserts:
            node.body.insert(
                _behind_docstring(node), _statement(_record("entered", _constant(len(self.functions))))
            )
            self.functions.append(node.name)
        self._soft, self._sure, self._in_try, self._shielded = saved
        self._open_guards = outer
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        saved = self._soft, self._sure
        self._soft, self._sure = False, self._sure and not _may_skip(node)
        node.body = self._visit_all(node.body)
        self._soft, self._sure = saved
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        saved = self._soft, self._sure
        names = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
        if names <= _SURROUNDINGS:  # decided without the solution
            self._sure = False
        self._branches([lambda: self._into(node, "body")], [lambda: self._into(node, "orelse")])
        self._soft, self._sure = saved
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        saved, self._soft = self._soft, False
        self._branches(*([lambda case=case: self._into(case, "body")] for case in node.cases))
        self._soft = saved
        return node

    def _into(self, node: Any, field: str) -> None:
        setattr(node, field, self._visit_all(getattr(node, field)))

    def _branches(self, *branches: list[Any]) -> None:
        """Visit what excludes each other: where several of them assert, one of their asserts has to run."""
        found: list[list[int]] = []
        for branch in branches:
            before = len(self.required)
            for visit in branch:
                visit()
            found.append([site for site in range(before, len(self.required)) if self.required[site]])
        if sum(map(bool, found)) > 1:
            group = [site for sites in found for site in sites]
            for site in group:
                self.required[site] = False
            self.alternatives.append(tuple(group))

    def visit_Try(self, node: Any) -> ast.AST | list[ast.stmt]:
        outer, self._open_guards = self._open_guards, []
        saved = self._soft, self._sure, self._in_try, self._shielded
        self._soft = False

        def body() -> None:
            self._in_try = self._shielded = self._caught = True
            self._into(node, "body")
            self._shielded = self._caught = False
            self._into(node, "orelse")
            self._in_try, self._shielded = saved[2:]
            guards = list(self._open_guards)
            for handler in node.handlers:  # it may leave the function
                handler.body[:0] = [_guard_passed(index) for index in guards]

        def handlers() -> None:
            for handler in node.handlers:
                self._into(handler, "body")

        self._branches([body], [handlers])
        self._into(node, "finalbody")
        self._soft, self._sure, self._in_try, self._shielded = saved
        guards, self._open_guards = self._open_guards, outer
        return [node, *map(_guard_passed, guards)]

    visit_TryStar = visit_Try

    def _visit_all(self, body: list[ast.stmt]) -> list[ast.stmt]:
        visited = [self.visit(node) for node in body]
        return [statement for item in visited for statement in (item if isinstance(item, list) else [item])]

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        """`raise AssertionError` behind what should have raised is an `assert False`."""
        if self._in_try and node.exc and re.match(r"AssertionError\b", ast.unparse(node.exc)):
            return self.visit_Assert(ast.Assert(ast.Constant(False), None, lineno=node.lineno, col_offset=0))
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        number = len(self.required)
        index = _constant(number)
        never = isinstance(node.test, ast.Constant) and not node.test.value
        if self._in_try and never:
            self._open_guards.append(number)
            self.required.append(False)
            return _statement(_record("guard_failed", index))
        self.required.append(self._sure and not never)
        recorded = self._recorded(node, _record("enter", index, _constant(self._is_fresh(node))))
        manner = _constant(self._soft), _constant(self._shielded), _constant(self._caught)
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
