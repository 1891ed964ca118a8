"""Run folders: nothing half-written, and one run a folder."""

import errno
import fcntl
import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from advcore import ConfigError, DataError
from advcore.ask import ModelConfig
from advcore.runs import (
    append_json,
    locked,
    open_run,
    read_json,
    read_jsonl,
    run_folder,
    write_atomic,
    write_json,
)


@dataclass(frozen=True, kw_only=True)
class A:
    b: int
    c: int = 0


@dataclass(frozen=True, kw_only=True)
class Config:
    a: A
    more: tuple[A, ...] = ()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_keeps_to_one_config_and_the_first_difference_is_named(tmp_path):
    run = tmp_path / "run"
    open_run(run, Config(a=A(b=1, c=2)))
    open_run(run, Config(a=A(b=1, c=2)))
    with pytest.raises(ConfigError, match=r"another a\.c"):
        open_run(run, Config(a=A(b=1, c=3)))


def test_atomic_write_makes_its_folders(tmp_path):
    write_atomic(tmp_path / "x" / "y.txt", "text")
    assert (tmp_path / "x" / "y.txt").read_text() == "text"


def test_a_line_torn_by_a_kill_is_as_good_as_none_and_the_next_one_takes_its_place(tmp_path):
    file = tmp_path / "rows.jsonl"
    assert read_jsonl(file) == []
    append_json(file, {"a": 1})
    append_json(file, {"a": "\u2028"})
    with open(file, "a") as torn:
        torn.write('{"a": 3')
    assert read_jsonl(file) == [{"a": 1}, {"a": "\u2028"}]
    append_json(file, {"a": 4})
    assert read_jsonl(file) == [{"a": 1}, {"a": "\u2028"}, {"a": 4}]
    file.write_text('{"a": 1')
    append_json(file, {"a": 5})
    assert file.read_text() == '{"a": 5}\n'


def test_a_broken_file_is_one_line_that_names_it(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"line 2 of .*rows\.jsonl is no JSON"):
        read_jsonl(file)
    with pytest.raises(DataError, match=r"rows\.jsonl is broken"):
        read_json(file)
    with pytest.raises(DataError, match="there is no file"):
        read_json(tmp_path / "none.json")
    assert read_json(tmp_path / "none.json", {}) == {}


def test_a_run_folder_is_held_by_one_process_and_free_when_that_ends(tmp_path):
    code = f"""
import sys
from pathlib import Path
from advcore.runs import run_folder
from advcore.ask import ModelConfig
with run_folder(Path({str(tmp_path / "run")!r}), ModelConfig(model="a")):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(ConfigError, match="run is in use by another run"),
        run_folder(tmp_path / "run", ModelConfig(model="b")),
    ):
        pass
    holder.kill()
    holder.communicate()
    with run_folder(tmp_path / "run", ModelConfig(model="a")):
        pass
    with (
        pytest.raises(ConfigError, match="another model"),
        run_folder(tmp_path / "run", ModelConfig(model="b")),
    ):
        pass


def test_a_lock_that_may_be_waited_for_says_so_once(tmp_path):
    said = []
    with locked(tmp_path / "lock", tmp_path):
        waiter = subprocess.Popen(
            [sys.executable, "-c", f"""
from pathlib import Path
from advcore.runs import locked
with locked(Path({str(tmp_path / "lock")!r}), Path("x"), lambda: print("waiting", flush=True)):
    print("mine", flush=True)
"""], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        said.append(waiter.stdout.readline())
        assert waiter.poll() is None
    said.append(waiter.communicate(timeout=30)[0])
    assert said == ["waiting\n", "mine\n"]


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match="is a file"), run_folder(folder, ModelConfig(model="a")):
            pass


def test_an_option_that_was_not_there_when_the_run_began_counts_as_its_default(tmp_path):
    config = Config(a=A(b=1), more=(A(b=2),))
    write_json(tmp_path / "config.json", {"a": {"b": 1}, "more": [{"b": 2}]})
    open_run(tmp_path, config)
    assert read_json(tmp_path / "config.json") == {"a": {"b": 1, "c": 0}, "more": [{"b": 2, "c": 0}]}
    write_json(tmp_path / "config.json", {"a": {"b": 1}, "more": [{"b": 2}]})
    with pytest.raises(ConfigError, match=r"another more"):
        open_run(tmp_path, Config(a=A(b=1), more=(A(b=2, c=1),)))
    with pytest.raises(ConfigError, match=r"another a\.c"):
        open_run(tmp_path, Config(a=A(b=1, c=1), more=(A(b=2),)))


def test_appenders_take_turns(tmp_path):
    file = tmp_path / "rows.jsonl"
    code = f"""
from pathlib import Path
from advcore.runs import append_json
for at in range(100):
    append_json(Path({str(file)!r}), "x" * 9000)
"""
    appenders = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [each.wait() for each in appenders] == [0, 0, 0]
    assert len(read_jsonl(file)) == 300


def test_a_long_torn_line_is_cut_off_as_well(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    append_json(file, {"a": 2})
    assert read_jsonl(file) == [{"a": 1}, {"a": 2}]


def test_a_file_system_without_locks_stops_nobody_and_is_told(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with run_folder(tmp_path / "run", ModelConfig(model="a")):
        append_json(tmp_path / "rows.jsonl", 1)
    assert read_jsonl(tmp_path / "rows.jsonl") == [1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: no lock can be held on")
