"""Reply text -> subtopics, statement, program, calls, asserts. Pure: reads text as text and syntax trees, runs nothing.

What a model sends is hostile and often malformed. Everything here either returns a clean value or raises `ParseError`,
whose message becomes the recorded reason of the row.
"""

from __future__ import annotations

import ast
import doctest
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from advcore.chat import fenced_code

MAX_DEPTH = 80  # of a syntax tree; people stay below 30
LEAST_CHARS = 40  # of a docstring that is to state an exercise
MAX_SOURCE_CHARS = 20_000  # beyond it a reply is a runaway, and Python's parser a risk


class ParseError(ValueError):
    """A reply that does not hold what it was asked for; the text is the reason, in a few words."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An exercise as the student sees it: signature and docstring, nothing else."""

    entry_point: str
    stub: str
    parameters: tuple[str, ...]

    @property
    def signature(self) -> str:
        """The `def` line, on one line, without its colon."""
        return ast.unparse(_only_function(tree(self.stub))).split('"""')[0].strip().removesuffix(":")

    @property
    def types(self) -> tuple[str, ...]:
        """The annotations of the parameters in order, and of the result; '' where there is none."""
        function = _only_function(tree(self.stub))
        given = [each.annotation for each in [*function.args.posonlyargs, *function.args.args]]
        return tuple(ast.unparse(each) if each else "" for each in [*given, function.returns])

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join(self.docstring.split("\n\n")[0].split())

    @property
    def docstring(self) -> str:
        """The text of the statement, its examples included."""
        return (ast.get_docstring(_only_function(tree(self.stub))) or "").strip()


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the entry point with literal positional arguments."""

    source: str
    args: tuple[Any, ...]


def subtopics(text: str) -> list[str]:
    """The items of a numbered or bulleted list, without their marks; none repeated."""
    items = re.findall(r"^[^\S\n]*(?:\d+[.)]|[-*])[^\S\n]++(.{3,120}?)[^\S\n]*$", text, re.MULTILINE)
    clean = [re.sub(r"[*_`]", "", item).strip(" .") for item in items]
    return list(dict.fromkeys(item for item in clean if item))


def code_block(text: str, truncated: bool = False) -> str:
    """The fenced Python block, else the whole text.

    An unclosed fence (a reply cut short) raises ParseError unless a `truncated` block is of use too.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "```" not in text:
        return text.strip("\n")
    code = fenced_code(text, truncated=truncated)
    if code is None:
        raise ParseError("truncated")
    return code.rstrip()


def tree(source: str, most_chars: int = MAX_SOURCE_CHARS) -> ast.Module:
    """The syntax tree, or ParseError naming the kind of error."""
    if len(source) > most_chars:
        raise ParseError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in a model's strings are not our concern
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParseError(f"syntax error: {type(error).__name__}") from None
    _check_size(module)
    return module


def _check_size(module: ast.Module) -> None:
    """Refuse trees that would break who walks, copies or prints them."""
    level: list[ast.AST] = [module]
    for _ in range(MAX_DEPTH):
        if any(isinstance(node, ast.Constant) and _is_huge(node.value) for node in level):
            raise ParseError("a number of over 1000 digits")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ParseError("nested too deep")


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 10**1000


def statement(text: str) -> Statement:
    """An exercise: one function with a docstring. A body that was written all the same is cut off, whole or not; so is
    the last example of a reply that ends among its examples.
    """
    return _statement(code_block(text, truncated=True), LEAST_CHARS)


def stored(stub: str) -> Statement:
    """The exercise of a `stub` column: examples that did not hold were cut, so that little may be left."""
    return _statement(stub, 1)


