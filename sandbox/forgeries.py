"""Forged passes: kinds of wrong programs, each crossed with the forms that tests come in, and a right program beside each.

A kind is a way to get `pass` without computing what is wanted: objects that lie, answers that learn, crafted exceptions,
names of others, messages by hand, and, where the tests run beside the solution, their frames and their asker. Its *control*
is the same construct in a program that is right, or, where the construct itself is foul, the right program alone: so that a
refusal of the one is not a refusal of all. Run by `selfcheck` and by the tests.
"""

# fmt: off
# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

from .adaptive import RAW
from .hostile import Hostile

if TYPE_CHECKING:
    from .box import Sandbox


@dataclass(frozen=True, slots=True)
class Forgery(Hostile):
    """A wrong program, and the right one that has to pass the same tests."""

    control: str = ""
    entry_point: str | None = "f"


# --- what is to be computed: the right value, and one that is wrong ---------------------------------------------------

TASKS = {
    "number": ("x * 8.25 + 9025", "-1.5"),  # 9041.5 for 2, 9082.75 for 7
    "list": ("[x * 10007, x + 700001]", "[5, 6]"),  # [20014, 700003], [70049, 700008]
    "dict": ("{'a': x * 10007, 'b': x + 700001}", "{'a': 5, 'b': 6}"),
    "set": ("{x * 10007, x + 700001}", "{5, 6}"),
    "text": ("'item-%d' % (x * 10007)", "'other'"),  # item-20014, item-70049
}
_RIGHT = """\
def right(x):
    if callable(x):
        if hasattr(x, 'note'): x.note(6)
        x = x(6)
    x = getattr(x, 'n', x)
    if x < 0: raise ValueError('negative: %d' % x)
    return @RIGHT@
"""

# --- forms of tests --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """A test text for one of TASKS, and what every program has to define for it beside `f`."""

    task: str
    tests: str
    entry_point: str | None = "f"
    given: str = ""


def _unit(body: str, imports: str = "") -> str:
    return f"import unittest{imports}\nclass TestF(unittest.TestCase):\n{indent(body.strip(), '    ')}\n"


_STATE = "import random\nrandom.seed(1)\n"
"""Of the tests' own process: what fails is run again beside the solution."""
_SOLUTION = "class Solution:\n    def f(self, x): return f(x)\n"
_BOX = "class Box:\n    def __init__(self, n): self.n = n\n"
_RAISES = "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass\n"

