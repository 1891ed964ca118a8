"""Hostile programs written with the source of this sandbox at hand, in the form of `hostile`.

They speak the protocol of the split processes, look for the judge's objects in frames and heaps, choose what proxies
may be asked, and call the kernel past the interpreter. None may pass.
"""

# fmt: off
# ruff: noqa: E501
from __future__ import annotations

import platform
from collections.abc import Iterator
from textwrap import indent

from .hostile import TESTS, Hostile

NOT_PASS = "fail|error|tampered"
_DEFAULT = {
    "proxies": NOT_PASS,
    "shadows": NOT_PASS + "|test_error",
    "frames": NOT_PASS,
    "forced": NOT_PASS,
}

# the socket found by fstat, and frames written by hand
RAW = """\
import json, os, stat, struct
def _sock():
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): return fd
        except OSError: pass
S = _sock()
def send(m):
    d = m if type(m) is bytes else json.dumps(m).encode()
    d = struct.pack('>I', len(d)) + d
    while d: d = d[os.write(S, d):]
def recv():
    b = b''
    while len(b) < 4: b += os.read(S, 4 - len(b)) or os._exit(0)
    n, b = struct.unpack('>I', b)[0], b''
    while len(b) < n: b += os.read(S, n - len(b))
    return json.loads(b)
F = ['f', ['h', 0, 'function', 'f', None]]
def reply(*ms, names=[]):
    send({'names': [F, *names]})
    while True:
        for _ in recv().get('calls', [0]):
            for m in ms: send(m)
"""
# beside the tests: find what asks, and end the run with it; as it is, by answers to all that could be asked
FORGE = """\
import os, sys
def asker():
    fr = sys._getframe(1)
    while fr:
        for v in list(fr.f_locals.values()):
            if hasattr(type(v), 'ask') and hasattr(type(v), 'statement_failed'): return v
        fr = fr.f_back
A = asker()
def forge():
    for n in range(9): A.report({'question': n, 'values': [True]})
    A.report({'end': True}); os._exit(0)
if A: forge()
def f(*a): return None
"""


def _forging(*messages: str) -> str:
    """Other messages in their place."""
    told = "".join(f"    A.report({message})\n" for message in messages)
    return FORGE.replace("    for n in range(9): A.report({'question': n, 'values': [True]})\n", told)


# state of the tests' own process: what fails is run again beside the solution
STATE = "import random\nrandom.seed(1)\n"
PAIR = STATE + "assert f(1) == 4711\nassert f(5) == 4715\n"
BASE = "class Big(Base): pass\nassert f(Big()) == 4711\nassert f(Big(), 1) == 4712\n"
_LOCAL_BASE = "class Base: pass\n"
UNIT = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
_BE = "['BaseException', ['h', 90, 'class', 'Exception', ['Exception', 'Exception']]]"


def _returns(body: str) -> str:
    """f returns an object of a class the tests do not name."""
    return f"class C:\n{indent(body.strip(), '    ')}\ndef f(x): return C()\n"