def _statement(source: str, least: int) -> Statement:
    if len(source) > MAX_SOURCE_CHARS:  # what follows takes the square of that
        raise ParseError("too long")
    header = re.match(r".*?^def .*?(\"{3}|'{3})(?:.*?(\1)|.*(?=>>>))", source, re.DOTALL | re.MULTILINE)
    module = tree(header[0] + ("" if header[2] else header[1]) if header else source)
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        raise ParseError(f"{len(functions)} functions instead of one")
    function = functions[0]
    docstring = "\n".join(line.rstrip() for line in (ast.get_docstring(function) or "").splitlines()).strip()
    if len(docstring) < least or not outline(docstring):
        raise ParseError("no docstring")
    if function.name.startswith("_") or function.decorator_list:
        raise ParseError("private or decorated function")
    if '"""' in docstring:
        raise ParseError("docstring cannot be quoted")
    return Statement(function.name, _stub(module, docstring), _positional(function.args))


def _stub(module: ast.Module, docstring: str) -> str:
    """The imports and the one function of `module`, with that docstring and no body. Changes the function."""
    function = _only_function(module)
    imports = [node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)]
    function.body = [ast.Pass()]
    head = ast.unparse(ast.Module([*imports, function], [])).removesuffix("pass")
    lines = [("    " + line).rstrip() for line in docstring.replace("\\", "\\\\").splitlines()]
    text = "\n".join(lines).lstrip()
    return f'{head}"""{text}\n    """'


def _only_function(module: ast.Module) -> ast.FunctionDef:
    return next(node for node in module.body if isinstance(node, ast.FunctionDef))


def _positional(arguments: ast.arguments) -> tuple[str, ...]:
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise ParseError("starred or keyword-only parameters")
    names = tuple(argument.arg for argument in [*arguments.posonlyargs, *arguments.args])
    if not names:
        raise ParseError("no parameters")
    return names


def program(text: str, entry_point: str) -> str:
    """A solution: code that defines `entry_point` at its top level.

    What runs by itself is cut off, and so are docstrings, which repeat the statement on one side of a pair only.
    """
    source = _without_docstrings(code_block(text))
    kept = [node for node in tree(source).body if not _runs_by_itself(node)]
    if entry_point not in {name for node in kept for name in _defined(node)}:
        raise ParseError("no such function")
    parts, gaps = _parts(source.split("\n"), kept)
    return parts[0] + "".join(gap + part for gap, part in zip(gaps, parts[1:], strict=True))


def _parts(lines: list[str], kept: list[ast.stmt]) -> tuple[list[str], list[str]]:
    """The text of each statement, and what goes between them; those that share a line are one."""
    parts: list[str] = []
    gaps: list[str] = []
    end = 0
    for node in kept:
        last = node.end_lineno or node.lineno
        start = max(_first_line(node), end + 1)
        if start <= last:
            gaps += ["\n\n" if isinstance(node, _BLOCKS) else "\n"] if parts else []
            parts.append("\n".join(lines[start - 1 : last]))
            end = last
    return parts, gaps


