"""Records -> dataset rows: preference pairs, the other configs, the novelty gate. Pure.

Both sides of a pair are written in one form, a single fenced block, so that neither length of prose nor fences can tell
chosen from rejected. Nothing is paired that execution did not separate: chosen passes every test, rejected fails one of
them twice.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from advcore.contract import SCHEMA_VERSION
from advgen.parse import Statement
from advgen.seeds import Seed
from advgen.verify import Attempt, Proof

# Verdicts that prove a program wrong on a test of its exercise. A timeout may be the machine's, and what does not even
# load teaches format.
PROVED_WRONG = ("fail", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that became of one seed. `prompt` is what the student was asked."""

    seed: Seed
    exercise_id: str
    status: str
    reason: str = ""
    statement: Statement | None = None
    prompt: tuple[dict[str, str], ...] = ()
    solutions: tuple[str, ...] = ()
    proof: Proof | None = None
    response: str = ""
    """The teacher's reply that held the first right solution, as it came."""
    attempts: tuple[Attempt, ...] = ()
    requests: tuple[str, ...] = ()
    """Journal keys of every reply used."""
    origin: dict[str, Any] = field(default_factory=dict)
    """The columns `teacher`, `student`, `sandbox` and the build's part of `provenance`."""

    @property
    def kept(self) -> bool:
        """Proved and attempted."""
        return self.status == "kept"

    @property
    def student_pass_rate(self) -> float:
        """Share of the attempts that pass every test; 0 where there are none."""
        return sum(attempt.passed for attempt in self.attempts) / len(self.attempts) if self.attempts else 0.0


def reply(code: str) -> list[dict[str, str]]:
    """A program as the one form in which chosen, rejected and completions are written."""
    return [{"role": "assistant", "content": f"```python\n{code.strip()}\n```"}]


def pairs(record: Record, most: int) -> list[dict[str, Any]]:
    """`dpo` rows: the first right teacher solution against up to `most` failing programs, no two of them alike."""
    if not record.kept or record.proof is None:
        return []
    chosen = record.proof.right[0]
    right = {shape(code) for code in record.proof.right}
    failing = [each for each in record.attempts if _proved_wrong(each) and shape(each.code) not in right]
    distinct = list({shape(attempt.code): attempt for attempt in reversed(failing)}.values())[::-1]
    return [_pair(record, chosen, attempt) for attempt in distinct[:most]]


def _proved_wrong(attempt: Attempt) -> bool:
    return attempt.status in PROVED_WRONG and attempt.failed_test >= 0


def _pair(record: Record, chosen: str, attempt: Attempt) -> dict[str, Any]:
    chosen_reply, rejected_reply = reply(chosen), reply(attempt.code)
    return {
        "prompt": list(record.prompt), "chosen": chosen_reply, "rejected": rejected_reply,
        **_lineage(record), "chosen_source": "teacher", "failure_kind": attempt.failure_kind,
        "failed_test": attempt.failed_test, "student_pass_rate": record.student_pass_rate,
        "n_attempts": len(record.attempts), "chosen_chars": len(chosen_reply[0]["content"]),
        "rejected_chars": len(rejected_reply[0]["content"]), **_origin(record),
    }  # fmt: skip


def rows(records: Iterable[Record], pairs_per_exercise: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of every config that a build writes."""
    made: dict[str, list[dict[str, Any]]] = {
        config: [] for config in ("dpo", "sft", "kto", "rl", "gad", "raw")
    }
    for record in records:
        made["raw"].append(_raw(record))
        if not record.kept or record.proof is None:
            continue
        made["dpo"] += pairs(record, pairs_per_exercise)
        common = {"prompt": list(record.prompt), **_lineage(record), **_origin(record)}
        right = reply(record.proof.right[0])
        made["sft"].append({**common, "completion": right})
        made["gad"].append({**common, "teacher_response": record.response})
        made["rl"].append(common)
        judged = [attempt for attempt in record.attempts if attempt.passed or _proved_wrong(attempt)]
        made["kto"] += [{**common, "completion": reply(each.code), "label": each.passed} for each in judged]
    return made


def _lineage(record: Record) -> dict[str, Any]:
    seed, statement = record.seed, record.statement
    return {
        "exercise_id": record.exercise_id, "parent_id": seed.parent_id, "round": seed.round,
        "strategy": seed.strategy, "topic": seed.topic, "subtopic": seed.subtopic,
        "entry_point": statement.entry_point if statement else "",
        "tests": json.dumps(list(record.proof.tests) if record.proof else []),
    }  # fmt: skip


def _origin(record: Record) -> dict[str, Any]:
    provenance = {**record.origin["provenance"], "requests": list(record.requests)}
    return {
        "teacher": record.origin["teacher"], "student": record.origin["student"], "sandbox": record.origin["sandbox"],
        "provenance": json.dumps(provenance), "schema_version": SCHEMA_VERSION,
    }  # fmt: skip


def _raw(record: Record) -> dict[str, Any]:
    attempts = [
        {"code": each.code, "status": each.status, "failure_kind": each.failure_kind, "detail": each.detail}
        for each in record.attempts
    ]
    return {
        **_lineage(record), "stub": record.statement.stub if record.statement else "", "status": record.status,
        "reason": record.reason, "solutions": json.dumps(list(record.solutions)), "attempts": json.dumps(attempts),
        "teacher_pass_rate": record.proof.teacher_pass_rate if record.proof else 0.0,
        "student_pass_rate": record.student_pass_rate, "n_attempts": len(record.attempts),
        "kill_rate": record.proof.kill_rate if record.proof else 0.0, **_origin(record),
    }  # fmt: skip


def shape(code: str) -> str:
    """A program without its comments and layout, to tell whether two are the same."""
    return ast.dump(ast.parse(code))


def similarity(one: str, other: str) -> float:
    """Jaccard overlap of the word 3-grams of two statements, 0 to 1."""
    left, right = _grams(one), _grams(other)
    return len(left & right) / len(left | right) if left | right else 1.0


def _grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def duplicate_of(statement: Statement, pool: Sequence[tuple[str, str]], most: float) -> str:
    """The id of the first of `pool` ((id, stub)) that `statement` overlaps with by more than `most`, else ''."""
    return next((name for name, stub in pool if similarity(statement.stub, stub) > most), "")
