"""Rows that hold a public benchmark's task, by the layers of `advgen.hygiene.contamination`. Held: the rows of hits."""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from advgen.audit.execution import Passes
from advgen.audit.report import Finding
from advgen.hygiene.contamination import ADVISORY, Benchmarks
from advgen.hygiene.pairs import PreferencePair


class Contamination:
    """The check: an error for every layer that hits, a warning where nothing but the signature does.

    HumanEval(+) and MBPP(+) are known by their hashes; `files` of benchmarks add theirs, the names of the tasks, and
    with `passes` the behavioural layer, which costs up to 20 runs a row that no other layer knows.
    """

    def __init__(self, files: Sequence[Path], passes: Passes | None) -> None:
        self._benchmarks = Benchmarks.known(files)
        self._passes = passes
        self._rows: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._items: dict[str, Counter[str]] = defaultdict(Counter)
        self._seen = self._clean = 0

    def add(self, pair: PreferencePair) -> None:
        """Hold the row against every benchmark."""
        self._seen += 1
        hits = self._benchmarks.told(pair.taught, self._runs_benchmark if self._passes else None)
        self._clean += not hits
        for layer in dict.fromkeys(hit.layer for hit in hits):
            self._rows[layer].append(pair.row)
            self._items[layer].update({hit.item or hit.benchmark for hit in hits if hit.layer == layer})

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
                severity="warning" if layer == ADVISORY else "error",
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
