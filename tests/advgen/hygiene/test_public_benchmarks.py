"""Decontamination against HumanEval(+) and MBPP(+) themselves. BENCHMARKS names the folder they are in."""

import ast
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from advcore.rouge import words
from advcore.settings import shipped
from advgen.hygiene.contamination import SHIPPED, Benchmarks, packed
from advgen.hygiene.items import Text, read
from advgen.parse import tree
from sandbox import Limits, Sandbox

FOLDER = Path(os.environ.get("BENCHMARKS", ""))
NAMES = ("HumanEval.jsonl.gz", "HumanEvalPlus-v0.1.10.jsonl.gz", "mbpp.jsonl", "MbppPlus-v0.2.0.jsonl.gz")


def file(name):
    if not os.environ.get("BENCHMARKS") or not (FOLDER / name).exists():
        pytest.skip(f"BENCHMARKS names no folder with {name}")
    return FOLDER / name


def rows_of(name):
    with file(name).open() as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def hashes():
    return Benchmarks.shipped()


class Renamed(ast.NodeTransformer):
    """Other names for all that a program binds; annotations and docstrings dropped."""

    def __init__(self, module):
        bound = [
            getattr(node, "arg", None) or getattr(node, "name", None) or getattr(node, "id", None)
            for node in ast.walk(module)
            if isinstance(node, ast.arg | ast.FunctionDef)
            or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        ]
        self.names = {name: f"thing{at}" for at, name in enumerate(dict.fromkeys(bound))}

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.names[node.arg])

    def visit_FunctionDef(self, node):
        node.name, node.returns = self.names[node.name], None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)


def renamed(item, prompt=""):
    module = tree(item.code)
    renaming = Renamed(module)
    code = ast.unparse(ast.fix_missing_locations(renaming.visit(module)))
    return Text(prompt, code, renaming.names[item.entry_point])


def test_the_shipped_hashes_are_what_the_command_makes_of_these_files():
    assert packed(Benchmarks.from_files([file(name) for name in NAMES])) == shipped(SHIPPED).read_bytes()
    assert shipped(SHIPPED).stat().st_size < 500_000


@pytest.mark.parametrize(("name", "missed"), list(zip(NAMES, (0, 0, 0, 1), strict=True)))
def test_items_word_for_word_are_hit(hashes, name, missed):
    _, items = read(file(name))
    rows = [Text(item.prompt, item.code, item.entry_point) for item in items]
    assert sum(not hashes.check(row) for row in rows) <= missed


def test_humaneval_under_other_names_is_known_by_its_form(hashes):
    _, items = read(file(NAMES[0]))
    layers = [{hit.layer for hit in hashes.check(renamed(item))} for item in items]
    assert sum("ast" in found for found in layers) >= 145
    assert sum("signature" in found for found in layers) == 0


def test_reworded_rewritten_and_renamed_it_is_known_by_what_it_does():
    benchmarks = Benchmarks.from_files([file(NAMES[0])])
    _, items = read(file(NAMES[1]))
    rng = random.Random(0)
    sample = rng.sample(items, 5)
    found = 0
    with Sandbox(1, Limits(wall_s=2.0)) as box:
        for item in sample:  # EvalPlus's own solution, half of the prompt's words in any order
            tokens = words(item.prompt)
            row = renamed(item, " ".join(rng.sample(tokens, len(tokens) // 2)))
            assert not {"substring", "ngram10", "ngram13", "signature"} & {
                hit.layer for hit in benchmarks.check(row)
            }
            hits = benchmarks.check(row, lambda code, tests, name: box.check(code, tests, name).passed)
            found += item.name in {hit.item for hit in hits}
    assert found >= 4


def test_unrelated_programs_are_hit_by_name_at_most(hashes):
    functions = rows_of("thealgorithms_python_functions.jsonl")[::2]
    exercises = rows_of("exercism_python_practice.jsonl")
    rows = [Text(f"{row['signature']}\n{row['docstring']}", row["code"], row["name"]) for row in functions]
    rows += [Text(row["instructions"], "\n".join(row["example"].values()), "") for row in exercises]
    found = Counter(layer for row in rows for layer in {hit.layer for hit in hashes.check(row)})
    assert len(rows) == 1_110
    assert found["substring"] + found["ngram10"] + found["ngram13"] + found["ast"] <= 5
    assert found["signature"] <= 45
