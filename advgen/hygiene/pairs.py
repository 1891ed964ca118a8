"""A preference pair as hygiene looks at it: the prompt, and two answers with the programs in them. Reads no file."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property

from advgen import parse
from advgen.hygiene.items import Text
from advgen.hygiene.normal import code_of, digest, fingerprint, squeezed


@dataclass(frozen=True)
class Side:
    """One answer of a pair: its text, and the code in it, read and parsed once."""

    text: str
    entry_point: str = ""

    @cached_property
    def code(self) -> str:
        """The program, with what it needs of the text's other blocks; the whole text where there is no block."""
        return code_of(self.text, self.entry_point)

    @cached_property
    def module(self) -> ast.Module | None:
        """The code's syntax tree; None where it does not parse, or is too long or too deep to look at."""
        try:
            return parse.tree(self.code) if self.code.strip() else None
        except parse.ParseError:
            return None

    @cached_property
    def form(self) -> str:
        """What programs share that differ in names and layout only; "" where the code does not parse."""
        return fingerprint(self.code)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """One row. What a foreign set does not say is empty, and None for the pass rate."""

    row: int
    """Its place in the set, from 0."""
    system: str
    """The system messages, as a rule the same in every row."""
    prompt: str
    """All other messages before the answers."""
    chosen: Side
    rejected: Side
    exercise_id: str = ""
    entry_point: str = ""
    tests: str = ""
    """The JSON of the `tests` column."""
    failure_kind: str = ""
    chosen_source: str = ""
    student_pass_rate: float | None = None
    p_true: float | None = None
    topic: str = ""

    @property
    def group(self) -> str:
        """What pairs of one exercise share: its id, else a hash of the prompt's words."""
        return self.exercise_id or f"prompt {digest(squeezed(self.prompt)):x}"

    @property
    def taught(self) -> Text:
        """What a model is taught: the chosen side, under the prompt. A foreign row without an entry point is most
        likely about its last function, since helpers come first.
        """
        return Text(self.prompt, self.chosen.code, self.entry_point or _last_function(self.chosen.module))


def _last_function(module: ast.Module | None) -> str:
    body = module.body if module else []
    return next((node.name for node in reversed(body) if isinstance(node, ast.FunctionDef)), "")
