"""Records to rows: what may be paired, in which form, and when two statements are one."""

import json
import os
from dataclasses import replace
from pathlib import Path

from advgen import curate, parse
from advgen.curate import Record
from advgen.seeds import Seed
from advgen.verify import Attempt, Proof

GOLDEN = Path(__file__).parent.parent / "data" / "golden.jsonl"
STATEMENT = parse.statement(
    'def double(x: int) -> int:\n    """Twice the number x, whatever its sign may be, as an int."""'
)
GOOD = "def double(x):\n    return 2 * x"
BAD = "def double(x):\n    return x"


def record(*attempts, status="kept"):
    return Record(
        seed=Seed(index=0, round=0, strategy="seed", topic="t", subtopic="s"), exercise_id="e", status=status,
        statement=STATEMENT, prompt=({"role": "user", "content": "p"},), proof=Proof(status="kept", right=(GOOD,)),
        response=f"Here:\n```python\n{GOOD}\n```",
        attempts=attempts, origin={"teacher": "t", "student": "s", "sandbox": "{}", "provenance": {}},
    )  # fmt: skip


def failing(code=BAD, status="fail"):
    return Attempt(code=code, status=status, failure_kind="wrong_answer", failed_test=0)


def test_chosen_and_rejected_are_written_in_the_same_form():
    (row,) = curate.pairs(record(failing(), Attempt(code=GOOD, status="pass")), most=2)
    assert row["chosen"] == [{"role": "assistant", "content": f"```python\n{GOOD}\n```"}]
    assert row["rejected"] == [{"role": "assistant", "content": f"```python\n{BAD}\n```"}]
    assert (row["student_pass_rate"], row["n_attempts"], row["failed_test"]) == (0.5, 2, 0)


def test_what_execution_did_not_separate_is_never_a_pair():
    assert not curate.pairs(record(Attempt(code=GOOD, status="pass")), most=2)
    assert not curate.pairs(record(failing(status="flaky"), failing(code="", status="unreadable")), most=2)
    assert not curate.pairs(record(failing(status="timeout"), failing(code=GOOD)), most=2)
    assert not curate.pairs(record(replace(failing(), failed_test=-1)), most=2)
    assert not curate.pairs(record(failing(), status="weak_tests"), most=2)


def test_two_failing_programs_that_differ_in_layout_only_make_one_pair():
    same = failing(code="def double(x):\n    # nothing\n    return (x)")
    other = failing(code="def double(x):\n    return -x")
    assert len(curate.pairs(record(failing(), same, other), most=5)) == 2
    assert len(curate.pairs(record(failing(), same, other), most=1)) == 1


def test_a_kept_record_gives_a_row_to_every_config_and_a_rejected_one_to_raw_only():
    made = curate.rows([record(failing(), Attempt(code=GOOD, status="pass")), record(status="weak_tests")], 1)
    assert {config: len(rows) for config, rows in made.items()} == {
        "dpo": 1, "sft": 1, "kto": 2, "rl": 1, "gad": 1, "raw": 2,
    }  # fmt: skip
    assert [row["label"] for row in made["kto"]] == [False, True]


def test_similarity_is_the_overlap_of_word_triples():
    assert curate.similarity("one two three four", "one two three four") == 1.0
    assert curate.similarity("one two three four", "one two three five") == 1 / 3
    assert (
        curate.duplicate_of(STATEMENT, [("a", "nothing alike here at all"), ("b", STATEMENT.stub)], 0.7)
        == "b"
    )


def test_the_golden_rows_are_what_the_data_side_writes_today():
    """`UPDATE_GOLDEN=1 pytest tests/test_curate.py` rewrites the file; the trainer's tests read it."""
    kept = record(failing(), Attempt(code=GOOD, status="pass"))
    test = {"call": "double(2)", "expected": "4", "source": "agreement"}
    kept = replace(kept, proof=replace(kept.proof, tests=(test,), teacher_pass_rate=1.0, kill_rate=0.75))
    lines = [{"config": config, "row": rows[0]} for config, rows in curate.rows([kept], 1).items()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text
