"""Models that are functions, for `advcore.testing.servers.MockServer`: they play teacher and student of a build.

Each takes the messages and the seed of one request and gives the reply's text.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter


def scripted(messages: list[dict[str, str]], seed: int) -> str:
    """A teacher that knows every request advgen makes by a phrase of its template, and is always right.

    Statements are drawn from a small family by what was asked, so that evolving one gives another.
    """
    text = messages[-1]["content"]
    number = int(hashlib.sha256(text.encode()).hexdigest()[:10], 16) + seed
    if "different subtopics of" in text:
        return "\n".join(f"{at}. scripted subtopic {at}" for at in range(1, 9))
    if "You write statements" in text:
        return _fenced(_statement(number % 9_000_000 + 1_000_000))
    name = re.findall(r"def (\w+)\(", text)[-1]
    offset = int(name.rsplit("_", 1)[1])
    if "show whether an implementation" in text:
        return _fenced(
            "\n".join(f"{name}({values})" for values in ([], [1], [5, -2], [7, 7], [0, 3, 9], [-4], [2, 8]))
        )
    if "function alone, write" in text:
        return _fenced(f"assert {name}([1, 1]) == {2 + offset}\nassert {name}([3]) == 0")
    return _fenced(_solution(name, offset))


class ScriptedStudent:
    """Solves as `scripted` does, but is wrong in three replies of four to each prompt, in three different ways.

    By the count of replies and not by the seed, so that a test knows what it will see.
    """

    def __init__(self) -> None:
        self._replies: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, messages: list[dict[str, str]], seed: int) -> str:
        text = messages[-1]["content"]
        name = re.findall(r"def (\w+)\(", text)[-1]
        offset = int(name.rsplit("_", 1)[1])
        wrong = [
            f"def {name}(values: list[int]) -> int:\n    return sum(values) - {offset}",
            f"def {name}(values: list[int]) -> int:\n    return values[0] + {offset}",
            f"def {name}(values: list[int]) -> int:\n    result = {offset + 1}\n"
            "    for position in range(len(values)):\n        result = result + values[position]\n    return result",
        ]
        with self._lock:
            self._replies[text] += 1
            return _fenced([_solution(name, offset), *wrong][self._replies[text] % 4])


def _statement(offset: int) -> str:
    words = " ".join(hashlib.sha256(f"{offset}-{at}".encode()).hexdigest()[:8] for at in range(30))
    return (
        f"def total_{offset}(values: list[int]) -> int:\n"
        f'    """Add up the values and {offset}; the empty list gives {offset}. Key: {words}.\n\n'
        f'    >>> total_{offset}([1, 2])\n    {3 + offset}\n    """'
    )


def _solution(name: str, offset: int) -> str:
    return (
        f"def {name}(values: list[int]) -> int:\n    result = {offset}\n    for value in values:\n"
        "        result = result + value\n    return result"
    )


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"
