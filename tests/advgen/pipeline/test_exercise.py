"""What a teacher says and does, and what a build makes of it: repairs, sources of chosen, benchmarks, hostile text.

Real HTTP, journal, sandbox and Parquet; teacher and student read their lines from a script.
"""

import json
import os
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from advcore import ConfigError, DataError, contract
from advcore.testing.servers import MockServer
from advgen import pipeline, specs
from advgen.hygiene import items
from advgen.testing import scripted

STUB = '''def step_up(n: int) -> int:
    """Return the next level of a counter whose ceiling is thirty.

    Under ten the level stays n. At twenty it jumps to 4711. Over thirty it is thirty. Else it is n plus one.
    """'''
RIGHT = """def step_up(n: int) -> int:
    if n < 10:
        return n
    if n == 20:
        return 4711
    if n > 30:
        return 30
    return n + 1"""
RAISES = RIGHT.replace("return n + 1", "return n // 0").replace("return 4711", "return n // 0")
BROKEN = ["def step_up(n: int) -> int:\n    return n // 0", "def step_up(n: int) -> int:\n    return n % 0"]
WRONG = [RIGHT.replace("n + 1", f"n + {more}") for more in (2, 3, 4)]
PHRASES = {
    "subtopics": "different subtopics of", "statement": "You write statements", "more_calls": "What is missing:",
    "program": "Write one Python function", "describe": "State what this Python function",
    "repair": "Find the mistake", "correct": "with the fewest changes", "calls": "a few typical ones",
    "asserts": "function alone, write", "solve": "Write a Python function.",
}  # fmt: skip


def fenced(text):
    return f"```python\n{text}\n```"


def calls(*numbers, name="step_up"):
    return fenced("\n".join(f"{name}({number})" for number in numbers))


class Script:
    """A model that gives the lines of each purpose in turn, the last one again; `asked` holds the prompts."""

    def __init__(self, **lines):
        self.lines, self.asked = lines, defaultdict(list)

    def __call__(self, messages, seed):
        text = messages[-1]["content"]
        purpose = next(name for name, phrase in PHRASES.items() if phrase in text)
        self.asked[purpose].append(text)
        lines = self.lines[purpose]
        return lines[min(len(self.asked[purpose]), len(lines)) - 1]

    def counts(self):
        return {purpose: len(texts) for purpose, texts in self.asked.items()}


class Scene:
    """A teacher that is right about one exercise, a student that is wrong in three ways, and the build of both."""

    def __init__(self, build_config):
        strong = calls(-3, 0, 9, 10, 11, 19, 20, 21, 30, 31, 50)
        self.teacher = Script(
            subtopics=["1. counters that stop"], statement=[fenced(STUB)], solve=[fenced(RIGHT)], calls=[strong],
            asserts=["none"], more_calls=[strong], repair=[fenced(RIGHT)], correct=[fenced(RIGHT)],
        )  # fmt: skip
        self.student = Script(solve=[fenced(code) for code in (*WRONG, RIGHT)])
        self._build_config = build_config

    def build(self, out, **sections):
        return pipeline.build(self.config(**sections), out, None)

    def config(self, **sections):
        exercises = {"count": 1, "topics": ["one"], **sections.pop("exercises", {})}
        return self._build_config(exercises=exercises, **sections)


@pytest.fixture
def scene(build_config):
    made = Scene(build_config)
    with MockServer(made.teacher) as teacher, MockServer(made.student) as student:
        made._build_config = lambda **sections: build_config(
            teacher={"api_base": teacher.api_base}, student={"api_base": student.api_base}, **sections
        )
        yield made


def raw(run):
    (row,) = contract.read(run / "dataset", "raw")
    return row


# --- given tasks ---------------------------------------------------------------------------------------------

TESTS = [f"step_up({n}) == {expected}" for n, expected in zip(
    [-3, 0, 9, 10, 11, 19, 20, 21, 29, 30, 31, 50], [-3, 0, 9, 11, 12, 20, 4711, 22, 30, 31, 30, 30], strict=True
)]  # fmt: skip


