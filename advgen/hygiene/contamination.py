"""Decontamination: rows that hold a benchmark's task word for word, renamed, reworded, or only in what they compute.

Layers, from the literal to the behavioural. All but the last work from hashes, so no benchmark text has to be shipped:

- `substring`: a passage of 50 characters of a prompt or a solution, whatever its case and white space. (50 without
  spaces is what OpenAI looked for: GPT-4 report, arXiv 2303.08774, appendix C.)
- `ngram10`, `ngram13`: that many words of a prompt in a row (DeepSeek-Coder, arXiv 2401.14196; GPT-3, 2005.14165).
- `signature`: the entry point's name with as many parameters; a name of one word, with parameters of the same names.
- `ast`: one of the program's functions is the benchmark's solution, names apart.
- `behaviour`: the benchmark's own tests pass. It finds what is reworded and rewritten, which n-grams do not (arXiv
  2311.04850), but needs the benchmark's files and somewhere to run programs.

What several tasks share, or any exercise could say, is no hit: see `_COMMON`, `_is_specific`. Nothing is removed here.
"""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path

from advcore import DataError
from advcore.rouge import words
from advcore.settings import shipped
from advgen.hygiene.behaviour import Passes, Trials
from advgen.hygiene.items import Hit, Item, Source, Text, parameters, read
from advgen.hygiene.normal import digest, functions, parsed

HASHED = ("substring", "ngram10", "ngram13", "signature", "ast")

ADVISORY = "signature"
"""The layer that alone is no reason to turn a row away: `is_prime` is everybody's name."""

SHIPPED = "data/benchmarks.bin"
"""Of the checkout or the wheel; `python -m advgen.hygiene` makes it."""

_FORMAT = 1
_PASSAGE = 50  # characters that are not white space
_COMMON = 3  # what this many tasks have in common is no task's own
_SPECIFIC = 2  # different words that not every exercise has
_NODES = 15  # of a function's form: `return a + b` has 10, and many authors
_TOKEN = re.compile(r"\w+|[^\w\s]")
_EXERCISE_WORDS = """
a an and any are array arrays as assert at be between by calculate can character characters check complete containing
contains convert count create dictionary digit digits does each element elements else empty equal even example examples
exercise false find first float following for from function get given has have if implement in input integer integers
into is it items its key keys last length list lists lst maximum minimum negative nested no none not number numbers odd
of on only or order otherwise output parameter parameters positive program python remove result return returned returns
same second sequence should single so solution some sort sorted string strings such take takes than that the their them
then there this to true tuple tuples type typing using value values whether which with without word words write you your
zero one two three four five six seven eight nine ten"""
_PYTHON_WORDS = " ".join([*keyword.kwlist, *dir(builtins)])
_GENERIC = frozenset(words(f"{_EXERCISE_WORDS} {_PYTHON_WORDS}"))


@dataclass(frozen=True, slots=True)
class Layer:
    """Whether a layer can run, and if so over what, else why not; for the dataset card."""

    name: str
    runs: bool
    note: str


Marks = Mapping[str, Mapping[int, Hit]]
"""Layer -> hash of a window -> the hit that it is."""


@dataclass(frozen=True, kw_only=True)
class Benchmarks:
    """What rows are held against. Join several with `|`."""

    sources: tuple[Source, ...]
    marks: Marks = field(repr=False)
    items: tuple[Item, ...] = field(default=(), repr=False)

    @classmethod
    def shipped(cls) -> Benchmarks:
        """HumanEval(+) and MBPP(+) as hashes. Raises DataError when the file is damaged."""
        return unpacked(shipped(SHIPPED).read_bytes())

    @classmethod
    def from_files(cls, paths: Iterable[Path]) -> Benchmarks:
        """The benchmarks in JSON Lines files (see `items`). Raises DataError."""
        files = [read(Path(path)) for path in paths]
        found = tuple(item for _, each in files for item in each)
        return cls(sources=tuple(source for source, _ in files), marks=_marks(found), items=found)

    @classmethod
    def known(cls, files: Iterable[Path]) -> Benchmarks:
        """The shipped hashes, and the user's `files` beside them. Raises DataError."""
        paths = list(files)
        return cls.shipped() | cls.from_files(paths) if paths else cls.shipped()

    def __or__(self, other: Benchmarks) -> Benchmarks:
        # A hit that names its item says more than one that does not: the side with files goes last.
        first, last = (other, self) if self.items else (self, other)
        marks = {layer: {**first.marks[layer], **last.marks[layer]} for layer in HASHED}
        sources = tuple(dict.fromkeys(self.sources + other.sources))
        return Benchmarks(sources=sources, marks=marks, items=self.items + other.items)

    @property
    def layers(self) -> list[Layer]:
        """Every layer, in the order of the list above."""
        names = ", ".join(dict.fromkeys(source.benchmark for source in self.sources))
        hashed = [Layer(name, bool(names), names or "no benchmark is given") for name in HASHED]
        tested = ", ".join(self._trials.benchmarks)
        why = "needs benchmark files with tests, and a sandbox"
        return [*hashed, Layer("behaviour", bool(tested), tested or why)]

    def check(self, row: Text, passes: Passes | None = None) -> list[Hit]:
        """Every hit once; `behaviour` only with `passes`, which is asked up to `behaviour.NEAREST` times."""
        found = (self.marks[layer].get(_mark(run)) for layer, run in _windows(row))
        hits = [hit for hit in found if hit]
        if passes:
            hits += self._trials.hits(row, passes)
        return list(dict.fromkeys(hits))

    def told(self, row: Text, passes: Passes | None) -> list[Hit]:
        """Look as `check` does, but run the row's program only where no other layer settles it: of a whole set most
        rows cost nothing then.
        """
        hits = self.check(row)
        settled = any(hit.layer != ADVISORY for hit in hits)
        return self.check(row, passes) if passes and self.items and not settled else hits

    @cached_property
    def _trials(self) -> Trials:
        return Trials(self.items)


