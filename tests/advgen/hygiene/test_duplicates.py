"""What was there before: texts by their owners, and the pool that refuses the exercises it has."""

import os
from pathlib import Path

from generated_texts import edited, text

from advgen.hygiene.duplicates import Owners, Pool, Solutions
from advgen.testing import _solution, _statement


def test_a_text_belongs_to_the_first_that_had_it_in_each_kind_of_its_own():
    with Owners() as owners:
        assert owners.get("program", "text") is None
        assert [owners.add("program", "text", name) for name in ("", "second", "third")] == [None, "", ""]
        assert owners.add("prompt", "text", "other") is None
        assert (owners.get("program", "text"), owners.get("prompt", "text")) == ("", "other")
        assert owners.get("program", "half a character: \ud800") is None


def test_owners_of_many_texts_are_on_disk_and_all_are_found():
    with Owners() as owners:
        before = resident_bytes()
        for number in range(100_000):
            owners.add("text", str(number), f"owner {number}")
        assert resident_bytes() - before < 1_500_000  # all of them are 3,000,000
        found = [owners.get("text", str(number)) for number in (0, 54_321, 99_999, 100_000)]
        assert found == ["owner 0", "owner 54321", "owner 99999", None]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_pool_says_which_entry_is_repeated_and_why(rng, tmp_path):
    statement, other = text(rng), text(rng)
    reworded = edited(rng, statement, 0.2)
    code = "def add(one, two):\n    return one * 3 + two"
    with Pool(tmp_path / "pool.sqlite") as pool:
        assert pool.duplicate_of(statement, code) is None
        pool.add("first", statement, code)
        pool.commit()
    with Pool(tmp_path / "pool.sqlite") as pool:
        assert pool.duplicate_of(other) is None
        assert pool.duplicate_of(other, "def plus(a, b):\n    return a * 3 + b") == (
            "first",
            "fingerprint",
            1.0,
        )
        assert pool.duplicate_of(other, "def plus(a, b):\n    return a * 4 + b") is None
        assert pool.duplicate_of(statement.upper()) == ("first", "minhash", 1.0)
        name, why, score = pool.duplicate_of(reworded)
        assert (name, why) == ("first", "rouge_l")
        assert 0.7 < score < 0.9


def test_a_solution_that_does_not_parse_is_nobodys_duplicate(rng):
    with Pool(None) as pool:
        pool.add("broken", text(rng), "def f(:")
        pool.add("none", text(rng))
        assert pool.duplicate_of(text(rng), "def g(:") is None
        assert pool.duplicate_of(text(rng)) is None


def test_the_pool_finds_most_rewordings_where_words_change_one_by_one(rng):
    originals = [text(rng) for _ in range(200)]
    with Pool(None) as pool:
        for number, original in enumerate(originals):
            pool.add(str(number), original)
        found = [pool.duplicate_of(edited(rng, original, 0.15)) for original in originals]
        assert (
            sum(
                duplicate is not None and duplicate[0] == str(number)
                for number, duplicate in enumerate(found)
            )
            >= 185
        )


def test_a_family_of_statements_from_one_template_is_not_one_exercise():
    with Pool(None) as pool:
        for number in range(1_000, 1_500):
            entry = _statement(number), _solution(f"total_{number}", number)
            assert pool.duplicate_of(*entry) is None
            pool.add(str(number), *entry)
        assert pool.duplicate_of(_statement(1_234)) == ("1234", "minhash", 1.0)
        assert len(pool) == 500


def test_a_solution_repeats_an_earlier_one_by_its_form_or_nearly_by_its_words():
    steps = "".join(f"    total = total * {number} + values[{number}]\n" for number in range(60))
    code = f"def f(values):\n    total = 0\n{steps}    return total"
    with Solutions() as solutions:
        assert solutions.repeats("first", code) == ""
        assert solutions.repeats("renamed", code.replace("total", "result")) == "solution"
        assert solutions.repeats("near", code.replace("values[59]", "values[7]")) == "near_solution"
        assert solutions.repeats("other", "def g(values):\n    return values[::-1]") == ""
