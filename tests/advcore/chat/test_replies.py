"""Replies are read alike everywhere: thoughts apart, then the block that answers, whatever its fence."""

import contextlib
import time

import pytest

from advcore import chat

RIGHT = "def grow(n):\n    return n + 1"
DRAFT = "def grow(n):\n    return n - 1"


def block(code, fence="```", tag="python"):
    return f"{fence}{tag}\n{code}\n{fence}"


A, B = block(RIGHT), block(DRAFT)
OSS = "<|start|>assistant<|channel|>"


# --- thoughts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>\nFirst\n{B}\nno, wrong.\n</think>\n\nHere.\n{A}",
        f"<think>{B}</think>{A}",
        f"<THINKING>\n{B}\n</THINKING>\n{A}",
        f"<thought>{B}</thought>\n<output>\n{A}\n</output>",
        f"<thinking>\n<reflection>\n{B}\n</reflection>\n{B}\n</thinking>\n{A}",
        f"<reasoning>\n{B}\n</reasoning>\n{A}",
        f"<seed:think>\n{B}\n</seed:think>{A}",
        f"[THINK]{B}[/THINK]{A}",
        f"◁think▷{B}◁/think▷{A}",
        f"<|begin_of_thought|>\n{B}\n<|end_of_thought|>\n<|begin_of_solution|>\n{A}\n<|end_of_solution|>",
        f"<|START_THINKING|>{B}<|END_THINKING|><|START_RESPONSE|>{A}<|END_RESPONSE|>",
        f"<|channel|>analysis<|message|>{B}<|end|>{OSS}commentary<|message|>{B}<|end|>{OSS}final<|message|>{A}",
        f"{OSS}analysis<|message|>{B}<|end|>\n{OSS}final <|constrain|>text<|message|>{A}<|return|>",
        f"analysisWe try\n{B}\nassistantfinalSo:\n{A}",
        f"Here is my thought process:\n{B}\nHere is my response:\n{A}",
        f"Here are my reasoning steps:\n{B}\n[BEGIN FINAL RESPONSE]\n{A}\n[END FINAL RESPONSE]",
        f"{B}\nno.\n</think>\n\n{A}",  # the opening mark was in the prompt
        f"so it has to grow.</think>Here:\n{A}",
        f"<think>\n<think>\n{B}\n</think>\n{A}",
        f"<think>\n{B}\n</think>\nI check that.\n<think>\n{B}\n</think>\n{A}",
        f"<think>\n{B}\n</think>\n{B}\n<think>\nwrong\n</think>\n{A}",
        f"<think> with a loop </think> so here\n{A}",
        f"<think>\n```python\n{DRAFT}\nno, wait\n</think>\n\n{A}",  # a fence that the thoughts leave open
        f"<think>\n```python\n{DRAFT}\nno, wait.</think>\n\n{A}",
        f"Hm\n```\n{DRAFT}\nno, wait\n</think>\n\n```\n{RIGHT}\n```",
        f"<think>\nUse `</think>` and s.split('</think>'), cut <think> and </think> tags.\n{B}\n</think>\n{A}",
        f"<think>\r\n{B}\r\n</think>\r\n{A}",
    ],
)
def test_drafts_in_thoughts_are_no_answer(reply):
    assert chat.program(reply, "grow") == RIGHT
    said = chat.read(reply)
    assert "n - 1" not in said.answer.partition("<think>")[0] or said.answer.count("n + 1") == 1
    assert said.thoughts


def test_answer_and_thoughts_are_both_kept():
    said = chat.read("<think>\nMaybe 5?\n</think>\nIt is 4.\n<think>\nYes.\n</think>\nSo 4.")
    assert said == chat.Read("It is 4.\n\nSo 4.", "Maybe 5?\n\nYes.")
    assert chat.read("Maybe 5?\n</think>\n\nIt is 4.") == chat.Read("It is 4.", "Maybe 5?")
    assert chat.read("It is 4.\n") == chat.Read("It is 4.\n", "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (f"<think>\n{A}", "thoughts alone"),
        (f"<think>\n{A}\n</think>\n", "thoughts alone"),
        (f"{A}\n</think>\n\n", "thoughts alone"),
        (f"<|channel|>analysis<|message|>{A}", "thoughts alone"),
        ("", "empty reply"),
        (" \n", "empty reply"),
        ("<think>\n\n</think>\n\n", "empty reply"),
        (f"```python\n{RIGHT}", "truncated"),
        (f"{B}\nBetter:\n```python\n{RIGHT}", "truncated"),
    ],
)
def test_a_reply_without_an_answer_says_so(reply, reason):
    with pytest.raises(chat.NoCode, match=reason):
        chat.program(reply, "grow")


