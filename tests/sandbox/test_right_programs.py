"""A right program passes whatever its tests look at; the same program with one mistake does not.

Each program passes its tests in plain Python (or under pytest, unittest or doctest, where the tests are theirs), and its twin
with the mistake does not. Where no verdict can be trusted the tests are at fault (`test_error`), never the program.
A case is `== sentence @ entry point`, the program, `--`, the tests, and `~~ right => wrong`.
"""

# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Limits, Sandbox


def cases(text: str) -> Any:
    """Parameters `solution`, `twin`, `tests` and `entry` of each case."""
    found = []
    for block in text.strip().removeprefix("== ").split("\n== "):
        heading, _, body = block.partition("\n")
        sentence, _, entry = heading.partition(" @ ")
        solution, _, rest = body.partition("\n--\n")
        tests, _, mistake = rest.partition("\n~~ ")
        right, wrong = mistake.split(" => ")
        assert right in solution, sentence
        twin = solution.replace(right, wrong)
        found.append(pytest.param(solution, twin, tests, entry or None, id=sentence))
    return pytest.mark.parametrize(("solution", "twin", "tests", "entry"), found)


LIVE = r"""
== a list read from an attribute is the object's own
class Basket:
    def __init__(self): self.items = []
    def total(self): return sum(self.items)
--
b = Basket()
b.items.append(4)
b.items += [5]
assert b.total() == 9
assert b.items is b.items
~~ sum(self.items) => len(self.items)
== a dictionary of the module can be written and cleared from outside
rates = {"a": 1}
def rate(name): return rates.get(name, 0)
--
rates["b"] = 7
assert rate("b") == 7
del rates["a"]
assert rate("a") == 0
rates.clear()
assert rate("b") == 0
~~ rates.get(name, 0) => {'a': 1}.get(name, 0)
== a row of a nested list is written in place
class Grid:
    def __init__(self, n): self.cells = [[0] * n for _ in range(n)]
    def row(self, i): return self.cells[i]
--
g = Grid(2)
g.cells[0][1] = 7
g.row(1)[0] = 3
assert g.cells == [[0, 7], [3, 0]]
~~ [[0] * n for _ in range(n)] => [[0] * n] * n
== a default that changes is shared by the calls
def add(x, acc=[]):
    acc.append(x)
    return acc
--
a = add(1)
assert add(2) is a
assert a == [1, 2]
mine = [0]
assert add(3, mine) == [0, 3] and mine == [0, 3]
~~ acc.append(x) => acc = acc + [x]
== a Counter of the module counts on and knows no missing key
from collections import Counter
hits = Counter()
def hit(name): hits[name] += 1
--
hit("a"); hit("a"); hit("b")
assert hits.most_common(1) == [("a", 2)]
assert hits["zzz"] == 0
hits.update("a")
hit("a")
assert hits["a"] == 4
~~ += 1 => = 1
== a defaultdict that comes back keeps its factory
from collections import defaultdict
def group(words):
    out = defaultdict(list)
    for w in words: out[len(w)].append(w)
    return out
--
g = group(["a", "bb", "c"])
assert g == {1: ["a", "c"], 2: ["bb"]}
g[3].append("ddd")
assert g[3] == ["ddd"] and g[9] == []
~~ return out => return dict(out)
== a deque that comes back keeps its bound
from collections import deque
def last(n): return deque(maxlen=n)
--
d = last(2)
for i in range(5): d.append(i)
assert list(d) == [3, 4] and d.maxlen == 2
~~ maxlen=n => maxlen=n + 1
== an OrderedDict can be put in another order from outside
from collections import OrderedDict
class Recent:
    def __init__(self): self.data = OrderedDict(a=1, b=2, c=3)
    def drop(self): return self.data.popitem(last=False)[0]
--
r = Recent()
r.data.move_to_end("a")
assert r.drop() == "b"
assert list(r.data) == ["c", "a"]
~~ last=False => last=True
== an argument that is kept stays the caller's
class Holder:
    def __init__(self, xs): self.xs = xs
    def size(self): return len(self.xs)
--
data = [1]
h = Holder(data)
data.append(2)
assert h.size() == 2
h.xs.append(3)
assert data == [1, 2, 3] and h.xs is data
~~ self.xs = xs => self.xs = list(xs)
== an argument that is copied does not change
def extended(xs):
    out = list(xs)
    out.append(0)
    return out
--
xs = [1]
ys = extended(xs)
assert ys == [1, 0] and xs == [1] and ys is not xs
~~ list(xs) => xs
== methods that return self can be chained on one object
class Query:
    def __init__(self): self.parts = []
    def where(self, x):
        self.parts.append(x)
        return self
--
q = Query()
assert q.where("a").where("b") is q
assert q.parts == ["a", "b"]
~~ return self => return Query()
== an attribute that the tests set is what the program reads
class Robot:
    speed = 1
    def sense(self): return 5
    def act(self): return "stop" if self.sense() < 3 else f"go {self.speed}"
--
r = Robot()
r.speed = 8
assert r.act() == "go 8"
r.sense = lambda: 1
assert r.act() == "stop"
Robot.speed = 2
assert Robot().act() == "go 2"
~~ f"go {self.speed}" => "go 1"
== a generator reads a list that goes on changing
class Feed:
    def __init__(self): self.q = [1, 2]
    def drain(self):
        while self.q: yield self.q.pop(0)
--
f = Feed()
g = f.drain()
assert next(g) == 1
f.q.append(3)
assert list(g) == [2, 3] and f.q == []
~~ pop(0) => pop()
== a function of the tests that is called back changes the tests' own list
class Bus:
    def __init__(self): self.subs = []
    def emit(self, *args):
        for f in self.subs: f(*args)
--
got = []
bus = Bus()
bus.subs.append(got.append)
bus.subs.append(lambda v: got.append(v * 10))
bus.emit(3)
assert got == [3, 30]
~~ f(*args) => f(*args); break
"""

