"""Divides a test text between two processes: what it does goes to the solution's, what it expects stays with the judge.

Some tests have to stand beside the solution: they patch what it calls, set state that it reads, hand it classes of
their own. There each assert becomes a question. `assert f(3) == 9` leaves `f(3)` in the solution's process, which
reports its value as data, and `_ == 9` with the judge. So a solution that reads, patches or forges all there is around
it still has to know what `f(3)` is. An assert that cannot be divided so carries no pass: `Unsealable`. That is one
inside a loop or a branch that depends on the solution (its process would say how often it ran), or one whose
expectation is computed there.

Pure: text in, code objects out. Used by the clerk, before the solution is anywhere near.
"""

from __future__ import annotations

import ast
import builtins
import copy
import marshal
import types
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from . import split

ASK = "__sites__"
HELP = "__help__"
_MOST_COPIES = 500
"""Of the bodies of loops over literals."""
_PURE = frozenset((
    "abs", "all", "any", "bin", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "float", "frozenset",
    "hex", "int", "isinstance", "len", "list", "max", "min", "oct", "ord", "pow", "range", "repr", "reversed", "round",
    "set", "slice", "sorted", "str", "sum", "tuple", "zip",
))  # fmt: skip
_BUILTINS = frozenset(dir(builtins))
_TYPES = frozenset(name for name in _PURE if isinstance(getattr(builtins, name), type))
_PURE_MODULES = frozenset((
    "math", "cmath", "numpy", "operator", "json", "statistics", "re", "collections", "itertools", "string", "decimal",
    "fractions", "datetime",
))  # fmt: skip
_PREDICATES = frozenset((
    "startswith", "endswith", "isdisjoint", "issubset", "issuperset", "isalpha", "isdigit", "isupper", "islower",
    "isspace", "isalnum", "match", "difference", "union", "intersection", "symmetric_difference",
))  # fmt: skip
_LOOKS = frozenset(("type", "vars", "dir", "iter", "next", "aiter", "anext", "id", "memoryview", "super"))
"""Of the builtin functions that the judge does not have: what only looks at the one thing it is given."""
_KINDS = frozenset(("isinstance", "issubclass", "callable", "hasattr"))
_COMPOSED = (
    ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.JoinedStr,
    ast.FormattedValue, ast.IfExp, ast.Slice,
)  # fmt: skip
_OPERATORS: dict[str, type[ast.cmpop]] = {
    "assertNotEqual": ast.NotEq, "assertIs": ast.Is, "assertIsNot": ast.IsNot, "assertIn": ast.In,
    "assertNotIn": ast.NotIn, "assertGreater": ast.Gt, "assertGreaterEqual": ast.GtE, "assertLess": ast.Lt,
    "assertLessEqual": ast.LtE, **dict.fromkeys((
        "assertEqual", "assertEquals", "assertMultiLineEqual", "assertSequenceEqual", "assertListEqual",
        "assertTupleEqual", "assertSetEqual", "assertDictEqual",
    ), ast.Eq),
}  # fmt: skip


class Unsealable(ValueError):
    """The tests cannot be divided; the text says why."""


class Sealed(NamedTuple):
    """A test text in its two halves."""

    inside: types.CodeType
    """Runs in the solution's process: the tests, with a question in place of each assert."""
    tests: tuple[str, ...]
    candidate_check: bool
    imports: tuple[tuple[str, tuple[str, ...]], ...]
    free: frozenset[str]
    examples: tuple[str, ...]
    """Sources of a doctest, in place of `inside`."""
    answers: bytes
    """The judge's half, as a `split.Plan`: one function a question, which asserts."""
    wants: tuple[tuple[str, str | None, int], ...]
    """Of a doctest: what each example is to show, or to raise, and its flags."""

    def halves(self, entry_point: str | None) -> tuple[bytes, bytes]:
        """What the solution's process gets, and what the judge gets."""
        inside = (
            self.inside,
            self.tests,
            self.candidate_check,
            self.imports,
            self.free,
            entry_point,
            self.examples,
        )
        return marshal.dumps(inside), marshal.dumps((self.answers, self.wants))