def task(folder, reference=RIGHT, name="step_up"):
    folder.mkdir(exist_ok=True)
    text = "".join(
        f"{key} = '''\n{value}\n'''\n" for key, value in (("statement", STUB), ("reference", reference))
    )
    tests = "".join(f"    {line!r},\n" for line in TESTS)
    (folder / f"{name}.toml").write_text(f"{text}tests = [\n{tests}]\n".replace("step_up", name))
    return specs.Given(tasks=str(folder))


def test_a_given_task_needs_solutions_and_attempts_alone_and_its_tests_are_the_truth(tmp_path, scene):
    given = task(tmp_path / "tasks")
    run, config = tmp_path / "run", scene.config()
    funnel = pipeline.build(config, run, None, given)
    assert (funnel["asked"], funnel["kept"], funnel["pairs"]) == (1, 1, 2)
    assert scene.teacher.counts() == {"solve": config.exercises.solutions}
    assert pipeline.plan(config, None, given)["teacher_requests"] == config.exercises.solutions
    pair, _ = pairs(run)
    assert [test["source"] for test in json.loads(pair["tests"])] == ["given"] * len(TESTS)
    assert (pair["p_true"], pair["chosen_source"], pair["topic"]) == (1.0, "teacher", "given")


def test_where_the_teacher_fails_a_task_its_own_solution_is_chosen(tmp_path, scene):
    scene.teacher.lines["solve"] = [fenced(WRONG[0])]  # all agree, and the student's attempts with them
    funnel = pipeline.build(scene.config(), tmp_path / "run", None, task(tmp_path / "tasks"))
    assert (funnel["kept"], funnel["teacher_pass_rate"]) == (1, 0.0)
    pair, _ = pairs(tmp_path / "run")
    assert (pair["chosen_source"], pair["chosen"][0]["content"]) == ("given", fenced(RIGHT))
    assert not (tmp_path / "run" / "dataset" / "gad").exists()  # there is no reply of the teacher to learn


def test_a_task_whose_own_solution_fails_is_turned_away_with_its_reason(tmp_path, scene):
    given = task(tmp_path / "tasks", reference=WRONG[0])
    pipeline.build(scene.config(), tmp_path / "run", None, given)
    assert raw(tmp_path / "run")["status"] == "misgiven"
    assert "step_up(10)" in raw(tmp_path / "run")["reason"]
    assert not scene.teacher.asked
    assert not scene.student.asked


def test_a_tasks_own_program_has_the_form_of_replies_and_what_stands_above_its_statement(tmp_path, scene):
    scene.teacher.lines["solve"] = [fenced(WRONG[0])]
    told = RIGHT.replace("    if n < 10", '    """Says what it does."""\n    if n < 10').replace(
        "4711", "MOST"
    )
    given = task(tmp_path / "tasks", reference=f"{told}\n\nprint(step_up(1))")
    file = tmp_path / "tasks" / "step_up.toml"
    text = file.read_text().replace("\ndef step_up", "\nMOST = 4711\n\n\ndef step_up", 1)
    file.write_text(text.replace("Return the next", "Up to MOST. Return the next"))
    assert pipeline.build(scene.config(), tmp_path / "run", None, given)["kept"] == 1
    chosen = pairs(tmp_path / "run")[0]["chosen"][0]["content"]
    assert "MOST = 4711" in chosen
    assert "Says" not in chosen
    assert "print" not in chosen
    assert not (tmp_path / "run" / "dataset" / "sft").exists()


def test_texts_that_tasks_leave_no_room_for_are_looked_at_all_the_same(tmp_path, scene):
    given = task(tmp_path / "tasks")
    for texts, error in ((f"{tmp_path}/none.jsonl:text", DataError), ("none.py", ConfigError)):
        with pytest.raises(error):
            pipeline.build(scene.config(), tmp_path / "run", None, replace(given, texts=texts))


def test_tasks_come_before_what_the_teacher_writes_and_another_task_is_another_run(tmp_path, scene):
    scene.teacher.lines["statement"] = [fenced(STUB.replace("step_up", "next_level"))]
    config, given = scene.config(exercises={"count": 2}), task(tmp_path / "tasks")
    pipeline.build(config, tmp_path / "run", None, given)
    rows = contract.read(tmp_path / "run" / "dataset", "raw")
    assert [(row["topic"], row["status"]) for row in rows] == [("given", "kept"), ("one", "duplicate")]
    task(tmp_path / "tasks", name="level_up")
    with pytest.raises(ConfigError):
        pipeline.build(config, tmp_path / "run", None, given)


