"""Chat answers judged by a model, as GAD evaluates them: marks for the answer and for a reference, in both orders.

The judge writes the reference itself unless one is given. All requests go through the teacher's engine: journal,
budget, resume. Figures are worked out in `verdicts`. What a student wrote is hostile text: it is shown between lines
that it cannot know, and what the judge says of it counts only in one strict form.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from advcore import DataError, TeacherError, answers, chat
from advcore.answers import AnswerRow
from advcore.ask import Budget, Client, Journal, ReplyError, check_model, estimate
from advcore.ask.prices import CHARS_PER_TOKEN, prompt_bytes
from advcore.runs import run_folder, sha256_of, write_json, write_jsonl
from advgen import prompts, verdicts
from advgen.answer import refusal
from advgen.config import MAY_CHANGE, JudgeConfig
from advgen.parse import ParseError
from advgen.request_pool import RequestPool
from advgen.verdicts import Verdict

TEMPLATE = "verdict"

Messages = list[dict[str, str]]


def judge(config: JudgeConfig, path: Path, out: Path, reference: Path | None = None) -> dict[str, Any]:
    """Judge the answers in `path` into `out/judge.json` and `out/verdicts.jsonl`; the former. Rerun = resume.

    `path` and `reference` are what `answers.read` reads. Raises ConfigError, DataError (nothing to judge), TeacherError
    (nothing could be asked any further, or no answer was judged).
    """
    check_model(config.judge)
    given = _answers(path)
    known = None if reference is None else _references(reference)
    with run_folder(out, config, MAY_CHANGE):
        judged, spent = _judged(config, given, known, out)
        write_jsonl(out / "verdicts.jsonl", (verdict.as_json() for verdict in judged))
        if all(verdict.status != "judged" for verdict in judged):
            raise TeacherError(f"no answer was judged; {out / 'verdicts.jsonl'} has the reasons")
        unanswered = answers.unanswered(path)
        result = {
            **verdicts.summary(judged), "unanswered": unanswered,
            "warnings": verdicts.warnings(judged, unanswered), **_origin(config, given, reference),
            "requests": len({request for verdict in judged for request in verdict.requests}), **spent,
        }  # fmt: skip
        write_json(out / "judge.json", result)
    return result


def _judged(
    config: JudgeConfig, given: list[AnswerRow], known: dict[str, str] | None, out: Path
) -> tuple[list[Verdict], dict[str, Any]]:
    """A verdict for each answer, and what they took."""
    with Journal(out / "journal.sqlite") as journal:
        run = _Judging(config, given, known, journal)
        started = time.monotonic()
        asyncio.run(run.run())
        usage = {"judge": run.client.usage.as_json(), "limits": run.client.limiter.describe()}
        write_json(out / "cost.json", {"seconds": round(time.monotonic() - started, 1), **usage})
        spent = {"references_truncated": run.truncated, "spent_usd": round(journal.spent_usd, 6)}
    return [run.verdicts[at] for at in range(len(given))], spent


def _origin(config: JudgeConfig, given: list[AnswerRow], reference: Path | None) -> dict[str, Any]:
    """Who answered, who judged, by what."""
    counted = [answer.tokens for answer in given if answer.tokens]
    return {
        "models": sorted({answer.model for answer in given if answer.model}),
        "mean_tokens": sum(counted) / len(counted) if counted else None,
        "judge": config.judge.model,
        "reference": str(reference) if reference else config.judge.model,
        "templates": {TEMPLATE: prompts.template_hash(TEMPLATE)},
    }


def plan(config: JudgeConfig, path: Path, reference: Path | None = None) -> dict[str, Any]:
    """What a run into an empty folder would ask for at most, for `--dry-run`; references to come count in full length.

    Raises ConfigError, DataError.
    """
    check_model(config.judge)
    known = None if reference is None else _references(reference)
    asked = [answer for answer in _answers(path) if not answer.problem]
    asked = [answer for answer in asked if known is None or _key(answer.messages) in known]
    own = {_key(answer.messages): answer.messages for answer in asked} if known is None else {}
    longest = "x" * CHARS_PER_TOKEN * config.judge.max_tokens
    shown = [
        prompt_bytes(_shown(answer, known[_key(answer.messages)] if known else longest, True))
        for answer in asked
    ]
    tokens = [sum(map(prompt_bytes, own.values())) // CHARS_PER_TOKEN, 2 * sum(shown) // CHARS_PER_TOKEN]
    costs = [
        estimate(config.judge, len(own), tokens[0]),
        estimate(replace(config.judge, max_tokens=config.verdict_tokens), 2 * len(asked), tokens[1]),
    ]
    return {
        "answers": len(asked), "reference_requests": len(own), "verdict_requests": 2 * len(asked),
        "prompt_tokens_about": sum(tokens),
        "completion_tokens_at_most": len(own) * config.judge.max_tokens + 2 * len(asked) * config.verdict_tokens,
        "cost_usd_estimate": None if None in costs else round(sum(filter(None, costs)), 4),
    }  # fmt: skip


def _answers(path: Path) -> list[AnswerRow]:
    found = [_without_thoughts(answer) for answer in answers.read(path)]
    if all(answer.problem for answer in found):
        raise DataError(f"{path} holds no answers" + (f": {found[0].problem}" if found else ""))
    return found


def _without_thoughts(answer: AnswerRow) -> AnswerRow:
    """What is judged is what a person would be shown."""
    said = chat.read(answer.text)
    alone = "thoughts alone" if said.thoughts and not said.answer.strip() else ""
    return replace(answer, text=said.answer, problem=answer.problem or alone)


def _references(path: Path) -> dict[str, str]:
    """The first reply to each prompt, by the prompt's key."""
    found: dict[str, str] = {}
    for answer in _answers(path):
        if not answer.problem and answer.text.strip():
            found.setdefault(_key(answer.messages), answer.text)
    return found


