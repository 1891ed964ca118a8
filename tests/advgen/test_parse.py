"""Reply text to clean values; what is malformed gets a reason, and nothing is ever run."""

import contextlib
import time

import pytest

from advcore.chat import fenced
from advcore.literals import Raised, Returned
from advgen import parse
from advgen.parse import ParseError

REPLY = '''Here is an exercise:
```python
from typing import List
def pick(values: List[int], limit: int = 3) -> int:
    """Return the first of `values` above "limit"; -1 when there is none. Use \\\\n nowhere.

    >>> pick([1, 5], 3)
    5
    >>> pick([], limit=2)
    -1
    """
    for value in values:
        return value
```
Enjoy!'''


def test_a_statement_loses_its_body_and_keeps_its_docstring():
    found = parse.statement(REPLY)
    assert found.entry_point == "pick"
    assert found.parameters == ("values", "limit")
    assert "for value" not in found.stub
    assert found.stub.startswith("from typing import List\n\ndef pick(")
    assert parse.statement(found.stub) == found


def test_examples_of_the_docstring_become_claims_with_keywords_in_place():
    claims = parse.examples(parse.statement(REPLY))
    assert [(call.source, str(outcome)) for call, outcome in claims] == [
        ("pick([1, 5], 3)", "5"),
        ("pick([], 2)", "-1"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```python\ndef f(x):\n    '''too short'''\n```", "no docstring"),
        ("```python\nx = 1\n```", "0 functions"),
        ("```python\ndef f(x:\n```", "syntax error"),
        ("```python\ndef f(x): pass\n", "no docstring"),
        (REPLY.replace("limit: int = 3", "*limits"), "starred"),
        (REPLY.replace("values: List[int], limit: int = 3", ""), "no parameters"),
        (REPLY.replace("def pick", "def _pick"), "private"),
        ("x" * 30_000, "too long"),
        ("(" * 5_000, "syntax error"),
        (REPLY.replace("limit: int = 3", "limit: int = " + "-" * 90 + "3"), "nested too deep"),
        (REPLY.replace("limit: int = 3", "limit: int = 0x" + "f" * 5000), "over 1000 digits"),
    ],
)
def test_a_malformed_statement_says_what_is_wrong(text, reason):
    with pytest.raises(ParseError, match=reason):
        parse.statement(text)


def test_a_program_is_what_was_written():
    code = "import os\nLIMIT = 2\n\n\ndef f(x):\n    '''Text.'''\n    return x\n\nprint(f(1))"
    assert parse.program(f"```python\n{code}\n```", "f") == code


def test_the_form_to_be_published_has_neither_talk_nor_docstrings_of_functions():
    code = (
        "import os\nLIMIT = 2\n\n\nclass Box:\n    '''A box.'''\n\n\ndef f(x):\n    '''Text.'''\n    return x\n\n"
        "print(f(1))\nassert f(1)\nif __name__ == '__main__':\n    f(2)"
    )
    bare = "import os\nLIMIT = 2\n\nclass Box:\n    '''A box.'''\n\ndef f(x):\n    return x"
    assert parse.forms(code, "f") == [bare, code, bare.replace("return", "'''Text.'''\n    return")]
    assert parse.forms(bare, "f") == [bare]


def test_a_program_without_the_function_is_refused():
    with pytest.raises(ParseError, match="no such function"):
        parse.program("```python\ndef g(x): return x\n```", "f")


def test_calls_are_literal_fit_the_signature_and_are_not_repeated():
    exercise = parse.statement(REPLY)
    text = """```python
pick([1, 2], 3)
1. pick([3], limit=4)
print(pick([9], 1))
pick([1, 2], 3)  # again
pick(range(3), 2)
pick([1], 2, 3)
pick([1], speed=3)
pick(__import__('os').system('true'), 1)
pick([4], 2
other([1], 2)
```"""
    assert [call.source for call in parse.calls(text, exercise)] == [
        "pick([1, 2], 3)",
        "pick([3], 4)",
        "pick([9], 1)",
    ]


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("pick([1] * 3, 10**9)", ([1, 1, 1], 10**9)),
        ("pick(list(range(3)), -2**31)", ([0, 1, 2], -(2**31))),
        ("pick([float('inf'), 1e999], 1 + 1)", ([float("inf"), float("inf")], 2)),
        ("pick([\n    1,\n    2,\n], 2)", ([1, 2], 2)),
        ("1. pick([1,\n   2], 2)\nno call (", ([1, 2], 2)),
        ("pick(list('ab') + [[0] * 2] * 2, 1)", (["a", "b", [0, 0], [0, 0]], 1)),
        ("pick(set(), 1)", (set(), 1)),
    ],
)
def test_a_call_may_compute_its_literals_and_go_over_several_lines(text, args):
    (call,) = parse.calls(f"```python\n{text}\n```", parse.statement(REPLY))
    assert call.args == args
    assert parse.calls(f"```python\n{call.source}\n```", parse.statement(REPLY)) == [call]