def test_a_folder_without_tasks_is_refused(tmp_path, scene):
    with pytest.raises(DataError, match="holds no task"):
        pipeline.build(scene.config(), tmp_path / "run", None, specs.Given(tasks=str(tmp_path)))


# --- witnesses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solutions", "status"),
    [([WRONG[0], RIGHT], "kept"), (WRONG, "unwitnessed"), (["no code"], "unwitnessed")],
)
def test_an_exercise_is_kept_where_each_witness_reproduces_it_once(tmp_path, scene, solutions, status):
    witness = Script(solve=[fenced(code) for code in solutions])
    with MockServer(witness) as server:
        models = [{"model": "openai/other", "api_base": server.api_base}]
        config = scene.config(witnesses=models)
        funnel = pipeline.build(config, tmp_path / "run", None)
    row = raw(tmp_path / "run")
    assert row["status"] == status
    assert status == "kept" or "of 2 solutions of openai/other none passes" in row["reason"]
    assert witness.counts() == {"solve": config.exercises.solutions}
    assert "reproduced too" in (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert "witness openai/other" in json.loads(row["provenance"])["sampling"]
    assert (
        funnel["tokens"]["witness"]
        == json.loads((tmp_path / "run" / "cost.json").read_text())["witness_1"]["completion_tokens"]
    )
    assert pipeline.plan(config, None)["witness_requests"] == 2


# --- reference first ------------------------------------------------------------------------------------------


def reference_first(scene, run, given=specs.NOTHING, **sections):
    scene.teacher.lines |= {"program": [fenced(RIGHT)], "describe": [fenced(STUB)]}
    return pipeline.build(scene.config(exercises={"order": "reference"}, **sections), run, None, given)


def test_with_the_reference_first_its_outputs_are_the_truth_and_solutions_reproduce_them(tmp_path, scene):
    funnel = reference_first(scene, tmp_path / "run")
    row = raw(tmp_path / "run")
    assert (funnel["kept"], row["entry_point"]) == (1, "step_up")
    assert {test["source"] for test in json.loads(row["tests"])} == {"reference", "generated"}
    assert RIGHT in scene.teacher.asked["describe"][0]
    assert RIGHT in scene.teacher.asked["calls"][0]
    assert all(RIGHT not in asked for asked in scene.teacher.asked["solve"] + scene.student.asked["solve"])
    asked = scene.teacher.counts()
    assert (asked["program"], asked["describe"]) == (1, 1)
    assert "statement" not in asked
    config = scene.config(exercises={"order": "reference"})
    assert pipeline.plan(config, None)["teacher_requests"] == sum(asked.values()) - asked.get(
        "asserts", 0
    ) + bool(config.exercises.asserts)


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        ({"solve": [WRONG[0]]}, "no_agreement", "0 of 2 solutions come to what the reference does"),
        ({"describe": [STUB.replace("step_up", "other")]}, "unreadable", "the statement is of def other("),
        ({"program": ["x = 1"]}, "unreadable", "0 functions instead of one"),
        ({"program": ["import random\n" + RIGHT.replace("return 30", "return random.random()")]},
         "nondeterministic", "the reference uses random"),
    ],
)  # fmt: skip
def test_a_reference_that_nobody_reproduces_or_states_is_turned_away(tmp_path, scene, lines, status, reason):
    lines = {purpose: [fenced(text) for text in texts] for purpose, texts in lines.items()}
    scene.teacher.lines |= {"program": [fenced(RIGHT)], "describe": [fenced(STUB)]} | lines
    pipeline.build(scene.config(exercises={"order": "reference"}), tmp_path / "run", None)
    row = raw(tmp_path / "run")
    assert row["status"] == status
    assert reason in row["reason"]


