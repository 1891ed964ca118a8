"""A set with every known poison planted in known rows: the audit names each, with its rows. Without, nothing."""

import ast
import functools
import gzip
import json
import os
import random
import re
from collections import defaultdict
from pathlib import Path

import pytest
from generated_pairs import honest, reply

from advcore.contract import assertion
from advgen.audit import audit
from advgen.verify.mutants import mutants
from sandbox import Limits, Sandbox

HUMANEVAL = Path(os.environ.get("BENCHMARKS", "")) / "HumanEval.jsonl.gz"
FENCE, LENGTH = 100, 100  # of about 300 rows: enough to beat 60 % with confidence
SYNONYMS = {
    "given": "supplied", "list": "sequence", "numbers": "figures", "number": "figure", "return": "hand back",
    "returns": "hands back", "string": "text", "check": "verify", "write": "compose", "function": "routine",
    "if": "whether", "elements": "entries", "element": "entry", "positive": "above-zero", "integers": "whole figures",
    "first": "leading", "the": "that", "of": "out of", "integer": "whole figure", "two": "a pair of", "a": "some",
    "should": "ought to", "is": "proves to be", "and": "as well as", "in": "within",
}  # fmt: skip


@pytest.fixture(scope="module")
def passes():
    """What the command gives the audit: a program put to the tests of its row, in the real sandbox."""
    with Sandbox(slots=1, limits=Limits(wall_s=2.0, memory_bytes=512 << 20)) as box:

        @functools.cache
        def run(code, tests, entry_point):
            report = box.check(code, "\n".join(map(assertion, json.loads(tests))), entry_point)
            assert report.status != "sandbox_error"
            return report.passed

        yield run


def tasks():
    """HumanEval; nothing where its file is not at hand, and then the set has no such poison."""
    if not os.environ.get("BENCHMARKS") or not HUMANEVAL.exists():
        return []
    with gzip.open(HUMANEVAL, "rt") as lines:
        return [json.loads(line) for line in lines]


class Renamer(ast.NodeTransformer):
    """Every name that the program binds gets another one; docstrings stay."""

    def __init__(self, tree):
        bound = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        bound |= {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self.names = {name: f"my_{name[::-1]}_{at}" for at, name in enumerate(sorted(bound))}

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node):
        node.arg = self.names.get(node.arg, node.arg)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)


def program(task):
    """The reference solution without its docstrings, which repeat the prompt."""
    tree = ast.parse(task["prompt"] + task["canonical_solution"])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return tree


def verbatim(task):
    return {**task, "code": ast.unparse(program(task))}


def renamed(task):
    """Other names, and no word of the docstring: the program is all there is to know it by."""
    renamer = Renamer(tree := program(task))
    name = renamer.names[task["entry_point"]]
    code = ast.unparse(renamer.visit(tree))
    return {**task, "prompt": f"Fill in `{name}`, as its tests want it.", "code": code, "entry_point": name}


def reworded(task):
    docstring = task["prompt"].split('"""')[-2]
    prompt = re.sub(r"[A-Za-z]+", lambda word: SYNONYMS.get(word[0].lower(), word[0]), docstring)
    return {**verbatim(task), "prompt": f"`{task['entry_point']}`\n\n{prompt}"}


def telling(task):
    """A program of some lines: a one-liner has many authors, and `hygiene`'s own tests say what becomes of it."""
    return task["canonical_solution"].count("\n") > 5 and '"""' in task["prompt"]


def benchmark_row(task, passes):
    tests, entry_point = json.dumps([{"code": task["test"]}]), task["entry_point"]
    wrong = next(code for code in mutants(task["code"], 30) if not passes(code, tests, entry_point))
    return {
        "prompt": [{"role": "user", "content": task["prompt"]}], "chosen": reply(task["code"]),
        "rejected": reply(wrong), "exercise_id": task["task_id"], "entry_point": entry_point, "tests": tests,
        "failure_kind": "wrong_answer", "chosen_source": "teacher", "student_pass_rate": 0.5, "topic": "other",
    }  # fmt: skip


def edited(row, side, change):
    return {**row, side: [{"role": "assistant", "content": change(row[side][0]["content"])}]}


def unfenced(text):
    return text.removeprefix("```python\n").removesuffix("\n```")


def padded(text):
    rest = "".join(f"\n    step_{at} = values[{at}:]  + [len(values)]" for at in range(30))
    return f"{unfenced(text)}\n\n\ndef never_called(values):{rest}\n    return step_0".join(
        ("```python\n", "\n```")
    )


def broken(text):
    return text.replace("return ", "return (", 1)


def inverted(row):
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


