"""A dataset verified again: what its rows claim is what happens, and what does not happen is named."""

import json

import pytest

from advcore import DataError, contract, hub
from advcore.testing import FakeHub
from advgen.config import SandboxConfig
from advgen.verify.reverify import reverify
from sandbox import Sandbox

GOOD, BAD = "def double(x):\n    return 2 * x", "def double(x):\n    return abs(2 * x)"
TESTS = [{"call": f"double({x})", "expected": repr(2 * x), "source": "agreement"} for x in (1, 0, -4, -5)]


EMPTY = {"string": "", "int": 0, "float": 0.0, "bool": False, "json": "{}"}


def reply(code):
    return [{"role": "assistant", "content": f"```python\n{code}\n```"}]


def row(config, at=0, **values):
    prompt = [{"role": "user", "content": "p"}]
    columns = {name: EMPTY.get(kind, prompt) for name, kind in contract.COLUMNS[config].items()}
    return columns | {
        "exercise_id": f"e{at}", "strategy": "seed", "entry_point": "double", "tests": json.dumps(TESTS), **values,
    }  # fmt: skip


SOUND = {
    "dpo": {"chosen": reply(GOOD), "rejected": reply(BAD), "failed_test": 2},
    "sft": {"completion": reply(GOOD)},
    "kto": {"completion": reply(BAD), "label": False},
}


def rows(count=70):
    return {config: [row(config, at, **values) for at in range(count)] for config, values in SOUND.items()}


def written(folder, made):
    for config in ("dpo", "sft", "kto"):
        if made.get(config):
            contract.write_round(folder, config, 0, made[config])
    return str(folder)


def test_a_sound_dataset_reproduces_in_full_and_says_how_far_it_is(tmp_path):
    seen = []
    summary = reverify(written(tmp_path, rows()), progress=lambda done, total: seen.append((done, total)))
    assert summary.reproduced
    assert summary.rows == {"dpo": 70, "sft": 70, "kto": 70}
    assert summary.level in ("L2", "L3")
    assert [total for _, total in seen] == [210] * len(seen)
    assert [done for done, _ in seen] == [64, 70, 134, 140, 204, 210]


def broken(config, **changes):
    return {config: [row(config, **SOUND[config] | changes)]}


HANGING = "def double(x):\n    while x: pass"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (broken("dpo", chosen=reply(BAD)), "chosen does not pass: fail"),
        (broken("dpo", rejected=reply(GOOD)), "rejected does not fail test 2: pass"),
        (broken("dpo", failed_test=1), "rejected does not fail test 1: fail"),
        (broken("dpo", failed_test=9), "cannot be read: ValueError"),
        (broken("dpo", rejected=reply("def other(x): pass")), ""),
        (broken("dpo", tests="[]"), "cannot be read: ValueError"),
        (broken("dpo", tests='[{"call": "double(1)"}]', failed_test=0), "tests cannot be read: ValueError"),
        (broken("dpo", tests="[1]", failed_test=0), "tests cannot be read: TypeError"),
        (broken("dpo", tests=json.dumps([{"call": "f(1)", "expected": "(" * 90_000}])), "tests cannot be read: "),
        (broken("dpo", tests=json.dumps([{"code": "assert double(1) == 2\nassert double(-1) == -2"}]), failed_test=0),
         "rejected is tested by 2 asserts, not by the 1 tests"),
        (broken("sft", tests="[]"), "completion does not pass: no_tests"),
        (broken("sft", completion=reply(HANGING)), "completion does not pass: timeout"),
        (broken("sft", completion=[{"role": "assistant", "content": "```python\ndef double"}]), "truncated"),
        (broken("kto", label=True), "completion does not pass: fail"),
        (broken("kto", completion=reply(GOOD)), "completion fails no test: pass"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_do_what_it_claims_is_named_with_its_reason(tmp_path, made, reason):
    summary = reverify(written(tmp_path, made), SandboxConfig(wall_s=1.0), slots=1)
    if not reason:  # it fails every test, if only for want of its name
        assert summary.reproduced
        return
    (lost,) = summary.lost
    assert (lost.config, lost.row, lost.exercise_id) == (next(iter(made)), 0, "e0")
    assert reason in lost.reason


def test_what_passes_under_one_hash_seed_only_does_not_reproduce(tmp_path):
    letters = "''.join({'a', 'b', 'c', 'd', 'e', 'f'})"
    with Sandbox(1, hash_seed=0) as box:
        (first,) = box.call(f"def f():\n    return {letters}", "f", [()])
    code = f"{GOOD} if {letters} == {first.value!r} else 0"
    summary = reverify(written(tmp_path, broken("sft", completion=reply(code))), slots=1)
    assert [lost.reason for lost in summary.lost] == ["completion does not pass: fail"]


def test_a_run_folder_is_judged_by_its_dataset(tmp_path):
    written(tmp_path / "dataset", broken("dpo"))
    assert reverify(str(tmp_path), slots=1).rows == {"dpo": 1}


def test_a_revision_on_the_hub_is_judged(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    written(tmp_path / "made", broken("dpo"))
    with FakeHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.token)
        hub.push(tmp_path / "made", "tester/rounds", private=False, tag="round-0")
        assert reverify("tester/rounds@round-0", slots=1).reproduced


def test_a_folder_without_rows_or_columns_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="no dpo, sft or kto rows"):
        reverify(str(tmp_path))
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "dpo").mkdir()
    table = pyarrow.table({"chosen": ["a"], "rejected": ["b"]})
    pyarrow.parquet.write_table(table, tmp_path / "dpo" / "round-0000.parquet")
    with pytest.raises(DataError, match="lacks the columns prompt, exercise_id"):
        reverify(str(tmp_path))
    (tmp_path / "dpo" / "round-0000.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match="cannot be read"):
        reverify(str(tmp_path))


def test_programs_of_others_are_judged_with_their_set_up_and_without_their_talk(tmp_path):
    talk = "x = int(input())\nprint(double(x))"
    filled = (
        "TWICE = {}\nTWICE.update({n: 2 * n for n in range(-9, 9)})\n\ndef double(x):\n    return TWICE[x]"
    )
    made = {
        "dpo": [
            row("dpo", 0, chosen=reply(f"{GOOD}\n{talk}"), rejected=reply(f"{BAD}\n{talk}"), failed_test=2)
        ],
        "sft": [row("sft", 0, completion=reply(filled))],
        "kto": [row("kto", 0, completion=reply(filled), label=False)],
    }
    summary = reverify(written(tmp_path, made))
    assert [(lost.config, lost.reason) for lost in summary.lost] == [
        ("kto", "completion fails no test: pass")
    ]
