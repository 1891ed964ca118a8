"""The project's own tasks: each is right by itself, and its tests tell right programs from wrong ones."""

from collections.abc import Iterator

import pytest

from advcore import DataError, contract, literals, tasks
from advcore.chat import fenced
from advgen import parse
from advgen.hygiene.contamination import Benchmarks
from advgen.hygiene.items import Text
from advgen.hygiene.normal import fingerprint
from advgen.verify.baselines import constant_baselines
from advgen.verify.fit import Signature
from advgen.verify.mutants import mutants
from sandbox import Limits, Sandbox

ALL = tasks.read()
each_task = pytest.mark.parametrize("task", ALL, ids=[task.name for task in ALL])


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(slots=1, limits=Limits(wall_s=1.0)) as made:
        yield made


def test_there_are_forty_at_least_and_no_two_are_alike():
    assert len(ALL) >= 40
    assert len({fingerprint(task.reference) for task in ALL}) == len(ALL)


@each_task
def test_right_programs_pass_and_wrong_ones_fail_a_test(task: tasks.Task, box: Sandbox):
    suite = contract.suite(task.tests)
    for program in (task.reference, *task.solutions):
        assert box.check(program, suite, task.name).passed
    assert len(task.solutions) >= 2
    assert len({fingerprint(program) for program in task.wrong}) >= 10
    for program in task.wrong:
        outcomes = box.check(program, suite, task.name).outcomes
        assert "pass" in outcomes
        assert {"fail", "error"} & set(outcomes)


@each_task
def test_the_tests_kill_nearly_all_mutants_and_every_null(task: tasks.Task, box: Sandbox):
    suite, statement = contract.suite(task.tests), parse.stored(task.statement)
    made = mutants(task.reference, 30)
    living = [code for code in made if box.check(code, suite, task.name, fail_fast=True).passed]
    assert len(living) <= 0.05 * len(made)
    for program in constant_baselines(statement, task.tests).values():
        assert not box.check(program, suite, task.name).passed


@each_task
def test_the_statement_is_read_its_examples_are_tests_and_all_tests_fit_its_signature(task: tasks.Task):
    statement = parse.statement(fenced(task.statement))
    assert statement.entry_point == task.name
    signature, known = Signature(statement), {test["call"]: literals.outcome_of(test) for test in task.tests}
    examples = parse.examples(statement)
    assert len(examples) >= 2
    assert all(known[call.source] == outcome for call, outcome in examples)
    for call in parse.calls(fenced("\n".join(known)), statement):
        assert signature.takes(call)
        assert signature.gives(known[call.source])
    assert len(known) == len(task.tests) >= 12


def test_no_task_is_a_benchmarks():
    known = Benchmarks.shipped()
    hits = [
        (task.name, hit)
        for task in ALL
        for hit in known.check(Text(task.statement, task.reference, task.name), None)
    ]
    assert [name for name, hit in hits if hit.layer != "signature"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("f(1) == 2", "f(1) = 2"), "invalid syntax"),
        (("f(1) == 2", "f(1) < 2"), "neither"),
        (("f(1) == 2", "f(1) raises SystemExit"), "neither a value nor a known exception"),
        (("f(1) == 2", "f(x) == 2"), "malformed"),
        (("f(1) == 2", "g(1) == 2"), "is no test of f"),
        (("f(1) == 2", "f(1) == object()"), "."),
        (("'f(1) == 2'", "12"), "tests is no text"),
        (("'f(1) == 2'", "'f(1) == 2', 'f(1) == 3'"), "two tests have one call"),
        (("['f(1) == 2']", "'f(1) == 2'"), "tests is no list of texts"),
        (("def f", "def g"), "no function f, by which the file is called"),
        (("reference", "ref"), "unknown key ref"),
        (("reference = ''", ""), "it lacks 'reference'"),
        (("reference = ''", "reference = 5"), "reference is no text"),
        (("tests", "[tests"), "."),
    ],
)
def test_a_broken_file_is_named(tmp_path, change, reason):
    text = "statement = '''def f(x):\n  'd''''\ntests = ['f(1) == 2']\nreference = ''\nwrong = []\n"
    (tmp_path / "f.toml").write_text(text)
    assert tasks.read(str(tmp_path))[0].tests == ({"call": "f(1)", "expected": "2", "source": "given"},)
    (tmp_path / "f.toml").write_text(text.replace(*change))
    with pytest.raises(DataError, match=rf"f\.toml is no task: .*{reason}"):
        tasks.read(str(tmp_path))
