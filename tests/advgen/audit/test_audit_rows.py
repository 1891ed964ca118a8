"""Any preference set as pairs: which forms are read, and what is said of those that are not."""

import gzip
import json

import pytest

from advcore import DataError, contract
from advgen.audit import rows


def messages(*contents):
    return [
        {"role": role, "content": content}
        for role, content in zip(("user", "assistant") * 2, contents, strict=False)
    ]


def written(path, *rows, compress=False):
    text = "\n".join(map(json.dumps, rows)).encode()
    path.write_bytes(gzip.compress(text) if compress else text)
    return str(path)


def texts(pair):
    return pair.prompt, pair.chosen.text, pair.rejected.text


def test_strings_messages_and_implicit_prompts_give_the_same_pair(tmp_path):
    answers = {"chosen": messages("q", "good"), "rejected": messages("q", "bad")}
    source = written(
        tmp_path / "set.jsonl",
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": messages("q"), "chosen": messages("q", "good")[1:], "rejected": messages("q", "bad")[1:]},
        answers,
        {"prompt": "q", **answers},
    )
    pairs = list(rows.read(source))
    assert [texts(pair) for pair in pairs] == [("q", "good", "bad")] * 4
    assert [pair.row for pair in pairs] == [0, 1, 2, 3]
    assert len({pair.group for pair in pairs}) == 1


def test_a_whole_dialogue_that_both_sides_share_is_the_prompt(tmp_path):
    chosen, rejected = messages("a", "b", "c", "good"), messages("a", "b", "c", "bad")
    source = written(tmp_path / "set.jsonl", {"chosen": chosen, "rejected": rejected})
    assert texts(next(rows.read(source))) == ("a\n\nb\n\nc", "good", "bad")


def test_equal_answers_stay_answers(tmp_path):
    source = written(
        tmp_path / "set.jsonl", {"chosen": messages("q", "same"), "rejected": messages("q", "same")}
    )
    assert texts(next(rows.read(source))) == ("q", "same", "same")


def test_system_messages_are_kept_apart(tmp_path):
    prompt = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "q"}]
    pair = next(
        rows.read(written(tmp_path / "set.jsonl", {"prompt": prompt, "chosen": "a", "rejected": "b"}))
    )
    assert (pair.system, pair.prompt) == ("be brief", "q")


def test_our_own_folder_is_read_by_its_dpo_config_only(tmp_path):
    golden = [
        json.loads(line) for line in (contract_golden()).read_text(encoding="utf-8").splitlines() if line
    ]
    for config in ("dpo", "sft", "kto"):
        contract.write_round(
            tmp_path, config, 0, [each["row"] for each in golden if each["config"] == config]
        )
    pairs = list(rows.read(str(tmp_path)))
    expected = [each["row"] for each in golden if each["config"] == "dpo"]
    assert [pair.exercise_id for pair in pairs] == [row["exercise_id"] for row in expected]
    assert pairs[0].tests == expected[0]["tests"]
    assert pairs[0].student_pass_rate == expected[0]["student_pass_rate"]
    assert pairs[0].group == expected[0]["exercise_id"]


def contract_golden():
    from pathlib import Path

    return Path(__file__).parents[3] / "data" / "golden.jsonl"


def test_of_splits_the_train_files_are_read_in_order_and_rows_are_counted_on(tmp_path):
    row = {"prompt": "q", "rejected": "bad"}
    written(tmp_path / "test-0.jsonl", {**row, "chosen": "held out"})
    written(tmp_path / "train-0.jsonl", {**row, "chosen": "one"})
    written(tmp_path / "train-1.jsonl.gz", {**row, "chosen": "two"}, compress=True)
    pairs = list(rows.read(str(tmp_path)))
    assert [(pair.row, pair.chosen.text) for pair in pairs] == [(0, "one"), (1, "two")]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"prompt": "q", "chosen": "a"}', "row 0: rejected is NoneType"),
        ('{"prompt": "q", "chosen": 3, "rejected": "b"}', "row 0: chosen is int, neither text nor a list"),
        ('{"prompt": [], "chosen": "a", "rejected": "b"}', "row 0: prompt is an empty list of messages"),
        ('{"chosen": "a", "rejected": "b"}', "row 0 has no prompt"),
        (
            '{"prompt": "q", "chosen": [{"role": "x"}], "rejected": "b"}',
            "chosen holds a message whose role or content",
        ),
        ("[1]", "line 1 is not a JSON object"),
        ("{", "line 1 is not JSON"),
        ("", "has no rows with chosen and rejected"),
    ],
)
def test_what_is_no_preference_set_is_one_line_that_says_why(tmp_path, line, complaint):
    (tmp_path / "set.jsonl").write_text(line)
    with pytest.raises(DataError) as caught:
        list(rows.read(str(tmp_path / "set.jsonl")))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_pairs_names_the_columns_it_has(tmp_path):
    written(tmp_path / "set.jsonl", {"question": "q", "answer": "a"})
    with pytest.raises(DataError, match=r"columns found: answer, question"):
        list(rows.read(str(tmp_path)))


def test_a_broken_parquet_file_and_a_place_that_is_not_there_are_data_errors(tmp_path):
    (tmp_path / "set.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read"):
        list(rows.read(str(tmp_path / "set.parquet")))
    with pytest.raises(DataError, match="neither a folder nor a Hub id"):
        list(rows.read(str(tmp_path / "nowhere")))


def test_an_odd_row_of_a_folders_file_is_named_and_not_the_end_of_it(tmp_path):
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    (tmp_path / "a.jsonl").write_text(
        "\n".join(map(json.dumps, [good, {"prompt": "p", "chosen": "a"}, good]))
    )
    (tmp_path / "other.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    with pytest.raises(DataError, match="row 1: rejected is NoneType"):
        list(rows.read(str(tmp_path)))


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(b'{"prompt": "p"}\n' * 400, mtime=0)[:-12]]
)
def test_a_broken_archive_is_named_in_one_line(tmp_path, content):
    (tmp_path / "set.jsonl.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.jsonl\.gz cannot be read"):
        list(contract.file_rows(tmp_path / "set.jsonl.gz"))
