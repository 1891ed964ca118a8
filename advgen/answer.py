"""Any prompt file through the engine: one reply a prompt and sample, written as the `gad` config of a dataset.

The plainest door to the engine, and how data for adversarial distillation of chat is made. Memory hardly grows with the
file: rows are read when there is room for a request, and again to be written, with their replies out of the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advcore import DataError, TeacherError, contract
from advcore.runs import Progress, interruptible, open_run, progress, write_json
from advcore.settings import resolved
from advgen.config import MAY_CHANGE, AnswerConfig
from advgen.journal import Journal, key
from advgen.teacher import Budget, ReplyError, Teacher, check_model, note
from advgen.teacher.errors import REFUSALS
from advgen.teacher.flow import FlowStopped
from advgen.teacher.money import CHARS_PER_TOKEN, estimate, prompt_bytes

Messages = list[dict[str, str]]
ALL_REFUSED = 20  # refusals with no reply among them: it is the settings, not the prompts


def answer(config: AnswerConfig, prompts: Path, out: Path) -> dict[str, Any]:
    """Answer every prompt of the JSONL file into `out/dataset`; a summary. Running again asks for what is missing.

    Raises ConfigError, DataError (no readable prompt), TeacherError (nothing could be asked any further; what was paid
    for is kept and written).
    """
    check_model(config.teacher)
    _readable(prompts)
    with Journal(out / "journal.sqlite") as journal:  # first: another run's config is not ours to change
        open_run(out, resolved(config), MAY_CHANGE)
        return asyncio.run(_Answers(config, prompts, out, journal).run())


def plan(config: AnswerConfig, prompts: Path) -> dict[str, Any]:
    """What a run into an empty folder would ask for, for `--dry-run`.

    Raises ConfigError, DataError.
    """
    check_model(config.teacher)
    asked = [row for row in rows(_readable(prompts), config.system) if not row.problem]
    requests = len(asked) * config.n
    tokens = config.n * sum(prompt_bytes(row.messages) for row in asked) // CHARS_PER_TOKEN
    return {
        "prompts": len(asked),
        "requests": requests,
        "prompt_tokens_about": tokens,
        "completion_tokens_at_most": requests * config.teacher.max_tokens,
        "cost_usd_estimate": estimate(config.teacher, requests, tokens),
    }


def _readable(prompts: Path) -> Path:
    if not prompts.is_file():
        raise DataError(f"prompt file {prompts} does not exist")
    return prompts


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the prompt file. `problem` says why it cannot be asked."""

    number: int
    messages: Messages
    columns: dict[str, Any]
    problem: str = ""


def rows(path: Path, system: str = "") -> Iterator[Row]:
    """The lines in order; `prompt` is a string or a list of messages, `messages` is taken too."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines):
            if line.strip():
                yield _row(number, line, system)


def _row(number: int, line: bytes, system: str) -> Row:
    try:
        columns = _without_surrogates(json.loads(line), line)
        given = columns.pop("prompt") if "prompt" in columns else columns.pop("messages")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Row(number, [], {}, f"no JSON object with a prompt ({type(error).__name__})")
    if isinstance(given, str):
        opening = [{"role": "system", "content": system}] if system else []
        return Row(number, [*opening, {"role": "user", "content": given}], columns)
    if contract.message_problem(given):
        return Row(number, [], columns, f"prompt {contract.message_problem(given)}")
    return Row(number, given, columns)


def _without_surrogates(value: Any, line: bytes) -> Any:
    """A lone surrogate would break every file it comes into; only an escape can bring one."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


@dataclass(slots=True)
class _Counts:
    prompts: int = 0
    answered: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    kinds: dict[str, str] = field(default_factory=dict)
    """Types of the prompt file's own columns."""

    def see(self, columns: dict[str, Any]) -> None:
        for name, value in columns.items():
            if value is None:
                self.kinds.setdefault(name, "")
                continue
            kind = {str: "string", bool: "bool", int: "int", float: "float"}.get(type(value), "json")
            if kind == "int" and not -(2**63) <= value < 2**63:
                kind = "json"
            self.kinds[name] = kind if self.kinds.get(name) in (None, "", kind) else "json"


