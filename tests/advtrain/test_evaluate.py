"""pass@1: what becomes of a reply, how passes are counted, and one evaluation of the tiny model."""

import pytest

from advcore import engine
from advcore.engine import names
from advtrain import evaluate
from advtrain.evaluate import Attempt, Task

TASK = Task(
    task_id="T/0",
    entry_point="double",
    stub='import math\n\n\ndef helper(x):\n    return x\n\n\ndef double(x):\n    """Twice x."""\n',
    tests="def check(candidate):\n    assert candidate(2) == helper(4)\n\ncheck(double)\n",
)


def attempts(*statuses):
    return [[Attempt(status=status, finish_reason="stop", completion_tokens=9)] for status in statuses]


DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    "reply",
    [
        f"Sure.\n```text\nno\n```\n```python title=x\n{DOUBLE}```\n```python\nlater = 2\n```\n",
        f"```python\n{DOUBLE}",  # cut short
        f"```python\n{DOUBLE}```\n".replace("\n", "\r\n"),
        DOUBLE,
    ],
)
def test_the_code_of_a_reply_follows_what_stands_above_the_function(reply):
    written = evaluate.program(TASK, reply)
    assert written.rstrip().endswith(f"def helper(x):\n    return x\n\n\n{DOUBLE}".rstrip())
    assert "no\n" not in written
    assert "later" not in written


@pytest.mark.parametrize(
    "reply",
    [
        "```python\ndef double(x):\n    return helper(math.floor(2 * x))\n```",
        "    return 2 * x\n",  # only the body
        "```python\nimport math\n\ndef double(x):\n    return 2 * x\n```",
    ],
)
def test_a_right_reply_passes_in_the_sandbox(reply):
    from sandbox import Sandbox

    with Sandbox(slots=1) as box:
        assert box.check(evaluate.program(TASK, reply), TASK.tests).status == "pass"


def test_a_wrong_reply_fails_in_the_sandbox():
    from sandbox import Sandbox

    with Sandbox(slots=1) as box:
        assert box.check(evaluate.program(TASK, "    return x\n"), TASK.tests).status == "fail"


def test_tasks_are_taken_at_even_distances_and_always_the_same():
    tasks = [Task(task_id=str(n), entry_point="f", stub="", tests="") for n in range(164)]
    assert [task.task_id for task in evaluate.spaced(tasks, 4)] == ["0", "41", "82", "123"]
    assert evaluate.spaced(tasks, 500) == tasks


def test_a_run_that_the_sandbox_lost_is_not_a_fail():
    scored = evaluate.score(attempts("pass", "fail", "sandbox_error", "pass"))
    assert scored["tasks"] == 3
    assert scored["pass@1"] == pytest.approx(2 / 3)
    assert scored["statuses"] == {"pass": 2, "fail": 1, "sandbox_error": 1}


def test_several_samples_count_by_their_share():
    (one,) = attempts("pass")
    (two,) = attempts("timeout")
    assert evaluate.score([[*one, *two], one])["pass@1"] == 0.75


def test_the_interval_takes_tasks_as_its_trials():
    scored = evaluate.score([*attempts(*["pass"] * 5), *attempts(*["fail"] * 5)])
    assert scored["interval"] == pytest.approx((0.2366, 0.7634), abs=1e-4)  # of 5 in 10, Newcombe 1998


def test_the_tiny_model_is_evaluated_end_to_end_and_solves_nothing(tiny):
    draws = [engine.Sampling(temperature=1.0, max_tokens=8, seed=seed) for seed in range(2)]
    result = evaluate.attempt(tiny, [TASK, TASK], draws, "transformers")
    assert [len(tries) for tries in result] == [2, 2]
    assert all(each.status not in ("pass", "sandbox_error") for tries in result for each in tries)
    assert all(0 < each.completion_tokens <= 8 for tries in result for each in tries)


def test_an_adapter_folder_is_evaluated_on_its_base(config, tmp_path):
    from advtrain import run

    run.run(config(), tmp_path / "run")
    adapter = str(tmp_path / "run" / "adapter")
    (tries,) = evaluate.attempt(adapter, [TASK], [engine.Sampling(max_tokens=4)], "auto")
    assert tries[0].status != "pass"
    assert names.identity(adapter) != names.identity(config().model)


FUTURE = "from __future__ import annotations\n"
TRIPLE = DOUBLE.replace("2", "3")


@pytest.mark.parametrize(
    "reply",
    [
        f"First:\n```python\n{TRIPLE}```\nFixed:\n```python\n{DOUBLE}```",
        f"<think>\n```python\n{TRIPLE}```\n</think>\n```python\n{DOUBLE}```",
        f"```python\n{FUTURE}{DOUBLE}```",
        f"```python\n{DOUBLE}n = int(input())\nprint(double(n))\n```",
        "```python\nTWO = []\nTWO.append(2)\n\ndef double(x):\n    return TWO[0] * x\n```",
        "```python\nreturn 2 * x\n```",
        "```python\ndouble = lambda x: 2 * x\n```",
    ],
)
def test_a_reply_is_read_as_the_data_side_reads_it(reply):
    from sandbox import Sandbox

    with Sandbox(slots=1) as box:
        assert evaluate._statuses(box, [TASK], [evaluate.program(TASK, reply)]) == ["pass"]


@pytest.mark.parametrize(
    "reply",
    [
        "", f"<think>\n```python\n{DOUBLE}", "I cannot.", "Sorry", "```python\nprint(double(3))\n```",
        "```python\ndef twice(x):\n    return 2 * x\n```",
    ],
)  # fmt: skip
def test_a_reply_without_the_function_or_its_body_holds_no_program(reply):
    assert evaluate.program(TASK, reply) == ""


def test_a_reply_without_a_program_is_a_fail_that_says_so():
    assert evaluate._statuses(None, [TASK], [""]) == ["unreadable"]
    assert evaluate.score(attempts("unreadable", "pass"))["pass@1"] == 0.5


def test_what_the_stub_has_above_the_function_is_there_for_the_reply():
    above = f"{FUTURE}Row = list\n\n\ndef help(x):\n    return x\n\n\n"
    stub = f'{above}@help\ndef double(x: Row):\n    """See def double."""\n'
    task = Task(task_id="T/1", entry_point="double", stub=stub, tests="")
    assert evaluate.program(task, f"```python\n{DOUBLE}```") == above + DOUBLE