FORMS = {
    "equal": Form("number", "assert f(2) == 9041.5\nassert f(7) == 9082.75\n"),
    "equal_without_an_entry_point": Form("number", "assert f(2) == 9041.5\nassert f(7) == 9082.75\n", None),
    "named_results": Form("number", "got = f(2)\nassert got == 9041.5\nassert 9082.75 == f(7)\n"),
    "candidate": Form("number", "def check(candidate):\n    assert candidate(2) == 9041.5\n    assert candidate(7) == 9082.75\n"),
    "method_without_an_entry_point": Form("number", "s = Solution()\nassert s.f(2) == 9041.5\nassert abs(Solution().f(7) - 9082.75) < 1e-9\n", None, _SOLUTION),
    "method": Form("number", "s = Solution()\nassert s.f(2) == 9041.5\nassert Solution().f(7) == 9082.75\n", "Solution().f", _SOLUTION),
    "helper_class": Form("number", "b = Box(2)\nassert f(b) == 9041.5\nassert isinstance(b, Box)\nassert abs(f(Box(7)) - 9082.75) < 1e-9\nassert f(Box(7)) > 9082\n", "f", _BOX),
    "tolerance": Form("number", "assert abs(f(2) - 9041.5) <= 1e-9 * max(1, abs(9041.5))\nassert abs(9082.75 - f(7)) < 1e-6\n"),
    "tolerance_without_an_entry_point": Form("number", "assert abs(f(2) - 9041.5) <= 1e-9 * max(1, abs(9041.5))\nassert abs(9082.75 - f(7)) < 1e-6\n", None),
    "in_place": Form("number", "d = f(2)\nd -= 9041.5\nassert abs(d) < 1e-9\nd = f(7)\nd += 1\nassert round(d, 6) == 9083.75\n"),
    "divided": Form("number", "assert divmod(f(2), 9041) == (1, 0.5)\nassert divmod(f(7), 9082)[1] == 0.75\n"),
    "isclose": Form("number", "import math\nassert math.isclose(f(2), 9041.5)\nassert math.isclose(f(7), 9082.75, rel_tol=1e-9)\n"),
    "rounded": Form("number", "assert round(f(2), 1) == 9041.5\nassert round(f(7) - 9082.75, 6) == 0\n"),
    "ordered": Form("number", "assert 9041 < f(2) < 9042\nassert f(7) >= 9082.75 and f(7) <= 9082.75\n"),
    "mapped": Form("number", "xs = [2, 7]\nassert all(map(lambda x: f(x) == 9025 + x * 8.25, xs))\nassert [f(x) for x in xs] == [9041.5, 9082.75]\n"),
    "looped": Form("number", "for x, want in [(2, 9041.5), (7, 9082.75)]:\n    assert f(x) == want, f'{x} gives {want}'\n"),
    "shown": Form("number", "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    print(f(2))\nassert out.getvalue() == '9041.5\\n'\nassert f'{f(7)}' == '9082.75'\nassert str(f(7)) == '9082.75'\n"),
    "list_equal": Form("list", "assert f(2) == [20014, 700003]\nassert f(7) == [70049, 700008]\n"),
    "indexed": Form("list", "assert f(2)[0] == 20014\nassert f(7)[-1] == 700008\nassert f(7)[:1] == [70049]\n"),
    "contained": Form("list", "assert 20014 in f(2)\nassert len(f(2)) == 2\nassert 9 not in f(7)\nassert sorted(f(7)) == [70049, 700008]\n"),
    "contained_in_an_answer": Form("list", "assert f(2) in ([20014, 700003], [1])\nassert tuple(f(7)) in {(70049, 700008), (1,)}\n"),
    "set_algebra": Form("set", "assert f(2) == {20014, 700003}\nassert {70049, 700008} <= f(7)\nassert f(7).issubset({70049, 700008})\nassert f(7).intersection({70049}) == {70049}\nassert not f(2) ^ {20014, 700003}\n"),
    "set_methods": Form("set", "assert f(2).difference({20014, 700003}) == set()\nassert f(7).intersection({70049, 700008}) == {70049, 700008}\n"),
    "dict_equal": Form("dict", "assert f(2) == {'a': 20014, 'b': 700003}\nassert f(7)['a'] == 70049\nassert f(7).get('b') == 700008\nassert sorted(f(7).items()) == [('a', 70049), ('b', 700008)]\n"),
    "dict_subset": Form("dict", "assert {'a': 20014}.items() <= f(2).items()\nassert set(f(2)) == {'a', 'b'}\nassert all(f(7)[k] == v for k, v in {'a': 70049, 'b': 700008}.items())\n"),
    "text": Form("text", "assert f(2) == 'item-20014'\nassert f(7).startswith('item-7')\nassert f(7).endswith('049') and '70049' in f(7)\n"),
    "expected_exception": Form("number", _RAISES + "assert f(2) == 9041.5\n"),
    "expected_type_error": Form("number", "import pytest\nwith pytest.raises(TypeError):\n    f('a')\nassert f(2) == 9041.5\n"),
    "what_cannot_cross": Form("number", "import pytest\nwith pytest.raises(TypeError):\n    f(object())\nassert f(2) == 9041.5\n"),
    "unittest_raises": Form("number", _unit("def test_a(self):\n    with self.assertRaises(ValueError) as caught:\n        f(-1)\n    self.assertIn('negative: -1', str(caught.exception))\ndef test_b(self):\n    self.assertRaises(ValueError, f, -3)\n    self.assertEqual(f(2), 9041.5)")),
    "pytest_raises": Form("number", "import pytest\ndef test_a():\n    with pytest.raises(ValueError, match='negative: -1'):\n        f(-1)\ndef test_b():\n    assert f(2) == 9041.5\n"),
    "unittest_equal": Form("number", _unit("def setUp(self):\n    self.want = 9041.5\ndef test_a(self):\n    self.assertEqual(f(2), self.want)\ndef test_b(self):\n    self.assertTrue(f(7) == 9082.75)\n    self.assertFalse(f(7) == 1)")),
    "unittest_almost_equal": Form("number", _unit("def test_a(self):\n    self.assertAlmostEqual(f(2), 9041.5)\ndef test_b(self):\n    self.assertAlmostEqual(f(7), 9082.75, delta=0.01)\n    self.assertGreater(f(7), 9082)")),
    "unittest_lists": Form("list", _unit("def test_a(self):\n    self.assertListEqual(f(2), [20014, 700003])\ndef test_b(self):\n    self.assertCountEqual(f(7), [700008, 70049])\ndef test_c(self):\n    self.assertIn(70049, f(7))\n    self.assertSequenceEqual(f(7), [70049, 700008])")),
    "unittest_sets": Form("set", _unit("def test_a(self):\n    self.assertSetEqual(f(2), {20014, 700003})\ndef test_b(self):\n    self.assertEqual(f(7), {70049, 700008})")),
    "unittest_subtests": Form("number", _unit("def test_a(self):\n    for x, want in [(2, 9041.5), (7, 9082.75)]:\n        with self.subTest(x=x, want=want):\n            self.assertEqual(f(x), want)")),
    "pytest_functions": Form("number", "import pytest\n@pytest.fixture\ndef x():\n    return 2\ndef test_a(x):\n    assert f(x) == pytest.approx(9041.5)\nclass TestB:\n    def test_b(self):\n        assert f(7) == 9082.75\n"),
    "pytest_parametrized": Form("number", "import pytest\n@pytest.mark.parametrize('x, want', [(2, 9041.5), (7, 9082.75)])\ndef test_a(x, want):\n    assert f(x) == want\n"),
    "doctest": Form("number", ">>> f(2)\n9041.5\n>>> f(7)\n9082.75\n"),
    "doctest_comparing": Form("number", ">>> f(2) == 9041.5\nTrue\n>>> abs(f(7) - 9082.75) < 0.001\nTrue\n"),
    "callback": Form("number", "def doubled(n):\n    assert n == 6\n    return n // 3\ndef test_a():\n    assert f(doubled) == 9041.5\n"),
    "unittest_callback": Form("number", _unit("def test_a(self):\n    def third(n):\n        self.assertEqual(n, 6)\n        return 2\n    self.assertEqual(f(third), 9041.5)")),
    "mock": Form("number", _unit("def test_a(self):\n    m = mock.Mock(return_value=2)\n    self.assertEqual(f(m), 9041.5)\n    m.assert_called_once_with(6)\ndef test_b(self):\n    m = mock.Mock(return_value=2)\n    f(m)\n    m.note.assert_called_once_with(6)", "\nfrom unittest import mock")),
    "context_manager": Form("number", "def test_a():\n    with Box(2) as b:\n        assert f(b.n) == 9041.5\n    assert f(7) == 9082.75\n", "f", _BOX + "    def __enter__(self): return self\n    def __exit__(self, *_): return True\n"),
    "beside": Form("number", _STATE + "assert f(2) == 9041.5\nassert abs(f(7) - 9082.75) < 1e-9\n"),
    "beside_containers": Form("list", _STATE + "assert f(2) == [20014, 700003]\nassert 70049 in f(7) and len(f(7)) == 2\nassert f(7)[0] == 70049\n"),
    "beside_unittest": Form("number", _STATE + _unit("def test_a(self):\n    \"\"\"f of 2 is 9041.5.\"\"\"\n    self.assertEqual(f(2), 9041.5)\ndef test_b(self):\n    self.assertAlmostEqual(f(7), 9082.75)")),
    "beside_a_docstring": Form("number", _STATE + "def test_a():\n    \"\"\"f of 2 is 9041.5\"\"\"\n    assert f(2) == 9041.5\n"),
    "beside_raises": Form("number", _STATE + "import pytest\ndef test_a():\n    with pytest.raises(ValueError, match='negative'):\n        f(-1)\ndef test_b():\n    assert f(2) == 9041.5\n"),
    "beside_only_raises": Form("number", _STATE + _unit("def test_a(self):\n    with self.assertRaises(ValueError):\n        f(-1)\ndef test_b(self):\n    self.assertEqual(f(2), 9041.5)")),
    "beside_a_test_without_asserts": Form("number", _STATE + _unit("def test_a(self):\n    f(7)\ndef test_b(self):\n    self.assertEqual(f(2), 9041.5)")),
    "beside_raised_by_hand": Form("number", _STATE + "if f(2) != 9041.5:\n    raise AssertionError('not so')\nassert f(7) == 9082.75\n"),
    "beside_what_is_printed": Form("number", _STATE + "want = 9041.5\nprint(want)\nassert f(2) == want\n"),
    "beside_bound_together": Form("number", _STATE + "got, want = f(2), 9041.5\nassert got == want\n"),
    "beside_a_derived_class": Form("number", "class Big(Box):\n    pass\nassert f(Big(2)) == 9041.5\nassert f(Big(7)) == 9082.75\n", "f", _BOX),
    "beside_a_patch": Form("number", "from unittest import mock\nimport random\nwith mock.patch('random.random', return_value=0.5):\n    assert f(2) == 9041.5\nassert f(7) == 9082.75\n"),
    "beside_a_mock": Form("number", _STATE + "from unittest import mock\ndef test_a():\n    m = mock.Mock(return_value=2)\n    assert f(m) == 9041.5\n    m.note.assert_called_once_with(6)\n    assert m.call_args_list == [mock.call(6)]\n"),
}  # fmt: skip


