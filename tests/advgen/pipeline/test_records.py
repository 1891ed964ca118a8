"""The store: finished rows survive kills, and memory holds places only."""

import json

from advcore.ask import Answer
from advgen.pipeline.records import Record, RecordStore
from advgen.specs import ExerciseSpec


def test_rows_come_back_by_index_and_the_last_of_an_index_counts(tmp_path):
    store = RecordStore(tmp_path / "records.jsonl", "code 1")
    for index, text in ((2, "two"), (0, "zero"), (2, "two again")):
        store.add(index, {"text": text})
    assert [row["text"] for row in store.rows()] == ["zero", "two again"]
    store.close()
    again = RecordStore(tmp_path / "records.jsonl", "code 1")
    assert (len(again), again.get(2), again.get(1)) == (2, {"text": "two again"}, None)
    again.add(1, {"text": "one"})
    assert [row["text"] for row in again.rows()] == ["zero", "one", "two again"]
    again.close()


def test_a_line_torn_by_a_kill_is_dropped_and_written_over(tmp_path):
    file = tmp_path / "records.jsonl"
    store = RecordStore(file, "code")
    store.add(0, {"text": "whole"})
    store.close()
    with open(file, "ab") as torn:
        torn.write(b'1\t{"text": "to')
    again = RecordStore(file, "code")
    assert (again.get(0), again.get(1)) == ({"text": "whole"}, None)
    again.add(1, {"text": "new"})
    again.close()
    assert [json.loads(line.split("\t")[1]) for line in file.read_text().splitlines()[1:]] == [
        {"text": "whole"}, {"text": "new"},
    ]  # fmt: skip


def test_rows_that_other_code_or_other_templates_made_are_not_taken(tmp_path):
    store = RecordStore(tmp_path / "records.jsonl", "code 1")
    store.add(0, {"text": "old"})
    store.close()
    other = RecordStore(tmp_path / "records.jsonl", "code 2")
    assert len(other) == 0
    other.add(3, {"text": "new"})
    assert list(other.rows()) == [{"text": "new"}]
    other.close()


def test_the_usage_of_a_record_adds_up_by_purpose():
    record = Record(
        spec=ExerciseSpec(index=0, round=0, strategy="seed", topic="t", subtopic="s"),
        exercise_id="e",
        status="unreadable",
    )
    for purpose, tokens in (("statement", 5), ("solution", 7), ("solution", 8)):
        answer = Answer(
            text="",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=tokens,
            cost_usd=0.25,
            key=f"k{tokens}",
        )
        record.answers.append((purpose, answer))
    assert record.usage == {"statement": [1, 5], "solution": [2, 15], "usd": 0.75}
    row = record.row({"teacher": "t", "student": "s", "sandbox": "{}", "provenance": {"seed": 3}})
    assert json.loads(row["provenance"]) == {"seed": 3, "requests": ["k5", "k7", "k8"]}
    assert (row["status"], row["stub"], row["prompt"], row["n_attempts"]) == ("unreadable", "", [], 0)


def test_a_line_that_is_no_row_ends_what_is_taken(tmp_path):
    file = tmp_path / "records.jsonl"
    store = RecordStore(file, "code")
    store.add(0, {"text": "whole"})
    store.close()
    with open(file, "ab") as other:
        other.write(b"garbled\n1\t{}\n")
    again = RecordStore(file, "code")
    assert list(again.rows()) == [{"text": "whole"}]
    again.close()