@pytest.mark.parametrize(
    "text",
    [
        "pick([0] * 10**9, 1)",
        "pick([[[0] * 150] * 150] * 150, 1)",
        "pick([9**9**9], 1)",
        "pick([1 << 10**6], 1)",
        "pick('%s' % 1, 1)",
    ],
)
def test_a_literal_that_is_too_large_or_none_makes_no_call(text):
    assert parse.calls(f"```python\n{text}\n```", parse.statement(REPLY)) == []


def test_asserts_yield_calls_with_literal_expectations():
    exercise = parse.statement(REPLY)
    text = "assert pick([1], 2) == -1\nassert not pick([0], -1)\nassert pick([2], 1)\nassert pick([1], 1) == other()\n"
    found = [(call.source, str(outcome)) for call, outcome in parse.asserts(text, exercise)]
    assert found == [("pick([1], 2)", "-1"), ("pick([0], -1)", "False"), ("pick([2], 1)", "True")]


def test_an_assert_may_expect_an_exception():
    text = "```python\nimport pytest\nwith pytest.raises(ValueError):\n    pick([], -1)\nassert pick([1], 1) == 1\n```"
    claims = parse.asserts(text, parse.statement(REPLY))
    assert [(call.source, outcome) for call, outcome in claims] == [
        ("pick([], -1)", Raised("ValueError")),
        ("pick([1], 1)", Returned("1")),
    ]


@pytest.mark.parametrize(
    ("prose", "told"),
    [
        ("For n=2, return [0, 1]. And for n = 3, return [0, 1, 1].", {"rise(2)": "[0, 1]", "rise(3)": "[0, 1, 1]"}),
        ("If `n` is 0, the result is `[]`, which is right.", {"rise(0)": "[]"}),
        ("rise(5) returns [1]; `rise(6)` == [3], rise(-1) -> None.",
         {"rise(5)": "[1]", "rise(6)": "[3]", "rise(-1)": "None"}),
        ("rise(7) should return [-1.5] because it is so", {"rise(7)": "[-1.5]"}),
        ("rise(2) is the first, rise(n) returns [1]. For m = 2, return [5]. When n is large, return [].", {}),
        ("rise(2) returns the sum, that is 3. For n = 2, return what is left.", {}),
        (">>> rise(-4)\n    Traceback (most recent call last):\n        ...\n    ValueError: small",
         {"rise(-4)": "ValueError"}),
    ],
)  # fmt: skip
def test_examples_in_prose_are_claims_too(prose, told):
    docstring = f'"""The n first of all rising numbers, as a list of them.\n\n    {prose}\n    """'
    claims = parse.examples(parse.statement(f"def rise(n: int) -> list:\n    {docstring}"))
    assert {call.source: str(outcome) for call, outcome in claims} == told


@pytest.mark.parametrize(
    "prose",
    [
        "rise(5) = rise(4) + rise(3) = 5", "rise(3) = 3 * rise(2) = 6", "rise(3) = 3^2 = 9", "rise(5) = 5! = 120",
        "rise(4) is 10 - rise(6)", "rise(6) = 1 (odd) + 2 (even) = 3", "rise(10) = 1,000,000", "rise(3) gives 1, 2, 3",
        "If n is 4, return 2, 2", "rise(3) returns 3 elements", "For n = 4, the output is 4 rows",
        "If n is 1, return 1 plus the number of digits", "rise(3) is 1 more than rise(2)", "rise(4) is 1/2 of rise(8)",
        "rise(3) returns 'a' repeated 3 times", "rise(2) = 1.414...", "rise(2) is 1.41 (to two places)",
        "rise(5) is 50%",
        "2 * rise(3) == 6", "rise(1) + rise(2) == 3", "Except when n is 0, return 1", "rise(0) is 0-based",
        "A careless solution says that rise(2) == 4, but it is 5", "rise([1, 2]) == [1, 2][::-1]", "rise(2) == rise(3)",
        "returns 0 if the list is empty", "rise(2) returns 4 if squares are asked for", "assert -rise(2)",
        ">>> rise(1), rise(2)\n    (1, 4)", ">>> rise(2)\n    1\n    2",
    ],
)  # fmt: skip
def test_a_value_that_a_text_goes_on_about_is_no_example(prose):
    docstring = f'"""The n first of all rising numbers, as a list of them.\n\n    {prose}\n    """'
    assert parse.examples(parse.statement(f"def rise(n: int) -> list:\n    {docstring}")) == []


