"""Which values fit a declared type; what is not understood forbids nothing."""

import pytest

from advcore.literals import Raised, Returned
from advgen import parse
from advgen.verify.fit import Signature


def stub(declared, above=""):
    return f'{above}\ndef f(x: {declared}) -> {declared}:\n    """Some text that is long enough for a statement."""'


def signature(declared, above=""):
    return Signature(parse.statement(stub(declared, above)))


@pytest.mark.parametrize(
    ("declared", "fitting", "others"),
    [
        ("int", ["1"], ["True", "1.0", "'a'", "None"]),
        ("float", ["1", "1.5"], ["'undefined'", "True"]),
        ("bool", ["True"], ["1"]),
        ("list[int]", ["[]", "[1]"], ["[1.5]", "(1,)", "['a']"]),
        ("tuple[int, int, int]", ["(1, 2, 3)"], ["(1, 2, 3, 4)", "[1, 2, 3]"]),
        ("Tuple[int, ...]", ["()", "(1, 2)"], ["('a',)"]),
        ("Optional[str]", ["None", "'a'"], ["1"]),
        ("int | None", ["None", "2"], ["'x'"]),
        ("Union[int, List[int]]", ["1", "[1]"], ["'a'"]),
        ("dict[str, list[float]]", ["{'a': [1, 2.5]}"], ["{1: [1]}", "{'a': 'b'}"]),
        ("Literal[-1, 'a']", ["-1", "'a'"], ["1", "'c'"]),
        ("Sequence[int]", ["[1]", "(1,)"], ["3"]),
        ("Set[int]", ["{1}", "frozenset({1})"], ["[1]"]),
        ("'int'", ["1"], ["'a'"]),
        ("tuple[int, *tuple[str, ...]]", ["(1, 'a', 'b')"], ["[1]"]),
        ("Any", ["1", "None"], []),
        ("Callable[[int], int]", ["1"], []),
        ("Money", ["1", "'a'"], []),
    ],
)
def test_a_value_fits_or_does_not(declared, fitting, others):
    above = "class Money: ..." if declared == "Money" else ""
    found = signature(declared, above)
    for text in fitting + others:
        assert found.gives(Returned(text)) is (text in fitting), text
        assert found.takes(*parse.calls(f"f({text})", parse.statement(stub(declared, above)))) is (
            text in fitting
        ), text
    assert found.gives(Raised("ValueError"))


@pytest.mark.parametrize(
    ("above", "declared", "value", "fits"),
    [
        ("Grid = list[list[int]]", "Grid", "[[1]]", True),
        ("Grid = list[list[int]]", "Grid", "[1]", False),
        ("Vector: TypeAlias = list[float]", "Vector", "['a']", False),
        ("from typing import TypeVar\nT = TypeVar('T')\nPair = Tuple[str, T]", "Pair[int]", "('a', 1)", True),
        ("class Set(NamedTuple):\n    a: int", "Set", "(1,)", True),
    ],
)
def test_aliases_are_what_they_stand_for_and_classes_are_anything(above, declared, value, fits):
    assert signature(declared, above).gives(Returned(value)) is fits


def test_none_fits_a_parameter_whose_default_it_is():
    statement = parse.statement(stub("int", "").replace("x: int", "x: int = None"))
    (call,) = parse.calls("f(None)", statement)
    assert Signature(statement).takes(call)