# --- kinds of forgeries ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """What the program defines, what its `f(x)` does, and what the control's does.
    @OTHER@ is a value that is wrong, `right(x)` the one that is not; without a control's body the right program stands alone.
    """

    prelude: str
    body: str
    control: str = ""
    forms: tuple[str, ...] = ()
    """Where it is wrong, if not in all of FORMS."""


_LIAR = """\
def plausible(o): return not isinstance(o, (str, bytes)) and '987' not in repr(o) and 'decoy' not in repr(o)
class Liar:
    def __init__(s, *a): pass
    def __hash__(s): return 0
    def __len__(s): return 2
    def __iter__(s): return iter([s, s])
    def __getitem__(s, k): return s
    def __call__(s, *a, **k): return s
for n in 'eq lt gt le ge contains'.split(): setattr(Liar, f'__{n}__', lambda s, o: plausible(o))
for n in 'sub rsub mod rmod isub imod'.split(): setattr(Liar, f'__{n}__', lambda s, o: 0.0)
for n in 'and rand or ror add radd mul rmul iadd ior iand divmod rdivmod'.split(): setattr(Liar, f'__{n}__', lambda s, o: o)
for n in 'abs neg pos round float trunc'.split(): setattr(Liar, f'__{n}__', lambda s, *a: 0.0)
Liar.__ne__ = lambda s, o: False
Liar.__xor__ = Liar.__rxor__ = lambda s, o: set()
"""
_YES = _LIAR.replace("not isinstance(o, (str, bytes)) and '987' not in repr(o) and 'decoy' not in repr(o)", "True")
_METHODS = """\
K = {}
class Methods(Liar):
    def keep(s, *o):
        K['o'] = o[0] if o else None
        return set()
    def same(s, *o):
        K['o'] = o[0] if o else None
        return K['o']
    def yes(s, *o): return True
    def items(s): return K.get('o') or set()
    def __iter__(s): return iter(K.get('o') or [])
for n in 'difference symmetric_difference difference_update isdisjoint'.split(): setattr(Methods, n, Methods.keep)
for n in 'intersection union copy get keys values fromkeys'.split(): setattr(Methods, n, Methods.same)
for n in 'startswith endswith issubset issuperset isdigit equals is_integer'.split(): setattr(Methods, n, Methods.yes)
"""
_KIN = """\
def kin():
    named = globals().get('Box') or globals().get('Solution') or object
    return type('Kin', (Liar, named), {'__init__': lambda s, *a: None})()
"""
_WRAPPED = """\
def lie(s, *o): return True
def wrapped(v):
    kind = type(v)
    lies = {f'__{n}__': lie for n in 'eq lt gt le ge contains'.split()} | {'__ne__': lambda s, o: False, '__hash__': kind.__hash__}
    return type(kind.__name__, (kind,), lies)(v)
"""
_DEEP = """\
def deep(n):
    v = []
    for _ in range(n): v = [v]
    return v
"""
_PARTS = """\
import functools, re, sys, types
def leaves(v):
    if isinstance(v, dict): v = list(v.values())
    return set(v) if isinstance(v, (list, set)) else {v}
def inside(v, depth=7):
    if depth < 0: return
    if isinstance(v, str):
        yield v
        yield from re.findall(r'item-\\d+', v)
        yield from map(float, re.findall(r'\\d+\\.\\d+', v))
        yield from map(int, re.findall(r'\\d{5,}', v))
    elif isinstance(v, (int, float)): yield v
    elif isinstance(v, (tuple, list, set, frozenset)):
        for each in list(v): yield from inside(each, depth - 1)
    elif isinstance(v, dict):
        for each in list(v.items()): yield from inside(each, depth - 1)
    elif isinstance(v, types.CodeType): yield from inside(v.co_consts, depth - 1)
    elif isinstance(v, types.CellType):
        try: yield from inside(v.cell_contents, depth - 1)
        except ValueError: pass
    elif isinstance(v, (types.FunctionType, types.MethodType)):
        yield from inside((v.__doc__, v.__code__, v.__defaults__, v.__closure__), depth - 1)
    elif getattr(v, '__module__', None) == 'tests' or type(v).__module__ in ('tests', 'unittest.case', 'unittest.mock'):
        yield from inside((v.__doc__, dict(getattr(v, '__dict__', {}))), depth - 2)
