"""`advtrain generate`: a prompt file through the tiny model, killed, resumed and read as `advgen answer`'s runs are."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from unittest.mock import ANY

import pytest

from advcore import ConfigError, TeacherError, answers, contract, engine
from advtrain.cli import main
from advtrain.generate import generate

DRAW = engine.Sampling(temperature=1.0, max_tokens=12, seed=3)


def prompt_file(tmp_path, lines):
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def questions(count):
    return [{"question_id": n, "turns": [f"What is {n} plus {n}?"]} for n in range(count)]


def gad(run):
    return contract.read(run / "dataset", "gad")


def replies(run):
    return [row["teacher_response"] for row in gad(run)]


def test_the_dataset_has_the_columns_of_answers_and_those_of_the_prompt_file(tiny, tmp_path, capsys):
    import pyarrow.parquet

    file = prompt_file(tmp_path, [*questions(2), {"instruction": "Say", "context": "yes", "sample": "own"}])
    run = tmp_path / "run"
    assert main(["generate", tiny, str(file), "--out", str(run), "--samples", "2", "--max-tokens", "5"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["prompts"], summary["answered"], summary["failed"]) == (3, 6, 0)
    for config, columns in contract.ANSWERS.items():
        schema = pyarrow.parquet.read_schema(run / "dataset" / config / "round-0000.parquet")
        assert schema.names == [*columns, "question_id", "input_sample"]
    assert [row["sample"] for row in gad(run)] == [0, 1] * 3
    assert gad(run)[4]["prompt"] == [{"role": "user", "content": "Say\n\nyes"}]
    assert {row["teacher"] for row in gad(run)} == {tiny}
    read = list(answers.read(run))
    assert [(each.text, each.tokens) for each in read] == [
        (row["teacher_response"], row["completion_tokens"]) for row in gad(run)
    ]


def test_a_killed_run_goes_on_to_what_an_uninterrupted_one_says(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(150))
    whole = generate(tiny, file, tmp_path / "whole", 1, DRAW, "auto")
    command = [sys.executable, "-m", "advtrain", "generate", tiny, str(file), "--out", str(tmp_path / "run")]
    command += ["--temperature", "1.0", "--max-tokens", "12", "--seed", "3"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stored = tmp_path / "run" / "replies.jsonl"
    end = time.monotonic() + 120
    while not (stored.exists() and stored.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(stored, "ab") as torn:
        torn.write(b'{"key": "half a li')
    kept = stored.read_bytes().splitlines(keepends=True)[:-1]
    assert 0 < len(kept) < 150
    summary = generate(tiny, file, tmp_path / "run", 1, DRAW, "auto")
    lines = stored.read_bytes().splitlines(keepends=True)
    assert len(lines) == 150
    assert lines[: len(kept)] == kept
    pairs = list(zip(replies(tmp_path / "run"), replies(tmp_path / "whole"), strict=True))
    # Other batches round otherwise, and a draw that lies on the edge of two tokens then falls to the other.
    assert sum(one != other for one, other in pairs) <= 3
    assert len({one for one, _ in pairs}) > 120
    told = ("prompts", "answered", "failed", "prompt_tokens")
    assert [summary[name] for name in told] == [whole[name] for name in told] == [150, 150, 0, ANY]
    # the line behind the torn one can be read
    again = generate(tiny, file, tmp_path / "run", 1, DRAW, "auto")
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


def test_running_again_asks_only_for_what_is_new(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(3))
    generate(tiny, file, tmp_path / "run", 1, DRAW, "auto")
    first, lines = replies(tmp_path / "run"), (tmp_path / "run" / "replies.jsonl").read_bytes()
    file = prompt_file(tmp_path, [*questions(4)[::-1], *questions(1)])
    generate(tiny, file, tmp_path / "run", 1, DRAW, "auto")
    assert (tmp_path / "run" / "replies.jsonl").read_bytes()[: len(lines)] == lines
    assert (tmp_path / "run" / "replies.jsonl").read_bytes().count(b"\n") == 4
    assert replies(tmp_path / "run")[1:] == [*first[::-1], first[0]]


def test_the_seed_decides_what_is_drawn(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(4))
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sampling = engine.Sampling(temperature=1.0, max_tokens=12, seed=seed)
        generate(tiny, file, tmp_path / name, 2, sampling, "auto")
        drawn.append(replies(tmp_path / name))
    assert len(set(drawn[0])) == 8
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_a_row_that_fails_has_its_reason_and_is_asked_again(tiny, tmp_path):
    strict = shutil.copytree(tiny, tmp_path / "strict")
    template = (strict / "chat_template.jinja").read_text()
    refusing = "{% if messages[0]['content'] == 'no' %}{{ raise_exception('not that') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(refusing + template)
    file = prompt_file(tmp_path, [{"prompt": "yes"}, {"prompt": "no"}, "no json"])
    for _ in range(2):
        summary = generate(str(strict), file, tmp_path / "run", 1, DRAW, "auto")
        assert (summary["answered"], summary["failed"]) == (1, 2)
    raw = list(contract.file_rows(tmp_path / "run" / "dataset" / "raw" / "round-0000.parquet"))
    assert [(row["line"], row["status"]) for row in raw] == [(0, "answered"), (1, "failed"), (2, "failed")]
    assert "not that" in raw[1]["reason"]
    assert raw[2]["reason"].startswith("no JSON object")
    assert answers.unanswered(tmp_path / "run") == 2
    no = {"role": "user", "content": "no"}
    many = [{"prompt": [no, {"role": "user", "content": str(n)}]} for n in range(300)]
    with pytest.raises(TeacherError, match=r"of \d+ requests failed, the last one: .*not that"):
        generate(str(strict), prompt_file(tmp_path, many), tmp_path / "other", 1, DRAW, "auto")


def test_an_empty_reply_is_an_answer(tiny, tmp_path, monkeypatch):
    class Silent(engine.Engine):
        def _load(self):
            pass

        def _run(self, jobs):
            for job in jobs:
                self._answer(job, engine.Reply("", 3, 1, "stop"))

    monkeypatch.setattr(engine, "_engines", {(tiny, "auto"): Silent()})
    summary = generate(tiny, prompt_file(tmp_path, questions(1)), tmp_path / "run", 1, DRAW, "auto")
    assert (summary["answered"], replies(tmp_path / "run")) == (1, [""])


def test_a_mistake_is_one_line_and_another_run_is_left_alone(tiny, tmp_path, capsys):
    file = prompt_file(tmp_path, questions(1))
    mistakes = [
        (["studnet", str(file)], "did you mean student?"),
        ([tiny, "none.jsonl"], "none.jsonl does not exist"),
        ([tiny, str(prompt_file(tmp_path / "empty", []))], "holds no prompts"),
        ([tiny, str(file), "--backend", "openvino"], "openvino runs the embedded models only"),
    ]
    for arguments, says in mistakes:
        assert main(["generate", *arguments, "--out", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert main(["generate", tiny, str(file), "--out", str(file)]) == 2
    assert not (tmp_path / "run").exists()
    generate(tiny, file, tmp_path / "run", 1, DRAW, "auto")
    with pytest.raises(ConfigError, match="holds a run with another seed"):
        generate(tiny, file, tmp_path / "run", 1, replace(DRAW, seed=4), "auto")
