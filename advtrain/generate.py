"""A local model's answers to a prompt file, as `advgen answer` writes them, so that whatever reads those scores either.

A reply is appended to `replies.jsonl` as it comes; the dataset is written from there once all have been asked. Running
again asks for what is missing. An empty reply is an answer: what a student cannot say must not vanish from its score.
Called by `cli`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from advcore import ConfigError, DataError, TeacherError, answers, engine, promptfile
from advcore.engine import names
from advcore.promptfile import Row
from advcore.runs import Progress, interruptible, open_run, progress, sha256_of, write_json

IN_FLIGHT = 4 * engine.MAX_SEQUENCES  # so that a batch of like lengths can be picked, and the next one waits
FEW, MAX_LOST = 10, 0.2  # failures that stop no run, and the share of all that does


def generate(
    model: str, prompts: Path, out: Path, samples: int, drawing: engine.Sampling, backend: engine.Backend
) -> dict[str, Any]:
    """Answer every prompt of the file into `out/dataset`, `samples` times; a summary.

    Each reply has a seed of its own, made of `drawing.seed`, prompt and sample number, so that neither the order nor
    an interruption changes what is drawn (but for rounding, which the size of a batch does change).

    Raises ConfigError, DataError (no prompts), TeacherError (no prompt was answered, too many failed, or it was
    stopped; what was answered is kept).
    """
    names.check_model(model, backend)
    config = {
        "model": model, "identity": names.identity(model), "backend": backend, "samples": samples, **asdict(drawing),
    }  # fmt: skip
    total = samples * promptfile.count(prompts)
    if not total:
        raise DataError(f"{prompts} holds no prompts")
    with _Replies(out) as replies:  # first: another run's config is not ours to change
        open_run(out, config)
        return _Run(config, drawing, prompts, replies).run(out, total)


class _Run:
    """The state of one run."""

    def __init__(
        self, config: dict[str, Any], drawing: engine.Sampling, prompts: Path, replies: _Replies
    ) -> None:
        self.config, self.drawing, self.prompts, self.replies = config, drawing, prompts, replies
        self.columns = answers.Columns()
        self.asked: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.taken = self.fresh_tokens = 0
        self.stopping = False

    def run(self, out: Path, total: int) -> dict[str, Any]:
        started = time.monotonic()
        asyncio.run(self._ask(total))
        if self.stopping:
            raise TeacherError("stopped; what was answered is stored, run the same command again to go on")
        if self._too_many_lost():
            reason = next(reversed(self.reasons.values()))
            raise TeacherError(f"{len(self.reasons)} of {self.taken} requests failed, the last one: {reason}")
        summary = {**self._write(out), "seconds": round(time.monotonic() - started, 1)}
        write_json(out / "summary.json", summary)
        if not summary["answered"]:
            raise TeacherError(f"no prompt was answered; {out / 'dataset' / 'raw'} has the reasons")
        return summary

    async def _ask(self, total: int) -> None:
        work, started = self._work(), time.monotonic()

        def note() -> str:
            return (
                f"{self.fresh_tokens / (time.monotonic() - started):.0f} tokens/s, {len(self.reasons)} failed"
            )

        async def worker(bar: Progress) -> None:
            for row, sample in work:
                await self._one(row, sample)
                bar.advance(note=note)

        with interruptible(self._stop), progress("replies", total) as bar:
            await asyncio.gather(*(worker(bar) for _ in range(min(IN_FLIGHT, total))))

    def _work(self) -> Iterator[tuple[Row, int]]:
        """Row by row, sample by sample, until told to stop."""
        for row in promptfile.rows(self.prompts):
            self.columns.see(row.columns)
            for sample in range(self.config["samples"]):
                if self.stopping or self._too_many_lost():
                    return
                self.taken += 1
                yield row, sample

    async def _one(self, row: Row, sample: int) -> None:
        name = self._key(row, sample)
        if row.problem or name in self.asked or name in self.replies:
            return
        self.asked.add(name)
        try:
            # in a thread, since the first call loads the model
            served = await asyncio.to_thread(engine.open_engine, self.config["model"], self.config["backend"])
            reply = await served.generate(row.messages, replace(self.drawing, seed=int(name[:8], 16) >> 1))
        except TeacherError as error:
            self.reasons[name] = str(error)
            return
        self.fresh_tokens += reply.completion_tokens
        self.replies.add(name, reply)

    def _key(self, row: Row, sample: int) -> str:
        """Hash of all that a reply depends on."""
        return sha256_of({**self.config, "sample": sample, "messages": row.messages})

    def _too_many_lost(self) -> bool:
        return len(self.reasons) > max(FEW, MAX_LOST * self.taken)

    def _stop(self) -> None:
        self.stopping = True

    def _write(self, out: Path) -> dict[str, Any]:
        totals = {"prompt_tokens": 0, "completion_tokens": 0, "truncated": 0}
        with answers.Writer(out / "dataset", self.columns) as writer:
            for row in promptfile.rows(self.prompts):
                for sample in range(self.config["samples"]):
                    name = self._key(row, sample)
                    reply = None if row.problem else self.replies.get(name)
                    if reply is None:
                        writer.failure(row, sample, row.problem or self.reasons.get(name, "not asked"))
                        continue
                    totals["prompt_tokens"] += reply.prompt_tokens
                    totals["completion_tokens"] += reply.completion_tokens
                    totals["truncated"] += reply.finish_reason == "length"
                    writer.reply(
                        row, sample, cost_usd=0.0, teacher=self.config["model"], request=name, **asdict(reply)
                    )
        prompts = (writer.answered + writer.failed) // self.config["samples"]
        return {"prompts": prompts, "answered": writer.answered, "failed": writer.failed, **totals}


class _Replies:
    """`replies.jsonl` of a run folder: a line a reply, in the order they came; a line torn by a kill is cut off.

    In memory are the places of the lines, not the lines. Raises ConfigError when another run has the file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file; give the path of a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "replies.jsonl", "a+b")  # noqa: SIM115 (closed by `__exit__`)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                f"{folder} is in use by another run; wait for it, or use another folder"
            ) from None
        self._places: dict[str, int] = {}
        self._scan()

    def _scan(self) -> None:
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._places[json.loads(line)["key"]] = end
            end += len(line)
        self._file.truncate(end)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, reply: engine.Reply) -> None:
        self._places[key] = self._file.seek(0, 2)
        self._file.write(json.dumps({"key": key, **asdict(reply)}).encode() + b"\n")
        self._file.flush()

    def get(self, key: str) -> engine.Reply | None:
        if key not in self._places:
            return None
        self._file.seek(self._places[key])
        stored = json.loads(self._file.readline())
        del stored["key"]
        return engine.Reply(**stored)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
