"""Commands on a finished run, and where the specs of a first one come from: exit codes, what is said and written."""

import json
import re
import shutil
from contextlib import ExitStack

import pytest

from advcore import contract
from advcore.testing import FakeHub
from advcore.testing.servers import MockServer
from advgen import cli, pipeline, specs
from advgen.testing import ScriptedStudent, scripted


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder. Whoever changes it takes a copy."""
    folder = tmp_path_factory.mktemp("finished")
    with ExitStack() as stack:
        servers = [stack.enter_context(MockServer(model)) for model in (scripted, ScriptedStudent())]
        (folder / "build.toml").write_text(config_text(*servers))
        assert cli.main(["build", str(folder / "build.toml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def config_text(teacher, student, **exercises):
    keys = {"count": 4, "solutions": 2, "calls": 7, **exercises}
    return (
        f'[teacher]\nmodel = "openai/teacher"\napi_base = "{teacher.api_base}"\n'
        f'[student]\nmodel = "openai/student"\napi_base = "{student.api_base}"\n'
        "[curation]\npairs_per_exercise = 2\nmax_kind_share = 1.0\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n"
        "[sandbox]\nwall_s = 2.0\n[exercises]\n"
        + "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
    )


@pytest.fixture
def advgen(capfd):
    """Runs the command; gives its exit code, stdout and stderr."""

    def call(*arguments):
        capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


# --- specs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def building(tmp_path, servers, advgen):
    """Builds from `--seeds`; gives what the command gives, and the prompts for statements."""

    def build(given, **exercises):
        (tmp_path / "build.toml").write_text(config_text(*servers, **exercises))
        done = advgen("build", tmp_path / "build.toml", "--out", tmp_path / "run", "--seeds", given)
        asked = [body["messages"][-1]["content"] for body in servers[0].requests]
        return done, [text for text in asked if "You write statements" in text]

    return build


def materials(prompts):
    assert all("do not mention the material" in text for text in prompts)
    return {text.partition("The material:\n")[2] for text in prompts}


FUNCTIONS = [
    f"def part_{at}(word):\n    # as it stands in the file\n    return word[{at}:]" for at in range(4)
]


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (9, 4)])
def test_functions_of_a_file_reach_the_teacher_as_they_stand(tmp_path, building, count, expected):
    code = "import os\nLIMIT = 3\n\n" + "\n\n\n".join(FUNCTIONS)
    (tmp_path / "library.py").write_text(code + "\n\nclass Thing:\n    def no_seed(self):\n        pass\n")
    (status, out, _), prompts = building(tmp_path / "library.py", count=count)
    assert (status, json.loads(out)["asked"], json.loads(out)["kept"]) == (0, expected, expected)
    assert len(prompts) == expected
    assert materials(prompts) == set(FUNCTIONS[:expected])
    rows = contract.read(tmp_path / "run" / "dataset", "raw")
    assert {(row["topic"], row["strategy"]) for row in rows} == {("given", "seed")}


@pytest.mark.parametrize(("count", "expected"), [(2, 2), (9, 3)])
def test_texts_of_a_column_reach_the_teacher_and_long_ones_are_cut(tmp_path, building, count, expected):
    texts = ["How are tides foretold?", "Instructions are not for you. {{ count }}", "long " * 2000]
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts)
    )
    (status, out, _), prompts = building(f"{tmp_path / 'texts.jsonl'}:text", count=count)
    assert (status, json.loads(out)["asked"]) == (0, expected)
    assert materials(prompts) == {text[:4000].strip() for text in texts[:expected]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("texts.jsonl:body", r"texts\.jsonl has no row with text in body \(found: text\)"),
        ("texts.jsonl:", r"texts\.jsonl has no row with text in +\(found: text\)"),
        ("nowhere.jsonl:text", "neither a folder nor a Hub id"),
        ("broken.py", "cannot be read as Python: syntax error"),
        ("empty.py", "has no function"),
    ],
)
def test_seeds_that_cannot_be_had_are_one_line(tmp_path, building, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").write_text('{"text": "a text"}\n')
    (tmp_path / "broken.py").write_text("def broken(:\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (status, _, said), prompts = building(given)
    assert (status, said.count("\n"), prompts) == (2, 1, []), said
    assert re.search(says, said)
    assert not (tmp_path / "run").exists()


# --- topics ---------------------------------------------------------------------------------------------------


def as_many_as_asked(messages, seed):
    """The scripted teacher, with lists of subtopics just as long as they should be."""
    text = messages[-1]["content"]
    if listed := re.match(r'List (\d+) different subtopics of "(.*)" that', text):
        return "\n".join(f"{at}. {listed[2]} part {at}" for at in range(1, int(listed[1]) + 1))
    return scripted(messages, seed)


def test_topics_come_round_again_with_other_subtopics_and_each_is_asked_for_them_once(tmp_path, build_config):
    with MockServer(as_many_as_asked) as teacher:
        config = build_config(
            teacher={"api_base": teacher.api_base},
            exercises={"count": 12, "per_topic": 2, "topics": ["tides"], "more_topics": ["queues"]},
        )  # fmt: skip
        funnel = pipeline.build(config, tmp_path / "run", None)
    assert funnel["kept"] == 12
    rows = contract.read(tmp_path / "run" / "dataset", "raw")
    assert [row["topic"] for row in rows] == ["tides", "tides", "queues", "queues"] * 3
    subtopics = [row["subtopic"] for row in rows]
    assert sorted(subtopics) == sorted(
        f"{name} part {at}" for name in ("tides", "queues") for at in range(1, 7)
    )
    asked = [body["messages"][-1]["content"] for body in teacher.requests]
    assert len([text for text in asked if "different subtopics of" in text]) == 2
    purposes = [set(json.loads(row["usage"])) for row in rows]
    assert sum("subtopics" in each for each in purposes) == 2


# --- verify, audit, calibrate, push ---------------------------------------------------------------------------


def test_verify_finds_every_row_of_a_build_again(run, advgen):
    code, out, _ = advgen("verify", run)
    rows = {name: len(contract.read(run / "dataset", name)) for name in ("dpo", "sft", "kto")}
    assert code == 0
    counted = ", ".join(f"{count} {name}" for name, count in rows.items())
    assert out.startswith(f"0 of {sum(rows.values())} rows do not reproduce ({counted}; L")


def test_verify_names_the_row_whose_sides_were_swapped(run, advgen):
    rows = contract.read(run / "dataset", "dpo")
    rows[5] |= {"chosen": rows[5]["rejected"], "rejected": rows[5]["chosen"]}
    contract.write_round(run / "dataset", "dpo", 0, rows)
    code, out, _ = advgen("verify", run / "dataset")
    lines = out.splitlines()
    assert (code, len(lines)) == (1, 2)
    assert lines[0].startswith(f"dpo row 5 ({rows[5]['exercise_id']}): chosen does not pass")
    assert lines[1].startswith("1 of ")
    code, out, _ = advgen("verify", run, "--json")
    (lost,) = json.loads(out)["lost"]
    assert (code, lost["config"], lost["row"]) == (1, "dpo", 5)


def findings(out):
    return {each["check"]: each for each in json.loads(out)["findings"]}


def test_audit_reads_folders_and_files_and_its_exit_code_is_its_verdict(run, advgen, tmp_path):
    code, out, _ = advgen("audit", run / "dataset", "--json")
    report = json.loads(out)
    assert (code, report["pairs"]) == (0 if report["publishable"] else 1, 8)
    assert findings(out)["executed"]["summary"] == "8 of 8 pairs that were run hold"
    rows = contract.read(run / "dataset", "dpo")
    swapped = [*rows[:3], rows[3] | {"chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"]}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in swapped))
    code, out, _ = advgen("audit", file, "--json")
    inverted = findings(out)["inverted"]
    assert (code, inverted["severity"], inverted["rows"]) == (1, "error", [3])
    code, out, _ = advgen("audit", file)
    assert (code, "4 pairs, not publishable" in " ".join(out.split())) == (1, True)
    code, out, _ = advgen("audit", file, "--json", "--no-execute")
    assert "inverted" not in findings(out)


def test_audit_of_plain_pairs_ends_with_zero_and_of_none_with_two(tmp_path, advgen):
    file = tmp_path / "pairs.jsonl"
    sides = {"chosen": "def add(a, b):\n    return a + b", "rejected": "def add(a, b):\n    return a - b"}
    file.write_text(json.dumps({"prompt": "Write add(a, b).", **sides}) + "\n")
    code, out, _ = advgen("audit", file)
    assert (code, "1 pairs, publishable" in " ".join(out.split())) == (0, True)
    file.write_text('{"prompt": "Write add(a, b)."}\n')
    code, _, said = advgen("audit", file)
    assert (code, said.startswith("error: "), said.count("\n")) == (2, True, 1), said


def test_calibrate_puts_the_verifiers_error_rates_onto_the_card(run, advgen):
    card = run / "dataset" / "README.md"
    before = card.read_text()
    assert "## Error rates" not in before
    code, out, _ = advgen("calibrate", run, "--limit", "4")
    assert code == 0
    rates = json.loads((run / "dataset" / "calibration.json").read_text())
    assert (rates["exercises"], rates["skipped"], rates["consensus"]) == (4, 0, None)
    assert sum(count["known"] for count in rates["wrong"].values()) > 4
    assert json.loads(out)
    after = card.read_text()
    section = after[after.index("## Error rates of the verifier") : after.index("## Limits")]
    assert after.replace(section, "") == before
    low, high = rates["false_accept_interval"]
    assert f"| wrong programs that pass | {rates['false_accept']:.1%} [{low:.1%}, {high:.1%}] |" in section
    assert "right programs that fail" in section


def curt(messages, seed):
    """A student whose wrong programs are always the shorter ones."""
    name, number = re.findall(r"def (\w+_(\d+))\(", messages[-1]["content"])[-1]
    return f"```python\ndef {name}(values):\n    return {number} {'+-'[seed % 2]} len(values)\n```"


def test_push_refuses_what_the_audit_calls_unfit_unless_told_otherwise(
    tmp_path, build_config, advgen, monkeypatch
):
    with MockServer(curt) as student:
        config = build_config(student={"api_base": student.api_base}, exercises={"count": 8})
        funnel = pipeline.build(config, tmp_path / "run", None)
    assert not funnel["audit"]["publishable"]
    card = (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert "**Not fit to be published**: the audit found\n\n- " in card
    assert "\n- more characters means chosen" in card
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        code, _, said = advgen("push", tmp_path / "run", "--repo", "tester/pairs")
        assert (code, said.count("\n"), hub.repos) == (2, 1, {})
        assert f"not fit to be published: {funnel['audit']['errors'][0]}" in said
        code, out, _ = advgen("push", tmp_path / "run", "--repo", "tester/pairs", "--anyway")
        repo = hub.repos["dataset", "tester/pairs"]
        assert (code, set(repo.tags)) == (0, {"round-0"})
        assert out.strip().endswith(repo.tags["round-0"])
        assert {"README.md", "rounds.json", "dpo/round-0000.parquet"} <= set(repo.commits[-1].files)


@pytest.mark.parametrize(
    "odd", ['{"text": null}', '{"text": ["a", "b"]}', '{"body": "two"}', '{"text": " "}']
)
def test_a_row_without_text_is_left_out_and_counted(tmp_path, building, odd):
    (tmp_path / "texts.jsonl").write_text(f'{odd}\n{{"text": "one"}}\n{odd}\n{{"text": "three"}}\n')
    (status, out, said), prompts = building(f"{tmp_path / 'texts.jsonl'}:text")
    assert (status, json.loads(out)["asked"], materials(prompts)) == (0, 2, {"one", "three"})
    assert said.count("2 rows without text left out") == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfdef part(word):\r\n    return word\r\n", {"def part(word):\n    return word"}),
        (
            "# coding: latin-1\ndef part():\n    return 'gr\u00fcn'\n".encode("latin-1"),
            {"def part():\n    return 'gr\u00fcn'"},
        ),
        (b"async def part():\n    pass\n", {"async def part():\n    pass"}),
        (
            b"class Box:\n    def _hidden(self): ...\n    @property\n    def size(self):\n        return 1\n",
            {"def size(self):\n    return 1"},
        ),
    ],
    ids=["byte order mark", "declared encoding", "coroutine", "methods alone"],
)
def test_functions_are_read_as_python_reads_the_file(tmp_path, building, data, expected):
    (tmp_path / "library.py").write_bytes(data)
    _, prompts = building(tmp_path / "library.py")
    assert materials(prompts) == expected


def test_the_last_round_of_topics_may_be_a_full_one(tmp_path, build_config):
    with MockServer(as_many_as_asked) as teacher:
        exercises = {"count": 9, "per_topic": 3, "topics": ["tides", "queues"]}
        config = build_config(teacher={"api_base": teacher.api_base}, exercises=exercises)
        pipeline.build(config, tmp_path / "run", None)
    subtopics = [row["subtopic"] for row in contract.read(tmp_path / "run" / "dataset", "raw")]
    assert len(set(subtopics)) == 9


def test_an_audit_that_runs_nothing_needs_no_sandbox(tmp_path, monkeypatch, capsys):
    row = {"prompt": "p", "chosen": "def f(x):\n    return x", "rejected": "def f(x):\n    return 1"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    monkeypatch.setattr("advgen.verify.verifier.Sandbox", None)
    assert cli.main(["audit", str(tmp_path / "pairs.jsonl"), "--no-execute"]) == 0
    assert "1 pairs" in capsys.readouterr().out


def test_another_text_in_the_file_of_seeds_is_another_run(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "one"}')
    given = specs.Given(texts=f"{file}:text")
    before = given.identity
    assert given.identity == before
    file.write_text('{"text": "two"}')
    assert given.identity != before
    assert (specs.Given().identity, specs.Given(texts="user/name:text").identity) == ("", "user/name:text")


def test_calibrate_writes_nothing_where_there_is_nothing_to_calibrate_on(tmp_path, advgen):
    contract.write_round(tmp_path, "raw", 0, [])
    code, _, said = advgen("calibrate", tmp_path)
    assert (code, "no kept exercises to calibrate on" in said) == (2, True)
    assert not (tmp_path / "calibration.json").exists()


def test_verify_takes_the_limits_it_is_given(run, advgen):
    assert advgen("verify", run, "--set", "wall_s=30")[0] == 0
    code, _, said = advgen("verify", run, "--set", "wal_s=30")
    assert (code, "unknown key wal_s; did you mean wall_s?" in said) == (2, True)


@pytest.mark.parametrize(
    ("funnel", "says"),
    [
        ("[]", "is broken; run the build again"),
        ('{"round": 0, "audit": {"publishable": false}, "finished": true}', "is broken; run the build again"),
        ('{"round": 0, "audit": null, "finished": false}', "is not finished"),
    ],
)
def test_push_refuses_a_build_that_did_not_end_well(run, advgen, funnel, says):
    (run / "funnel.json").write_text(funnel)
    code, _, said = advgen("push", run, "--repo", "tester/pairs")
    assert (code, said.count("\n"), says in said) == (2, 1, True), said


def test_an_earlier_round_is_not_pushed_over_a_later_one(run, advgen, monkeypatch):
    with FakeHub() as hub:
        hub.add_repo("tester/pairs", {"dpo/round-0001.parquet": b"PAR1", "raw/round-0000.parquet": b"PAR1"})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        code, _, said = advgen("push", run, "--repo", "tester/pairs", "--anyway")
        assert (code, "holds round-0001 already, so round 0 comes too late" in said) == (2, True), said
        assert not hub.repos["dataset", "tester/pairs"].tags


def test_a_history_of_another_form_is_one_line(run, advgen, tmp_path):
    (run / "dataset" / "rounds.json").write_text('[{"stats": {}}]')
    (tmp_path / "none.toml").write_text(
        '[teacher]\nmodel = "local/teacher"\n[student]\nmodel = "local/student"\n'
    )
    code, _, said = advgen("build", tmp_path / "none.toml", "--out", tmp_path / "r1", "--parent", run)
    assert (code, "rounds.json is not of this release" in said) == (2, True), said


# --- a round that comes to nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ("<think>\nWhat shall I write?", "4 of 4 exercises: unreadable: thoughts alone"),
        (None, "4 of 4 exercises: refused: "),
    ],
)
def test_a_build_that_kept_nothing_fails_and_names_the_commonest_reason(tmp_path, advgen, refusal, says):
    def teach(messages, seed):
        return "1. tides" if "subtopics of" in messages[-1]["content"] else refusal

    faults = {} if refusal else {"fail_with": [400] * 99}
    with MockServer(teach, **faults) as teacher, MockServer(ScriptedStudent()) as student:
        (tmp_path / "build.toml").write_text(config_text(teacher, student))
        for _ in range(2):  # the second finds it finished
            status, out, said = advgen("build", tmp_path / "build.toml", "--out", tmp_path / "run")
            assert (status, json.loads(out)["kept"]) == (1, 0)
            (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
            assert line.startswith(f"error: nothing was kept: {says}")
            assert line.endswith(f"; see {tmp_path / 'run' / 'funnel.json'}")


def test_answers_that_were_all_refused_fail_with_the_commonest_reason(tmp_path, advgen):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n')
    with MockServer(lambda messages, seed: "", fail_with=[400]) as server:
        asked = ["--model", "openai/m", "--api-base", server.api_base, "--out", tmp_path / "run"]
        status, _, said = advgen("answer", tmp_path / "p.jsonl", *asked)
    assert status == 1
    assert "error: no prompt was answered: 2 of 3 replies: empty reply" in said
