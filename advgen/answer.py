"""Any prompt file through the engine: one reply a prompt and sample, written as the `gad` config of a dataset.

The plainest door to the engine, and how data for adversarial distillation of chat is made. Memory hardly grows with the
file: rows are read when there is room for a request, and again to be written, with their replies out of the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advcore import DataError, TeacherError, answers, contract, promptfile
from advcore.ask import Budget, Client, Journal, ReplyError, check_model, estimate
from advcore.ask.errors import REFUSALS
from advcore.ask.journal import key
from advcore.ask.prices import CHARS_PER_TOKEN, prompt_bytes
from advcore.promptfile import Row
from advcore.runs import read_json, run_folder, write_json
from advgen.config import MAY_CHANGE, AnswerConfig
from advgen.request_pool import RequestPool

_LONGEST_REASON = 200  # characters of a reason that is counted


def answer(config: AnswerConfig, prompts: Path, out: Path) -> dict[str, Any]:
    """Answer every prompt of the file into `out/dataset`; a summary. Running again asks for what is missing.

    Raises ConfigError, DataError (no readable prompt), TeacherError (nothing could be asked any further; what was paid
    for is kept and written).
    """
    check_model(config.teacher)
    promptfile.files(prompts)
    with run_folder(out, config, MAY_CHANGE), Journal(out / "journal.sqlite") as journal:
        return asyncio.run(_Answers(config, prompts, out, journal).run())


def plan(config: AnswerConfig, prompts: Path) -> dict[str, Any]:
    """What a run into an empty folder would ask for, for `--dry-run`.

    Raises ConfigError, DataError.
    """
    check_model(config.teacher)
    asked = [row for row in promptfile.rows(prompts, config.system) if not row.problem]
    requests = len(asked) * config.n
    tokens = config.n * sum(prompt_bytes(row.messages) for row in asked) // CHARS_PER_TOKEN
    return {
        "prompts": len(asked),
        "requests": requests,
        "prompt_tokens_about": tokens,
        "completion_tokens_at_most": requests * config.teacher.max_tokens,
        "cost_usd_estimate": estimate(config.teacher, requests, tokens),
    }


class _Answers:
    """The state of one run."""

    def __init__(self, config: AnswerConfig, prompts: Path, out: Path, journal: Journal) -> None:
        self.config, self.prompts, self.out, self.journal = config, prompts, out, journal
        self.teacher = Client(config.teacher, journal, Budget(config.budget_usd, journal))
        self.pool = RequestPool(self.teacher, config.max_failure_share)
        self.known = journal.keys()
        self.columns = answers.Columns()
        self.reasons: dict[tuple[int, int], str] = {}
        self.digest = hashlib.sha256()
        self.tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        self.cost_usd = 0.0
        self.refused = Counter[str]()

    async def run(self) -> dict[str, Any]:
        started = time.monotonic()
        total = self.config.n * promptfile.count(self.prompts)
        if not total:
            raise DataError(f"{self.prompts} holds no prompts")
        await self.pool.run("answers", total, self._work(), self._one)
        if self.pool.ended:  # what was not looked at has columns too
            for row in promptfile.rows(self.prompts):
                self.columns.see(row.columns)
        summary = await asyncio.to_thread(self._write, time.monotonic() - started)
        if self.pool.ended:
            raise self.pool.ended
        if not summary["answered"]:
            reason, count = self.refused.most_common(1)[0]
            where = self.out / "dataset" / "raw"
            raise TeacherError(
                f"no prompt was answered: {count} of {summary['failed']} replies: {reason}; {where} has the reasons"
            )
        return summary

    def _work(self) -> Iterator[tuple[Row, int]]:
        """Row by row, sample by sample."""
        for row in promptfile.rows(self.prompts, self.config.system):
            self.columns.see(row.columns)
            for sample in range(self.config.n):
                yield row, sample

    async def _one(self, work: tuple[Row, int]) -> None:
        row, sample = work
        if row.problem:
            self.reasons[row.number, sample] = row.problem
            return
        name = key(self.teacher.payload(row.messages), sample)
        self.digest.update(name.encode())
        if name in self.known:
            return
        try:
            await self.pool.ask("answer", row.messages, sample)
        except ReplyError as error:
            self.reasons[row.number, sample] = str(error)

    # --- writing --------------------------------------------------------------------------------------------

    def _write(self, seconds: float) -> dict[str, Any]:
        file = self.out / "summary.json"
        before = read_json(file, {})
        self.digest.update(f"{promptfile.digest(self.prompts)} {self.config.keep_empty}".encode())
        digest = self.digest.hexdigest()
        written = all(any((self.out / "dataset" / name).glob("*.parquet")) for name in contract.ANSWERS)
        if written and before.get("digest") == digest and not before["failed"] and not self.reasons:
            return dict(before)
        with answers.Writer(self.out / "dataset", self.columns) as writer:
            for row in promptfile.rows(self.prompts, self.config.system):
                for sample in range(self.config.n):
                    self._write_row(row, sample, writer)
        usage = {"teacher": self.teacher.usage.as_json(), "limits": self.teacher.limiter.describe()}
        write_json(self.out / "cost.json", {"seconds": round(seconds, 1), **usage})
        summary = {
            "prompts": (writer.answered + writer.failed) // self.config.n,
            "answered": writer.answered, "failed": writer.failed, **self.tokens,
            "cost_usd": round(self.cost_usd, 6), "spent_usd": round(self.journal.spent_usd, 6),
            "seconds": round(seconds, 1), "digest": digest,
        }  # fmt: skip
        write_json(file, summary)
        return summary

    def _write_row(self, row: Row, sample: int, writer: answers.Writer) -> None:
        if row.problem:
            self._failed(row, sample, row.problem, writer)
            return
        name = key(self.teacher.payload(row.messages), sample)
        stored = self.journal.get(name)
        if stored is None:
            self._failed(row, sample, self.reasons.get((row.number, sample), "not asked"), writer)
            return
        for counted in self.tokens:
            self.tokens[counted] += stored[counted]
        self.cost_usd += stored["cost_usd"]
        if reason := refusal(stored["text"], stored["finish_reason"], self.config.keep_empty):
            self._failed(row, sample, reason, writer)
            return
        writer.reply(
            row, sample, stored["text"], finish_reason=stored["finish_reason"],
            prompt_tokens=stored["prompt_tokens"], completion_tokens=stored["completion_tokens"],
            cost_usd=stored["cost_usd"], teacher=self.config.teacher.model, request=name,
        )  # fmt: skip

    def _failed(self, row: Row, sample: int, reason: str, writer: answers.Writer) -> None:
        self.refused[reason[:_LONGEST_REASON]] += 1
        writer.failure(row, sample, reason)


def refusal(text: str, finish_reason: str, keep_empty: bool = False) -> str:
    """Why a reply is no answer, '' for one that is."""
    if finish_reason in REFUSALS:
        return finish_reason
    return "" if text.strip() or keep_empty else f"empty reply (finish_reason {finish_reason or 'unknown'})"