def test_what_only_the_reference_does_otherwise_makes_no_test(tmp_path, scene):
    odd = RIGHT.replace("    if n == 20", "    if n in (8, 24):\n        return -1\n    if n == 20")
    scene.teacher.lines |= {"program": [fenced(odd)], "describe": [fenced(STUB)]}
    pipeline.build(scene.config(exercises={"order": "reference"}), tmp_path / "run", None)
    row = raw(tmp_path / "run")
    assert row["status"] == "kept"
    assert not {"step_up(8)", "step_up(24)"} & {test["call"] for test in json.loads(row["tests"])}


def test_a_given_function_is_the_reference_with_what_it_needs_of_its_file(tmp_path, scene):
    needs = RIGHT.replace("4711", "MOST").replace("return 30", "return math.floor(30.5)")
    (tmp_path / "mine.py").write_text(f"import math\nimport os\n\nMOST = 4711\n\n\n{needs}\n\nprint(MOST)\n")
    given = specs.Given(texts=str(tmp_path / "mine.py"))
    assert reference_first(scene, tmp_path / "run", given)["kept"] == 1
    assert "program" not in scene.teacher.asked


def test_a_witness_that_is_the_teacher_itself_is_refused(tmp_path, scene):
    teacher = scene.config().teacher
    with pytest.raises(ConfigError, match="is the teacher itself"):
        scene.build(tmp_path / "run", witnesses=[{"model": teacher.model, "api_base": teacher.api_base}])


# --- repairs --------------------------------------------------------------------------------------------------

FAULTS = {
    "no_agreement": {"solve": list(map(fenced, BROKEN))},
    "too_few_tests": {"calls": [calls(1, 20)]},
    "weak_tests": {"calls": [calls(1, 2, 3, 4, 5, 6)]},
}


@pytest.mark.parametrize("status", FAULTS)
def test_what_the_teacher_repairs_is_kept_and_without_feedback_it_is_turned_away(tmp_path, scene, status):
    scene.teacher.lines |= FAULTS[status]
    gate = {"generated_tests": 0}
    scene.build(tmp_path / "without", gate=gate)
    assert raw(tmp_path / "without")["status"] == status
    assert not scene.student.asked
    scene.teacher.asked.clear()
    scene.build(tmp_path / "with", gate=gate, exercises={"feedback": True})
    assert raw(tmp_path / "with")["status"] == "kept"
    asked = scene.teacher.counts()
    expected = {"repair": 2} if status == "no_agreement" else {"more_calls": 1}
    assert expected.items() <= asked.items()
    scene.build(tmp_path / "with", gate=gate, exercises={"feedback": True})
    (tmp_path / "with" / "funnel.json").unlink()  # as if killed before the end
    (tmp_path / "with" / "records.jsonl").unlink()
    scene.build(tmp_path / "with", gate=gate, exercises={"feedback": True})
    assert scene.teacher.counts() == asked


def test_a_repair_is_asked_with_the_own_error_and_without_what_the_others_agree_on(tmp_path, scene):
    scene.teacher.lines |= {
        "solve": [fenced(RIGHT), fenced(RIGHT), fenced(RAISES)],
        "calls": [calls(1, 20, 21)],
    }
    scene.build(tmp_path / "run", exercises={"feedback": True, "solutions": 3})
    assert raw(tmp_path / "run")["status"] == "kept"
    (prompt,) = scene.teacher.asked["repair"]
    assert RAISES in prompt
    report = prompt.partition("What running it gave:")[2]
    assert "step_up(20) raises ZeroDivisionError: integer division or modulo by zero" in report
    assert "step_up(21) raises ZeroDivisionError" in report
    assert "4711" not in report
    assert "22" not in report


def test_repairs_end_after_the_turns_that_are_allowed(tmp_path, scene):
    scene.teacher.lines |= {
        "solve": [fenced(RIGHT), fenced(BROKEN[0])],
        "repair": list(map(fenced, BROKEN[::-1])),
    }
    scene.build(tmp_path / "run", exercises={"feedback": True, "repairs": 3})
    assert raw(tmp_path / "run")["status"] == "no_agreement"
    assert scene.teacher.counts().items() >= {"solve": 2, "repair": 3}.items()
    told = zip((BROKEN[0], BROKEN[1], BROKEN[0]), scene.teacher.asked["repair"], strict=True)
    assert all(code in prompt for code, prompt in told)  # each turn shows the program of the turn before
    assert json.loads(raw(tmp_path / "run")["usage"])["repair"][0] == 3


