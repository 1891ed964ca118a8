"""Rows to ids: the same as TRL's own path on ordinary text, and safe where text spells a control token."""

import copy
import json

import pytest

from advcore import ConfigError, DataError, chat, contract
from advtrain import encoding
from advtrain.encoding import replies
from advtrain.forward import logps


def test_ordinary_text_gives_the_ids_of_trls_own_conversational_path(tiny, tokenizer, preferences):
    import datasets
    import trl
    from transformers import AutoModelForCausalLM

    conversational = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in preferences
    ]
    theirs = trl.DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny),
        args=trl.DPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none"),
        train_dataset=datasets.Dataset.from_list(conversational),
        processing_class=tokenizer,
    ).train_dataset
    ours = [logps.columns(example) for example in encoding.encode(tokenizer, conversational, "dpo", 1024)]
    assert ours == [{name: row[name] for name in ours[0]} for row in theirs]


def test_text_that_spells_a_control_token_trains_as_text(tokenizer):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    row = {"prompt": "Say <|im_end|>", "chosen": "a <|im_end|> b", "rejected": "<|im_start|>user"}
    (example,) = encoding.encode(tokenizer, [row], "dpo", 1024)
    chosen, rejected = example.completions
    assert example.prompt.count(end) == chosen.count(end) == rejected.count(end) == 1
    assert tokenizer.decode(chosen) == "a <|im_end|> b<|im_end|>\n"
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") not in rejected


def test_a_completion_is_its_text_and_the_end_of_its_turn(tokenizer):
    (example,) = encoding.encode(tokenizer, [{"prompt": "Hi", "completion": "Yes."}], "sft", 1024)
    assert tokenizer.decode(example.prompt) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(example.completions[0]) == "Yes.<|im_end|>\n"


def test_a_long_completion_is_cut_and_a_long_prompt_drops_its_row(tokenizer, preferences):
    (whole,) = encoding.encode(tokenizer, preferences[:1], "dpo", 1024)
    (cut,) = encoding.encode(tokenizer, preferences[:1], "dpo", len(whole.prompt) + 3)
    assert (cut.truncated, cut.dropped) == (True, False)
    assert cut.completions == tuple(completion[:3] for completion in whole.completions)
    (dropped,) = encoding.encode(tokenizer, preferences[:1], "dpo", len(whole.prompt))
    assert dropped.dropped


def test_missing_columns_are_named_with_those_found(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "p", "answer": "a"}))
    with pytest.raises(DataError, match=r"lacks chosen, rejected \(found: answer, prompt\)"):
        encoding.load(str(file), "dpo")


def test_a_dataset_without_rows_is_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n")
    with pytest.raises(DataError, match="has no dpo rows"):
        encoding.load(str(file), "dpo")


def test_a_broken_line_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "p"}\n{oops\n')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        encoding.load(str(file), "dpo")


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"prompt": "p"}\n{"prompt": "\xff"}\n')
    with pytest.raises(DataError, match=r"line 2 is not JSON: .*utf-8"):
        encoding.load(str(file), "dpo")


def test_a_line_separator_inside_a_string_ends_no_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "p", "completion": "a\u2028b"}\n', encoding="utf-8")
    assert encoding.load(str(file), "sft").rows[0]["completion"] == "a\u2028b"


def test_a_dataset_that_is_nowhere_is_refused():
    with pytest.raises(DataError, match="no folder, no JSONL file"):
        encoding.load("no-such-thing", "dpo")


def test_a_column_that_holds_a_number_is_refused(tokenizer):
    with pytest.raises(DataError, match="row 0: expected text or a list of messages, found int"):
        encoding.encode(tokenizer, [{"prompt": "p", "completion": 7}], "sft", 64)


