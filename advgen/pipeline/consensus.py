"""How true a build's labels are: the whole build but for its statements, which are a benchmark's, with known answers.

Of each exercise that the gates keep, the benchmark's own solution is put to our tests, and our programs are put to the
benchmark's tests and inputs. Each pair that could be made is looked at, with its probability from weights that were
fitted on the other half of the statements. So the rates are those of a build with these models and gates, as far as
its own statements are as clear as the benchmark's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from advcore import DataError, TeacherError, contract, tasks
from advcore.ask import Journal, LimiterStopped, ReplyError, together
from advcore.chat import fenced
from advcore.progress import interruptible, progress
from advcore.runs import read_json, run_folder, sha256_of, write_json
from advcore.stats import bootstrap
from advcore.tasks import Task
from advgen import curate, parse
from advgen.config import MAY_CHANGE, BuildConfig
from advgen.hygiene import items
from advgen.hygiene.duplicates import Pool
from advgen.hygiene.items import Item
from advgen.hygiene.normal import code_of
from advgen.pipeline import jobs
from advgen.pipeline.exercise import DuplicateGate, Exercise, RoundContext
from advgen.pipeline.models import Models, check_models
from advgen.pipeline.records import Record
from advgen.pipeline.workers import WorkerLost, Workers
from advgen.specs import ExerciseSpec
from advgen.verify import SandboxBroken, Stored, Verifier, truth
from advgen.verify.truth import Truth

Floors = tuple[float, float]
"""`curation.min_p_wrong` and `min_p_true`."""
GATES: tuple[Floors, ...] = (
    (0.0, 0.0),
    (0.8, 0.0),
    (0.9, 0.0),
    (0.95, 0.0),
    (0.95, 0.7),
    (0.95, 0.8),
    (0.95, 0.85),
)
"""That the table has a line for, beside the config's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPair:
    """One pair that could be made, in the light of the benchmark."""

    chosen_right: bool
    rejected_wrong: bool
    rejected: tuple[float, ...]
    """Its features; see `truth.REJECTED`."""
    p_wrong: float = 0.0
    """That the rejected side is."""
    p_true: float = 0.0

    def passes(self, floors: Floors) -> bool:
        """Whether a build with these would make it."""
        return self.p_wrong >= floors[0] and self.p_true >= floors[1]

    @property
    def inverted(self) -> bool:
        """What is rejected is right."""
        return not self.rejected_wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What became of one statement. What follows `reason` is of those that were kept."""

    item: str
    status: str
    reason: str = ""
    tokens: int = 0
    """That the models wrote for it."""
    suite_right: bool = False
    """The benchmark's own solution passes our tests."""
    chosen_right: bool = False
    """Our reference passes the benchmark's tests."""
    pass_rate: float = 0.0
    """Of the student, by our tests."""
    true_pass_rate: float = 0.0
    """By the benchmark's."""
    chosen: tuple[float, ...] = ()
    """Features of the reference; see `truth.CHOSEN`."""
    pairs: tuple[LabelledPair, ...] = field(default=())

    @property
    def kept(self) -> bool:
        return self.status == "kept"


def consensus(config: BuildConfig, benchmarks: Sequence[Path], out: Path, limit: int) -> dict[str, Any]:
    """Rates over `limit` evenly spaced items of each benchmark file (0: all), also written to `out/consensus.json`, and
    the weights for `curation.truth` to `out/truth.json`.

    Raises ConfigError, DataError, TeacherError, SandboxUnavailable.
    """
    check_models(config)
    chosen = [item for path in benchmarks for item in _chosen(path, limit)]
    names = [path.name for path in benchmarks]
    with run_folder(out, config, MAY_CHANGE, benchmarks=names, items=len(chosen)):
        with Journal(out / "journal.sqlite") as journal:
            results = asyncio.run(_item_results(config, journal, chosen))
        return _written(config, names, results, out)


def _written(config: BuildConfig, names: list[str], results: list[ItemResult], out: Path) -> dict[str, Any]:
    models = f"{config.teacher.model} and {config.student.model} on {', '.join(names)}"
    results, trust = fitted(results, models)
    floors = config.curation.min_p_wrong, config.curation.min_p_true
    summary = summarised(results, floors, config.curation.pairs_per_exercise)
    if trust:
        write_json(out / "truth.json", trust.as_json())
    write_json(out / "consensus.json", {**summary, "verdicts": [asdict(each) for each in results]})
    return summary


def read_rates(run: Path) -> Any:
    """Read what `consensus` wrote to the run folder. Raises DataError."""
    if (found := read_json(run / "consensus.json", None)) is None:
        raise DataError(f"{run} holds no consensus.json; run advgen consensus first")
    return found