def _key(messages: Messages) -> str:
    return sha256_of(messages)[:16]


def _shown(answer: AnswerRow, reference: str, student_first: bool) -> Messages:
    """The request for one verdict. The fence is a hash of all that it encloses, so that nothing inside can hold it."""
    first, second = (answer.text, reference) if student_first else (reference, answer.text)
    fence = sha256_of([answer.messages, first, second])[:16]
    return prompts.messages(TEMPLATE, fence=fence, prompt=answer.messages, first=first, second=second)


class _Judging:
    """The state of one run."""

    def __init__(
        self, config: JudgeConfig, given: list[AnswerRow], known: dict[str, str] | None, journal: Journal
    ) -> None:
        self.config, self.given, self.known = config, given, known
        self.client = Client(config.judge, journal, Budget(config.budget_usd, journal))
        self.pool = RequestPool(self.client, config.max_failure_share)
        self.verdicts: dict[int, Verdict] = {}
        self.truncated = 0

    async def run(self) -> None:
        await self.pool.run("judged", len(self.given), iter(enumerate(self.given)), self._one)
        if self.pool.ended:
            raise self.pool.ended

    async def _one(self, work: tuple[int, AnswerRow]) -> None:
        at, answer = work
        self.verdicts[at] = await self._verdict(answer)

    async def _verdict(self, answer: AnswerRow) -> Verdict:
        verdict = Verdict(
            row=answer.number, sample=answer.sample, prompt=_key(answer.messages), status="no_answer",
            reason=answer.problem, student_chars=len(answer.text),
        )  # fmt: skip
        if answer.problem:
            return verdict
        reference, reason, requests = await self._reference(answer)
        verdict = replace(verdict, reference_chars=len(reference), requests=requests)
        if reason:
            return replace(verdict, status="no_reference", reason=reason)
        pairs = []
        for student_first in (True, False):
            try:
                messages = _shown(answer, reference, student_first)
                said = await self.pool.ask("verdict", messages, max_tokens=self.config.verdict_tokens)
                verdict = replace(verdict, requests=(*verdict.requests, said.key))
                pair = verdicts.marks(said.text)
            except ReplyError as error:
                return replace(verdict, status="no_verdict", reason=str(error))
            except ParseError as error:
                return replace(verdict, status="unreadable", reason=str(error))
            pairs.append(pair if student_first else pair[::-1])
        return replace(verdict, status="judged", student_first=pairs[0], reference_first=pairs[1])

    async def _reference(self, answer: AnswerRow) -> tuple[str, str, tuple[str, ...]]:
        """The reference reply, why there is none, and the request it took."""
        if self.known is not None:
            text = self.known.get(_key(answer.messages), "")
            return text, "" if text else "the reference holds no reply to this prompt", ()
        try:
            said = await self.pool.ask("reference", answer.messages)
        except ReplyError as error:
            return "", str(error), ()
        self.truncated += said.finish_reason == "length"
        text = chat.read(said.text).answer
        return text, refusal(text, said.finish_reason), (said.key,)


def show(result: dict[str, Any]) -> None:
    """The result as a small table on stderr, with its warnings."""
    from rich.console import Console
    from rich.table import Table

    level, bias, chars = result["length_controlled_score"], result["position_bias"], result["mean_chars"]
    table = Table("judged", "score", "95% interval", "at equal length", "position", "characters", "cost")
    table.add_row(
        f"{result['judged']} of {result['answers'] + result['unanswered']}",
        f"{result['score']:.1f}", _span(result["interval"]),
        f"{level['score']:.1f} ({_span(level['interval'])})" if level else "",
        f"first {bias['first_position_bonus']:+.1f}, {bias['order_flips']:.0%} turn",
        f"{chars['student']:.0f} to {chars['reference']:.0f}", f"${result['spent_usd']:.4f}",
    )  # fmt: skip
    console = Console(file=sys.stderr)
    console.print(table)
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}"