OBJECTS = r"""
== objects are added to in place, with numbers and with their own kind
class Bag:
    def __init__(self): self.items = []
    def __iadd__(self, item):
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
class Vec:
    def __init__(self, x, y): self.x, self.y = x, y
    def __iadd__(self, other):
        self.x, self.y = self.x + other.x, self.y + other.y
        return self
    def __imul__(self, k):
        self.x, self.y = self.x * k, self.y * k
        return self
    def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
--
b = Bag()
b += 7
b += 8
assert len(b) == 2 and b.items == [7, 8]
v = Vec(1, 2)
v += Vec(10, 20)
assert (v.x, v.y) == (11, 22)
v *= 3
assert v == Vec(33, 66)
~~ self.y + other.y => self.y
== dataclasses of one class are ordered by their fields
from dataclasses import dataclass
@dataclass(order=True)
class Version:
    major: int
    minor: int = 0
def parse(s): return Version(*map(int, s.split(".")))
--
assert parse("1.2") == Version(1, 2) != parse("1.3")
assert parse("1.2") < parse("1.10")
assert max(parse(s) for s in ["1.2", "1.10"]) == Version(1, 10)
~~ map(int, s.split(".")) => s.split(".")
== frozen dataclasses are one key in a set
from dataclasses import dataclass
@dataclass(frozen=True)
class P:
    x: int
def ring(n): return {P(i % 2) for i in range(n)}
--
assert ring(5) == {P(0), P(1)}
assert P(0) in ring(1) and len(ring(9)) == 2
assert {P(1): "a"}[next(iter(ring(4) - {P(0)}))] == "a"
~~ i % 2 => i
== lists of the program's objects are compared item by item
from dataclasses import dataclass
@dataclass
class Token:
    kind: str
    text: str
def lex(s): return [Token("num" if w.isdigit() else "op", w) for w in s.split()]
--
assert lex("1 +") == [Token("num", "1"), Token("op", "+")]
assert Token("num", "2") in lex("1 2")
assert lex("+")[0].kind == "op"
~~ "num" if => "int" if
== a named tuple equals a tuple and is one of its class
from typing import NamedTuple
class Point(NamedTuple):
    x: int
    y: int = 0
    def norm(self): return abs(self.x) + abs(self.y)
def origin(): return Point(0)
--
assert origin() == (0, 0) == Point(0, 0)
assert Point(3, -4).norm() == 7
x, y = Point(3, 4)._replace(y=5)
assert (x, y) == (3, 5)
assert isinstance(origin(), tuple)
~~ abs(self.y) => self.y
== members of an enumeration are the very same
from enum import Enum
class Light(Enum):
    RED = "r"
    GREEN = "g"
def after(light): return Light.GREEN if light is Light.RED else Light.RED
--
assert after(Light.RED) is Light.GREEN
assert Light("r") is Light.RED and Light["GREEN"].value == "g"
assert [m.name for m in Light] == ["RED", "GREEN"]
assert after(Light.RED) in {Light.GREEN: 1}
~~ light is Light.RED => light is None
== members that are numbers or texts are these as well
from enum import IntEnum, StrEnum, auto
class Level(IntEnum):
    LOW = 1
    HIGH = 3
class Color(StrEnum):
    RED = auto()
def top(): return max(Level)
def fav(): return Color.RED
--
assert top() is Level.HIGH and top() == 3 and top() + 1 == 4
assert fav() == "red" and f"{fav()}" == "red" and fav().upper() == "RED"
assert {"red": 1}[fav()] == 1
~~ max(Level) => min(Level)
== objects with a smaller-than of their own are sorted by the tests
class Task:
    def __init__(self, name, prio): self.name, self.prio = name, prio
    def __lt__(self, other): return self.prio < other.prio
--
tasks = [Task("b", 2), Task("a", 1), Task("c", 3)]
assert [t.name for t in sorted(tasks)] == ["a", "b", "c"]
assert min(tasks).name == "a"
~~ self.prio < other.prio => self.prio > other.prio
== an object that is kept in a cache is found again, and another is another
class Pool:
    def __init__(self): self._d = {}
    def get(self, k):
        if k not in self._d: self._d[k] = object()
        return self._d[k]
--
p = Pool()
assert p.get("a") is p.get("a")
assert p.get("a") is not p.get("b") and p.get("a") != p.get("b")
~~ if k not in self._d => if True
== classes and their bases can be asked about
class Animal: ...
class Dog(Animal): ...
class Puppy(Dog): ...
def create(kind): return {"dog": Dog, "puppy": Puppy}[kind]()
--
d = create("puppy")
assert isinstance(d, (int, Animal)) and not isinstance(create("dog"), Puppy)
assert issubclass(Puppy, Animal) and not issubclass(Animal, Dog)
assert type(d).__name__ == "Puppy"
~~ "puppy": Puppy => "puppy": Dog
== an abstract class cannot be made, and what is not covered neither
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
class Square(Shape):
    def __init__(self, a): self.a = a
    def area(self): return self.a ** 2
--
import pytest
def test_abstract():
    with pytest.raises(TypeError):
        Shape()
def test_area():
    assert Square(3).area() == 9 and isinstance(Square(1), Shape)
~~ @abstractmethod => @staticmethod
== a method that the tests override in a class of theirs is called
class Base:
    def greet(self): return "hi " + self.name()
    def name(self): return "base"
--
class Child(Base):
    def name(self): return "child"
assert Child().greet() == "hi child"
~~ self.name() => 'base'
== a check on setting an attribute is done
class Item:
    def __init__(self, price): self.price = price
    @property
    def price(self): return self._price
    @price.setter
    def price(self, value):
        if value <= 0: raise ValueError("must be positive")
        self._price = value
--
i = Item(3)
i.price = 5
try:
    i.price = -1
    assert False
except ValueError as e:
    assert "positive" in str(e)
assert i.price == 5
~~ value <= 0 => value < -1
== operators of the program's own are done there
class Vec:
    def __init__(self, x, y): self.x, self.y = x, y
    def __eq__(self, o): return (self.x, self.y) == (o.x, o.y)
    def __add__(self, o): return Vec(self.x + o.x, self.y + o.y)
    def __mul__(self, k): return Vec(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __neg__(self): return self * -1
    def __abs__(self): return abs(self.x) + abs(self.y)
    def __bool__(self): return bool(self.x or self.y)
    def __repr__(self): return f"Vec({self.x}, {self.y})"
--
v = Vec(1, 2)
assert v + Vec(3, 4) == Vec(4, 6)
assert 2 * v == v * 2 == Vec(2, 4)
assert abs(-v) == 3 and not Vec(0, 0) and v
assert repr([v]) == "[Vec(1, 2)]"
w = v
w += v
assert w == Vec(2, 4) and v == Vec(1, 2)
~~ self.y + o.y => self.y
== length, membership, items and their order are the program's own
class Deck:
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __contains__(self, x): return 0 <= x < self.n
    def __getitem__(self, i):
        if not -self.n <= i < self.n: raise IndexError(i)
        return i % self.n
--
d = Deck(3)
assert len(d) == 3 and 2 in d and 3 not in d
assert list(d) == [0, 1, 2] and d[-1] == 2
assert list(reversed(d)) == [2, 1, 0]
a, *rest = d
assert (a, rest) == (0, [1, 2])
~~ 0 <= x < self.n => 0 <= x <= self.n
== a context manager of the program's may swallow what is raised inside
class Quiet:
    def __init__(self): self.log = []
    def __enter__(self): return self
    def __exit__(self, kind, value, tb):
        self.log.append(kind.__name__ if kind else "out")
        return kind is ValueError
--
q = Quiet()
with q as inside:
    assert inside is q
with q:
    raise ValueError("swallowed")
assert q.log == ["out", "ValueError"]
~~ return kind is ValueError => return False
== a linked list is built and read with the program's own nodes
class ListNode:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
class Solution:
    def reverseList(self, head):
        prev = None
        while head: head.next, prev, head = prev, head, head.next
        return prev
--
def build(xs):
    head = None
    for x in reversed(xs): head = ListNode(x, head)
    return head
def values(node):
    out = []
    while node:
        out.append(node.val)
        node = node.next
    return out
assert values(Solution().reverseList(build([1, 2, 3]))) == [3, 2, 1]
assert Solution().reverseList(None) is None
~~ return prev => return head
== links of a tree are set by the tests and followed by the program
class Node:
    def __init__(self, v, l=None, r=None): self.v, self.l, self.r = v, l, r
def total(n): return 0 if n is None else n.v + total(n.l) + total(n.r)
--
t = Node(1, Node(2), Node(3))
assert total(t) == 6
t.l.l = Node(10)
assert total(t) == 16
t.l, t.r = t.r, t.l
assert t.l.v == 3 and t.r.l.v == 10
t.r = None
assert total(t) == 4
~~ total(n.l) + total(n.r) => total(n.r)
== a program reads objects of a class that the tests define
def depth(t): return 0 if t is None else 1 + max(depth(t.left), depth(t.right))
--
class TreeNode:
    def __init__(self, left=None, right=None): self.left, self.right = left, right
assert depth(None) == 0
assert depth(TreeNode(TreeNode(), TreeNode(None, TreeNode()))) == 3
~~ 1 + max => 2 + max
== names, attributes and calls of an object can be looked up
class Adder:
    def __init__(self, n): self.n, self.__pin = n, 4
    def __call__(self, x): return self.n + x
--
a = Adder(3)
assert callable(a) and a(4) == 7
assert hasattr(a, "n") and not hasattr(a, "__pin")
assert a._Adder__pin == 4 and getattr(a, "m", 5) == 5
assert list(map(a, [1, 2])) == [4, 5]
~~ self.n + x => self.n - x
"""