def seal(tests: str, entry_point: str | None) -> Sealed:
    """Divide a test text. `entry_point` is the name it begins with. Raises Unsealable, or what `ast.parse` raises."""
    if split.is_doctest(tests):
        return _sealed_doctest(tests)
    tree = ast.parse(tests, "tests.py")
    split.tidy(tree)
    plan = split.plan(tests)
    tree = ast.fix_missing_locations(_Unroller(tree).unrolled())
    sealer = _Sealer(tree, plan, entry_point)
    tree.body = sealer.module(tree.body)
    _forget_expectations(tree, sealer.values.keys())
    _check_that_nothing_stays(tree, sealer.answers)
    answers = ast.Module([*sealer.imports, *sealer.answers], [])
    inside = compile(ast.fix_missing_locations(tree), "tests.py", "exec", dont_inherit=True)
    names = tuple(dict.fromkeys(split._collected(tree)))
    collected = tuple(name for name in names if name not in split._called(tree))
    return Sealed(
        inside, collected, plan.candidate_check, plan.imports, plan.free, (), _judged(answers).dump(), ()
    )


def _judged(answers: ast.Module) -> split.Plan:
    """The plan of the judge's half: whatever breaks on a hole is the solution's doing."""
    given = {arg.arg for node in answers.body if isinstance(node, ast.FunctionDef) for arg in node.args.args}
    text = ast.unparse(ast.fix_missing_locations(answers)) or "pass"
    return split.plan(text, frozenset(given))._replace(tests=(), candidate_check=False, plain=None)


def _sealed_doctest(tests: str) -> Sealed:
    import doctest  # 30 ms that only doctests pay for

    examples = doctest.DocTestParser().get_examples(tests)
    for example in examples:
        _check_example(example.source)
    wants = tuple(
        (example.want, example.exc_msg, sum(flag for flag, on in example.options.items() if on))
        for example in examples
    )
    plan, empty = split.plan(tests), compile("", "tests.py", "exec")
    return Sealed(
        empty, (), False, plan.imports, plan.free, tuple(e.source for e in examples),
        _judged(ast.Module([], [])).dump(), wants,
    )  # fmt: skip


def _check_that_nothing_stays(tree: ast.Module, answers: list[ast.stmt]) -> None:
    """Raises Unsealable where a value of the judge's half is in the other, but for what the solution is asked with."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Pass()
    asked = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func).startswith(f"{ASK}.")
    ]
    inputs = {id(n) for call in asked for n in ast.walk(call)}
    kept = {_key(n.value) for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in inputs}
    told = {_key(n.value) for answer in answers for n in ast.walk(answer) if isinstance(n, ast.Constant)}
    if found := (kept & told) - {
        _key(value) for value in (*range(-1, 3), 0.0, 1.0, True, False, None, "", ...)
    }:
        raise Unsealable(f"{next(iter(found))[1]!r} is expected, and stands beside the solution as well")


def _key(value: Any) -> tuple[type, Any]:
    return type(value), value


def _forget_expectations(tree: ast.Module, values: Set[str]) -> None:
    """Cut assignments of literals that nothing reads any more beside the solution: they are what is expected."""
    while True:
        read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        unread = [
            (node, field, statement)
            for node in ast.walk(tree)
            for field in ("body", "orelse", "finalbody")
            if isinstance(body := getattr(node, field, None), list)
            for statement in body
            if isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and statement.targets[0].id in values - read
        ]
        if not unread:
            return
        for node, field, statement in unread:
            kept = [each for each in getattr(node, field) if each is not statement]
            setattr(node, field, kept or [ast.Pass()])


def _check_example(source: str) -> None:
    """What an example shows may be the solution's word, if it is a value; a comparison would be it in the end, too."""
    for node in ast.walk(ast.parse(source)):
        kinds = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _KINDS | {"all", "any", "bool"}
        )
        if kinds or (
            isinstance(node, ast.Compare | ast.UnaryOp)
            and not isinstance(getattr(node, "op", None), ast.USub)
        ):
            raise Unsealable("an example that compares")
        if isinstance(node, ast.BinOp) and any(isinstance(n, ast.Constant) for n in (node.left, node.right)):
            raise Unsealable("an example that computes with what the solution gives")


# --- loops over literals ------------------------------------------------------------------------------------------


