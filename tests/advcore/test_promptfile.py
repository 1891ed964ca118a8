"""Prompt files of every known form become messages; what cannot be read is a row with its problem."""

import json

import pytest

from advcore import DataError, contract, promptfile


def rows_of(tmp_path, *lines, **options):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return list(promptfile.rows(file, **options))


def asked(row):
    assert not row.problem
    return [(message["role"], message["content"]) for message in row.messages]


@pytest.mark.parametrize(
    ("columns", "text", "rest"),
    [
        ({"prompt": "a", "id": 1}, "a", {"id": 1}),
        (
            {"content": [{"role": "user", "content": "a"}], "teacher_response": "b"},
            "a",
            {"teacher_response": "b"},
        ),
        ({"question_id": 1, "turns": ["a"]}, "a", {"question_id": 1}),
        ({"instruction": "a", "context": "b", "response": "c"}, "a\n\nb", {"response": "c"}),
        ({"instruction": "a", "context": "", "category": "c"}, "a", {"context": "", "category": "c"}),
        ({"instruction": "a", "input": "b"}, "a\n\nb", {}),
        (
            {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
            "a\n\nb",
            {"instances": [{"input": "b", "output": "c"}]},
        ),
        ({"instruction": "a", "instances": [{"input": ""}]}, "a", {"instances": [{"input": ""}]}),
        ({"prompt": "a", "instruction": "b"}, "a", {"instruction": "b"}),
    ],
)
def test_each_known_form_gives_one_question_and_keeps_the_other_columns(tmp_path, columns, text, rest):
    (row,) = rows_of(tmp_path, columns)
    assert asked(row) == [("user", text)]
    assert row.columns == rest


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON object with a prompt (JSONDecodeError)"),
        ("[1]", "no JSON object with a prompt (list)"),
        ({"question": "a"}, "none of prompt, messages, content, turns, instruction"),
        ({"prompt": 7}, "prompt is no list of messages"),
        (
            {"prompt": [{"role": "user", "text": "a"}]},
            "prompt holds a message without exactly role and content",
        ),
        ({"turns": ["a", "b"]}, "turns holds 2"),
        ({"turns": "a"}, "turns is no list"),
        ({"turns": [7]}, "prompt is no list of messages"),
        ({"instruction": 7}, "instruction or what belongs to it is no text"),
        ({"instruction": "a", "instances": [{"input": 7}]}, "instruction or what belongs to it is no text"),
        ({"instruction": "a", "instances": ["b"]}, "instruction or what belongs to it is no text"),
        ({"instruction": "a", "instances": [{"input": "b"}, {"input": "c"}]}, "instances holds 2"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why_and_the_next_one_is_read(tmp_path, line, says):
    wrong, right = rows_of(tmp_path, line, {"prompt": "a"})
    assert says in wrong.problem
    assert wrong.messages == []
    assert (asked(right), right.number) == ([("user", "a")], 1)


def test_a_system_message_opens_prompts_that_are_text_only(tmp_path):
    conversation = [{"role": "user", "content": "b"}]
    text, messages = rows_of(tmp_path, {"prompt": "a"}, {"prompt": conversation}, system="be brief")
    assert asked(text) == [("system", "be brief"), ("user", "a")]
    assert asked(messages) == [("user", "b")]


def test_a_config_of_a_dataset_is_a_prompt_file(tmp_path):
    columns = {"prompt": "messages", "topic": "string"}
    for number in range(2):
        with contract.RoundWriter(tmp_path, "rl", number, columns) as writer:
            writer.add({"prompt": [{"role": "user", "content": f"round {number}"}], "topic": "t"})
    folder = tmp_path / "rl"
    assert [(row.number, *asked(row)) for row in promptfile.rows(folder)] == [
        (0, ("user", "round 0")),
        (1, ("user", "round 1")),
    ]
    assert promptfile.count(folder) == 2
    assert promptfile.count(folder / "round-0001.parquet") == 1
    assert promptfile.digest(folder) != promptfile.digest(folder / "round-0001.parquet")


def test_what_is_no_prompt_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        promptfile.count(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="holds no Parquet file"):
        promptfile.count(tmp_path)
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"broken\.parquet cannot be read"):
        promptfile.count(tmp_path)