_PROXIES: dict[str, tuple[str, ...]] = {
    "difference_is_zero": (_returns("def __sub__(s, o): return 0.0"), "assert abs(f(1) - 2) < 1e-9\nassert abs(f(5) - 6.0) <= 1e-9 * max(1.0, abs(6.0))\n"),
    "reflected_difference_is_zero": (_returns("def __rsub__(s, o): return 0.0\ndef __sub__(s, o): return 0.0"), "assert abs(2 - f(1)) < 1e-9\n"),
    "difference_teaches": ("K = {}\nclass C:\n    def __init__(s, x): s.x = x\n    def __sub__(s, o): K[s.x] = o; return 0\ndef f(x): return K.get(x) or C(x)", "assert abs(f(1) - 2) < 1e-6\nassert f(1) == 2\n"),
    "almost_equal": (_returns("def __sub__(s, o): return 0.0"), UNIT + "        self.assertAlmostEqual(f(1), 2.0)\n        self.assertAlmostEqual(f(5), 6.0)\n"),
    "almost_equal_with_delta": (_returns("def __sub__(s, o): return 0.0"), UNIT + "        self.assertAlmostEqual(f(1), 2.0, delta=0.1)\n"),
    "rounded_difference": (_returns("def __sub__(s, o): return 0.0"), "assert round(f(1) - 2, 6) == 0\n"),
    "quotient_is_one": (_returns("def __truediv__(s, o): return 1.0"), "assert 0.99 < f(1) / 2 < 1.01\n", NOT_PASS + "|test_error"),
    "floor_division": (_returns("def __floordiv__(s, o): return 1"), "assert f(1) // 2 == 1\n"),
    "sum_is_told": (_returns("def __add__(s, o): return o"), "e = [2]\nassert f(1) + e == e\n", NOT_PASS + "|test_error"),
    "sum_from_the_right": (_returns("def __radd__(s, o): return o\ndef __add__(s, o): return o"), "assert [] + f(1) == []\nassert sum([f(1)], 7) == 7\n", NOT_PASS + "|test_error"),
    "intersection_is_the_other": (_returns("def __and__(s, o): return o"), "assert f(1) & {2, 3} == {2, 3}\n", NOT_PASS + "|test_error"),
    "union_is_the_other": (_returns("def __or__(s, o): return o"), "assert f(1) | {2, 3} == {2, 3}\n", NOT_PASS + "|test_error"),
    "symmetric_difference_is_empty": (_returns("def __xor__(s, o): return set()"), "assert not (f(1) ^ {2, 3})\n", NOT_PASS + "|test_error"),
    "set_minus_proxy_is_empty": (_returns("def __sub__(s, o): return set()\n__rsub__ = __sub__"), "assert {2, 3} - f(1) == set()\n", NOT_PASS + "|test_error"),
    "starts_with_anything": (_returns("def startswith(s, p): return True\ndef endswith(s, p): return True"), "assert f('a').startswith('Hello')\nassert f('b').endswith('!')\n"),
    "superset_of_anything": (_returns("def issuperset(s, p): return True"), "assert f(1).issuperset({1, 2})\n"),
    "subset_of_anything": (_returns("def issubset(s, p): return True"), "assert f(1).issubset({1, 2})\n"),
    "str_subclass_with_own_methods": ("class E(str):\n    def startswith(s, p): return True\ndef f(x): return E('zzz')", "assert f(1).startswith('Hello')\n"),
    "contains_by_a_class_named_as_the_function": ("C = type('f', (), {'__contains__': lambda s, o: True})\ndef f(x): return C()", "assert 3 in f(1)\nassert 7 in f(2)\n"),
    "contains_by_a_class_named_as_a_builtin": ("int = type('int', (), {'__contains__': lambda s, o: True})\ndef f(x): return int()", "assert int(3) in f(1)\n", NOT_PASS + "|test_error"),
    "falsehood_by_a_class_named_as_the_function": ("C = type('f', (), {'__bool__': lambda s: False})\ndef f(x): return C()", "assert not f(1)\nassert f(1) is not None\nassert f(2) == 3\n", NOT_PASS + "|test_error"),
    "chain_of_two_answers": ("class E(float):\n    n = 0\n    def __float__(s):\n        E.n += 1\n        return 1e9 if E.n % 2 else -1e9\ndef f(x): return E(0)", "assert 3.13 < f(1) < 3.15\nassert 2 <= f(5) <= 2.5\n"),
    "chain_of_two_ints": ("class E(int):\n    n = 0\n    def __int__(s):\n        E.n += 1\n        return 10**9 if E.n % 2 else -10**9\ndef f(x): return E(0)", "assert 3 <= f(1) <= 3\n"),
    "plain_list_that_changes": ("class E(list):\n    n = 0\n    def __iter__(s):\n        E.n += 1\n        return iter([E.n])\ndef f(x): return E()", "r = f(1)\nassert r == [1]\nassert r == [2] and r == [1]\n"),
    "context_manager_swallows": ("class timer:\n    value = 0\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\ndef f(x): return timer()", UNIT + "        with timer() as t:\n            self.assertEqual(t.value, 5)\n"),
    "context_manager_swallows_an_error": ("class timer:\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\ndef f(x): return timer()", UNIT + "        with f(1) as t:\n            self.assertEqual(t.missing, 5)\n"),
    "float_of_proxy_is_nan": (_returns("def __float__(s): return float('nan')"), "import math\nassert math.isclose(f(1), 2.0)\n", NOT_PASS + "|test_error"),
    "index_of_proxy": (_returns("def __index__(s): return 0"), "assert [5, 6][f(1)] == 6\n"),
    "same_proxy_for_all": ("class C: pass\nc = C()\ndef f(x): return c", "assert f(1) == f(1)\nassert f(1) == 2\n"),
    "endless_generator_in": ("from itertools import count\ndef f(x): return count()", "assert -1 in f(1)\n", "timeout"),
    "endless_generator_listed": ("from itertools import count\ndef f(x): return count()", "assert list(f(1)) == [2]\n", "timeout|memory"),
    "endless_getitem": (_returns("def __getitem__(s, i): return 0"), "assert list(f(1)) == [2]\n", "timeout|memory|error|tampered"),
    "length_lies": (_returns("def __len__(s): return 1\ndef __iter__(s): return iter([])"), "assert len(f(1)) == 1 and list(f(1)) == [2]\n", NOT_PASS + "|test_error"),
    "length_is_huge": (_returns("def __len__(s): return 2**62"), "assert len(f(1)) == 2\n", NOT_PASS + "|test_error"),
    "hash_of_the_expected": ("C = type('f', (), {'__hash__': lambda s: hash(2), '__eq__': lambda s, o: True})\ndef f(x): return C()", "assert f(1) in {2, 3}\nassert {2: 'a'}.get(f(1)) == 'a'\n"),
    "sorted_proxies": (_returns("def __lt__(s, o): return True"), "assert sorted([f(3), f(1)]) == [2, 4]\n"),
    "repr_of_the_expected_type": (_returns("def __repr__(s): return '2'\n__str__ = __repr__"), "assert f(1) == 2\n", "fail"),
    "dict_of_proxy": (_returns("def keys(s): return ['a']\ndef __getitem__(s, k): return 0"), "assert dict(f(1)) == {'a': 2}\n", NOT_PASS + "|test_error"),
    "class_getitem": ("class f:\n    def __class_getitem__(c, i): return c\n    def __init__(s, x): pass\n    def __eq__(s, o): return True", "assert f(1) == 2\nassert f[int](5) == 6\n"),
    "descriptor_named_plain": ("class E(int):\n    def __int__(s): return E(5)\ndef f(x): return E(0)", TESTS, NOT_PASS),
    "bool_int_subclass": ("class E(int):\n    def __bool__(s): return True\ndef f(x): return E(0)", "assert f(1)\nassert f(1) == 2\n"),
    "async_where_none_is_expected": ("async def f(x): return x + 1", "assert f(1) == 2\n"),
    "negated_and_inverted": (_returns("def __neg__(s): return -2\ndef __abs__(s): return 2\ndef __eq__(s, o): return True"), "assert f(1) == 2\nassert -f(1) == -3\n"),
}

