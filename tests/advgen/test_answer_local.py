"""`advgen answer --model local/FOLDER`: a prompt file through the tiny model, killed and resumed."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from unittest.mock import ANY

import pytest

from advcore import ConfigError, DataError, TeacherError, answers, contract, engine, settings
from advcore.ask import JournalReader
from advcore.engine import engines
from advgen.answer import answer
from advgen.cli import main
from advgen.config import AnswerConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from advcore.testing import tiny_model

    return str(tiny_model(tmp_path_factory.mktemp("tiny")))


def asking(model, n=1, **options):
    given = {
        "model": f"local/{model}",
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 12,
        "retries": 0,
        **options,
    }
    return settings.build(AnswerConfig, {"teacher": given, "n": n, "keep_empty": True})


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


def stored(run):
    with JournalReader(run / "journal.sqlite") as journal:
        return {row["key"]: row["reply"]["text"] for row in journal.export()}


def started(run):
    """Whether a reply is committed; the journal may be about to be made."""
    try:
        return bool(stored(run))
    except (DataError, sqlite3.Error):
        return False


def test_the_dataset_has_the_columns_of_answers_and_those_of_the_prompt_file(tiny, tmp_path, capsys):
    import pyarrow.parquet

    file = prompt_file(tmp_path, [*questions(2), {"instruction": "Say", "context": "yes", "sample": "own"}])
    run = tmp_path / "run"
    command = ["answer", str(file), "--model", f"local/{tiny}", "--out", str(run), "--n", "2"]
    assert main([*command, "--set", "teacher.max_tokens=5", "--set", "keep_empty=true"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["prompts"], summary["answered"], summary["failed"]) == (3, 6, 0)
    for config, columns in contract.ANSWERS.items():
        schema = pyarrow.parquet.read_schema(run / "dataset" / config / "round-0000.parquet")
        assert schema.names == [*columns, "question_id", "input_sample"]
    assert [row["sample"] for row in gad(run)] == [0, 1] * 3
    assert gad(run)[4]["prompt"] == [{"role": "user", "content": "Say\n\nyes"}]
    assert {row["teacher"] for row in gad(run)} == {f"local/{tiny}"}
    read = list(answers.read(run))
    assert [(each.text, each.tokens) for each in read] == [
        (row["teacher_response"], row["completion_tokens"]) for row in gad(run)
    ]


def test_a_killed_run_goes_on_to_what_an_uninterrupted_one_says(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(150))
    whole = answer(asking(tiny), file, tmp_path / "whole")
    command = [sys.executable, "-m", "advgen", "answer", str(file), "--model", f"local/{tiny}"]
    command += ["--out", str(tmp_path / "run"), "--set", "keep_empty=true"]
    for option in ("temperature=1.0", "top_p=1.0", "max_tokens=12", "retries=0"):
        command += ["--set", f"teacher.{option}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not started(tmp_path / "run"):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = stored(tmp_path / "run")
    assert 0 < len(kept) < 150
    summary = answer(asking(tiny), file, tmp_path / "run")
    assert len(stored(tmp_path / "run")) == 150
    assert kept.items() <= stored(tmp_path / "run").items()
    pairs = list(zip(replies(tmp_path / "run"), replies(tmp_path / "whole"), strict=True))
    # Other batches round otherwise, and a draw that lies on the edge of two tokens then falls to the other.
    assert sum(one != other for one, other in pairs) <= 3
    assert len({one for one, _ in pairs}) > 120
    told = ("prompts", "answered", "failed", "prompt_tokens")
    assert [summary[name] for name in told] == [whole[name] for name in told] == [150, 150, 0, ANY]


def test_running_again_asks_only_for_what_is_new(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(3))
    answer(asking(tiny), file, tmp_path / "run")
    first, before = replies(tmp_path / "run"), stored(tmp_path / "run")
    file = prompt_file(tmp_path, [*questions(4)[::-1], *questions(1)])
    answer(asking(tiny), file, tmp_path / "run")
    assert before.items() <= stored(tmp_path / "run").items()
    assert len(stored(tmp_path / "run")) == 4
    assert replies(tmp_path / "run")[1:] == [*first[::-1], first[0]]


def test_the_seed_decides_what_is_drawn(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(4))
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        answer(asking(tiny, n=2, seed=seed), file, tmp_path / name)
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
        summary = answer(asking(strict), file, tmp_path / "run")
        assert (summary["answered"], summary["failed"]) == (1, 2)
    raw = list(contract.file_rows(tmp_path / "run" / "dataset" / "raw" / "round-0000.parquet"))
    assert [(row["line"], row["status"]) for row in raw] == [(0, "answered"), (1, "failed"), (2, "failed")]
    assert "not that" in raw[1]["reason"]
    assert raw[2]["reason"].startswith("no JSON object")
    assert answers.unanswered(tmp_path / "run") == 2
    no = {"role": "user", "content": "no"}
    many = [{"prompt": [no, {"role": "user", "content": str(n)}]} for n in range(300)]
    with pytest.raises(TeacherError, match="not that"):
        answer(asking(strict), prompt_file(tmp_path, many), tmp_path / "other")


def test_an_empty_reply_is_an_answer_where_it_is_to_be(tiny, tmp_path, monkeypatch):
    class Silent(engine.Engine):
        def _load(self):
            pass

        def _run(self, jobs):
            for job in jobs:
                self._answer(job, engine.Reply("", 3, 1, "stop"))

    monkeypatch.setattr(engines, "_engines", {(tiny, "auto"): Silent()})
    file = prompt_file(tmp_path, questions(1))
    summary = answer(asking(tiny), file, tmp_path / "run")
    assert (summary["answered"], replies(tmp_path / "run")) == (1, [""])
    with pytest.raises(TeacherError, match="empty reply"):
        answer(
            settings.build(AnswerConfig, {"teacher": {"model": f"local/{tiny}"}}), file, tmp_path / "other"
        )


def test_a_mistake_is_one_line_and_another_run_is_left_alone(tiny, tmp_path, capsys):
    file = prompt_file(tmp_path, questions(1))
    local = [str(file), "--model", f"local/{tiny}"]
    mistakes = [
        ([str(file), "--model", "local/studnet"], "did you mean student?"),
        (["none.jsonl", "--model", f"local/{tiny}"], "none.jsonl does not exist"),
        ([*local, "--set", "teacher.backend=openvino"], "openvino runs the embedded models only"),
        (
            [str(file), "--model", "openai/x", "--set", "teacher.backend=openvino"],
            "backend is for local/... models",
        ),
    ]
    for arguments, says in mistakes:
        assert main(["answer", *arguments, "--out", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert main(["answer", str(file), "--model", f"local/{tiny}", "--out", str(file)]) == 2
    assert not (tmp_path / "run").exists()
    answer(asking(tiny, seed=3), file, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds a run with another teacher\.seed"):
        answer(asking(tiny, seed=4), file, tmp_path / "run")


def test_a_local_model_is_asked_without_litellm(tiny, tmp_path):
    file = prompt_file(tmp_path, questions(1))
    code = f"""
import sys
from pathlib import Path
from advgen.cli import main
assert main(["answer", {str(file)!r}, "--model", "local/{tiny}", "--out", {str(tmp_path / "run")!r}]) == 0
print([name for name in ("litellm", "openai", "anthropic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