def test_feedback_on_the_journal_of_a_run_without_it_asks_for_the_repairs_only(tmp_path, scene):
    scene.teacher.lines |= FAULTS["no_agreement"]
    scene.build(tmp_path / "without")
    (tmp_path / "with").mkdir()
    for file in (tmp_path / "without").glob("journal.sqlite*"):
        shutil.copy(file, tmp_path / "with")
    scene.teacher.asked.clear()
    scene.build(tmp_path / "with", exercises={"feedback": True})
    assert scene.teacher.counts() == {"repair": 2}
    assert raw(tmp_path / "with")["status"] == "kept"


def test_calls_that_cannot_be_read_cost_the_reply_and_not_the_exercise(tmp_path, scene):
    values = {-3: -3, 0: 0, 9: 9, 10: 11, 11: 12, 19: 20, 20: 4711, 21: 22, 30: 31, 31: 30}
    claims = "\n".join(f"assert step_up({n}) == {value}" for n, value in values.items())
    scene.teacher.lines |= {"calls": [calls(*range(3000))], "asserts": [fenced(claims)]}
    scene.build(tmp_path / "run")
    assert raw(tmp_path / "run")["status"] == "kept"
    sources = {test["source"] for test in json.loads(raw(tmp_path / "run")["tests"])}
    assert sources - {"generated"} == {"assert"}


# --- where chosen comes from ----------------------------------------------------------------------------------


def pairs(run):
    return contract.read(run / "dataset", "dpo")


def test_chosen_is_the_students_own_passing_attempt_where_that_is_asked_for(tmp_path, scene):
    own = RIGHT.replace("return n + 1", "n += 1\n    return n")
    scene.student.lines["solve"] = [fenced(code) for code in (*WRONG, own)]
    scene.build(tmp_path / "run", curation={"chosen": "student"})
    assert {(row["chosen_source"], row["chosen"][0]["content"]) for row in pairs(tmp_path / "run")} == {
        ("student", fenced(own))
    }
    assert contract.read(tmp_path / "run" / "dataset", "sft")[0]["completion"][0]["content"] == fenced(RIGHT)


def test_an_exercise_that_the_student_never_solves_gives_no_pair_of_its_own(tmp_path, scene):
    scene.student.lines["solve"] = list(map(fenced, WRONG))
    funnel = scene.build(tmp_path / "run", curation={"chosen": "student"})
    assert (funnel["kept"], funnel["pairs"], funnel["audit"]) == (1, 0, {})


def test_chosen_is_the_teachers_repair_asked_once_a_pair_and_judged(tmp_path, scene):
    repairs = [RIGHT.replace("n + 1", "1 + n"), RIGHT.replace("n + 1", "n - -1")]
    scene.teacher.lines["correct"] = list(map(fenced, repairs))
    funnel = scene.build(tmp_path / "run", curation={"chosen": "repaired"})
    assert funnel["pairs"] == 2
    assert {row["chosen_source"] for row in pairs(tmp_path / "run")} == {"repaired"}
    assert {row["chosen"][0]["content"] for row in pairs(tmp_path / "run")} == set(map(fenced, repairs))
    prompts = scene.teacher.asked["correct"]
    shown = [code for prompt in prompts for code in WRONG if code in prompt]
    assert len(prompts) == len(set(shown)) == len(shown) == 2
    # Here the expected value is told: this program is no witness of anything.
    assert all("expected 11, got 1" in prompt for prompt in prompts)


def test_a_repair_that_fails_its_tests_gives_no_pair(tmp_path, scene):
    scene.teacher.lines["correct"] = [fenced(WRONG[2]), fenced(RIGHT)]
    funnel = scene.build(tmp_path / "run", curation={"chosen": "repaired"})
    assert funnel["pairs"] == 1
    repairs = json.loads(raw(tmp_path / "run")["mended"])
    assert sorted(repairs) == ["", "", "", "", "", RIGHT]
    (pair,) = pairs(tmp_path / "run")
    attempts = json.loads(raw(tmp_path / "run")["attempts"])
    assert pair["rejected"][0]["content"] == fenced(attempts[repairs.index(RIGHT)]["code"])