CUTS = 'import re\n\ndef grow(text):\n    return re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)'
SHOWS = 'def grow(text):\n    """Cut thoughts.\n\n<think>\nab\n</think>\n    """\n    return text.split("</think>")[-1]'
HOLDS = 'FIRST = """\n<think>\n"""\nLAST = """\n</think>\n"""\n\ndef grow(text):\n    return LAST in text'


@pytest.mark.parametrize("code", [CUTS, SHOWS, HOLDS])
@pytest.mark.parametrize(
    "reply",
    [
        "{block}",
        "{code}",
        '{block}\nIt never writes "</think>".',
        "{block}\nWhat follows <think> is cut.",
        "Cut at `</think>`:\n{block}\nThe tag </think> ends the thoughts, and <think> begins them.",
        "<think>\nA regex.\n{block}\nFine.\n</think>\n\n{block}",
        "Such as\n```\n<think>\nab\n</think>\nan answer\n```\nor\n```xml\n<think>\n```\nThe function:\n{block}",
    ],
)
def test_a_program_may_handle_marks_of_thoughts(code, reply):
    assert chat.program(reply.format(code=code, block=block(code)), "grow") == code


# --- which block ----------------------------------------------------------------------------------------------

USE = block("print(grow(3))")
USES_HELPER = "def grow(n):\n    return add(n, 1)"
HELPER = "def add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    "reply",
    [
        f"Naive:\n{B}\nFixed:\n{A}",
        f"Use it so:\n{USE}\nThe function:\n{A}",
        f"{A}\nUse it so:\n{USE}",
        f"{A}\nTests:\n{block('from solution import grow' + chr(10) + 'assert grow(1) == 2')}",
        f"{A}\nIt prints:\n```\n2\n```",
        f"{A}\n```bash\npython grow.py\n```\n```json\n{{}}\n```\n```pycon\n>>> grow(1)\n2\n```",
        f"```sh\npip install x\n```\n```\n{RIGHT}\n```",
        f"{block(HELPER)}\n{A}",  # not needed
        f"{A}\nIts signature:\n{block('def grow(n):' + chr(10) + '    ...')}",
        f"{A}\n{block('def grow(n):' + chr(10) + '    # as above' + chr(10) + '    pass')}",
        f"{A}\nHere is my response: it grows. <answer>assistantfinal</answer>",
        f"{RIGHT}\n\nSuch as:\n```\n>>> grow(1)\n2\n```",
        f"{RIGHT}\n\nSuch as:\n{USE}",
        f"{A}\nCut off:\n```python\nprint(grow(",
    ],
)
def test_the_last_block_that_defines_the_entry_point_answers(reply):
    assert chat.program(reply, "grow") == RIGHT


@pytest.mark.parametrize(
    "code",
    [
        "async def grow(n):\n    return n", "class grow:\n    pass", "grow = lambda n: n", "grow: object = len",
        "try:\n    import fast\nexcept ImportError:\n    def grow(n):\n        return n",
        "def grow(n):\n    return (n",
    ],
)  # fmt: skip
def test_whatever_binds_the_name_at_the_top_level_defines_it(code):
    assert chat.program(f"{A}\nBetter:\n{block(code)}\nSo:\n{USE}", "grow") == code
    assert chat.defines(code, "grow")


@pytest.mark.parametrize(
    "code", ["from x import grow", "grow(1)", "x = grow", "def other():\n    grow = 1", "# grow = 1"]
)
def test_a_name_that_is_used_or_imported_is_not_defined(code):
    assert not chat.defines(code, "grow")


@pytest.mark.parametrize(
    ("others", "above"),
    [
        ([HELPER], HELPER),
        ([HELPER.replace("a + b", "0"), HELPER], HELPER),  # the nearest
        ([f"{HELPER}\nprint(add(1, 2))"], f"{HELPER}\nprint(add(1, 2))"),
        (["import operator", "add = operator.add"], "import operator\n\n\nadd = operator.add"),
        (
            ["SUMS = {}", f"import math\n\n{HELPER}\n\n{DRAFT}\n\nprint(grow(2))"],
            HELPER,
        ),  # a draft stays away
        ([HELPER, "def other():\n    pass", "print(grow(add(1, 2)))"], HELPER),
    ],
)
def test_what_the_answer_needs_of_earlier_blocks_stands_above_it(others, above):
    reply = "\nthen\n".join(map(block, [*others, USES_HELPER]))
    assert chat.program(reply, "grow") == f"{above}\n\n\n{USES_HELPER}"


def test_an_example_of_use_gives_the_answer_nothing():
    code = "def grow(n):\n    return n + limit"
    example = block("limit = 3\nprint(grow(limit))")
    assert chat.program(f"{example}\n{block(code)}\n{example}", "grow") == code


