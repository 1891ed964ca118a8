"""Run folders: nothing half-written, and one run a folder."""

import json

import pytest

from advcore import ConfigError
from advcore.runs import open_run, write_atomic, write_json


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_keeps_to_one_config_and_the_first_difference_is_named(tmp_path):
    run = tmp_path / "run"
    open_run(run, {"a": {"b": 1, "c": 2}})
    open_run(run, {"a": {"b": 1, "c": 2}})
    with pytest.raises(ConfigError, match=r"another a\.c"):
        open_run(run, {"a": {"b": 1, "c": 3}})


def test_atomic_write_makes_its_folders(tmp_path):
    write_atomic(tmp_path / "x" / "y.txt", "text")
    assert (tmp_path / "x" / "y.txt").read_text() == "text"