def packed(benchmarks: Benchmarks) -> bytes:
    """Sources and marks as one line of JSON and 64-bit integers, little-endian, sorted; items lose their names."""
    rows = sorted(
        (HASHED.index(layer), hit.benchmark, mark)
        for layer, found in benchmarks.marks.items()
        for mark, hit in found.items()
    )
    groups = [(key, [mark for *_, mark in group]) for key, group in groupby(rows, lambda row: row[:2])]
    header = {
        "format": _FORMAT,
        "sources": [asdict(source) for source in benchmarks.sources],
        "marks": [[HASHED[layer], benchmark, len(marks)] for (layer, benchmark), marks in groups],
    }
    numbers = array("q", [mark for _, marks in groups for mark in marks])
    if sys.byteorder == "big":
        numbers.byteswap()
    return json.dumps(header).encode() + b"\n" + numbers.tobytes()


def unpacked(data: bytes) -> Benchmarks:
    """The inverse of `packed`, without items. Raises DataError."""
    try:
        line, _, rest = data.partition(b"\n")
        header, numbers = json.loads(line), array("q", rest)
        if header["format"] != _FORMAT or len(numbers) != sum(count for *_, count in header["marks"]):
            raise ValueError("another format, or cut short")
        sources = tuple(Source(**source) for source in header["sources"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the file of benchmark hashes is damaged: {error}") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    marks: dict[str, dict[int, Hit]] = {layer: {} for layer in HASHED}
    start = 0
    for layer, benchmark, count in header["marks"]:
        marks[layer].update(dict.fromkeys(numbers[start : start + count], Hit(layer, benchmark, "")))
        start += count
    return Benchmarks(sources=sources, marks=marks)


def _marks(found: Iterable[Item]) -> Marks:
    """The windows by which a benchmark's tasks are known: specific ones, and those of one or two tasks only.

    A task that stands in several files under one name is one task, and the first file's.
    """
    owners: defaultdict[tuple[str, int], dict[str, Item]] = defaultdict(dict)
    for item in found:
        for layer, run in _windows(Text(item.prompt, item.code, item.entry_point)):
            if layer in ("signature", "ast") or _is_specific(run):
                owners[layer, _mark(run)].setdefault(item.name.lower(), item)
    marks: dict[str, dict[int, Hit]] = {layer: {} for layer in HASHED}
    for (layer, mark), tasks in owners.items():
        if len(tasks) < _COMMON:
            first = next(iter(tasks.values()))
            marks[layer][mark] = Hit(layer, first.benchmark, first.name)
    return marks


def _windows(row: Text) -> Iterator[tuple[str, Sequence[str]]]:
    """All by which a row could be known, as (layer, run of words)."""
    for text in (row.prompt, row.code):
        for run in _passages(text):
            yield "substring", run
    tokens = words(row.prompt)
    for size in (10, 13):
        for at in range(len(tokens) - size + 1):
            yield f"ngram{size}", tokens[at : at + size]
    if module := parsed(row.code or row.prompt):  # a prompt may be a stub
        if signature := _signature(module, row.entry_point):
            yield "signature", signature
        for mark in functions(module, _NODES).values() if row.code else ():
            yield "ast", [mark]


def _mark(run: Sequence[str]) -> int:
    return digest(" ".join(run))


def _passages(text: str) -> Iterator[Sequence[str]]:
    """From each plain word on, as many tokens as hold 50 characters."""
    tokens = _TOKEN.findall(text.lower())
    end = size = 0
    for start, token in enumerate(tokens):
        while size < _PASSAGE and end < len(tokens):
            size += len(tokens[end])
            end += 1
        if size < _PASSAGE:
            return
        if token.isalnum():
            yield tokens[start:end]
        size -= len(token)


def _signature(module: ast.Module, entry_point: str) -> Sequence[str] | None:
    found = parameters(module, entry_point)
    parts = words(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", entry_point))
    if found is None or not parts or len(entry_point) < 3:
        return None
    names, _ = found
    return ["".join(parts), str(len(names))] if len(parts) > 1 else [*parts, *names]


def _is_specific(run: Sequence[str]) -> bool:
    """Whether it has two different words, or names, that are not every exercise's. Numbers say nothing."""
    parts = {part for token in run for part in words(token) if len(part) > 2 and not part.isdigit()}
    return len(parts - _GENERIC) >= _SPECIFIC
