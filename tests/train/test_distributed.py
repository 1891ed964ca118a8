"""Two processes on the CPU (gloo) train to the margins of one, and one of them writes."""

import json
import os
import subprocess
import sys

import pytest

from advcore import contract

# The rest of advtrain as it is; in float32, so that digits can be compared whatever this machine would take.
SCRIPT = """
import sys, torch
from advcore import engine
engine.precision = lambda: (torch.float32, "to compare digits")
torch.set_num_threads(1)
from advtrain import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def launch(tmp_path):
    """A function that runs advtrain in so many processes and gives what they printed."""
    script = tmp_path / "advtrain_float32.py"
    script.write_text(SCRIPT)

    def run(processes, *arguments):
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(torchrun if processes > 1 else []), str(script), "run", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_two_processes_train_to_the_margins_of_one(launch, tiny, tmp_path, preferences):
    pairs = tmp_path / "eight.jsonl"
    rows = [*preferences, *({**row, "prompt": row["prompt"] + " Twice."} for row in preferences[:2])]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "c.toml"
    config.write_text(
        f'method = "dpo"\ndataset = "{pairs}"\nmodel = "{tiny}"\n'
        '[train]\nlearning_rate = 1e-3\nepochs = 3.0\n[dpo]\nmargin_matmul = "highest"\n'
    )
    launch(1, str(config), "--out", str(tmp_path / "one"), "--set", "train.batch_size=4")
    done = launch(2, str(config), "--out", str(tmp_path / "two"), "--set", "train.batch_size=2")
    assert done.stdout == f"{tmp_path / 'two'}\n"  # once
    assert done.stderr.count("margins of 8 exercises") == 1
    one, two = (contract.read(tmp_path / name, "margins") for name in ("one", "two"))
    assert [row["exercise_id"] for row in two] == [row["exercise_id"] for row in one]
    assert max(abs(row["margin"]) for row in one) > 1e-2
    for alone, shared in zip(one, two, strict=True):
        assert shared["margin"] == pytest.approx(alone["margin"], abs=1e-5)
    losses = [
        [
            json.loads(line).get("loss")
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == len(losses[1]) == 7
