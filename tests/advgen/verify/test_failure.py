"""Failure kinds, each from a real run."""

import pickle

import pytest

from advgen import parse
from advgen.config import GateConfig, SandboxConfig
from advgen.verify import Verifier

EXERCISE = parse.statement(
    'def join(left: str, right: str) -> str:\n    """`left` and `right` with a dash between them, whatever they are."""'
)
TESTS = [
    {"call": "join('a', 'b')", "expected": "'a-b'", "source": "agreement"},
    {"call": "join('', '')", "expected": "'-'", "source": "agreement"},
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(SandboxConfig(wall_s=1.0, memory_bytes=1 << 28), GateConfig()) as made:
        yield made


HEAD = "def join(left, right):\n    "


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("I would rather not.", "no_code"),
        ("```python\nprint('a-b')\n```", "no_code"),
        (f"```python\n{HEAD}return left", "truncated"),
        (f"```python\n{HEAD}return left +\n```", "syntax"),
        (f"```python\n{HEAD}pass\nreturn 5\n```", "syntax"),
        ("```python\ndef joined(left, right):\n    return left\n```", "wrong_name"),
        ("```python\ndef join(left):\n    return left\n```", "wrong_signature"),
        ("```python\ndef join(left, right, dash):\n    return left\n```", "wrong_signature"),
        (f"```python\n{HEAD}return left + 1\n```", "exception:TypeError"),
        (f"```python\n{HEAD}return join(left)\n```", "exception:TypeError"),
        (f"```python\nclass Mine(ValueError): pass\n{HEAD}raise Mine('no')\n```", "exception:Exception"),
        (f"```python\nimport pandas\n{HEAD}return left\n```", "exception:ModuleNotFoundError"),
        (f"```python\n{HEAD}return left + right\n```", "wrong_answer"),
        (f"```python\n{HEAD}while True: pass\n```", "timeout"),
        (f"```python\n{HEAD}return ' ' * 10**10\n```", "memory"),
        (f"```python\n{HEAD}print('x' * 10**6)\n```", "output_limit"),
        (f"```python\nimport os\n{HEAD}os.abort()\n```", "crash"),
        (f"```python\nimport sys\n{HEAD}sys.exit(0)\n```", "exited"),
    ],
)
def test_an_attempt_fails_in_the_words_of_the_field(verifier, reply, kind):
    attempt = verifier.attempt(reply, EXERCISE, TESTS)
    assert (attempt.passed, attempt.failure_kind) == (False, kind)
    assert pickle.loads(pickle.dumps(attempt)) == attempt


def test_a_wrong_answer_says_which_test_what_was_expected_and_what_came(verifier):
    attempt = verifier.attempt(f"```python\n{HEAD}return left + '-' + (right or '?')\n```", EXERCISE, TESTS)
    assert attempt.failed_test == 1
    assert attempt.detail == "test 1, join('', ''): expected '-', got '-?'"


def test_of_a_wrong_float_its_test_is_told(verifier):
    tests = [{"call": "join('a', 'b')", "expected": "2.5", "source": "agreement"}]
    attempt = verifier.attempt(f"```python\n{HEAD}return 3.0\n```", EXERCISE, tests)
    assert attempt.detail == "test 0, join('a', 'b'): expected 2.5, got another value"
