"""Does the code parse, do the sides differ at all, and in what way do the rejected ones fail? Runs nothing."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

from advgen.audit.report import Finding
from advgen.hygiene.duplicates import alike
from advgen.hygiene.pairs import PreferencePair

_MOST_FORMAT = 0.1
"""Share of pairs that may fail by form: they teach form, not correctness."""
# In the words of `verify.Attempt` and of Python.
_FORMAT = frozenset({
    "syntax", "syntax_error", "truncated", "too_long", "nested_too_deep", "wrong_name", "no_such_function",
    "no_code", "unreadable",
    "SyntaxError", "IndentationError", "TabError",
})  # fmt: skip
_SHOWN_KINDS = 20


class Parsing:
    """The check: an error for chosen sides that do not parse, a warning for such rejected ones."""

    def __init__(self) -> None:
        self._pairs = 0
        self._broken = {"chosen": array("q"), "rejected": array("q")}

    def add(self, pair: PreferencePair) -> None:
        """Parse both sides."""
        self._pairs += 1
        for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            if side.module is None:
                self._broken[name].append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One a side."""
        for name, rows in self._broken.items():
            share = 1 - len(rows) / self._pairs
            yield Finding(
                check=f"parse:{name}",
                severity="info" if not rows else "error" if name == "chosen" else "warning",
                summary=f"{share:.1%} of the {name} sides parse as Python, {len(rows)} do not",
                rows=rows,
                number=share,
            )


class SameSides:
    """The check: an error for pairs whose sides are one text, or one program but for its names and layout."""

    def __init__(self) -> None:
        self._rows = array("q")

    def add(self, pair: PreferencePair) -> None:
        """Compare the sides."""
        if alike(pair.chosen, pair.rejected):
            self._rows.append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One, if there are such pairs."""
        if self._rows:
            yield Finding(
                check="same_sides",
                severity="error",
                summary=f"{len(self._rows)} pairs have the same program on both sides",
                rows=self._rows,
                number=len(self._rows),
            )


class FailureKinds:
    """The check: how often the rejected sides fail in which way; a warning where form makes up too much.

    A set that does not say is asked for what can be seen: whether the code parses.
    """

    def __init__(self) -> None:
        self._kinds = Counter[str]()
        self._form = array("q")

    def add(self, pair: PreferencePair) -> None:
        """Note the kind."""
        seen = "syntax_error" if pair.rejected.module is None else "unknown"
        kind = pair.failure_kind or seen
        self._kinds[kind] += 1
        if kind in _FORMAT:
            self._form.append(pair.row)

    def findings(self) -> Iterator[Finding]:
        """One with all kinds, one for the cap."""
        pairs, form = self._kinds.total(), self._form
        common = sorted(self._kinds.items(), key=lambda item: (-item[1], item[0]))
        shares = {kind[:40]: count / pairs for kind, count in common[:_SHOWN_KINDS]}
        yield Finding(
            check="failure_kinds",
            severity="info",
            summary=", ".join(f"{kind} {share:.1%}" for kind, share in shares.items()),
            number=len(self._kinds),
            measures=shares,
        )
        if len(form) > _MOST_FORMAT * pairs:
            yield Finding(
                check="format_failures",
                severity="warning",
                summary=f"{len(form) / pairs:.1%} of the rejected sides fail by form, over {_MOST_FORMAT:.0%}",
                rows=form,
                number=len(form) / pairs,
            )
