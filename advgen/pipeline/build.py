"""The one loop that joins the rooms: specs -> exercises -> records -> dataset.

Exercises overlap: while the teacher writes one, the sandbox verifies another and the student attempts a third; a window
of them is open at a time, so that memory hardly grows while they are asked for. All that was paid for is in the
journal and all that was finished in the store: running again on the same folder asks for the rest. A row that fails is
a recorded status; a run whose infrastructure fails too often stops.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from advcore import ConfigError, DataError, TeacherError
from advcore.ask import BudgetExhausted, Journal, LimiterStopped
from advcore.progress import Progress, interruptible, progress
from advcore.runs import read_json, run_folder, sha256_of, write_json
from advgen import audit, curate, parse, prompts, publish, rounds
from advgen.config import MAY_CHANGE, BuildConfig
from advgen.curriculum import signatures, stop_reasons
from advgen.hygiene.contamination import Layer
from advgen.hygiene.duplicates import Pool
from advgen.pipeline import jobs
from advgen.pipeline.exercise import DuplicateGate, Exercise, RoundContext
from advgen.pipeline.funnel import Funnel
from advgen.pipeline.models import Models
from advgen.pipeline.plan import validate
from advgen.pipeline.records import INFRASTRUCTURE, RecordStore, usage_of
from advgen.pipeline.workers import Workers
from advgen.specs import NOTHING, ExerciseSpec, Given, Parent, adversarial_specs, first_specs
from advgen.verify import SandboxUnavailable, Verifier

TEMPLATES = (
    "subtopics", "exercise", "inspired", "program", "describe", "incremental", "opposite", "deceptive", "solve",
    "calls", "asserts", "repair", "more_calls", "correct",
)  # fmt: skip


def build(config: BuildConfig, out: Path, parent: Parent | None, given: Given = NOTHING) -> dict[str, Any]:
    """Build one round into `out` and return its funnel; a finished one is returned as it stands, unless a template
    has changed since. `given` is what the user brings to a first round.

    Raises TeacherError, SandboxUnavailable, ConfigError, DataError.
    """
    validate(config, parent, given)
    origin = sha256_of([parent.pool, parent.margins]) if parent else given.identity
    with run_folder(out, config, MAY_CHANGE, parent=origin):
        return _finished(out) or _built(config, out, parent, given)


def _built(config: BuildConfig, out: Path, parent: Parent | None, given: Given) -> dict[str, Any]:
    with Journal(out / "journal.sqlite") as journal:
        return asyncio.run(_Build(config, out, parent, given, journal).run())


def _finished(out: Path) -> dict[str, Any]:
    """The funnel of a build that has nothing left to do, else {}: rows that failed for want of infrastructure, and
    changed templates, are asked again."""
    funnel: dict[str, Any] = read_json(out / "funnel.json", {})
    if not funnel:
        return {}
    lost = any(status in funnel["turned_away"] for status in INFRASTRUCTURE)
    done = funnel.get("finished") and not lost and funnel["templates"] == templates()
    return funnel if done else {}


def templates() -> dict[str, str]:
    """The hash of every template a build may use."""
    return {name: prompts.template_hash(name) for name in TEMPLATES}


class _Build:
    """The state of one round while it is built."""

    def __init__(
        self, config: BuildConfig, out: Path, parent: Parent | None, given: Given, journal: Journal
    ) -> None:
        self.config, self.out, self.parent, self.given = config, out, parent, given
        self.parents = {row["exercise_id"]: row for row in parent.pool} if parent else {}
        self.round = parent.round + 1 if parent else 0
        self.models, self.journal = Models(config, journal), journal
        self.failures = 0
        self.ended: Exception | None = None

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        specs, draw = self._specs()
        made_by = sha256_of([templates(), _code()])
        with (
            closing(Workers(Verifier, self.config.sandbox, self.config.gate)) as workers,
            closing(RecordStore(self.out / "records.jsonl", made_by)) as store,
        ):
            self.origin = self._origin(await workers.run(jobs.describe))
            layers = await workers.run(jobs.layers, self.config.gate.benchmarks)
            try:
                await self._exercises(specs, workers, store)
            finally:
                await self.models.close()
            if self.ended and not isinstance(self.ended, BudgetExhausted):
                raise self.ended
            self._write_cost(workers, time.monotonic() - started)
            funnel = self._write(store, draw, layers)
        if self.ended:  # what was paid for is in the dataset
            raise self.ended
        return funnel

    def _specs(self) -> tuple[Iterator[ExerciseSpec], dict[str, Any]]:
        if self.parent is None:
            return first_specs(self.config, self.given), {}
        specs, draw = adversarial_specs(self.config, self.parent)
        print(f"draw: {json.dumps(draw)}", file=sys.stderr)
        how = self.config.curriculum
        if "margin" in (how.rule, *how.mix) and not draw["with_margin"]:
            print("draw: no exercise has a margin, so the rule `margin` draws evenly", file=sys.stderr)
        return iter(specs), draw

    def _origin(self, sandbox: str) -> dict[str, Any]:
        config = self.config
        roles = [("teacher", config.teacher), ("student", config.student)]
        roles += [(f"witness {each.model}", each) for each in config.witnesses]
        sampling = {
            role: {"temperature": model.temperature, "top_p": model.top_p, "max_tokens": model.max_tokens}
            for role, model in roles
        }
        provenance = {"templates": templates(), "sampling": sampling, "seed": self.config.seed}
        return {
            "teacher": self.config.teacher.model, "student": self.config.student.model, "sandbox": sandbox,
            "provenance": provenance,
        }  # fmt: skip

    # --- exercises --------------------------------------------------------------------------------------------

    async def _exercises(self, specs: Iterator[ExerciseSpec], workers: Workers, store: RecordStore) -> None:
        """Every spec to its end, a window of them at a time."""
        # Each waits for one model most of the time, so twice what they take keeps all busy.
        window = asyncio.Semaphore(2 * self.models.open_requests)
        with (
            Pool(None) as pool,
            interruptible(self._interrupted),
            progress(f"round {self.round}", self.config.exercises.count) as bar,
        ):
            for name, parent in self.parents.items():
                pool.add(name, parse.outline(parent["stub"]))
            context = RoundContext(
                config=self.config, models=self.models, workers=workers,
                duplicates=DuplicateGate(pool), parents=self.parents, charged=_charged(store),
            )  # fmt: skip
            async with asyncio.TaskGroup() as tasks:
                for spec in self._readable(specs):
                    await window.acquire()
                    if self.ended:
                        return
                    row = store.get(spec.index)
                    done = row and row["status"] not in INFRASTRUCTURE
                    work = (
                        self._again(context, spec, row, bar)
                        if row and done
                        else self._one(context, spec, store, bar)
                    )
                    tasks.create_task(work).add_done_callback(lambda _: window.release())

    def _readable(self, specs: Iterator[ExerciseSpec]) -> Iterator[ExerciseSpec]:
        """The specs up to one that cannot be read: that ends the run."""
        try:
            yield from specs
        except (ConfigError, DataError) as error:
            self._end(error)

    async def _again(
        self, context: RoundContext, spec: ExerciseSpec, row: dict[str, Any], bar: Progress
    ) -> None:
        """An exercise that is in the store: its statement takes its turn, so that later ones are compared as before."""
        if row["stub"] and row["status"] != "duplicate":
            await context.duplicates.duplicate_of(spec.index, row["exercise_id"], parse.outline(row["stub"]))
        else:
            context.duplicates.skip(spec.index)
        bar.advance()

    async def _one(
        self, context: RoundContext, spec: ExerciseSpec, store: RecordStore, bar: Progress
    ) -> None:
        """One exercise; what ends the run lets the others finish what they have in flight."""
        if self.ended:
            return
        try:
            record = await Exercise(context, spec).run()
        except LimiterStopped:
            return
        except (TeacherError, SandboxUnavailable, ConfigError, sqlite3.Error) as error:
            return self._end(error)
        store.add(spec.index, record.row(self.origin))
        self.failures += record.status in INFRASTRUCTURE
        total = self.config.exercises.count
        if self.failures > self.config.max_failure_share * total:
            failed = f"{self.failures} of {total} exercises failed for want of infrastructure"
            self._end(TeacherError(f"{failed}: {record.reason}"))
        bar.advance(note=lambda: self._note(context, bar))

    def _note(self, context: RoundContext, bar: Progress) -> str:
        stages = ", ".join(f"{count} {stage}" for stage, count in context.reached.items())
        return f"{stages}; {self.models.note(bar.done / bar.total)}"

    def _interrupted(self) -> None:
        self._end(TeacherError("stopped; what was asked is stored, run the same command again to go on"))

    def _end(self, error: Exception) -> None:
        """No further request; what is in flight comes home and is stored. The first reason is the one that is told."""
        self.ended = self.ended or error
        self.models.stop()

    # --- the dataset ------------------------------------------------------------------------------------------

    def _write(self, store: RecordStore, draw: dict[str, Any], layers: list[Layer]) -> dict[str, Any]:
        counts = Funnel(self.round, self.config.seed, self.parents, draw)
        dataset, folder = self.out / "dataset", self.parent.folder if self.parent else None
        with (
            closing(curate.Curator(self.config.curation, self.parents.values())) as curator,
            publish.DatasetWriter(dataset, self.round, folder) as writer,
        ):
            for row in store.rows():
                counts.add(row)
                writer.add("raw", row)
            for name, row in curator.curate(store.rows):
                writer.add(name, row)
        config = self.config
        witnesses = [each.model for each in config.witnesses]
        models = {"teacher": config.teacher.model, "student": config.student.model, "witnesses": witnesses}
        funnel = models | {"finished": not self.ended} | counts.as_json(curator.report.pairs)
        funnel |= {
            "curation": curator.report.as_json(),
            "decontamination": [asdict(layer) for layer in layers],
        }
        funnel |= self._watched(counts) | {"templates": templates()}
        funnel["audit"] = self._audited(dataset) if funnel["pairs"] else {}
        before = rounds.read(self.parent.folder) if self.parent else []
        rounds.write(dataset, [*before, funnel])
        publish.write_card(dataset)
        write_json(self.out / "funnel.json", funnel)  # last: it marks the build as finished
        return funnel

    def _watched(self, counts: Funnel) -> dict[str, Any]:
        """Whether another round is worth it."""
        before = self.parent.history if self.parent else []
        stats = counts.stats(self.parent.margins if self.parent else [])
        warnings = [each for each in signatures(stats, before[-1] if before else None) if each.warned]
        return {
            "stats": asdict(stats), "stop_reasons": stop_reasons([*before, stats]),
            "warnings": [asdict(each) for each in warnings],
        }  # fmt: skip

    def _audited(self, dataset: Path) -> dict[str, Any]:
        """The verdict on all pairs so far; what it rests on is in `audit.json`."""
        report = audit.audit(str(dataset))
        write_json(self.out / "audit.json", report.as_json())
        errors = [finding.summary for finding in report.findings if finding.severity == "error"]
        return {"publishable": report.publishable, "errors": errors}

    def _write_cost(self, workers: Workers, seconds: float) -> None:
        busy = {"processes": workers.count, "busy_s": round(workers.busy_s, 1)}
        spent = round(self.journal.spent_usd, 6)
        cost = {"seconds": round(seconds, 1), "spent_usd": spent, "sandbox": busy, **self.models.as_json()}
        write_json(self.out / "cost.json", cost)


def _charged(store: RecordStore) -> set[str]:
    """Topics and parents whose shared requests a finished row bears."""
    rows = (row for row in store.rows() if row["status"] not in INFRASTRUCTURE)
    found = ((usage_of(row), row["topic"], row["parent_id"]) for row in rows)
    return {
        name
        for usage, topic, parent in found
        for purpose, name in (("subtopics", topic), ("rematch", parent))
        if purpose in usage
    }


@functools.cache
def _code() -> str:
    """A hash of all of `advgen`: records are made by it."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