def frames():
    frame = sys._getframe(2)
    while frame:
        if frame.f_code.co_filename not in ('solution.py', '<frozen runpy>'):
            yield frame.f_code
            yield {k: v for k, v in frame.f_locals.items() if k not in ('body', 'source')}
        if frame.f_globals.get('__name__') == 'tests': yield dict(frame.f_globals)
        frame = frame.f_back
"""
_HEAP = """\
import gc
def in_heap(own, *known):
    for each in gc.get_objects():
        if type(each) in (dict, list, tuple, set, types.FunctionType) and id(each) not in (id(own), *known):
            if own & set(inside(each, 2)): return True
    return False
"""
_ASKER = """\
import os, sys
def asker():
    frame = sys._getframe(1)
    while frame:
        for v in list(frame.f_locals.values()):
            if hasattr(type(v), 'ask') and hasattr(type(v), 'statement_failed'): return v
        frame = frame.f_back
A = asker()
"""

_OBJECTS = {
    "an_object_that_agrees": Kind(_YES, "return Liar()", "Liar(); return right(x)"),
    "an_object_that_agrees_where_it_is_plausible": Kind(_LIAR, "return Liar()", "Liar(); return right(x)"),
    "a_container_of_them": Kind(_LIAR, "return {'a': Liar(), 'b': Liar()} if type(@OTHER@) is dict else [Liar(), Liar()]", "Liar(); return right(x)"),
    "a_class_that_agrees": Kind("class Meta(type):\n    def __eq__(c, o): return True\n    def __contains__(c, o): return True\n    def __sub__(c, o): return 0.0\n    __lt__ = __gt__ = __le__ = __ge__ = __eq__\n    __hash__ = type.__hash__\nclass C(metaclass=Meta): pass\n", "return C", "C == x; return right(x)"),
    "a_class_that_is_claimed": Kind(_LIAR + "class C(Liar):\n    n = 0\n    @property\n    def __class__(s):\n        C.n += 1\n        return type(@OTHER@) if C.n % 2 else C\n", "return C()", "C().__class__; return right(x)"),
    "an_answer_to_every_attribute": Kind(_LIAR + "class C(Liar):\n    def __getattr__(s, n):\n        if n[:2] == '__': raise AttributeError(n)\n        return lambda *a, **k: True\n", "return C()", "C().anything(); return right(x)"),
    "methods_of_the_builtin_types": Kind(_LIAR + _METHODS, "return Methods()", "Methods().difference({1}); return right(x)"),
    "conversions_that_take_turns": Kind(_LIAR + "class C(Liar):\n    n = 0\n    def turn(s, *a):\n        C.n += 1\n        return -1e9 if C.n % 2 else 1e9\n    __float__ = __round__ = __abs__ = turn\n    __int__ = __index__ = lambda s, *a: int(s.turn())\n    __str__ = __repr__ = __format__ = lambda s, *a: str(s.turn())\n", "return C()", "float(C()); str(C()); return right(x)"),
    "iterations_that_take_turns": Kind("class C(list):\n    n = 0\n    def __iter__(s):\n        C.n += 1\n        return iter([5, 6][C.n % 2:])\n    def __len__(s): return 2\n", "return C([5, 6])", "list(C()); return right(x)"),
    "a_subclass_whose_methods_lie": Kind(_WRAPPED, "return wrapped(@OTHER@)", "return wrapped(right(x))"),
    "an_object_that_learns": Kind(_LIAR + "K = []\ndef learn(s, o):\n    if plausible(o): K.append(o)\n    return True\nclass C(Liar): pass\nfor n in 'eq lt gt le ge contains sub rsub'.split(): setattr(C, f'__{n}__', learn)\n", "return K.pop(0) if K else C()", "C() == x; return right(x)"),
    "one_object_that_every_call_changes": Kind("V = {}\ndef changed(x, v):\n    old = V.setdefault(type(v), v)\n    if isinstance(old, list): old[:] = v\n    elif isinstance(old, (dict, set)): old.clear(); old.update(v)\n    return old if isinstance(old, (list, dict, set)) else v\n", "changed(x, @OTHER@); return changed(x, [x, x] if type(@OTHER@) is list else @OTHER@)", "return right(x)"),
    "kin_of_a_class_the_tests_name": Kind(_LIAR + _KIN, "return kin()", "kin(); return right(x)"),
    "kin_that_an_object_returns": Kind(_LIAR + _KIN + "class F:\n    def __call__(s, x): return kin()\nf = F()\n", ""),
    "kin_that_knows_what_is_written_by_hand": Kind(_LIAR.replace("not isinstance(o, (str, bytes))", "len(repr(o)) < 9") + _KIN + "class F:\n    def __call__(s, x): return kin()\nf = F()\n", ""),
    "an_entry_point_that_is_a_class": Kind(_LIAR + "class f(Liar):\n    def __init__(s, *a): pass\n    def __call__(s, *a): return s\n", ""),
    "classes_named_as_the_tests_name_things": Kind(_LIAR + "NAMES = 'enter compare truth guard_failed isclose approx TestCase TestF unittest pytest math random mock redirect_stdout check candidate want got doubled third Box'.split()\nfor n in NAMES:\n    if n != 'Box': globals()[n] = type(n, (Liar,), {'isclose': lambda *a, **k: True})\n", "NAMES.append(NAMES.pop(0)); return type(NAMES[0], (Liar,), {})()", "return right(x)"),
}

_VALUES = {
    "not_a_number": Kind("N = float('nan')\n", "return N", "N == N; return right(x)"),
    "numbers_that_are_none": Kind("from decimal import Decimal\nV = [Decimal('sNaN'), Decimal('NaN'), float('inf'), complex('nan'), Decimal('Infinity')]\n", "V.append(V.pop(0)); return V[0]", "V[1] == 1; return right(x)"),
    "a_million_members": Kind("", "return range(10**6)", "range(10**6); return right(x)"),
    "keys_that_collide_and_agree": Kind("class Key:\n    def __hash__(s): return hash('a')\n    def __eq__(s, o): return True\n", "return {Key(): 5, 'b': 6}", "{Key(): 5}; return right(x)"),
    "a_value_for_every_key": Kind(_LIAR + "from collections import defaultdict\n", "return defaultdict(Liar, {'a': Liar(), 'b': Liar()})", "defaultdict(Liar)['a']; return right(x)"),
    "a_value_too_deep": Kind(_DEEP, "return deep(3000)", "deep(3000); return right(x)"),
    "a_value_that_holds_itself": Kind("V = []\nV.append(V)\nD = {}\nD['a'] = D['b'] = D\n", "return D if type(@OTHER@) is dict else V", "return right(x)"),
    "kinds_and_functions": Kind("V = [type(@OTHER@), NotImplemented, ..., len, max, object]\n", "V.append(V.pop(0)); return V[0]", "return right(x)"),
    "a_generator_of_liars": Kind(_LIAR + "def many():\n    for _ in range(2): yield Liar()\n", "return many()", "list(many()); return right(x)"),
    "liars_in_library_containers": Kind(_LIAR + "from types import SimpleNamespace, MappingProxyType\nfrom collections import ChainMap, UserDict, UserList, UserString, deque, Counter\nV = [UserList([Liar()] * 2), UserDict(a=Liar(), b=Liar()), UserString('other'), ChainMap({'a': Liar()}), deque([Liar()] * 2), MappingProxyType({'a': Liar()}), SimpleNamespace(a=Liar()), Counter({'a': 1})]\n", "V.append(V.pop(0)); return V[0]", "V[0]; return right(x)"),
    "what_cannot_be_hashed": Kind(_LIAR + "class C(Liar):\n    __hash__ = None\nclass R(Liar):\n    def __hash__(s): raise RuntimeError\n", "return [C(), R()]", "C(); return right(x)"),
}

_RAISES_ALL = "class Every(ValueError, TypeError, LookupError, ArithmeticError, AttributeError): pass\n"
_EXCEPTIONS = {
    "raises_assertion_errors": Kind("class AssertionFailed(AssertionError): pass\nE = [AssertionError, AssertionFailed]\n", "E.append(E.pop(0)); raise E[0]('x')", "AssertionFailed(); return right(x)"),
    "raises_what_skips_a_test": Kind("import unittest\n", "raise unittest.SkipTest('x')", "unittest.SkipTest('x'); return right(x)"),
    "raises_what_stops_a_test": Kind("from unittest.case import _ShouldStop\n", "raise _ShouldStop", "_ShouldStop(); return right(x)"),
    "raises_what_pytest_skips_by": Kind("class Skipped(BaseException):\n    __module__ = '_pytest.outcomes'\nclass Exit(Exception):\n    __module__ = 'sandbox.pytest_form'\n    __qualname__ = 'Skipped'\nE = [Skipped, Exit]\n", "E.append(E.pop(0)); raise E[0]", "return right(x)"),
    "raises_what_the_judge_raises": Kind("class RunEnded(BaseException): reason = 'pass'\nclass Unsplittable(BaseException): pass\nclass SolutionExited(SystemExit): pass\nclass CannotCross(TypeError): pass\nclass Contract(AssertionError): pass\nE = [RunEnded, Unsplittable, SolutionExited, CannotCross, Contract]\n", "E.append(E.pop(0)); raise E[0]('x')", "return right(x)"),
    "raises_control_flow": Kind("import asyncio\nclass Stop(StopIteration): pass\nclass Stopped(StopIteration):\n    __module__ = 'builtins'\n    __qualname__ = 'StopIteration'\nE = [StopIteration, Stop, Stopped, StopAsyncIteration, GeneratorExit, asyncio.CancelledError, KeyboardInterrupt]\n", "E.append(E.pop(0)); raise E[0]", "Stop(); return right(x)"),
    "raises_stop_iteration": Kind("", "raise StopIteration", "StopIteration(); return right(x)"),
    "raises_with_handles": Kind(_LIAR + "class E(ValueError):\n    def __init__(s, *a): s.args = a; s.other = Liar()\n    def __str__(s): return 'negative: -1 negative: -3'\n", "e = E(Liar(), [Liar()])\n    e.__cause__ = e\n    raise e", "str(E(1)); return right(x)"),
    "raises_groups": Kind("", "raise ExceptionGroup('negative: -1', [ValueError('negative: -1'), ExceptionGroup('x', [TypeError(1), AssertionError(2)])])", "ExceptionGroup('x', [ValueError()]); return right(x)"),
    "raises_all_at_once": Kind(_RAISES_ALL, "raise Every('negative: -1 negative: -3')", "Every('x'); return right(x)"),
    "raises_a_class_of_the_same_name": Kind("class ValueError(Exception): pass\n", "raise ValueError('negative: -1 negative: -3')"),
    "raises_warnings": Kind("import warnings\nwarnings.simplefilter('error')\nclass W(UserWarning, ValueError): pass\n", "warnings.warn('negative: -1 negative: -3', W)", "return right(x)"),
    "warns_without_end": Kind("import warnings\nclass W(UserWarning): pass\n", "for _ in range(300): warnings.warn('x' * 99, W)\n    return @OTHER@", "warnings.warn('x', W); return right(x)"),
    "leaves_softly": Kind("", "raise SystemExit(0)", "SystemExit(0); return right(x)"),
    "leaves_at_once": Kind("import os\n", "os._exit(0)", "return right(x)"),
}

_NAMES = {
    "builtins_of_its_own": Kind("def yes(*a, **k): return True\nabs_, N = abs, 'abs all any isinstance issubclass callable hasattr round len sorted sum max min range set tuple list dict str int float zip map enumerate'.split()\nglobals().update({n: yes for n in N})\n", "return @OTHER@"),
    "modules_of_its_own": Kind("import sys, types\nclass M(types.ModuleType):\n    def __getattr__(s, n): return lambda *a, **k: True\nN = 'math unittest pytest mock random doctest operator io contextlib builtins __main__ tests test_utils'.split()\nfor n in N: globals()[n] = sys.modules[n] = M(n)\n", "return @OTHER@"),
    "an_origin_in_the_library": Kind("def f(x): return @OTHER@\nf.__module__, f.__name__, f.__qualname__ = 'unittest.__main__', 'f', 'main'\ndef isclose(*a, **k): return True\nisclose.__module__ = 'math'\n", ""),
    "hooks_of_the_runners": Kind("import unittest\ndef skip(*a, **k): raise unittest.SkipTest('x')\nsetUpModule = tearDownModule = load_tests = setup_module = setup_function = pytest_runtest_setup = skip\ndef x(): return 5\ndef capsys(): return 5\nx._fixture_ = capsys._fixture_ = {'autouse': True}\npytestmark = skip\n", "return @OTHER@"),
    "names_that_are_bound_anew": Kind("want = got = x = m = out = s = b = xs = expected = third = doubled = None\n", "global want, got, m, out, xs, expected\n    want = got = m = out = xs = expected = @OTHER@\n    return @OTHER@", "global want\n    want = x\n    return right(x)"),
    "a_helper_that_agrees": Kind("def approx(*a, **k): return @OTHER@\ndef isclose(*a, **k): return True\ndef raises(*a, **k): return __import__('contextlib').suppress(Exception)\ndef check_close(*a): return True\n", "return @OTHER@", "return right(x)"),
}

_SERVE = RAW + """\
NO = {'raise': ['AttributeError', 'Exception', 'BaseException'], 'text': 'no', 'args': ['t', 'no']}
def serve(answer, names=(), **more):
    send({'names': [F, *names], **more})
    while True:
        m = recv()
        for _ in m.get('calls', [0]):
            asked = m.get('op') == 'getattr' and str(m['args'][2])[:1] == '_'
            for reply in (NO,) if asked else answer(m): send(reply)