_SHADOWS: dict[str, tuple[str, ...]] = {
    "pytest_approx_of_its_own": ("def approx(e, **k): return 42\ndef f(x): return 42", "import pytest\nassert f(1) == pytest.approx(2.0)\nassert f(5) == pytest.approx(6.0)\n"),
    "pytest_raises_of_its_own": ("class raises:\n    def __init__(s, *a): pass\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\ndef f(x): return 0", "import pytest\nwith pytest.raises(ZeroDivisionError.__name__):\n    f(-1)\nassert f(1) == 0\n"),
    "numpy_allclose_of_its_own": ("def allclose(*a, **k): return True\ndef array(x): return x\ndef f(x): return None", "import numpy as np\nassert np.allclose(f(1), 2.0)\nassert np.allclose(f(5), np.array([6]))\n"),
    "numpy_array_equal_by_from_import": ("def array_equal(*a): return True\ndef f(x): return None", "from numpy import array_equal\nassert array_equal(f(1), [2])\n"),
    "hypothesis_given_of_its_own": ("def given(*a): return lambda t: (lambda: None)\nclass strategies:\n    integers = staticmethod(lambda: 0)\ndef f(x): return 0", "from hypothesis import given, strategies as st\n@given(st.integers())\ndef test_f(n):\n    assert f(n) == n + 1\ntest_f()\nassert f(0) == 0\nassert f(1) == 2\n"),
    "star_import_of_all": ("def all(it): return True\ndef f(x): return 0", "from solution import *\nassert all(f(n) == n + 1 for n in range(5))\n"),
    "star_import_of_a_module": ("class M:\n    def isclose(s, *a, **k): return True\nmath = M()\ndef f(x): return 0", "import math\nfrom solution import *\nassert math.isclose(f(1), 2)\nassert math.isclose(f(5), 6)\n"),
    "star_import_of_range": ("def range(n): return []\ndef f(x): return 0", "from solution import *\nfor i in range(5):\n    assert f(i) == i + 1\nassert f(-1) == 0\n"),
    "star_import_of_sorted_and_len": ("def len(x): return 3\ndef f(x): return 0", "from solution import *\nassert len(f(1)) == 3\n"),
    "star_import_of_abs": ("def abs(x): return 0\ndef f(x): return 0", "from solution import *\nassert abs(f(1) - 2) < 1e-9\n"),
    "unimported_math": ("class M:\n    def isclose(s, *a, **k): return True\nmath = M()\ndef f(x): return 0", "assert f(1) == 2\n", "fail"),
}

