"""What can be seen of an answer without understanding it, one number each: the candidates for a shortcut.

A feature is None where it has no meaning (type hints of a text that does not parse); a pair with a None is a tie.
Adding one is adding a function to FEATURES.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from advgen.hygiene.pairs import Side

_FENCE = re.compile(r"^[ \t]*`{3,}", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#[^\n]*")  # as text: one inside a string counts, code that does not parse too
_TOKEN = re.compile(r"\w+|[^\w\s]")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def tokens(text: str) -> list[str]:
    """Words and single signs."""
    return _TOKEN.findall(text)


def fences(side: Side) -> float:
    """Lines that open or close a code block."""
    return len(_FENCE.findall(side.text))


def comment_share(side: Side) -> float:
    """Characters of comments per character of code."""
    return sum(map(len, _COMMENT.findall(side.code))) / max(1, len(side.code))


def prose(side: Side) -> float | None:
    """Characters outside of fences; a text without any is code if it parses, and else nobody can tell."""
    if not fences(side):
        return None if side.module is None else 0.0
    inside, outside = False, 0
    for line in side.text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            outside += len(line.strip())
    return outside


def docstring(side: Side) -> float | None:
    """Whether any function has one."""
    found = _functions(side)
    return None if found is None else any(ast.get_docstring(each, clean=False) is not None for each in found)


def type_hints(side: Side) -> float | None:
    """Share of parameters and returns that are annotated."""
    if not (found := _functions(side)):
        return None
    slots: list[ast.expr | None] = []
    for function in found:
        parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        slots += [function.returns, *(parameter.annotation for parameter in parameters)]
    return sum(slot is not None for slot in slots) / len(slots)


def blank_lines(side: Side) -> float:
    """Share of the lines that are blank."""
    lines = side.text.split("\n")
    return sum(not line.strip() for line in lines) / len(lines)


def _functions(side: Side) -> list[ast.FunctionDef | ast.AsyncFunctionDef] | None:
    return (
        None
        if side.module is None
        else [node for node in ast.walk(side.module) if isinstance(node, _FUNCTIONS)]
    )


FEATURES: dict[str, Callable[[Side], float | None]] = {
    "characters": lambda side: len(side.text),
    "lines": lambda side: side.text.count("\n"),
    "tokens": lambda side: len(tokens(side.text)),
    "fences": fences,
    "fenced": lambda side: fences(side) > 0,
    "comment_share": comment_share,
    "prose": prose,
    "docstring": docstring,
    "type_hints": type_hints,
    "blank_lines": blank_lines,
    "parses": lambda side: side.module is not None,
    "ends_in_newline": lambda side: side.text.endswith("\n"),
    "ends_in_fence": lambda side: side.text.rstrip().endswith("```"),
    "ends_a_sentence": lambda side: side.text.rstrip().endswith((".", "!", "?")),
}
