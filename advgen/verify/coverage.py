"""Which blocks of a program a set of calls enters, found by running a copy with marks in the sandbox.

A block is the body of a function, loop, handler or case, and either arm of an `if`, written or not, or of a
conditional expression. Lines are not counted: a program without branches is covered by any call. Pure: the marked
program is text that the verifier runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from advgen.parse import tree
from sandbox import Output

HITS, RUN = "__hits__", "__covered__"  # dunder names, which no class body mangles
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def instrumented(source: str, entry_point: str) -> tuple[str, int]:
    """The marked program and its number of blocks. Its function RUN takes the arguments of a call, swallows what that
    raises, and returns the sorted numbers of the blocks that were entered since the program began.

    Raises ParseError.
    """
    module = tree(source)
    marks = _Marks()
    for node in list(ast.walk(module)):
        _mark(node, marks)
    preamble = [node for node in module.body if _is_future(node)]
    rest = [node for node in module.body if not _is_future(node)]
    module.body = [*preamble, *ast.parse(f"{HITS} = set()").body, *rest]
    return f"{ast.unparse(ast.fix_missing_locations(module))}\n{_RUNNER.format(entry_point)}", marks.count


_RUNNER = f"""
def {RUN}(*args):
    try:
        {{}}(*args)
    except Exception:
        pass
    return sorted({HITS})
"""


def entered(outputs: Sequence[Output], blocks: int) -> list[set[int]]:
    """The blocks known to be entered after each call of RUN; it is the program's own word, so it may be anything."""
    seen: set[int] = set()
    after = []
    for output in outputs:
        hits = output.value if output.status == "ok" and isinstance(output.value, list) else []
        seen = seen | {hit for hit in hits if type(hit) is int and 0 <= hit < blocks}
        after.append(seen)
    return after


class _Marks:
    """Numbers the marks."""

    def __init__(self) -> None:
        self.count = 0

    def call(self) -> ast.expr:
        text = f"{HITS}.add({self.count})"
        self.count += 1
        return ast.parse(text, mode="eval").body

    def statement(self) -> ast.stmt:
        return ast.Expr(self.call())

    def before(self, value: ast.expr) -> ast.expr:
        """`value` with a mark that is met on the way to it: `set.add` returns None."""
        return ast.BoolOp(ast.Or(), [self.call(), value])


def _mark(node: ast.AST, marks: _Marks) -> None:
    for block in _blocks(node):
        block.insert(0, marks.statement())
    if isinstance(node, ast.IfExp):
        node.body, node.orelse = marks.before(node.body), marks.before(node.orelse)
    elif isinstance(node, ast.Lambda):
        node.body = marks.before(node.body)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ExceptHandler | ast.match_case):
        yield node.body
    elif isinstance(node, ast.If):
        yield node.body
        yield node.orelse
    elif isinstance(node, _LOOPS):
        yield node.body
        if node.orelse:
            yield node.orelse


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
