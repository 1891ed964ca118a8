"""The audit as a whole and its smaller checks: lengths, failures, duplicates, what was run, how it is told."""

import gc
import json
import tracemalloc
from contextlib import closing
from dataclasses import replace

import pytest
from rich.console import Console

from advcore import DataError
from advcore.contract import assertion
from advgen.audit import audit, render
from advgen.audit.diversity import Diversity
from advgen.audit.duplicates import Duplicates
from advgen.audit.lengths import percentile
from advgen.audit.shortcuts import Shortcuts
from advgen.config import GateConfig, SandboxConfig
from advgen.hygiene.pairs import PreferencePair, Side
from advgen.verify import Verifier
from sandbox import Limits, Sandbox


def row(number, chosen="", rejected="", **columns):
    """An honest pair of its own exercise: `f` adds `number`, or takes it away."""
    return {
        "prompt": f"Exercise {number}: write f, which adds {number} to {number * 7 % 97} and then {number * 31 % 89}.",
        "chosen": chosen or f"def f(x):\n    return x + {number}",
        "rejected": rejected or f"def f(x):\n    return x - {number}",
        "exercise_id": f"e{number}", **columns,
    }  # fmt: skip


@pytest.fixture
def findings(tmp_path):
    """A function of rows that gives the audit's findings by check."""

    def run(rows, **options):
        file = tmp_path / "set.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
        found = audit(str(file), **options).findings
        return {finding.check: replace(finding, rows=tuple(finding.rows)) for finding in found}

    return run


@pytest.fixture(scope="module")
def passes():
    with Sandbox(slots=1, limits=Limits(wall_s=2.0, memory_bytes=512 << 20)) as box:

        def run(code, tests, entry_point):
            report = box.check(code, "\n".join(map(assertion, json.loads(tests))), entry_point)
            assert report.status != "sandbox_error"
            return report.passed

        yield run


