"""Which text of a reply is the program it answers with.

The last block that defines the entry point is; the blocks before it are drafts, examples of use, or hold what it needs.
What other blocks define and it needs is put above it. Nothing else of the reply is changed.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterable, Sequence

from advcore.chat.blocks import Block, blocks, spans
from advcore.chat.syntax import BLOCKS, Part, binds, is_stub, layout, parsed, parts_of, reached, reads
from advcore.chat.talk import says
from advcore.chat.thoughts import read

_BUILTIN = frozenset(dir(builtins))


class NoCode(ValueError):
    """A reply that answers with no program; the text says why, in a few words."""


def program(
    reply: str, entry_point: str = "", *, fits: Callable[[str], bool] | None = None, given: str = "",
    truncated: bool = False,
) -> str:  # fmt: skip
    """The program of a reply: the last block that defines `entry_point` (any function or class where that is ''), with
    what it needs of the others, and of `given`, above it; else the last block; all of an answer without blocks.

    `fits` is another mark of the block that is looked for. Raises NoCode: an empty reply, thoughts alone, and a block
    that is cut short unless `truncated` ones are of use too.
    """
    found = _candidates(answer(reply), entry_point)
    tests = [
        fits,
        lambda code: defines(code, entry_point, stubs=False),
        lambda code: defines(code, entry_point),
    ]
    at = _chosen(found, tests)
    if not (found[at].closed or truncated):
        raise NoCode("truncated")
    code = found[at].code
    for other in (*found[:at][::-1], *found[at + 1 :]):  # the nearest first
        code = above(_helping(other.code, missing(code), entry_point), code)
    return above(_needed_of(given, missing(code), entry_point), code).strip("\n")


def _chosen(found: Sequence[Block], tests: Iterable[Callable[[str], bool] | None]) -> int:
    """The last block that passes the first test which any passes; else the last."""
    for test in filter(None, tests):
        if places := [at for at, block in enumerate(found) if test(block.code)]:
            return places[-1]
    return len(found) - 1


def listing(reply: str) -> str:
    """The code of all blocks of a reply, one below the other; the whole answer where there is none. Raises NoCode."""
    text = answer(reply)
    return "\n".join(block.code for block in _python(blocks(text)) or [_whole(text)])


def answer(reply: str) -> str:
    """What a reply answers. Raises NoCode where it only thinks, or says nothing."""
    said = read(reply)
    if not said.answer.strip():
        raise NoCode("thoughts alone" if said.thoughts.strip() else "empty reply")
    return said.answer


def defines(code: str, name: str, stubs: bool = True) -> bool:
    """Whether code defines `name` at its top level, any function or class where that is ''; without `stubs`, by more
    than a function without a body.
    """
    module = parsed(code)
    if module is None:
        word = re.escape(name) if name else r"\w+"
        assigned = rf"|{word}[ \t]*(?::[^=\n]+)?=[^=]" if name else ""
        return (
            re.search(rf"^(?:(?:(?:async[ \t]+)?def|class)[ \t]+{word}\b{assigned})", code, re.MULTILINE)
            is not None
        )
    found = [node for node in module.body if stubs or not is_stub(node)]
    if not name:
        return any(isinstance(node, BLOCKS) for node in found)
    return any(name in binds(node, imports=False) for node in found)


def _candidates(text: str, entry_point: str) -> list[Block]:
    """The blocks of an answer that are, or may be, Python. Code outside of them counts where it alone defines the entry
    point and they are examples. Of blocks that do not define it, one tagged as Python is first choice: it comes last.
    """
    found = _python(blocks(text))
    if any(defines(block.code, entry_point) for block in found):
        return found
    if all(not block.python or _is_use(parsed(block.code), entry_point) for block in found):
        bare = [span for span in spans(_outside(text, blocks(text))) if defines(span.code, entry_point)]
        if bare:
            return [*found, *bare]
    return sorted(found, key=lambda block: block.python) or [_whole(text)]


def _python(found: list[Block]) -> list[Block]:
    """Blocks tagged as something else count where no other does."""
    return [block for block in found if block.python or not block.tag] or found


def _whole(text: str) -> Block:
    return Block(text.strip("\n"), "", 0, len(text), True)


def _outside(text: str, found: list[Block]) -> str:
    ends = [0, *(block.end for block in found)]
    starts = [*(block.start for block in found), len(text)]
    return "\n".join(text[end:start] for end, start in zip(ends, starts, strict=True))


# --- what a program needs -----------------------------------------------------------------------------------------


def missing(code: str) -> set[str]:
    """The names that code reads and nothing defines."""
    module = parsed(code)
    if module is None:
        return set()
    return reads(module.body) - _BUILTIN - set().union(*map(binds, module.body))


def _helping(other: str, wanted: set[str], entry_point: str) -> str:
    """What a block adds to a program that lacks the names `wanted`: all of it where it is there for others, of one with
    a draft of the entry point what is needed, and nothing of an example of use.
    """
    module = parsed(other) if wanted else None
    parts = parts_of(module) if module else []
    if not any(part.binds & wanted for part in parts):
        return ""
    if any(entry_point in part.binds for part in parts):
        return _needed_of(other, wanted, entry_point)
    return "" if _is_use(module, entry_point) else other.strip("\n")


def _needed_of(other: str, wanted: set[str], entry_point: str) -> str:
    module = parsed(other)
    kept = needed(parts_of(module), wanted) if module and wanted else []
    return layout(
        other, [part.node for part in kept if entry_point not in part.binds and not _uses(part, entry_point)]
    )


def _is_use(module: ast.Module | None, entry_point: str) -> bool:
    """Whether a block is an example of the entry point's use."""
    return module is not None and any(_uses(part, entry_point) for part in parts_of(module))


def _uses(part: Part, entry_point: str) -> bool:
    """Whether a statement calls the entry point, or names it, when it is loaded."""
    return part.runs and entry_point in part.reads


def needed(parts: Sequence[Part], wanted: Iterable[str]) -> list[Part]:
    """The statements that bind the wanted names, what those read in turn, and what fills them (`TABLE.update(...)`)."""
    names, before = set(wanted), set[str]()
    while names != before:
        before = names
        kept = [part for part in parts if part.binds & names or _fills(part, parts, names)]
        names = reached(names.union(*(part.reads for part in kept)), parts)
    return kept


def _fills(part: Part, parts: Sequence[Part], names: set[str]) -> bool:
    """Whether a statement that binds nothing may change what one of `names` stands for."""
    if not part.runs or part.binds or says(part.node):
        return False
    state = {name for each in parts if each.runs for name in each.binds & names}
    return bool(reached(part.reads, parts) & state)


def above(head: str, code: str) -> str:
    """`code` below `head`; its imports from `__future__`, which Python wants first, above both."""
    if not head.strip():
        return code
    lines = code.split("\n")
    module = parsed(code)
    first = [node for node in (module.body if module else []) if of_the_future(node)]
    future = [line for node in first for line in lines[node.lineno - 1 : node.end_lineno]]
    for node in reversed(first):
        del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join([*future, head.rstrip("\n"), "", "", *lines])


def of_the_future(node: ast.stmt) -> bool:
    """Whether a statement imports from `__future__`."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