ERRORS = r"""
== attributes of a builtin exception are there
def text(b): return b.decode("ascii")
def read(path): return open(path).read()
def get(d, k): return d[k]
--
try:
    text(b"a\xff")
    assert False
except UnicodeDecodeError as e:
    assert (e.encoding, e.start, e.object) == ("ascii", 1, b"a\xff")
try:
    read("/no/such/file")
    assert False
except OSError as e:
    assert e.errno == 2 and e.filename == "/no/such/file"
try:
    get({}, "zed")
    assert False
except KeyError as e:
    assert e.args == ("zed",) and str(e) == "'zed'"
~~ open(path) => open(path + 'x')
== attributes and text of an own exception are there
class PaymentError(Exception):
    def __init__(self, code, amount):
        super().__init__(f"payment failed with {code}")
        self.code, self.amount = code, amount
def pay(n): raise PaymentError(402, n)
--
try:
    pay(5)
    assert False
except PaymentError as e:
    assert e.code == 402 and e.amount == 5
    assert str(e) == "payment failed with 402"
~~ PaymentError(402 => PaymentError(400
== an own exception is caught by each of its bases
class AppError(Exception): ...
class NotFound(AppError, KeyError): ...
def get(k): raise NotFound(k)
--
for kind in (KeyError, AppError, LookupError, NotFound):
    try:
        get("z")
        assert False
    except kind as e:
        assert e.args == ("z",)
~~ class NotFound(AppError, KeyError) => class NotFound(AppError)
== what an exception came from is told
class ConfigError(Exception): ...
def load(d):
    try: return int(d["n"])
    except (KeyError, ValueError) as e: raise ConfigError("bad config") from e
--
assert load({"n": "3"}) == 3
try:
    load({"n": "x"})
    assert False
except ConfigError as e:
    assert isinstance(e.__cause__, ValueError)
~~ from e => from None
== a group of exceptions is taken apart by except*
def f(): raise ExceptionGroup('g', [ValueError(1), TypeError(2), ValueError(3)])
--
seen = []
try:
    f()
except* ValueError as g:
    seen.append([e.args[0] for e in g.exceptions])
except* TypeError as g:
    seen.append(len(g.exceptions))
assert seen == [[1, 3], 1]
~~ ValueError(3) => TypeError(3)
== a contract that the program asserts is no failed test
def mean(xs):
    assert xs, "empty"
    return sum(xs) / len(xs)
--
import pytest
def test_mean():
    assert mean([1, 2, 3]) == 2
def test_empty():
    with pytest.raises(AssertionError, match="empty"):
        mean([])
~~ assert xs, "empty" => if not xs: return 0
== tests that only wait for exceptions are tests
class A(Exception): ...
class B(Exception): ...
def f(x): raise A() if x else B()
--
import pytest
@pytest.mark.parametrize("x", [0, 1])
def test_f(x):
    with pytest.raises((A, B)):
        f(x)
~~ else B() => else ValueError()
== an exception that is kept as a value is the one that was raised
def gather(fs):
    out = []
    for f in fs:
        try: out.append(f())
        except Exception as e: out.append(e)
    return out
--
def boom(): raise KeyError("q")
r = gather([lambda: 1, boom])
assert r[0] == 1
assert isinstance(r[1], KeyError) and r[1].args == ("q",)
~~ out.append(e) => out.append(str(e))
== what a function of the tests raises passes through the program
def retry(f, n):
    for _ in range(n):
        try: return f()
        except ValueError: pass
    raise TimeoutError(n)
--
class Mine(Exception): ...
def bad(): raise Mine(5)
try:
    retry(bad, 2)
    assert False
except Mine as e:
    assert e.args == (5,)
~~ except ValueError: pass => except Exception: pass
== the value that a generator returns ends it
def gen():
    got = yield 1
    return got * 2
--
g = gen()
assert next(g) == 1
try:
    g.send(21)
    assert False
except StopIteration as e:
    assert e.value == 42
~~ got * 2 => got
== exiting as a command does is an exception that the tests may expect
import argparse
def parse(argv):
    p = argparse.ArgumentParser(prog="tool")
    p.add_argument("--n", type=int, required=True)
    return p.parse_args(argv)
--
assert parse(["--n", "3"]).n == 3
try:
    parse([])
    assert False
except SystemExit as e:
    assert e.code == 2
~~ required=True => default=3
"""