def test_looping_text_is_read_in_no_time():
    started = time.monotonic()
    stub = f'def rise(n: int) -> list:\n    """The first of all numbers, {"rise(" * 600}"""'
    exercise = parse.statement(stub)
    assert parse.examples(exercise) == []
    assert parse.calls("```python\n" + "rise(([1],[1],\n" * 300 + "```", exercise) == []
    assert time.monotonic() - started < 2


def test_subtopics_are_read_from_any_list_and_not_repeated():
    assert parse.subtopics("Sure:\n1. **Merging intervals**.\n2) Gaps\n- Gaps\n\nDone") == [
        "Merging intervals",
        "Gaps",
    ]


def test_examples_that_are_not_kept_are_cut_from_the_statement():
    exercise = parse.statement(REPLY)
    kept = parse.with_examples(exercise, {"pick([1, 5], 3)"})
    assert [call.source for call, _ in parse.examples(kept)] == ["pick([1, 5], 3)"]
    none = parse.with_examples(exercise, ())
    assert ">>>" not in none.stub
    assert parse.statement(none.stub).entry_point == "pick"
    assert parse.with_examples(exercise, {"pick([1, 5], 3)": 5, "pick([], 2)": -1}) == exercise


def test_the_form_to_be_published_loses_docstrings_and_nothing_else():
    text = 'def f(x):\n    """Say\n    much."""\n    # why\n    def g():\n        """only"""\n    return x'
    assert parse.forms(text, "f")[0] == 'def f(x):\n    # why\n    def g():\n        """only"""\n    return x'


def test_a_reply_cut_short_keeps_what_was_whole():
    exercise = parse.statement(REPLY[: REPLY.index("return value")])
    assert exercise == parse.statement(REPLY)
    assert [
        call.source for call in parse.calls("```python\npick([1], 2)\npick([2, 3], 4)\npick([3", exercise)
    ] == [
        "pick([1], 2)",
        "pick([2, 3], 4)",
    ]
    with pytest.raises(ParseError, match="truncated"):
        parse.program("```python\ndef pick(values, limit):\n    return 1", "pick")


def test_a_statement_that_ends_among_its_examples_loses_the_last_of_them():
    head = 'def pick(values: list) -> int:\n    """The first value of all, or -1 where there is none.\n\n'
    whole = f"{head}    >>> pick([3])\n    3\n"
    found = parse.statement(f"```python\n{whole}    >>> pick([1, 2])\n    ")
    assert found == parse.statement(f'```python\n{whole}    """\n```')
    with pytest.raises(ParseError, match="syntax error"):  # what is computed may be cut too
        parse.statement(
            '```python\ndef pick(values: list) -> int:\n    """The first value of all, or -1 where'
        )


def test_trailing_blanks_and_escapes_in_a_docstring_do_no_harm():
    docstring = '"""\n    Count the "\\\\n" in `x`. \n    \n    The rest does not matter.  \n    """'
    text = f"```python\ndef f(x: str) -> int:\n    {docstring}\n```"
    found = parse.statement(text)
    assert found.docstring == 'Count the "\\n" in `x`.\n\nThe rest does not matter.'
    assert found.signature == "def f(x: str) -> int"
    assert not any(line != line.rstrip() for line in found.stub.splitlines())
    with pytest.raises(ParseError, match="quoted"):
        parse.statement(
            "def f(x):\n    'Three quotes \\'\\'\\' and three more \"\"\" in a long enough docstring.'"
        )


def test_what_a_function_needs_stays_with_it():
    source = "TABLE = {}\nfor i in range(3):\n    TABLE[i] = i\ntry:\n    from math import gcd\nexcept ImportError:\n"
    source += "    gcd = None"
    code = f'{source}\n\ndef f(x):\n    """Text."""; y = 2\n    return "a\x0cb"'
    assert parse.program(f"```python\n{code}\n```", "f") == code


@pytest.mark.parametrize(
    "text",
    [
        "```python\r\ndef f(x):\r\n    return x\r\n```",
        '```python title="x.py"\ndef f(x):\n    return x\n```',
        "```bash\npip install y\n```\nthen\n```python\ndef f(x):\n    return x\n```",
        "def f(x):\n    return x",
    ],
)
def test_a_program_is_found_however_it_is_fenced(text):
    assert parse.program(text, "f") == "def f(x):\n    return x"


