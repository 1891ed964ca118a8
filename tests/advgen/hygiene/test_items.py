"""Benchmark files as tasks: statements with a signature, inputs to compare on, and what order says."""

import gzip
import json
from dataclasses import replace

import pytest

from advcore.chat import fenced
from advgen import parse
from advgen.config import GateConfig, SandboxConfig
from advgen.hygiene import items
from advgen.pipeline import jobs
from advgen.verify import Verifier

PLUS = {
    "task_id": "Tiny/1", "entry_point": "in_both",
    "prompt": '"""\nWrite a function to find what both rows of numbers share.\n'
    'assert set(in_both([1, 2], [2])) == {2}\n"""\n',
    "canonical_solution": "\ndef in_both(one, other):\n    return tuple(set(one) & set(other))\n",
    "assertion": "\nassert set(in_both([1, 2], [2])) == {2}\n",
    "base_input": [[[1, 2], [2]]], "plus_input": [[[3, 4, 5], [5, 4]], [[], [1]]],
}  # fmt: skip


@pytest.fixture
def item(tmp_path):
    (tmp_path / "Tiny.jsonl.gz").write_bytes(gzip.compress(json.dumps(PLUS).encode()))
    _, (found,) = items.read(tmp_path / "Tiny.jsonl.gz")
    return found


def test_a_prompt_without_a_signature_gets_that_of_the_solution(item):
    statement = parse.statement(fenced(item.statement))
    assert (statement.entry_point, statement.parameters) == ("in_both", ("one", "other"))
    assert statement.docstring.startswith("Write a function to find")
    assert (len(item.inputs), item.unordered) == (3, True)


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ("return [x for x in reversed(one) if x in other]", True),  # another order, and a list
        ("return [x for x in one if x in other][:1]", False),  # passes the tests and not the inputs
        ("return other[5]", False),
    ],
)
def test_a_program_is_true_where_it_passes_the_tests_and_does_as_the_solution_on_all_inputs(
    item, body, right
):
    with Verifier(SandboxConfig(wall_s=2.0), GateConfig()) as verifier:
        assert jobs.are_true(verifier, item, [f"def in_both(one, other):\n    {body}", ""]) == [right, False]


def test_where_the_solution_answers_nothing_nobody_knows_what_is_true(item):
    mute = replace(item, tests="", code="def in_both(one, other):\n    raise OSError")
    with (
        Verifier(SandboxConfig(wall_s=2.0), GateConfig()) as verifier,
        pytest.raises(parse.ParseError, match="own solution"),
    ):
        jobs.are_true(verifier, mute, [item.code])
