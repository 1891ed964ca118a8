"""The normal forms by which texts and programs are compared. Pure; nothing is run, and no library needed.

A program's normal form is its syntax tree without what a reader adds: docstrings, annotations, import statements and
the names of its own things. Two programs of one fingerprint do the same; two that do the same may well differ in it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

from advcore import chat
from advgen.parse import ParseError, tree

# What bears a name that its author may choose freely, and in which field.
_FREE_NAMES: dict[type[ast.AST], str] = {
    ast.Name: "id", ast.arg: "arg", ast.FunctionDef: "name", ast.AsyncFunctionDef: "name", ast.ClassDef: "name",
    ast.ExceptHandler: "name", ast.MatchAs: "name", ast.MatchStar: "name", ast.MatchMapping: "rest",
}  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
# The form must not change with the version of Python: fields that came later, and those that say nothing.
_SILENT = frozenset({"annotation", "returns", "type_comment", "type_params", "kind", "ctx", "simple"})


def squeezed(text: str) -> str:
    """Lower case, every run of white space one blank: the form in which texts are the same."""
    return " ".join(text.lower().split())


def code_of(content: str, entry_point: str = "") -> str:
    """The program of a reply, as `chat.program` finds it, also of one cut short; '' where it only thinks."""
    try:
        return chat.program(content, entry_point, truncated=True)
    except chat.NoCode:
        return ""


def digest(text: str) -> int:
    """64 bits of BLAKE2b, signed as SQLite and `array('q')` want them; the same on every machine."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def fingerprint(code: str) -> str:
    """A hash of the program's form, 32 hexadecimal digits; "" where it does not parse or holds no statement.

    Names bound by the program are numbered by first appearance; builtins, what is imported (under its full name) and
    attributes keep theirs, and so do constants.
    """
    module = parsed(code)
    says_something = module is not None and not all(map(_is_silent, module.body))
    return _Form(module).hash(module) if module and says_something else ""


def functions(module: ast.Module, size: int) -> dict[str, str]:
    """Name -> fingerprint of each top-level function whose form has `size` nodes or more, as if it stood alone."""
    form, found = _Form(module), {}
    for node in module.body:
        if isinstance(node, _FUNCTIONS):
            mark = form.hash(ast.Module([node], []))
            if form.size >= size:
                found[node.name] = mark
    return found


def parsed(code: str) -> ast.Module | None:
    """The syntax tree; None where `advgen.parse.tree` refuses `code`. As there: never in two threads at once."""
    try:
        return tree(code)
    except ParseError:
        return None


class _Form:
    """Writes nodes of one module as text, with the names that it binds as numbers."""

    def __init__(self, module: ast.Module) -> None:
        self._numbers: dict[str, str] = {}
        self.size = 0
        """Nodes in what `hash` wrote last, itself included."""
        nodes = list(ast.walk(module))
        methods = {
            child.name
            for node in nodes if isinstance(node, ast.ClassDef)
            for child in node.body if isinstance(child, _FUNCTIONS)
        }  # fmt: skip
        self._imported = dict(pair for node in nodes if isinstance(node, _IMPORTS) for pair in _aliases(node))
        bound = {getattr(node, field) for node in nodes if (field := _binding(node))}
        self._bound = bound - {None} - methods - self._imported.keys()
        own = {node.name for node in nodes if isinstance(node, _FUNCTIONS)}
        # A keyword in a call of our own function is the name of its parameter; in any other it is part of an interface.
        self._keywords = {
            id(keyword)
            for node in nodes
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in own
            for keyword in node.keywords
        }

    def hash(self, node: ast.AST) -> str:
        """Of the text of `node`; the numbering starts anew."""
        self._numbers, self.size = {}, 0
        text = self._text(node).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def _text(self, node: object) -> str:
        if isinstance(node, list):
            return f"[{','.join(filter(None, map(self._text, node)))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if _is_silent(node):
            return ""
        self.size += 1
        if isinstance(node, ast.AnnAssign):
            return f"Assign(targets=[{self._text(node.target)}],value={self._text(node.value)})"
        fields = [(name, getattr(node, name, None)) for name in node._fields if name not in _SILENT]
        parts = [
            f"{name}={self._field(node, name, value)}" for name, value in fields if value not in (None, [])
        ]
        return f"{type(node).__name__}({','.join(parts)})"

    def _field(self, node: ast.AST, field: str, value: object) -> str:
        if field == _FREE_NAMES.get(type(node)) or (id(node) in self._keywords and field == "arg"):
            return self._name(str(value))
        if isinstance(node, ast.Global | ast.Nonlocal):
            return ",".join(map(self._name, node.names))
        return self._text(value)

    def _name(self, name: str) -> str:
        if name in self._bound:
            return self._numbers.setdefault(name, f"${len(self._numbers)}")
        return self._imported.get(name, name)


def _binding(node: ast.AST) -> str | None:
    """The field in which `node` binds a name, if it does."""
    reads = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    return None if reads else _FREE_NAMES.get(type(node))


def _is_silent(node: ast.AST) -> bool:
    """Docstrings and other bare constants, imports, declarations without a value."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, _IMPORTS) or (isinstance(node, ast.AnnAssign) and node.value is None)


def _aliases(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Local name -> full name, as far as the statement says it."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        else:
            yield (
                alias.asname or alias.name.split(".")[0],
                alias.name if alias.asname else alias.name.split(".")[0],
            )
