"""Two processes on the CPU (gloo) train to the margins of one, also over a stop; one of them writes."""

import json
import os
import subprocess
import sys

import pytest

from advcore import contract

# The rest of advtrain as it is; in float32, so that digits can be compared whatever this machine would take. A process
# that ends with threads of gloo can abort.
SCRIPT = """
import glob, sys, torch
from advcore.engine import loading
loading.precision = lambda: (torch.float32, "to compare digits")
torch.set_num_threads(1)
from advtrain import cli
code = cli.main(sys.argv[1:])
left = [name for name in (open(file).read() for file in glob.glob("/proc/self/task/*/comm")) if "gloo" in name]
sys.exit(code or (f"threads left: {left}" if left else 0))
"""


@pytest.fixture
def launch(tmp_path):
    """A function that runs advtrain in so many processes and gives what they printed."""
    script = tmp_path / "advtrain_float32.py"
    script.write_text(SCRIPT)

    def run(processes, *arguments):
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(torchrun if processes > 1 else []), str(script), "run", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    return run


def test_two_processes_stop_in_the_second_epoch_go_on_together_and_come_to_the_margins_of_one(
    launch, tiny, tmp_path, preferences
):
    pairs = tmp_path / "eight.jsonl"
    rows = [*preferences, *({**row, "prompt": row["prompt"] + " Twice."} for row in preferences[:2])]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "c.toml"
    config.write_text(
        f'method = "dpo"\ndataset = "{pairs}"\nmodel = "{tiny}"\n[dpo]\nmargin_matmul = "highest"\n'
        "[train]\nlearning_rate = 1e-3\nepochs = 4.0\ncheckpoint_steps = 6\n"
    )
    alone = launch(1, str(config), "--out", str(tmp_path / "one"), "--set", "train.batch_size=2")
    assert alone.returncode == 0, alone.stderr

    together = (str(config), "--out", str(tmp_path / "two"), "--set", "train.batch_size=1")
    full = tmp_path / "two" / "checkpoints" / "checkpoint-12" / "optimizer.pt"
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    stopped = launch(2, *together)
    assert stopped.returncode != 0
    assert stopped.stderr.count("error: checkpoint-12 cannot be written (") == 1, stopped.stderr
    full.unlink()
    done = launch(2, *together)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: checkpoint-12 is incomplete and is skipped\n") == 1
    assert done.stderr.count("margins of 8 exercises") == 1
    assert done.stdout == f"{tmp_path / 'two'}\n"

    one, two = (contract.read(tmp_path / name, "margins") for name in ("one", "two"))
    assert [row["exercise_id"] for row in two] == [row["exercise_id"] for row in one]
    assert max(abs(row["margin"]) for row in one) > 1e-2
    for by_one, by_two in zip(one, two, strict=True):
        assert by_two["margin"] == pytest.approx(by_one["margin"], abs=1e-5)
    assert steps(tmp_path / "two") == steps(tmp_path / "one") == list(range(1, 17))


def test_two_processes_play_one_game(launch, tiny, tmp_path):
    """Both stages to their end, with held-out prompts that no rank trains on; one process writes."""
    file = tmp_path / "replies.jsonl"
    rows = [{"prompt": f"Add {number}.", "teacher_response": f"x + {number}"} for number in range(18)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "c.toml"
    config.write_text(
        f'method = "gad"\ndataset = "{file}"\nmodel = "{tiny}"\n'
        "[gad]\nsamples = 2\nmax_new_tokens = 6\nheld_out = 10\n[discriminator]\nlearning_rate = 1e-2\n"
        "warmup_steps = 1\n[train]\nlearning_rate = 1e-3\nbatch_size = 1\ngradient_accumulation = 2\n"
    )
    done = launch(2, str(config), "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path / "two") == [1, 2, 3, 4]
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["rows"]["held_out"] == 10


STEPS = """
import os, sys, torch
from advcore.engine import loading
loading.precision = lambda: (torch.float32, "to compare digits")
torch.set_num_threads(1)
from advtrain import models
from advtrain.config import Discriminator as Config, Lora, RunConfig
from advtrain.methods.gad.discriminator import Discriminator, Group
world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
if world > 1:
    torch.distributed.init_process_group("gloo")
config = RunConfig(method="gad", dataset="none", model=sys.argv[1], discriminator=Config(learning_rate=1e-2))
model = models.load_discriminator(config, models.load_policy(config.model, "", Lora(), 0))
discriminator = Discriminator(
    model, config.discriminator, batch_size=4, weight_decay=0.0, max_grad_norm=0.2, seed=0
)
groups = [Group([5, 6], [40 + at, 41], [[50], [60, 61 + at, 62]]) for at in range(4)]
for _ in range(3):
    discriminator.score_and_step(groups[rank::world], learn=True)
torch.save(discriminator.state()["weights"], f"{sys.argv[2]}-{rank}")
if world > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.soak
def test_the_discriminators_step_is_that_of_all_ranks_groups_together(tiny, tmp_path):
    import torch

    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    for processes in (1, 2):
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command = [sys.executable, *(torchrun if processes > 1 else []), str(script), tiny]
        subprocess.run([*command, str(tmp_path / str(processes))], check=True, timeout=240)
    one, first, second = (torch.load(tmp_path / name) for name in ("1-0", "2-0", "2-1"))
    for name, weight in one.items():
        torch.testing.assert_close(first[name], weight, atol=1e-4, rtol=1e-3)
        assert torch.equal(first[name], second[name])


def steps(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]


@pytest.mark.parametrize("recipe", ["ddp", "fsdp2"])
def test_accelerate_reads_the_recipes(recipe):
    from accelerate.commands.config.config_args import load_config_from_file

    read = load_config_from_file(f"recipes/accelerate/{recipe}.yaml")
    assert read.distributed_type == {"ddp": "MULTI_GPU", "fsdp2": "FSDP"}[recipe]
    assert read.mixed_precision == "bf16"
