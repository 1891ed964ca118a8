"""Two hundred and forty honest pairs by formula.

Which way, which comments, hints and blank lines a side has is drawn for each side alone, so that nothing but the bug
tells the sides apart. Expected values come from the right program, which is ours and may run here.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from itertools import permutations
from typing import Any

from generated_kinds import KINDS, Kind

THINGS = (
    "rainfall", "parcel", "ticket", "heartbeat", "harvest", "ferry", "library", "orchard", "tunnel", "satellite",
    "kitchen", "tournament", "glacier", "bakery", "signal", "museum", "vineyard", "elevator", "battery", "lighthouse",
)  # fmt: skip
OPENINGS = (
    "A small shop wants a report about its {thing} business by tonight.",
    "For the {thing} archive that your neighbours have kept since spring, one figure is missing.",
    "Some data on a {thing} arrive unsorted and somebody has to make sense of them.",
    "Imagine a board game around a {thing}, in which every move is looked up.",
    "This is about a {thing} and the people who look after it on Sundays.",
    "An old spreadsheet on {thing} matters is to be replaced by a function.",
)
CLOSINGS = (
    "Nothing in the {thing} list may be changed on the way.",
    "An empty {thing} input is allowed and has the answer that follows from the rule.",
    "Do not print; give the {thing} result back.",
    "Negative and repeated entries are as good as any other {thing} entry.",
    "Speed is of no concern with so little {thing} material.",
)
COMMENTS = ("# as the rule says", "# in the order given", "# one after the other", "# see the statement")


def honest(per_kind: int = 20, seed: int = 7) -> list[dict[str, Any]]:
    """Rows of our own `dpo` columns as far as an audit reads them, in random order."""
    chance = random.Random(seed)
    numbers = list(permutations(range(2, 19), 2))
    rows = [
        _row(kind, thing, drawn, chance)
        for kind in KINDS
        for thing, drawn in zip(THINGS, chance.sample(numbers, per_kind), strict=False)
    ]
    chance.shuffle(rows)
    return rows


def _row(kind: Kind, thing: str, drawn: tuple[int, int], chance: random.Random) -> dict[str, Any]:
    name = f"{kind.name}_of_{thing}"
    right = _program(kind, name, _filled(chance.choice(kind.ways).body, drawn), chance)
    tests = _tests(right, name, [_filled(call, drawn) for call in kind.calls])
    wrong = next(code for code in _wrong_programs(kind, name, drawn, chance) if not _passes(code, tests))
    opening, closing = (chance.choice(texts).format(thing=thing) for texts in (OPENINGS, CLOSINGS))
    task = _filled(kind.statement, drawn).replace(" T ", f" {thing} ")
    signature = f"`def {name}({kind.parameter})`"
    return {
        "prompt": [{"role": "user", "content": f"{signature}\n\n{opening} {task} {closing}"}],
        "chosen": reply(right), "rejected": reply(wrong), "exercise_id": name, "entry_point": name,
        "tests": json.dumps(tests), "failure_kind": "wrong_answer", "chosen_source": "teacher",
        "student_pass_rate": 0.5, "topic": kind.name,
    }  # fmt: skip


def _filled(text: str, drawn: tuple[int, int]) -> str:
    for letter, number in zip("KM", drawn, strict=True):
        text = re.sub(rf"\b{letter}\b", str(number), text)
    return text


def _wrong_programs(kind: Kind, name: str, drawn: tuple[int, int], chance: random.Random) -> Iterator[str]:
    """Without end; on some numbers an edit changes nothing that the tests see."""
    while True:
        way = chance.choice(kind.ways)
        yield _program(kind, name, _filled(way.body.replace(*chance.choice(way.edits)), drawn), chance)


def _program(kind: Kind, name: str, body: str, chance: random.Random) -> str:
    hint = ": str" if kind.parameter == "text" else ": list"
    lines = body.split("\n")
    if chance.random() < 0.4:
        lines.insert(0, chance.choice(COMMENTS))
    if chance.random() < 0.2:
        lines.insert(0, '"""Follows the statement."""')
    if chance.random() < 0.3:
        lines.insert(len(lines) - 1, "")
    head = f"def {name}({kind.parameter}{hint if chance.random() < 0.3 else ''}):"
    return "\n".join([head, *(f"    {line}" if line else "" for line in lines)])


def reply(code: str) -> list[dict[str, str]]:
    """One fenced block."""
    return [{"role": "assistant", "content": f"```python\n{code}\n```"}]


def _tests(right: str, name: str, arguments: list[str]) -> list[dict[str, str]]:
    space: dict[str, Any] = {}
    exec(right, space)
    values = dict.fromkeys(repr(eval(each)) for each in arguments)
    return [{"call": f"{name}({each})", "expected": repr(eval(f"{name}({each})", space))} for each in values]


def _passes(code: str, tests: list[dict[str, str]]) -> bool:
    space: dict[str, Any] = {}
    exec(code, space)
    try:
        return all(repr(eval(test["call"], space)) == test["expected"] for test in tests)
    except (ArithmeticError, LookupError, ValueError):
        return False
