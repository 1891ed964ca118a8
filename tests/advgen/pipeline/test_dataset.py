"""What a build leaves behind: a second round and its numbers, a card that loads, and the same data after a kill -9."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import asdict

import pytest

from advcore import contract, settings
from advcore.ask import JournalReader
from advcore.testing.servers import Behaviour, MockServer
from advgen import pipeline, specs
from advgen.config import BuildConfig
from advgen.testing import ScriptedStudent, scripted

# --- an adversarial round -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """Two run folders: a first round of four exercises, and a round of nine that grew from it, three of them plain."""
    folder = tmp_path_factory.mktemp("rounds")
    with ExitStack() as stack:
        teacher, student = (stack.enter_context(MockServer(model)) for model in (scripted, ScriptedStudent()))
        config = {
            "teacher": {"model": "openai/teacher", "api_base": teacher.api_base},
            "student": {"model": "openai/student", "api_base": student.api_base},
            "exercises": {"count": 4, "solutions": 2, "calls": 7}, "sandbox": {"wall_s": 2.0},
            "curation": {"min_p_wrong": 0.0, "min_p_true": 0.0},
            "curriculum": {"refresh": 1 / 3, "tau": 0.7},
        }  # fmt: skip
        pipeline.build(settings.build(BuildConfig, config), folder / "zero", None)
        rows = contract.read(folder / "zero" / "dataset", "raw")
        margins = [margin(row["exercise_id"], at / 1000) for at, row in enumerate(rows)]
        contract.write_round(folder / "trained", "margins", 0, margins)
        parent = specs.open_parent(str(folder / "zero"), str(folder / "trained"))
        config["exercises"]["count"] = 9
        pipeline.build(settings.build(BuildConfig, config), folder / "one", parent)
    return folder / "zero", folder / "one"


def margin(name, value):
    columns = {"string": "m", "float": 0.0, "int": 1, "bool": False}
    row = {column: columns[kind] for column, kind in contract.COLUMNS["margins"].items()}
    return row | {"exercise_id": name, "margin": value}


def funnel_of(run):
    return json.loads((run / "funnel.json").read_text())


def children(run):
    return [row for row in contract.read(run / "dataset", "raw") if row["round"] == 1 and row["parent_id"]]


def test_a_drawn_parent_is_tried_again_once_however_many_children_it_has(rounds):
    zero, one = rounds
    parents = Counter(row["parent_id"] for row in children(one))
    assert (parents.total(), 1 < len(parents) < 6) == (6, True)
    with JournalReader(one / "journal.sqlite") as journal:
        asked = {
            row["key"]: row["payload"]["messages"] for row in journal.export() if row["purpose"] == "rematch"
        }
    pool = {row["exercise_id"]: row for row in contract.read(one / "dataset", "raw") if row["round"] == 0}
    prompts = {json.dumps(pool[name]["prompt"]): 6 for name in parents}
    assert Counter(map(json.dumps, asked.values())) == prompts
    charged = [json.loads(row["usage"]).get("rematch", [0])[0] for row in children(one)]
    assert sum(charged) == 6 * len(parents)
    with JournalReader(zero / "journal.sqlite") as journal:
        assert not asked.keys() & journal.keys()  # the samples that it was kept by are not fresh


def test_a_childs_row_holds_the_facts_by_which_its_strategy_is_judged(rounds):
    _, one = rounds
    for row in children(one):
        check = json.loads(row["check"])
        words = check.pop("parent_words"), check.pop("child_words")
        assert min(words) > 30
        # The scripted student passes once in six attempts at a new prompt, and twice in the next six.
        assert check == {"same_signature": True, "parent_solution": "fail", "parent_n": 6, "parent_passes": 2}
        assert row["student_pass_rate"] == 1 / 6


def test_strategies_are_judged_by_their_children_and_plain_exercises_are_not(rounds):
    _, one = rounds
    funnel = funnel_of(one)
    counted = Counter(row["strategy"] for row in children(one))
    assert set(counted) == {"incremental", "opposite", "deceptive"}
    intents = {name: found["intent"] for name, found in funnel["strategies"].items()}
    assert intents.pop("seed") is None
    assert {name: intent["exercises"] for name, intent in intents.items()} == counted
    assert intents["opposite"]["outcomes"] == {"held": counted["opposite"]}
    assert intents["incremental"]["change"] == pytest.approx(1 / 6 - 2 / 6)
    assert {found["pairs"] > 0 for found in funnel["strategies"].values()} == {True}


def test_refreshers_grow_from_no_parent(rounds):
    _, one = rounds
    plain = [
        row for row in contract.read(one / "dataset", "raw") if (row["round"], row["strategy"]) == (1, "seed")
    ]
    assert len(plain) == funnel_of(one)["draw"]["refreshers"] == 3
    assert {(row["parent_id"], row["check"]) for row in plain} == {("", "{}")}
    assert all(row["topic"] and row["subtopic"] for row in plain)


def test_a_narrow_draw_and_tiny_margins_are_told(rounds):
    zero, one = rounds
    assert (funnel_of(zero)["stop_reasons"], funnel_of(zero)["warnings"]) == ([], [])
    funnel = funnel_of(one)
    (reason,) = funnel["stop_reasons"]
    assert re.fullmatch(r"the draw rests on 1\.\d of 4 parents, under 2\.0", reason)
    assert [each["name"] for each in funnel["warnings"]] == ["margins near zero"]
    assert funnel["warnings"][0]["value"] == 0.0015
    assert funnel["stats"]["retest_change"] == pytest.approx(2 / 6 - 1 / 6)


def test_the_numbers_of_all_rounds_go_along_with_the_dataset(rounds, tmp_path):
    zero, one = rounds
    stored = json.loads((one / "dataset" / "rounds.json").read_text())
    assert stored == [funnel_of(zero), funnel_of(one)]
    pulled = shutil.copytree(one / "dataset", tmp_path / "pulled")
    for source in (one, pulled):
        parent = specs.open_parent(str(source), "")
        assert [asdict(stats) for stats in parent.history] == [each["stats"] for each in stored]
        assert (parent.round, Counter(row["round"] for row in parent.pool)) == (1, {0: 4, 1: 9})


def test_the_card_tells_the_truth_that_is_expected_by_round_and_pass_rate(rounds):
    said = (rounds[1] / "dataset" / "README.md").read_text()
    for run in rounds:
        funnel = funnel_of(run)
        true = funnel["pairs"] - funnel["curation"]["expected_wrong"]
        assert f"| round {funnel['round']} | {true:.1f} of {funnel['pairs']} |" in said
    assert re.search(r"\| pass rate to 1/4 \| \d+\.\d of \d+ \|", said)


def test_every_config_of_the_card_loads_and_holds_both_rounds(rounds, tmp_path):
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    folder = rounds[1] / "dataset"
    card = DatasetCard.load(folder / "README.md").data.to_dict()
    names = [each["config_name"] for each in card["configs"]]
    assert names == ["dpo", "gad", "kto", "raw", "rl", "sft"]
    assert [each["config_name"] for each in card["configs"] if each.get("default")] == ["dpo"]
    for name in names:
        loaded = load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path))
        rows = contract.read(folder, name)
        assert (list(loaded.column_names), len(loaded)) == (list(contract.COLUMNS[name]), len(rows))
        assert [row for row in loaded] == rows  # noqa: C416 (a Dataset is no list)
        assert {row["round"] for row in rows} == {0, 1}


# --- kill -9 --------------------------------------------------------------------------------------------------

COUNT = 8


def steady(messages, seed):
    """A student whose replies hang on nothing but the request, so that two runs can be compared."""
    name, number = re.findall(r"def (\w+_(\d+))\(", messages[-1]["content"])[-1]
    wrong = f"```python\ndef {name}(values):\n    return {number} {'+-'[seed % 2]} len(values)\n```"
    return scripted(messages, seed) if seed % 3 == 0 else wrong


@pytest.fixture
def start(tmp_path):
    """Starts `advgen build` on a folder, in a process of its own."""
    slow = Behaviour(profile="fixed:0.02")
    with MockServer(scripted, behaviour=slow) as teacher, MockServer(steady, behaviour=slow) as student:
        (tmp_path / "build.toml").write_text(
            f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\nconcurrency = 4\n'
            f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\nconcurrency = 4\n'
            f"[exercises]\ncount = {COUNT}\nper_topic = 1\nsolutions = 2\ncalls = 7\n"
        )

        def process(out):
            command = [sys.executable, "-m", "advgen", "build", tmp_path / "build.toml", "--out", out]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        yield process


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def recorded(run):
    file = run / "records.jsonl"
    return file.read_bytes().count(b"\n") - 1 if file.exists() else 0


def stat(pid):
    """The fields of /proc/PID/stat from the state on, [] for what is gone; a zombie nobody has reaped yet is."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return fields if fields[0] != "Z" else []