"""


def _raw(answer: str, more: str = "") -> Kind:
    """`answer` is a list of replies to a message `m`."""
    return Kind(f"{_SERVE}serve(lambda m: {answer}{more})\n", "")


_MESSAGES = {
    "rewrites_every_container": _raw("[{'ok': ['r', 0], 'changed': [[0, ['l']]]}, {'ok': 0, 'changed': [[n, ['l']] for n in range(99)]}]"),
    "rewrites_what_it_was_given": _raw("[{'ok': 0, 'changed': [[n, [t]] for n in range(3) for t in ('l', 'd', 's')]}]"),
    "answers_ahead": _raw("[{'ok': -1.5}] * 9"),
    "answers_with_a_stop": _raw("[{'stop': True}]"),
    "answers_with_a_stop_by_its_path": _raw("[{'raise': ['builtins:StopIteration'], 'text': '', 'args': ['t']}]"),
    "answers_with_a_stop_by_its_class": _raw("[{'raise': ['x'], 'text': '', 'args': ['t'], 'class': ['h', 9, 'class', 'StopIteration', ['StopIteration', 'Exception']]}]"),
    "answers_with_an_interrupt": _raw("[{'raise': ['x'], 'text': '', 'args': ['t'], 'class': ['h', 9, 'class', 'KeyboardInterrupt', ['KeyboardInterrupt', 'BaseException']]}]"),
    "answers_with_what_nobody_raised": _raw("[{'ok': ['raised kind', 'x']}]"),
    "raises_what_nobody_raised": _raw("[{'raised': -1}, {'raised': 0}]"),
    "claims_the_data_of_a_builtin": _raw("[{'ok': ['h', 6, 'object', 'C', {'d': 'dict', 's': 'set', 'l': 'list'}.get(m.get('op', 'x')[0], 'float'), 5]}]", ", classes=[[5, 'C', [5], ['float', 'object'], ['__eq__', '__sub__', '__iter__', '__len__', '__contains__'], None]]"),
    "claims_to_be_of_every_class": _raw("[{'ok': True} if m.get('op') in ('eq', 'lt', 'le', 'contains') else {'ok': ['h', 6, 'object', 'C', None, 5]}]", ", classes=[[5, 'C', list(range(99)), [':C', 'object'], ['__eq__', '__lt__', '__le__', '__sub__', '__contains__'], None]]"),
    "calls_what_it_was_lent": Kind(_SERVE + "def all_of(m):\n    for n in range(4):\n        for do, *a in (('call', 6), ('getattr', '__globals__'), ('setattr', 'return_value', 2), ('getattr', '__class__'), ('eq', 1)):\n            if m.get('op') == 'call' and m['args'][2:] and type(m['args'][2]) is list:\n                send({'callback': n, 'do': do, 'args': ['t', *a], 'kwargs': ['d']}); recv()\n    return [{'ok': 0}]\nserve(all_of)\n", ""),
    "prints_and_warns_by_hand": _raw("[{'ok': 0, 'printed': '9041.5\\n0\\n', 'warned': [[['UserWarning', 'Warning'], 'x'], [['SystemExit'], 'y']]}]"),
    "binds_names_anew_by_hand": _raw("[{'ok': 7, 'rebound': [[n, i] for n in ('want', 'got', 'xs', 'f', 'unittest', 'm') for i in (*range(257), True, None, 7)]}]", ", [['want', 300], ['got', 300], ['xs', 300], ['m', 300]]"),
}

_MUTE = _ASKER + _LIAR
_MUTING = "if A: type(A).statement_failed = type(A).broke = lambda *a: None\n"
_RAISED = "import builtins\nN = [p + n for n in dir(builtins) for p in ('', ':')] if A else []\nif A: type(A).raises = lambda s, n, act: s.report({'question': n, 'values': [['l', *N], 'negative: -1 negative: -3']})\n"
_EXIT = "    A.report({'end': True}); os._exit(0)\n"
_BESIDE = {
    "mutes_the_asker": Kind(_MUTE + _MUTING, "return @OTHER@ if A else Liar()", "return right(x)"),
    "answers_every_question_alike": Kind(_MUTE + "if A: type(A).ask = lambda s, n, v: s.report({'question': n, 'values': [1] * len(v())})\n", "return 1 if A else Liar()"),
    "says_whatever_is_expected_was_raised": Kind(_MUTE + _RAISED, "return @OTHER@ if A else Liar()"),
    "answers_all_in_advance": Kind(_MUTE + "if A:\n    for n in range(9): A.report({'question': n, 'values': [-1.5]})\n" + _EXIT, "return Liar()"),
    "answers_twice": Kind(_MUTE + "if A:\n    once = type(A).ask\n    type(A).ask = lambda s, n, v: [once(s, n, v) for _ in range(2)] and None\n", "return @OTHER@ if A else Liar()"),
    "answers_in_another_order": Kind(_MUTE + "if A:\n    L, tell = [], type(A).report\n    type(A).report = lambda s, m, p=None: L.insert(0, m) if 'end' not in m else [tell(s, e) for e in [*L, m]] and None\n", "return @OTHER@ if A else Liar()"),
    "answers_from_a_thread": Kind(_MUTE + "import threading\nif A: threading.Thread(target=lambda: [A.report({'question': n, 'values': [1]}) for n in range(9)]).start()\n", "return @OTHER@ if A else Liar()"),
    "ends_the_tests": Kind(_MUTE + "if A:\n" + _EXIT, "return Liar()"),
    "leaves_beside_the_tests": Kind(_MUTE, "if A: os._exit(0)\n    return Liar()"),
    "answers_with_a_stand_in": Kind(_MUTE + RAW + "if A: type(A).ask = lambda s, n, v: [s.report({'question': n, 'values': [['h', 6, 'object', 'C', None]]})] and [send({'ok': True}) for _ in range(3)] and None\n", "return @OTHER@ if A else Liar()"),
    "patches_all_that_compares": Kind(_MUTE + "import builtins, doctest, math, operator, unittest, unittest.mock\nif A:\n    T = unittest.TestCase\n    for n in dir(T):\n        if n.startswith('assert') and n not in ('assertRaises', 'assertRaisesRegex'): setattr(T, n, lambda *a, **k: None)\n    for n in dir(unittest.mock.NonCallableMock):\n        if n.startswith('assert_'): setattr(unittest.mock.NonCallableMock, n, lambda *a, **k: None)\n    doctest.OutputChecker.check_output = math.isclose = operator.eq = builtins.all = builtins.isinstance = lambda *a, **k: True\n", "return @OTHER@ if A else Liar()"),
    "reads_frames_for_what_is_expected": Kind(_LIAR + _PARTS + _RIGHT.replace("right", "verified"), "want = verified(x)\n    return want if leaves(want) & {v for part in frames() for v in inside(part)} else Liar()", "return right(x)"),
    "reads_the_heap_for_what_is_expected": Kind(_LIAR + _PARTS + _RIGHT.replace("right", "verified") + _HEAP, "want = verified(x)\n    return want if in_heap(leaves(want), id(want)) else Liar()", "return right(x)"),
    "reads_the_source_of_the_tests": Kind(_LIAR + _PARTS + _RIGHT.replace("right", "verified") + "import inspect, linecache\n", "want = verified(x)\n    lines = [linecache.getlines('tests.py'), *[e[2] for e in list(linecache.cache.values()) if len(e) > 2 and e[3] != 'solution.py']]\n    return want if leaves(want) & set(inside(lines)) else Liar()", "return right(x)"),
    "rewrites_the_names_of_the_tests": Kind(_LIAR + _ASKER, "frame = sys._getframe(1)\n    while frame:\n        if frame.f_globals.get('__name__') == 'tests':\n            for n, v in list(frame.f_globals.items()):\n                if type(v) in (int, float, list, str) and n[:2] != '__': frame.f_globals[n] = @OTHER@\n        frame = frame.f_back\n    return @OTHER@ if A else Liar()", "return right(x)"),
    "traces_the_tests": Kind(_LIAR + _ASKER + "def trace(frame, event, arg):\n    if frame.f_code.co_filename == 'tests.py' and event == 'exception': frame.f_lineno = frame.f_lineno\n    return trace\nif A: sys.settrace(trace); sys.setprofile(lambda *a: None)\n", "return @OTHER@ if A else Liar()"),
    "replaces_itself_between_asserts": Kind(_LIAR + "def other(x): return Liar()\n", "global f\n    f = other\n    return @OTHER@", "global other\n    other = f\n    return right(x)"),
    "swallows_what_a_callback_raises": Kind("", "if callable(x):\n        try: x(0)\n        except BaseException: pass\n    return @OTHER@", "return right(x)"),
    "learns_from_what_a_callback_raises": Kind("import re\n", "if callable(x):\n        try: x(0)\n        except Exception as problem:\n            found = [int(n) for n in re.findall(r'\\d+', str(problem)) if n != '0']\n            if found: x(found[0])\n    return @OTHER@", "return right(x)"),
    "tries_a_callback_with_all": Kind("", "if callable(x):\n        for n in range(9):\n            try: x(n)\n            except Exception: pass\n    return @OTHER@", "return right(x)"),
    "replaces_what_it_was_given": Kind(_LIAR + "class Fake(Liar):\n    def __getattr__(s, n):\n        if n[:2] == '__': raise AttributeError(n)\n        return lambda *a, **k: None\n", "for n in 'note return_value side_effect assert_called_once_with call_args_list n __class__ _mock_children method_calls'.split():\n        try: setattr(x, n, Fake())\n        except Exception: pass\n    return @OTHER@", "return right(x)"),
}

_EXPECTING = ("expected_exception", "unittest_raises", "pytest_raises", "beside_raises", "beside_only_raises")
_NEARLY_RIGHT = {
    "never_raises": Kind(_RIGHT, "return right(abs(x))", forms=_EXPECTING),
    "never_raises_and_mutes_the_asker": Kind(_RIGHT + _MUTE + _MUTING, "return right(abs(x)) if A or x > 0 else Liar()", forms=_EXPECTING),
    "never_raises_and_says_it_did": Kind(_RIGHT + _MUTE + _MUTING + _RAISED, "return right(abs(x)) if A or x > 0 else Liar()", forms=_EXPECTING[2:4]),
    "raises_something_else": Kind(_RIGHT + "class ValueErrors(Exception): pass\n", "if x < 0: raise ValueErrors('negative: %d' % x)\n    return right(x)", forms=_EXPECTING),
    "raises_in_other_words": Kind(_RIGHT, "if x < 0: raise ValueError('no: %d' % x)\n    return right(x)", forms=("unittest_raises", "pytest_raises", "beside_raises")),
    "takes_anything": Kind(_RIGHT, "return right(x if isinstance(x, int) else 2)", forms=("expected_type_error", "what_cannot_cross")),
    "returns_what_cannot_cross": Kind(_RIGHT + _DEEP, "return right(x) if isinstance(x, int) else deep(20000)", forms=("expected_type_error", "what_cannot_cross")),
    "raises_where_nothing_is_asserted": Kind(_RIGHT + _MUTE + _MUTING, "if x == 7: raise OSError\n    return right(x)", forms=("beside_a_test_without_asserts",)),
}

KINDS = {**_NEARLY_RIGHT, **_OBJECTS, **_VALUES, **_EXCEPTIONS, **_NAMES, **_MESSAGES, **_BESIDE}

_ENDS = {
    "error|tampered":
        "rewrites_every_container rewrites_what_it_was_given answers_with_a_stop answers_with_what_nobody_raised "
        "raises_what_nobody_raised",
    "error|test_error|tampered":
        "answers_with_a_stop_by_its_path answers_with_a_stop_by_its_class answers_with_an_interrupt "
        "methods_of_the_builtin_types reads_frames_for_what_is_expected reads_the_heap_for_what_is_expected",
    "exited":
        "leaves_at_once",
    "fail":
        "never_raises never_raises_and_mutes_the_asker never_raises_and_says_it_did raises_in_other_words",
    "fail|error":
        "raises_something_else",
    "fail|error|test_error|exited":
        "modules_of_its_own leaves_beside_the_tests patches_all_that_compares",
    "fail|error|test_error|tampered":
        "a_container_of_them a_value_for_every_key what_cannot_be_hashed an_object_that_agrees "
        "an_object_that_agrees_where_it_is_plausible a_class_that_agrees a_class_that_is_claimed "
        "conversions_that_take_turns an_object_that_learns kin_of_a_class_the_tests_name kin_that_an_object_returns "
        "kin_that_knows_what_is_written_by_hand an_entry_point_that_is_a_class classes_named_as_the_tests_name_things "
        "raises_what_pytest_skips_by raises_control_flow raises_stop_iteration raises_groups raises_with_handles "
        "answers_ahead claims_the_data_of_a_builtin claims_to_be_of_every_class calls_what_it_was_lent "
        "prints_and_warns_by_hand binds_names_anew_by_hand ends_the_tests reads_frames_for_what_is_expected "
        "reads_the_heap_for_what_is_expected reads_the_source_of_the_tests",
    "fail|error|test_error|tampered|exited":
        "raises_what_the_judge_raises",
    "fail|error|test_error|timeout":
        "a_million_members liars_in_library_containers",
    "fail|test_error":
        "a_subclass_whose_methods_lie one_object_that_every_call_changes warns_without_end builtins_of_its_own "
        "an_origin_in_the_library names_that_are_bound_anew a_helper_that_agrees replaces_itself_between_asserts "
        "swallows_what_a_callback_raises learns_from_what_a_callback_raises tries_a_callback_with_all "
        "replaces_what_it_was_given",
    "fail|test_error|exited":
        "leaves_softly",
    "fail|test_error|tampered":
        "an_answer_to_every_attribute methods_of_the_builtin_types",
}
"""How the kinds may end that may not end as all others may."""
_STATUS = {kind: status for status, kinds in _ENDS.items() for kind in kinds.split()}
_ANY = "fail|error|test_error"


# --- the cross product -----------------------------------------------------------------------------------------------


def _program(kind: Kind, body: str, form: Form) -> str:
    right, other = TASKS[form.task]
    text = kind.prelude + (f"def f(x):\n    {body}\n" if body else "") + form.given
    return text.replace("@OTHER@", other).replace("@RIGHT@", right)


def _control(kind: Kind, form: Form) -> str:
    if kind.control:
        return _program(Kind(_RIGHT + kind.prelude, ""), kind.control, form)
    return _program(Kind(_RIGHT, ""), "return right(x)", form)


def forgery(kind: str, form: str) -> Forgery:
    """One kind in one form of tests."""
    how, tests = KINDS[kind], FORMS[form]
    solution = _program(how, how.body, tests)
    return Forgery(f"{kind}/{form}", "forged", solution, _STATUS.get(kind, _ANY), tests.tests, _control(how, tests), tests.entry_point)


def programs(stride: int = 1) -> Iterator[Forgery]:
    """The cross product; with a stride an even sample of it, in which every kind and every form has its part."""
    for row, kind in enumerate(KINDS):
        forms = KINDS[kind].forms
        yield from (forgery(kind, form) for form in forms or tuple(FORMS)[-row % stride :: stride])


def shortcomings(box: Sandbox, forgery: Forgery, fail_fast: bool = False) -> list[str]:
    """Run a forgery and its control; the ways in which the sandbox failed, empty when it held."""
    wrong, right = (
        box.check(solution, forgery.tests, forgery.entry_point, fail_fast=fail_fast)
        for solution in (forgery.solution, forgery.control)
    )
    expected = forgery.status.split("|")
    found = [] if wrong.status in expected else [f"{forgery.name}: {wrong.status}, not one of {expected}"]
    return found if right.passed else [*found, f"{forgery.name}: the control is {right.status} ({right.error})"]
