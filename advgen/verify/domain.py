"""The inputs that a statement says it is about: "Given a positive integer n", "takes a non-empty list", or a line of
its own such as "1 <= n <= 1000" or "n: a positive integer".

On others a right program may do as it likes, so that they make no tests. A restriction that is read where there is none
would lose the tests of an edge; so nothing else is read, nothing of a sentence with a condition or a doubt, and nothing
where the statement speaks of the rest, or its examples show it. Pure: reads text, runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from advgen.parse import Statement, examples, outline

Args = tuple[Any, ...]
Check = Callable[[Args], bool]

_DOUBT = re.compile(
    r"\b(?:if|when|whenever|whether|unless|until|otherwise|else|except|or|not|never|may|might|can|could|but|either|"
    r"possibly|usually|mostly)\b|n't\b|\?",
    re.IGNORECASE,
)
_BELOW = re.compile(
    r"(?<!non-)(?<!non)\b(?:negatives?|zeros?|zeroes|non-?positive)\b|(?<![\d.])0\b", re.IGNORECASE
)
"""What speaks of numbers that are not positive."""
_EMPTY = re.compile(r"(?<!non-)(?<!non)\bempty\b|\bno (?:elements?|items?|characters?)\b", re.IGNORECASE)
_TAKES = r"\b(?:given|takes?|receives?) (?:as input |in )?"
_SIGN = r"(?P<sign>positive|non-?negative|natural)"
_LISTS = r"(?:lists?|arrays?|sequences?|tuples?)"
_NUMBER = re.compile(
    rf"{_TAKES}(?:(?P<one>an?)|two|three) {_SIGN} (?:integers?|ints?|numbers?|floats?)\b"
    rf"(?! (?:{_LISTS}|strings?|of|as|in)\b)(?P<names>(?: `?\w{{1,40}}`?)?(?:(?:, |,? and )`?\w{{1,40}}`?){{0,2}})",
    re.IGNORECASE,
)
_FILLED = re.compile(rf"{_TAKES}an? non-?empty (?P<kind>{_LISTS}|strings?)\b", re.IGNORECASE)
_ALIKE = re.compile(rf"{_TAKES}two {_LISTS}\b[^.;\n]{{0,40}} of (?:equal|the same) length\b", re.IGNORECASE)
_LINE = r"^\s{0,20}(?:[-*•]\s{1,3})?(?:(?:constraints?|restrictions?|note):\s{0,3})?`?"
_PARAMETER = re.compile(
    rf"{_LINE}\b(?P<names>\w{{1,40}})`? ?(?:\(\w+\) ?)?[:–-] ?(?:an? )?{_SIGN} (?:integer|int|number|float)\.?\s*$",
    re.IGNORECASE,
)
_INTEGER = r"-?\d{1,18}|10\^\d{1,2}"
_RANGE = re.compile(
    rf"{_LINE}(?P<low>{_INTEGER}) ?(?P<least><=?|≤) ?`?(?P<names>\w{{1,40}})`? ?(?P<most><=?|≤) ?"
    rf"(?P<high>{_INTEGER})[.,;]?\s*$",
    re.IGNORECASE,
)


class Domain:
    """What a statement says of its arguments, as far as it is read."""

    def __init__(self, statement: Statement) -> None:
        self._names, self._types = statement.parameters, statement.types[: len(statement.parameters)]
        text = outline(statement.docstring)
        told = [sentence for sentence in _sentences(text) if not _DOUBT.search(sentence)]
        checks = [*self._ranges(text.split("\n"))]
        if not _BELOW.search(text):
            checks += self._signs([*told, *text.split("\n")])
        if not _EMPTY.search(text):
            checks += self._filled(told)
        if len(self._names) == 2 and any(map(_ALIKE.search, told)):
            checks.append(_of_one_length)
        shown = [claim.call.args for claim in examples(statement)]
        self._checks = [check for check in checks if all(map(check, shown))]

    def takes(self, args: Args) -> bool:
        """Whether the statement is about these."""
        return all(check(args) for check in self._checks)

    def _ranges(self, lines: Sequence[str]) -> Iterator[Check]:
        """Of a name that has several, they are cases."""
        found = [match for line in lines if (match := _RANGE.search(line))]
        names = [match["names"] for match in found]
        for match in found:
            if names.count(match["names"]) == 1:
                low, high = _value(match["low"]), _value(match["high"])
                for at in self._called(match["names"]):
                    yield _within(at, low, match["least"] == "<", high, match["most"] == "<")

    def _signs(self, told: Sequence[str]) -> Iterator[Check]:
        for sentence in told:
            if found := _PARAMETER.search(sentence):
                yield from (_signed(at, found["sign"]) for at in self._named([found["names"]]))
            for found in () if _DOUBT.search(sentence) else _NUMBER.finditer(sentence):
                names = re.findall(r"\w+", found["names"])
                at = self._named(names[:1] if found["one"] else names)
                yield from (_signed(each, found["sign"]) for each in at or self._only("int", "float"))

    def _filled(self, told: Sequence[str]) -> Iterator[Check]:
        for sentence in told:
            for found in _FILLED.finditer(sentence):
                texts = found["kind"].lower().startswith("string")
                kinds = self._only("str") if texts else self._only("list", "tuple", "sequence")
                yield from map(_not_empty, kinds)

    def _named(self, words: Sequence[str]) -> list[int]:
        return [at for at, name in enumerate(self._names) if name in words]

    def _called(self, name: str) -> list[int]:
        """That parameter; else one whose name is the longer form of it, as `number` of `num`."""
        longer = [at for at, each in enumerate(self._names) if len(name) > 1 and each.startswith(name)]
        return self._named([name]) or longer[:1]

    def _only(self, *kinds: str) -> list[int]:
        """The parameter of these types, if there is one alone; of one parameter without a type, that."""
        fitting = [at for at, kind in enumerate(self._types) if kind.lower().startswith(kinds)]
        return [0] if self._types == ("",) else fitting if len(fitting) == 1 else []


def _sentences(text: str) -> list[str]:
    """Text between full stops, and lines that begin anew; a line that goes on is joined to the one before."""
    return re.split(r"(?<=[.;!?])\s+|\n", re.sub(r"\n(?=[a-z(])(?!\w{1,40}`? ?[:(–-])", " ", text))


def _value(text: str) -> int:
    base, _, power = text.partition("^")
    return int(base + "0" * int(power)) // 10 if power else int(base)


def _number(args: Args, at: int) -> float | None:
    value = args[at] if at < len(args) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _within(at: int, low: int, over: bool, high: int, under: bool) -> Check:
    def check(args: Args) -> bool:
        if (value := _number(args, at)) is None:
            return True
        return low <= value <= high and not (over and value == low) and not (under and value == high)

    return check


def _signed(at: int, sign: str) -> Check:
    def check(args: Args) -> bool:
        value = _number(args, at)
        return value is None or value > 0 or (sign.lower() != "positive" and value == 0)

    return check


def _not_empty(at: int) -> Check:
    return lambda args: at >= len(args) or args[at] not in ([], (), "")


def _of_one_length(args: Args) -> bool:
    lengths = {len(each) for each in args if isinstance(each, list | tuple)}
    return len(lengths) < 2
