"""Values cross unchanged, and a hostile sender can only build data."""

# ruff: noqa: E501  (programs are easier to read unbroken)
from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from sandbox.wire import Budget, CannotCross, Decoder, Encoder, WireError, dumps, loads


def crossed(value: Any) -> Any:
    return Decoder().decode(loads(dumps(Encoder().encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**70), 1.5, math.inf, "é\n\x00", "\ud800", b"\xff", bytearray(b"x"), 2 + 3j, [], [1, [2, []]],
        (), (1, (2,)), {"a": [1], 2: "b", (3,): None}, {1, 2}, frozenset({"x"}), range(3, 9, 2), Counter("aab"),
        OrderedDict([(1, 2)]), defaultdict(None, {1: 2}), deque([1, 2]), Decimal("1.10"), Fraction(1, 3),
        datetime(2020, 1, 2, 3, 4, 5), date(2020, 1, 2), timedelta(1, 2, 3), int, ...,
    ],
)  # fmt: skip
def test_a_value_crosses_with_its_exact_type(value: Any) -> None:
    result = crossed(value)
    assert result == value
    assert type(result) is type(value)


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
    for value in (object(), len, type("Sub", (int,), {})(3), iter([])):
        with pytest.raises(CannotCross):
            Encoder().encode(value)


def test_exact_mode_is_for_builtin_types_only() -> None:
    with pytest.raises(CannotCross):
        Encoder(exact=Budget()).encode([Decimal(1)])
    with pytest.raises(WireError):
        Decoder(exact=Budget()).decode(["decimal", "1"])
    with pytest.raises(WireError):
        Decoder(exact=Budget()).decode(["s", *range(1 << 15)])


@pytest.mark.parametrize(
    "node",
    [
        ["evil", 1], [], [1], [[]], {"a": 1}, ["s", ["l"]], ["d", [["l"], 1]], ["d", [1]], ["d", 1], ["r", 0], ["r", "x"],
        ["i", "zz"], ["i", 3], ["b", "0"], ["c", 1], ["decimal", "x"], ["type", "module"], ["fraction", ["1", "0x0"]],
        ["range", ["1", "2", "0"]], ["datetime", 7],
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
