"""Where the blocks of code in a text begin and end.

A fence of a model is not always CommonMark's: its closing fence is glued to the last line, or missing, or stands inside
a docstring. Of the places where a block of Python could end, the first at which it parses is its end.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from advcore.chat.syntax import MAX_SOURCE_CHARS, module_of, parsed

OPENING = (
    r"(?:^(?P<indent>[ \t>]*+)(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^`\n]*+)"
    # behind other text a fence is one only with a tag that leaves no doubt
    r"|(?<![`~\s])[ \t]*+(?P<late>`{3,}+)(?P<tag>(?i:py(?:thon)?3?))[ \t]*+)(?:\n|\Z)"
)
_OPENING = re.compile(OPENING, re.MULTILINE)
_ONE_LINE = re.compile(
    r"^[ \t]*```+(?:py|python)3?[ \t]+(?P<code>[^\n]+?)```+[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_BRACKETS = re.compile(
    r"^[ \t]*(?P<open>[\[<])(?P<tag>PYTHON|CODE)[\]>](?P<code>.*?)(?P<close>[\[<]/(?P=tag)[\]>]|\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_PYTHON = re.compile(r"\{?\.?py(thon)?3?(?![\w-])", re.IGNORECASE)
_BEGINS = re.compile(r"(?:async|def|class|import|from|@)\b|@")
_START = re.compile(r"(?:async def|def|class|import|from)\s|@\w|\w+(?:\s*:[^=\n]+)?\s*=[^=]")
_CLOSINGS = 40  # places that are tried for one block
_TRIES = 200  # of the parser on a text without a fence


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of code in a text."""

    code: str
    tag: str
    """The words behind the opening fence."""
    start: int
    end: int
    """Behind its closing fence."""
    closed: bool

    @property
    def python(self) -> bool:
        """It is tagged as Python."""
        return _PYTHON.match(self.tag) is not None


def fenced(code: str) -> str:
    """`code` as a Python block that is read back as it is: its fence is longer than any inside."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}python\n{code.strip()}\n{fence}"


def blocks(text: str) -> list[Block]:
    """The fenced blocks, else those in [PYTHON] brackets."""
    return list(_fenced(text)) or [
        Block(_code(each["code"].strip("\n"), ""), "python", each.start(), each.end(), bool(each["close"]))
        for each in _BRACKETS.finditer(text)
    ]


def _fenced(text: str) -> Iterator[Block]:
    end = 0
    while opening := _OPENING.search(text, end):
        if line := _ONE_LINE.search(text, end, opening.end()):
            yield Block(line["code"].strip(), "python", line.start(), line.end(), True)
            end = line.end()
            continue
        block = block_at(text, opening)
        yield block
        end = block.end
    for line in _ONE_LINE.finditer(text, end):
        yield Block(line["code"].strip(), "python", line.start(), line.end(), True)


def block_at(text: str, opening: re.Match[str]) -> Block:
    """The block of an opening fence (a match of OPENING). One that nothing closes runs to the end of the text."""
    fence, indent = opening["fence"] or opening["late"], opening["indent"] or ""
    tag, first = _tag(opening)
    python = not tag or _PYTHON.match(tag)

    def until(place: _Closing) -> str:
        return _code(first + text[opening.end() : place.cut], indent)

    def block(place: _Closing, end: int) -> Block:
        return Block(until(place), tag, opening.start(), end, True)

    own: list[_Closing] = []
    glued: list[_Closing] = []
    for place in itertools.islice(_closings(text, opening.end(), fence, indent), _CLOSINGS):
        if place.alone and (not python or parsed(until(place)) is not None):
            return block(place, place.end)
        (own if place.alone else glued).append(place)
    for place in glued if python else []:
        if parsed(until(place)) is not None:
            # a fence with a tag opens the next block, which shows that this one was over
            return block(place, place.start if place.opens else place.end)
    if own:
        return block(own[0], own[0].end)
    return Block(_code(first + text[opening.end() :], indent), tag, opening.start(), len(text), False)


@dataclass(frozen=True, slots=True)
class _Closing:
    """A run of fence characters, which may close a block."""

    start: int
    end: int
    cut: int
    """Where the code ends that it would close: before what indents it."""
    alone: bool
    """On its line, and not indented further than Markdown allows: one inside a docstring is neither."""
    opens: bool
    """As a fence with a tag would."""


def _closings(text: str, start: int, fence: str, indent: str) -> Iterator[_Closing]:
    for run in re.compile(f"{re.escape(fence)}{fence[0]}*").finditer(text, start):
        begin, end = text.rfind("\n", 0, run.start()) + 1, text.find("\n", run.end())
        before, behind = text[begin : run.start()], text[run.end() : end if end >= 0 else len(text)]
        first = not before.strip(" \t>")
        alone = first and not behind.strip() and (len(before) <= 3 or before == indent)
        opens = first and re.fullmatch(r"\w+[ \t]*", behind) is not None
        yield _Closing(run.start(), run.end(), begin if first else run.start(), alone, opens)


def _tag(opening: re.Match[str]) -> tuple[str, str]:
    """What stands behind an opening fence, and the code that begins there."""
    tag = (opening["info"] or opening["tag"] or "").strip()
    rest = _PYTHON.sub("", tag, count=1).strip()
    return tag, f"{rest}\n" if _PYTHON.match(tag) and _BEGINS.match(rest) else ""


def _code(text: str, indent: str) -> str:
    """Without what stands before every line of a block in a list item or a quotation, which is not the code's own."""
    if ">" in indent:
        text = re.sub(r"^[ \t]*(?:>[ \t]?)+", "", text, flags=re.MULTILINE)
    code = re.sub(rf"^[ \t]{{0,{len(indent)}}}", "", text, flags=re.MULTILINE) if indent.isspace() else text
    if len(code) > MAX_SOURCE_CHARS or parsed(code) is not None:
        return code
    even = textwrap.dedent(text)
    return code if parsed(even) is None else even


def spans(text: str) -> list[Block]:
    """The code in a text without fences: all of it where it parses, else its runs of lines that do, each from a line
    that begins code and as long as can be.
    """
    whole = parsed(text)
    if whole and not any(map(_prose, whole.body)):
        return [Block(text, "", 0, len(text), True)]
    lines, found, at = text[:MAX_SOURCE_CHARS].split("\n"), list[Block](), 0
    tries = iter(range(_TRIES))
    while at < len(lines):
        height = _height(lines[at:], tries) if _START.match(lines[at]) else 0
        if height:
            start = sum(len(line) + 1 for line in lines[:at])
            code = "\n".join(lines[at : at + height])
            found.append(Block(code, "", start, start + len(code), True))
        at += height or 1
    return found


def _height(lines: list[str], tries: Iterator[int]) -> int:
    """How many of the lines, from the first on, parse as Python; words at their end that only look like it do not."""
    height = len(lines)
    while height and next(tries, None) is not None:
        try:
            body = module_of("\n".join(lines[:height])).body
        except SyntaxError as error:
            height = min(height, error.lineno or 1) - 1
        except (ValueError, RecursionError, MemoryError):
            return 0
        else:
            while body and _prose(body[-1]):
                body.pop()
            return (body[-1].end_lineno or 0) if body else 0
    return 0


def _prose(node: ast.stmt) -> bool:
    """A word, a list of words, `Output: 4`: what is no code, though it parses."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    words = node.value if isinstance(node, ast.Expr) else None
    return isinstance(words, ast.Name) or (
        isinstance(words, ast.Tuple) and all(isinstance(each, ast.Name) for each in words.elts)
    )
