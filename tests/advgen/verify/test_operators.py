"""The held-out family: each operator makes its mistake, and shares none with the gate's family."""

import ast

import pytest

from advgen.verify import mutants, operators
from advgen.verify.edits import variants

CASES = [
    ("swapped_arguments", "return pow(a, b)", "pow(b, a)"),
    ("shifted_slice", "return a[1:b]", "a[1:b - 1]"),
    ("shifted_slice", "return a[:]", "a[1:]"),
    ("shifted_index", "return a[b]", "a[b - 1]"),
    ("shifted_range", "return range(a)", "range(1, a)"),
    ("shifted_range", "return range(a, b)", "range(a, b - 1)"),
    (
        "dropped_else",
        "if a:\n        b = 1\n    else:\n        b = 2\n    return b",
        "if a:\n        b = 1\n    return b",
    ),
    ("dropped_guard", "if not a:\n        return 0\n    return b", "(a, b):\n    return b"),
    ("removed_statement", "for x in a:\n        b += x\n    return b", "for x in a:\n        pass"),
    ("initial_value", "n = 0\n    return n + a", "n = -1"),
    ("initial_value", "n = False\n    return n or a", "n = True"),
    ("swapped_operands", "return a < b", "b < a"),
    ("swapped_operands", "return a - b", "b - a"),
    ("negated_part", "return a and b", "a and (not b)"),
    ("dropped_part", "return a or b", "a or False"),
    ("other_method", "return a.strip()", "a.lstrip()"),
    ("other_function", "return min(a)", "max(a)"),
    ("reversed_order", "return sorted(a)", "sorted(a, reverse=True)"),
    ("reversed_order", "return sorted(a, reverse=True)", "sorted(a)"),
    ("forgotten_key", "return max(a, key=len)", "max(a)"),
    ("unwrapped", "return sum(set(a))", "sum(a)"),
    ("other_exit", "for x in a:\n        if x:\n            break\n    return x", "continue"),
    ("early_return", "for x in a:\n        b += x\n    return b", "b += x\n        return b"),
    ("loop_once", "while a > b:\n        a -= b\n    return a", "if a > b:\n        a -= b"),
    ("other_variable", "return a + 1", "return b + 1"),
]


@pytest.mark.parametrize(("operator", "body", "change"), CASES)
def test_each_operator_makes_its_mistake(operator, body, change):
    made = variants(f"def f(a, b):\n    {body}", [getattr(operators, operator)], limit=20)
    assert all(each.operator == operator and compile(each.source, "", "exec") for each in made)
    assert any(change in each.source for each in made), [each.source for each in made]


def test_every_operator_of_the_family_is_tested_and_none_is_the_gates():
    family = {operator.__name__ for operator in operators.FAMILY}
    assert family == {operator for operator, _, _ in CASES}
    assert not family & {operator.__name__ for operator in mutants.FAMILY}


def test_what_the_gate_does_already_is_not_done_again():
    """`range(0, a)` with 1 added to its start is the gate's mutant of that constant."""
    source = "def f(a, b):\n    return [a[i:i + 1] for i in range(0, b)] + a[1:]"
    made = [each.source for each in variants(source, operators.FAMILY, 99)]
    assert not any("0 + 1" in each or "1 + 1:" in each for each in made)
    assert not set(made) & set(mutants.mutants(source, 99))


def test_rare_operators_are_drawn_as_well_as_frequent_ones():
    sums = " + ".join(f"abs(a - {at})" for at in range(30))
    made = variants(
        f"def f(a, b):\n    if not a:\n        return 0\n    return {sums}", operators.FAMILY, limit=8
    )
    assert len(made) == len({each.source for each in made}) == 8
    assert "dropped_guard" in {each.operator for each in made}


def test_the_program_itself_is_left_as_it_is():
    source = "def f(a, b):\n    return a - b"
    before = ast.dump(ast.parse(source))
    assert all(ast.dump(ast.parse(each.source)) != before for each in variants(source, operators.FAMILY, 20))
