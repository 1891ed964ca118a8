"""Rewrites look different and do the same; where that is not sure, they are not made."""

import pytest

from advgen.verify.rewrites import rewrites
from sandbox import Sandbox

BODIES = {
    "inverted_if": "if x > 2:\n        return 1\n    else:\n        return 2",
    "de_morgan": "if x > 2 and y:\n        return 1\n    return 2",
    "mirrored_comparison": "return x < y",
    "unchained_comparison": "return 0 < x <= 3",
    "else_after_exit": "if x > 2:\n        return x\n    x += y\n    return x * 2",
    "named_result": "return x + y",
    "for_as_while": "n = 0\n    for i in range(x):\n        if i == 2:\n            continue\n"
    "        if i == 5:\n            break\n        n += i\n    return n",
    "endless_while": "n = 0\n    while n * n < x:\n        n += 1\n        if n == 7:\n            break\n    return n",
    "comprehension_as_loop": "i = 9\n    n = [i + y for i in range(x) if i % 2 if i > 1]\n    return n, i",
    "spelled_out_assignment": "n = 0\n    for i in range(x):\n        n += i\n    return n",
    "renamed_locals": "n = x + y\n    m = [n for x in range(2)]\n    return m, x",
    "reordered_functions": "return g(x)\n\n\ndef g(x):\n    return x + 1",
    "delegated": "return x * y",
}
INPUTS = [(x, y) for x in range(9) for y in (0, 1, 4)]


@pytest.fixture(scope="module")
def box():
    with Sandbox(slots=1) as made:
        yield made


@pytest.mark.parametrize("name", BODIES)
def test_a_rewrite_gives_what_the_program_gives(box, name):
    source = f"def f(x, y):\n    {BODIES[name]}"
    made = rewrites(source, limit=99)
    assert name in {each.operator for each in made}
    wanted = [output.value for output in box.call(source, "f", INPUTS)]
    assert len({repr(value) for value in wanted}) > 1
    for each in made:
        outputs = box.call(each.source, "f", INPUTS)
        assert [output.value for output in outputs] == wanted, (each.operator, each.source, outputs[0].error)


def operators_of(source):
    return {each.operator for each in rewrites(source, limit=99)}


def test_a_list_is_still_extended_in_place():
    source = "def f(x):\n    y = x\n    y += [1]\n    return x"
    assert "spelled_out_assignment" not in operators_of(source)
    assert "spelled_out_assignment" not in operators_of(
        "def f(x):\n    y = 2\n    y *= x\n    y += x\n    return y"
    )


def test_what_a_closure_keeps_is_not_renamed_and_not_unrolled():
    source = "def f(x):\n    made = [lambda: i for i in range(x)]\n    return [g() for g in made]"
    texts = [each.source for each in rewrites(source, limit=99)]
    assert all("lambda: i for i" in text for text in texts)
    assert "renamed_locals" not in operators_of(source)


def test_a_recursive_function_is_not_made_to_go_twice_as_deep():
    assert "delegated" not in operators_of("def f(x):\n    return f(x - 1) if x else 0")


@pytest.mark.parametrize(
    "source",
    ["class A:\n    x = 1\ndef f(x):\n    return x + 1", "def f(x):\n    n = x + 1\n    return locals()",
     "n = 0\ndef f(x):\n    global n\n    n += x\n    return n + 1"],
)  # fmt: skip
def test_a_program_that_is_not_plain_is_left_alone(source):
    assert rewrites(source, limit=99) == []


def test_functions_that_need_each_other_at_definition_keep_their_order():
    assert "reordered_functions" not in operators_of(
        "def g(x):\n    return x\n\n\ndef f(x, h=g):\n    return h(x)"
    )
