"""The inputs that a statement says it is about: "a positive integer n", "non-empty list", "1 <= n <= 1000".

On others a right program may do as it likes, so that they make no tests. Only plain words are read, and none of a
condition ("if n is positive"): in doubt an input is allowed. Pure: reads text, runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from advgen.parse import Statement, outline

Args = tuple[Any, ...]
Check = Callable[[Any], bool]

_CONDITION = re.compile(
    r"\b(?:if|when|whenever|whether|unless|until|while|otherwise|else|except)\b", re.IGNORECASE
)
_SIGN = r"(?P<sign>positive|non-?negative|natural)"
_NUMBERS = r"(?:integers?|ints?|numbers?|floats?)"
_SEQUENCE = r"(?P<kind>lists?|arrays?|sequences?|vectors?|tuples?|strings?|words?|texts?)"
_NAMES = r"`?(?P<names>\w+`?(?:(?:, |,? and |,? or )`?\w+`?)*)"
_GIVES = re.compile(
    r"\b(?:returns?|outputs?|produces?|creates?|builds?|makes?|gives|results?|writes?)\b", re.IGNORECASE
)
_OF_NAMES = re.compile(rf"\b{_SIGN} {_NUMBERS}:? {_NAMES}", re.IGNORECASE)
_IS_SIGNED = re.compile(
    rf"`?\b(?P<names>\w+)`?(?: is|:| -) (?:always )?(?:an? )?{_SIGN}(?: {_NUMBERS})?\b", re.IGNORECASE
)
_ITEMS = re.compile(rf"\b{_SEQUENCE}(?: `?(?P<names>\w+)`?)? of (?:\w+ )?{_SIGN} {_NUMBERS}\b", re.IGNORECASE)
_FILLED = re.compile(
    rf"\bnon-?empty (?:\w+ )?{_SEQUENCE}(?: of \w+(?: \w+)?)?(?: `?(?P<names>\w+)`?)?", re.IGNORECASE
)
_ALIKE = re.compile(
    rf"\b(?:two|both) (?:\w+ )?{_SEQUENCE}\b[^.;]{{0,40}} of (?:the )?(?:equal|same) lengths?\b",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    rf"\b(?:given|takes?|accepts?|receives?|input is) (?:as input )?an? {_SIGN} {_NUMBERS}\b", re.IGNORECASE
)
_NUMBER = r"-?\d+(?:\s*(?:\^|\*\*)\s*\d+)?"
_RANGE = re.compile(
    rf"(?P<low>-?\d+)\s*(?P<least><=?|≤)\s*(?P<len>len\()?`?(?P<names>\w+)`?\)?\s*(?P<most><=?|≤)\s*(?P<high>{_NUMBER})"
)
_TEXTS = ("string", "word", "text")


class Domain:
    """What a statement says of its arguments, as far as it is read."""

    def __init__(self, statement: Statement) -> None:
        self._names, self._types = statement.parameters, statement.types
        self._checks: list[tuple[int, Check]] = []
        self._same_length = False
        for sentence in _sentences(outline(statement.docstring)):
            before = (_CONDITION.search(sentence) or re.compile("$").search(sentence)).start()  # type: ignore[union-attr]
            self._read(sentence[:before])

    def takes(self, args: Args) -> bool:
        """Whether the statement is about these."""
        if any(at < len(args) and not check(args[at]) for at, check in self._checks):
            return False
        lengths = {len(each) for each in args if isinstance(each, list | tuple | str)}
        return not self._same_length or len(lengths) < 2

    def _read(self, told: str) -> None:
        for found in _OF_NAMES.finditer(told):
            self._add(self._named(found["names"]), _signed(found["sign"]))
        for found in _IS_SIGNED.finditer(told):
            self._add(self._named(found["names"]), _signed(found["sign"]))
        for found in _ITEMS.finditer(told):
            if not _GIVES.search(told[: found.start()]):
                self._add(self._places(found), _all(_signed(found["sign"])))
        for found in _FILLED.finditer(told):
            if not _GIVES.search(told[: found.start()]):
                self._add(self._places(found), _filled)
        for found in _GIVEN.finditer(told):
            self._add(self._only("int", "float"), _signed(found["sign"]))
        for found in _RANGE.finditer(told):
            only = [] if found["len"] else self._only("int", "float")
            self._add(self._named(found["names"]) or only, _between(found))
        self._same_length |= bool(_ALIKE.search(told))

    def _add(self, places: Sequence[int], check: Check) -> None:
        self._checks += [(at, check) for at in places]

    def _named(self, text: str) -> list[int]:
        words = re.findall(r"\w+", text)
        return [at for at, name in enumerate(self._names) if name in words]

    def _places(self, found: re.Match[str]) -> list[int]:
        """The parameter that is named, else the only one of the kind."""
        if named := self._named(found["names"] or ""):
            return named
        texts = found["kind"].lower().startswith(_TEXTS)
        return self._only("str") if texts else self._only("list", "tuple", "sequence")

    def _only(self, *kinds: str) -> list[int]:
        """The parameter of these types, if there is one alone; of one parameter without a type, that."""
        types = self._types[: len(self._names)]
        if types == ("",):
            return [0]
        fitting = [at for at, kind in enumerate(types) if kind.lower().startswith(kinds)]
        return fitting if len(fitting) == 1 else []


def _sentences(text: str) -> Iterator[str]:
    """Text between full stops and lines that begin anew; a line that goes on is joined to the one before."""
    joined = re.sub(r"\n(?=[a-z`(])", " ", text)
    return iter(re.split(r"(?<=[.;!?])\s+|\n", joined))


def _signed(sign: str) -> Check:
    least = 1e-300 if sign.lower() == "positive" else 0
    return lambda value: not _is_number(value) or value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(check: Check) -> Check:
    return lambda value: not isinstance(value, list | tuple) or all(map(check, value))


def _filled(value: Any) -> bool:
    return not isinstance(value, list | tuple | str) or len(value) > 0


def _between(found: re.Match[str]) -> Check:
    low, (base, *power) = int(found["low"]), re.findall(r"-?\d+", found["high"])
    high = int(base) ** min(int(power[0]), 30) if power else int(base)
    low, high = low + (found["least"] == "<"), high - (found["most"] == "<")

    def check(value: Any) -> bool:
        if found["len"]:
            return not isinstance(value, list | tuple | str) or low <= len(value) <= high
        return not _is_number(value) or low <= value <= high

    return check
