"""The recipe that compares GAD with its baselines, whole, on a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from advcore.testing import tiny_model

RECIPES = Path(__file__).resolve().parents[4] / "recipes"
SMALL = (
    "gad.samples=2", "gad.max_new_tokens=8", "gad.held_out=10", "discriminator.warmup_steps=0",
    "train.batch_size=1", "train.gradient_accumulation=2", "train.checkpoint_steps=1",
)  # fmt: skip


def test_curves_need_prompts_that_are_held_out():
    command = [
        sys.executable,
        "gad_text.py",
        "none",
        "out",
        "--config",
        "gad_small.toml",
        "--set",
        "gad.held_out=0",
    ]
    done = subprocess.run(command, cwd=RECIPES, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "hold some prompts out" in done.stderr


@pytest.mark.soak
def test_all_baselines_take_as_many_steps_and_are_judged_and_a_second_call_changes_nothing(tmp_path):
    replies = tmp_path / "replies.jsonl"
    rows = [
        {"prompt": f"Add {at} and {at + 1}.", "teacher_response": f"It is {2 * at + 1}."} for at in range(18)
    ]
    replies.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [word for each in (f"model={tiny_model(tmp_path / 'tiny')}", *SMALL) for word in ("--set", each)]
    out = tmp_path / "out"
    command = [
        sys.executable,
        "gad_text.py",
        str(replies),
        str(out),
        "--test",
        "4",
        "--config",
        "gad_small.toml",
        *sets,
    ]

    def run():
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        return subprocess.run(
            command, cwd=RECIPES, env=environment, capture_output=True, text=True, timeout=600
        )

    done = run()
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["base", "warmup", "seqkd", "gad", "frozen", "soda"]
    assert done.stdout.count("\n") == 2 + len(summary)
    for row in summary.values():
        share, low, high = row["discriminator_accuracy"]
        assert 0 <= low <= share <= high <= 1
    assert summary["seqkd"]["against_seqkd"] == [0, 0, 0]
    page = (out / "curves.html").read_text()
    assert page.count("<svg") == 7
    assert page.count("<polyline") == 14
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    assert run().stdout == done.stdout
    assert stamps == {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
