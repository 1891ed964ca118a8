"""How often agreement is wrong: the teacher's part of a build on a benchmark's statements, whose answers are known.

Of each statement that the gates keep, the benchmark's own solution is put to our tests, and our reference solution to
the benchmark's. No student, no novelty gate, no dataset: what comes out is an error rate.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advcore import DataError, TeacherError
from advcore.runs import interruptible, open_run, progress, write_json
from advcore.settings import resolved
from advcore.stats import wilson
from advgen import parse
from advgen.config import MAY_CHANGE, BuildConfig
from advgen.hygiene import items
from advgen.hygiene.duplicates import Pool
from advgen.hygiene.items import Item
from advgen.journal import Journal
from advgen.pipeline import jobs
from advgen.pipeline.exercise import Exercise, Turnstile, Workshop
from advgen.pipeline.workers import WorkerLost, Workers
from advgen.seeds import Seed
from advgen.teacher import Budget, ReplyError, Teacher, check_model, note, together
from advgen.teacher.flow import FlowStopped
from advgen.verify import Prover, SandboxBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one statement. The two judgements are None where it was not kept."""

    item: str
    status: str
    canonical_passes: bool | None = None
    """The benchmark's solution passes our tests."""
    reference_passes: bool | None = None
    """Our reference solution passes the benchmark's tests."""


def consensus(config: BuildConfig, benchmark: Path, out: Path, limit: int) -> dict[str, Any]:
    """Rates over `limit` evenly spaced items of a benchmark file (0: all), also written to `out/consensus.json`.

    The student's part of `config` is not used. Raises ConfigError, DataError, TeacherError, SandboxUnavailable.
    """
    check_model(config.teacher)
    _, found = items.read(benchmark)
    wanted = [item for item in found if item.code and item.tests and item.entry_point]
    if not wanted:
        raise DataError(f"{benchmark} has no item with a solution, tests and an entry point")
    count = min(limit or len(wanted), len(wanted))
    chosen = [wanted[at * len(wanted) // count] for at in range(count)]
    with Journal(out / "journal.sqlite") as journal:
        open_run(out, {**resolved(config), "benchmark": benchmark.name, "items": count}, MAY_CHANGE)
        verdicts = asyncio.run(_judged(config, journal, chosen))
    summary = _summary(verdicts)
    write_json(out / "consensus.json", {**summary, "verdicts": [asdict(each) for each in verdicts]})
    return summary


async def _judged(config: BuildConfig, journal: Journal, chosen: Sequence[Item]) -> list[Verdict]:
    teacher = Teacher(config.teacher, journal, Budget(config.budget_usd, journal))
    with (
        closing(Workers(Prover, config.sandbox, config.gate)) as workers,
        Pool(None) as pool,
        interruptible(teacher.flow.stop),
        progress("consensus", len(chosen)) as bar,
    ):
        shop = Workshop(
            config=config,
            teacher=teacher,
            student=teacher,
            workers=workers,
            turnstile=Turnstile(pool),
            parents={},
        )

        async def one(index: int, item: Item) -> Verdict:
            try:
                verdict = await _verdict(shop, index, item)
            except TeacherError:
                teacher.flow.stop()
                raise
            bar.advance(note=lambda: note([teacher], bar.done / bar.total))
            return verdict

        try:
            return await together(one(index, item) for index, item in enumerate(chosen))
        except FlowStopped:
            raise TeacherError("stopped; run the same command again to go on") from None
        finally:
            await teacher.close()


async def _verdict(shop: Workshop, index: int, item: Item) -> Verdict:
    exercise = Exercise(shop, Seed(index=index, round=0, strategy="seed", topic=item.benchmark, subtopic=""))
    try:
        reading = await shop.workers.run(jobs.read, item.prompt)
        proved = await exercise.proved(reading)
    except parse.ParseError as error:
        return Verdict(item=item.name, status=f"unreadable: {error}")
    except ReplyError as error:
        if error.infrastructure:
            raise TeacherError(str(error)) from None
        return Verdict(item=item.name, status="refused")
    except (SandboxBroken, WorkerLost) as error:
        raise TeacherError(f"{item.name} could not be judged: {error}") from None
    if proved.proof.status != "kept":
        return Verdict(item=item.name, status=proved.proof.status)
    canonical, reference = await shop.workers.run(jobs.cross_examine, proved, item)
    return Verdict(item=item.name, status="kept", canonical_passes=canonical, reference_passes=reference)


def _summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Shares of the kept, with 95 % Wilson intervals."""
    kept = [each for each in verdicts if each.status == "kept"]
    wrong = {
        "wrong_tests": sum(not each.canonical_passes for each in kept),
        "wrong_solutions": sum(not each.reference_passes for each in kept),
    }
    shares = {
        name: {
            "count": count,
            "share": count / len(kept) if kept else None,
            "interval": wilson(count, len(kept)),
        }
        for name, count in wrong.items()
    }
    statuses = Counter(each.status.partition(":")[0] for each in verdicts)
    return {"items": len(verdicts), "kept": len(kept), "statuses": dict(sorted(statuses.items())), **shares}
