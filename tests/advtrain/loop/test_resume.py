"""Killed at any step, out of disk, or with a checkpoint cut short: the run ends as the uninterrupted one does."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from advtrain import CheckpointError, cli, methods, models, run
from advtrain.loop import checkpoints, log

SAME = ("step", "loss", "grad_norm", "learning_rate", "rewards/margins", "logps/chosen", "entropy")
# Weights, moments of the optimizer, learning rate, and the generators of Python, NumPy and torch.
STATE = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
# 6 rows in steps of 2 x 2: an epoch ends with a step of one batch, and checkpoint-3 lies within an epoch.
TRAIN = {"epochs": 4.0, "checkpoint_steps": 3, "gradient_accumulation": 2}
STEPS = list(range(1, 9))


@pytest.fixture
def toml(tiny, pairs, tmp_path):
    """The DPO run of `config(train=TRAIN)` as a file for the command line."""
    file = tmp_path / "c.toml"
    file.write_text(
        f'method = "dpo"\ndataset = "{pairs}"\nmodel = "{tiny}"\n[train]\nlearning_rate = 1e-2\nbatch_size = 2\n'
        + "".join(f"{name} = {value}\n" for name, value in TRAIN.items())
    )
    return str(file)


@pytest.fixture
def completions(pairs, preferences):
    """The chosen sides, for SFT."""
    file = pairs.with_name("sft.jsonl")
    rows = ({"prompt": row["prompt"], "completion": row["chosen"]} for row in preferences)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def steps(folder):
    """What the trainer logged at every step, to the last digit; its closing line left out."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line.get(name) for name in SAME} for line in lines if "loss" in line]


def train(settings, folder):
    """Train in this process, resuming where there is what to resume; the state at the end, and all steps."""
    folder.mkdir(exist_ok=True)
    method = methods.of(settings)
    _, tokenizer, examples = method.prepare()
    policy = models.load_policy(settings.model, settings.adapter, settings.lora, settings.seed)
    trainer = method.build(policy, tokenizer, examples, folder)
    method.fit(trainer, examples, folder)
    last = folder / "checkpoints" / "checkpoint-8"
    return {name: (last / name).read_bytes() for name in STATE}, steps(folder)


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


@pytest.fixture(scope="module")
def whole():
    """What the uninterrupted run came to, once it is known."""
    return {}


@pytest.mark.parametrize("count", [1, 4, 6])  # before a checkpoint, after one, when one may be half-written
def test_a_run_killed_at_a_step_ends_in_the_state_of_the_uninterrupted_one(
    config, toml, tmp_path, whole, count
):
    if not whole:
        whole["state"], whole["steps"] = train(config(train=TRAIN), tmp_path / "whole")
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "advtrain", "run", toml, "--out", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_after(subprocess.Popen(command, start_new_session=True, **quiet), folder, count)
    assert count <= len(steps(folder))
    assert not (folder / "adapter").exists()
    state, seen = train(config(train=TRAIN), folder)
    assert [step["step"] for step in seen] == STEPS
    assert seen == whole["steps"]
    assert [name for name in STATE if state[name] != whole["state"][name]] == []


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_a_damaged_checkpoint_is_passed_over_and_is_complete_again_at_the_end(
    config, completions, tmp_path, capsys, method
):
    dataset = {"dataset": completions} if method == "sft" else {}
    settings = config(method=method, train=TRAIN, **dataset)
    first = train(settings, tmp_path / "run")
    damaged = tmp_path / "run" / "checkpoints" / "checkpoint-8"
    (damaged / "optimizer.pt").write_bytes(first[0]["optimizer.pt"][:-1])
    capsys.readouterr()
    assert train(settings, tmp_path / "run") == first
    assert capsys.readouterr().err.count("warning: checkpoint-8 is incomplete and is skipped\n") == 1
    assert checkpoints.last_checkpoint(tmp_path / "run" / "checkpoints") == str(damaged)


