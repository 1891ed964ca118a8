"""What a report says of ordinary programs: one test per promise."""

# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

import asyncio
import json
import sys

import pytest

from sandbox import Limits, Sandbox, plain, split

ADD = "def add(a, b):\n    return a + b\n"


def test_a_right_solution_passes_with_every_assert_counted(box: Sandbox) -> None:
    report = box.check(ADD, "assert add(1, 2) == 3\nassert add(0, 0) == 0\n")
    assert report.passed
    assert (report.asserts_run, report.asserts_total, report.outcomes) == (2, 2, ("pass", "pass"))
    assert (report.mode, report.level) == ("split", box.level)


def test_the_row_goes_on_after_a_failing_assert(box: Sandbox) -> None:
    report = box.check(
        ADD, "assert add(1, 2) == 3\nassert add(1, 1) == 3, 'two'\nassert add('a', 1)\nassert add(2, 2) == 4"
    )
    assert report.status == "fail"
    assert report.outcomes == ("pass", "fail", "error", "pass")
    assert report.error is not None
    assert (report.error.assert_index, report.error.expected, report.error.got) == (1, "3", "2")
    assert report.error.message == "two"


def test_a_loop_makes_more_executions_than_sites(box: Sandbox) -> None:
    report = box.check(ADD, "for n in range(5):\n    assert add(n, n) == 2 * n\n")
    assert (report.status, report.asserts_run, report.asserts_total) == ("pass", 5, 1)


@pytest.mark.parametrize(
    ("solution", "tests", "status"),
    [
        (ADD, "assert add(1, 1) == 3", "fail"),
        (ADD, "assert add(1) == 3", "error"),
        (ADD, "assert subtract(1, 1) == 0", "error"),
        ("def add(a, b:", "assert add(1, 1) == 2", "error"),
        ("import numpy_like_thing", "assert 1 == 1", "error"),
        ("def add(a, b):\n    while True: pass", "assert add(1, 1) == 2", "timeout"),
        ("def add(a, b):\n    return 'x' * (1 << 40)", "assert add(1, 1) == 2", "memory"),
        ("def add(a, b):\n    print('x' * 1100000)\n    return 2", "assert add(1, 1) == 2", "output_limit"),
        ("def add(a, b):\n    print('x' * 1000000)\n    return 2", "assert add(1, 1) == 2", "pass"),
        ("import os\ndef add(a, b): os.abort()", "assert add(1, 1) == 2", "crash"),
        ("import os\ndef add(a, b): os._exit(0)", "assert add(1, 1) == 2", "exited"),
        ("import sys\ndef add(a, b): sys.exit(0)", "assert add(1, 1) == 2", "exited"),
        ("import sys\nsys.exit(0)", "assert add(1, 1) == 2", "exited"),
        (ADD, "", "no_tests"),
        (ADD, "add(1, 2)", "no_tests"),
        (ADD, "for n in []:\n    assert add(n, n) == n", "no_tests"),
        (ADD, "assert add(1, == 2", "test_error"),
        (ADD, "assert len(3) == add(1, 2)", "test_error"),
        (ADD, "import sys\nsys.exit(0)\nassert add(1, 1) == 2", "test_error"),
    ],
)
def test_each_end_has_its_status(box: Sandbox, solution: str, tests: str, status: str) -> None:
    assert box.check(solution, tests).status == status


def test_outcomes_before_a_timeout_are_kept(box: Sandbox) -> None:
    solution = "def f(x):\n    while x == 2: pass\n    return x"
    report = box.check(solution, "assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 3")
    assert report.status == "timeout"
    assert report.outcomes == ("pass", "error", "not_run")


def test_a_check_function_is_called_with_the_entry_point(box: Sandbox) -> None:
    tests = "METADATA = {}\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(2, 2) == 5\n"
    helper = "def helper():\n    return 1\n"
    assert box.check(helper + ADD, tests, entry_point="add").outcomes == ("pass", "fail")
    assert box.check(helper + ADD, tests + "check(add)").outcomes == ("pass", "fail")
    assert box.check(ADD, tests).outcomes == ("pass", "fail")
    assert box.check(helper + ADD, tests).status == "test_error"
    assert box.check(helper, tests, entry_point="add").status == "error"


