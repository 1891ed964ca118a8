"""Bad input to either command: one clear line, exit code 2, never a traceback."""

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

BUILD = '[teacher]\nmodel = "local/teacher"\n[student]\nmodel = "local/student"\n'
TRAIN = 'method = "dpo"\ndataset = "data.jsonl"\nmodel = "student"\n'


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs a command as the console script does, in an empty folder and without keys in the environment."""
    for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(command, *arguments):
        code = importlib.import_module(f"{command}.cli").main(arguments)
        streams = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=streams.out, stderr=streams.err)

    return call


@pytest.mark.parametrize(
    ("config", "arguments", "says"),
    [
        (BUILD + "[exercise]\ncount = 3\n", [], "unknown key exercise; did you mean exercises?"),
        (BUILD, ["--set", "gate.min_test=3"], "unknown key gate.min_test; did you mean min_tests?"),
        (BUILD, ["--set", "exercises.count=many"], "exercises.count takes int"),
        (BUILD, ["--set", "teacher.model=local/techer"], "did you mean teacher?"),
        (BUILD, ["--set", "teacher.model=nobody/gpt"], "unknown model nobody/gpt"),
        (BUILD, ["--set", "teacher.model=anthropic/claude-sonnet-4-5"], "ANTHROPIC_API_KEY"),
        (BUILD, ["--parent", "nowhere"], "nowhere"),
        (BUILD, ["--margins", "x"], "--margins belong to a --parent round"),
        (BUILD, ["--seeds", "texts.jsonl"], "--seeds texts.jsonl names no column"),
        (BUILD, ["--seeds", "nowhere.py"], "--seeds nowhere.py cannot be read as Python"),
        (BUILD, ["--seeds", "x.py", "--parent", "y"], "--seeds and --tasks are for a first round"),
        ("[teacher\n", [], "not valid TOML"),
        (BUILD, ["--set", "exercises.per_topic=0"], "exercises.per_topic is 0, under 1"),
        (BUILD, ["--set", "curriculum.strategies=['sideways']"], "curriculum.strategies is 'sideways'"),
        (BUILD, ["--set", "teacher.concurrency=0"], "teacher.concurrency is 0"),
        (BUILD, ["--set", "gate.agreement=60"], "gate.agreement is 60.0, over 1"),
        (BUILD, ["--set", "gate.agreement=0"], "gate.agreement is 0.0, under 0.01"),
        (BUILD, ["--set", "gate.max_mutants=0"], "gate.max_mutants is 0, so that no"),
        (BUILD, ["--set", "max_failure_share=-1"], "max_failure_share is -1.0, under 0"),
        (BUILD, ["--set", "student.top_p=95"], "student.top_p is 95.0, over 1"),
        (BUILD, ["--seeds", "empty.jsonl:text"], "empty.jsonl:text holds nothing to make an exercise from"),
        (BUILD, ["--set", "teacher.temperature=0.0"], "teacher.temperature is 0"),
    ],
)
def test_advgen_build_explains_a_mistake_in_one_line(tmp_path, run, config, arguments, says):
    (tmp_path / "c.toml").write_text(config)
    (tmp_path / "empty.jsonl").touch()
    done = run("advgen", "build", "c.toml", "--out", "run", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "missing.toml", "--out", "run"], "missing.toml does not exist"),
        (["models", "fetch", "teecher"], "teacher"),
        (["push", "nothing", "--repo", "a/b"], "holds no finished build"),
    ],
)
def test_other_advgen_commands_do_too(run, arguments, says):
    done = run("advgen", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert says in done.stderr


@pytest.mark.parametrize(
    ("rows", "arguments", "says"),
    [
        ('{"question": "x", "answer": "y"}\n', [], "chosen"),
        ("", [], "data.jsonl"),
        (
            '{"prompt": "x", "chosen": "y", "rejected": "z"}\n',
            ["--set", "model=studnt"],
            "did you mean student?",
        ),
        ('{"prompt": "x", "chosen": "y", "rejected": "z"}\n', ["--set", "dpo.bta=1"], "did you mean beta?"),
        ('{"prompt": "x", "chosen": "y", "rejected": "z"}\n', ["--set", "dataset=none.jsonl"], "none.jsonl"),
    ],
)
def test_advtrain_run_explains_a_mistake_in_one_line(tmp_path, run, rows, arguments, says):
    (tmp_path / "data.jsonl").write_text(rows)
    (tmp_path / "c.toml").write_text(TRAIN)
    done = run("advtrain", "run", "c.toml", "--out", "run", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_dry_run_prints_the_resolved_config_and_the_plan_and_asks_nothing(tmp_path, run):
    (tmp_path / "c.toml").write_text(BUILD)
    done = run("advgen", "build", "c.toml", "--out", "run", "--dry-run", "--set", "exercises.count=3")
    assert done.returncode == 0, done.stderr
    assert '"teacher_requests": 23' in done.stdout
    assert not (tmp_path / "run").exists()


def test_dry_run_of_answer_estimates_before_anything_is_spent(tmp_path, run):
    lines = [json.dumps({"prompt": "x" * 984}), "no JSON", json.dumps({"prompt": "y" * 984})]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    prices = ["usd_per_request=0.01", "usd_per_million_prompt=1000", "usd_per_million_completion=2000"]
    sets = [each for price in ["max_tokens=100", *prices] for each in ("--set", f"teacher.{price}")]
    command = ["advgen", "answer", "p.jsonl", "--model", "openai/m", "--api-base", "http://127.0.0.1:1/v1"]
    done = run(*command, "--out", "run", "--n", "3", "--dry-run", *sets)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"] == {
        "prompts": 2, "requests": 6, "prompt_tokens_about": 1500, "completion_tokens_at_most": 600,
        "cost_usd_estimate": 0.06 + 1.5 + 1.2,
    }  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_module_is_the_command_and_ends_with_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "advgen", "build", "missing.toml", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: config file missing.toml does not exist\n")


def test_a_mistake_does_not_lock_the_run_folder(run, tmp_path):
    (tmp_path / "c.toml").write_text(BUILD)
    assert (
        run("advgen", "build", "c.toml", "--out", "run", "--set", "teacher.model=nobody/gpt").returncode == 2
    )
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    done = run("advgen", "build", "c.toml", "--out", "file")
    assert (done.returncode, done.stderr) == (2, "error: file is a file; give the path of a folder\n")


def test_a_broken_parent_is_one_line(run, tmp_path):
    (tmp_path / "c.toml").write_text(BUILD)
    (tmp_path / "parent" / "raw").mkdir(parents=True)
    (tmp_path / "parent" / "raw" / "round-0000.parquet").write_text("no parquet")
    done = run("advgen", "build", "c.toml", "--out", "run", "--parent", "parent")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("command", ["advgen", "advtrain"])
def test_help_cuts_no_command_off_at_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.partition("Commands:")[2].splitlines()
    assert len(lines) > 3
    assert [line for line in lines if line.rstrip().endswith(("...", "\u2026"))] == []