VALUES = r"""
== identifiers and paths are compared as what they are
import uuid
from pathlib import PurePosixPath
def named(s): return uuid.uuid5(uuid.NAMESPACE_DNS, s)
def out(p): return PurePosixPath(p).with_suffix(".txt")
--
import uuid
from pathlib import PurePosixPath
assert named("python.org") == uuid.UUID("886313e1-3b8a-5372-9b90-0c9aee199e5d")
assert named("a").version == 5 and len({named("a"), named("a")}) == 1
assert out("/a/b.md") == PurePosixPath("/a/b.txt")
assert out("/a/b.md").parts == ("/", "a", "b.txt") and str(out("x") / "c") == "x.txt/c"
~~ .txt => .text
== times with a zone are compared as moments
from datetime import datetime, timedelta, timezone
def at(h): return datetime(2024, 1, 1, h, tzinfo=timezone(timedelta(hours=2)))
--
from datetime import datetime, timedelta, timezone
assert at(5) == datetime(2024, 1, 1, 3, tzinfo=timezone.utc)
assert at(5).utcoffset() == timedelta(hours=2)
assert at(5).isoformat() == "2024-01-01T05:00:00+02:00"
~~ hours=2 => hours=1
== decimals and fractions keep their exact value and type
from decimal import Decimal, ROUND_HALF_UP
from fractions import Fraction
def money(x): return Decimal(x).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
def near(x, n): return Fraction(x).limit_denominator(n)
--
from decimal import Decimal
from fractions import Fraction
assert money("2.345") == Decimal("2.35") and str(money("1")) == "1.00"
assert near(0.3333, 10) == Fraction(1, 3) and near(0.5, 10) == 0.5
assert isinstance(near(1, 1), Fraction) and isinstance(money("1"), Decimal)
~~ ROUND_HALF_UP) => 'ROUND_HALF_DOWN')
== arrays and views of bytes are compared as what they are
from array import array
def squares(n): return array("l", [i * i for i in range(n)])
def view(n): return memoryview(bytes(range(n)))
--
from array import array
a = squares(3)
assert a == array("l", [0, 1, 4]) and a.typecode == "l"
a.append(9)
assert list(a[2:]) == [4, 9]
assert view(3) == b"\0\1\2" and bytes(view(3)[1:]) == b"\1\2"
~~ i * i => i + i
== views of a dictionary are compared as sets
from types import MappingProxyType
d = {"a": 1, "b": 2}
def keys(): return d.keys()
def items(): return d.items()
def frozen(): return MappingProxyType(d)
--
assert keys() == {"a", "b"} and keys() & {"b", "c"} == {"b"}
assert ("b", 2) in items() and frozen() == {"a": 1, "b": 2}
~~ return d.keys() => return dict(d, c=3).keys()
== an own class with a builtin's data is compared as that data
from collections import UserDict
class Lower(UserDict):
    def __setitem__(self, k, v): super().__setitem__(k.lower(), v)
class Stack(list):
    def peek(self): return self[-1]
class Slug(str):
    def __new__(cls, s): return super().__new__(cls, s.lower().replace(" ", "-"))
--
d = Lower(A=1)
d["B"] = 2
assert d == {"a": 1, "b": 2} and "A" not in d
s = Stack([1, 2])
s.append(7)
assert s == [1, 2, 7] and s.peek() == 7 and isinstance(s, list)
assert Slug("Hello World") == "hello-world" and {"a-b": 1}[Slug("a b")] == 1
~~ self[-1] => self[0]
== a match and its pattern answer every question
import re
DATE = re.compile(r"(?P<y>\d{4})-(?P<m>\d\d)")
def find(s): return DATE.search(s)
--
import re
m = find("on 2024-05")
assert m.group("y") == "2024" and m.groups() == ("2024", "05") and m.span() == (3, 10)
assert find("x") is None and isinstance(m, re.Match)
assert DATE.groups == 2 and isinstance(DATE, re.Pattern)
~~ DATE.search(s) => DATE.match(s)
== a generator is one, and takes what it is sent
def averager():
    total = n = 0
    avg = None
    while True:
        total += yield avg
        n += 1
        avg = total / n
--
import inspect, types
g = averager()
assert isinstance(g, types.GeneratorType) and inspect.isgeneratorfunction(averager)
next(g)
assert g.send(10) == 10
assert g.send(20) == 15
~~ total / n => total // n + 1
== an endless generator is read as far as the tests read
def primes():
    seen, n = [], 2
    while True:
        if all(n % p for p in seen):
            seen.append(n)
            yield n
        n += 1
--
from itertools import islice, takewhile
assert list(islice(primes(), 5)) == [2, 3, 5, 7, 11]
assert list(takewhile(lambda p: p < 8, primes())) == [2, 3, 5, 7]
assert 13 in primes()
~~ [], 2 => [], 3
== what functools makes can be looked into
from functools import cached_property, lru_cache, partial
@lru_cache(maxsize=None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def square(): return partial(pow, exp=2)
class Data:
    loads = 0
    @cached_property
    def rows(self):
        Data.loads += 1
        return [1, 2]
--
assert fib(20) == 6765 and fib.cache_info().misses == 21
fib.cache_clear()
assert fib.cache_info().currsize == 0
assert square()(5) == 25 and square().keywords == {"exp": 2}
d = Data()
assert d.rows is d.rows and Data.loads == 1
~~ @cached_property => @property
== a decorator of the program keeps the name of the tests' function
import functools
def loud(f):
    @functools.wraps(f)
    def inner(*a, **k): return str(f(*a, **k)).upper()
    return inner
--
@loud
def greet(name, end="!"):
    'Greets.'
    return f"hi {name}{end}"
assert greet("bo", end="?") == "HI BO?"
assert greet.__name__ == "greet" and greet.__doc__ == "Greets."
~~ @functools.wraps(f) => @staticmethod
== coroutines and asynchronous generators run under the tests' loop
import asyncio
async def fetch(x):
    await asyncio.sleep(0)
    return x * 2
async def ticks(n):
    for i in range(n): yield i
--
import asyncio
async def main():
    a, b = await asyncio.gather(fetch(1), fetch(5))
    return a + b, [i async for i in ticks(3)]
assert asyncio.run(main()) == (12, [0, 1, 2])
~~ yield i => yield i + 1
== a stream of the tests is written, one of the program's is read
import io
def report(rows, out):
    for r in rows: print(*r, sep=",", file=out)
def lines(*words): return io.StringIO("\n".join(words))
--
import io
buf = io.StringIO()
report([(1, 2), ("a", "b")], buf)
assert buf.getvalue() == "1,2\na,b\n"
f = lines("x", "y")
assert f.readline() == "x\n" and f.read() == "y" and isinstance(f, io.StringIO)
~~ sep="," => sep=";"
== deep, long and self-containing values come back whole
def nest(n):
    out = []
    for _ in range(n): out = [out]
    return out
def squares(n): return [i * i for i in range(n)]
def loop():
    xs = [1]
    xs.append(xs)
    return xs
--
def depth(x):
    d = 0
    while x: x, d = x[0], d + 1
    return d
assert depth(nest(900)) == 900
assert squares(100_000)[-1] == 99_999 ** 2
xs = loop()
assert xs[1] is xs
~~ range(n): out => range(n + 1): out
"""

