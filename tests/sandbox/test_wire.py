"""Values cross unchanged, and a hostile sender can only build data."""

# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

import math
import re
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from sandbox.wire import MAX_HASHED, Budget, CannotCross, Decoder, Encoder, WireError, dumps, loads


def crossed(value: Any) -> Any:
    return Decoder().decode(loads(dumps(Encoder().encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 1.5, math.inf, "é\n\x00", "\ud800", b"\xff", bytearray(b"x"), 2 + 3j, [], [1, [2, []]],
        (), (1, (2,)), {"a": [1], 2: "b", (3,): None}, {1, 2}, frozenset({"x"}), range(3, 9, 2), Counter("aab"),
        OrderedDict([(1, 2)]), defaultdict(None, {1: 2}), deque([1, 2]), Decimal("1.10"), Fraction(1, 3),
        datetime(2020, 1, 2, 3, 4, 5), date(2020, 1, 2), timedelta(1, 2, 3), int, ..., NotImplemented,
        datetime(2020, 1, 2, tzinfo=timezone(timedelta(hours=2), "here")), datetime(2020, 1, 2, tzinfo=ZoneInfo("UTC")),
        time(3, 4, tzinfo=UTC), memoryview(b"ab"), slice(1, None, 2), UUID(int=5), PurePosixPath("/a/b"),
        array("i", [1, 2]), SimpleNamespace(a=[1]), ChainMap({"a": 1}, {"b": 2}), UserDict(a=1), UserList([1]),
        UserString("x"), MappingProxyType({"a": 1}), {"a": 1}.keys(), {"a": 1}.items(), re.compile("a+", re.IGNORECASE),
        IPv4Address("1.2.3.4"), deque([1, 2, 3], maxlen=3), defaultdict(list, {1: [2]}),
    ],
)  # fmt: skip
def test_a_value_crosses_with_its_exact_type(value: Any) -> None:
    result = crossed(value)
    assert result == value
    assert type(result) is type(value)


def test_what_equality_does_not_see_crosses_too() -> None:
    assert crossed(deque([1], maxlen=3)).maxlen == 3
    assert crossed(defaultdict(list)).default_factory is list
    assert list(crossed(OrderedDict(b=1, a=2))) == ["b", "a"]
    assert crossed(datetime(2020, 1, 2, tzinfo=ZoneInfo("UTC"))).tzinfo.key == "UTC"
    assert crossed(array("d", [1.0])).typecode == "d"
    assert list(crossed({"b": 1, "a": 2}.values())) == [1, 2]


@pytest.mark.parametrize("function", [len, sorted, abs, max])
def test_a_harmless_builtin_function_crosses_as_itself(function: Any) -> None:
    assert crossed(function) is function


@pytest.mark.parametrize(
    "function", [eval, exec, open, print, getattr, setattr, __import__, compile, input, math.sqrt]
)
def test_any_other_function_does_not_cross(function: Any) -> None:
    with pytest.raises(CannotCross):
        Encoder().encode(function)
    with pytest.raises(WireError):
        Decoder().decode(["builtin", function.__name__])


def test_negative_zero_and_nan_cross() -> None:
    assert math.copysign(1, crossed(-0.0)) == -1
    assert math.isnan(crossed(math.nan))


def test_aliases_and_cycles_cross() -> None:
    shared: list[Any] = [1]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    result = crossed(loop)
    assert result[0] is result[1]
    assert result[2] is result


def test_other_types_do_not_cross() -> None:
    for value in (object(), type("Sub", (int,), {})(3), iter([]), type, ValueError, {}.get, lambda: 1):
        with pytest.raises(CannotCross):
            Encoder().encode(value)


def test_exact_mode_is_for_builtin_types_only() -> None:
    with pytest.raises(CannotCross):
        Encoder(exact=Budget()).encode([Decimal(1)])
    with pytest.raises(WireError):
        Decoder(exact=Budget()).decode(["decimal", "1"])
    for value in (len, deque([1]), UUID(int=1), UserDict(a=1), range(3)):
        with pytest.raises(CannotCross):
            Encoder(exact=Budget()).encode(value)


def test_keys_that_could_be_made_to_collide_are_counted_for_each_value_and_for_the_run() -> None:
    many, half = [["t", n] for n in range(MAX_HASHED + 1)], [["t", n] for n in range(MAX_HASHED // 2 + 1)]
    for node in (
        ["s", *many],
        ["f", *many],
        ["d", *([key, 0] for key in many)],
        ["l", ["s", *half], ["s", *half]],
    ):
        with pytest.raises(WireError, match="keys"):
            Decoder(exact=Budget()).decode(node)
    with pytest.raises(CannotCross, match="keys"):
        Encoder(exact=Budget()).encode({(n,) for n in range(MAX_HASHED + 1)})
    run = Budget.of_run()
    for _ in range(15):
        assert len(Decoder(exact=run.of_one_value()).decode(["s", *half])) == len(half)
    with pytest.raises(WireError, match="keys"):
        Decoder(exact=run.of_one_value()).decode(["s", *half])


def test_texts_and_small_numbers_are_keys_without_number() -> None:
    for keys in (range(1 << 15), map(str, range(1 << 15))):
        value = dict.fromkeys(keys, 1)
        assert Decoder(exact=Budget()).decode(Encoder(exact=Budget()).encode(value)) == value
    with pytest.raises(CannotCross, match="keys"):
        Encoder(exact=Budget()).encode({n << 61 for n in range(1, MAX_HASHED + 2)})


@pytest.mark.parametrize(
    "node",
    [
        ["evil", 1], [], [1], [[]], {"a": 1}, ["s", ["l"]], ["d", [["l"], 1]], ["d", [1]], ["d", 1], ["r", 0], ["r", "x"],
        ["i", "zz"], ["i", 3], ["b", "0"], ["c", 1], ["decimal", "x"], ["type", "module"], ["fraction", ["1", "0x0"]],
        ["range", ["1", "2", "0"]], ["datetime", 7], ["q", "x", 1], ["dd", ["builtin", "eval"]],
        ["library", "os.system", "x"], ["library", "subprocess.Popen", "x"], ["library", "uuid.UUID", "zz"],
        ["library", "re.Pattern", ["t", "(", 0]], ["library", "array.array", ["t", "zz", ["b", ""]]], ["type", "object2"],
    ],
)  # fmt: skip
def test_a_malformed_node_is_a_wire_error(node: Any) -> None:
    with pytest.raises(WireError):
        Decoder().decode(node)


def test_a_deep_node_is_a_wire_error() -> None:
    node: Any = 1
    for _ in range(100_000):
        node = ["l", node]
    with pytest.raises(WireError):
        Decoder().decode(node)
    with pytest.raises(WireError):
        loads(b"[" * 100_000)
