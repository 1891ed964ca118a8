"""What was there before: exercises, solutions and rows, told by text, by program, nearly, or in other words.

Each class answers for one kind of thing and keeps what it has seen on disk. Nothing here decides what is kept: the
gates of a build and the audit of a finished set ask the same questions.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from advcore.near_copies import NearIndex, nearest_copy
from advcore.rouge import rouge_l, words
from advgen.hygiene.normal import digest, fingerprint, squeezed
from advgen.hygiene.pairs import PreferencePair, Side

REWORDED = 0.7
"""ROUGE-L above which a statement is another's rewording. Source: Lion's filter, arXiv 2305.12870."""

# ROUGE-L is worth computing from here: statements reworded word by word down to 0.7 have 0.3 in the mean, others 0.01.
_POOL_FLOOR = 0.15

_OWNERS = """
PRAGMA cache_size = -1024;
CREATE TABLE owners (text INTEGER PRIMARY KEY, owner TEXT NOT NULL);"""
_POOL = """
CREATE TABLE IF NOT EXISTS pool (name TEXT PRIMARY KEY, words TEXT NOT NULL, fingerprint TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pool_fingerprint ON pool (fingerprint) WHERE fingerprint != '';"""


class Owners(contextlib.AbstractContextManager["Owners"]):
    """Who had a text first, by kinds of text. In a file without a name that goes with it: in memory are a few pages.

    Texts are known by `digest`: among a million, any two are taken for one with probability 3e-8.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.executescript(_OWNERS)

    def get(self, kind: str, text: str) -> str | None:
        """The owner of `text`; None when nobody had it."""
        query = "SELECT owner FROM owners WHERE text = ?"
        found = self._db.execute(query, (digest(f"{kind} {text}"),)).fetchone()
        return found[0] if found else None

    def add(self, kind: str, text: str, owner: str = "") -> str | None:
        """The same, and where nobody had it `owner` does from now on."""
        earlier = self.get(kind, text)
        if earlier is None:
            self._db.execute("INSERT INTO owners VALUES (?, ?)", (digest(f"{kind} {text}"), owner))
        return earlier

    def close(self) -> None:
        """Forget all."""
        self._db.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool(contextlib.AbstractContextManager["Pool"]):
    """The statements there are, asked before another one is let in. In the file `path`, or in one of its own for None.

    Where words are changed everywhere no run of five survives, so candidates are found by pairs of words, in bands of
    three: of statements reworded word by word, 0.68 at ROUGE-L 0.7, 0.86 at 0.75 and 0.96 at 0.8.
    """

    def __init__(self, path: Path | None) -> None:
        self._near = NearIndex(path, shingle=2, rows=3)
        self._db = self._near.db
        self._db.executescript(_POOL)

    def duplicate_of(self, statement_text: str, code: str = "") -> tuple[str, str, float] | None:
        """(id, why, score) of the entry that this one repeats, or None.

        `why` is "fingerprint" (the reference solutions are one program, score 1), "minhash" (score: estimated Jaccard
        similarity of pairs of words, from 0.7) or "rouge_l" (score: ROUGE-L, above 0.7).
        """
        mark = fingerprint(code) if code else ""
        same = self._db.execute("SELECT name FROM pool WHERE fingerprint = ? AND fingerprint != ''", (mark,))
        if found := same.fetchone():
            return found[0], "fingerprint", 1.0
        candidates = self._near.candidates(statement_text)
        if copy := nearest_copy(candidates):
            return copy[0], "minhash", copy[1]
        tokens = words(statement_text)
        scores = [
            (rouge_l(tokens, self._words(name)), name) for name, near in candidates if near >= _POOL_FLOOR
        ]
        score, name = max(scores, default=(0.0, ""))
        return (name, "rouge_l", score) if score > REWORDED else None

    def add(self, id: str, statement_text: str, code: str = "") -> None:
        """Enter an exercise; an id that is there already stays as it is."""
        row = (id, " ".join(words(statement_text)), fingerprint(code) if code else "")
        self._db.execute("INSERT OR IGNORE INTO pool VALUES (?, ?, ?)", row)
        self._near.add(id, statement_text)

    def commit(self) -> None:
        """Make durable what was added; what was not is gone after `close`."""
        self._near.commit()

    def close(self) -> None:
        """Close the file."""
        self._near.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._near)

    def _words(self, name: str) -> list[str]:
        row = self._db.execute("SELECT words FROM pool WHERE name = ?", (name,)).fetchone()
        return str(row[0]).split()


class Solutions(contextlib.AbstractContextManager["Solutions"]):
    """The programs that solve the exercises there are: an exercise whose program repeats one of them adds nothing."""

    def __init__(self) -> None:
        self._owners, self._near = Owners(), NearIndex(None)

    def repeats(self, id: str, code: str) -> str:
        """Say what `code` repeats: "solution" (one program but for names and layout) or "near_solution"; "" where it
        is new, and it is entered then.
        """
        mark = fingerprint(code)
        if self._owners.get("solution", mark) is not None:
            return "solution"
        if self._near.copy_of(code):
            return "near_solution"
        self._owners.add("solution", mark)
        self._near.add(id, code)
        return ""

    def close(self) -> None:
        """Give up what is on disk."""
        self._near.close()
        self._owners.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Rows(contextlib.AbstractContextManager["Rows"]):
    """The rows of a preference set, each asked what an earlier one said already.

    Several pairs of one exercise share its statement by design and are no duplicates of one another; without exercise
    ids a repeated prompt is told, since nobody can know. On disk: three hashes a row, and of every exercise a MinHash
    signature and its bands (about 3 kB).
    """

    def __init__(self) -> None:
        self._owners, self._near = Owners(), NearIndex(None)

    def repeats(self, pair: PreferencePair) -> str:
        """Say what of `pair` was there, the gravest only: "pair" (all of it), "prompt", "near_prompt" or "program"
        (the chosen one, but for names and layout), the last three in another exercise; "" where nothing was.
        """
        prompt = squeezed(pair.prompt)
        whole = "\0".join((prompt, squeezed(pair.chosen.text), squeezed(pair.rejected.text)))
        same_prompt = self._had("prompt", prompt, pair.exercise_id)
        same_program = bool(pair.chosen.form) and self._had("program", pair.chosen.form, pair.group)
        if self._had("pair", whole, ""):
            return "pair"
        if same_prompt:
            return "prompt"
        if self._is_near(pair):
            return "near_prompt"
        return "program" if same_program else ""

    def _had(self, kind: str, text: str, owner: str) -> bool:
        """Whether an earlier row of another owner has `text`; rows without an owner have none in common."""
        earlier = self._owners.add(kind, text, owner)
        return earlier is not None and (earlier != owner or not owner)

    def _is_near(self, pair: PreferencePair) -> bool:
        """Whether the exercise's statement is a near copy of an earlier one; looked for once an exercise."""
        near = self._owners.get("near", pair.group)
        if near is None:
            copy = self._near.copy_of(pair.prompt)
            near = copy[0] if copy else ""
            self._owners.add("near", pair.group, near)
            self._near.add(pair.group, pair.prompt)
        return near != ""

    def close(self) -> None:
        """Give up what is on disk."""
        self._near.close()
        self._owners.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def alike(one: Side, other: Side) -> bool:
    """Whether two answers are one text, or one program but for its names and layout."""
    return (one.form != "" and one.form == other.form) or squeezed(one.text) == squeezed(other.text)