STATE = r"""
== a seed that the tests set is the program's
import random
def roll(n): return [random.randint(1, 6) for _ in range(n)]
--
import random
random.seed(42)
assert roll(5) == [6, 1, 1, 6, 3]
random.seed(42)
a = roll(9)
random.seed(42)
assert roll(9) == a
~~ randint(1, 6) => randint(2, 7)
== variables of the environment and arguments that the tests set are the program's
import os, sys
def home(): return os.environ.get("APP_HOME", "/none") + "/data"
def words(): return [a.upper() for a in sys.argv[1:]]
--
import os, sys
from unittest.mock import patch
assert home() == "/none/data"
os.environ["APP_HOME"] = "/x"
assert home() == "/x/data"
with patch.object(sys, "argv", ["prog", "a"]):
    assert words() == ["A"]
~~ /data => /dat
== limits and contexts that the tests set are the program's
from decimal import Decimal
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
def third(): return Decimal(1) / Decimal(3)
--
import sys
from decimal import Decimal, localcontext
sys.setrecursionlimit(20000)
assert depth(9000) == 9000
with localcontext() as ctx:
    ctx.prec = 5
    assert third() == Decimal("0.33333")
~~ 1 + depth => 2 + depth
== answers that the tests give are what input returns
def menu():
    picked = []
    while (x := input("> ")) != "q": picked.append(x)
    return picked
--
from unittest.mock import patch
with patch("builtins.input", side_effect=["a", "b", "q"]):
    assert menu() == ["a", "b"]
~~ picked.append(x) => picked.insert(0, x)
== a helper that the tests replace is replaced for the program
import time
def fetch(url): raise OSError("no network")
def title(url): return fetch(url).split("|")[0]
def age(born): return int(time.time() - born)
--
from unittest.mock import patch
with patch("solution.fetch", return_value="A|B"):
    assert title("u") == "A"
with patch("time.time", return_value=100.0):
    assert age(40) == 60
~~ [0] => [1]
== a mock that is handed over tells what it was called with
class Service:
    def __init__(self, repo): self.repo = repo
    def register(self, name):
        if self.repo.exists(name): raise ValueError("taken")
        self.repo.save(name)
        return True
--
from unittest.mock import Mock
repo = Mock()
repo.exists.return_value = False
s = Service(repo)
assert s.register("bo") is True
repo.save.assert_called_once_with("bo")
repo.exists.return_value = True
try:
    s.register("al")
    assert False
except ValueError as e:
    assert str(e) == "taken"
~~ self.repo.save(name) => self.repo.save(name + '!')
== what the program prints is caught by the tests
import sys
def banner(s):
    print("*" * len(s))
    print(s, file=sys.stderr)
--
import contextlib, io
def test_capsys(capsys):
    banner("abc")
    got = capsys.readouterr()
    assert got.out == "***\n" and got.err == "abc\n"
def test_redirected():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        banner("x")
    assert out.getvalue() == "*\n"
~~ "*" * len(s) => "*" * 3
== warnings reach the tests
import warnings
def old(x):
    warnings.warn("use new", DeprecationWarning)
    return x
--
import unittest
class T(unittest.TestCase):
    def test_warns(self):
        with self.assertWarns(DeprecationWarning):
            self.assertEqual(old(1), 1)
~~ DeprecationWarning => FutureWarning
== a module that the tests supply is what the program imports
def load():
    import fancy_lib
    return fancy_lib.value * 2
--
import sys, types
stub = types.ModuleType("fancy_lib")
stub.value = 21
sys.modules["fancy_lib"] = stub
assert load() == 42
~~ * 2 => * 3
"""

