"""The way through the house: build, train, margins, adversarial round, push and pull, train again.

Once with a scripted teacher and a tiny random model, once with the embedded models on a handful of exercises.
"""

import json
import os
import subprocess
import sys

import pytest

from advcore import contract
from advcore.testing import FakeHub, tiny_model


def command(*arguments, codes=(0,), **env):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert done.returncode in codes, done.stderr
    return done.stdout


@pytest.mark.soak  # `test_akd` goes the same way over the Hub
def test_two_rounds_over_the_hub_with_a_scripted_teacher_and_a_tiny_student(tmp_path, servers):
    teacher, student = servers
    tiny = tiny_model(tmp_path / "tiny")
    (tmp_path / "build.toml").write_text(
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\n'
        "[exercises]\ncount = 3\nsolutions = 2\ncalls = 7\n[attempts]\ncount = 4\n"
        "[curation]\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n"
    )
    (tmp_path / "train.toml").write_text(
        f'method = "dpo"\ndataset = "d"\nmodel = "{tiny}"\n[train]\nepochs = 2.0\n'
    )
    build = ("advgen", "build", tmp_path / "build.toml", "--out")
    train = ("advtrain", "run", tmp_path / "train.toml", "--out")
    with FakeHub() as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(tmp_path / "hf")}
        command(*build, tmp_path / "r0")
        command("advgen", "push", tmp_path / "r0", "--repo", "tester/pairs", **online)
        command(*train, tmp_path / "t0", "--set", "dataset=tester/pairs@round-0", **online)
        command(
            *build,
            tmp_path / "r1",
            "--parent",
            "tester/pairs@round-0",
            "--margins",
            tmp_path / "t0",
            **online,
        )
        command("advgen", "push", tmp_path / "r1", "--repo", "tester/pairs", **online)
        again = (
            "dataset=tester/pairs@round-1",
            "rounds=last",
            f"adapter={tmp_path / 't0' / 'adapter'}",
            "reference=previous",
        )
        command(*train, tmp_path / "t1", *(part for each in again for part in ("--set", each)), **online)

    pairs = contract.read(tmp_path / "r1" / "dataset", "dpo")
    margins = {row["exercise_id"]: row["margin"] for row in contract.read(tmp_path / "t0", "margins")}
    assert set(margins) == {row["exercise_id"] for row in pairs if row["round"] == 0}
    assert len(set(margins.values())) > 1
    assert all(margin != 0 for margin in margins.values())
    funnel = json.loads((tmp_path / "r1" / "funnel.json").read_text())
    assert (funnel["round"], funnel["draw"]["with_margin"]) == (1, 3)
    assert set(funnel["strategies"]) == {"incremental", "opposite", "deceptive"}
    newest = {row["exercise_id"] for row in contract.read(tmp_path / "t1", "margins")}
    assert newest == {row["exercise_id"] for row in pairs if row["round"] == 1}
    assert (tmp_path / "t1" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.soak  # the teacher's 1.1 GB; `test_engine` runs the small student in every case
@pytest.mark.real_models
def test_the_embedded_teacher_and_student_make_verified_exercises(tmp_path):
    """Two exercises: enough to see the whole path run; what comes out depends on the models, so little is asked."""
    (tmp_path / "build.toml").write_text(
        '[teacher]\nmodel = "local/teacher"\ntemperature = 0.7\nmax_tokens = 200\n'
        '[student]\nmodel = "local/student-small"\nmax_tokens = 120\n'
        "[exercises]\ncount = 2\nper_topic = 1\nsolutions = 2\ncalls = 6\nasserts = 0\n"
        'topics = ["counting letters", "sums of numbers"]\n'
        "[attempts]\ncount = 1\n[sandbox]\nwall_s = 2.0\n"
    )
    asked = ("advgen", "build", tmp_path / "build.toml", "--out", tmp_path / "run")
    funnel = json.loads(command(*asked, codes=(0, 1)))  # 1 where nothing was kept
    rows = contract.read(tmp_path / "run" / "dataset", "raw")
    assert funnel["asked"] == len(rows) == 2
    readable = [row for row in rows if row["stub"]]
    assert readable, [row["reason"] for row in rows]
    assert any(json.loads(row["solutions"]) for row in readable)
    for row in contract.read(tmp_path / "run" / "dataset", "dpo") if funnel["pairs"] else []:
        assert json.loads(row["tests"])
    cost = json.loads((tmp_path / "run" / "cost.json").read_text())
    assert cost["teacher"]["completion_tokens"] > 100