def test_functions_named_test_are_called(box: Sandbox) -> None:
    assert box.check(ADD, "def test_add():\n    assert add(1, 2) == 3\n").passed
    assert box.check(ADD, "def test_add():\n    assert add(1, 2) == 4\n").status == "fail"


def test_an_expected_exception_counts_as_an_assert(box: Sandbox) -> None:
    tests = "try:\n    f(-1)\n    assert False, 'no error'\nexcept ValueError:\n    pass\n"
    raising = "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x"
    assert box.check(raising, tests).outcomes == ("pass",)
    assert box.check("def f(x): return x", tests).status == "fail"


def test_exceptions_of_the_solution_can_be_caught_by_its_own_class(box: Sandbox) -> None:
    solution = "class Empty(ValueError): pass\ndef pop(items):\n    raise Empty('nothing', 7)\n"
    tests = "try:\n    pop([])\n    assert False\nexcept Empty as e:\n    assert e.args == ('nothing', 7)\n    assert isinstance(e, ValueError)\n"
    assert box.check(solution, tests).passed


def test_changed_arguments_and_aliases_come_back(box: Sandbox) -> None:
    solution = "def f(x, d):\n    x.sort()\n    d['k'] = x\n    return x\n"
    tests = "a, d = [3, 1, 2], {}\nb = f(a, d)\nassert a == [1, 2, 3]\nassert b is a\nassert d['k'] is a\n"
    report = box.check(solution, tests)
    assert report.passed, report


def test_objects_of_the_solution_can_be_used_through_proxies(box: Sandbox) -> None:
    solution = """
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x); return self
    def __len__(self): return len(self.items)
    def __eq__(self, other): return self.items == other.items
def numbers(n):
    for i in range(n): yield i
from collections import namedtuple
Point = namedtuple('Point', 'x y')
def origin(): return Point(0, 0)
async def later(x): return x + 1
"""
    tests = """
import asyncio
s = Stack()
s.push(1).push(2)
assert len(s) == 2
assert s.items == [1, 2]
assert s == Stack().push(1).push(2)
assert s != Stack()
assert isinstance(s, Stack)
assert list(numbers(3)) == [0, 1, 2]
assert origin() == (0, 0)
assert origin().x == 0
assert asyncio.run(later(1)) == 2
"""
    report = box.check(solution, tests)
    assert report.passed, report


def test_functions_of_the_tests_can_be_handed_over(box: Sandbox) -> None:
    solution = "def accumulate(items, f):\n    return [f(i) for i in items]\n"
    report = box.check(
        solution,
        "assert accumulate([1, 2], lambda x: x * x) == [1, 4]\nassert accumulate('ab', str.upper) == ['A', 'B']",
    )
    assert (report.status, report.mode) == ("pass", "split")


def test_classes_of_the_tests_can_be_handed_over(box: Sandbox) -> None:
    solution = "def f(kind):\n    return kind.__name__\n"
    tests = "class Local: pass\nassert f(Local) == 'Local'\n"
    report = box.check(solution, tests)
    assert (report.status, report.mode) == ("pass", "split")
    assert box.check(solution, tests.replace("== 'Local'", "== 'Other'")).status == "fail"


GREETING = "class Base:\n    def greet(self, end=''): return 'hi ' + self.name() + end\n"
DERIVED = """
class Own(Base):
    def name(self): return 'you'
assert Own().greet() == 'hi you'
assert Own().greet('!') == 'hi you!'
"""


