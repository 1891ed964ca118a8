"""`advgen consensus` on a benchmark of three items, one of which every solution of the teacher misreads alike.

The student reads all three as they are meant, and is wrong in another way every other time.
"""

import itertools
import json
import re

import pytest

from advcore.testing.servers import MockServer
from advgen import cli

RULES = {
    "shelf_gap": ("Return how many whole shelves of three places the books need.", "-(-books // 3)"),
    "toll_due": (
        "Return the toll in coins: two an axle, and five more above four.",
        "2 * axles + 5 * (axles > 4)",
    ),
    "frost_days": ("Return the days of frost in a row of so many, from the second on.", "max(days - 1, 0)"),
}
TURNS = {name: itertools.count() for name in RULES}
MISREAD = {**{name: rule for name, (_, rule) in RULES.items()}, "toll_due": "2 * axles + 5 * (axles >= 4)"}


def item(name):
    text, rule = RULES[name]
    argument = re.search(r"books|axles|days", rule)[0]
    values = {number: eval(rule, {argument: number, "max": max}) for number in range(8)}
    return {
        "task_id": f"tiny/{name}", "entry_point": name, "canonical_solution": f"    return {rule}\n",
        "prompt": f'def {name}({argument}: int) -> int:\n    """{text}"""\n',
        "test": "def check(candidate):\n"
        + "".join(f"    assert candidate({number}) == {value}\n" for number, value in values.items())
        + f"\ncheck({name})",
    }  # fmt: skip


def teacher(messages, seed):
    text = messages[-1]["content"]
    name, argument = re.findall(r"def (\w+)\((\w+)", text)[-1]
    if "a few typical ones" in text:
        return "\n".join(f"{name}({number})" for number in range(9))
    if "function alone, write" in text:
        return "none"
    variants = (f"return {MISREAD[name]}", f"answer = {MISREAD[name]}\n    return answer")
    return f"```python\ndef {name}({argument}: int) -> int:\n    {variants[seed % 2]}\n```"


def student(messages, seed):
    name, argument = re.findall(r"(\w+)\((\w+): int\)", messages[-1]["content"])[-1]
    rule = RULES[name][1] if next(TURNS[name]) % 2 else f"{argument} + 1"
    return f"```python\ndef {name}({argument}):\n    return {rule} \n```"  # with a blank, as models write


@pytest.fixture
def measured(tmp_path, capfd):
    """Runs the command with a teacher; gives its exit code, what it printed, and the requests so far."""
    file = tmp_path / "tiny.jsonl"
    file.write_text("".join(json.dumps(item(name)) + "\n" for name in RULES))

    with MockServer(teacher) as server, MockServer(student) as pupil:
        (tmp_path / "build.toml").write_text(
            f'[teacher]\nmodel = "openai/teacher"\napi_base = "{server.api_base}"\n'
            f'[student]\nmodel = "openai/student"\napi_base = "{pupil.api_base}"\n'
            "[exercises]\nsolutions = 3\n[attempts]\ncount = 4\n"
            "[curation]\nmin_p_wrong = 0.0\nmin_p_true = 0.0\n[sandbox]\nwall_s = 2.0\n"
        )

        def call(*arguments, benchmark=file):
            command = [
                "consensus",
                tmp_path / "build.toml",
                "--benchmark",
                benchmark,
                "--out",
                tmp_path / "run",
            ]
            code = cli.main(list(map(str, [*command, *arguments])))
            return code, capfd.readouterr(), len(server.requests) + len(pupil.requests)

        yield call


def test_a_misreading_that_all_solutions_share_is_seen_in_suites_references_and_pairs(tmp_path, measured):
    code, said, _ = measured()
    summary = json.loads(said.out)
    assert (code, summary["items"], summary["kept"], summary["statuses"]) == (0, 3, 3, {"kept": 3})
    for name in ("wrong_suites", "wrong_references"):
        low, high = summary[name]["interval"]
        assert (summary[name]["count"], summary[name]["share"]) == (1, 1 / 3)
        assert 0 <= low < 1 / 3 < high <= 1
    pairs = summary["pairs"]
    # of toll_due, what is right may be rejected as well
    assert (pairs["exercises"], pairs["pairs"], pairs["candidates"]) == (3, 3, 4)
    counts = {name: pairs[name]["count"] for name in ("inverted", "chosen_fails", "on_wrong_suite", "true")}
    assert counts == {"inverted": 0.5, "chosen_fails": 1, "on_wrong_suite": 1, "true": 2}
    stored = json.loads((tmp_path / "run" / "consensus.json").read_text())
    rates = {each["item"]: (each["suite_right"], each["chosen_right"], each["pass_rate"], each["true_pass_rate"])
             for each in stored["verdicts"]}  # fmt: skip
    assert rates == {
        "tiny/shelf_gap": (True, True, 0.5, 0.5), "tiny/toll_due": (False, False, 0.0, 0.5),
        "tiny/frost_days": (True, True, 0.5, 0.5),
    }  # fmt: skip


def test_run_again_it_asks_nothing_and_says_the_same(measured):
    first = measured()
    again = measured()
    assert first[2] == 3 * (3 + 1 + 1 + 4)
    assert (again[0], again[1].out, again[2]) == (0, first[1].out, first[2])


def test_a_limit_takes_items_evenly_and_is_part_of_the_run(measured):
    code, said, asked = measured("--limit", 1)
    assert (code, json.loads(said.out)["items"], asked) == (0, 1, 9)
    code, said, asked = measured("--limit", 2)
    assert (code, said.err.count("\n"), asked) == (2, 1, 9)
    assert "holds a run with another items" in said.err


def test_a_benchmark_without_solutions_and_tests_is_one_line(tmp_path, measured):
    bare = tmp_path / "bare.jsonl"
    bare.write_text(json.dumps({"prompt": item("toll_due")["prompt"]}) + "\n")
    code, said, asked = measured(benchmark=bare)
    assert (code, asked, said.err.count("\n")) == (2, 0, 1)
    assert "has no item with a solution, tests and an entry point" in said.err