class _Unroller(ast.NodeTransformer):
    """Writes out loops over literals that assert, and parametrised tests, so that every assert runs once."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree, self._copies = tree, 0
        stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
        self._literals = {
            node.targets[0].id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
            and stored.count(node.targets[0].id) == 1 and _items(node.value) is not None
        }  # fmt: skip

    def unrolled(self) -> ast.Module:
        made: ast.Module = self.visit(self._tree)
        return made

    def visit_For(self, node: ast.For) -> Any:
        items = self._items(node.iter)
        jumps = any(isinstance(each, ast.Break | ast.Continue) for each in ast.walk(node))
        if items is None or jumps or node.orelse or not split._asserts(ast.Module(node.body, [])):
            return self.generic_visit(node)
        bodies = [self._copy(node.body, _bound(node.target, item)) for item in items]
        return [self.visit(statement) for body in bodies for statement in body] or [ast.Pass()]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        marks = [
            d
            for d in node.decorator_list
            if isinstance(d, ast.Call) and ast.unparse(d.func).endswith("parametrize")
        ]
        if len(marks) != 1 or len(node.decorator_list) != 1 or len(marks[0].args) < 2:
            return self.generic_visit(node)
        names, items = _literal(marks[0].args[0]), self._items(marks[0].args[1])
        if names is None or items is None:
            return self.generic_visit(node)
        wanted = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        target: ast.expr = (
            ast.Tuple([ast.Name(n) for n in wanted]) if len(wanted) > 1 else ast.Name(wanted[0])
        )
        made = []
        for place, item in enumerate(items):
            each = copy.deepcopy(node)
            each.name, each.decorator_list = f"{node.name}_{place}", []
            each.args.args = [a for a in each.args.args if a.arg not in wanted]
            each.body = self._copy(node.body, _bound(target, item))
            made.append(self.generic_visit(each))
        return made

    def _items(self, node: ast.expr) -> list[ast.expr] | None:
        return _items(self._literals.get(node.id, node) if isinstance(node, ast.Name) else node)

    def _copy(self, body: list[ast.stmt], values: dict[str, ast.expr]) -> list[ast.stmt]:
        self._copies += 1
        if self._copies > _MOST_COPIES:
            raise Unsealable("too many repetitions")
        stored = {
            n.id
            for s in body
            for n in ast.walk(s)
            if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
        }
        if stored & values.keys():
            raise Unsealable("a loop that sets its own variable")
        return [_Substitute(values).visit(copy.deepcopy(statement)) for statement in body]


class _Substitute(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.values.get(node.id, node))


def _bound(target: ast.expr, item: ast.expr) -> dict[str, ast.expr]:
    """Names of a loop's target and what they stand for in one round."""
    if isinstance(target, ast.Name):
        return {target.id: item}
    if isinstance(target, ast.Tuple | ast.List) and isinstance(item, ast.Tuple | ast.List):
        if len(target.elts) != len(item.elts):
            raise Unsealable("a loop whose items do not fit")
        return {n: v for t, i in zip(target.elts, item.elts, strict=True) for n, v in _bound(t, i).items()}
    raise Unsealable("a loop over items that are no literals")


def _items(node: ast.expr) -> list[ast.expr] | None:
    """The items of a literal sequence, of a `range` or of a literal dictionary's `items()`."""
    if isinstance(node, ast.List | ast.Tuple):
        return list(node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [_literal(arg) for arg in node.args]
        if all(type(bound) is int for bound in bounds) and bounds and len(range(*bounds)) <= _MOST_COPIES:
            return [ast.Constant(value) for value in range(*bounds)]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "items"
        and isinstance(node.func.value, ast.Dict)
        and all(node.func.value.keys)
    ):
        pairs = zip(node.func.value.keys, node.func.value.values, strict=True)
        return [ast.Tuple([key, value]) for key, value in pairs if key]
    return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


# --- questions and answers ----------------------------------------------------------------------------------------