def test_tests_that_cannot_be_split_run_in_process_and_say_so(box: Sandbox) -> None:
    report = box.check(GREETING, DERIVED)
    assert (report.status, report.mode, report.outcomes) == ("pass", "in-process", ("pass", "pass"))
    report = box.check(GREETING.replace(" + end", ""), DERIVED)
    assert (report.status, report.mode, report.outcomes) == ("fail", "in-process", ("pass", "fail"))
    assert report.error is not None
    assert (report.error.expected, report.error.got) == ("'hi you!'", "'hi you'")


def test_the_standard_library_can_be_imported_inside(box: Sandbox) -> None:
    names = [
        "json",
        "re",
        "math",
        "itertools",
        "collections",
        "functools",
        "heapq",
        "bisect",
        "string",
        "random",
        "datetime",
        "decimal",
        "fractions",
        "typing",
        "dataclasses",
        "statistics",
        "asyncio",
        "hashlib",
        "unicodedata",
        "zoneinfo",
        "csv",
        "sqlite3",
        "struct",
        "array",
        "textwrap",
        "difflib",
    ]
    solution = "import importlib\ndef load(name):\n    importlib.import_module(name)\n    return name\n"
    report = box.check(solution, "\n".join(f"assert load({name!r}) == {name!r}" for name in names))
    missing = {"sqlite3"}  # an interpreter may be built without it
    failed = {name for name, outcome in zip(names, report.outcomes, strict=True) if outcome != "pass"}
    assert failed <= missing, report.error


def test_the_solution_prints_into_the_report(box: Sandbox) -> None:
    report = box.check("print('loading')\ndef f():\n    print('called')\n    return 1", "assert f() == 1")
    assert report.stdout == "loading\ncalled\n"


def test_a_report_is_plain_json(box: Sandbox) -> None:
    text = json.dumps(box.check(ADD, "assert add(1, 1) == 3").to_json())
    assert json.loads(text)["outcomes"] == ["fail"]


def test_call_returns_exact_values_and_changed_arguments(box: Sandbox) -> None:
    solution = "def f(x):\n    if isinstance(x, list): x.append(9)\n    if x == 0: raise ValueError('zero')\n    return x\n"
    values = [None, True, 2**100, -0.5, 1j, "é\ud800", b"\x00", [1], (1, 2), {1: (2,)}, {3}, frozenset({4})]
    outputs = box.call(solution, "f", [(value,) for value in values] + [(0,)])
    assert [output.status for output in outputs] == ["ok"] * len(values) + ["error"]
    expected = [[1, 9] if value == [1] else value for value in values]
    assert [output.value for output in outputs[:-1]] == expected
    assert [type(output.value) for output in outputs[:-1]] == [type(value) for value in values]
    assert outputs[7].mutated_args == ([1, 9],)
    assert outputs[-1].error == "ValueError: zero"


def test_call_returns_a_librarys_dictionary_as_the_one_it_equals(box: Sandbox) -> None:
    solution = (
        "from collections import Counter, OrderedDict, defaultdict\n"
        "def f(): return [Counter('aab'), {'x': defaultdict(list, k=[1])}, OrderedDict(b=1, a=2)]\n"
    )
    (output,) = box.call(solution, "f", [()])
    assert repr(output.value) == "[{'a': 2, 'b': 1}, {'x': {'k': [1]}}, {'b': 1, 'a': 2}]"


def test_call_names_a_type_that_cannot_cross(box: Sandbox) -> None:
    (output,) = box.call("class C: pass\ndef f(): return C()", "f", [()])
    assert output.status == "error"
    assert "C cannot cross" in str(output.error)


def test_call_after_a_hanging_call_is_a_timeout_too(box: Sandbox) -> None:
    outputs = box.call("def f(x):\n    while x == 1: pass\n    return x", "f", [(0,), (1,), (2,)])
    assert [output.status for output in outputs] == ["ok", "timeout", "timeout"]


def test_call_of_a_missing_entry_point_is_an_error(box: Sandbox) -> None:
    outputs = box.call("x = 1", "f", [(), ()])
    assert [output.status for output in outputs] == ["error", "error"]