_RAW_FRAMES: dict[str, tuple[str, ...]] = {
    "builtins_in_the_names": (RAW + f"send({{'names': [F, ['__builtins__', ['d', ['range', ['h', 1, 'function', 'range', None]], {_BE}]]]}})\nwhile True: send({{'ok': ['l'] if recv()['args'][1][1] else 1}})", "for i in range(3):\n    assert f(i) == i + 1\nassert f(9) == 1\n"),
    "builtins_all": (RAW + f"reply({{'ok': True}}, names=[['__builtins__', ['d', ['all', ['h', 1, 'function', 'all', None]], {_BE}]]])", "assert all(f(n) == n + 1 for n in [1, 2, 3])\nassert f(1)\n"),
    "builtins_isinstance_and_len": (RAW + f"reply({{'ok': 3}}, names=[['__builtins__', ['d', ['isinstance', ['h', 1, 'function', 'all', None]], ['len', ['h', 1, 'function', 'all', None]], ['str', ['type', 'str']], {_BE}]]])", "assert isinstance(f(1), str)\nassert len(f(1)) == 3\n"),
    "builtins_gone": (RAW + "reply({'ok': 0}, names=[['__builtins__', ['d']]])", TESTS),
    "builtins_is_a_proxy": (RAW + "reply({'ok': 0}, names=[['__builtins__', ['h', 1, 'object', 'x', None]]])", TESTS),
    "builtins_import": (FORGE + RAW + f"reply({{'ok': 1}}, names=[['__builtins__', ['d', ['__import__', ['h', 1, 'function', 'x', None]], {_BE}]]])", "import math\nassert f(9) == 10\nassert f(1) == 2\n"),
    "builtins_build_class": (FORGE + RAW + f"reply({{'ok': 1}}, names=[['__builtins__', ['d', ['__build_class__', ['h', 1, 'function', 'x', None]], {_BE}]]])", "class A(Exception): pass\nassert f(9) == 10\n"),
    "annotations_in_the_names": (FORGE + RAW + "reply({'ok': 1}, names=[['__annotations__', ['h', 1, 'object', 'x', None]]])", "class A: pass\nx: A = 3\nassert f(9) == 10\nassert f(1) == 2\n"),
    "recorder_in_the_names": (RAW + "reply({'ok': 0}, names=[['__sites__', ['h', 1, 'object', 'x', None]]])", TESTS),
    "stop_for_a_call": (RAW + "reply({'stop': True})", "assert all(map(lambda n: f(n) == n + 1, [1, 2, 3]))\n"),
    "stop_for_a_call_in_a_loop": (RAW + "reply({'stop': True})", "for got, want in zip(map(f, [1, 2]), [2, 3]):\n    assert got == want\nassert list(map(f, [1])) == []\n"),
    "stop_by_a_patched_host": ("import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Host': type(o)._answer = lambda s, m: {'stop': True}\ndef f(x): return 0", "assert all(map(lambda n: f(n) == n + 1, [1, 2, 3]))\n"),
    "stop_for_an_attribute": (RAW + "reply({'stop': True})", "assert all(map(lambda n: f.name == n, [1, 2]))\n"),
    "an_array_for_a_message": (RAW + "reply([1])", TESTS, "tampered"),
    "an_empty_frame": (RAW + "reply(b'')", TESTS, "tampered"),
    "an_object_for_a_value": (RAW + "reply({'ok': {'a': 1}})", TESTS, "tampered"),
    "neither_ok_nor_raise": (RAW + "reply({'hello': 1})", TESTS, "tampered"),
    "ok_and_raise": (RAW + "reply({'ok': 2, 'raise': ['ValueError'], 'text': '', 'args': ['t']})", TESTS, "fail"),
    "ok_and_stop": (RAW + "reply({'ok': 0, 'stop': True})", TESTS, "fail|tampered"),
    "names_is_a_number": (RAW + "send({'names': 5})\nreply()", TESTS, "tampered"),
    "names_are_missing": (RAW + "send({'hello': 1})\nreply()", TESTS, "tampered"),
    "module_that_is_no_name": (RAW + "reply({'ok': 0}, names=[['x', ['module', 5]], ['y', ['import', 5, 'y', 1]]])", TESTS, "fail|tampered"),
    "a_name_that_is_too_short": (RAW + "reply({'ok': 0}, names=[['x', ['import']]])", TESTS, "fail|tampered"),
    "import_of_a_module_that_exits": (RAW + "reply({'ok': 0}, names=[['x', ['import', 'unittest.__main__', 'x', 1]]])", TESTS, "fail|error|tampered|exited"),
    "import_of_a_module_that_acts": (RAW + "reply({'ok': 0}, names=[['x', ['import', 'antigravity', 'x', 1]], ['y', ['import', 'venv.__main__', 'y', 1]]])", TESTS, "fail|error|tampered|exited"),
    "names_by_the_hundred_thousand": (RAW + "send({'names': [F] + [['n%d' % i, ['h', i + 9, 'class', 'C%d' % i, ['C', 'Exception']]] for i in range(150000)]})\nreply({'ok': 0})", TESTS, "fail|error|memory|timeout|tampered"),
    "proxies_by_the_million": (RAW + "send({'names': [F]})\ni = 9\nwhile True:\n    recv(); send({'ok': ['l'] + [['h', i + k, 'object', 'C', None] for k in range(300000)]}); i += 300000", TESTS * 6, "fail|error|memory|timeout"),
    "lists_by_the_million": (RAW + "reply(b'{\"ok\":[\"l\"' + b',[\"l\"]' * 2700000 + b']}')", TESTS, "fail|error|memory|timeout"),
    "alias_of_nothing": (RAW + "reply({'ok': ['r', 99]})", TESTS, "tampered"),
    "alias_from_behind": (RAW + "reply({'ok': ['r', -1]})", "assert f([1]) == [2]\n", "fail|tampered"),
    "change_of_an_argument_not_given": (RAW + "reply({'ok': 0, 'changed': [[7, ['l', 1]]]})", "assert f([1]) == [2]\n", "tampered"),
    "change_of_a_type": (RAW + "reply({'ok': 0, 'changed': [[0, ['s', 1]]]})", "assert f([1]) == [2]\n", "tampered"),
    "change_that_is_no_list": (RAW + "reply({'ok': 0, 'changed': 5})", "assert f([1]) == [2]\n", "tampered"),
    "change_that_overflows": (RAW + "reply({'ok': 0, 'changed': [[0, ['l', ['timedelta', [1e300, 0, 0]]]]]})", "assert f([1]) == [2]\n", "tampered"),
    "change_that_makes_a_cycle": (RAW + "reply({'ok': ['r', 0], 'changed': [[0, ['l', ['r', 0]]]]})", "assert f([1]) == [[1]]\n", NOT_PASS),
    "raise_with_odd_parts": (RAW + "reply({'raise': 5, 'text': 1, 'args': 2})", TESTS, "tampered"),
    "raise_an_empty_group": (RAW + "reply({'raise': ['ExceptionGroup'], 'text': '', 'args': ['t', 'x', ['l']]})", TESTS, "error|tampered"),
    "raise_a_surrogate_name": (RAW + "reply({'raise': ['\\ud800'], 'text': '', 'args': ['t']})", TESTS, "error|tampered"),
    "raise_base_exception_group": (RAW + "reply({'raise': ['BaseExceptionGroup', 'KeyboardInterrupt', 'AssertionError', 'StopAsyncIteration'], 'text': '', 'args': ['t']})", TESTS, "error"),
    "callback_that_was_not_lent": (RAW + "reply({'callback': 3, 'args': ['t'], 'kwargs': ['d']})", TESTS, "tampered"),
    "callbacks_without_end": (RAW + "send({'names': [F]})\nrecv()\nwhile True:\n    send({'callback': 0, 'args': ['t', 1], 'kwargs': ['d']}); recv()", "assert f(lambda x: x) == 2\n", "timeout"),
    "callbacks_without_reading": (RAW + "send({'names': [F]})\nrecv()\nwhile True: send({'callback': 0, 'args': ['t', 1], 'kwargs': ['d']})", "assert f(lambda x: x) == 2\n", "timeout"),
    "callback_while_loading": (RAW + "send({'callback': 0, 'args': ['t'], 'kwargs': ['d']})\nreply({'ok': 0})", TESTS, "tampered"),
    "half_a_frame": (RAW + "send({'names': [F]})\nrecv(); os.write(S, b'\\0\\0\\1\\0{'); import time; time.sleep(9)", TESTS, "timeout"),
    "a_byte_at_a_time": (RAW + "send({'names': [F]})\nrecv()\nimport time\nos.write(S, b'\\0\\0\\1\\0{')\nwhile True: os.write(S, b' '); time.sleep(.02)", TESTS, "timeout"),
    "closes_the_channel_and_waits": (RAW + "import time\ndef f(x): os.close(S); time.sleep(9)", TESTS, "tampered|exited|crash"),
    "shuts_the_channel_down": (RAW + "import socket, time\ndef f(x):\n    socket.socket(fileno=S).shutdown(2); time.sleep(9)", TESTS, "tampered|exited|crash"),
    "replays_the_last_reply": (RAW + "import threading, time\ndef g():\n    for _ in range(50): send({'ok': 2}); time.sleep(.001)\nthreading.Thread(target=g, daemon=True).start()\ndef f(x): time.sleep(.02); return 2", TESTS, "fail|tampered|exited|error"),
    "nan_for_a_key": (RAW + "reply(b'{\"ok\":[\"d\",[NaN,1],[NaN,2]]}')", "assert f(1) == {2: 3}\n", "fail"),
    "a_huge_range": (RAW + "reply({'ok': ['range', ['0x0', '0x' + 'f' * 16, '0x1']]})", "assert sorted(f(1)) == [2]\n", "memory|timeout|error"),
    "a_huge_range_counted": (RAW + "reply({'ok': ['range', ['0x0', '0x' + 'f' * 16, '0x1']]})", "for i in f(1):\n    assert i >= 0\n", "timeout"),
    "a_huge_integer": (RAW + "reply({'ok': ['i', '0x' + 'f' * 16000000]})", "assert f(1) == 2\nassert str(f(1)) == '2'\nassert f(1) % 10 == 3\n", "fail"),
    "a_huge_integer_to_a_power": (RAW + "reply({'ok': ['i', '0x' + 'f' * 16000000]})", "assert f(1) ** 2 == 4\n", "timeout|memory|fail"),
    "a_huge_fraction": (RAW + "reply({'ok': ['fraction', ['0x' + 'e' * 8000000, '0x' + '7' * 7999999]]})", TESTS, "timeout|fail"),
    "a_huge_decimal": (RAW + "reply({'ok': ['decimal', '1e999999999999999999']})", "assert int(f(1)) == 2\n", "timeout|memory|error|fail|tampered"),
    "a_signalling_nan": (RAW + "reply({'ok': ['decimal', 'sNaN']})", TESTS, "fail|error"),
    "colliding_keys": (RAW + "reply({'ok': ['s'] + [i * (2**61 - 1) for i in range(1, 60000)]})", TESTS, "timeout|tampered"),
    "an_alias_bomb": ("def f(x):\n    v = [0]\n    for _ in range(60): v = [v, v]\n    return v", "assert f(1) == f(2)\nassert str(f(1)) == '2'\n", "timeout|memory|fail|error|tampered"),
    "a_deep_argument_grows": ("def f(x): return [x]", "x = 1\nfor _ in range(3000):\n    x = f(x)\nassert x == 2\n", "error|tampered|timeout"),
    "fractions_of_infinity": (RAW + "reply(b'{\"ok\":1e999}')", TESTS, "fail"),
}