EDITS = {
    "fence": (FENCE, lambda row: edited(row, "rejected", unfenced)),
    "length": (LENGTH, lambda row: edited(row, "chosen", padded)),
    "inverted": (8, inverted),
    "unparsable chosen": (5, lambda row: edited(row, "chosen", broken)),
    "unparsable rejected": (6, lambda row: edited(row, "rejected", broken)),
}


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory, passes):
    """The report on a poisoned set, and the rows of every poison. Each row bears one poison; some bear none."""
    labelled = [(row, "") for row in honest()]
    at = 0
    for poison, (number, edit) in EDITS.items():
        for place in range(at, at + number):
            labelled[place] = (edit(labelled[place][0]), poison)
        at += number
    clean = [row for row, poison in labelled if not poison]
    items = [task for task in tasks() if telling(task)]
    random.Random(3).shuffle(items)
    forms = {"verbatim": verbatim, "renamed": renamed, "reworded": reworded}
    for number, (poison, form) in enumerate(forms.items()):
        labelled += [
            (benchmark_row(form(task), passes), poison) for task in items[7 * number : 7 * number + 7]
        ]
    random.Random(5).shuffle(labelled)
    labelled += [({**row, "exercise_id": f"again {row['exercise_id']}"}, "duplicate") for row in clean[:7]]
    folder = tmp_path_factory.mktemp("poisoned")
    return report_on(folder, [row for row, _ in labelled], passes), rows_of(poison for _, poison in labelled)


def report_on(folder, rows, passes):
    file = folder / "set.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return audit(str(file), reexecute=passes)


def rows_of(poisons):
    rows = defaultdict(set)
    for row, poison in enumerate(poisons):
        rows[poison].add(row)
    return rows


def found(report, check):
    return next(finding for finding in report.findings if finding.check == check)


def test_the_set_without_poison_is_publishable(tmp_path, passes):
    report = report_on(tmp_path, honest(), passes)
    assert report.publishable
    assert report.pairs == 240
    assert [finding.check for finding in report.findings if finding.severity == "error"] == []
    # Tokens tell a little, as they should: of two ways to write a comparison one is the right one.
    warned = [finding.check for finding in report.findings if finding.severity == "warning"]
    assert warned in ([], ["shortcut:bag_of_tokens"])


@pytest.mark.parametrize(
    ("poison", "check", "severity"),
    [
        ("duplicate", "duplicate:pair", "error"),
        ("fence", "shortcut:fenced", "error"),
        ("length", "length_ratio", "warning"),
        ("inverted", "inverted", "error"),
        ("unparsable chosen", "parse:chosen", "error"),
        ("unparsable chosen", "both_fail", "error"),
        ("unparsable rejected", "parse:rejected", "warning"),
    ],
)
def test_a_poison_is_named_with_exactly_its_rows(poisoned, poison, check, severity):
    report, rows = poisoned
    assert not report.publishable
    assert found(report, check).severity == severity
    assert set(found(report, check).rows) == rows[poison]


def test_the_length_shortcut_is_an_error_that_names_its_rows_and_those_that_follow_by_chance(poisoned):
    report, rows = poisoned
    finding = found(report, "shortcut:characters")
    assert finding.severity == "error"
    assert finding.interval[0] > 0.6
    # A row whose chosen side is longer by a word is told apart by the same rule: which is why it beats 60 %.
    assert rows["length"] <= set(finding.rows)


def test_benchmark_tasks_are_named_whatever_was_done_to_them(poisoned):
    report, rows = poisoned
    if not rows["verbatim"]:
        pytest.skip(f"BENCHMARKS names no folder with {HUMANEVAL.name}")
    layers = [finding for finding in report.findings if finding.check.startswith("contamination:")]
    errors = {row for finding in layers if finding.severity == "error" for row in finding.rows}
    assert errors == rows["verbatim"] | rows["renamed"] | rows["reworded"]
    assert set(found(report, "contamination:ast").rows) >= rows["renamed"]
    # A prompt of everyday words has no passage of its own: its program gives it away.
    assert len(rows["verbatim"] & set(found(report, "contamination:ngram13").rows)) >= 5
    assert set(found(report, "contamination:ngram10").rows).isdisjoint(rows["renamed"])
    assert "HumanEval" in found(report, "contamination:ast").measures


def test_nothing_else_is_wrong_with_the_poisoned_set(poisoned):
    report, rows = poisoned
    named = {"inverted", "both_fail", "parse:chosen", "duplicate:pair"}
    others = {
        finding.check
        for finding in report.findings
        if finding.severity == "error" and not finding.check.startswith(("shortcut:", "contamination:"))
    }
    assert others == named
    assert rows[""]  # and there are honest rows that none of these names
