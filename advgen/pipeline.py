"""The one loop that joins the rooms: seeds -> statements -> solutions and tests -> proof -> attempts -> dataset.

Every exercise is one task; teacher, sandbox and student work on different exercises at once. All that was paid for is
in the journal, so running again on the same folder replays what is there and asks for the rest. A row that fails is a
recorded status; a run whose infrastructure fails too often stops.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from advcore import TeacherError
from advcore.runs import Progress, interruptible, open_run, progress, sha256_of, write_json
from advcore.settings import resolved
from advgen import curate, parse, prompts, publish
from advgen.config import MAY_CHANGE, BuildConfig
from advgen.curate import Record
from advgen.journal import Journal
from advgen.seeds import Parent, Seed, adversarial_seeds, topic_seeds
from advgen.teacher import Answer, Budget, ReplyError, Teacher, check_model, estimate, note
from advgen.teacher.flow import FlowStopped
from advgen.verify import Proof, Prover, SandboxBroken

T = TypeVar("T")

# The longest reply that makes sense, in tokens: a statement's end or the last calls are no loss. A solution may be as
# long as the config says.
LONGEST = {"subtopics": 120, "statement": 350, "calls": 350, "asserts": 400}

PROMPT_TOKENS = 500  # of one request, for estimates; the longest template with its statement stays below it

INFRASTRUCTURE = ("no_reply", "sandbox_error")  # statuses that count towards `max_failure_share`


def build(config: BuildConfig, out: Path, parent: Parent | None) -> dict[str, Any]:
    """Build one round into `out` and return its funnel; a finished one is returned as it stands, unless a template
    has changed since. Raises TeacherError, SandboxUnavailable, ConfigError.
    """
    validate(config, parent)
    origin = sha256_of([parent.pool, parent.margins]) if parent else ""
    open_run(out, {**resolved(config), "parent": origin}, MAY_CHANGE)
    if funnel := _finished(out):
        return funnel
    journal = Journal(out / "journal.sqlite")
    try:
        return asyncio.run(_Build(config, out, parent, journal).run())
    finally:
        journal.close()


def validate(config: BuildConfig, parent: Parent | None) -> None:
    """Raise ConfigError for what would only fail later: models that cannot be asked, too few topics."""
    check_model(config.teacher)
    check_model(config.student)
    if parent is None:
        topic_seeds(config)


def _finished(out: Path) -> dict[str, Any]:
    """The funnel of a build that has nothing left to do, else {}: rows that failed for want of infrastructure, and
    changed templates, are asked again."""
    file = out / "funnel.json"
    if not file.exists():
        return {}
    funnel: dict[str, Any] = json.loads(file.read_text())
    lost = any(status in funnel["turned_away"] for status in INFRASTRUCTURE)
    return {} if lost or funnel["templates"] != _templates() else funnel


def plan(config: BuildConfig, parent: Parent | None) -> dict[str, Any]:
    """What a build would ask for: request counts and their most tokens, for `--dry-run`."""
    asked = config.exercises
    extra = 1 + 1 + bool(asked.asserts)
    topics = 0 if parent else -(-asked.count // asked.per_topic)
    teacher = topics + asked.count * (asked.solutions + extra)
    student = asked.count * config.attempts.count
    costs = [
        estimate(model, count, count * PROMPT_TOKENS)
        for model, count in ((config.teacher, teacher), (config.student, student))
    ]
    return {
        "round": parent.round + 1 if parent else 0,
        "exercises": asked.count,
        "teacher_requests": teacher,
        "teacher_tokens_at_most": teacher * config.teacher.max_tokens,
        "student_requests_at_most": student,
        "student_tokens_at_most": student * config.student.max_tokens,
        "cost_usd_estimate": None if None in costs else sum(cost or 0.0 for cost in costs),
    }


def _templates() -> dict[str, str]:
    names = ("subtopics", "exercise", "incremental", "opposite", "deceptive", "solve", "calls", "asserts")
    return {name: prompts.template_hash(name) for name in names}


class _Build:
    """The state of one round while it is built."""

    def __init__(self, config: BuildConfig, out: Path, parent: Parent | None, journal: Journal) -> None:
        self.config, self.out, self.parent = config, out, parent
        self.round = parent.round + 1 if parent else 0
        budget = Budget(config.budget_usd, journal)
        self.teacher = Teacher(config.teacher, journal, budget)
        self.student = Teacher(config.student, journal, budget)
        self.pool = [(row["exercise_id"], row["stub"]) for row in parent.pool] if parent else []
        self.failures = 0
        self.ended: TeacherError | None = None
        self.draw: dict[str, Any] = {}
        self.statements: list[asyncio.Future[tuple[str, str] | None]] = []
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.subtopics: dict[str, asyncio.Task[list[str]]] = {}

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        with Prover(self.config.sandbox, self.config.gate) as self.prover:
            self.origin = self._origin()
            seeds, self.draw = self._seeds()
            self.statements = [asyncio.get_running_loop().create_future() for _ in seeds]
            try:
                with interruptible(self._stop), progress(f"round {self.round}", len(seeds)) as bar:
                    records = await _all([self._counted(seed, len(seeds), bar) for seed in seeds])
            finally:
                await asyncio.gather(self.teacher.close(), self.student.close())
        if self.ended:
            raise self.ended
        return self._write([record for record in records if record], time.monotonic() - started)

    def _stop(self) -> None:
        self._end(TeacherError("stopped; what was asked is stored, run the same command again to go on"))

    def _end(self, error: TeacherError) -> None:
        """No further request; what is in flight comes home and is stored. The first reason is the one that is told."""
        self.ended = self.ended or error
        self.teacher.flow.stop()
        self.student.flow.stop()

    def _seeds(self) -> tuple[list[Seed], dict[str, Any]]:
        if self.parent is None:
            return topic_seeds(self.config), {}
        seeds, draw = adversarial_seeds(self.config, self.parent)
        print(f"draw: {json.dumps(draw)}", file=sys.stderr)
        if draw["rule"] == "margin" and not draw["with_margin"]:
            print("draw: no exercise has a margin, so the draw is uniform", file=sys.stderr)
        return seeds, draw

    def _origin(self) -> dict[str, Any]:
        sampling = {
            role: {"temperature": model.temperature, "top_p": model.top_p, "max_tokens": model.max_tokens}
            for role, model in (("teacher", self.config.teacher), ("student", self.config.student))
        }
        return {
            "teacher": self.config.teacher.model, "student": self.config.student.model,
            "sandbox": self.prover.describe(),
            "provenance": {
                "templates": _templates(),
                "sampling": sampling, "seed": self.config.seed,
            },
        }  # fmt: skip

    async def _with_subtopic(self, seed: Seed) -> Seed:
        """`seed` with a subtopic of its topic, for which the teacher is asked once a topic."""
        if seed.topic not in self.subtopics:
            self.subtopics[seed.topic] = asyncio.create_task(self._subtopics(seed.topic))
        found = await self.subtopics[seed.topic]
        return replace(seed, subtopic=found[seed.index % self.config.exercises.per_topic])

    async def _subtopics(self, topic: str) -> list[str]:
        count = self.config.exercises.per_topic
        message = prompts.messages("subtopics", topic=topic, count=max(count, 3))
        answer = await self.teacher.ask("subtopics", message, max_tokens=LONGEST["subtopics"])
        return (parse.subtopics(answer.text) + [topic] * count)[:count]

    async def _counted(self, seed: Seed, total: int, bar: Progress) -> Record | None:
        """The record, or None once nothing more is asked."""
        try:
            record = await self._exercise(seed)
        except TeacherError as error:
            self._end(error)
            return None
        except FlowStopped:
            return None
        self.failures += record.status in INFRASTRUCTURE
        if self.failures > self.config.max_failure_share * total:
            reason = (
                f"{self.failures} of {total} exercises failed for want of infrastructure: {record.reason}"
            )
            self._end(TeacherError(reason))
        bar.advance(note=lambda: note([self.teacher, self.student], bar.done / bar.total))
        return record

    async def _exercise(self, seed: Seed) -> Record:
        """One seed to the end; whatever goes wrong with it becomes its status."""
        keys: list[str] = []
        blank = Record(
            seed=seed, exercise_id=f"r{seed.round}-{seed.index:05d}", status="", origin=self.origin
        )
        try:
            if seed.strategy == "seed":
                seed = await self._with_subtopic(seed)
                blank = replace(blank, seed=seed)
            return await self._proved(seed, blank, keys)
        except parse.ParseError as error:
            return _ended(blank, "unreadable", str(error), keys)
        except ReplyError as error:
            return _ended(blank, "no_reply" if error.infrastructure else "refused", str(error), keys)
        except SandboxBroken as error:
            return _ended(blank, "sandbox_error", str(error), keys)
        except (RecursionError, MemoryError) as error:  # text made to break whoever walks it
            return _ended(blank, "unreadable", type(error).__name__, keys)
        finally:
            if not self.statements[seed.index].done():
                self.statements[seed.index].set_result(None)

    async def _proved(self, seed: Seed, blank: Record, keys: list[str]) -> Record:
        answer = await self._ask_statement(seed)
        keys.append(answer.key)
        statement = await self._in_worker(parse.statement, answer.text)
        name = sha256_of(statement.stub)[:16]
        self.statements[seed.index].set_result((name, statement.stub))
        blank = replace(blank, exercise_id=name, statement=statement)
        if twin := await self._twin(seed, statement):
            return _ended(blank, "duplicate", f"too like {twin}", keys)
        question = await self._in_worker(_question, statement)
        proof, replies = await self._prove(statement, question, keys)
        response = replies[proof.right[0]] if proof.right else ""
        blank = replace(
            blank, prompt=tuple(question), solutions=tuple(replies), proof=proof, response=response
        )
        if proof.status != "kept":
            return _ended(blank, proof.status, proof.reason, keys)
        statement = await self._in_worker(_confirmed, statement, proof)
        question = await self._in_worker(_question, statement)
        blank = replace(blank, statement=statement, prompt=tuple(question))
        answers = await self.student.ask_many("attempt", question, self.config.attempts.count)
        keys += [answer.key for answer in answers]
        attempts = await asyncio.gather(
            *(self._in_worker(self.prover.attempt, answer.text, statement, proof.tests) for answer in answers)
        )
        return _ended(replace(blank, attempts=tuple(attempts)), "kept", "", keys)

    async def _twin(self, seed: Seed, statement: parse.Statement) -> str:
        """The id of what `statement` is too like: the parents' pool, or a seed with a lower index.

        By index and not by arrival, so that a replay decides as the first run did.
        """
        earlier = await asyncio.gather(*(asyncio.shield(each) for each in self.statements[: seed.index]))
        pool = [*self.pool, *(each for each in earlier if each)]
        return curate.duplicate_of(statement, pool, self.config.gate.max_similarity)

    async def _in_worker(self, function: Callable[..., T], *arguments: Any) -> T:
        """Everything that parses Python or runs it, in one thread apart from the model calls.

        One, because CPython 3.11 parses wrongly in two threads at once ("AST constructor recursion depth mismatch").
        """
        return await asyncio.get_running_loop().run_in_executor(
            self.worker, functools.partial(function, *arguments)
        )

    async def _ask_statement(self, seed: Seed) -> Answer:
        if seed.strategy == "seed":
            message = prompts.messages("exercise", topic=seed.topic, subtopic=seed.subtopic)
        else:
            message = await self._in_worker(_evolve, seed)
        # The sample index keeps apart two seeds that were drawn with the same parent and strategy.
        return await self.teacher.ask("statement", message, seed.index, LONGEST["statement"])

    async def _prove(
        self, statement: parse.Statement, question: list[dict[str, str]], keys: list[str]
    ) -> tuple[Proof, dict[str, str]]:
        """The proof, and the solutions that could be read, each with the reply that held it."""
        asked = self.config.exercises
        about = {"stub": statement.stub, "entry_point": statement.entry_point}
        solutions, calls, claims = await asyncio.gather(
            self.teacher.ask_many("solution", question, asked.solutions),
            self._ask_about("calls", asked.calls, about),
            self._ask_about("asserts", asked.asserts, about),
        )
        keys += [answer.key for answer in (*solutions, *calls, *claims)]
        texts = [[answer.text for answer in answers] for answers in (solutions, calls, claims)]
        return await self._in_worker(self._prove_texts, statement, *texts)

    def _prove_texts(
        self, statement: parse.Statement, solutions: list[str], calls: list[str], claims: list[str]
    ) -> tuple[Proof, dict[str, str]]:
        read = [(code, text) for text in solutions if (code := _program(text, statement.entry_point))]
        claimed = [pair for text in claims for pair in parse.asserts(text, statement)]
        # The statement's own examples are only calls: whoever solved it had seen what they should give.
        wanted = [call for call, _ in parse.examples(statement)]
        wanted += [call for text in calls for call in parse.calls(text, statement)]
        asked = self.config.exercises.solutions
        proof = self.prover.prove(statement, [code for code, _ in read], wanted, claimed, asked)
        return proof, dict(reversed(read))

    async def _ask_about(self, purpose: str, count: int, about: dict[str, str]) -> list[Answer]:
        """One reply about a statement, or none when `count` is 0."""
        if not count:
            return []
        message = prompts.messages(purpose, count=count, **about)
        return [await self.teacher.ask(purpose, message, max_tokens=LONGEST[purpose])]

    def _write(self, records: Sequence[Record], seconds: float) -> dict[str, Any]:
        rows = curate.rows(records, self.config.attempts.pairs_per_exercise)
        funnel = _funnel(records, rows["dpo"], self.round, self.draw)
        models = {"teacher": self.teacher, "student": self.student}
        usage = {
            name: {**model.usage.as_json(), "flow": model.flow.describe()} for name, model in models.items()
        }
        spent = self.teacher.journal.spent_usd
        money = {
            "spent_usd": round(spent, 6),
            "usd_per_pair": round(spent / len(rows["dpo"]), 6) if rows["dpo"] else None,
        }
        write_json(self.out / "cost.json", {"seconds": round(seconds, 1), **money, **usage})
        dataset = self.out / "dataset"
        publish.write_dataset(dataset, self.round, rows, self.parent.folder if self.parent else None)
        publish.write_card(dataset, funnel, self.config.teacher.model, self.config.student.model)
        write_json(self.out / "funnel.json", funnel)  # last: it marks the build as finished
        return funnel


async def _all(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order; the first exception cancels the rest and is raised bare."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in coroutines]
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in running]


def _evolve(seed: Seed) -> list[dict[str, str]]:
    """The request for a child of `seed`'s parent. It shows the outline only: a small teacher that sees the whole
    statement writes it down again."""
    parent = parse.statement(seed.parent_stub)
    return prompts.messages(
        seed.strategy, signature=parent.signature, summary=parent.summary, failure=seed.parent_failure
    )


def _confirmed(statement: parse.Statement, proof: Proof) -> parse.Statement:
    """The statement with those of its examples that execution confirmed."""
    return parse.with_examples(
        statement, {test["call"]: literal_eval(test["expected"]) for test in proof.tests}
    )


def _question(statement: parse.Statement) -> list[dict[str, str]]:
    """What whoever solves it is asked: teacher and student the same."""
    return prompts.messages("solve", signature=statement.signature, docstring=statement.docstring)


def _program(text: str, entry_point: str) -> str:
    """The program of a reply, '' if it holds none: one bad sample must not cost the exercise."""
    try:
        return parse.program(text, entry_point)
    except parse.ParseError:
        return ""


def _ended(record: Record, status: str, reason: str, keys: list[str]) -> Record:
    return replace(record, status=status, reason=reason, requests=tuple(keys))


def _funnel(
    records: Sequence[Record], dpo: Sequence[dict[str, Any]], round_number: int, draw: dict[str, Any]
) -> dict[str, Any]:
    kept = [record for record in records if record.kept]
    asked_by = Counter(record.seed.strategy for record in records)
    strategies = {
        name: {
            "asked": asked_by[name],
            "kept": sum(record.seed.strategy == name for record in kept),
            "pairs": sum(row["strategy"] == name for row in dpo),
        }
        for name in sorted(asked_by)
    }
    return {
        "round": round_number, "asked": len(records), "kept": len(kept), "pairs": len(dpo),
        "turned_away": dict(sorted(Counter(record.status for record in records if not record.kept).items())),
        "strategies": strategies,
        "teacher_pass_rate": _mean([record.proof.teacher_pass_rate for record in kept if record.proof]),
        "student_pass_rate": _mean([record.student_pass_rate for record in kept]),
        "tests_per_exercise": _mean([len(record.proof.tests) for record in kept if record.proof]),
        "kill_rate": _mean([record.proof.kill_rate for record in kept if record.proof]),
        "draw": draw, "templates": _templates(),
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