# --- benchmarks -----------------------------------------------------------------------------------------------


@pytest.fixture
def published():
    """A task of HumanEval: its statement, its solution, and calls that fit it."""
    file = Path(os.environ.get("BENCHMARKS", "")) / "HumanEval.jsonl.gz"
    if not os.environ.get("BENCHMARKS") or not file.exists():
        pytest.skip("BENCHMARKS names no folder with HumanEval.jsonl.gz")
    return next(item for item in items.read(file)[1] if item.name == "HumanEval/3")


LISTS = ("[]", "[1]", "[-1]", "[1, 2, -4, 5]", "[1, 2, 3]", "[3, -3]", "[1, -2, 9]", "[2, -2, 1]")


def contaminated(scene, run, layer, **sections):
    """Whether that is how the exercise ended, before anything was asked of the student."""
    funnel = scene.build(run, **sections)
    row = raw(run)
    assert (row["status"], row["n_attempts"], scene.student.counts()) == ("contaminated", 0, {}), row[
        "reason"
    ]
    assert row["reason"].startswith(layer), row["reason"]
    assert (funnel["turned_away"], funnel["pairs"]) == ({"contaminated": 1}, 0)
    assert sorted(path.name for path in (run / "dataset").iterdir() if path.is_dir()) == ["raw"]
    return row["reason"]


def test_a_benchmarks_own_statement_never_reaches_the_student(tmp_path, scene, published):
    listed = calls(*LISTS, name=published.entry_point)
    scene.teacher.lines |= {
        "statement": [fenced(published.prompt)], "solve": [fenced(published.code)], "calls": [listed],
    }  # fmt: skip
    reason = contaminated(scene, tmp_path / "run", "substring: HumanEval")
    assert "ngram" in reason


def test_a_benchmarks_solution_under_another_statement_and_name_does_not_either(tmp_path, scene, published):
    stub = (
        "def ever_wet(tides: list) -> bool:\n"
        '    """Say if the jetty, dry when the day begins, stands under water after any of the hourly tides."""'
    )
    code = published.code.partition("def ")[0] + re.sub(
        r'""".*?"""', "", "def " + published.code.rpartition("def ")[2], flags=re.DOTALL
    )
    scene.teacher.lines |= {
        "statement": [fenced(stub)], "solve": [fenced(code.replace(published.entry_point, "ever_wet"))],
        "calls": [calls(*LISTS, name="ever_wet")],
    }  # fmt: skip
    reason = contaminated(scene, tmp_path / "run", "substring: HumanEval")  # of the program
    assert "ast: HumanEval" in reason
    assert "ngram" not in reason


def test_the_tests_of_a_given_benchmark_find_what_is_reworded_and_rewritten(tmp_path, scene):
    task = {
        "task_id": "mine/7", "entry_point": "escalator",
        "prompt": 'def escalator(k):\n    """Where a rider who stands at k is carried to."""\n',
        "canonical_solution": "    table = {20: 4711}\n    return table.get(k, k if k < 10 else min(k + 1, 30))\n",
        "test": "\n".join(f"assert escalator({k}) == {v}" for k, v in ((3, 3), (20, 4711), (12, 13), (40, 30))),
    }  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(task) + "\n")
    funnel = scene.build(tmp_path / "without")
    assert (funnel["kept"], funnel["decontamination"][-1]["runs"]) == (1, False)
    scene.student.asked.clear()
    reason = contaminated(
        scene, tmp_path / "with", "behaviour: mine mine/7", gate={"benchmarks": [str(file)]}
    )
    assert reason == "behaviour: mine mine/7"
    layers = json.loads((tmp_path / "with" / "funnel.json").read_text())["decontamination"]
    assert (layers[-1]["runs"], layers[-1]["note"]) == (True, "mine")


# --- hostile text ---------------------------------------------------------------------------------------------