def checkpoint(folder, step):
    """A checkpoint of two files, one of them a shard in a folder of its own."""
    made = folder / f"checkpoint-{step}"
    (made / "optimizer_0").mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer_0/shard"):
        (made / name).write_bytes(b"x" * 100)
    (made / checkpoints.COMPLETE).write_text(json.dumps(checkpoints._sizes(made)))
    return made


@pytest.mark.parametrize("harm", ["truncated", "missing", "unfinished", "garbled"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_a_word(tmp_path, capsys, harm):
    good, bad = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert checkpoints.last_checkpoint(tmp_path) == str(bad)
    if harm == "truncated":
        (bad / "optimizer_0" / "shard").write_bytes(b"x" * 60)
    elif harm == "missing":
        (bad / "adapter_model.safetensors").unlink()
    elif harm == "unfinished":
        (bad / checkpoints.COMPLETE).unlink()
    else:
        (bad / checkpoints.COMPLETE).write_text('{"optimiz')
    capsys.readouterr()
    assert checkpoints.last_checkpoint(tmp_path) == str(good)
    assert capsys.readouterr().err == "warning: checkpoint-10 is incomplete and is skipped\n"


def test_no_checkpoint_is_no_trouble(tmp_path):
    assert checkpoints.last_checkpoint(tmp_path / "none") is None


def stopped(toml, folder, name, capsys):
    """Run the command line into a full disk: one line that names what could not be written."""
    capsys.readouterr()
    assert cli.main(["run", toml, "--out", str(folder)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {name} cannot be written (")
    assert errors[0].endswith("make room and run again, the run goes on at its last checkpoint")


@pytest.mark.parametrize("full", ["optimizer.pt", "trainer_state.json"])
def test_a_full_disk_stops_with_one_line_and_leaves_the_checkpoint_before(
    config, toml, tmp_path, capsys, full
):
    """/dev/full stands where the file of the second checkpoint would be, so that the write itself fails."""
    whole = run.run(config(train=TRAIN), tmp_path / "whole")
    folder = tmp_path / "run"
    target = folder / "checkpoints" / "checkpoint-6" / full
    target.parent.mkdir(parents=True)
    target.symlink_to("/dev/full")
    stopped(toml, folder, "checkpoint-6", capsys)
    assert checkpoints.last_checkpoint(folder / "checkpoints").endswith("checkpoint-3")
    target.unlink()
    resumed = run.run(config(train=TRAIN), folder)
    assert steps(folder) == steps(tmp_path / "whole")
    assert resumed["adapter_sha256"] == whole["adapter_sha256"]


@pytest.fixture
def file_limit():
    """A function that limits the size of files for the time of the test, as a disk does that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "room", [40_000, 200_000, 285_000]
)  # in the weights; in the optimizer, early and late
def test_wherever_in_a_file_the_room_ends_one_line_says_so(toml, tmp_path, capsys, file_limit, room):
    folder = tmp_path / "run"
    file_limit(room)
    stopped(toml, folder, "checkpoint-3", capsys)
    assert checkpoints.last_checkpoint(folder / "checkpoints") is None


def test_an_adapter_that_finds_no_room_is_told_and_written_by_the_next_start(config, toml, tmp_path, capsys):
    folder = tmp_path / "run"
    (folder / ".adapter.tmp").mkdir(parents=True)
    (folder / ".adapter.tmp" / "adapter_config.json").symlink_to("/dev/full")
    stopped(toml, folder, "adapter", capsys)
    assert checkpoints.last_checkpoint(folder / "checkpoints").endswith("checkpoint-8")
    (folder / ".adapter.tmp" / "adapter_config.json").unlink()
    assert run.run(config(train=TRAIN), folder)["rows"]["trained"] == 6
    assert len(steps(folder)) == len(STEPS)


def test_a_log_line_that_finds_no_room_stops_the_run():
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    logged = log.RunLog(Path("/dev/full"), "dpo", ExitStack())
    with pytest.raises(CheckpointError, match=r"full cannot be written \(\[Errno 28\]"):
        logged.on_log(None, state, None, {"loss": 1.0})


def test_a_line_that_a_full_disk_cut_short_is_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    checkpoints.keep_until(file, 2)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'
