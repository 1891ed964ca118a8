"""What runs where only Linux's own calls are missing, as on macOS and Windows; the sandbox says that it needs Linux.

No such machine is at hand: the calls and modules are taken away from our packages, in a process of its own.
"""

import json
import subprocess
import sys

import pytest

from advcore.testing import tiny_model
from advcore.testing.servers import MockServer

ELSEWHERE = """
import asyncio, builtins, os, platform, sys, types

OURS = ("advcore", "advgen", "advtrain", "advdistill", "sandbox")
LINUX = ("fcntl", "resource", "pwd", "grp", "termios")
imported = builtins.__import__

def without(name, names=None, *rest, **named):
    caller = (names or {}).get("__name__", "").partition(".")[0]
    if caller in OURS and name in LINUX:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if caller in OURS and name == "platform":
        return types.SimpleNamespace(**{**vars(platform), "system": lambda: "Darwin"})
    return imported(name, names, *rest, **named)

def refuse(*_):
    raise NotImplementedError

builtins.__import__ = without
for name in ("sched_getaffinity", "memfd_create", "pidfd_open"):
    delattr(os, name)
asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = refuse
asyncio.unix_events._UnixSelectorEventLoop.remove_signal_handler = refuse
module, *arguments = sys.argv[1:]
cli = __import__(f"{module}.cli", fromlist=["main"])
sys.exit(cli.main(arguments))
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A function that runs a command without them."""

    def run(*command):
        return subprocess.run(
            [sys.executable, "-c", ELSEWHERE, *map(str, command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def test_answers_are_asked_for_and_judged(elsewhere, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    (tmp_path / "reference.jsonl").write_text(
        '{"prompt": "one", "response": "1"}\n{"prompt": "two", "response": "2"}\n'
    )
    with MockServer(lambda messages, seed: '{"first": 8, "second": 4}') as server:
        at = ("--api-base", server.api_base)
        done = elsewhere("advgen", "answer", "prompts.jsonl", "--model", "openai/m", *at, "--out", "a")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["answered"] == 2
        done = elsewhere(
            "advgen", "judge", "a", "--model", "openai/j", *at, "--out", "j", "--reference", "reference.jsonl"
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["judged"] == 2
    assert "no lock can be held" in done.stderr


def test_a_student_is_trained(elsewhere, tmp_path):
    tiny_model(tmp_path / "tiny")
    rows = [{"prompt": f"number {at}", "teacher_response": f"it is {at}"} for at in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sft.toml").write_text(
        'method = "sft"\nmodel = "tiny"\ndataset = "rows.jsonl"\n[sft]\nconfig = "gad"\n'
    )
    done = elsewhere("advtrain", "run", "sft.toml", "--out", "t")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t" / "adapter" / "adapter_config.json").is_file()


def test_what_needs_the_sandbox_says_so_in_one_line(elsewhere, dataset):
    done = elsewhere("advgen", "verify", dataset)
    said = "error: the sandbox needs Linux, and this is Darwin: use a Linux machine or a container"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said), done.stderr
    assert "Traceback" not in done.stderr
