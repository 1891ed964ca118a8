"""One exercise from its spec to its end: statement, novelty, solutions, tests, verification, repair, attempts, intent.

Requests go to `Client`s, everything that reads or runs Python to `Workers`. Whatever goes wrong with an exercise
becomes its status; what is wrong with the run (`TeacherError`, `LimiterStopped`, `SandboxUnavailable`) is raised.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from advcore.ask import Answer, Client, ReplyError, together
from advcore.chat import fenced
from advcore.tasks import Task
from advgen import parse, prompts
from advgen.config import BuildConfig
from advgen.hygiene.duplicates import Pool
from advgen.pipeline import jobs
from advgen.pipeline.models import Models
from advgen.pipeline.records import WITNESS, Record
from advgen.pipeline.workers import WorkerLost, Workers
from advgen.specs import ExerciseSpec, subtopics_wanted
from advgen.verify import Attempt, Complaint, SandboxBroken

# The longest reply that makes sense, in tokens: a statement's end or the last calls are no loss. A solution may be as
# long as the config says.
LONGEST = {"subtopics": 400, "program": 400, "statement": 350, "calls": 350, "asserts": 400}
_PARENTS_SAMPLES = 1_000_000  # samples of a parent start here: those it was kept and drawn by are not fresh


class DuplicateGate:
    """Lets statements in one by one in the order of their specs, and turns away what the pool holds already.

    By index and not by arrival, so that a run that goes on decides as an uninterrupted one.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool, self._next = pool, 0
        self._passed: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def duplicate_of(self, index: int, name: str, outline: str) -> str:
        """Why a statement is not new, or '' and it is in the pool from now on: its outline, since examples are cut."""
        if index != self._next:
            turn = self._waiting[index] = asyncio.get_running_loop().create_future()
            await turn
        found = self._pool.duplicate_of(outline)
        if found is None:
            self._pool.add(name, outline)
        self.skip(index)
        return f"{found[1]} {found[2]:.2f} with {found[0]}" if found else ""

    def skip(self, index: int) -> None:
        """That spec has had its turn, or will not take it."""
        if index < self._next:
            return
        self._passed.add(index)
        while self._next in self._passed:
            self._passed.remove(self._next)
            self._next += 1
        if turn := self._waiting.pop(self._next, None):
            turn.set_result(None)