class _Answers:
    """The state of one run."""

    def __init__(self, config: AnswerConfig, prompts: Path, out: Path, journal: Journal) -> None:
        self.config, self.prompts, self.out, self.journal = config, prompts, out, journal
        self.teacher = Teacher(config.teacher, journal, Budget(config.budget_usd, journal))
        self.known = journal.keys()
        self.counts = _Counts()
        self.reasons: dict[tuple[int, int], str] = {}
        self.ended: TeacherError | None = None
        self.stopping = False
        self.lost = self.refused = 0
        self.digest = hashlib.sha256()

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        with open(self.prompts, "rb") as lines:
            total = self.config.n * sum(1 for line in lines if line.strip())
        if not total:
            raise DataError(f"{self.prompts} holds no prompts")
        try:
            with interruptible(self._stop), progress("answers", total) as bar:
                work = self._work()
                workers = min(self.teacher.open_requests, total)
                await asyncio.gather(*(self._worker(work, bar) for _ in range(workers)))
        finally:
            await self.teacher.close()
        if self.ended:  # what was not looked at has columns too
            for row in rows(self.prompts):
                self.counts.see(row.columns)
        if self.stopping:
            raise TeacherError("stopped; what was asked is stored, run the same command again to go on")
        summary = await asyncio.to_thread(self._write, time.monotonic() - started)
        if self.ended:
            raise self.ended
        if not summary["answered"]:
            raise TeacherError(f"no prompt was answered; {self.out / 'dataset' / 'raw'} has the reasons")
        return summary

    def _work(self) -> Iterator[tuple[Row, int]]:
        """Row by row, sample by sample, until told to stop."""
        for row in rows(self.prompts, self.config.system):
            self.counts.prompts += 1
            self.counts.see(row.columns)
            for sample in range(self.config.n):
                if self.stopping or self.ended:
                    return
                yield row, sample

    async def _worker(self, work: Iterator[tuple[Row, int]], bar: Progress) -> None:
        for row, sample in work:
            if row.problem:
                self.reasons[row.number, sample] = row.problem
            else:
                await self._one(row, sample)
            bar.advance(note=lambda: note([self.teacher], bar.done / bar.total))

    async def _one(self, row: Row, sample: int) -> None:
        name = key(self.teacher.payload(row.messages), sample)
        self.digest.update(name.encode())
        if name in self.known:
            return
        try:
            await self.teacher.ask("answer", row.messages, sample)
        except ReplyError as error:
            self.reasons[row.number, sample] = str(error)
            self.lost += error.infrastructure
            self.refused += not error.infrastructure
            if self.refused >= ALL_REFUSED and not self.teacher.usage.requests:
                self._end(TeacherError(f"the first {self.refused} requests were all refused: {error}"))
            if self.lost > max(10, self.config.max_failure_share * self.counts.prompts * self.config.n):
                self._end(TeacherError(f"{self.lost} requests got no reply, the last one: {error}"))
        except TeacherError as error:
            self._end(error)
        except FlowStopped:
            return  # not asked any more

    def _stop(self) -> None:
        self.stopping = True
        self.teacher.flow.stop()

    def _end(self, error: TeacherError) -> None:
        """No further request; the first reason is the one that is told."""
        self.ended = self.ended or error
        self.teacher.flow.stop()

    # --- writing --------------------------------------------------------------------------------------------

    def _write(self, seconds: float) -> dict[str, Any]:
        file, before = self.out / "summary.json", {}
        if file.exists():
            before = json.loads(file.read_text())
        with open(self.prompts, "rb") as content:
            self.digest.update(hashlib.file_digest(content, "sha256").digest())
        digest = self.digest.hexdigest()
        written = all(any((self.out / "dataset" / name).glob("*.parquet")) for name in contract.ANSWERS)
        if written and before.get("digest") == digest and not before["failed"] and not self.reasons:
            return dict(before)
        extra = self._columns()
        kinds = {column: self.counts.kinds[name] or "string" for column, name in extra.items()}
        folder = self.out / "dataset"
        with (
            contract.RoundWriter(folder, "gad", 0, {**contract.ANSWERS["gad"], **kinds}) as gad,
            contract.RoundWriter(folder, "raw", 0, {**contract.ANSWERS["raw"], **kinds}) as raw,
        ):
            for row in rows(self.prompts, self.config.system):
                own = {column: _plain(row.columns.get(name), kinds[column]) for column, name in extra.items()}
                for sample in range(self.config.n):
                    self._write_row(row, sample, own, gad, raw)
        usage = {"teacher": self.teacher.usage.as_json(), "flow": self.teacher.flow.describe()}
        write_json(self.out / "cost.json", {"seconds": round(seconds, 1), **usage})
        summary = {
            "prompts": (self.counts.answered + self.counts.failed) // self.config.n,
            "answered": self.counts.answered, "failed": self.counts.failed,
            "prompt_tokens": self.counts.prompt_tokens, "completion_tokens": self.counts.completion_tokens,
            "cost_usd": round(self.counts.cost_usd, 6), "spent_usd": round(self.journal.spent_usd, 6),
            "seconds": round(seconds, 1), "digest": digest,
        }  # fmt: skip
        write_json(file, summary)
        return summary

    def _columns(self) -> dict[str, str]:
        """Our column to the prompt file's own, which steps aside where both have the name."""
        ours = {column for columns in contract.ANSWERS.values() for column in columns}
        found: dict[str, str] = {}
        for name in self.counts.kinds:
            column = name
            while column in ours | found.keys() or (column != name and column in self.counts.kinds):
                column = f"input_{column}"
            found[column] = name
        return found

    def _write_row(self, row: Row, sample: int, own: dict[str, Any], gad: Any, raw: Any) -> None:
        reason = row.problem
        stored = None
        if not reason:
            name = key(self.teacher.payload(row.messages), sample)
            stored = self.journal.get(name)
            reason = (
                self.reasons.get((row.number, sample), "not asked") if stored is None else _refusal(stored)
            )
        self.counts.failed += bool(reason)
        self.counts.answered += not reason
        status = "failed" if reason else "answered"
        common = {"sample": sample, "schema_version": contract.SCHEMA_VERSION}
        raw.add({"line": row.number, "status": status, "reason": reason, **common, **own})
        if stored is not None:
            self.counts.prompt_tokens += stored["prompt_tokens"]
            self.counts.completion_tokens += stored["completion_tokens"]
            self.counts.cost_usd += stored["cost_usd"]
        if stored is not None and not reason:
            gad.add({
                "prompt": row.messages, "teacher_response": stored["text"], "finish_reason": stored["finish_reason"],
                "prompt_tokens": stored["prompt_tokens"], "completion_tokens": stored["completion_tokens"],
                "cost_usd": stored["cost_usd"], "teacher": self.config.teacher.model, "request": name, **common, **own,
            })  # fmt: skip


def _refusal(stored: dict[str, Any]) -> str:
    """Why a stored reply is no answer, '' for one that is."""
    if stored["finish_reason"] in REFUSALS:
        return str(stored["finish_reason"])
    return (
        ""
        if stored["text"].strip()
        else f"empty reply (finish_reason {stored['finish_reason'] or 'unknown'})"
    )


def _plain(value: Any, kind: str) -> Any:
    return json.dumps(value) if kind == "json" and value is not None else value