class _Sealer:
    """Goes through the statements that run exactly once, and takes every assert apart."""

    def __init__(self, tree: ast.Module, plan: split.Plan, entry_point: str | None) -> None:
        self.answers: list[ast.stmt] = []
        self.imports: list[ast.stmt] = []
        self._modules = self._imported(tree)
        self._own = {
            n.name
            for n in ast.walk(tree)
            if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        }
        self._unsure = set() if entry_point else plan.subjects & _BUILTINS - _TYPES
        self._solution = set(plan.free) - _BUILTINS | {name for _, names in plan.imports for name in names}
        self._solution |= {entry_point} if entry_point else set()
        self._solution |= {module.split(".")[0] for module, _ in plan.imports}
        self.values = self._inlinable(tree)
        self._from_solution = self._derived(tree)
        self._holes: list[ast.expr] = []
        self._bound: set[str] = set()

    def _imported(self, tree: ast.Module) -> dict[str, str]:
        """Local names that come from a module, and which; the judge imports the pure ones, too."""
        found: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {(a.asname or a.name).split(".")[0]: a.name.split(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {a.asname or a.name: node.module.split(".")[0] for a in node.names}
            else:
                continue
            found |= names
            if set(names.values()) <= _PURE_MODULES:
                self.imports.append(copy.deepcopy(node))
        return found

    def _inlinable(self, tree: ast.Module) -> dict[str, ast.expr]:
        """Names set once, to what the judge can compute without the solution."""
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        stored = [n.id for n in names if not isinstance(n.ctx, ast.Load)]
        touched = {
            n.value.id
            for n in ast.walk(tree)
            if isinstance(n, ast.Attribute | ast.Subscript) and isinstance(n.value, ast.Name)
        }
        touched |= {
            a.id for n in ast.walk(tree) if isinstance(n, ast.Call) for a in n.args if isinstance(a, ast.Name)
        }
        values: dict[str, ast.expr] = {}
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                continue
            name = node.targets[0].id
            simple = isinstance(node.value, ast.Constant) or isinstance(_literal(node.value), tuple)
            if (
                stored.count(name) == 1
                and self._is_pure(node.value, values)
                and (simple or name not in touched)
            ):
                values[name] = node.value
        return values

    def _is_pure(self, node: ast.expr, values: dict[str, ast.expr]) -> bool:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                known = each.id in _PURE and each.id not in self._solution and each.id not in self._own
                if not (known or each.id in values or self._modules.get(each.id) in _PURE_MODULES):
                    return False
            elif isinstance(each, ast.Lambda | ast.comprehension | ast.Await | ast.NamedExpr):
                return False
        return True

    def _derived(self, tree: ast.Module) -> set[str]:
        """Names that hold what the solution gave."""
        found = set(self._solution)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "check":
                found |= {a.arg for a in node.args.args}
        size = -1
        while size != len(found):
            size = len(found)
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        found |= self._given_names(target, node.value, found)
                elif (
                    isinstance(node, ast.withitem)
                    and node.optional_vars
                    and self._is_given(node.context_expr, found)
                ):
                    found |= {n.id for n in ast.walk(node.optional_vars) if isinstance(n, ast.Name)}
        return found

    def _given_names(self, target: ast.expr, value: ast.expr, found: Set[str]) -> set[str]:
        """What an assignment makes the solution's: nothing that holds data of the tests as well."""
        if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
            pairs = zip(target.elts, value.elts, strict=False)
            return {name for t, v in pairs for name in self._given_names(t, v, found)}
        if not self._is_given(value, found):
            return set()
        names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return names | {f"self.{n.attr}" for n in ast.walk(target) if isinstance(n, ast.Attribute)}

    def _is_given(self, node: ast.expr, found: Set[str]) -> bool:
        """Whether all of a value comes from the solution."""
        if isinstance(node, ast.Tuple | ast.List):
            return bool(node.elts) and all(self._is_given(each, found) for each in node.elts)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            return self._is_given(node.elt, found)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _PURE - self._own
        ):
            return bool(node.args) and all(self._is_given(each, found) for each in node.args)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(f"{ASK}."):
            return True
        root = _root(node)
        return isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call) and self._mentions(
            root, found
        )

    def _mentions(self, node: ast.AST, names: Set[str]) -> bool:
        return any(
            (isinstance(n, ast.Name) and n.id in names)
            or (isinstance(n, ast.Attribute) and f"self.{n.attr}" in names)
            for n in ast.walk(node)
        )

    # --- statements ---------------------------------------------------------------------------------------------

    def module(self, body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        called = [
            n.func.id
            for n in ast.walk(ast.Module(body, []))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        ]
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                made.append(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                runs_once = called.count(node.name) <= 1 and (
                    split.is_test(node.name) or node.name == "check"
                )
                made.append(self._function(node, runs_once))
            elif isinstance(node, ast.ClassDef):
                made.append(self._class(node, [n for n in body if isinstance(n, ast.ClassDef)]))
            else:
                made += [split._guarded(part) for part in [self._statements([node])] if part]
        return made

    def _class(self, node: ast.ClassDef, classes: list[ast.ClassDef]) -> ast.stmt:
        inherited = any(isinstance(b, ast.Name) and b.id == node.name for each in classes for b in each.bases)
        for place, each in enumerate(node.body):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body[place] = self._function(each, split.is_test(each.name) and not inherited)
        return node

    def _function(self, node: Any, runs_once: bool) -> ast.stmt:
        if not split._asserts(node):
            if split.is_test(node.name) and self._mentions(node, self._from_solution):
                raise Unsealable(
                    f"{node.name} asserts nothing: that it held would be the solution's own word"
                )
            return node  # type: ignore[no-any-return]
        plain = all("patch" in (text := ast.unparse(d)) or "skip" in text for d in node.decorator_list)
        if isinstance(node, ast.AsyncFunctionDef) or not runs_once or not plain:
            raise Unsealable(f"{node.name} asserts, and may be called any number of times")
        node.body = self._statements(node.body) or [ast.Pass()]
        return node  # type: ignore[no-any-return]

    def _statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        return [made for node in body for made in self._statement(node)]

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Assert):
            return [self._question(node.test)]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return self._call(node.value) or [node]
        if isinstance(node, ast.With) and split._asserts(ast.Module([node], [])) | split._expects(node):
            return self._with(node)
        if isinstance(node, ast.Try) and (asked := self._expected(node)):
            return asked
        if any(isinstance(each, ast.Raise) for each in ast.walk(node)) and not isinstance(
            node, ast.FunctionDef | ast.ClassDef
        ):
            raise Unsealable("a test that fails by an exception of its own")
        if split._asserts(ast.Module([node], [])) and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            raise Unsealable("an assert in a loop or a branch")
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and _holds_asserts(node):
            raise Unsealable("an assert in a function inside another")
        return [node]

    def _with(self, node: ast.With) -> list[ast.stmt]:
        if split.is_sub_test(node):  # its parameters may be what is expected
            return self._statements(node.body)
        if not split._expects(node):
            node.body = self._statements(node.body) or [ast.Pass()]
            return [node]
        call, name = node.items[0].context_expr, node.items[0].optional_vars
        if (
            len(node.items) != 1
            or not isinstance(call, ast.Call)
            or not call.args
            or not _awaits_exception(call)
        ):
            raise Unsealable("a block that expects something else than an exception")
        return [self._raises(node.body, call, name)]

    def _expected(self, node: ast.Try) -> list[ast.stmt]:
        """`try: f(); assert False` with one handler: the same in another form."""
        guard = node.body[-1] if len(node.body) == 2 else None
        fails = (
            isinstance(guard, ast.Assert) and isinstance(guard.test, ast.Constant) and not guard.test.value
        )
        fails |= (
            isinstance(guard, ast.Expr)
            and isinstance(guard.value, ast.Call)
            and ast.unparse(guard.value.func) == "self.fail"
        )
        handler = node.handlers[0] if len(node.handlers) == 1 else None
        if not fails or not handler or not handler.type or node.orelse or node.finalbody:
            return []
        name = ast.Name("__caught__", ast.Store())
        asked = self._raises(
            node.body[:1], ast.Call(ast.Name("raises", ast.Load()), [handler.type], []), name
        )
        if handler.name:
            self._from_solution.add(handler.name)
        kept = ast.parse(f"{handler.name or '_'} = __caught__.exception").body
        return [asked, *kept, *self._statements(handler.body)]

    def _raises(self, body: list[ast.stmt], call: ast.Call, name: ast.expr | None) -> ast.stmt:
        act = _as_call(body[0]) if len(body) == 1 and not _holds_asserts(body[0]) else None
        if act is None:
            raise Unsealable("a block of several statements that expects an exception")
        kinds = call.args[0].elts if isinstance(call.args[0], ast.Tuple) else [call.args[0]]
        paths = ", ".join(repr(self._path(kind)) for kind in kinds)
        number = len(self.answers)
        lines = [f"def answer_{number}(names, text):", f"    assert {HELP}.raised(names, {paths})"]
        patterns = [k.value for k in call.keywords if k.arg == "match"] + call.args[1:2]
        lines += [f"    assert {HELP}.found({ast.unparse(pattern)}, text)" for pattern in patterns]
        self.answers += ast.parse("\n".join(lines)).body
        asked = ast.parse(f"{ASK}.raises({number}, lambda: 0)", mode="eval").body
        asked.args[1].body = act  # type: ignore[attr-defined]
        if name is None:
            return ast.Expr(asked)
        self._from_solution |= {n.id for n in ast.walk(name) if isinstance(n, ast.Name)}
        return ast.Assign([name], asked)

    def _path(self, kind: ast.expr) -> str:
        """`module.Name` of an exception class, with the name that the tests have for its module undone."""
        text = ast.unparse(kind)
        head, dot, rest = text.partition(".")
        if not dot:
            return (
                f"{self._modules[text]}.{text}"
                if text in self._modules and text not in self._solution
                else text
            )
        return f"{self._modules.get(head, head)}.{rest}"

    # --- asserts ------------------------------------------------------------------------------------------------

    def _call(self, call: ast.Call) -> list[ast.stmt]:
        """A call that asserts, as a question; nothing where it is any other."""
        text = ast.unparse(call.func)
        name = text.rpartition(".")[2]
        if split.is_assertion(call.func):
            if name == "assertRaises" or name == "assertRaisesRegex":
                first = 1 + (name == "assertRaisesRegex")
                inner = ast.Expr(ast.Call(call.args[first], call.args[first + 1 :], call.keywords))
                return [self._raises([inner], ast.Call(call.func, call.args[:first], []), None)]
            return [self._question(_as_expression(name, call))]
        if name in _MOCK and isinstance(call.func, ast.Attribute):
            return [self._question(_called_with(call.func.value, name, call))]
        if ".testing.assert" in text and self._modules.get(text.partition(".")[0]) in _PURE_MODULES:
            number = self._begin()
            outer = self._outer(call)
            return [self._ask(number, [ast.Expr(outer), ast.parse("assert True").body[0]])]
        return []

    def _question(self, test: ast.expr) -> ast.stmt:
        number = self._begin()
        return self._ask(number, [ast.Assert(self._outer(test))])

    def _begin(self) -> int:
        self._holes = []
        return len(self.answers)

    def _ask(self, number: int, body: list[ast.stmt]) -> ast.stmt:
        of_solution = [self._mentions(hole, self._from_solution) for hole in self._holes]
        if any(of_solution) and not all(of_solution):
            raise Unsealable("what is expected is computed beside the solution")
        if self._holes and not any(of_solution) and not any(map(_is_telling, body)):
            raise Unsealable("the state of the tests' own objects, which could be guessed")
        arguments = ", ".join(f"hole_{place}" for place in range(len(self._holes)))
        answer = ast.parse(f"def answer_{number}({arguments}): pass").body[0]
        answer.body = body  # type: ignore[attr-defined]
        self.answers.append(answer)
        asked = ast.parse(f"{ASK}.ask({number}, lambda: 0)").body[0]
        asked.value.args[1].body = ast.Tuple(list(self._holes), ast.Load())  # type: ignore[attr-defined]
        return asked

    def _outer(self, node: ast.expr) -> ast.expr:
        """The judge's part of an expression; what the solution's process has to say becomes a hole."""
        if isinstance(node, ast.Constant):
            return node
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            sides = [node.left, *node.comparators]
            if not any(isinstance(s, ast.Constant) and s.value in (None, True, False, ...) for s in sides):
                raise Unsealable("an identity, which is lost between processes")
        if isinstance(node, _COMPOSED):
            return self._parts(node)
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            return self._comprehension(node)
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Attribute | ast.Subscript):
            root = _root(node)
            if isinstance(root, ast.Name) and (
                root.id in self._bound or root.id in self.values or self._is_pure(root, {})
            ):
                return self._parts(node)
            return self._hole(node)
        raise Unsealable(f"an assert with {type(node).__name__}")

    def _parts(self, node: ast.expr) -> ast.expr:
        made = copy.copy(node)
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(made, field, self._outer(value))
            elif isinstance(value, list) and value and any(isinstance(each, ast.expr) for each in value):
                setattr(
                    made, field, [self._outer(each) if isinstance(each, ast.expr) else each for each in value]
                )
        return made

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in self._bound:
            return node
        if node.id in self.values:
            return self._outer(copy.deepcopy(self.values[node.id]))
        if node.id in self._from_solution:
            return self._hole(node)
        if hasattr(builtins, node.id) and node.id not in self._own:
            return node
        raise Unsealable(f"{node.id} is set beside the solution")

    def _comprehension(self, node: Any) -> ast.expr:
        made, saved = copy.deepcopy(node), set(self._bound)
        for generator in made.generators:
            generator.iter = self._outer(generator.iter)
            self._bound |= {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
        before = len(self._holes)
        for generator in made.generators:
            generator.ifs = [self._outer(each) for each in generator.ifs]
        made.elt = self._outer(made.elt)
        if len(self._holes) > before:
            raise Unsealable("the solution is asked inside a comprehension")
        self._bound = saved
        return made  # type: ignore[no-any-return]

    def _called(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _KINDS and name not in self._own and not self._is_data_kind(node):
            return self._hole(node)
        root = _root(node.func)
        if name in self._unsure and not any(
            isinstance(n, ast.Call | ast.Name) for arg in node.args for n in ast.walk(arg)
        ):
            raise Unsealable(f"{name} may be the solution's own, no entry point says so")
        pure = name in _PURE and name not in self._solution and name not in self._own
        pure |= isinstance(root, ast.Name) and self._modules.get(root.id) in _PURE_MODULES
        predicate = isinstance(node.func, ast.Attribute) and node.func.attr in _PREDICATES
        if not (pure or predicate):
            return self._hole(node)
        made = copy.copy(node)
        if predicate and not pure:
            made.func = ast.Attribute(self._outer(node.func.value), node.func.attr, ast.Load())  # type: ignore[attr-defined]
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            raise Unsealable("starred arguments")
        made.args = [self._outer(arg) for arg in node.args]
        made.keywords = [ast.keyword(k.arg, self._outer(k.value)) for k in node.keywords]
        return made

    def _is_data_kind(self, node: ast.Call) -> bool:
        """Whether `isinstance` asks for types that cross as they are."""
        kinds = node.args[1:]
        names = [n.id for kind in kinds for n in ast.walk(kind) if isinstance(n, ast.Name)]
        return (
            node.func.id == "isinstance"  # type: ignore[attr-defined]
            and all(
                name
                in (
                    "int",
                    "float",
                    "str",
                    "bytes",
                    "bool",
                    "list",
                    "tuple",
                    "dict",
                    "set",
                    "frozenset",
                    "complex",
                )
                for name in names
            )
            and all(isinstance(n, ast.Name | ast.Tuple | ast.Load) for kind in kinds for n in ast.walk(kind))
        )

    def _hole(self, node: ast.expr) -> ast.expr:
        self._check_hole(node)
        self._holes.append(node)
        return ast.Name(f"hole_{len(self._holes) - 1}", ast.Load())

    def _check_hole(self, node: ast.expr) -> None:
        """What is asked in the solution's process must not hold what is expected."""
        for each in ast.walk(node):
            if isinstance(each, ast.Compare | ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom):
                raise Unsealable("a comparison that the solution's process would make")
            if isinstance(each, ast.Name) and each.id in self._bound:
                raise Unsealable("the solution is asked inside a comprehension")
            if (
                isinstance(each, ast.Call)
                and isinstance(each.func, ast.Attribute)
                and each.func.attr.startswith("__")
            ):
                raise Unsealable("a special method called with what may be expected")
            if isinstance(each, ast.Call) and not isinstance(each.func, ast.Lambda):
                self._check_call(each)

    def _check_call(self, call: ast.Call) -> None:
        root = _root(call.func)
        given = [*call.args, *(k.value for k in call.keywords)]
        asks = any(self._mentions(each, self._from_solution) for each in given)
        if not asks or self._mentions(call.func, self._from_solution):
            return
        name = root.id if isinstance(root, ast.Name) else ""
        tells = any(not self._mentions(each, self._from_solution) for each in given)
        looks = name in _LOOKS and name not in self._own
        if name not in _KINDS and (tells or not (looks or name in self._modules)):
            raise Unsealable(f"{ast.unparse(call.func)} would compare beside the solution")


def _is_telling(body: ast.AST) -> bool:
    """Whether it holds a value that nobody would guess: a text, a number of some size."""
    values = [n.value for n in ast.walk(body) if isinstance(n, ast.Constant)]
    return any(
        len(value) > 1
        if isinstance(value, str | bytes)
        else isinstance(value, int | float) and abs(value) > 9
        for value in values
    )


def _as_call(node: ast.stmt) -> ast.expr | None:
    """A statement as an expression that does the same."""
    if isinstance(node, ast.Expr):
        return node.value
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return None
    target = node.targets[0]
    if isinstance(target, ast.Attribute):
        given = [target.value, ast.Constant(target.attr), node.value]
        return ast.Call(ast.Name("setattr", ast.Load()), given, [])
    if isinstance(target, ast.Subscript):
        method = ast.Attribute(ast.Name(ASK, ast.Load()), "set_item", ast.Load())
        return ast.Call(method, [target.value, target.slice, node.value], [])
    return node.value if isinstance(target, ast.Name) else None


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node


def _holds_asserts(node: ast.AST) -> bool:
    return any(
        isinstance(n, ast.Assert) or (isinstance(n, ast.Call) and split.is_assertion(n.func))
        for n in ast.walk(node)
    )


def _awaits_exception(call: ast.Call) -> bool:
    return ast.unparse(call.func).rpartition(".")[2] in ("raises", "assertRaises", "assertRaisesRegex")


def _as_expression(name: str, call: ast.Call) -> ast.expr:
    """The assertion of a TestCase as an expression. Raises Unsealable for those without one."""
    args, options = call.args, {k.arg: k.value for k in call.keywords if k.arg not in ("msg", None)}
    if name in _OPERATORS and len(args) >= 2:
        return ast.Compare(args[0], [_OPERATORS[name]()], [args[1]])
    if name in ("assertTrue", "assertFalse") and args:
        return args[0] if name == "assertTrue" else ast.UnaryOp(ast.Not(), args[0])
    if name in ("assertIsNone", "assertIsNotNone") and args:
        return ast.Compare(
            args[0], [ast.Is() if name == "assertIsNone" else ast.IsNot()], [ast.Constant(None)]
        )
    if name == "assertIsInstance" and len(args) >= 2:
        return ast.Call(ast.Name("isinstance", ast.Load()), args[:2], [])
    if name == "assertCountEqual" and len(args) >= 2:
        return ast.Compare(*_sorted_by_text(args[:2]))
    if name in ("assertAlmostEqual", "assertNotAlmostEqual") and len(args) >= 2:
        gap: ast.expr = ast.Call(ast.Name("abs", ast.Load()), [ast.BinOp(args[0], ast.Sub(), args[1])], [])
        if "delta" in options:
            near: ast.expr = ast.Compare(gap, [ast.LtE()], [options["delta"]])
        else:
            places = options.get("places") or (args[2] if len(args) > 2 else ast.Constant(7))
            near = ast.Compare(
                ast.Call(ast.Name("round", ast.Load()), [gap, places], []), [ast.Eq()], [ast.Constant(0)]
            )
        return near if name == "assertAlmostEqual" else ast.UnaryOp(ast.Not(), near)
    raise Unsealable(f"{name} is not divided")


def _sorted_by_text(sides: Sequence[ast.expr]) -> tuple[ast.expr, list[ast.cmpop], list[ast.expr]]:
    left, right = (
        ast.Call(ast.Name("sorted", ast.Load()), [side], [ast.keyword("key", ast.Name("repr", ast.Load()))])
        for side in sides
    )
    return left, [ast.Eq()], [right]


_MOCK = {
    "assert_called_once_with": "{calls} == [{given}]", "assert_called_with": "{calls}[-1:] == [{given}]",
    "assert_called_once": "len({calls}) == 1", "assert_called": "len({calls}) > 0",
    "assert_not_called": "len({calls}) == 0", "assert_any_call": "{given} in {calls}",
}  # fmt: skip


def _called_with(mock: ast.expr, name: str, call: ast.Call) -> ast.expr:
    """What a mock asserts of its calls, as an expression on the list of them."""
    args = "".join(ast.unparse(arg) + ", " for arg in call.args)
    keywords = ", ".join(f"{keyword.arg!r}: {ast.unparse(keyword.value)}" for keyword in call.keywords)
    given = f"(({args}), {{{keywords}}})"
    calls = f"{ASK}.calls({ast.unparse(mock)})"
    return ast.parse(_MOCK[name].format(calls=calls, given=given), mode="eval").body
