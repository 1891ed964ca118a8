"""A dataset that is there without a build: the golden row."""

import json

import pytest


@pytest.fixture
def dataset(tmp_path):
    from advcore import contract
    from advcore.settings import shipped

    lines = map(json.loads, shipped("data/golden.jsonl").read_text().splitlines())
    row = next(line["row"] for line in lines if line["config"] == "dpo")
    contract.write_round(tmp_path / "dataset", "dpo", row["round"], [row])
    return tmp_path / "dataset"
