"""`advdistill rounds` for two rounds on scripted models and a tiny student: over the Hub alone, and in a folder."""

import json
import os
import subprocess
import sys

import pytest

from advcore import contract
from advcore.testing import FakeHub, tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("student") / "tiny")


@pytest.fixture
def loop(tmp_path, servers, tiny):
    """A function that runs the command and gives what it printed."""
    teacher, student = servers
    (tmp_path / "build.toml").write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\n'
        "[exercises]\ncount = 3\nsolutions = 2\ncalls = 7\n[attempts]\ncount = 4\n"
        "[curation]\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n"
    )
    (tmp_path / "train.toml").write_text(
        f'method = "dpo"\ndataset = "set by the loop"\nmodel = "{tiny}"\nrounds = "last"\n'
    )

    def run(*options, **env):
        # One thread: a second wins a tiny model nothing, and on a busy machine it can double the time.
        small = {"ADVDISTILL_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "advdistill", "rounds", "build.toml", "train.toml", "--out", "runs"]
        done = subprocess.run(
            [*command, "--rounds", "2", "--evaluate", "0", *options], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, **small, **env},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return run


def check_rounds(runs):
    """Two rounds: the second drawn by the margins of the first, trained on its adapter."""
    funnel = json.loads((runs / "round-1" / "funnel.json").read_text())
    first, second = (json.loads((runs / f"train-{n}" / "manifest.json").read_text()) for n in (0, 1))
    assert (funnel["round"], funnel["draw"]["with_margin"]) == (1, first["margins"]["count"])
    assert second["adapter_parent"]["sha256"] == first["adapter_sha256"]
    assert all((runs / f"train-{n}" / "report.html").exists() for n in (0, 1))
    newest = {row["exercise_id"] for row in contract.read(runs / "train-1", "margins")}
    pairs = contract.read(runs / "round-1" / "dataset", "dpo")
    assert newest == {row["exercise_id"] for row in pairs if row["round"] == 1}


@pytest.mark.soak
def test_two_rounds_in_a_folder_and_nothing_is_done_twice(loop, tmp_path):
    loop()
    check_rounds(tmp_path / "runs")
    manifest = tmp_path / "runs" / "train-1" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert "train-1: done" in loop().stderr
    assert manifest.stat().st_mtime_ns == before


def test_two_rounds_that_meet_over_the_hub_alone(loop, tmp_path):
    with FakeHub() as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf")}
        loop("--repo", "tester/pairs", **online)
        repo = hub.repos["dataset", "tester/pairs"]
        commits = len(repo.commits)
        loop("--repo", "tester/pairs", **online)
        revisions = [
            json.loads((tmp_path / "runs" / f"train-{n}" / "manifest.json").read_text())["dataset"]["source"]
            for n in (0, 1)
        ]
    assert revisions == ["tester/pairs@round-0", "tester/pairs@round-1"]
    assert set(repo.tags) == {"round-0", "round-0-margins", "round-1", "round-1-margins"}
    assert len(repo.commits) == commits  # the second call pushed nothing
    check_rounds(tmp_path / "runs")
    assert repo.private


def test_margins_of_no_run_are_refused(tmp_path, capsys):
    from advtrain.cli import main

    assert main(["push", str(tmp_path), "--margins", "tester/pairs"]) == 2
    assert "holds no finished dpo run" in capsys.readouterr().err
