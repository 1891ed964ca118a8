"""Features against texts on which they can be counted by hand."""

import pytest

from advgen.hygiene import features
from advgen.hygiene.pairs import Side


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("characters", "abc", 3), ("lines", "a\nb\n", 2), ("tokens", "a_b += 1", 4),
        ("fences", "```\nx\n```\n```\ny\n```", 4), ("fenced", "x", 0), ("fenced", "```\nx\n```", 1),
        ("comment_share", "x = 1 # one", 6 / 11), ("comment_share", "x = 1", 0),
        ("prose", "Sure!\n```python\nx\n```\nBye", 8), ("prose", "x = 1", 0), ("prose", "Sure thing!", None),
        ("docstring", 'def f():\n    """d"""', 1), ("docstring", "def f():\n    return 1", 0),
        ("docstring", "def", None),
        ("type_hints", "def f(a: int, b): return a", 1 / 3), ("type_hints", "def f(a: int) -> int: return a", 1),
        ("type_hints", "x = 1", None), ("blank_lines", "a\n\nb\n \nc", 2 / 5), ("parses", "x =", 0), ("parses", "x", 1),
        ("ends_in_newline", "x\n", 1), ("ends_in_fence", "```\nx\n```\n", 1), ("ends_a_sentence", "I cannot. ", 1),
    ],
)  # fmt: skip
def test_features_measure_what_they_are_called(name, text, value):
    measured = features.FEATURES[name](Side(text))
    assert measured == (value if value is None else pytest.approx(value))
