"""Near copies by MinHash: what is found, how near it is said to be, and what a file of them holds."""

import contextlib
import sqlite3

import pytest
from generated_texts import edited, text

from advcore import DataError, near_copies
from advcore.near_copies import NearIndex, shingles
from advcore.rouge import words


def jaccard(one, other, size):
    ours, theirs = shingles(words(one), size), shingles(words(other), size)
    return len(ours & theirs) / len(ours | theirs)


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
    monkeypatch.setattr(near_copies, "_FRESH_ENTRIES", 50)
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


def test_shingles_are_runs_and_a_short_text_is_one():
    assert shingles(["a", "b", "c", "d"], 3) == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles(["a"], 3) == {("a",)}
    assert shingles([], 3) == set()