RUNNERS = r"""
== coroutines of the program wait for what the tests put into a queue, or set an event
import asyncio
async def worker(queue, out):
    while (x := await queue.get()) is not None: out.append(x * 2)
async def waits(event):
    await event.wait()
    return 77
--
import asyncio
async def queued():
    queue, out = asyncio.Queue(), []
    task = asyncio.create_task(worker(queue, out))
    for each in (11, 12, None): await queue.put(each)
    await task
    return out
async def woken():
    event = asyncio.Event()
    task = asyncio.create_task(waits(event))
    await asyncio.sleep(0)
    event.set()
    return await task
assert asyncio.run(queued()) == [22, 24]
assert asyncio.run(woken()) == 77
~~ x * 2 => x * 3
== what unittest does around methods is done
class Db:
    opened = 0
    def __init__(self):
        Db.opened += 1
        self.rows = []
    def add(self, r):
        self.rows.append(r)
        return len(self.rows)
--
import unittest
class T(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.db = Db()
    def setUp(self): self.db.rows.clear()
    def test_one(self): self.assertEqual(self.db.add("a"), 1)
    def test_two(self):
        self.db.add("a")
        for r, n in [("b", 2), ("c", 3)]:
            with self.subTest(r): self.assertEqual(self.db.add(r), n)
        self.assertEqual(Db.opened, 1)
~~ return len(self.rows) => return 1
== test methods that a TestCase inherits are run
class Stack:
    def __init__(self): self.top = None
    def push(self, x): self.top = (x, self.top)
    def pop(self):
        x, self.top = self.top
        return x
--
import unittest
class Contract:
    def test_last_in_first_out(self):
        s = self.make()
        s.push(1); s.push(2)
        self.assertEqual(s.pop(), 2)
        self.assertEqual(s.pop(), 1)
class TestStack(Contract, unittest.TestCase):
    def make(self): return Stack()
~~ = (x, self.top) => = (x, (x, self.top))
== what pytest does around functions is done
class Res:
    live = 0
    def __init__(self): Res.live += 1
    def close(self): Res.live -= 1
--
import pytest
@pytest.fixture
def res():
    r = Res()
    yield r
    r.close()
def test_first(res): assert Res.live == 1
def test_second(res): assert Res.live == 1
def test_after(): assert Res.live == 0
~~ Res.live -= 1 => pass
== every set of parameters is a test
def clamp(x, lo, hi): return max(lo, min(x, hi))
--
import pytest
@pytest.mark.parametrize("lo", [0, 1], ids=["zero", "one"])
@pytest.mark.parametrize("x", [-5, 0, 5])
def test_bounds(x, lo): assert lo <= clamp(x, lo, 3) <= 3
@pytest.mark.parametrize(("x", "want"), [pytest.param(9, 3, id="high"), (2, 2)])
def test_values(x, want): assert clamp(x, 0, 3) == want
~~ min(x, hi) => x
== a class of tests is made anew for each
class Cart:
    def __init__(self): self.items = {}
    def add(self, n, q=1): self.items[n] = self.items.get(n, 0) + q
--
class TestCart:
    def setup_method(self): self.cart = Cart()
    def test_empty(self): assert self.cart.items == {}
    def test_add(self):
        self.cart.add("a")
        self.cart.add("a", 2)
        assert self.cart.items == {"a": 3}
~~ self.items.get(n, 0) + q => q
== a doctest sees what is printed and what is raised
def poem():
    print("roses")
    print()
    print("violets")
def boom(x): raise ValueError("bad %d" % x)
class Thing: ...
--
>>> poem()
roses
<BLANKLINE>
violets
>>> Thing()  # doctest: +ELLIPSIS
<solution.Thing object at 0x...>
>>> for i in range(2):
...     print(i)
0
1
>>> boom(3)
Traceback (most recent call last):
    ...
ValueError: bad 3
~~ print() => pass
== tests under a main guard are run
def inc(x): return x + 1
--
def run_all():
    assert inc(1) == 2
    assert inc(-1) == 0
if __name__ == "__main__":
    run_all()
~~ x + 1 => abs(x) + 1
== asserts in helpers, branches and nested functions are run
def sign(x): return (x > 0) - (x < 0)
--
def expect(x, want):
    got = sign(x)
    assert got == want, f"{x} gave {got}"
for x in [-2, 0, 3]:
    if x < 0: expect(x, -1)
    elif x == 0: assert sign(x) == 0
    else:
        def inner(): assert sign(x) == 1
        inner()
~~ (x > 0) => (x >= 0)
== a reference in the tests is compared with over random inputs
def quick(xs):
    if len(xs) < 2: return list(xs)
    p, *rest = xs
    return quick([x for x in rest if x < p]) + [p] + quick([x for x in rest if x >= p])
--
import random
rng = random.Random(3)
for _ in range(30):
    xs = [rng.randint(-9, 9) for _ in range(rng.randint(0, 12))]
    assert quick(xs) == sorted(xs)
~~ x >= p => x > p
== an entry point may be a method of a fresh object @ Solution().twoSum
class Solution:
    def twoSum(self, nums, target):
        for i in range(len(nums)):
            for j in range(i + 1, len(nums)):
                if nums[i] + nums[j] == target: return [i, j]
--
def check(candidate):
    assert candidate([2, 7, 11], 9) == [0, 1]
    assert candidate(nums=[3, 2, 4], target=6) == [1, 2]
    assert candidate([1], 5) is None
~~ range(i + 1, => range(i,
== an entry point may be a method of a class @ Parser.parse
class Parser:
    sep = ","
    @classmethod
    def parse(cls, s): return [x.strip() for x in s.split(cls.sep)]
--
def check(candidate):
    assert candidate("a, b") == ["a", "b"]
~~ x.strip() => x
== the program's module may have any name
def area(w, h): return w * h
class Box: side = 3
--
import shapes
from shapes import area, Box
assert area(2, 3) == 6 and shapes.area(1, 1) == 1
assert Box.side == 3
~~ w * h => w + h
"""