def _runs_by_itself(node: ast.stmt) -> bool:
    """Prints, asserts and the `__main__` part; anything else at the top level may be what the function needs."""
    if isinstance(node, ast.If):
        return "__name__" in {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
    return isinstance(node, ast.Expr | ast.Assert)


def _without_docstrings(source: str) -> str:
    lines = source.split("\n")
    functions = [
        node for node in ast.walk(tree(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in sorted(functions, key=lambda node: -node.lineno):
        text, after = function.body[0], function.body[1:2]
        # Left where nothing else would be left, or where another statement shares its line.
        alone = not after or after[0].lineno == text.end_lineno or text.lineno == function.lineno
        if ast.get_docstring(function, clean=False) is not None and not alone:
            del lines[text.lineno - 1 : text.end_lineno]
    return "\n".join(lines)


_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def calls(text: str, exercise: Statement) -> list[Call]:
    """The literal calls of the entry point that fit its number of parameters; others are dropped, none repeated."""
    found: dict[str, Call] = {}
    for node in ast.walk(tree(_code_lines(text, exercise.entry_point))):
        if call := _call(node, exercise):
            found.setdefault(call.source, call)
    return list(found.values())


def asserts(text: str, exercise: Statement) -> list[tuple[Call, Any]]:
    """`assert f(...) == literal` lines as (call, expected); `assert f(...)` and `assert not f(...)` expect a bool."""
    found: dict[str, tuple[Call, Any]] = {}
    for node in tree(_code_lines(text, exercise.entry_point)).body:
        if isinstance(node, ast.Assert) and (pair := _claim(node.test, exercise)):
            found.setdefault(pair[0].source, pair)
    return list(found.values())


def outline(stub: str) -> str:
    """A stub without its examples and blank lines: the same before and after some of them are cut. Text only."""
    kept, inside = [], False
    for line in stub.splitlines():
        bare = line.strip()
        inside = bare.startswith(">>>") or (inside and bare not in ("", '"""'))
        if bare and not inside:
            kept.append(line)
    return "\n".join(kept)


def examples(exercise: Statement) -> list[tuple[Call, Any]]:
    """The doctest examples of the statement, as `asserts` gives them."""
    lines = [
        f"assert {example.source.strip()} == {example.want.strip()}"
        for example in _doctests(exercise.docstring) or []
    ]
    return asserts("\n".join(lines), exercise)


def with_examples(exercise: Statement, keep: Mapping[str, Any]) -> Statement:
    """The statement without those of its examples that are not in `keep` (call source -> value), or cannot be read."""
    lines, found = exercise.docstring.splitlines(), _doctests(exercise.docstring)
    for example in reversed(found or []):
        claim = asserts(f"assert {example.source.strip()} == {example.want.strip()}", exercise)
        if not (claim and claim[0][0].source in keep and keep[claim[0][0].source] == claim[0][1]):
            height = example.source.count("\n") + example.want.count("\n")
            del lines[example.lineno : example.lineno + height]
    text = outline(exercise.docstring) if found is None else "\n".join(lines).strip()
    return replace(exercise, stub=_stub(tree(exercise.stub), text))


def _doctests(docstring: str) -> list[doctest.Example] | None:
    """The examples, `lineno` counting lines from 0; None where one is malformed and no end can be trusted."""
    try:
        found = doctest.DocTestParser().get_examples(docstring)
    except ValueError:
        return None
    return [example for example in found if example.want]


def _code_lines(text: str, entry_point: str) -> str:
    """The lines of the block that parse alone and name the entry point: one broken line must not cost the rest."""
    kept = []
    for line in code_block(text, truncated=True).splitlines():
        line = re.sub(r"^\s*(?:\d+[.)]\s+|>>>\s*)?", "", line) if "assert" not in line else line.strip()
        if entry_point not in line or len(line) > 2000:
            continue
        try:
            tree(line)
        except ParseError:
            continue
        kept.append(line)
    return "\n".join(kept)


def _claim(test: ast.expr, exercise: Statement) -> tuple[Call, Any] | None:
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        call, literal = _call(test.left, exercise), _literal(test.comparators[0])
        return (call, literal[0]) if call and literal else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        call = _call(test.operand, exercise)
        return (call, False) if call else None
    call = _call(test, exercise)
    return (call, True) if call else None


def _call(node: ast.AST, exercise: Statement) -> Call | None:
    """`node` as a Call with keywords put in their places, if it is one of the entry point with literal arguments."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    if node.func.id != exercise.entry_point or any(isinstance(arg, ast.Starred) for arg in node.args):
        return None
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    rest = exercise.parameters[len(node.args) :]
    if len(node.args) > len(exercise.parameters) or set(named) != set(rest[: len(named)]):
        return None
    literals = [_literal(arg) for arg in [*node.args, *(named[name] for name in rest[: len(named)])]]
    if not literals or any(literal is None for literal in literals):
        return None
    args = tuple(literal[0] for literal in literals if literal)
    if (
        _literal(ast.parse(repr(args), mode="eval").body) is None
    ):  # 1e999 and set() do not survive their own repr
        return None
    return Call(f"{exercise.entry_point}({', '.join(map(repr, args))})", args)


def _literal(node: ast.expr) -> tuple[Any] | None:
    """The value in a 1-tuple, or None for what is no literal."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