_FORCED: dict[str, tuple[str, ...]] = {
    "answers_all_with_true": (FORGE, PAIR, "fail"),
    "answers_all_with_true_for_a_derived_class": (_LOCAL_BASE + FORGE, BASE, "fail"),
    "answers_all_with_true_under_a_patch": (FORGE, "from unittest import mock\ndef test_a():\n    with mock.patch('solution.f', lambda x: 3):\n        assert f(1) == 2\ndef test_b():\n    assert f(2) == 3\n", "fail|test_error"),
    "answers_when_it_is_called": (FORGE.replace("if A: forge()\n", "").replace("return None", "return A and forge()"), PAIR, "fail"),
    "answers_with_no_values": (_forging("{'question': 0, 'values': []}", "{'question': 1, 'values': []}"), PAIR, "error"),
    "answers_with_too_many_values": (_forging("{'question': n, 'values': [4711, 4711]}").replace("    A.report({'question': n", "    for n in (0, 1): A.report({'question': n"), PAIR, "error"),
    "answers_with_no_list": (_forging("{'question': 0, 'values': 5}"), PAIR, "tampered"),
    "answers_with_an_unknown_tag": (_forging("{'question': 0, 'values': [['evil', 1]]}"), PAIR, "tampered"),
    "answers_with_an_object": (_forging("{'question': 0, 'values': [{'a': 1}]}"), PAIR, "tampered"),
    "answers_with_a_stand_in": (_forging("{'question': 0, 'values': [['h', 1, 'object', 'C', 'int']]}", "{'question': 1, 'values': [['h', 1, 'object', 'C', None]]}"), PAIR, "error|tampered"),
    "answers_with_an_exception": (_forging("{'question': 0, 'values': [['e', {'raise': ['AssertionError'], 'text': '', 'args': ['t']}]]}"), PAIR, "fail"),
    "answers_by_raising": (_forging("{'question': 0, 'raise': ['AssertionError'], 'text': '', 'args': ['t']}"), PAIR, "error"),
    "answers_by_a_stop": (_forging("{'question': 0, 'stop': True}", "{'question': 1, 'stop': True}"), PAIR, "error"),
    "answers_a_question_twice": (_forging("{'question': 0, 'values': [1]}", "{'question': 0, 'values': [4711]}"), PAIR, "fail|tampered"),
    "answers_a_question_that_is_none": (_forging("{'question': -1, 'values': [1]}", "{'question': 99, 'values': [1]}", "{'question': True, 'values': [1]}"), PAIR, "error|tampered"),
    "answers_a_question_of_an_odd_number": (_forging("{'question': [], 'values': [1]}"), PAIR, "tampered"),
    "answers_an_example_that_is_none": (_forging("{'example': 0, 'shown': '4711'}", "{'example': 7, 'shown': '4715'}"), PAIR, "tampered"),
    "says_that_it_cannot": (_forging("{'question': 0, 'cannot': 'x', 'lies': 5}", "{'question': 1, 'cannot': {}}"), PAIR, "test_error|tampered"),
    "says_that_it_was_not_loaded": (_forging("{'load': True, 'raise': ['SystemExit'], 'text': '0', 'args': ['t', 0]}"), PAIR, "exited"),
    "says_verdicts": (_forging("{'status': 'pass', 'total': 2, 'run': 2, 'outcomes': ['pass', 'pass']}", "{'unsplittable': 'x'}", "{'halves': []}"), PAIR, "tampered"),
    "says_nothing_and_leaves": (FORGE.replace("    for n in range(9): A.report({'question': n, 'values': [True]})\n    A.report({'end': True}); ", "    "), PAIR, "exited"),
    "ends_at_once": (_forging(), PAIR, "tampered"),
    "writes_a_verdict_on_every_descriptor": ("import json, os\n" + FORGE.replace("    for n in range(9)", "    for fd in range(3, 64):\n        try: os.pwrite(fd, json.dumps({'status': 'pass', 'total': 2, 'run': 2, 'outcomes': ['pass'] * 2, 'error': None}).encode(), 0)\n        except OSError: pass\n    for n in range(9)"), PAIR, "fail"),
    "finds_the_answers_by_gc": ("import gc\nW = [o for o in gc.get_objects() if type(o).__name__ in ('Sites', '_Answers', 'Plan', 'Sealed')]\ndef f(*a): return W", PAIR, "fail"),
    "forces_by_an_exception_class": (FORGE + "def enc(x): return ValueError\ndef dec(x): return 0", STATE + "assert dec(enc(5)) == 5\nassert dec(enc('abc')) == 'abc'\n"),
    "forces_by_a_coroutine": (FORGE + "async def enc(x): return 1\ndef dec(x): return 0", STATE + "assert dec(enc(5)) == 5\nassert dec(enc('abc')) == 'abc'\n"),
    "forces_by_a_long_iterator": (FORGE + "def enc(x): return 'a' * 20000\ndef dec(x): return 0", "assert dec(c for c in enc('abc')) == 'abc'\n"),
    "forces_by_a_slice": (FORGE + "class C: pass\ndef f(*a): return C()", "assert f(1)[:2] == [1, 2]\nassert f(5) == 6\n"),
    "forces_by_an_uncrossable_operand": (FORGE + "class C: pass\ndef f(*a): return C()", "import re\nassert f(1).match(re.compile('a')) == 3\nassert f(1) == 2\n"),
    "forces_by_an_attribute": (FORGE + "class C: pass\ndef f(*a): return C()", "class Local: pass\nr = f(1)\nassert r == 2\nr.x = Local()\n"),
    "forces_by_a_deep_copy": (FORGE + "class C: pass\ndef f(*a): return C()", "import copy\nassert copy.deepcopy(f(1)) == [2]\nassert copy.copy(f(1)) == [2]\n"),
}