def _chosen(path: Path, limit: int) -> list[Item]:
    given = str(path) == tasks.SHIPPED or path.is_dir()
    found = [_item(task) for task in tasks.read(str(path))] if given else items.read(path)[1]
    wanted = [item for item in found if item.code and (item.tests or item.inputs) and item.entry_point]
    if not wanted:
        raise DataError(f"{path} has no item with a solution, tests and an entry point")
    count = min(limit or len(wanted), len(wanted))
    return [wanted[at * len(wanted) // count] for at in range(count)]


def _item(task: Task) -> Item:
    return Item(
        benchmark="tasks", name=f"tasks/{task.name}", prompt=task.statement, code=task.reference,
        entry_point=task.name, tests=contract.suite(task.tests),
    )  # fmt: skip


async def _item_results(config: BuildConfig, journal: Journal, chosen: Sequence[Item]) -> list[ItemResult]:
    models = Models(config, journal)
    with (
        closing(Workers(Verifier, config.sandbox, config.gate)) as workers,
        Pool(None) as pool,
        interruptible(models.stop),
        progress("consensus", len(chosen)) as bar,
    ):
        context = RoundContext(
            config=config, models=models, workers=workers, duplicates=DuplicateGate(pool), parents={}
        )  # fmt: skip

        async def one(index: int, item: Item) -> ItemResult:
            try:
                result = await _item_result(context, index, item)
            except TeacherError:
                models.stop()
                raise
            bar.advance(note=lambda: models.note(bar.done / bar.total))
            return result

        try:
            return await together(one(index, item) for index, item in enumerate(chosen))
        except LimiterStopped:
            raise TeacherError("stopped; run the same command again to go on") from None
        finally:
            await models.close()


async def _item_result(context: RoundContext, index: int, item: Item) -> ItemResult:
    exercise = Exercise(
        context, ExerciseSpec(index=index, round=0, strategy="seed", topic=item.benchmark, subtopic="")
    )
    try:
        reading = await context.workers.run(jobs.read, fenced(item.statement))
        record = await exercise.examined(reading, decontaminate=False)
        tokens = sum(answer.completion_tokens for _, answer in record.answers)
        if record.status != "kept":
            return ItemResult(item=item.name, status=record.status, reason=record.reason, tokens=tokens)
        return replace(await _compared(context, item, record), tokens=tokens)
    except (parse.ParseError, SyntaxError) as error:
        return ItemResult(item=item.name, status="unreadable", reason=str(error))
    except ReplyError as error:
        if error.infrastructure:
            raise TeacherError(str(error)) from None
        return ItemResult(item=item.name, status="refused", reason=str(error))
    except (SandboxBroken, WorkerLost) as error:
        raise TeacherError(f"{item.name} could not be run: {error}") from None


async def _compared(context: RoundContext, item: Item, record: Record) -> ItemResult:
    """A kept exercise in the light of the benchmark: a pair for each program that could be rejected."""
    assert record.verification
    row = record.row({"provenance": {}, "teacher": "", "student": "", "sandbox": "{}"})
    kept = Stored(row)
    attempts, told = kept.attempts, kept.testimony
    every = replace(context.config.curation, min_p_wrong=0.0, min_p_true=0.0)
    pairs = curate.options(kept, every, truth.load())
    chosen = [code_of(pair["chosen"][0]["content"]) for pair, *_ in pairs]
    rejected = [code_of(pair["rejected"][0]["content"]) for pair, *_ in pairs]
    # As a pair holds them, without blanks around.
    reference, *codes = (
        code_of(fenced(code))
        for code in (record.verification.right[0], *(attempt.code for attempt in attempts))
    )
    suite_right, known = await asyncio.gather(
        context.workers.run(jobs.passes_suite, item, record.verification.tests),
        context.workers.run(jobs.are_true, item, [reference, *codes, *chosen]),
    )
    true = dict(zip([reference, *codes, *chosen], known, strict=True))
    places = {code: at for at, code in reversed([*enumerate(codes)])}
    return ItemResult(
        item=item.name, status="kept", suite_right=suite_right, chosen_right=true[reference],
        pass_rate=row["student_pass_rate"],
        true_pass_rate=sum(true[code] for code in codes) / len(codes),
        chosen=tuple(truth.chosen_features(told)),
        pairs=tuple(
            LabelledPair(
                chosen_right=true[good], rejected_wrong=not true[bad],
                rejected=tuple(truth.rejected_features(told, places[bad], attempts[places[bad]].failed)),
            )
            for good, bad in zip(chosen, rejected, strict=True)
        ),
    )  # fmt: skip


# --- the probability of a pair ----------------------------------------------------------------------------------------


def fitted(results: Sequence[ItemResult], models: str) -> tuple[list[ItemResult], Truth | None]:
    """The results with each pair's probability by weights of the other half of the items; and the weights of all of
    them, None where there are too few cases of a kind. Then the probability is by the shipped weights.
    """
    halves = [[each for each in results if _half(each) == half] for half in (0, 1)]
    by_half = [_fit(half, models) for half in halves]
    trust = _fit(results, models)
    return [_weighed(each, by_half[1 - _half(each)] or truth.load()) for each in results], trust


def _half(result: ItemResult) -> int:
    return int(sha256_of(result.item)[0], 16) % 2


def _fit(results: Sequence[ItemResult], models: str) -> Truth | None:
    kept = [each for each in results if each.kept]
    pairs = [pair for each in kept for pair in each.pairs]
    try:
        return Truth(
            rejected=truth.fit([pair.rejected for pair in pairs], [pair.rejected_wrong for pair in pairs]),
            chosen=truth.fit([each.chosen for each in kept], [each.chosen_right for each in kept]),
            fitted_on=models,
        )
    except DataError:
        return None


def _weighed(result: ItemResult, trust: Truth) -> ItemResult:
    pairs = []
    for pair in result.pairs:
        p_wrong = trust.rejected(pair.rejected)
        pairs.append(replace(pair, p_wrong=p_wrong, p_true=p_wrong * trust.chosen(result.chosen)))
    return replace(result, pairs=tuple(pairs))


# --- rates ------------------------------------------------------------------------------------------------------------


def summarised(results: Sequence[ItemResult], floors: Floors, most: int) -> dict[str, Any]:
    """Of exercises, of pairs at `floors` and at each of GATES, by pass rate, and how good the probability is."""
    kept = [each for each in results if each.kept]
    return {
        "items": len(results), "kept": len(kept),
        "statuses": dict(sorted(Counter(each.status for each in results).items())),
        "wrong_suites": _rate([float(not each.suite_right) for each in kept], [1] * len(kept)),
        "wrong_references": _rate([float(not each.chosen_right) for each in kept], [1] * len(kept)),
        "pairs": _pairs(results, floors, most),
        "gates": [
            {"min_p_wrong": each[0], "min_p_true": each[1], **_pairs(results, each, most)} for each in GATES
        ],
        "by_pass_rate": {name: _pairs(found, floors, most) for name, found in _bins(kept).items()},
        "reliability": _reliability(kept),
    }  # fmt: skip


def _pairs(results: Sequence[ItemResult], floors: Floors, most: int) -> dict[str, Any]:
    """Of the pairs that a build makes, at most `most` an exercise. Which of all that could be rejected it takes is
    decided by form and not by truth, so that each counts with the chance that it is taken. `hard`: of the exercises
    with a right suite that the student solves less than half of the time, the share that gives a pair.
    """
    every = [(each, [pair for pair in each.pairs if pair.passes(floors)]) for each in results]
    hard = [bool(pairs) for each, pairs in every if each.pairs and each.suite_right and each.pass_rate < 0.5]
    found = [(each, pairs) for each, pairs in every if pairs]
    weights = [min(most, len(pairs)) for _, pairs in found]

    def rate(of: Callable[[ItemResult, LabelledPair], bool]) -> dict[str, Any]:
        shares = [sum(of(each, pair) for pair in pairs) / len(pairs) for each, pairs in found]
        return _rate(shares, weights)

    true = rate(lambda _, pair: pair.chosen_right and pair.rejected_wrong)
    tokens = sum(each.tokens for each in results)
    return {
        "exercises": len(found), "pairs": sum(weights), "candidates": sum(len(pairs) for _, pairs in found),
        "inverted": rate(lambda _, pair: pair.inverted),
        "chosen_fails": rate(lambda _, pair: not pair.chosen_right),
        "on_wrong_suite": rate(lambda each, _: not each.suite_right),
        "hard": _rate([float(each) for each in hard], [1] * len(hard)),
        "true": true, "tokens_a_true_pair": round(tokens / true["count"]) if true["count"] else None,
    }  # fmt: skip


def _rate(shares: Sequence[float], weights: Sequence[int]) -> dict[str, Any]:
    """The mean of one share an exercise, weighted, with a 95 % interval over exercises; `count` is what is expected."""
    if not shares:
        return {"count": 0, "share": None, "interval": None}
    sums = [(share * weight, weight) for share, weight in zip(shares, weights, strict=True)]

    def mean(drawn: Sequence[tuple[float, int]]) -> float:
        return sum(total for total, _ in drawn) / sum(weight for _, weight in drawn)

    return {
        "count": round(sum(total for total, _ in sums), 2), "share": mean(sums),
        "interval": bootstrap(sums, mean, seed=0),
    }  # fmt: skip


def _bins(kept: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
    bins: dict[str, list[ItemResult]] = {name: [] for name in curate.PASS_RATES}
    for each in kept:
        bins[curate.pass_rate_bin(each.pass_rate)].append(each)
    return bins


def _reliability(kept: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """By tenths of the probability: how many pairs, the mean probability, and the share that is true."""
    pairs = [pair for each in kept for pair in each.pairs]
    table = []
    for tenth in range(10):
        found = [pair for pair in pairs if min(int(pair.p_true * 10), 9) == tenth]
        if found:
            true = sum(pair.chosen_right and pair.rejected_wrong for pair in found)
            mean = sum(pair.p_true for pair in found) / len(found)
            table.append({"pairs": len(found), "p_true": round(mean, 3), "true": round(true / len(found), 3)})
    return table