@pytest.mark.parametrize(
    "read", [lambda: parse.statement("def a\n" * 50_000), lambda: parse.subtopics("\n" * 100_000)]
)
def test_a_long_reply_is_read_in_no_time(read):
    started = time.monotonic()
    with contextlib.suppress(parse.ParseError):
        read()
    assert time.monotonic() - started < 1


SHOWN = parse.statement(
    'def lines(text: str) -> int:\n    """The number of lines of the text; an empty one has none.\n\n'
    '    >>> lines("a\\\\nb")\n    2\n    >>> lines("")\n    5\n    """'
)


def test_an_outline_is_the_same_before_and_after_examples_are_cut():
    cut = parse.with_examples(SHOWN, ())
    assert ">>>" not in cut.stub
    assert parse.outline(cut.stub) == parse.outline(SHOWN.stub) != ""
    other = parse.statement(SHOWN.stub.replace("empty", "blank"))
    assert parse.outline(other.stub) != parse.outline(SHOWN.stub)


def test_an_example_is_read_as_python_reads_the_docstring():
    assert [call.args for call, _ in parse.examples(SHOWN)] == [("a\nb",), ("",)]
    kept = parse.with_examples(SHOWN, [call.source for call, _ in parse.examples(SHOWN)[:1]])
    assert [str(outcome) for _, outcome in parse.examples(kept)] == ["2"]


def test_one_malformed_example_takes_all_of_them_along():
    stub = SHOWN.stub.replace('>>> lines("")', '>>>lines("")')
    assert ">>>" not in parse.with_examples(parse.statement(stub), ["lines('a\\nb')"]).stub


def test_a_stub_of_which_little_is_left_can_be_read_again():
    brief = parse.statement(
        'def f(x: int) -> int:\n    """Next, capped at 30.\n\n    >>> f(1)\n    7\n    >>> f(2)\n    9\n    """'
    )
    cut = parse.with_examples(brief, {})
    assert parse.stored(cut.stub) == cut
    with pytest.raises(ParseError, match="no docstring"):
        parse.statement(cut.stub)
    with pytest.raises(ParseError, match="no docstring"):  # nothing but examples
        parse.statement(
            'def f(x: int) -> int:\n    """>>> f(1)\n    7\n    >>> f(2)\n    9\n    >>> f(100)\n    107\n    """'
        )


def test_statements_that_share_a_line_are_written_once():
    text = "acc = [0]\nacc += [1]; n = len(acc)\n\n\ndef f(x):\n    return n"
    assert parse.forms(text, "f") == ["acc = [0]\nacc += [1]; n = len(acc)\n\ndef f(x):\n    return n"]


def test_blank_lines_by_the_thousand_cost_no_more_than_others():
    stub = SHOWN.stub.replace("\n\n", "\n" * 15_000)
    started = time.monotonic()
    parse.with_examples(parse.stored(stub), {})
    assert time.monotonic() - started < 5


TEXT = '"""Add up the cells on the border of the grid, each once; an empty grid gives 0."""'


@pytest.mark.parametrize(
    ("above", "signature", "kept"),
    [
        ("Grid = list[list[int]]", "grid: Grid", "Grid = list[list[int]]"),
        ("LIMIT = 9\nOTHER = 1", "grid: list, most: int = LIMIT", "LIMIT = 9"),
        ("Cell = tuple[int, int]\nGrid = list[Cell]", "grid: Grid", "Cell = tuple[int, int]\nGrid = list[Cell]"),
        (
            "from dataclasses import dataclass\n\n@dataclass\nclass Cell:\n    value: int", "grid: list[Cell]",
            "from dataclasses import dataclass\n\n@dataclass\nclass Cell:\n    value: int",
        ),
        (
            "WEIGHTS = {}\nWEIGHTS.update({1: 2})\nprint(WEIGHTS)", "grid: list, by: dict = WEIGHTS",
            "WEIGHTS = {}\nWEIGHTS.update({1: 2})",
        ),
        ("def border(n):\n    return n", "grid: list", "def border(n):\n    return n"),  # named in the text
        ("", "grid: List[Optional[int]]", "from typing import List, Optional"),
        ("from __future__ import annotations", "grid: list", "from __future__ import annotations"),
    ],
)  # fmt: skip
def test_names_that_a_statement_needs_stay_above_it(above, signature, kept):
    found = parse.statement(f"```python\n{above}\n\ndef frame({signature}) -> int:\n    {TEXT}\n```")
    assert (found.entry_point, found.above) == ("frame", kept)
    assert found.given == ("" if kept.startswith("from") and "\n" not in kept else kept)
    assert parse.stored(found.stub) == found
    compile(f"{found.stub}\n    return 0", "stub", "exec")
    assert parse.with_examples(found, {}) == found


