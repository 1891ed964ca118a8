"""Normal forms: what makes two texts, or two programs, the same."""

import pytest

from advcore.rouge import words
from advgen.hygiene.normal import (
    code_of,
    digest,
    fingerprint,
    functions,
    parsed,
    squeezed,
)

PROGRAM = '''
from math import sqrt as root

def longest(lines: list[str], key=3) -> int:
    """The longest."""
    best: int = 0
    for line in lines:
        best = max(best, len(line.strip()) + key, int(root(best)))
    return best
'''
RENAMED = """
from math import sqrt

def f(a, b=3):
    c = 0
    for d in a:
        c = max(c, len(d.strip()) + b, int(sqrt(c)))
    return c
"""


def test_words_are_lower_case_and_an_underscore_divides_them():
    assert words("Add two_Values: don't, π 12!") == ["add", "two", "values", "don", "t", "π", "12"]


def test_squeezing_leaves_one_blank_between_words():
    assert squeezed("  A\tb\n\n c ") == "a b c"


@pytest.mark.parametrize(
    "content",
    ["Here:\n```python\nx = 1\n```\nDone.", "```python\r\nx = 1\r\n", "x = 1\n", "```\nx = 1\n```"],
    ids=["prose around it", "cut short", "no fence", "no tag"],
)
def test_the_code_of_a_reply_is_its_block_or_all_of_it(content):
    assert code_of(content) == "x = 1"


def test_names_annotations_and_docstrings_do_not_change_a_fingerprint():
    assert len(fingerprint(PROGRAM)) == 32
    assert fingerprint(PROGRAM) == fingerprint(RENAMED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b=3", "b=4"),
        ("max(", "min("),
        (".strip", ".lower"),
        ("+ b", "- b"),
        ("sqrt", "floor"),
        ("c = 0", "c = a"),
    ],
)
def test_what_a_program_does_changes_its_fingerprint(before, after):
    assert before in RENAMED
    assert fingerprint(RENAMED.replace(before, after)) != fingerprint(RENAMED)


def test_a_keyword_is_a_name_only_where_the_function_is_the_programs_own():
    own = "def g({0}):\n    return {0}\n\ndef f(a):\n    return g({0}=a)"
    assert fingerprint(own.format("x")) == fingerprint(own.format("y"))
    assert fingerprint("def f(a, key):\n    return sorted(a, key=key)") == fingerprint(
        "def f(a, k):\n    return sorted(a, key=k)"
    )
    assert fingerprint("def f(a):\n    return sorted(a, key=a)") != fingerprint(
        "def f(a):\n    return sorted(a, reverse=a)"
    )


def test_methods_are_attributes_and_keep_their_names():
    program = "class A:\n    def {0}(self):\n        return 1\n\ndef f():\n    return A().run()"
    assert fingerprint(program.format("run")) != fingerprint(program.format("go"))


@pytest.mark.parametrize("code", ["", "def f(:", '"""Only words."""', "import math", "[" * 90 + "]" * 90])
def test_what_is_no_program_has_no_fingerprint(code):
    assert fingerprint(code) == ""


def test_functions_are_known_one_by_one_unless_they_are_tiny():
    module = parsed("def tiny(x):\n    return x\n" + RENAMED)
    assert list(functions(module, 15)) == ["f"]
    assert functions(module, 15) == functions(parsed(RENAMED), 15)
    assert list(functions(module, 1)) == ["tiny", "f"]


def test_hashes_are_the_same_everywhere_since_files_hold_them():
    assert digest("a b") == 2952434739088078779
    assert fingerprint("def f(x):\n    return x + 1") == "ceea5bc4f2c8a28b1f7eb4fb0a33edea"
