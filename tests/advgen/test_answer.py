"""`advgen answer`: a prompt file through the real engine against a mock server, and what lands in the dataset."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from advcore import ConfigError, DataError, TeacherError, contract
from advcore.ask import ModelConfig
from advcore.runs import locked_run
from advcore.testing.servers import MockServer
from advgen import cli
from advgen.answer import answer
from advgen.config import AnswerConfig


def echo(messages, seed):
    return f"reply to {messages[-1]['content']}"


def config(server, **values):
    fields = {
        name: values.pop(name)
        for name in ("n", "system", "budget_usd", "max_failure_share")
        if name in values
    }
    values = {"retries": 1, "max_tokens": 16, **values}
    return AnswerConfig(
        teacher=ModelConfig(model="openai/mock", api_base=server.api_base, timeout_s=20, **values), **fields
    )


def prompt_file(tmp_path, lines):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def test_one_row_a_prompt_in_input_order_with_its_own_columns(tmp_path):
    lines = [{"prompt": f"question {n}", "id": n, "tags": [n], "teacher_response": "old"} for n in range(40)]
    lines[3]["prompt"] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "question 3"},
    ]
    with MockServer(echo) as server:
        summary = answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run")
    rows = contract.read(tmp_path / "run" / "dataset", "gad")
    assert [row["teacher_response"] for row in rows] == [f"reply to question {n}" for n in range(40)]
    assert [row["id"] for row in rows] == list(range(40))
    assert (rows[5]["tags"], rows[5]["input_teacher_response"]) == ("[5]", "old")
    assert [message["role"] for message in rows[3]["prompt"]] == ["system", "user"]
    assert (rows[0]["prompt_tokens"] > 0, rows[0]["finish_reason"]) == (True, "stop")
    assert (summary["prompts"], summary["answered"], summary["failed"]) == (40, 40, 0)


def test_running_again_asks_nothing_and_a_new_row_asks_for_itself_alone(tmp_path):
    lines = [{"prompt": f"question {n}"} for n in range(10)]
    with MockServer(echo) as server:
        first = answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run")
        assert answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run") == first
        assert len(server.requests) == 10
        lines.insert(4, {"prompt": "in between"})
        answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run")
        assert len(server.requests) == 11
    rows = contract.read(tmp_path / "run" / "dataset", "gad")
    assert [row["teacher_response"] for row in rows][3:6] == [
        "reply to question 3", "reply to in between", "reply to question 4",
    ]  # fmt: skip


def test_the_same_prompt_twice_is_asked_once(tmp_path):
    with MockServer(lambda messages, seed: str(seed)) as server:
        summary = answer(config(server), prompt_file(tmp_path, [{"prompt": "a"}] * 8), tmp_path / "run")
        assert len(server.requests) == 1
    rows = contract.read(tmp_path / "run" / "dataset", "gad")
    assert (summary["answered"], len({row["teacher_response"] for row in rows})) == (8, 1)


def test_a_row_that_fails_is_in_raw_with_its_reason_and_asked_again_next_time(tmp_path):
    lines = [{"prompt": "fine"}, "no json", {"question": "x"}, {"prompt": [1]}, {"prompt": "lost"}]
    with MockServer(echo) as server:
        refused = config(server, concurrency=1, max_failure_share=1.0)
        server.fail_with = [400]
        summary = answer(refused, prompt_file(tmp_path, lines), tmp_path / "run")
        raw = contract_rows(tmp_path, "raw")
        assert (summary["answered"], summary["failed"]) == (1, 4)
        assert [row["status"] for row in raw] == ["failed", "failed", "failed", "failed", "answered"]
        assert raw[0]["reason"].startswith("bad request: HTTP 400")
        assert [row["reason"][:14] for row in raw[1:4]] == [
            "no JSON object",
            "no JSON object",
            "prompt holds a",
        ]
        summary = answer(refused, prompt_file(tmp_path, lines), tmp_path / "run")
    assert (summary["answered"], summary["failed"]) == (2, 3)


def contract_rows(tmp_path, name):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(tmp_path / "run" / "dataset" / name / "round-0000.parquet").to_pylist()


def test_several_samples_a_prompt_differ_and_carry_their_number(tmp_path):
    with MockServer(lambda messages, seed: f"{seed}") as server:
        answer(
            config(server, n=3), prompt_file(tmp_path, [{"prompt": "a"}, {"prompt": "b"}]), tmp_path / "run"
        )
    rows = contract.read(tmp_path / "run" / "dataset", "gad")
    assert [row["sample"] for row in rows] == [0, 1, 2] * 2
    assert len({row["teacher_response"] for row in rows}) == 6


def test_the_cap_is_never_passed_and_what_was_paid_for_is_written(tmp_path):
    lines = [{"prompt": f"question {n}"} for n in range(50)]
    with MockServer(echo) as server:
        capped = config(server, budget_usd=0.2, usd_per_request=0.01, concurrency=16)
        for _ in range(2):
            with pytest.raises(TeacherError, match=r"budget_usd 0\.2 is used up"):
                answer(capped, prompt_file(tmp_path, lines), tmp_path / "run")
            assert len(server.requests) == 20
    rows = contract_rows(tmp_path, "raw")
    assert sum(row["status"] == "answered" for row in rows) == 20
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["spent_usd"] == pytest.approx(0.2)


def test_the_command_prints_a_summary_and_says_what_is_wrong_with_its_input(tmp_path, capsys):
    file = prompt_file(tmp_path, [{"prompt": "a"}])
    with MockServer(echo) as server:
        given = ["--model", "openai/m", "--api-base", server.api_base, "--out", str(tmp_path / "run")]
        assert cli.main(["answer", str(file), *given, "--set", "teacher.max_tokens=9"]) == 0
        assert json.loads(capsys.readouterr().out)["answered"] == 1
        assert server.requests[0]["max_tokens"] == 9
        assert (
            cli.main(["answer", str(tmp_path / "none.jsonl"), *given, "--set", "teacher.max_tokens=9"]) == 2
        )
        assert "does not exist" in capsys.readouterr().err
        assert cli.main(["journal", "stats", str(tmp_path / "run")]) == 0
        assert '"replies": 1' in capsys.readouterr().out
        assert cli.main(["journal", "export", str(tmp_path / "run")]) == 0
        assert json.loads(capsys.readouterr().out)["reply"]["text"] == "reply to a"
        assert cli.main(["journal", "vacuum", str(tmp_path)]) == 2


def test_a_file_without_prompts_is_an_error(tmp_path):
    with MockServer(echo) as server, pytest.raises(DataError, match="holds no prompts"):
        answer(config(server), prompt_file(tmp_path, []), tmp_path / "run")


def mock_process(*arguments):
    command = [sys.executable, "-m", "advcore.testing.servers", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())["api_base"]


def test_one_interrupt_finishes_what_is_in_flight_and_says_how_to_go_on(tmp_path):
    file = prompt_file(tmp_path, [{"prompt": f"row-{n}"} for n in range(500)])
    server, api_base = mock_process("--profile", "fixed:0.3")
    try:
        command = [
            sys.executable,
            "-m",
            "advgen",
            "answer",
            str(file),
            "--model",
            "openai/m",
            "--api-base",
            api_base,
        ]
        command += ["--out", str(tmp_path / "run"), "--set", "teacher.concurrency=8"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        journal = tmp_path / "run" / "journal.sqlite"
        wait_for(lambda: journal.exists() and stored(journal) >= 8)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "Ctrl-C again leaves at once" in said
        assert "run the same command again to go on" in said
        assert 8 <= stored(journal) < 500
        assert stored(journal) == served(api_base)
    finally:
        server.terminate()
        server.communicate()


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def stored(journal):
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        try:
            return database.execute("SELECT count(*) FROM replies").fetchone()[0]
        except sqlite3.OperationalError:  # not made yet
            return 0


def served(api_base):
    with urllib.request.urlopen(api_base.removesuffix("/v1") + "/stats") as reply:
        return json.loads(reply.read())["by_status"]["200"]


class SaysTheKeyBack(BaseHTTPRequestHandler):
    """A server that puts the key it was given into every answer, errors and replies alike."""

    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"]
        message = {"role": "assistant", "content": f"you said {key}"}
        error = {"error": {"message": f"bad key {key}\n{key}", "code": key}}
        body = json.dumps({"choices": [{"message": message}]} if self.status == 200 else error).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_a_key_shows_up_in_no_file_and_no_word_of_a_run(tmp_path, monkeypatch, capsys, status):
    secret = "sk-planted-0123456789abcdef"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MY_SECRET"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setattr(SaysTheKeyBack, "status", status)
    with ThreadingHTTPServer(("127.0.0.1", 0), SaysTheKeyBack) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = ["--model", "openai/m", "--api-base", f"http://127.0.0.1:{server.server_port}/v1"]
        sets = [
            "--set",
            "teacher.retries=0",
            "--set",
            "teacher.timeout_s=1",
            "--set",
            "max_failure_share=1.0",
        ]
        run = str(tmp_path / "run")
        cli.main(["answer", str(prompt_file(tmp_path, [{"prompt": "a"}])), *given, "--out", run, *sets])
        cli.main(["journal", "export", run])
        server.shutdown()
    said = capsys.readouterr()
    assert secret not in said.out + said.err
    assert ("***" in said.out + said.err) or status in (400, 429, 500)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_a_run_goes_on_with_a_larger_budget_and_other_speed_but_not_as_another_run(tmp_path):
    file = prompt_file(
        tmp_path,
        [{"prompt": f"question {n}", "mixed": n} for n in range(6)] + [{"prompt": "x", "mixed": "y"}],
    )
    with MockServer(echo) as server:
        with pytest.raises(TeacherError, match="is used up"):
            answer(config(server, budget_usd=0.03, usd_per_request=0.01), file, tmp_path / "run")
        more = config(server, budget_usd=1.0, usd_per_request=0.01, concurrency=3)
        assert answer(more, file, tmp_path / "run")["answered"] == 7
        assert len(server.requests) == 7
        with pytest.raises(ConfigError, match=r"another teacher\.temperature"):
            answer(config(server, temperature=0.1), file, tmp_path / "run")


def test_odd_values_of_columns_are_kept(tmp_path):
    lines = ['{"prompt": "a \\ud800 b", "line": 7, "big": 123456789012345678901234567890, "sample": "s"}']
    with MockServer(echo) as server:
        answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run")
    (row,) = contract.read(tmp_path / "run" / "dataset", "gad")
    assert (row["input_line"], row["big"], row["input_sample"], row["sample"]) == (
        7,
        "123456789012345678901234567890",
        "s",
        0,
    )
    assert row["prompt"][0]["content"] == "a ? b"


def test_a_dataset_that_went_missing_or_a_column_that_changed_is_written_again(tmp_path):
    with MockServer(echo) as server:
        for column in (1, 1, 2):
            file = prompt_file(tmp_path, [{"prompt": "a", "column": column}])
            shutil.rmtree(tmp_path / "run" / "dataset", ignore_errors=column == 1)
            summary = answer(config(server), file, tmp_path / "run")
            assert contract.read(tmp_path / "run" / "dataset", "gad")[0]["column"] == column
            assert summary["completion_tokens"] > 0
        assert len(server.requests) == 1


def test_a_fatal_error_stops_the_run_at_once(tmp_path):
    file = prompt_file(tmp_path, [{"prompt": f"question {n}"} for n in range(300)])
    with MockServer(echo, fail_with=[401] * 300) as server:
        with pytest.raises(TeacherError, match="auth"):
            answer(config(server, concurrency=64), file, tmp_path / "run")
        assert len(server.requests) <= 16


def test_a_refused_connection_costs_nothing_and_an_empty_run_is_a_failure(tmp_path):
    with MockServer(echo) as server:
        dead = config(server, budget_usd=1.0, usd_per_request=0.1, retries=0)
    with pytest.raises(TeacherError, match="no prompt was answered"):
        answer(dead, prompt_file(tmp_path, [{"prompt": "a"}]), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["spent_usd"] == 0


def test_an_empty_reply_is_a_failed_row_and_a_column_of_nulls_is_kept(tmp_path):
    lines = [{"prompt": "speak", "note": None}, {"prompt": "be silent", "note": None}]
    with MockServer(lambda messages, seed: "" if "silent" in messages[-1]["content"] else "words") as server:
        summary = answer(config(server), prompt_file(tmp_path, lines), tmp_path / "run")
        assert (summary["answered"], summary["failed"]) == (1, 1)
    (good,) = contract.read(tmp_path / "run" / "dataset", "gad")
    assert (good["teacher_response"], good["note"]) == ("words", None)


def test_a_setting_that_every_request_is_refused_for_stops_the_run(tmp_path):
    file = prompt_file(tmp_path, [{"prompt": f"question {n}"} for n in range(300)])
    with MockServer(echo, fail_with=[400] * 300) as server:
        with pytest.raises(TeacherError, match="requests were all refused: bad request"):
            answer(config(server, concurrency=8), file, tmp_path / "run")
        assert 20 <= len(server.requests) < 60


def test_a_run_in_use_keeps_its_config(tmp_path):
    file = prompt_file(tmp_path, [{"prompt": "a"}])
    with MockServer(echo) as server:
        answer(config(server, budget_usd=1.0, usd_per_request=0.01), file, tmp_path / "run")
        with locked_run(tmp_path / "run"), pytest.raises(ConfigError, match="in use"):
            answer(config(server, budget_usd=500.0, usd_per_request=0.01), file, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["budget_usd"] == 1.0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    file = prompt_file(tmp_path, [{"prompt": "a"}])
    command = ["answer", str(file), "--model", "openai/m", "--api-base", "http://127.0.0.1:1/v1"]
    assert cli.main([*command, "--out", "/proc/nowhere"]) == 1
    assert cli.main([*command, "--out", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("error: No such file or directory")
    assert "is a file" in said[1]