def descendants(pid):
    """{pid: start time} of all that it started, and of what these started."""
    found = {int(name): fields for name in os.listdir("/proc") if name.isdigit() and (fields := stat(name))}
    family, before = {pid}, set()
    while family != before:
        before = set(family)
        family |= {each for each, fields in found.items() if int(fields[1]) in family}
    return {each: found[each][19] for each in family - {pid}}


def lives(pid, started):
    return stat(pid)[19:20] == [started]


def workers(pid):
    """The descendants that read and run Python, their sandboxes apart."""
    found = []
    for each in descendants(pid):
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{each}/cmdline") as file:
            found += [each] * ("loky.backend.popen" in file.read())
    return found


def mark(run):
    """Write a reason into every row that is recorded, and a torn line behind them; gives the rows' ids."""
    file = run / "records.jsonl"
    head, *lines = file.read_text().splitlines(keepends=True)
    rows = {
        index: json.loads(row)
        for index, _, row in (line.partition("\t") for line in lines if line[-1] == "\n")
    }
    marked = [f"{index}\t{json.dumps(row | {'reason': 'recorded'})}\n" for index, row in rows.items()]
    file.write_text("".join([head, *marked, f'{COUNT - 1}\t{{"exercise_id": "to']))
    return {row["exercise_id"] for row in rows.values()}