UNDECIDED = r"""
== one thread of the tests waits in the program for what another one does
import threading
class Slot:
    def __init__(self): self.ready, self.value = threading.Event(), None
    def get(self):
        self.ready.wait(1)
        return self.value
    def put(self, value):
        self.value = value
        self.ready.set()
--
import threading
slot, got = Slot(), []
t = threading.Thread(target=lambda: got.append(slot.get()))
t.start()
slot.put(77)
t.join()
assert got == [77]
~~ self.value = value => self.value = 5
== an own equality with numbers is the program's answer
class Mod7:
    def __init__(self, n): self.n = n % 7
    def __eq__(self, o): return self.n == (o.n if isinstance(o, Mod7) else o % 7)
    def __add__(self, o): return Mod7(self.n + (o.n if isinstance(o, Mod7) else o))
    __radd__ = __add__
--
assert Mod7(9) == 2 and 2 == Mod7(9)
assert Mod7(3) + Mod7(5) == Mod7(1)
assert sum([Mod7(4), Mod7(5)]) == 2
~~ = n % 7 => = n % 5
== a class that is compared by identity
class Animal: ...
class Dog(Animal): ...
def create(): return Dog()
--
assert type(create()) is Dog and type(create()) != Animal
assert create().__class__ is Dog and Dog.__bases__ == (Animal,)
~~ return Dog() => return Animal()
== a method of an own exception
class PaymentError(Exception):
    def refundable(self): return self.args[0] > 0
def pay(n): raise PaymentError(n)
--
try:
    pay(5)
    assert False
except PaymentError as e:
    assert e.refundable()
~~ > 0 => < 0
== a view that is written through, or shows what comes later
d = {"a": 1}
def keys(): return d.keys()
def view(n): return memoryview(bytearray(range(n)))
--
k, m = keys(), view(2)
d["b"] = 2
m[0] = 9
assert k == {"a", "b"} and m.tolist() == [9, 1]
~~ return d.keys() => return dict(d).keys()
== messages that the program logs
import logging
def run(): logging.getLogger("svc").warning("low %d", 5)
--
import logging
records = []
class Keep(logging.Handler):
    def emit(self, record): records.append(record.getMessage())
logging.getLogger("svc").addHandler(Keep())
run()
assert records == ["low 5"]
~~ low %d => lo %d
== conversions of an own number
import math
class N:
    def __init__(self, x): self.x = x
    def __int__(self): return int(self.x)
    __index__ = __int__
    def __round__(self, n=0): return N(round(self.x, n))
    def __floor__(self): return math.floor(self.x)
    def __rsub__(self, o): return o - self.x
--
import math
n = N(2.6)
assert int(n) == 2 and round(n, 1).x == 2.6 and math.floor(n) == 2
assert [0, 1, 2, 3][n] == 2 and list(range(n)) == [0, 1] and hex(n) == "0x2"
assert 10 - N(3) == 7
~~ o - self.x => self.x - o
== names and members of a class
class A:
    "A thing."
    x = 1
    __slots__ = ("y",)
    def f(self): return 2
class B(A):
    def f(self): return super().f() + 1
--
import inspect
assert A.__doc__ == "A thing." and A.__slots__ == ("y",)
assert [n for n in dir(A) if not n.startswith("_")] == ["f", "x", "y"]
assert [n for n, _ in inspect.getmembers(A, inspect.isfunction)] == ["f"]
assert super(B, B()).f() == 2 and [k.__name__ for k in B.mro()][:2] == ["B", "A"]
~~ ("y",) => ("z",)
== a class of the tests that the program changes or chooses from
def add_repr(cls):
    cls.__repr__ = lambda self: cls.__name__ + str(sorted(vars(self)))
    return cls
def best(items): return max(items, key=lambda i: i.price)
--
from dataclasses import dataclass
@add_repr
class P:
    def __init__(self): self.x = 1
@dataclass(frozen=True)
class Item:
    price: float
items = [Item(1.5), Item(3.0)]
assert repr(P()) == "P['x']"
assert best(items) == Item(3.0) and best(items) is items[1]
~~ max( => min(
== a class that the tests derive, where the program keeps account of classes
class Plugin:
    names = []
    def __init_subclass__(cls, **kw): Plugin.names.append(cls.__name__)
--
class Two(Plugin): ...
assert Plugin.names == ["Two"]
assert isinstance(Two(), Plugin)
~~ cls.__name__ => cls.__name__.lower()
== a function for one more type
from functools import singledispatch
@singledispatch
def show(x): return "object"
@show.register
def _(x: int): return "int"
--
@show.register
def _(x: str): return "str"
assert show(1) == "int" and show("a") == "str" and show(None) == "object"
~~ return "int" => return "integer"
== threads of both sides
import threading
class Safe:
    def __init__(self): self.n, self.lock = 0, threading.Lock()
    def add(self):
        for _ in range(20):
            with self.lock: self.n += 1
--
import threading
s = Safe()
ts = [threading.Thread(target=s.add) for _ in range(3)]
for t in ts: t.start()
for t in ts: t.join()
assert s.n == 60
~~ range(20) => range(19)
== an iterator of the tests that both sides read
def evens(it): return (x for x in it if x % 2 == 0)
--
src = iter(range(6))
e = evens(src)
assert next(e) == 0 and next(src) == 1 and next(e) == 2
assert list(e) == [4] and list(src) == []
~~ (x for x in it if x % 2 == 0) => iter([x for x in it if x % 2 == 0])
== the text of the program
import math
def area(r): return math.pi * r ** 2
--
import ast, inspect
tree = ast.parse(inspect.getsource(area))
assert isinstance(tree.body[0], ast.FunctionDef)
assert not any(isinstance(n, ast.Name) and n.id == "print" for n in ast.walk(tree))
~~ return math.pi * r ** 2 => return print(r)
== objects that go when nothing holds them
import weakref
class Node: ...
cache = weakref.WeakValueDictionary()
def get(k):
    n = cache.get(k) or Node()
    cache[k] = n
    return n
--
import gc
a = get("x")
assert get("x") is a and len(cache) == 1
del a
gc.collect()
assert len(cache) == 0
~~ weakref.WeakValueDictionary() => {}
== marks of pytest that say what not to run, and fixtures of its own
def f(x): return x
--
import pytest
@pytest.mark.skip(reason="not now")
def test_skip(): assert f(1) == 2
@pytest.mark.xfail
def test_known(): assert f(1) == 2
@pytest.fixture(scope="module", params=[1, 2])
def each(request): return request.param
def test_each(each): assert f(each) == each
def test_written(tmp_path):
    (tmp_path / "a").write_text("b")
    assert f((tmp_path / "a").read_text()) == "b"
~~ return x => return x if x == 1 else 3
== methods of unittest that are skipped or known to fail
def f(x): return x + 1
--
import unittest
class T(unittest.TestCase):
    @unittest.skip("later")
    def test_skipped(self): self.assertEqual(f(1), 99)
    @unittest.expectedFailure
    def test_known(self): self.assertEqual(f(1), 3)
    def test_none(self): self.skipTest("no module")
    def test_plain(self): self.assertEqual(f(1), 2)
~~ x + 1 => x + 3
"""

