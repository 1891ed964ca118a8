"""What a model thought aloud in a reply, apart from what it answered.

A mark of thoughts counts where thoughts plausibly begin or end. One that a program handles, in a block that is Python
or in a string, and one that a sentence speaks of (`</think>`), is text of the reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from advcore.chat.blocks import OPENING, Block, block_at
from advcore.chat.syntax import parsed

_NAMES = (
    r"(?:[a-z]+:|longcat_|ant)?think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|analysis|rationale|cot"
    r"|inner_monologue|chain_of_thoughts?"
)
# Opening and closing mark, by who writes so.
_MARKS = (
    (rf"<\|?(?:{_NAMES})(?:\s[^<>\n]*)?\|?>", rf"<\|?/(?:{_NAMES})\|?>"),  # DeepSeek, Qwen, Seed-OSS, ...
    (r"\[(?:THINK(?:ING)?|REASONING)\]", r"\[/(?:THINK(?:ING)?|REASONING)\]"),  # Magistral
    (r"<\|(?:begin|start)_of_(?:thought|thinking|reasoning)\|>", r"<\|end_of_(?:thought|thinking|reasoning)\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    (r"◁think▷", r"◁/think▷"),  # Kimi-VL
    (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma
    (r"<unused94>thought\b", r"<unused95>"),
    (  # gpt-oss: every channel but the last is thoughts
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^\n]*?<\|message\|>",
        r"(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final[^\n]*?<\|message\|>",
    ),
)  # fmt: skip
# Words that are marks only where a reply begins with the first of them.
_PHRASES = (
    (r"\A(?-i:analysis(?=[A-Z]))", r"(?-i:assistantfinal)"),  # gpt-oss without its control tokens
    (r"\AHere is my thought process:", r"Here is my response:"),  # Granite
    (r"\AHere are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),  # Apriel
)  # fmt: skip
_PAIRS = (*_MARKS, *_PHRASES)
_ANY = "|".join(f"(?P<open{at}>{first})|(?P<close{at}>{last})" for at, (first, last) in enumerate(_PAIRS))
_MARK = re.compile(f"(?:{_ANY})[ \\t]*|(?P<block>{OPENING})", re.MULTILINE | re.IGNORECASE)
# Of every mark but those that are words; quick, since most texts hold none.
_HINT = re.compile(
    rf"[<\[◁][|/]{{0,2}}(?i:{_NAMES}|(?:begin|start|end)_of_|start_|start\||end_|end\||return|im_end|eot_id|channel|unused9)"
)
_ALONE = re.compile(rf"^[ \t]*(?:{_ANY})[ \t]*$", re.MULTILINE | re.IGNORECASE)
_END = re.compile(r"<\|(?:return|end|im_end|eot_id|END_RESPONSE)\|>\Z")
_FIRST_WORDS = ("analysis", "Here is my thought process:", "Here are my reasoning steps:")
_NEAR = 200  # characters of a mark's line that are looked at
_QUOTED = re.compile(
    r"""(?<!\w)(?:[rbfu]{1,2})?(?P<quote>["']|(?<!`)`{1,2}(?!`))(?:(?!(?P=quote)).)+(?P=quote)(?!\w)"""
)


@dataclass(frozen=True, slots=True)
class Read:
    """A reply in its two parts, whose marks are in neither."""

    answer: str
    thoughts: str
    """What was thought aloud, section after section; '' where nothing was."""


@dataclass(frozen=True, slots=True)
class _Mark:
    start: int
    end: int
    pair: int
    opens: bool
    certain: bool
    """Not in the middle of a sentence, which may speak of the mark."""


def read(reply: str) -> Read:
    """The answer and the thoughts of a reply.

    Thoughts are what stands between their marks, what comes before a closing mark alone (the opening one was in the
    prompt), and everything behind an opening mark that is never closed.
    """
    text = reply.replace("\r\n", "\n").replace("\r", "\n")
    if not (_HINT.search(text) or text.startswith(_FIRST_WORDS)):
        return Read(text, "")
    answered, thought, at = list[str](), list[str](), 0
    if _next(text, 0) and parsed(text):  # a program, bare of fences, that handles such marks
        return Read(text, "")
    while mark := _next(text, at):
        if not mark.opens:
            thought += [*answered, text[at : mark.start]]
            answered, at = [], mark.end
            continue
        answered.append(text[at : mark.start])
        last = _closing(text, mark)
        thought.append(text[mark.end : last.start if last else len(text)])
        at = last.end if last else len(text)
    if not thought:
        return Read(_without_end(text), "")
    answer = _without_end("".join([*answered, text[at:]]))
    return Read(answer.strip("\n"), "\n\n".join(part.strip() for part in thought if part.strip()))


def _next(text: str, at: int) -> _Mark | None:
    """The first mark from `at` on with which thoughts begin, or end that began in the prompt."""
    found = (mark for mark in _marks(text, at) if mark.opens or mark.pair < len(_MARKS))
    return next((mark for mark in found if mark.certain), None)


def _closing(text: str, opening: _Mark) -> _Mark | None:
    """The mark that closes it: a certain one, else the first that could."""
    doubtful = None
    for mark in _marks(text, opening.end):
        if mark.pair == opening.pair and not mark.opens:
            if mark.certain:
                return mark
            doubtful = doubtful or mark
    return doubtful


def _marks(text: str, at: int) -> Iterator[_Mark]:
    """The marks outside of sound blocks and of quotations."""
    after = at  # of the mark or block before
    while found := _MARK.search(text, at):
        at = found.end()
        if found["block"] is not None:
            block = block_at(text, found)
            if _sound(block, found["fence"] or found["late"]):
                at = after = block.end
            continue
        before = text[max(after, found.start() - _NEAR) : found.start()].rpartition("\n")[2]
        behind = text[at : at + _NEAR].partition("\n")[0]
        pair, opens = _which(found)
        if _quoted(before, found[0], behind) or (opens and before.strip()):
            continue
        yield _Mark(found.start(), at, pair, opens, opens or not _spoken_of(before, behind))
        after = at


def _which(found: re.Match[str]) -> tuple[int, bool]:
    """The pair that a mark belongs to, and whether it opens."""
    name = next(name for name, part in found.groupdict().items() if part is not None and name[-1].isdigit())
    return int(re.sub(r"\D", "", name)), name.startswith("open")


def _quoted(before: str, mark: str, behind: str) -> bool:
    place = len(before)
    return any(each.start() < place < each.end() for each in _QUOTED.finditer(before + mark + behind))


def _spoken_of(before: str, behind: str) -> bool:
    """Whether a closing mark is part of a sentence: "the part before </think> is cut"."""
    apart = before[-1:].isspace() or before[-1:] in tuple("([{<")
    return (
        bool(before.strip()) and apart and (behind.lstrip()[:1].islower() or behind[:1] in tuple(".,;:)]}"))
    )


def _sound(block: Block, fence: str) -> bool:
    """Whether a block is one of an answer, or of a draft: not what an open fence and a thought happen to enclose."""
    if not block.closed:
        return False
    if parsed(block.code) is not None:
        return True
    first = _ALONE.search(block.code)
    stray = first is not None and not _which(first)[1]
    return not stray and not re.search(rf"^[ \t>]*{re.escape(fence)}", block.code, re.MULTILINE)


def _without_end(text: str) -> str:
    """A server that shows control tokens shows the end of a turn too."""
    while found := _END.search(text.rstrip(), max(0, len(text.rstrip()) - _NEAR)):
        text = text[: found.start()]
    return text
