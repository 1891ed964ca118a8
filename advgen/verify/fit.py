"""Whether values fit what a signature declares. In doubt they do: what is not understood forbids nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from advcore.literals import Outcome, Returned, value_of
from advgen.parse import Call, ParseError, Statement, tree
from advgen.verify.domain import Domain

_DEPTH = 20  # of annotations and of aliases that name each other
_ANY_SEQUENCE = (list, tuple, str, bytes, range)
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "bytes": (bytes,), "bool": (bool,), "int": (int,), "float": (int, float),
    "complex": (int, float, complex), "list": (list,), "tuple": (tuple,), "dict": (dict,), "set": (set, frozenset),
    "frozenset": (frozenset,), "mapping": (dict,), "mutablemapping": (dict,), "defaultdict": (dict,),
    "ordereddict": (dict,), "counter": (dict,), "sequence": _ANY_SEQUENCE, "mutablesequence": (list,),
    "iterable": (*_ANY_SEQUENCE, set, frozenset, dict), "collection": (*_ANY_SEQUENCE, set, frozenset, dict),
    "abstractset": (set, frozenset), "mutableset": (set,), "nonetype": (type(None),),
}  # fmt: skip
"""By name in lower case, so that `List` is read as `list`."""
_UNION, _WRAPPERS = ("union", "optional"), ("annotated", "final", "classvar")


class Signature:
    """What a statement declares of its function's arguments and result, in its signature and in its words."""

    def __init__(self, statement: Statement) -> None:
        function = statement.function
        parameters = [*function.args.posonlyargs, *function.args.args]
        self._arguments, self._result = [each.annotation for each in parameters], function.returns
        with_default = function.args.defaults
        nothing = [isinstance(each, ast.Constant) and each.value is None for each in with_default]
        self._optional = [False] * (len(parameters) - len(with_default)) + nothing
        """Of each parameter, whether None is its default, whatever its annotation says."""
        try:
            above = tree(statement.above).body
        except ParseError:
            above = []
        self._domain = Domain(statement)
        self._aliases = {name: value for node in above for name, value in _defined(node)}

    def takes(self, call: Call) -> bool:
        """Whether the arguments are of the declared types."""
        given = zip(call.args, self._arguments, self._optional, strict=False)
        return all(
            (optional and value is None) or _fits(value, kind, self._aliases)
            for value, kind, optional in given
        )

    def is_about(self, call: Call) -> bool:
        """Whether the arguments are also such as the statement says it is about."""
        return self.takes(call) and self._domain.takes(call.args)

    def gives(self, outcome: Outcome) -> bool:
        """Whether the value is of the declared type; an exception is of none."""
        return not isinstance(outcome, Returned) or _fits(outcome.value, self._result, self._aliases)

    @property
    def result(self) -> str:
        """The declared type of the result as it is written."""
        return ast.unparse(self._result) if self._result else ""


def _defined(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Names and what they are aliases of; None for a class, which may be called what it likes."""
    if isinstance(node, ast.ClassDef):
        yield node.name, None
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def _fits(
    value: Any, declared: ast.expr | None, aliases: Mapping[str, ast.expr | None], depth: int = 0
) -> bool:
    if declared is None or depth > _DEPTH:
        return True

    def fits(value: Any, declared: ast.expr) -> bool:
        return _fits(value, declared, aliases, depth + 1)

    if isinstance(declared, ast.Constant):
        return _fits_constant(value, declared.value, fits)
    if isinstance(declared, ast.BinOp) and isinstance(declared.op, ast.BitOr):
        return fits(value, declared.left) or fits(value, declared.right)
    if isinstance(declared, ast.Name | ast.Attribute):
        name = declared.id if isinstance(declared, ast.Name) else declared.attr
        if name in aliases:
            return _fits(value, aliases[name], aliases, depth + 1)
        return _is_a(value, name.lower())
    if isinstance(declared, ast.Subscript):
        generic = declared.value
        base = generic.attr if isinstance(generic, ast.Attribute) else ast.unparse(generic)
        if base in aliases:
            return True
        parts = declared.slice.elts if isinstance(declared.slice, ast.Tuple) else [declared.slice]
        return _fits_generic(value, base.lower(), parts, fits)
    return True


_Fits = Callable[[Any, ast.expr], bool]


def _fits_constant(value: Any, declared: Any, fits: _Fits) -> bool:
    if declared is None:
        return value is None
    if isinstance(declared, str):  # a forward reference
        try:
            return fits(value, ast.parse(declared, mode="eval").body)
        except (SyntaxError, ValueError):
            return True
    return True


def _is_a(value: Any, name: str) -> bool:
    if name not in _TYPES:
        return True
    if isinstance(value, bool):
        return name == "bool"
    return isinstance(value, _TYPES[name])


def _fits_generic(value: Any, base: str, parts: list[ast.expr], fits: _Fits) -> bool:
    if base in _UNION:
        return (base == "optional" and value is None) or any(fits(value, part) for part in parts)
    if base == "literal":
        return any(_is_literal(value, part) for part in parts)
    if any(isinstance(part, ast.Starred) or "Unpack" in ast.unparse(part) for part in parts):
        return _is_a(value, base)
    if base in _WRAPPERS:
        return fits(value, parts[0])
    if not _is_a(value, base):
        return False
    if isinstance(value, dict) and len(parts) == 2:
        return all(fits(key, parts[0]) and fits(item, parts[1]) for key, item in value.items())
    if isinstance(value, tuple) and base == "tuple" and not (len(parts) == 2 and _is_rest(parts[1])):
        return len(value) == len(parts) and all(map(fits, value, parts))
    if isinstance(value, list | tuple | set | frozenset):
        # `list[int, str]` is no type, but it says which items are meant
        items = parts[:1] if base == "tuple" else parts
        return all(any(fits(item, part) for part in items) for item in value)
    return True


def _is_literal(value: Any, part: ast.expr) -> bool:
    """Whether it is that one; a name or another Literal may stand for anything."""
    try:
        one = value_of(part)
    except ValueError:
        return True
    return type(one) is type(value) and one == value


def _is_rest(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant) and part.value is ...