KILLS = "os.kill(os.getpid(), 9)"
HOSTILE = {
    "enormous": "x = 1\n" * 500_000,
    "an enormous number": f"NAME({'9' * 1_000_000})",
    "cut short": f"```python\n{STUB}\n    return (n",
    "nested": f"{STUB}\n    return {'(' * 5000}n{')' * 5000}",
    "a deep tree": f"{STUB}\n    return n{' + 1' * 2000}",
    "nested arguments": f"NAME({'[' * 90}{']' * 90})",
    "null bytes": STUB.replace("next", "ne\0xt") + "\n    return '\0'",
    "half a character": STUB.replace("next", "ne\ud800xt") + "\n    return '\udfff'",
    "kills its process": f"import os; {KILLS}\n{STUB}\n    {KILLS}",
    "kills all it can": f"import os\n{STUB}\n    os.kill(os.getppid(), 9); os.killpg(0, 9); os._exit(0)",
}
PLACES = ("subtopics", "statement", "solve", "calls", "asserts", "repair", "more_calls", "correct", "student")


def hostile(place):
    """A scripted teacher whose replies of one purpose are hostile, to each exercise in another way."""
    named = {}

    def respond(messages, seed):
        text = messages[-1]["content"]
        asked = next(name for name, phrase in PHRASES.items() if phrase in text)
        name = text if asked in ("subtopics", "statement") else re.findall(r"def (\w+)\(", text)[-1]
        if asked == place:
            kind = list(HOSTILE.values())[named.setdefault(name, len(named)) % len(HOSTILE)]
            text = kind.replace("step_up", name).replace("NAME", name)
            return ("1. " * (place == "subtopics")) + (text if text.startswith("```") else fenced(text))
        if (asked, place) == ("solve", "repair"):  # so that there is something to repair
            return fenced(BROKEN[seed % 2].replace("step_up", name))
        return calls(1, name=name) if (asked, place) == ("calls", "more_calls") else scripted(messages, seed)

    return respond


@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_in_any_reply_ends_as_a_status(tmp_path, build_config, place):
    count = len(HOSTILE)
    with MockServer(hostile(place)) as teacher, MockServer(hostile("solve")) as student:
        config = build_config(
            teacher={"api_base": teacher.api_base},
            student={"api_base": student.api_base} if place == "student" else {},
            exercises={
                "count": count, "feedback": True, "repairs": 1, "per_topic": 1,
                "topics": [f"topic {at}" for at in range(count)],
            },
            curation={"chosen": "repaired"}, sandbox={"wall_s": 1.0},
        )  # fmt: skip
        funnel = pipeline.build(config, tmp_path / "run", None)
    rows = contract.read(tmp_path / "run" / "dataset", "raw")
    assert (funnel["finished"], funnel["asked"], len(rows)) == (True, count, count)
    statuses = [row["status"] for row in rows]
    assert not {"", "no_reply", "sandbox_error"} & set(statuses), statuses
    assert "unreadable" not in statuses or place == "statement"  # which is said of statements only
    if place in ("subtopics", "calls", "asserts", "correct", "student"):
        assert statuses == ["kept"] * count, [row["reason"] for row in rows]
    for row in rows if place == "student" else ():
        assert (row["student_pass_rate"], row["n_attempts"]) == (0.0, 6)
    assert funnel["pairs"] or place not in ("subtopics", "calls", "asserts", "student")


def test_solutions_that_fail_alike_are_repaired_alike(tmp_path, scene):
    scene.teacher.lines["solve"] = [fenced(BROKEN[0])]
    scene.build(tmp_path / "run", exercises={"feedback": True, "repairs": 1})
    assert raw(tmp_path / "run")["status"] == "kept"


def test_a_repair_is_asked_for_each_pair_that_can_be_made(tmp_path, scene):
    scene.student.lines["solve"] = list(map(fenced, (WRONG[0], WRONG[0], WRONG[1])))
    assert scene.build(tmp_path / "run", curation={"chosen": "repaired"})["pairs"] == 2


def test_wrong_answers_are_repaired_before_other_failures(tmp_path, scene):
    scene.student.lines["solve"] = list(map(fenced, (BROKEN[0], WRONG[0])))
    funnel = scene.build(tmp_path / "run", curation={"chosen": "repaired", "pairs_per_exercise": 1})
    assert funnel["curation"]["failure_kinds"] == {"wrong_answer": 1}