@dataclass(slots=True, kw_only=True)
class RoundContext:
    """What the exercises of a round share."""

    config: BuildConfig
    models: Models
    workers: Workers
    duplicates: DuplicateGate
    parents: dict[str, dict[str, Any]]
    """Rows of the `raw` config, by exercise id."""
    subtopics: dict[str, asyncio.Task[list[str]]] = field(default_factory=dict)
    rematches: dict[str, asyncio.Task[list[Attempt]]] = field(default_factory=dict)
    """Fresh attempts at parents, by exercise id."""
    charged: set[str] = field(default_factory=set)
    """Topics and parents whose shared requests a finished row bears: a run that goes on counts them once too."""
    reached: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Exercises that have come past each stage, for the progress line."""


class Exercise:
    """One of them. `run` gives its record."""

    def __init__(self, context: RoundContext, spec: ExerciseSpec) -> None:
        self.context, self.config = context, context.config
        self.record = Record(spec=spec, exercise_id=f"r{spec.round}-{spec.index:05d}")
        self.priority = spec.index  # what was begun first is finished first
        self.reference = ""  # the program that the statement was written from

    async def run(self) -> Record:
        """Raises what ends the run: TeacherError, LimiterStopped, SandboxUnavailable, ConfigError."""
        try:
            await self._stages()
        except parse.ParseError as error:
            self._end("unreadable", str(error))
        except ReplyError as error:
            self._end("no_reply" if error.infrastructure else "refused", str(error))
        except (SandboxBroken, WorkerLost) as error:
            self._end("sandbox_error", str(error))
        except (RecursionError, MemoryError) as error:  # text made to break whoever walks it
            self._end("unreadable", type(error).__name__)
        finally:
            self.context.duplicates.skip(self.record.spec.index)
        return self.record

    def _end(self, status: str, reason: str = "") -> None:
        self.record.status, self.record.reason = status, reason

    async def _stages(self) -> None:
        reading = await self._written()
        self._past("written")
        if duplicate := await self.context.duplicates.duplicate_of(
            self.record.spec.index, self.record.exercise_id, parse.outline(reading.statement.stub)
        ):
            return self._end("duplicate", duplicate)
        self._past("new")
        await self.examined(reading)

    async def examined(self, reading: jobs.Reading, decontaminate: bool = True) -> Record:
        """The statement solved, verified and attempted; the record has what came of it. Raises ReplyError,
        SandboxBroken, WorkerLost.
        """
        task = self.record.spec.task
        verified = await (self._given(reading, task) if task else self.verified(reading))
        record = self.record
        record.statement, record.prompt = verified.statement, verified.question
        record.verification = verified.verification
        record.solutions = [code for code in verified.programs if code]
        if verified.verification.status != "kept":
            self._end(verified.verification.status, verified.verification.reason)
            return record
        self._past("verified")
        benchmarks = self.config.gate.benchmarks
        if decontaminate and (
            hits := await self.context.workers.run(jobs.contamination, verified, benchmarks)
        ):
            self._end("contaminated", hits)
            return record
        await self._attempted(verified)
        contested = self._contested(verified)
        self._end("contested" if contested else "kept", contested)
        if not contested:
            self._past("kept")
        return record

    def _past(self, stage: str) -> None:
        self.context.reached[stage] += 1

    def _note(self, purpose: str, answers: Sequence[Answer]) -> list[str]:
        self.record.answers += [(purpose, answer) for answer in answers]
        return [answer.text for answer in answers]

    def _note_once(self, purpose: str, shared: str, answers: Sequence[Answer]) -> list[str]:
        """The same for replies about a topic or a parent, which are paid for once."""
        return (
            [answer.text for answer in answers]
            if shared in self.context.charged
            else self._note(purpose, answers)
        )

    async def _ask(self, purpose: str, message: list[dict[str, str]], sample: int = 0) -> str:
        """One reply of the teacher."""
        longest = LONGEST.get(purpose, 0)
        return self._note(
            purpose,
            [
                await self.context.models.teacher.ask(
                    purpose, message, sample, longest, priority=self.priority
                )
            ],
        )[0]

    # --- the statement ----------------------------------------------------------------------------------------

    async def _written(self) -> jobs.Reading:
        spec = self.record.spec
        if spec.task:
            return self._read(await self.context.workers.run(jobs.read, fenced(spec.task.statement)))
        if spec.strategy == "seed" and not (spec.subtopic or spec.source):
            spec = self.record.spec = replace(spec, subtopic=await self._subtopic(spec))
        if spec.strategy == "seed" and self.config.exercises.order == "reference":
            return await self._described(spec)
        if spec.strategy == "seed":
            message = _first_question(spec)
        else:
            message = await self.context.workers.run(jobs.evolve, spec)
        # The sample index keeps apart two specs that were drawn with the same parent and strategy.
        text = await self._ask("statement", message, spec.index)
        return self._read(await self.context.workers.run(jobs.read, text))

    async def _described(self, spec: ExerciseSpec) -> jobs.Reading:
        """A program, and the statement that is written from it."""
        text = fenced(spec.source)
        if not spec.source:
            message = prompts.messages("program", topic=spec.topic, subtopic=spec.subtopic)
            text = await self._ask("program", message, spec.index)
        self.reference = await self.context.workers.run(jobs.reference, text)
        message = prompts.messages("describe", program=self.reference)
        text = await self._ask("statement", message, spec.index)
        return self._read(await self.context.workers.run(jobs.description, text, self.reference))

    def _read(self, reading: jobs.Reading) -> jobs.Reading:
        self.record.exercise_id, self.record.statement = reading.name, reading.statement
        self.record.prompt = reading.question
        return reading

    async def _subtopic(self, spec: ExerciseSpec) -> str:
        """One of its topic, for which the teacher is asked once a topic."""
        topics = self.context.subtopics
        if spec.topic not in topics:
            topics[spec.topic] = asyncio.create_task(self._subtopics(spec.topic))
        found = await asyncio.shield(topics[spec.topic])
        return found[spec.turn % len(found)]

    async def _subtopics(self, topic: str) -> list[str]:
        count = max(subtopics_wanted(self.config), 3)  # of fewer, a list is not what comes
        message = prompts.messages("subtopics", topic=topic, count=count)
        answer = await self.context.models.teacher.ask(
            "subtopics", message, max_tokens=LONGEST["subtopics"], priority=self.priority
        )
        return parse.subtopics(*self._note_once("subtopics", topic, [answer])) or [topic]

    # --- the verification ------------------------------------------------------------------------------------

    async def _given(self, reading: jobs.Reading, task: Task) -> jobs.Verified:
        """The teacher's solutions put to the tests of a task; it is not asked where the task itself does not hold."""
        vetted = await self.context.workers.run(jobs.accept, reading, (), task)
        if vetted.verification.status != "kept":
            return vetted
        solutions = await self._solutions(reading.question, self.config.exercises.solutions)
        return await self.context.workers.run(jobs.accept, reading, solutions, task)

    async def verified(self, reading: jobs.Reading) -> jobs.Verified:
        """Solutions, calls and claims of the teacher for a statement, and what running them shows."""
        asked, stub = self.config.exercises, reading.statement.stub
        about = {"stub": stub}
        tried = {"stub": self.reference or stub}
        solutions, calls, claims, *witnesses = await together(
            [
                self._solutions(reading.question, asked.solutions),
                self._about("calls", asked.calls, tried),
                self._about("asserts", asked.asserts, about),
                *(self._witnessed(witness, reading.question) for witness in self.context.models.witnesses),
            ]
        )
        names = [witness.model for witness in self.config.witnesses]
        evidence = jobs.Evidence(
            tuple(solutions), tuple(calls), tuple(claims), asked.solutions,
            tuple(zip(names, witnesses, strict=True)), self.reference,
        )  # fmt: skip
        verified = await self.context.workers.run(jobs.verify, reading, evidence)
        for turn in range(asked.repairs if asked.feedback else 0):
            if not verified.verification.complaints:
                break
            evidence = await self._with_repairs(evidence, verified, turn)
            verified = await self.context.workers.run(jobs.verify, reading, evidence)
        return verified

    async def _solutions(self, question: list[dict[str, str]], count: int) -> list[str]:
        return self._note(
            "solution",
            await self.context.models.teacher.ask_many("solution", question, count, priority=self.priority),
        )

    async def _witnessed(self, witness: Client, question: list[dict[str, str]]) -> list[str]:
        count = self.config.exercises.solutions
        return self._note(WITNESS, await witness.ask_many(WITNESS, question, count, priority=self.priority))

    async def _about(self, purpose: str, count: int, about: dict[str, str]) -> list[str]:
        """One reply about a statement, or none when `count` is 0."""
        if not count:
            return []
        return [await self._ask(purpose, prompts.messages(purpose, count=count, **about))]

    async def _with_repairs(
        self, evidence: jobs.Evidence, verified: jobs.Verified, turn: int
    ) -> jobs.Evidence:
        """The evidence with what the teacher made of the sandbox's complaints."""
        complaints = verified.verification.complaints
        first = turn * len(evidence.solutions)  # the same program twice is repaired twice, each time anew
        asked = (self._repair(verified, each, first + at) for at, each in enumerate(complaints))
        texts = await together(asked)
        told = list(zip(complaints, texts, strict=True))
        repaired = [(each.code, text) for each, text in told if each.kind == "solution"]
        return evidence.with_repairs(
            verified.programs, repaired, [text for each, text in told if each.kind == "calls"]
        )

    async def _repair(self, verified: jobs.Verified, complaint: Complaint, sample: int) -> str:
        if complaint.kind == "calls":
            message = prompts.messages(
                "more_calls", stub=verified.statement.stub, count=self.config.exercises.calls, given=verified.calls,
                report=complaint.report,
            )  # fmt: skip
            return await self._ask("calls", message, sample)
        message = prompts.messages(
            "repair", signature=verified.signature, docstring=verified.docstring, program=complaint.code,
            report=complaint.report,
        )  # fmt: skip
        return await self._ask("repair", message, sample)

    # --- the student ------------------------------------------------------------------------------------------

    async def _attempted(self, verified: jobs.Verified) -> None:
        record, context = self.record, self.context
        count = self.config.attempts.count
        answers = await context.models.student.ask_many(
            "attempt", record.prompt, count, priority=self.priority
        )
        texts = self._note("attempt", answers)
        record.attempts = await context.workers.run(jobs.run_attempts, texts, verified)
        record.testimony, verified = await context.workers.run(jobs.testify, verified, record.attempts)
        record.verification, record.response = verified.verification, verified.response
        if self.config.curation.chosen == "repaired":
            record.repairs = await self._attempt_repairs(verified)
        if record.spec.parent_id:
            record.check = await self._checked(verified)

    def _contested(self, verified: jobs.Verified) -> str:
        """Why the suite is doubtful, '' where it is not."""
        told = self.record.testimony
        if told is None or (at := told.contested) is None:
            return ""
        against, call = told.votes[at].student_against, verified.verification.tests[at]["call"]
        return f"{against} of {told.attempts} attempts and a solution agree against {call}"

    async def _attempt_repairs(self, verified: jobs.Verified) -> list[str]:
        """For each attempt the teacher's smallest repair that passes; '' where none was asked for, or none does."""
        attempts, told, config = self.record.attempts, self.record.testimony, self.config.curation
        assert told
        places = await self.context.workers.run(jobs.rejectable, attempts, verified, told, config)
        chosen = [(at, attempts[at]) for at in places[: self.config.curation.pairs_per_exercise]]
        texts = await together(self._attempt_repair(verified, each) for _, each in chosen)
        repaired = await self.context.workers.run(jobs.run_attempts, texts, verified)
        codes = {at: after.code for (at, _), after in zip(chosen, repaired, strict=True) if after.passed}
        return [codes.get(at, "") for at in range(len(self.record.attempts))]

    async def _attempt_repair(self, verified: jobs.Verified, attempt: Attempt) -> str:
        message = prompts.messages(
            "correct", signature=verified.signature, docstring=verified.docstring, program=attempt.code,
            report=attempt.detail,
        )  # fmt: skip
        return await self._ask("correct", message)

    async def _checked(self, verified: jobs.Verified) -> dict[str, Any]:
        """The facts by which `curriculum` tells whether the strategy did what it declares."""
        parent = self.context.parents[self.record.spec.parent_id]
        attempts, facts = await asyncio.gather(
            self._rematch(parent),
            self.context.workers.run(jobs.compare, parent, verified.statement, verified.verification.tests),
        )
        return {**facts, "parent_n": len(attempts), "parent_passes": sum(each.passed for each in attempts)}

    async def _rematch(self, parent: dict[str, Any]) -> list[Attempt]:
        """Fresh attempts at the parent, once a round: it was drawn by the old ones, and chance evens out."""
        rematches, name = self.context.rematches, parent["exercise_id"]
        if name not in rematches:
            rematches[name] = asyncio.create_task(self._attempt_again(parent))
        return await asyncio.shield(rematches[name])

    async def _attempt_again(self, parent: dict[str, Any]) -> list[Attempt]:
        answers = await self.context.models.student.ask_many(
            "rematch", parent["prompt"], self.config.attempts.count, _PARENTS_SAMPLES, self.priority
        )
        texts = self._note_once("rematch", parent["exercise_id"], answers)
        return await self.context.workers.run(jobs.run_attempts_on_row, texts, parent)


def _first_question(spec: ExerciseSpec) -> list[dict[str, str]]:
    if spec.source:
        return prompts.messages("inspired", source=spec.source)
    return prompts.messages("exercise", topic=spec.topic, subtopic=spec.subtopic)
