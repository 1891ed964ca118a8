"""What a program says of itself at its top level is cut; what its function lives on is not."""

import pytest

from advcore import chat

FUNCTION = "def grow(n):\n    return n + 1"
SUMS = "SUMS = {}\n\ndef _fill():\n    for n in range(9):\n        SUMS[n] = n"
KNOWS = "def grow(n):\n    return SUMS[n]"


@pytest.mark.parametrize(
    "talk",
    [
        "print(grow(2))", "assert grow(1) == 2", "grow(2)", "grow(1) == 2", '"""A text."""', "3", "...",
        "if __name__ == '__main__':\n    print(grow(int(input())))",
        "low = int(input('low: '))\nhigh = int(input())\nprint(grow(low), high)",
        "while True:\n    line = input()\n    if line == 'q':\n        break\n    print(grow(int(line)))",
        "n = int(input())\nwhile n > 0:\n    print(grow(n))\n    n = int(input())",
        "for _ in range(int(input())):\n    print(grow(int(input())))\nexit()",
        "try:\n    print(grow(int(input())))\nexcept ValueError:\n    print('no number')",
        "result = grow(2)\ntotal = result + 1\nprint(f'{total}')",
        "results = [grow(n) for n in range(3)]\nfor each in results:\n    print(each)",
        "for n, want in [(1, 2), (2, 3)]:\n    got = grow(n)\n    assert got == want, n",
        "if grow(1) != 2:\n    raise SystemExit(1)",
        "try:\n    grow('a')\nexcept TypeError as error:\n    print(error)",
        "quit()", "raise SystemExit", "result = grow(2)\ndel result",
    ],
)  # fmt: skip
def test_talk_behind_a_function_is_cut(talk):
    assert chat.trimmed(f"{FUNCTION}\n\n\n{talk}\n", "grow") == FUNCTION


@pytest.mark.parametrize(
    ("talk", "left"),
    [
        ("import sys\nfor line in sys.stdin:\n    print(grow(int(line)))\nsys.exit(0)", "import sys"),
        ("import sys\nn, *rest = map(int, sys.stdin.read().split())\nprint(grow(n))", "import sys"),
        ("def main():\n    print(grow(input()))\n\nmain()", "\ndef main():\n    print(grow(input()))"),
        ("def check():\n    assert grow(1) == 2\n\ncheck()", "\ndef check():\n    assert grow(1) == 2"),
        ("import unittest\nunittest.main()", "import unittest"),
        ("import asyncio\nasyncio.run(grow(1))", "import asyncio"),
        ("import sys\ninput = sys.stdin.readline\nn = int(input())\nprint(grow(n))", "import sys"),
        ("import random\nfor _ in range(3):\n    grow(random.random())", "import random"),
        ("results = {}\nfor n in range(3):\n    results[n] = grow(n)\nprint(results)", "results = {}"),
        ("cases = [1, 2]\nfor case in cases:\n    grow(case)", "cases = [1, 2]"),
        ("import time\nbegin = time.time()\ngrow(3)\nprint(time.time() - begin)", "import time\nbegin = time.time()"),
    ],
)  # fmt: skip
def test_what_only_talk_used_may_stay(talk, left):
    assert chat.trimmed(f"{FUNCTION}\n{talk}\n", "grow") == f"{FUNCTION}\n{left}"


@pytest.mark.parametrize(
    "code",
    [
        f"import sys\nsys.setrecursionlimit(20000)\n\n{FUNCTION}",
        f"{FUNCTION}\nimport sys\nsys.setrecursionlimit(20000)",
        f"{SUMS}\n_fill()\n\n{KNOWS}",
        f"{SUMS}\n\n{KNOWS}\n_fill()",
        f"SUMS = {{}}\nSUMS.update({{1: 2}})\n\n{KNOWS}",
        f"SUMS = {{}}\nfor n in range(9):\n    SUMS[n] = n\n\n{KNOWS}",
        f"SUMS = {{0: 0}}\n\n{KNOWS}\nfor n in range(9):\n    SUMS[n + 1] = grow(n)",
        f"SUMS = {{0: 0}}\n\n{KNOWS}\nfor n in range(9):\n    SUMS.setdefault(n, grow(0))",
        f"SUMS = {{}}\ntry:\n    SUMS[1] = 2\nfinally:\n    pass\n\n{KNOWS}",
        f"{FUNCTION}\ngrow.calls = 0",
        "class Box:\n    size = 0\n\ndef grow(n):\n    return n + Box.size\nBox.size = grow(2)",
        f"{FUNCTION}\nsetattr(grow, 'calls', 0)",
        f"from functools import singledispatch\n\n@singledispatch\n{FUNCTION}\ngrow.register(str, len)",
        "import random\n\ndef grow(n):\n    return n + random.randint(0, 0)\nrandom.seed(grow(1))",
        "from decimal import getcontext\n\ndef grow(n):\n    return n + 1\ngetcontext().prec = grow(5)",
        "from functools import cache\n\n@cache\ndef deep(n):\n    return n\ngrow = deep",
        f"{FUNCTION}\ngrow = staticmethod(grow)",
        "FIRST = 1\n\ndef grow(n):\n    return n + SECOND\nSECOND = FIRST + 1",
        f"{FUNCTION}\n\ndef other(n):\n    return input(n)",
    ],
)
def test_what_a_function_may_live_on_stays(code):
    assert chat.trimmed(code, "grow") == code
    assert chat.forms(code, "grow") == [code]
    tail = "n = int(input())\nprint(grow(n))"
    assert chat.trimmed(f"{code}\n{tail}", "grow") == code
    assert chat.forms(f"{code}\n{tail}", "grow") == [f"{code}\n{tail}", code]


def test_a_variable_that_is_called_input_asks_nobody():
    code = f"SUMS = {{}}\ninput = 3\nSUMS.update({{input: 4}})\n\n{KNOWS}"
    assert chat.trimmed(code, "grow") == code


def test_input_that_the_function_lives_on_stays_and_is_known():
    code = "LIMIT = int(input())\n\ndef grow(n):\n    return min(n + 1, LIMIT)"
    assert chat.trimmed(f"{code}\nprint(grow(2))", "grow") == code
    assert chat.waits(code)
    assert not chat.waits(f"{FUNCTION}\n\ndef main():\n    return input()")


def test_what_cannot_be_parsed_has_one_form():
    assert chat.forms("def grow(:\nprint(1)", "grow") == ["def grow(:\nprint(1)"]
    assert chat.forms("(" * 5_000, "grow") == ["(" * 5_000]
