"""The contract: what is written is what is read, and a row that breaks it is named."""

import contextlib
import json
import math
import random
from pathlib import Path

import pytest

from advcore import DataError, contract, literals

GOLDEN = Path(__file__).parents[2] / "data" / "golden.jsonl"


def golden():
    """One row of each config that advgen writes, as `{"config": ..., "row": ...}` lines."""
    return {line["config"]: line["row"] for line in map(json.loads, GOLDEN.read_text().split("\n")[:-1])}


def test_golden_rows_survive_writing_and_reading(tmp_path):
    for config, row in golden().items():
        contract.write_round(tmp_path, config, 0, [row])
        assert contract.read(tmp_path, config) == [row]


def test_rounds_are_read_in_order_and_written_anew(tmp_path):
    row = golden()["dpo"]
    for number in (1, 0, 1):
        contract.write_round(tmp_path, "dpo", number, [{**row, "round": number}])
    assert [each["round"] for each in contract.read(tmp_path, "dpo")] == [0, 1]


def test_rows_of_version_1_are_read_with_what_they_did_not_know(tmp_path):
    new = {"dpo": "p_true", "raw": "testimony"}
    for config, column in new.items():
        row = {name: value for name, value in golden()[config].items() if name != column} | {
            "schema_version": 1
        }
        columns = {name: kind for name, kind in contract.COLUMNS[config].items() if name != column}
        with contract.RoundWriter(tmp_path, config, 0, columns) as writer:
            writer.add(row)
        (found,) = contract.read(tmp_path, config)
        assert {name: found[name] for name in row} == row
        assert repr(found[column]) == {"dpo": "nan", "raw": "'{}'"}[config]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chosen": "text"}, "dpo.chosen is str, not messages"),
        ({"chosen": []}, "dpo.chosen is an empty list"),
        ({"chosen": [{"role": "user"}]}, "without exactly role and content"),
        ({"chosen": [{"role": "user", "content": None}]}, "is not text"),
        ({"round": 1.0}, "dpo.round is float, not int"),
        ({"tests": "{"}, "dpo.tests does not hold JSON"),
        ({"strategy": "random"}, "dpo.strategy is 'random'"),
        ({"extra": 1}, "unknown columns extra"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named_and_nothing_is_written(tmp_path, change, says):
    with pytest.raises(DataError, match=says):
        contract.write_round(tmp_path, "dpo", 0, [{**golden()["dpo"], **change}])
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_row_that_we_made_is_not_parsed_to_be_checked():
    broken = {**golden()["dpo"], "tests": "{"}
    contract.check_columns("dpo", broken)
    with pytest.raises(DataError, match=r"dpo\.tests does not hold JSON"):
        contract.check_row("dpo", broken)


def test_a_row_that_does_not_fit_its_column_leaves_no_file(tmp_path):
    import pyarrow

    with pytest.raises(pyarrow.ArrowInvalid), contract.RoundWriter(tmp_path, "a", 0, {"n": "int"}) as writer:
        writer.add({"n": "one"})
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_numbers_that_json_does_not_know_are_kept(tmp_path):
    with contract.RoundWriter(tmp_path, "a", 0, {"x": "float"}) as writer:
        for number in (1.5, math.inf, math.nan):
            writer.add({"x": number})
    assert repr([row["x"] for row in contract.file_rows(writer.path)]) == "[1.5, inf, nan]"


def test_of_a_long_file_a_part_is_in_memory(tmp_path):
    import pyarrow.parquet

    chance, row = random.Random(0), golden()["rl"]
    path = contract.write_round(
        tmp_path, "rl", 0, ({**row, "topic": chance.randbytes(2_000).hex()} for _ in range(6_000))
    )
    assert pyarrow.parquet.read_metadata(path).num_row_groups == 6
    before, rows = pyarrow.total_allocated_bytes(), contract.rows(tmp_path, "rl")
    next(rows)
    assert pyarrow.total_allocated_bytes() - before < 0.6 * path.stat().st_size
    assert sum(1 for _ in rows) == 5_999


def test_a_missing_column_and_a_missing_config_are_named(tmp_path):
    row = golden()["dpo"]
    del row["rejected"]
    with pytest.raises(DataError, match="a dpo row lacks rejected"):
        contract.check_row("dpo", row)
    with pytest.raises(DataError, match="has no dpo config"):
        contract.read(tmp_path, "dpo")


def test_a_test_becomes_an_assert_and_floats_get_a_tolerance():
    assert (
        contract.assertion({"call": "f(1)", "expected": "[2]", "source": "agreement"}) == "assert f(1) == [2]"
    )
    assert contract.assertion({"code": "assert g()"}) == "assert g()"
    assert contract.assertion({"call": "f(1)", "expected": "True"}) == "assert f(1) is True"
    scope = {"f": lambda x: 0.1 + 0.2, "g": lambda x: 0.31}
    exec(contract.suite([{"call": "f(1)", "expected": "0.3"}]), scope)
    with pytest.raises(AssertionError):
        exec(contract.suite([{"call": "g(1)", "expected": "0.3"}]), scope)


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        ("1.0", ["1", "1.0 + 1e-12"], ["True", "1.1", "None", "'a'", "[1.0]", "10**400", "1j"]),
        (
            "[0.0, float('inf')]",
            ["[0, float('inf')]"],
            ["[0.0, -1]", "[0.0, 1e308]", "[False, float('inf')]"],
        ),
        ("float('inf')", ["float('inf')"], ["1e308", "float('-inf')"]),
        ("3", ["3", "3.0"], ["3.0000000001", "True + 2.5"]),
        ("[1, 2.5]", ["[1, 2.5]", "[1.0, 2.5]"], ["[1.0000000001, 2.5]", "(1, 2.5)", "[1, 2.5, 0]"]),
    ],
)
def test_a_suite_accepts_what_is_the_same_and_nothing_else(expected, right, wrong):
    """As `literals.same` does, in plain Python, and inside of a function too."""
    text = contract.suite([{"call": "close(1)", "expected": expected}])
    for value in right + wrong:
        with contextlib.nullcontext() if value in right else pytest.raises(AssertionError):
            exec(text, {}, {"close": lambda x, value=value: eval(value)})
        assert literals.same(literals.value_of(expected), eval(value)) is (value in right), value