_SIGIO = """\
import fcntl, os, socket, time
def hit(pid, sig):
    a, b = socket.socketpair()
    fcntl.fcntl(a, fcntl.F_SETOWN, pid); fcntl.fcntl(a, 10, sig)
    fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)
    b.send(b'x'); time.sleep(.2)
"""
_SIGNALS = {
    "kills_the_judge_by_sigio": ("hit(os.getpid() + 1, 9)", "error"),
    "stops_the_judge_by_sigio": ("hit(os.getpid() + 1, 19)", "error"),
    "interrupts_the_judge_by_sigio": ("hit(os.getpid() + 1, 2)", "error"),
    "kills_the_zygote_by_sigio": ("hit(os.getppid(), 9)", "error"),
    "stops_the_zygote_by_sigio": ("hit(os.getppid(), 19)", "error"),
    "interrupts_the_zygote_by_sigio": ("hit(os.getppid(), 2)", "error"),
    "hangs_up_the_zygote_by_sigio": ("hit(os.getppid(), 1)", "error"),
    "kills_the_launcher_by_sigio": ("hit(os.getppid() - 1, 9)", "error"),
    "sigio_to_the_supervisor": ("hit(@PID@, 23)", "error"),
}

_X86 = {  # number and arguments; each must be refused with EPERM by the filter
    "tkill": "200, os.getppid(), 0", "rt_sigqueueinfo": "129, os.getppid(), 1, bytes(128)", "rt_tgsigqueueinfo": "297, 1, 1, 1, bytes(128)",
    "pidfd_send_signal": "424, 0, 0, 0, 0", "pidfd_getfd": "438, 0, 0, 0", "process_madvise": "440, 0, 0, 0, 0, 0", "process_mrelease": "448, 0, 0",
    "process_vm_writev": "311, os.getppid(), 0, 0, 0, 0, 0", "kcmp": "312, 1, 1, 0, 0, 0", "semget": "64, 0, 1, 0o1600", "msgget": "68, 0, 0o1600",
    "shmat": "30, 0, 0, 0", "add_key": "248, b'user', b'x', b'y', 1, -3", "request_key": "249, b'user', b'x', 0, 0", "inotify_init1": "294, 0",
    "fanotify_init": "300, 0, 0", "open_by_handle_at": "304, 3, 0, 0", "name_to_handle_at": "303, -100, b'/', 0, 0, 0", "memfd_secret": "447, 0",
    "execveat": "322, 3, b'', 0, 0, 0x1000", "vmsplice": "278, 1, 0, 0, 0", "splice": "275, 0, 0, 1, 0, 1, 0", "tee": "276, 0, 1, 1, 0", "sendfile": "40, 1, 0, 0, 1",
    "copy_file_range": "326, 0, 0, 1, 0, 1, 0", "timer_create": "222, 0, 0, 0", "timerfd_create": "283, 0, 0", "signalfd4": "289, -1, 0, 8, 0",
    "accept4": "288, 3, 0, 0, 0", "bind": "49, 3, 0, 0", "listen": "50, 3, 1", "sendmmsg": "307, 3, 0, 0, 0", "setsockopt": "54, 3, 1, 16, bytes(4), 4",
    "io_setup": "206, 1, bytes(8)", "seccomp_listener": "317, 1, 8, 0", "prctl_dumpable": "157, 4, 1, 0, 0, 0", "personality": "135, 0x0040000", "arch_prctl": "158, 0x1003, bytes(8)",
    "modify_ldt": "154, 0, 0, 0", "iopl": "172, 3", "setns": "308, 3, 0", "pivot_root": "155, b'.', b'.'", "umount2": "166, b'/', 2", "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0", "move_mount": "429, 0, 0, 0, 0, 0", "landlock_add": "444, 0, 0, 1", "setpriority": "141, 0, 0, 19", "sched_setaffinity": "203, 0, 8, bytes(8)",
    "sched_setscheduler": "144, 0, 0, bytes(8)", "ioprio_set": "251, 1, 0, 0", "mlock": "149, 0, 4096", "mlockall": "151, 1", "msync": "26, 0, 0, 0", "remap_file_pages": "216, 0, 0, 0, 0, 0",
    "set_mempolicy": "238, 0, 0, 0", "migrate_pages": "256, 0, 0, 0, 0", "setrlimit": "160, 0, bytes(16)", "syslog": "103, 3, 0, 0", "reboot": "169, 0, 0, 0, 0",
    "kexec_load": "246, 0, 0, 0, 0", "init_module": "175, 0, 0, b''", "clock_settime": "227, 0, bytes(16)", "adjtimex": "159, bytes(208)", "setitimer_of_a_posix_clock": "223, 0, 0, 0, 0",
    "ftruncate": "77, 1, 1 << 40", "fallocate": "285, 1, 0, 0, 1 << 20", "fsync": "74, 1", "flock": "73, 1, 2", "mincore": "27, 0, 0, 0", "openat2": "437, -100, b'/', bytes(24), 24",
    "clone_sharing_memory": "56, 0x100 | 17, 0, 0, 0, 0", "clone_as_a_sibling": "56, 0x8000 | 17, 0, 0, 0, 0", "ioctl_tiocsti": "16, 0, 0x5412, b'x'", "ioctl_fioasync": "16, 3, 0x5452, b'\\1\\0\\0\\0'", "ioctl_fiosetown": "16, 3, 0x8901, bytes(4)",
    "ioctl_with_high_bits": "16, 3, 0xffffffff00005412, b'x'", "socketpair_of_packets": "53, 1, 5, 0, bytes(8)", "prlimit_of_the_parent": "302, os.getppid(), 0, 0, bytes(16)",
    "kill_with_high_bits": "62, -1 & 0xffffffffffffffff, 0", "getpgid": "121, 1", "getsid": "124, 1", "sched_getparam": "143, 1, bytes(8)", "getpriority": "140, 0, 1", "capget": "125, 0, 0",
    "fcntl_setown": "72, 1, 8, os.getppid()", "fcntl_setsig": "72, 1, 10, 9", "fcntl_setown_ex": "72, 1, 15, b'\\1\\0\\0\\0\\1\\0\\0\\0'", "fcntl_lease": "72, 1, 1024, 0", "fcntl_notify": "72, 1, 1026, 1",
}
_CALL = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    a = [ctypes.c_long(v if v < 1 << 63 else v - (1 << 64)) if isinstance(v, int) else v for v in a]
    if libc.syscall(*a) < 0 and ctypes.get_errno() == 1: raise PermissionError