def test_check_many_keeps_the_order(box: Sandbox) -> None:
    pairs = [(f"def f(): return {n}", f"assert f() == {n if n % 3 else -1}") for n in range(20)]
    assert [report.passed for report in box.check_many(pairs)] == [n % 3 != 0 for n in range(20)]


def test_the_async_face_runs_checks_side_by_side(box: Sandbox) -> None:
    async def both() -> list[bool]:
        first = box.acheck(ADD, "assert add(1, 1) == 2")
        second = box.acheck(ADD, "assert add(1, 1) == 3")
        outputs = await box.acall(ADD, "add", [(1, 2)])
        many = await box.acheck_many([(ADD, "assert add(2, 2) == 4")])
        return [report.passed for report in await asyncio.gather(first, second)] + [
            outputs[0].value == 3,
            many[0].passed,
        ]

    assert asyncio.run(both()) == [True, False, True, True]


def test_the_hash_seed_is_fixed_per_sandbox() -> None:
    seen = []
    for seed in (1, 1, 2):
        with Sandbox(slots=1, hash_seed=seed) as box:
            seen.append(box.call("def f(): return hash('text')", "f", [()])[0].value)
    assert seen[0] == seen[1] != seen[2]


def test_limits_that_cannot_hold_an_interpreter_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        Limits(memory_bytes=1 << 20)


UNITTEST = """
import unittest
from calculator import add, Broken

class AddTest(unittest.TestCase):
    def test_small(self):
        self.assertEqual(add(1, 2), 3)
    def test_wrong(self):
        self.assertEqual(add(1, 2), 4)
    def test_raises(self):
        with self.assertRaises(Broken) as caught:
            add(None, 1)
        self.assertEqual(caught.exception.args[0], 'none')

if __name__ == '__main__':
    unittest.main()
"""


def test_a_unittest_class_counts_its_methods(box: Sandbox) -> None:
    solution = (
        "class Broken(Exception): pass\n"
        "def add(a, b):\n    if a is None: raise Broken('none')\n    return a + b\n"
    )
    report = box.check(solution, UNITTEST.replace("), 4)", "), 3)"))
    assert (report.status, report.mode, report.outcomes) == ("pass", "split", ("pass", "pass", "pass"))
    report = box.check(solution, UNITTEST.replace("add(None, 1)", "add(Broken, 1)"))
    assert report.status == "fail"
    report = box.check(solution, UNITTEST.partition("    def test_raises")[0])
    assert (report.status, report.mode) == ("fail", "split")
    assert report.outcomes == ("pass", "fail")  # in the loader's alphabetical order


def test_a_failed_method_that_saw_the_solutions_own_objects_is_looked_at_assert_by_assert(
    box: Sandbox,
) -> None:
    solution = "class Broken(Exception): pass\ndef add(a, b):\n    if a is None: raise Broken('none')\n    return a + b\n"
    report = box.check(solution, UNITTEST)
    assert (report.status, report.mode, report.outcomes) == (
        "fail",
        "in-process",
        ("pass", "fail", "pass", "pass"),
    )
    assert report.error is not None
    assert (report.error.assert_index, report.error.expected, report.error.got) == (1, "4", "3")


def test_a_doctest_counts_its_examples(box: Sandbox) -> None:
    tests = ">>> add(1, 2)\n3\n>>> x = add('a', 'b')\n>>> x\n'ab'\n>>> add(1, 'b')\nTraceback (most recent call last):\nTypeError: unsupported operand type(s) for +: 'int' and 'str'\n"
    assert box.check(ADD, tests).outcomes == ("pass", "pass", "pass")
    report = box.check(ADD, tests.replace("\n3\n", "\n4\n"))
    assert report.outcomes == ("fail", "pass", "pass")
    assert report.error is not None
    assert (report.error.expected, report.error.got) == ("'4\\n'", "'3\\n'")


def test_a_forged_in_process_pass_is_tampered(box: Sandbox) -> None:
    solution = (
        "class Any:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def f(kind): return Any()\n"
    )
    report = box.check(solution, "class Local: pass\nassert f(Local) == 'Local'\n")
    assert (report.status, report.mode) == ("tampered", "in-process")