def gad_row(round_number):
    messages = [{"role": "user", "content": "Add."}]
    return {
        "prompt": messages, "teacher_response": "1 + 1", "exercise_id": f"e{round_number}", "parent_id": "",
        "round": round_number, "strategy": "seed", "topic": "t", "subtopic": "s",
        "entry_point": "f", "tests": "[]",
        "teacher": "", "student": "", "sandbox": "{}", "provenance": "{}", "schema_version": 1,
    }  # fmt: skip


def test_rounds_last_reads_only_the_latest_round_of_a_folder(tmp_path):
    for round_number in (0, 1):
        contract.write_round(tmp_path, "gad", round_number, [gad_row(round_number)])
    assert len(encoding.load(str(tmp_path), "gad").rows) == 2
    last = encoding.load(str(tmp_path), "gad", "last")
    assert [row["exercise_id"] for row in last.rows] == ["e1"]
    assert last.round == 1


def test_a_teachers_reply_that_was_cut_does_not_end_its_turn(tokenizer):
    row = {"prompt": "Say it.", "teacher_response": "so"}
    ended, cut = encoding.encode(tokenizer, [row, {**row, "finish_reason": "length"}], "gad", 64)
    assert tokenizer.eos_token_id in ended.completions[0]
    assert tokenizer.decode(cut.completions[0]) == "so"


def test_what_a_template_puts_before_a_reply_is_no_part_of_the_end_of_its_turn(tokenizer):
    thinking = copy.deepcopy(tokenizer)
    thinking.chat_template = thinking.chat_template.replace(
        "message['content']",
        "('<think></think>' if message['role'] == 'assistant' else '') + message['content']",
    )
    prompt, reply = [{"role": "user", "content": "Say it."}], replies.Reply("so", True)
    start, (ids, cut) = replies.encode(thinking, prompt, [reply, replies.Reply("so", False)])
    assert thinking.decode(start).endswith("assistant\n<think></think>")
    assert (thinking.decode(ids), thinking.decode(cut)) == ("so<|im_end|>", "so")


def test_a_blank_that_a_template_puts_before_a_reply_is_read_on_both_sides_alike(tokenizer):
    spaced = copy.deepcopy(tokenizer)
    spaced.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] }}"
        "{% else %}{{ ' Assistant: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ ' Assistant:' }}{% endif %}"
    )
    prompt, text = [{"role": "user", "content": "Say it."}], "a value"
    start, (ids,) = replies.encode(spaced, prompt, [replies.Reply(text, True)])
    assert spaced.decode(start + ids) == "User: Say it. Assistant: a value<|im_end|>"
    turn = [*prompt, {"role": "assistant", "content": text}]
    assert start + ids == chat.encode(spaced, turn, add_generation_prompt=False)
    assert replies.decode(spaced, ids, {spaced.eos_token_id}) == replies.Reply(text, True)


def test_sft_reads_a_teachers_reply_as_gad_does(tokenizer):
    rows = [{"prompt": "Say it.", "teacher_response": "x" * length} for length in range(1, 14)]
    examples = encoding.encode(tokenizer, rows, "gad", 2048, 8)
    whole = [encoding.of_teacher(row) for row in rows]
    for example, (prompt, reply) in zip(examples, whole, strict=True):
        start, (ids,) = replies.encode(tokenizer, prompt, [reply])
        assert (example.prompt, example.completions[0]) == (start, ids[:8])
        assert example.truncated == (not replies.cut(tokenizer, prompt, reply, 8).finished)
    assert {example.truncated for example in examples} == {True, False}


def test_a_template_that_leaves_out_what_a_reply_says_is_refused(tokenizer):
    mute = copy.deepcopy(tokenizer)
    mute.chat_template = "{% for message in messages %}{{ message['role'] + eos_token }}{% endfor %}"
    with pytest.raises(ConfigError, match="leaves out what a reply says"):
        chat.frame(mute)


def test_a_template_without_an_end_of_turn_is_refused(tokenizer):
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ConfigError, match="without a control token"):
        replies.encode(endless, [{"role": "user", "content": "Say it."}], [replies.Reply("so", True)])
