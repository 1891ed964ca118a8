"""`recipes/akd.sh` for two rounds on scripted models and a tiny student: over the Hub alone, and in a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from advcore import contract
from advcore.testing import FakeHub, tiny_model

SCRIPT = Path(__file__).parents[1] / "recipes" / "akd.sh"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("student") / "tiny")


@pytest.fixture
def akd(tmp_path, servers, tiny):
    """A function that runs the recipe and gives what it printed."""
    teacher, student = servers
    (tmp_path / "build.toml").write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\n'
        "[exercises]\ncount = 3\nsolutions = 2\ncalls = 7\n[attempts]\ncount = 4\n"
        "[curation]\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n"
    )
    (tmp_path / "train.toml").write_text(
        f'method = "dpo"\ndataset = "given by the recipe"\nmodel = "{tiny}"\n'
    )

    def run(**env):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # One thread: a second wins a tiny model nothing, and on a busy machine it can double the time.
        small = {
            "PATH": path,
            "ADVDISTILL_HOME": str(tmp_path / "home"),
            "AKD_TASKS": "0",
            "OMP_NUM_THREADS": "1",
        }
        arguments = [tmp_path / "build.toml", tmp_path / "train.toml", tmp_path / "runs", 2]
        done = subprocess.run(
            ["bash", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True,
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
def test_two_rounds_in_a_folder_and_nothing_is_done_twice(akd, tmp_path):
    akd()
    check_rounds(tmp_path / "runs")
    manifest = tmp_path / "runs" / "train-1" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert "train-1: done" in akd().stderr
    assert manifest.stat().st_mtime_ns == before


def test_two_rounds_that_meet_over_the_hub_alone(akd, tmp_path):
    with FakeHub() as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf")}
        akd(**online, AKD_REPO="tester/pairs")
        repo = hub.repos["dataset", "tester/pairs"]
        commits = len(repo.commits)
        akd(**online, AKD_REPO="tester/pairs")
        revisions = [
            json.loads((tmp_path / "runs" / f"train-{n}" / "manifest.json").read_text())["dataset"]["source"]
            for n in (0, 1)
        ]
    assert revisions == ["tester/pairs@round-0", "tester/pairs@round-1"]
    assert set(repo.tags) == {"round-0", "round-0-margins", "round-1", "round-1-margins"}
    assert len(repo.commits) == commits  # the second call pushed nothing
    check_rounds(tmp_path / "runs")


def test_margins_of_no_run_are_refused(tmp_path, capsys):
    from advtrain.cli import main

    assert main(["push", str(tmp_path), "--margins", "tester/pairs"]) == 2
    assert "holds no finished dpo run" in capsys.readouterr().err