def test_an_in_process_pass_that_the_solution_could_make_up_is_not_accepted(box: Sandbox) -> None:
    guessed = "class Own(Base):\n    def name(self): return 'you'\nassert Own().greet('!').count('!') == 1\n"
    word = "class Own(Base):\n    def name(self): return 'you'\nok = Own().greet() == 'hi you'\nassert ok\n"
    for tests in (guessed, word):
        for solution in (GREETING, GREETING.replace("'hi '", "'ho '")):
            report = box.check(solution, tests)
            assert report.error is not None
            assert (report.status, report.error.type) == ("test_error", "Undecided")


def test_numbers_of_a_preloaded_numpy_are_compared_as_numbers() -> None:
    solution = "import numpy as np\ndef total(n): return np.arange(n).sum()\ndef yes(): return np.bool_(True)"
    with Sandbox(slots=1, preload=["numpy"], limits=Limits(memory_bytes=1 << 28)) as box:
        assert box.check(solution, "assert total(5) == 10\nassert yes() is True").passed


DECORATED = """
from unittest import TestCase, mock
class Words(TestCase):
    @mock.patch("solution.opened", lambda name: name.upper())
    def test_upper(self):
        expected = "A.TXT"
        self.assertEqual(f("a.txt"), expected)
        self.assertEqual(f("b"), "B")
"""
INHERITED = """
from unittest import TestCase
class Own(Base):
    def name(self): return "you"
class Greetings(TestCase):
    def test_own(self):
        expected = "hi you"
        self.assertEqual(Own().greet(), expected)
        self.assertEqual(Own().greet("!"), "hi you!")
"""


def test_methods_see_what_they_patch_replaced(box: Sandbox) -> None:
    honest = "def opened(name): return name\ndef f(name): return opened(name)\n"
    report = box.check(honest, DECORATED)
    assert (report.status, report.mode, report.outcomes) == ("pass", "split", ("pass",))
    assert box.check(honest.replace("return opened(name)", "return name"), DECORATED).status == "fail"


def test_in_process_methods_pass_and_a_forged_equality_of_theirs_decides_nothing(box: Sandbox) -> None:
    report = box.check(GREETING, INHERITED)
    assert (report.status, report.mode, report.outcomes) == ("pass", "in-process", ("pass", "pass"))
    forged = (
        GREETING.replace("'hi '", "'ho '")
        + "import unittest\nunittest.TestCase.assertEqual = lambda *_: None\n"
    )
    report = box.check(forged, INHERITED)
    assert (report.status, report.mode, report.outcomes) == ("fail", "in-process", ("fail", "fail"))


@pytest.mark.parametrize(
    ("solution", "tests"),
    [
        ("def f(x): print(x)\ndef g(x): return x", ">>> print(g(3))\n3\n"),
        (
            "def f(x):\n    if x: raise ValueError",
            "def check(candidate):\n    try:\n        candidate(1)\n        assert False\n    except ValueError:\n        return\n",
        ),
        (
            "import sys\ndef f(x): sys.exit(3)",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertRaises(SystemExit): f(1)",
        ),
        (
            "def f(x): return x",
            "import unittest\nclass T(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): cls.one = f(1)\n    def test(self): self.assertEqual(self.one, 1)",
        ),
        ("class Base:\n    def f(self): return 'so ' + self.g()", "class Own(Base):\n    def g(self): return 'it is'\nassert Own().f() == 'so it is'"),
        ("def f(x): return [x, x, x]", "assert f(1)[:2] == [1, 1]\nassert f(ValueError)[0] is ValueError"),
    ],
)  # fmt: skip
def test_what_tests_may_do(box: Sandbox, solution: str, tests: str) -> None:
    report = box.check(solution, tests, entry_point="f")
    assert report.passed, report


