"""Sides of a pair: the program in a text, and its form."""

from advgen.hygiene.pairs import Side


def test_code_is_what_stands_in_the_fence_and_hostile_code_has_no_tree():
    assert Side("Here:\n```python\nx = 1\n```\nDone.").code == "x = 1"
    assert Side("x = 1").module is not None
    for text in ("", "def f(:", "x = " + "(" * 300 + ")" * 300, "x = 1\n" * 20_000):
        assert Side(text).module is None