SUITE = [
    {"call": "f(1)", "expected": "[0.3, {'a': (1, 0.5)}]"},
    {"call": "f(-1)", "raises": "ValueError"},
    {"call": "f(2)", "expected": "3"},
]


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (("", ""), True),
        (("0.1 + 0.2", "0.31"), False),
        (("(1, 0.5)", "[1, 0.5]"), False),
        (("(1, 0.5)", "(1, 0.5, 0)"), False),
        (("ValueError", "KeyError"), False),
        (("raise ValueError", "return"), False),
        (("ValueError", "UnicodeError"), True),
    ],
)
def test_a_suite_holds_what_its_asserts_need(change, holds):
    program = (
        "def f(x):\n    if x < 0: raise ValueError\n    return 3 if x == 2 else [0.1 + 0.2, {'a': (1, 0.5)}]"
    )
    scope = {}
    exec(program.replace(*change), scope)
    with contextlib.nullcontext() if holds else pytest.raises(AssertionError):
        exec(contract.suite(SUITE), scope)


def test_a_plain_suite_is_its_asserts_alone():
    assert contract.suite(SUITE[2:]) == "assert f(2) == 3"


@pytest.mark.parametrize(
    "entry",
    [{"call": "f(1)"}, {"call": "f(1)", "raises": "SystemExit"}, {"call": "f(1)", "expected": "g()"}, 5],
)
def test_what_is_no_test_is_refused(entry):
    with pytest.raises(DataError, match="tests cannot be read"):
        contract.tests_of(json.dumps([entry]))