def test_a_helper_may_follow_and_names_of_the_statement_are_there():
    assert (
        chat.program(f"{block(USES_HELPER)}\nwith\n{block(HELPER)}", "grow") == f"{HELPER}\n\n\n{USES_HELPER}"
    )
    typed = "def grow(grid: Grid) -> int:\n    return len(grid)"
    given = "import os\nGrid = list\nOTHER = 3"
    assert chat.program(block(typed), "grow", given=given) == f"Grid = list\n\n\n{typed}"
    assert chat.program(block(f"Grid = tuple\n{typed}"), "grow", given=given) == f"Grid = tuple\n{typed}"


def test_imports_from_the_future_stay_first():
    late = f"from __future__ import annotations\n{USES_HELPER}"
    assert chat.program(f"{block(HELPER)}\n{block(late)}", "grow") == (
        f"from __future__ import annotations\n{HELPER}\n\n\n{USES_HELPER}"
    )


def test_without_an_entry_point_the_last_block_with_a_function_answers():
    assert chat.program(f"{B}\n{A}\n{USE}") == RIGHT
    assert chat.program("```\nout\n```\n```py\nx = 1\n```\n```\nlater\n```") == "x = 1"
    assert chat.program("Nothing but words.") == "Nothing but words."


def test_the_listing_is_of_all_blocks_but_not_of_thoughts():
    assert chat.listing(
        f"<think>{B}</think>\n{block('f(1)')}\nand\n{block('f(2)', tag='')}\n{block('ls', tag='sh')}"
    ) == ("f(1)\n\nf(2)\n")
    assert chat.listing("f(1)\nf(2)") == "f(1)\nf(2)"


# --- fences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        A.replace("```", "~~~"),
        f"```python\n{RIGHT}```\nThat is it.",
        f"```python\n{RIGHT}``` That is it.",
        f"```python\n{RIGHT}```\nUse:\n{USE}",
        f"```python\n{DRAFT}\n\n{A}",  # the next block shows that this one is over
        f"Here you are: {A}",
        f"[PYTHON]\n{RIGHT}\n[/PYTHON]\n[TESTS]\nassert grow(1)\n[/TESTS]",
        f"[PYTHON]\n{A}\n[/PYTHON]",
        A.replace("\n", "\r\n"),
        A.replace("\n", "\r"),
        f"- So:\n\n    {A}".replace("\n", "\n    "),
        f"1. {A}".replace("\n", "\n   "),
        f"> {A}".replace("\n", "\n> "),
        f"```{{python}}\n{RIGHT}\n```",
        f"```Python3 title=x\n{RIGHT}\n```",
        f"```python {RIGHT}\n```",
        f"Here is the function:\n\n{RIGHT}\n\nIt grows by one.",
        f"First:\n\n{DRAFT}\n\nThat is wrong. Better:\n\n{RIGHT}\n\nDone",
        f"Sure\n\n{RIGHT}\n\nOutput: 4\nEnjoy",
    ],
)
def test_a_program_is_found_however_it_is_fenced(reply):
    assert chat.program(reply, "grow") == RIGHT


@pytest.mark.parametrize(
    "code",
    [
        'def grow(n):\n    """Doc\n```\ngrow(1)\n```\n"""\n    return n',
        'def grow(n):\n    """Doc\n    ```\n    grow(1)\n    ```\n    """\n    return n',
        'def grow(n):\n    return f"""\n```python\n{n}\n```\n"""',
        'def grow(n):\n    return "```" + n + "```python\\n"  # ``` or more',
        "def grow(n):\n    '''\n~~~\n'''\n    return n",
    ],
)
@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_a_fence_inside_of_the_code_is_not_its_end(code, fence):
    assert chat.program(f"So:\n{block(code, fence)}\nDone.\n{USE}", "grow") == code


@pytest.mark.parametrize(
    "code",
    ["x = 1", 'x = """\n```\ny\n```\n"""', "x = '`' * 3\n# ````", SHOWS, HOLDS, "if 1:\n    x = '~~~'"],
)
def test_code_in_a_fence_of_ours_is_read_back_as_it_is(code):
    assert chat.program(f"Here:\n{chat.fenced(code)}\nDone.") == code


def test_a_block_cut_short_counts_only_when_the_caller_knows_of_it():
    assert chat.program("```\nout\n```\n```python\nx = 1", truncated=True) == "x = 1"
    assert chat.program(f"{B}\n```python\n{RIGHT}", "grow", truncated=True) == RIGHT


@pytest.mark.parametrize(
    "reply",
    [
        "```" + " " * 200_000 + "`", "`" * 100_000, "<think>\n" * 20_000, "<think></think>\n" * 5_000,
        "```python\n(\n" * 8_000, "x = (\n" * 8_000, "\"'" * 50_000 + "</think>", "(" * 20_000,
    ],
)  # fmt: skip
def test_a_reply_made_to_be_read_for_ever_is_read_at_once(reply):
    started = time.monotonic()
    with contextlib.suppress(chat.NoCode):
        chat.program(reply, "grow")
    assert time.monotonic() - started < 5
