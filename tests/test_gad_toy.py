"""`recipes/gad_toy.py`: that SeqKD covers and GAD seeks, by a criterion that would see it if they did not."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

RECIPE = Path(__file__).parents[1] / "recipes" / "gad_toy.py"


@pytest.fixture
def gad_toy():
    spec = importlib.util.spec_from_file_location("gad_toy", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_seqkd_covers_gad_seeks_and_a_frozen_discriminator_collapses(gad_toy, tmp_path, capsys):
    page = tmp_path / "new" / "toy.html"
    gad_toy.main(["--runs", "3", "--json", "--out", str(page)])
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["seeks"] == numbers["runs"] == 3
    seqkd, gad, frozen = (numbers["methods"][name] for name in ("SeqKD", "GAD", "frozen D"))
    for found, name in ((seqkd, gad_toy.FORWARD), (gad, gad_toy.REVERSE)):
        assert found[name]["mean"] == pytest.approx(numbers["beside"][f"least {name}"][name], abs=0.05)
    assert gad[gad_toy.APART]["mean"] == pytest.approx(0.7, abs=0.05)
    assert frozen[gad_toy.WIDTH]["mean"] < 0.1 < 0.5 < gad[gad_toy.WIDTH]["mean"]
    text = page.read_text()
    assert text.count("<svg") == 5
    assert text.count("<polyline") == 4 + 4 * 3
    assert not re.search(r"<script|src=|href=|url\(|http", text)


def test_the_criterion_holds_for_no_other_pair_of_a_covering_and_a_seeking_student(gad_toy):
    mean, std = torch.tensor([[3.5], [2.0]]), torch.tensor([[3.7], [0.7]])
    covering, seeking = map(gad_toy.measures, gad_toy.gaussian(mean, std.log()))
    assert gad_toy.seeks(seeking, covering).all()
    for gad, seqkd in ((covering, covering), (seeking, seeking), (covering, seeking)):
        assert not gad_toy.seeks(gad, seqkd).any()


def test_no_runs_are_refused_in_one_line(gad_toy, capsys):
    with pytest.raises(SystemExit, match="2"):
        gad_toy.main(["--runs", "0"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: --runs is at least 1")
