"""Exact and near copies, and the pool that refuses what it has."""

import contextlib
import os
import random
import sqlite3
from pathlib import Path

import pytest

from advcore import DataError
from advcore.rouge import words
from advgen.hygiene import duplicates
from advgen.hygiene.duplicates import NearIndex, Owners, Pool
from advgen.hygiene.normal import shingles
from advgen.testing import _solution, _statement

VOCABULARY = [f"word{number}" for number in range(2_000)]


def text(rng, length=60):
    return " ".join(rng.choices(VOCABULARY, k=length))


def edited(rng, original, share):
    return " ".join(rng.choice(VOCABULARY) if rng.random() < share else word for word in original.split())


def jaccard(one, other, size):
    ours, theirs = shingles(words(one), size), shingles(words(other), size)
    return len(ours & theirs) / len(ours | theirs)


@pytest.fixture
def rng():
    return random.Random(1)


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


def test_near_copies_are_found_with_the_similarity_they_have(rng):
    originals = [text(rng) for _ in range(300)]
    with NearIndex(None) as index:
        for number, original in enumerate(originals):
            index.add(str(number), original)
        near = [(number, edited(rng, original, 0.02)) for number, original in enumerate(originals)]
        near = [(str(number), copy) for number, copy in near if jaccard(originals[number], copy, 5) >= 0.7]
        found = [dict(index.candidates(copy)).get(name) for name, copy in near]
        assert len(near) > 150
        assert sum(each is not None for each in found) >= 0.98 * len(near)
        errors = [
            abs(estimate - jaccard(originals[int(name)], copy, 5))
            for (name, copy), estimate in zip(near, found, strict=True)
            if estimate is not None
        ]
        assert sum(errors) / len(errors) < 0.04
        assert [index.candidates(text(rng)) for _ in range(100)] == [[]] * 100


def test_candidates_come_best_first(rng):
    original = text(rng)
    with NearIndex(None) as index:
        index.add("rough", original.replace(original.split()[30], "another"))
        index.add("same", original)
        assert [name for name, _ in index.candidates(original)] == ["same", "rough"]
        assert index.candidates(original)[0] == ("same", 1.0)


def test_an_index_survives_reopening_and_holds_what_was_committed(rng, tmp_path):
    kept, lost = text(rng), text(rng)
    with NearIndex(tmp_path / "deep" / "near.sqlite") as index:
        index.add("kept", kept)
        index.commit()
        index.add("lost", lost)
    with NearIndex(tmp_path / "deep" / "near.sqlite") as index:
        assert index.candidates(kept) == [("kept", 1.0)]
        assert index.candidates(lost) == []
        assert len(index) == 1


def test_entries_are_found_before_and_after_their_bands_go_to_disk(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_FRESH_ENTRIES", 50)
    originals = [text(rng) for _ in range(130)]
    for start in (0, 70):
        with NearIndex(tmp_path / "near.sqlite") as index:
            for number, original in enumerate(originals[start : start + 70], start):
                index.add(str(number), original)
            assert all(
                index.candidates(original) == [(str(at), 1.0)] for at, original in enumerate(originals[:70])
            )
            index.commit()
    with NearIndex(tmp_path / "near.sqlite") as index:
        assert [index.candidates(original) for original in originals] == [
            [(str(at), 1.0)] for at in range(130)
        ]
        tables = [f"SELECT count(DISTINCT entry) FROM {table}" for table in ("bands", "fresh")]
        assert [index.db.execute(count).fetchone()[0] for count in tables] == [100, 30]
        index.add("more", text(rng))
        for number in range(20):
            index.add(f"more {number}", text(rng))
        assert [index.db.execute(count).fetchone()[0] for count in tables] == [150, 1]


def test_a_name_is_entered_once(rng):
    first, second = text(rng), text(rng)
    with NearIndex(None) as index:
        index.add("name", first)
        index.add("name", second)
        assert (len(index), index.candidates(second)) == (1, [])
        assert index.candidates(first) == [("name", 1.0)]


def test_a_text_without_words_resembles_nothing():
    with NearIndex(None) as index:
        index.add("empty", "...")
        index.add("blank", "")
        assert index.candidates("!!") == []


def test_a_phrase_that_hundreds_share_does_not_hide_the_copy(rng):
    phrase = text(rng, 20)
    family = [f"{phrase} {text(rng, 25)}" for _ in range(600)]
    with NearIndex(None, shingle=2, rows=3) as index:
        for number, member in enumerate(family):
            index.add(str(number), member)
        assert all(index.candidates(member)[0] == (str(number), 1.0) for number, member in enumerate(family))
        assert len(index.candidates(phrase)) <= 50


def test_a_file_that_is_no_such_index_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database " * 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE t (x)")
    with NearIndex(tmp_path / "pairs", shingle=2):
        pass
    for name in ("text", "other", "pairs"):
        with pytest.raises(DataError, match="near copies"):
            NearIndex(tmp_path / name)


def test_the_pool_says_which_entry_is_repeated_and_why(rng, tmp_path):
    statement, other = text(rng), text(rng)
    reworded = edited(rng, statement, 0.2)
    code = "def add(one, two):\n    return one * 3 + two"
    with Pool(tmp_path / "pool.sqlite") as pool:
        assert pool.twin(statement, code) is None
        pool.add("first", statement, code)
        pool.commit()
    with Pool(tmp_path / "pool.sqlite") as pool:
        assert pool.twin(other) is None
        assert pool.twin(other, "def plus(a, b):\n    return a * 3 + b") == ("first", "fingerprint", 1.0)
        assert pool.twin(other, "def plus(a, b):\n    return a * 4 + b") is None
        assert pool.twin(statement.upper()) == ("first", "minhash", 1.0)
        name, why, score = pool.twin(reworded)
        assert (name, why) == ("first", "rouge_l")
        assert 0.7 < score < 0.9


def test_a_solution_that_does_not_parse_is_nobodys_twin(rng):
    with Pool(None) as pool:
        pool.add("broken", text(rng), "def f(:")
        pool.add("none", text(rng))
        assert pool.twin(text(rng), "def g(:") is None
        assert pool.twin(text(rng)) is None


def test_the_pool_finds_most_rewordings_where_words_change_one_by_one(rng):
    originals = [text(rng) for _ in range(200)]
    with Pool(None) as pool:
        for number, original in enumerate(originals):
            pool.add(str(number), original)
        found = [pool.twin(edited(rng, original, 0.15)) for original in originals]
        assert sum(twin is not None and twin[0] == str(number) for number, twin in enumerate(found)) >= 185


def test_a_family_of_statements_from_one_template_is_not_one_exercise():
    with Pool(None) as pool:
        for number in range(1_000, 1_500):
            entry = _statement(number), _solution(f"total_{number}", number)
            assert pool.twin(*entry) is None
            pool.add(str(number), *entry)
        assert pool.twin(_statement(1_234)) == ("1234", "minhash", 1.0)
        assert len(pool) == 500
