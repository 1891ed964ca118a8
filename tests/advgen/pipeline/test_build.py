"""The whole data side with a scripted teacher: real HTTP, real journal, real sandbox, real Parquet."""

import json
import signal
import subprocess
import sys
import time

import pytest

from advcore import ConfigError, DataError, TeacherError, contract
from advcore.ask import JournalReader
from advcore.testing.servers import MockServer
from advgen import pipeline, specs
from advgen.testing import scripted


def test_a_build_yields_pairs_that_execution_separated(tmp_path, build_config):
    funnel = pipeline.build(build_config(), tmp_path / "run", None)
    assert (funnel["asked"], funnel["kept"], funnel["pairs"]) == (4, 4, 8)
    assert 0 < funnel["student_pass_rate"] < 1
    rows = contract.read(tmp_path / "run" / "dataset", "dpo")
    for row in rows:
        contract.check_row("dpo", row)
        assert row["prompt"][0]["role"] == "user"
        assert row["chosen"][0]["content"] != row["rejected"][0]["content"]
        assert row["rejected"][0]["content"].startswith("```python\n")
        assert 0 <= row["failed_test"] < len(json.loads(row["tests"]))
        assert json.loads(row["sandbox"])["level"] in ("L2", "L3")
    tests = [test for row in rows for test in json.loads(row["tests"])]
    # The scripted asserts claim one true value and one false one: only the true one is a cross-checked test. The
    # statement's own example is a test, but no cross-check.
    assert {test["call"].split("(")[1] for test in tests if test["source"] == "assert"} == {"[1, 1])"}
    assert all(test["expected"] != "0" for test in tests)
    for config in ("sft", "kto", "rl", "gad", "raw"):
        assert contract.read(tmp_path / "run" / "dataset", config)
    assert "config_name: dpo" in (tmp_path / "run" / "dataset" / "README.md").read_text()


def test_running_again_asks_for_nothing_and_changes_nothing(tmp_path, build_config, servers):
    config = build_config()
    first = pipeline.build(config, tmp_path / "run", None)
    asked = [len(server.requests) for server in servers]
    file = tmp_path / "run" / "dataset" / "dpo" / "round-0000.parquet"
    before = file.read_bytes()
    assert pipeline.build(config, tmp_path / "run", None) == first
    (tmp_path / "run" / "funnel.json").unlink()  # as if killed before the end
    assert pipeline.build(config, tmp_path / "run", None) == first
    assert [len(server.requests) for server in servers] == asked
    assert file.read_bytes() == before


def test_another_config_in_the_same_folder_is_refused(tmp_path, build_config):
    pipeline.build(build_config(), tmp_path / "run", None)
    with pytest.raises(ConfigError, match=r"exercises\.count"):
        pipeline.build(build_config(exercises={"count": 2}), tmp_path / "run", None)


def test_an_adversarial_round_grows_from_margins_with_all_three_strategies(tmp_path, build_config):
    pipeline.build(build_config(), tmp_path / "zero", None)
    kept = [row["exercise_id"] for row in contract.read(tmp_path / "zero" / "dataset", "raw")]
    margins = [_margin(name, float(at)) for at, name in enumerate(kept)]
    contract.write_round(tmp_path / "trained", "margins", 0, margins)
    parent = specs.open_parent(str(tmp_path / "zero"), str(tmp_path / "trained"))
    assert [(row["exercise_id"], row["margin"]) for row in parent.margins] == list(
        zip(kept, range(4), strict=True)
    )
    funnel = pipeline.build(build_config(exercises={"count": 6}), tmp_path / "one", parent)
    assert funnel["round"] == 1
    assert set(funnel["strategies"]) == {"incremental", "opposite", "deceptive"}
    assert 1 <= funnel["draw"]["effective_sample_size"] <= 4
    rows = contract.read(tmp_path / "one" / "dataset", "raw")
    children = [row for row in rows if row["round"] == 1]
    assert len(rows) == 10
    assert {row["parent_id"] for row in children} <= set(kept)
    prompts = (tmp_path / "one" / "dataset" / "raw").glob("*.parquet")
    assert sorted(file.name for file in prompts) == ["round-0000.parquet", "round-0001.parquet"]


def _margin(name, margin):
    return {
        "exercise_id": name, "margin": margin, "margin_per_token": 0.0, "r_chosen": 0.0, "r_rejected": 0.0,
        "chosen_tokens": 1, "rejected_tokens": 1, "truncated": False, "dropped": False, "model": "m",
        "reference": "base",
        "schema_version": contract.SCHEMA_VERSION,
    }  # fmt: skip


def test_a_bad_reply_costs_its_row_and_is_recorded_with_its_reason(tmp_path, build_config):
    with MockServer(lambda *_: "I would rather not.") as mute:
        config = build_config(teacher={"api_base": mute.api_base}, exercises={"topics": ["one", "two"]})
        funnel = pipeline.build(config, tmp_path / "run", None)
    assert funnel["turned_away"] == {"unreadable": 4}
    reasons = {row["reason"] for row in contract.read(tmp_path / "run" / "dataset", "raw")}
    assert reasons == {"syntax error: SyntaxError"}