def test_percentiles_are_values_of_the_set_by_nearest_rank():
    values = [15, 20, 35, 40, 50]
    assert [percentile(values, at) for at in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert percentile([3], 50) == 3


def test_lengths_are_told_by_percentiles_and_far_rows_by_number(findings):
    rows = [row(at) for at in range(1, 9)]
    rows[3] = row(4, chosen="x = 1\n" * 40)
    rows[5] = row(6, rejected="x = 1\n" * 40)
    finding = findings(rows)["length_ratio"]
    assert (finding.severity, finding.rows) == ("warning", (3, 5))
    assert finding.measures["p50"] == 1.0
    assert findings(rows[:3])["length_ratio"].severity == "info"


def test_rows_that_a_trainer_would_cut_are_named_by_an_estimate_or_by_a_tokenizer(findings, tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    made = Tokenizer(WordLevel({"x": 0, "?": 1}, unk_token="?"))
    made.pre_tokenizer = Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    rows = [
        {"prompt": "one two", "chosen": "x " * 10, "rejected": f"{'x' * 400}"},
        {**row(2), "prompt": "p " * 8},
    ]
    estimated = findings(rows, max_tokens=100)["token_length"]
    assert estimated.rows == (0,)  # 2 and 100 tokens
    assert "estimated" in estimated.summary
    exact = findings(rows, max_tokens=11, tokenizer=str(tmp_path))["token_length"]
    assert exact.rows == (0, 1)  # 2 and 10; 8 and 11 words and signs
    assert findings(rows[:1], max_tokens=12, tokenizer=str(tmp_path))["token_length"].rows == ()


def test_a_tokenizer_that_is_not_there_is_one_line(findings, tmp_path):
    with pytest.raises(DataError, match="neither a folder nor a Hub id"):
        findings([row(1)], tokenizer="no such/place/at all")
    with pytest.raises(DataError, match="tokenizer"):
        findings([row(1)], tokenizer=str(tmp_path))


def test_failure_kinds_come_from_the_column_else_from_what_can_be_seen(findings):
    rows = [row(at, failure_kind="wrong_answer") for at in range(1, 8)]
    rows += [row(8), row(9, rejected="def f(:"), row(10, failure_kind="truncated")]
    result = findings(rows)
    assert result["failure_kinds"].measures == {
        "wrong_answer": 0.7, "syntax_error": 0.1, "truncated": 0.1, "unknown": 0.1,
    }  # fmt: skip
    assert result["format_failures"].rows == (8, 9)
    assert "format_failures" not in findings([*rows[:9], row(11)])  # 1 of 10 is not above 10 %


def test_pairs_with_one_program_on_both_sides_are_an_error(findings):
    renamed = "def f(value):\n    # adds\n    return value + 3"
    rows = [row(1), row(2, "no code", "No  code"), row(3, rejected=renamed), row(4, "no code", "nor here")]
    assert findings(rows)["same_sides"].rows == (1, 2)


def test_duplicates_are_told_by_their_kind_and_never_within_an_exercise(findings):
    again = {**row(1), "exercise_id": "other"}
    other_pair = row(1, rejected="def f(x):\n    return 1 - x")
    same_prompt = {**row(9), "prompt": row(2)["prompt"]}
    words = " ".join(f"word{at}" for at in range(60))
    near = [{**row(20 + at), "prompt": f"{words} {end}"} for at, end in enumerate(("ending", "finish"))]
    program = row(30, chosen="def f(argument):\n    return argument + 2")
    result = findings([row(1), row(2), other_pair, again, same_prompt, *near, program])
    kinds = {name: result[f"duplicate:{name}"].rows for name in ("pair", "prompt", "near_prompt", "program")}
    assert kinds == {"pair": (3,), "prompt": (4,), "near_prompt": (6,), "program": (7,)}
    assert result["duplicate:pair"].severity == "error"
    assert result["duplicate:prompt"].severity == "warning"


def test_without_exercise_ids_a_repeated_prompt_is_told(findings):
    rows = [{**row(1), "exercise_id": ""}, {**row(2), "exercise_id": "", "prompt": row(1)["prompt"]}]
    assert findings(rows)["duplicate:prompt"].rows == (1,)


def test_what_contradicts_its_tests_is_named_by_how(findings, passes):
    tests = {"tests": json.dumps([{"call": "f(1)", "expected": "3"}]), "entry_point": "f"}
    right, wrong = "def f(x):\n    return x + 2", "def f(x):\n    return x - 2"
    rows = [
        row(1, right, wrong, **tests), row(2, wrong, right, **tests), row(3, right, "def f(x):\n    return 3", **tests),
        row(4, wrong, "def f(x):\n    return 0", **tests), row(5),
    ]  # fmt: skip
    result = findings(rows, reexecute=passes)
    assert {name: result[name].rows for name in ("inverted", "both_pass", "both_fail", "executed")} == {
        "inverted": (1,), "both_pass": (2,), "both_fail": (3,), "executed": (4,),
    }  # fmt: skip
    assert {result[name].severity for name in ("inverted", "both_pass", "both_fail")} == {"error"}
    assert result["executed"].severity == "warning"


@pytest.mark.parametrize("tests", ["assert f(1) == 2", "[1]", "5", '["assert f(1)"]', '[{"call": "f(1)"}]'])
def test_a_foreign_column_of_tests_is_none_of_ours(findings, tests):
    with Verifier(SandboxConfig(), GateConfig()) as verifier:
        result = findings([row(1, tests=tests)], reexecute=verifier.passes_row)
    assert (result["executed"].rows, result["executed"].summary) == (
        (0,), "0 of 0 pairs that were run hold; 1 carry no tests that can be read",
    )  # fmt: skip


def test_a_failure_by_form_is_known_by_the_word_that_the_verifier_has_for_it(findings):
    rows = [row(at, failure_kind="wrong_name" if at < 4 else "wrong_answer") for at in range(8)]
    assert findings(rows)["format_failures"].rows == (0, 1, 2, 3)


def test_without_a_sandbox_the_columns_are_told_and_that_nothing_was_run(findings):
    rows = [row(1, chosen_source="teacher", student_pass_rate=0.5), row(2, student_pass_rate=1.0)]
    result = findings(rows)
    assert "nothing was run" in result["executed"].summary
    assert "teacher 1" in result["executed"].summary
    assert result["inversion_claimed"].rows == (1,)


def test_a_task_that_was_rewritten_is_known_by_what_it_does(findings, passes, tmp_path):
    benchmark = tmp_path / "Ours.jsonl"
    task = {
        "task_id": "Ours/0", "prompt": "def gap(values):\n    '''Largest difference of neighbours in values.'''\n",
        "entry_point": "gap",
        "canonical_solution": "    return max((abs(a - b) for a, b in zip(values, values[1:])), default=0)\n",
        "test": "def check(candidate):\n    assert candidate([]) == 0\n    assert candidate([1, 5, 2]) == 4\n"
        "    assert candidate([9, 9]) == 0\n    assert candidate([0, -7]) == 7\n",
    }  # fmt: skip
    benchmark.write_text(json.dumps(task))
    rewritten = (
        "def steepest(line):\n    best = 0\n    for at in range(1, len(line)):\n"
        "        step = line[at] - line[at - 1]\n        best = max(best, step, -step)\n    return best"
    )
    rows = [row(1), {**row(2, chosen=rewritten), "prompt": "How steep is the steepest step of a path?"}]
    assert "contamination:behaviour" not in findings(rows, benchmarks=[benchmark])
    result = findings(rows, benchmarks=[benchmark], reexecute=passes)
    assert result["contamination:behaviour"].rows == (1,)
    assert result["contamination:behaviour"].severity == "error"
    assert dict(result["contamination:behaviour"].measures) == {"Ours/0": 1}


def test_a_report_is_json_with_every_row_and_a_text_with_the_first_few(tmp_path):
    rows = [row(at, chosen="def f(:", failure_kind="\x1b[31mred\nline") for at in range(1, 31)]
    file = tmp_path / "set.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    report = audit(str(file))
    read_back = json.loads(json.dumps(report.as_json()))
    broken = next(each for each in read_back["findings"] if each["check"] == "parse:chosen")
    assert broken["rows"] == list(range(30))
    assert (read_back["publishable"], read_back["pairs"]) == (False, 30)
    console = Console(width=200, force_terminal=True, color_system=None, record=True)
    with console.capture() as shown:
        console.print(render(report))
    assert "\x1b" not in shown.get()
    assert "and 18 more" in shown.get()
    assert "not publishable" in shown.get()


@pytest.mark.parametrize("check", [Duplicates, Shortcuts, Diversity])
def test_of_a_sound_pair_little_stays_in_memory(check):
    sides = [(Side(f"x = {number}"), Side(f"y = {number} + 1")) for number in range(1_000)]
    assert all(side.module and side.form for each in sides for side in each)  # parsed before it is measured
    pairs = [
        PreferencePair(row=at, system="", prompt=f"p {at}", chosen=chosen, rejected=rejected)
        for at, (chosen, rejected) in enumerate(sides)
    ]
    tracemalloc.start()
    with closing(check()) as opened:
        held = []
        for part in (pairs[:500], pairs[500:]):  # the first fill the sample of programs
            for pair in part:
                opened.add(pair)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 30 * 500  # bytes


def test_hostile_text_is_measured_like_any_other(findings):
    half = "\ud800 x"
    rows = [
        row(1, half, "`" * 50_000, failure_kind=half, topic=half, tests="[1]"), row(2, "(" * 19_000, "\x00" * 9),
        {**row(3), "prompt": half, "exercise_id": half},
    ]  # fmt: skip
    assert findings(rows)["parse:chosen"].rows == (0, 1)


def test_errors_come_first_and_decide(findings, tmp_path):
    order = [finding.severity for finding in findings([row(1), row(2, "def f(:")]).values()]
    assert order == sorted(order, key=["error", "warning", "info"].index)


def test_a_side_is_what_its_reply_ends_with(findings):
    draft, final = (f"```python\ndef double(x):\n    return {by} * x\n```" for by in (3, 2))
    tests = json.dumps([{"code": "assert double(2) == 4"}])
    chosen = [
        f"Naive:\n{draft}\nFixed:\n{final}",
        f"<think>\n{draft}\nno\n</think>\n{final}",
        f"{final}\nUse it so:\n```python\nprint(double(input()))\n```",
        final.replace("\n```", "\nx = int(input())\nprint(double(x))\n```"),
        f"{final}\nThe other way:\n```python\ndef half(x):\n    return x / 2\n```",
    ]
    rows = [
        row(number, chosen=text, rejected=draft, tests=tests, entry_point="double")
        for number, text in enumerate(chosen)
    ]
    with Verifier(SandboxConfig(wall_s=2.0), GateConfig()) as verifier:
        result = findings(rows, reexecute=verifier.passes_row)
    assert "5 of 5 pairs that were run hold" in result["executed"].summary
    assert not {"same_sides", "both_fail", "inverted"} & result.keys()
