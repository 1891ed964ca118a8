"""ROUGE-L against numbers worked out by hand and against the textbook's table."""

import random

from advcore.rouge import rouge_l, words


def test_rouge_l_by_hand():
    assert rouge_l(words("the cat sat"), words("the cat on the mat")) == 2 * 2 / (3 + 5)
    assert rouge_l(["a"], ["a"]) == 1
    assert rouge_l([], ["a"]) == 0


def test_rouge_l_agrees_with_the_textbooks_table():
    rng = random.Random(0)
    for _ in range(50):
        one, other = (rng.choices("abcdef", k=rng.randint(1, 90)) for _ in range(2))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, left in enumerate(one):
            for j, right in enumerate(other):
                table[i + 1][j + 1] = (
                    table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
                )
        assert rouge_l(one, other) == 2 * table[-1][-1] / (len(one) + len(other))


def test_rouge_l_looks_at_so_many_words_and_no_more():
    assert rouge_l(["a"] * 1_000 + ["b"] * 50_000, ["a"] * 1_000) == 1
