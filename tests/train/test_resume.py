"""Killed at any step, out of disk, or with a checkpoint cut short: the run ends as the uninterrupted one does."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from advtrain import run, trainer

SAME = ("step", "loss", "grad_norm", "learning_rate", "rewards/margins", "logps/chosen")
# 6 pairs in steps of 2 x 2: an epoch ends with a step of one batch
TRAIN = {"epochs": 4.0, "checkpoint_steps": 3, "gradient_accumulation": 2}


def steps(folder):
    """What the trainer logged at every step, to the last digit; its closing line left out."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in SAME} for line in lines if "loss" in line]


@pytest.fixture
def start(tiny, pairs, tmp_path):
    """A function that starts the run in a process of its own."""
    toml = tmp_path / "c.toml"
    toml.write_text(
        f'method = "dpo"\ndataset = "{pairs}"\nmodel = "{tiny}"\n[train]\nlearning_rate = 1e-2\nbatch_size = 2\n'
        + "".join(f"{name} = {value}\n" for name, value in TRAIN.items())
    )

    def begin(folder, **options):
        command = [sys.executable, "-m", "advtrain", "run", str(toml), "--out", str(folder)]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **options
        )

    return begin


def kill_after(process, folder, count):
    """Kill it as soon as so many steps were logged."""
    deadline = time.monotonic() + 90
    file = folder / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and len(file.read_text().splitlines()) >= count:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.fixture(scope="module")
def whole():
    """What the uninterrupted run came to, once it is known."""
    return {}


@pytest.mark.parametrize("count", [1, 4, 6])  # before a checkpoint, after one, when one may be half-written
def test_a_run_killed_at_a_step_ends_as_the_uninterrupted_one(config, start, tmp_path, whole, count):
    if not whole:
        whole["adapter"] = run.run(config(train=TRAIN), tmp_path / "whole")["adapter_sha256"]
        whole["steps"] = steps(tmp_path / "whole")
    killed = tmp_path / "killed"
    kill_after(start(killed, start_new_session=True), killed, count)
    assert not (killed / "manifest.json").exists()
    resumed = run.run(config(train=TRAIN), killed)
    assert steps(killed) == whole["steps"]
    assert [step["step"] for step in whole["steps"]] == list(range(1, 9))
    assert resumed["adapter_sha256"] == whole["adapter"]


def checkpoint(folder, step, files=("optimizer.pt", "adapter_model.safetensors")):
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name in files:
        (made / name).write_bytes(b"x" * 100)
    (made / trainer.WHOLE).write_text(json.dumps(dict.fromkeys(files, 100)))
    return made


@pytest.mark.parametrize("harm", ["truncated", "missing", "unfinished", "garbled"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_a_word(tmp_path, capsys, harm):
    good, bad = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert trainer.last_checkpoint(tmp_path) == str(bad)
    if harm == "truncated":
        (bad / "optimizer.pt").write_bytes(b"x" * 60)
    elif harm == "missing":
        (bad / "optimizer.pt").unlink()
    elif harm == "unfinished":
        (bad / trainer.WHOLE).unlink()
    else:
        (bad / trainer.WHOLE).write_text('{"optimiz')
    capsys.readouterr()
    assert trainer.last_checkpoint(tmp_path) == str(good)
    assert capsys.readouterr().err == "warning: checkpoint-10 is not whole and is passed over\n"


def test_no_checkpoint_is_no_trouble(tmp_path):
    assert trainer.last_checkpoint(tmp_path / "none") is None


def test_a_full_disk_stops_with_one_line_and_leaves_the_checkpoint_before(config, start, tmp_path):
    """A limit on file size stands in for the disk: the optimizer's state is the largest file of a checkpoint."""
    folder = tmp_path / "run"
    kill_after(start(folder, start_new_session=True), folder, 4)
    before = trainer.last_checkpoint(folder / "checkpoints")
    assert before.endswith("checkpoint-3")
    largest = max(file.stat().st_size for file in (folder / "checkpoints" / "checkpoint-3").iterdir())

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1000, largest - 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = start(folder, preexec_fn=limit)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: checkpoint-6 cannot be written: ")
    assert "Traceback" not in errors
    assert trainer.last_checkpoint(folder / "checkpoints") == before
    assert run.run(config(train=TRAIN), folder)["rows"]["trained"] == 6