call(%s)
"""
_CODE = """\
import ctypes, mmap
m = mmap.mmap(-1, 4096, prot=7)
m.write(bytes.fromhex(%r))
p = ctypes.addressof(ctypes.c_char.from_buffer(m))
ctypes.CFUNCTYPE(ctypes.c_int)(p)()
"""
_MACHINE = {
    "int80_getpid": (_CODE % "b814000000cd80c3", "crash"),
    "int80_fork": (_CODE % "b802000000cd80c3", "crash"),
    "x32_fork_by_machine_code": (_CODE % "b8390000400f05c3", "crash"),
    "x32_execve_by_machine_code": (_CODE % "b8080200400f05c3", "crash"),
    "sysenter": (_CODE % "b8140000000f34c3", "crash"),
    "illegal_instruction": (_CODE % "0f0b", "crash"),
    "far_jump_to_32_bit_code": (_CODE % "682300000068000000004 8cb".replace(" ", ""), "crash"),
}

_MORE_RESOURCES = {
    "shared_mappings": ("import mmap\nK = []\ndef f(x):\n    while True:\n        m = mmap.mmap(-1, 1 << 24)\n        for i in range(0, 1 << 24, 4096): m[i] = 1\n        K.append(m)", "error|memory"),
    "mappings_of_dev_zero": ("import mmap, os\nK = []\ndef f(x):\n    fd = os.open('/dev/zero', os.O_RDWR)\n    while True:\n        m = mmap.mmap(fd, 1 << 24)\n        for i in range(0, 1 << 24, 4096): m[i] = 1\n        K.append(m)", "error|memory"),
    "memory_in_threads": ("import threading\nK = []\ndef g():\n    while True: K.append(bytearray(1 << 20))\nfor _ in range(8): threading.Thread(target=g, daemon=True).start()\ndef f(x):\n    import time; time.sleep(9)", "timeout|memory|error|crash|exited"),
    "memory_caught_for_ever": ("K = []\ndef f(x):\n    while True:\n        try:\n            while True: K.append(bytearray(1 << 16))\n        except MemoryError: pass", "timeout"),
    "memory_kept_full_then_wrong": ("K = []\ndef f(x):\n    for n in (1 << 20, 1 << 14, 1 << 8, 1):\n        try:\n            while True: K.append(bytearray(n))\n        except MemoryError: pass\n    return 0", "memory|fail|error|exited|crash|timeout"),
    "memory_at_import": ("x = [0] * (1 << 40)\ndef f(x): return x + 1", "memory"),
    "bigger_pipes": ("import fcntl, os\nK = []\ndef f(x):\n    while True:\n        p = os.pipe(); K.append(p)\n        fcntl.fcntl(p[1], 1031, 1 << 20); os.set_blocking(p[1], False)\n        os.write(p[1], bytes(1 << 20))", "error"),
    "descriptors_in_flight": ("import os, socket, array\ndef f(x):\n    K = []\n    while True:\n        a, b = socket.socketpair(); K.append((a, b)); a.setblocking(False)\n        for _ in range(99): a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [b.fileno()] * 200))])", "error"),
    "descriptors_sent_to_the_judge": (RAW + "import socket, array\ndef f(x):\n    socket.socket(fileno=os.dup(S)).sendmsg([b''.join([struct.pack('>I', 8), b'{\"ok\":0}'])], [(1, 1, array.array('i', [0] * 200))]); return 0", "fail|tampered|error"),
    "alarm_kills_itself": ("import signal\nsignal.alarm(1)\ndef f(x):\n    while True: pass", "crash|timeout|error"),
    "interval_timer_storm": ("import signal\nsignal.signal(14, lambda *a: None)\nsignal.setitimer(0, 1e-5, 1e-5)\ndef f(x): return 0", "fail|timeout"),
    "own_file_size_signal": ("import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\ndef f(x):\n    while True: os.write(1, bytes(9999))", "output_limit|crash"),
    "stdout_rewound": ("import os\ndef f(x):\n    os.write(1, b'x' * 60000); os.lseek(1, 0, 0); return 0", "fail"),
    "sleeping_at_exit": ("import atexit, time\natexit.register(time.sleep, 60)\ndef f(x): return 0", "fail"),
    "thread_that_blocks_exit": ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ndef f(x): raise SystemExit", "exited"),
    "exits_from_a_thread_after_the_answer": ("import os, threading\ndef f(x):\n    threading.Timer(.0005, os._exit, [0]).start(); return 0", "fail|exited"),
    "stops_itself": ("import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "threads_stop_itself_in_a_loop": ("import os, signal, threading\ndef f(x):\n    while True: os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "gil_held_in_c": ("def f(x): return sum(range(10**12))", "timeout"),
    "gil_held_by_a_long_sort": ("def f(x): return len(str(7 ** (3 * 10**6)).__class__(10 ** 4000)) and 3 ** (10 ** 9)", "timeout|error"),
    "stack_of_c_calls": ("def f(x):\n    import json\n    v = []\n    for _ in range(10**6): v = [v]\n    return v", "error|crash"),
    "stack_overflow_in_a_thread": ("import sys, threading\nsys.setrecursionlimit(10**9)\ndef g(): g()\ndef f(x):\n    t = threading.Thread(target=g); t.start(); t.join(); return 0", "fail|crash|memory|error|timeout"),
    "division_by_a_signal": ("import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGFPE)", "crash"),
    "memory_error_raised": ("def f(x): raise MemoryError", "memory"),
    "import_lock_held": ("import _imp\n_imp.acquire_lock()\ndef f(x): return 0", "fail"),
    "frozen_gc_and_full_del": ("import gc\nclass D:\n    def __del__(s):\n        while True: pass\ndef f(x):\n    D(); return 2", "timeout"),
    "faulthandler_exit": ("import faulthandler\nfaulthandler.dump_traceback_later(.1, exit=True)\ndef f(x):\n    while True: pass", "exited"),
}

_STATUS = {
    "wrong_type_kept_in_a_name": ("def f(x): return None", "r = f(1)\nassert r[0] == 2\n", NOT_PASS),
    "wrong_type_measured_in_a_check": ("def f(x): return 3", "def check(candidate):\n    r = candidate(1)\n    assert len(r) == 2\n    assert r[0] == 3\n", NOT_PASS),
    "wrong_type_unpacked": ("def f(x): return 3", "r = f(1)\na, b = r\nassert a == 1\n", NOT_PASS),
    "wrong_type_iterated": ("def f(x): return None", "r = f(1)\nassert sorted(r) == [2]\n", NOT_PASS),
}


# for Sandbox.call: written straight to the output descriptor (the last regular file that is empty), or honest
_OUT = """\
import json, os, stat
def out(*recs):
    for fd in range(3, 64):
        try: s = os.fstat(fd)
        except OSError: continue
        if stat.S_ISREG(s.st_mode) and not s.st_size:
            os.write(fd, b''.join((r if type(r) is bytes else json.dumps(r).encode()) + b'\\n' for r in recs)); os._exit(0)