def test_a_broken_endpoint_stops_the_run_with_its_reason(tmp_path, build_config):
    def respond(messages, seed):
        if "different subtopics" in messages[0]["content"]:
            server.fail_with[:] = [503] * 50  # answers this, then breaks
        return "1. a first subtopic\n2. a second one"

    with MockServer(respond) as server:
        config = build_config(
            teacher={"api_base": server.api_base, "retries": 0}, exercises={"topics": ["one"], "per_topic": 4}
        )
        with pytest.raises(TeacherError, match="of 4 exercises failed"):
            pipeline.build(config, tmp_path / "run", None)


def test_a_killed_build_loses_no_committed_reply(tmp_path, build_config, servers):
    """kill -9 in the middle; what the journal held is not asked for again."""
    teacher, student = servers
    config = tmp_path / "config.toml"
    config.write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\nconcurrency = 1\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\nconcurrency = 1\n'
        "[exercises]\ncount = 12\nsolutions = 2\n"
    )
    command = [sys.executable, "-m", "advgen", "build", str(config), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while len(teacher.requests) < 15:
        time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["kept"] == 12
    sent = [json.dumps([body["messages"], body["seed"]]) for body in teacher.requests]
    assert len(sent) - len(set(sent)) <= 1  # at most the one request that was in flight


def test_a_wrong_key_stops_a_build_and_what_was_in_flight_is_stored(tmp_path, build_config):
    def respond(messages, seed):
        if "different subtopics" in messages[0]["content"]:
            server.fail_with[:] = [401]
        return scripted(messages, seed)

    with MockServer(respond) as server:
        config = build_config(
            teacher={"api_base": server.api_base}, exercises={"topics": ["a"], "per_topic": 4}
        )
        with pytest.raises(TeacherError, match="openai/teacher: auth"):
            pipeline.build(config, tmp_path / "run", None)
        asked = len(server.requests)
    assert asked < 8  # the subtopics, the four statements, and at most what the others led to meanwhile
    with JournalReader(tmp_path / "run" / "journal.sqlite") as journal:
        assert len(journal) == asked - 1


def test_a_build_that_ran_out_of_budget_writes_what_was_paid_for_and_goes_on_with_more(
    tmp_path, build_config
):
    priced = {"usd_per_request": 0.01, "concurrency": 2}
    prices = {"teacher": priced, "student": priced}
    poor = build_config(**prices, exercises={"count": 12}, budget_usd=0.6)
    with pytest.raises(TeacherError, match=r"budget_usd 0\.6 is used up"):
        pipeline.build(poor, tmp_path / "run", None)
    funnel = json.loads((tmp_path / "run" / "funnel.json").read_text())
    assert (funnel["finished"], 1 <= funnel["kept"] < 12) == (False, True)
    assert len(contract.read(tmp_path / "run" / "dataset", "raw")) == funnel["asked"]
    rich = pipeline.build(
        build_config(**prices, exercises={"count": 12}, budget_usd=9.0), tmp_path / "run", None
    )
    assert (rich["finished"], rich["kept"]) == (True, 12)


def test_one_interrupt_lets_a_build_finish_what_is_in_flight(tmp_path, servers):
    teacher, student = servers
    config = tmp_path / "config.toml"
    config.write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\nconcurrency = 2\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\n[exercises]\ncount = 24\n'
    )
    command = [sys.executable, "-m", "advgen", "build", str(config), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(teacher.requests) < 15:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "run the same command again to go on" in said
    with JournalReader(tmp_path / "run" / "journal.sqlite") as journal:
        assert 15 <= len(journal) == len(teacher.requests) + len(student.requests) < 200


def test_a_parent_without_kept_exercises_is_one_clear_line(tmp_path):
    with pytest.raises(DataError):
        specs.open_parent(str(tmp_path / "nothing"), "")


HOSTILE = [
    "def evil_1(x: int) -> int:\n    return 10 ** 5000",
    "def evil_1(x: int) -> int:\n"
    + "".join(f"    {'el' if i else ''}if x == {i}: return {i}\n" for i in range(300)),
    "def evil_1(x: int = " + "-" * 500 + "1) -> int:\n    return x",
    "def evil_1(x: int) -> int:\n    made = []\n    for _ in range(250): made = [made]\n    return made",
    "def evil_1(x: int) -> int:\n    raise type('| <b>', (Exception,), {})('\\ud800')",
    "def evil_1(x: int) -> int:\n    return 1\x00",
    "```",
    "\ud800",
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_replies_cost_their_row_only(tmp_path, build_config, text):
    """As solution, as calls, as attempt, and as a subtopic: the run ends, and its data can be written."""
    stub = (
        'def evil_1(x: int) -> int:\n    """Something about the number x that is long enough to be read."""'
    )

    def respond(messages, seed):
        asked = messages[-1]["content"]
        if "different subtopics" in asked:
            return f"1. a subtopic {text}"
        return f"```python\n{stub}\n```" if "You write statements" in asked else f"```python\n{text}\n```"

    with MockServer(respond) as server:
        both = {"api_base": server.api_base}
        topics = {"topics": ["one"], "per_topic": 1, "count": 1}
        funnel = pipeline.build(
            build_config(teacher=both, student=both, exercises=topics), tmp_path / "run", None
        )
    assert funnel["asked"] == 1
    (row,) = contract.read(tmp_path / "run" / "dataset", "raw")
    assert row["status"] not in ("no_reply", "sandbox_error")
    assert (tmp_path / "run" / "dataset" / "README.md").read_text()
