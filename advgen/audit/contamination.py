"""Rows that hold a public benchmark's task, by the layers of `advgen.hygiene.contamination`, each told apart.

The chosen side is what is looked at: what a model is taught. Held: the rows of every hit.
"""

from __future__ import annotations

import ast
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from advgen.audit.execution import Passes
from advgen.audit.report import Finding
from advgen.audit.rows import Pair
from advgen.hygiene.contamination import Benchmarks
from advgen.hygiene.items import Hit, Text

_ADVISORY = "signature"  # many authors give a function of that purpose that name


class Contamination:
    """The check: an error for every layer that hits, a warning where nothing but the signature does.

    HumanEval(+) and MBPP(+) are known by their hashes; `files` of benchmarks add theirs, the names of the tasks, and
    with `passes` the behavioural layer, which costs up to 20 runs a row that no other layer knows.
    """

    def __init__(self, files: Sequence[Path], passes: Passes | None) -> None:
        self._benchmarks = Benchmarks.shipped()
        if files:
            self._benchmarks |= Benchmarks.from_files(files)
        self._passes = passes
        self._rows: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._items: dict[str, Counter[str]] = defaultdict(Counter)
        self._seen = self._clean = 0

    def add(self, pair: Pair) -> None:
        """Hold the row against every benchmark."""
        self._seen += 1
        text = Text(pair.prompt, pair.chosen.code, pair.entry_point or _last_function(pair))
        hits = self._benchmarks.check(text)
        known = any(hit.layer != _ADVISORY for hit in hits)
        if self._passes and self._benchmarks.items and not known:
            hits = self._benchmarks.check(text, self._runs_benchmark)
        self._clean += not hits
        for layer in dict.fromkeys(hit.layer for hit in hits):
            self._rows[layer].append(pair.row)
            self._items[layer].update({_named(hit) for hit in hits if hit.layer == layer})

    def _runs_benchmark(self, code: str, tests: str, entry_point: str) -> bool:
        """A benchmark's tests are the text that a `tests` column would hold as one piece of code."""
        assert self._passes is not None
        return self._passes(code, json.dumps([{"code": tests}]), entry_point)

    def findings(self) -> Iterator[Finding]:
        """One a layer that hits, and one on what was looked for."""
        for layer, rows in self._rows.items():
            items = self._items[layer]
            yield Finding(
                check=f"contamination:{layer}",
                severity="warning" if layer == _ADVISORY else "error",
                summary=f"{len(rows)} rows hold benchmark tasks: {', '.join(sorted(items)[:8])}",
                rows=rows,
                number=len(rows) / self._seen,
                measures=dict(items),
            )
        yield self._looked_for()

    def _looked_for(self) -> Finding:
        layers = [layer for layer in self._benchmarks.layers if layer.name != "behaviour" or self._passes]
        ran = [layer for layer in layers if layer.runs]
        notes = "; ".join(dict.fromkeys(layer.note for layer in ran))
        missing = "" if any(layer.name == "behaviour" for layer in ran) else "; behaviour was not tried"
        names = ", ".join(layer.name for layer in ran)
        return Finding(
            check="contamination",
            severity="info",
            summary=f"{self._clean} rows resemble no task of {notes} ({names}{missing})",
            number=self._clean / self._seen,
        )


def _named(hit: Hit) -> str:
    """A task by its name where a file gave it, else its benchmark."""
    return hit.item or hit.benchmark


def _last_function(pair: Pair) -> str:
    """What a foreign row is most likely about: helpers come first."""
    body = pair.chosen.module.body if pair.chosen.module else []
    return next((node.name for node in reversed(body) if isinstance(node, ast.FunctionDef)), "")