def test_a_helper_with_a_body_is_not_the_exercise_and_two_exercises_are_none():
    helper = f"def area(side: int) -> int:\n    {TEXT}\n    return side * side"
    stub = f'def frame(side: int) -> int:\n    {TEXT[:-3]} See area."""'
    found = parse.statement(f"{helper}\n\n{stub}")
    assert (found.entry_point, found.above) == ("frame", helper)
    solved = f"def frame(side: int) -> int:\n    {TEXT}\n    return area(side) - 1"
    assert parse.statement(f"{helper}\n\n{solved}").entry_point == "frame"
    for other in (stub, solved):
        with pytest.raises(ParseError, match="2 functions instead of one"):
            parse.statement(f"{helper.replace('area', 'zone')}\n\n{other}\n    return 0")
    with pytest.raises(ParseError, match="2 functions instead of one"):
        parse.statement(f'{stub}\n\ndef undo(x: int) -> int:\n    """Undo it."""')


@pytest.mark.parametrize("name", ["Grid", "np", "deque"])
def test_a_signature_with_unknown_names_is_turned_away(name):
    with pytest.raises(ParseError, match=f"names {name}, which nothing defines"):
        parse.statement(f"def frame(grid: {name}) -> int:\n    {TEXT}")


def test_a_statement_is_the_last_block_that_states_something():
    draft, stub = (f"def {name}(grid: list) -> int:\n    {TEXT}" for name in ("draft", "frame"))
    solved = "def frame(grid):\n    return 0"
    blocks = [f"```python\n{code}\n```" for code in (draft, stub, solved, "frame([1])")]
    assert parse.statement("\nthen\n".join(blocks)).entry_point == "frame"
    assert parse.statement(f"<think>\n{blocks[1]}\n</think>\n{blocks[0]}").entry_point == "draft"
    assert parse.statement(f"Grid = list\n\n{stub}".replace("list)", "Grid)")).above == "Grid = list"


def test_what_a_solution_takes_from_the_statement_is_put_above_it():
    code = "def frame(grid: Grid) -> int:\n    return LIMIT"
    above = "Grid = list\nLIMIT = 3\nOTHER = 4"
    assert parse.program(code, "frame", above) == f"Grid = list\nLIMIT = 3\n\n\n{code}"


def test_calls_asserts_and_subtopics_are_read_from_all_blocks_and_not_from_thoughts():
    exercise = parse.statement(REPLY)
    thought = "<think>\n1. A first idea\n```python\nassert pick([9], 9) == 9\n```\n</think>\n"
    two = f"{thought}Typical:\n```python\npick([1], 2)\n```\nEdges:\n```\nassert pick([], 2) == -1\n```"
    assert [call.source for call in parse.calls(two, exercise)] == ["pick([1], 2)", "pick([], 2)"]
    assert [call.source for call, _ in parse.asserts(two, exercise)] == ["pick([], 2)"]
    assert parse.subtopics(f"{thought}1. Merging lists") == ["Merging lists"]
    with pytest.raises(ParseError, match="thoughts alone"):
        parse.calls("<think>\npick([1], 2)", exercise)


# --- a program that a statement is written from ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def g(x):\n    return x\n\ndef f(n):\n    return g(n)", "f"),
        ("def f(n):\n    return f(n - 1) if n else 0\n\ndef main():\n    return f(3)\n\nmain()", "f"),
        ("def f(n):\n    return n\n\ndef f(n, k):\n    return n + k", "f"),
    ],
)
def test_the_program_is_the_one_function_that_no_other_needs(code, name):
    found = parse.reference(fenced(code))
    parameters = "n, k" if "k" in code else "n"
    text = "Whatever it is that is to be returned here, in many words."
    assert parse.is_of(parse.statement(fenced(f'def {name}({parameters}):\n    """{text}"""')), found)
    assert not parse.is_of(parse.statement(fenced(f'def {name}(other):\n    """{text}"""')), found)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = 1", "0 functions"),
        ("def f(n):\n    return n\n\ndef h(n):\n    return n", "2 functions"),
        ("async def f(n):\n    return n", "asynchronous"),
        ("def g(n):\n    return n\n\nasync def f(n):\n    return g(n)", "asynchronous"),
        ("def f(self, n):\n    return n", "a method"),
        ("def f():\n    return 1", "no parameters"),
        ("def f(*n):\n    return n", "starred"),
    ],
)
def test_other_programs_are_refused_with_their_reason(code, reason):
    with pytest.raises(ParseError, match=reason):
        parse.reference(fenced(code))
