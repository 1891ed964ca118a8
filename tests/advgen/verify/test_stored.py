"""A `raw` row read back: typed, each column once, and one line for what cannot be read."""

import json

import pytest

from advcore import DataError
from advgen.verify import Attempt, Solution, Stored


def row(**columns):
    return {"exercise_id": "x", **{name: json.dumps(value) for name, value in columns.items()}}


def test_columns_come_back_as_what_they_were_written_from():
    stored = Stored(row(
        tests=[{"call": "f(1)", "expected": "2"}], mended=["", "code"],
        solutions=[{"code": "a", "right": False, "given": False}, {"code": "b", "right": True, "given": True}],
        attempts=[{"code": "c", "status": "fail", "failed_test": 1, "failed": [1, 2], "detail": "why"}],
    ))  # fmt: skip
    assert (stored.tests, stored.repairs) == ([{"call": "f(1)", "expected": "2"}], ["", "code"])
    assert stored.right == [Solution("b", right=True, given=True)]
    assert stored.attempts == [Attempt(code="c", status="fail", failed_test=1, failed=(1, 2), detail="why")]
    assert stored.attempts is stored.attempts


def test_rows_of_version_1_are_read_with_what_they_did_not_know():
    stored = Stored(row(
        solutions=[{"code": "a", "right": True}],
        attempts=[{"code": "c", "status": "pass", "failure_kind": "", "failed_test": -1, "detail": ""}],
    ))  # fmt: skip
    assert stored.right == [Solution("a", right=True)]
    assert stored.attempts == [Attempt(code="c", status="pass")]


@pytest.mark.parametrize("text", ["{", "3", '[{"code": 1}]', "[3]"])
@pytest.mark.parametrize("column", ["solutions", "attempts"])
def test_a_column_that_cannot_be_read_is_one_line(column, text):
    with pytest.raises(DataError, match=f"exercise x has no {column} that this release reads"):
        getattr(Stored({"exercise_id": "x", column: text}), column)