"""
CALLS = {  # for `call(solution, "f", [(0,), (1,), (2,)])`
    "error_that_is_a_dict": _OUT + "out(*[{'status': 'error', 'error': {'a': 1}}] * 3)",
    "arguments_that_are_a_number": _OUT + "out(*[{'status': 'ok', 'value': 1, 'args': 5}] * 3)",
    "a_load_that_is_ok": _OUT + "out({'load': {'status': 'ok', 'value': 3}})",
    "sixteen_million_newlines": _OUT + "out(b'\\n' * (1 << 24))",
    "nested_lists": _OUT + "out(b'{\"status\":\"ok\",\"value\":[\"l\"' + b',[\"l\"]' * 2700000 + b']}')",
    "three_colliding_sets": _OUT + "z = '[\"s\",' + ','.join(str(i * (2**61 - 1)) for i in range(1, 16300)) + ']'\nout(('{\"status\":\"ok\",\"value\":[\"l\",' + ','.join([z] * 3) + ']}').encode())",
    "an_alias_bomb": "def f(x):\n    v = [x]\n    for _ in range(45): v = [v, v]\n    return v",
    "a_cycle": "def f(x):\n    v = [x]; v.append(v)\n    return v",
}


def _deed(code: str) -> str:
    return f"def f(x):\n{indent(code.strip(), '    ')}\n    return 'BREACH'\n"


_BY_KIND: dict[str, dict[str, tuple[str, ...]]] = {
    "proxies": _PROXIES, "shadows": _SHADOWS, "frames": _RAW_FRAMES, "forced": _FORCED,
}


def programs() -> Iterator[Hostile]:
    for kind, entries in _BY_KIND.items():
        for name, (solution, tests, *status) in entries.items():
            yield Hostile(name, kind, solution, status[0] if status else _DEFAULT[kind], tests)
    for name, (code, ends_as) in _SIGNALS.items():
        yield Hostile(name, "signals", _SIGIO + _deed(code), ends_as)
    for name, (solution, ends_as) in _MORE_RESOURCES.items():
        yield Hostile(name, "resources", solution, ends_as)
    for name, (solution, tests, ends_as) in _STATUS.items():
        yield Hostile(name, "status", solution, ends_as, tests)
    if platform.machine() == "x86_64":
        for name, arguments in _X86.items():
            yield Hostile("syscall_" + name, "syscalls", _deed(_CALL % arguments), "error")
        for name, (code, ends_as) in _MACHINE.items():
            yield Hostile(name, "syscalls", _deed(code), ends_as)