def test_asserts_that_cannot_be_read_cost_the_cross_check_and_not_the_exercise(tmp_path, scene):
    scene.teacher.lines["asserts"] = [fenced("\n".join(f"assert step_up({n}) == {n}" for n in range(2000)))]
    scene.build(tmp_path / "run")
    assert (raw(tmp_path / "run")["status"], raw(tmp_path / "run")["reason"]) == ("kept", "")


def test_a_run_that_goes_on_turns_away_the_repeat_whose_examples_were_cut(tmp_path, scene):
    """What is kept lost its false examples; the repeat has them still."""
    false = (
        STUB.replace('    """\n', '\n    >>> step_up(1)\n    77\n    """\n') if ">>>" not in STUB else STUB
    )
    scene.teacher.lines["statement"] = [fenced(false)]
    out = tmp_path / "run"
    first = scene.build(out, exercises={"count": 2})
    assert [row["status"] for row in contract.read(out / "dataset", "raw")] == ["kept", "duplicate"]
    store = out / "records.jsonl"
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(lines[0] + b"".join(line for line in lines[1:] if line.startswith(b"0\t")))
    (out / "funnel.json").unlink()
    again = scene.build(out, exercises={"count": 2})
    assert (again["kept"], again["pairs"]) == (first["kept"], first["pairs"])


# --- replies --------------------------------------------------------------------------------------------------


def test_a_student_that_ends_right_makes_no_pair_whatever_it_thought(tmp_path, scene):
    thinks = [f"<think>\n{fenced(wrong)}\nno.\n</think>\n\n{fenced(RIGHT)}" for wrong in WRONG]
    tries = [
        f"{fenced(each)}\nBetter:\n{fenced(RIGHT)}\nUse:\n{fenced('print(step_up(3))')}" for each in WRONG
    ]
    talks = fenced(f"{RIGHT}\n\nlevel = int(input())\nprint(step_up(level))")
    scene.student.lines["solve"] = [*thinks, *tries, talks]
    funnel = scene.build(tmp_path / "run", attempts={"count": 7})
    assert (raw(tmp_path / "run")["student_pass_rate"], funnel["pairs"]) == (1.0, 0)
    attempts = json.loads(raw(tmp_path / "run")["attempts"])
    assert {fenced(attempt["code"]) for attempt in attempts} == {scene.teacher.lines["solve"][0]}
    thoughts = {attempt["thoughts"] for attempt in attempts} - {""}
    assert thoughts == {f"{fenced(wrong)}\nno." for wrong in WRONG}
    assert all(row["label"] for row in contract.read(tmp_path / "run" / "dataset", "kto"))


def test_set_up_stays_in_what_is_published(tmp_path, scene):
    filled = f"LEVELS = {{}}\nLEVELS.update({{20: 4711}})\n\n{RIGHT.replace('4711', 'LEVELS[n]')}"
    wrong = filled.replace("n + 1", "n + 2")
    scene.teacher.lines["solve"] = [f"<think>{fenced(WRONG[0])}</think>\n{fenced(filled)}"]
    scene.student.lines["solve"] = [fenced(f"{wrong}\n\nprint(step_up(3))")]
    scene.build(tmp_path / "run")
    (pair,) = pairs(tmp_path / "run")
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (fenced(filled), fenced(wrong))


def test_names_above_a_statement_are_shown_and_are_there_for_who_leaves_them_out(tmp_path, scene):
    stub, right, wrong = (
        text.replace("n: int) -> int", "n: Level) -> Level") for text in (STUB, RIGHT, WRONG[0])
    )
    scene.teacher.lines |= {"statement": [fenced(f"Level = int\n\n{stub}")], "solve": [fenced(right)]}
    scene.student.lines["solve"] = [fenced(wrong), fenced(RIGHT)]
    scene.build(tmp_path / "run", attempts={"count": 2})
    assert fenced("Level = int") in scene.student.asked["solve"][0]
    (pair,) = pairs(tmp_path / "run")
    assert pair["failure_kind"] == "wrong_answer"
    assert pair["rejected"][0]["content"] == fenced(f"Level = int\n\n\n{wrong}".replace("\n\n\n", "\n\n"))