def test_a_wrong_value_kept_in_a_name_is_the_solutions_error(box: Sandbox) -> None:
    assert box.check("def f(x): return None", "r = f(1)\nassert r[0] == 1").status == "error"
    assert box.check("def f(x): return None", "assert len(3) == f(1)").status == "test_error"


def test_plain_tests_are_judged_without_a_process_of_their_own_and_others_with_one(box: Sandbox) -> None:
    tests = "assert f(1) == 1\nassert not f(0)\nassert [2] != f(x=2), 'two'\nassert f(3) in {3: 'three'}"
    solution = "def f(x): return x"
    suite = plain.read(tests)
    assert suite is not None
    assert [name for name, _, _ in suite.calls] == ["f"] * 4
    assert [operation for operation, *_ in suite.checks] == ["eq", "not", "ne", "in"]
    assert split.plan(tests).plain is not None
    assert box.check(solution, tests).outcomes == ("pass",) * 4
    for other in (
        "x = f(1)\nassert x == 1",
        "assert f(f(1)) == 1",
        "assert len(f('a')) == 1",
        "assert f(1) == 2 - 1",
    ):
        assert plain.read(other) is split.plan(other).plain is None
        assert box.check(solution, other).passed


@pytest.mark.parametrize(("end", "status"), [("return 'ho'", "fail"), ("os._exit(0)", "exited")])
def test_an_in_process_verdict_that_the_solution_writes_is_not_read(
    box: Sandbox, end: str, status: str
) -> None:
    claim = (
        "{'status': 'pass', 'total': 2, 'run': 2, 'error': None, 'outcomes': ['pass', 'pass'], 'labels': []}"
    )
    forged = (
        "import json, os\nclass Base:\n    def greet(self, end=''):\n        for fd in range(64):\n"
        f"            try: os.pwrite(fd, json.dumps({claim}).encode(), 0)\n            except OSError: pass\n        {end}\n"
    )
    report = box.check(forged, DERIVED)
    assert (report.status, report.mode) == (status, "in-process")


def test_a_text_that_cannot_be_written_out_again_is_the_tests_fault(box: Sandbox) -> None:
    tests = (
        DERIVED + "assert Own().greet('\x0c') == f'hi you{\"\x0c\"}'\n"
    )  # ast.unparse finds no quotes for a form feed
    report = box.check(GREETING, tests)
    assert report.status == ("pass" if sys.version_info >= (3, 12) else "test_error")
    if report.error is not None:
        assert "f-string" in report.error.message
    assert box.check("def f(kind): return 1", "assert f(1) == 1").passed


def test_a_check_without_entry_point_takes_the_one_function_that_is_the_solutions_own(box: Sandbox) -> None:
    solution = "from math import gcd\nfrom typing import List\ndef f(x: List[int]): return gcd(*x)"
    assert box.check(solution, "def check(candidate):\n    assert candidate([4, 6]) == 2").passed


def test_an_exception_that_a_with_or_try_waits_for_is_no_error(box: Sandbox) -> None:
    solution = "def f(x):\n    if x < 0: raise ValueError(10 ** 5000)\n    return x"
    tests = (
        "import contextlib\nassert f(1) == 1\nwith contextlib.suppress(ValueError):\n    assert f(-1) == 1\n"
        "try:\n    assert f(-1) == 1\nexcept ValueError:\n    pass\n"
    )
    assert box.check(solution, tests).status == "pass"
    assert box.check("def f(x): return x", tests).status == "fail"


@pytest.mark.parametrize("literal", ["1e20", "1e999", "''", "[]", "{1: [2]}", "-3", "None", "True"])
def test_every_literal_can_be_expected_of_a_call_with_a_class_of_the_tests(
    box: Sandbox, literal: str
) -> None:
    solution = f"def f(kind): return {literal}"
    assert box.check(solution, f"class Local: pass\nassert f(Local) == {literal}\nassert f(0) != 'x'").passed
    assert not box.check(solution, f"class Local: pass\nassert f(Local) == [{literal}]").passed