NUMPY = r"""
== arrays are compared by numpy's own functions
import numpy as np
def ramp(n): return np.arange(n) * 2
def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()
--
import numpy as np
assert np.array_equal(ramp(3), [0, 2, 4]) and ramp(4)[1:3].tolist() == [2, 4]
assert ramp(3).shape == (3,) and (ramp(3) == np.array([0, 2, 4])).all()
np.testing.assert_allclose(softmax(np.zeros(2)), [0.5, 0.5])
~~ / e.sum() => / e.max()
== arrays say what they hold
import numpy as np
def zeros(n): return np.zeros((n, n), dtype=np.float32)
def mean(xs): return np.mean(xs)
--
import numpy as np
z = zeros(2)
assert isinstance(z, np.ndarray) and z.dtype == np.float32 and z.ndim == 2
assert mean([1, 2, 3]) == 2.0 and abs(mean([0.1, 0.2]) - 0.15) < 1e-12
~~ np.float32 => np.float64
== an array of an object is written in place
import numpy as np
class Grid:
    def __init__(self, n): self.a = np.zeros((n, n), int)
    def total(self): return int(self.a.sum())
--
g = Grid(3)
g.a[0] = 1
g.a[:, 1] += 2
assert g.total() == 9
~~ self.a.sum() => self.a.max()
== an error of numpy's is caught as what it is
import numpy as np
def solve(a, b): return np.linalg.solve(a, b)
--
import numpy as np
assert np.allclose(solve([[2, 0], [0, 4]], [2, 4]), [1, 1])
try:
    solve(np.zeros((2, 2)), np.ones(2))
    assert False
except np.linalg.LinAlgError as e:
    assert "Singular" in str(e)
~~ np.linalg.solve(a, b) => np.linalg.lstsq(a, b, rcond=None)[0]
"""


@cases(LIVE + OBJECTS + ERRORS + VALUES + STATE + RUNNERS)
def test_a_right_program_passes_and_its_twin_with_a_mistake_does_not(
    box: Sandbox, solution: str, twin: str, tests: str, entry: str | None
) -> None:
    report = box.check(solution, tests, entry)
    assert report.status == "pass", report
    report = box.check(twin, tests, entry)
    assert report.status in ("fail", "error", "test_error"), report


@cases(UNDECIDED)
def test_where_no_verdict_can_be_trusted_a_right_program_is_not_blamed(
    box: Sandbox, solution: str, twin: str, tests: str, entry: str | None
) -> None:
    report = box.check(solution, tests, entry)
    assert report.status in ("pass", "test_error"), report
    assert box.check(twin, tests, entry).status != "pass"


@pytest.fixture(scope="module")
def numpy_box() -> Iterator[Sandbox]:
    pytest.importorskip("numpy")
    with Sandbox(slots=1, preload=["numpy"], limits=Limits(wall_s=4.0)) as made:
        yield made


@cases(NUMPY)
def test_programs_and_tests_with_a_preloaded_numpy_are_judged(
    numpy_box: Sandbox, solution: str, twin: str, tests: str, entry: str | None
) -> None:
    report = numpy_box.check(solution, tests, entry)
    assert report.status == "pass", report
    assert numpy_box.check(twin, tests, entry).status != "pass"


STANDARD_ERRORS = [
    "binascii.Error", "configparser.NoSectionError('a')", "copy.Error", "csv.Error", "dataclasses.FrozenInstanceError",
    "decimal.DivisionByZero", "email.errors.HeaderParseError", "getopt.GetoptError('m', 'q')", "graphlib.CycleError",
    "http.client.BadStatusLine('x')", "io.UnsupportedOperation", "ipaddress.AddressValueError",
    "json.JSONDecodeError('m', 'd', 0)", "lzma.LZMAError", "pickle.UnpicklingError", "queue.Empty", "re.error('m')",
    "shutil.SameFileError", "socket.gaierror", "statistics.StatisticsError", "struct.error",
    "subprocess.CalledProcessError(2, 'ls')", "tarfile.ReadError", "tomllib.TOMLDecodeError",
    "urllib.error.URLError('r')", "xml.etree.ElementTree.ParseError", "zipfile.BadZipFile", "zlib.error",
    "zoneinfo.ZoneInfoNotFoundError", "concurrent.futures.BrokenExecutor", "asyncio.QueueEmpty",
    "argparse.ArgumentTypeError",
]  # fmt: skip


@pytest.mark.parametrize("error", STANDARD_ERRORS)
def test_an_exception_of_the_standard_library_is_caught_by_its_own_class(box: Sandbox, error: str) -> None:
    name = error.partition("(")[0]
    module, _, kind = name.rpartition(".")
    solution = f"import {module}\ndef f(x):\n    if x: raise {error}\n    return x\n"
    tests = (
        f"import {module}\nassert f(0) == 0\ntry:\n    f(1)\n    assert False\n"
        f"except {name} as e:\n    assert type(e).__name__ == {kind!r} and isinstance(e, {name})\n"
    )
    assert box.check(solution, tests).passed
    assert box.check(solution.replace(f"raise {error}", "raise Exception"), tests).status in ("fail", "error")
    assert box.check(solution.replace(f"raise {error}", "pass"), tests).status == "fail"