def test_a_killed_build_goes_on_where_it_was_and_ends_with_the_same_dataset(tmp_path, start):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(whole).communicate(timeout=60)
    process = start(killed)
    until(lambda: recorded(killed) >= 2 and len(workers(process.pid)) == len(os.sched_getaffinity(0)))
    family = descendants(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(lives(pid, started) for pid, started in family.items()))
    process.communicate()
    done = mark(killed)
    assert 2 <= len(done) < COUNT
    out, said = (again := start(killed)).communicate(timeout=60)
    assert again.returncode == 0, said
    assert json.loads(out)["kept"] == COUNT
    rows = contract.read(killed / "dataset", "raw")
    assert {row["exercise_id"] for row in rows if row["reason"] == "recorded"} == done  # not verified again
    names = sorted(path.name for path in (whole / "dataset").iterdir() if path.is_dir())
    assert names == ["dpo", "gad", "kto", "raw", "rl", "sft"]
    for name in names:
        found = contract.read(killed / "dataset", name)
        clean = [row | {"reason": ""} for row in found] if name == "raw" else found
        assert clean == contract.read(whole / "dataset", name)


def test_a_build_outlives_a_worker_that_is_killed(tmp_path, start):
    process = start(tmp_path / "run")
    until(lambda: recorded(tmp_path / "run") >= 2)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    funnel = json.loads(out)
    assert (funnel["kept"], funnel["turned_away"]) == (COUNT, {})
