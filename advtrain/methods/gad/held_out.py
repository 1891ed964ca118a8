"""Prompts that nobody is trained on: each checkpoint of GAD answers them and is measured by that, and the best stays.

The score is that of a command, such as a judge's, or of the probe. `held_out.jsonl` has a row a checkpoint, `answers`
what it answered, `best/step-N` the adapter of the highest score. Called by `method` and `trainer`.
"""

from __future__ import annotations

import json
import math
import random
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar

from torch import Tensor

from advcore import rouge, runs, stats
from advtrain import CheckpointError, ranks
from advtrain.encoding import Reply
from advtrain.loop import checkpoints
from advtrain.methods.gad import probe
from advtrain.methods.gad.discriminator import Scores
from advtrain.methods.gad.pairs import Pair

SHOWN = 3  # answers with the discriminator's scores, for the report
Row = dict[str, Any]
T = TypeVar("T")


def split(rows: Sequence[T], prompts: Sequence[Any], held_out: int, seed: int) -> tuple[list[T], list[T]]:
    """Those to train on and those held out, each in their order: `held_out` of the rows' prompts, which are in no other
    row."""
    keys = [json.dumps(prompt) for prompt in prompts]
    first = {key: at for at, key in reversed(list(enumerate(keys)))}
    held = random.Random(seed).sample(sorted(first), min(held_out, len(first)))
    others = set(first) - set(held)
    trained = [row for row, key in zip(rows, keys, strict=True) if key in others]
    return trained, [rows[at] for at in sorted(first[key] for key in held)]


def measured(folder: Path) -> list[Row]:
    """The rows of `held_out.jsonl`, [] without one."""
    return runs.read_jsonl(folder / "held_out.jsonl")


def best(rows: Sequence[Row]) -> Row:
    """That of the highest score, the earlier of two."""
    return max(rows, key=lambda row: (row["score"], -row["step"]))


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L of two texts."""
    return rouge.rouge_l(rouge.words(one), rouge.words(other))


class Answerer(Protocol):
    """A student in training with its discriminator, as far as an evaluation needs them."""

    def answer(self, pairs: Sequence[Pair]) -> list[tuple[Reply, list[int]]]:
        """The likeliest reply to each prompt, as text and as that text's ids."""

    def features(self, replies: Sequence[probe.Reply]) -> Tensor:
        """What the probe sees of each reply, (P, H): of the base, without an adapter."""

    def score(self, pairs: Sequence[Pair], replies: Sequence[Reply]) -> Scores:
        """What the discriminator makes of the teacher's reply to each prompt and of one other."""

    def save(self, folder: Path) -> None:
        """Write the student's adapter. All ranks come here."""


class HeldOut:
    """The held-out pairs of a run, and what becomes of its checkpoints on them.

    Answers are the likeliest ones, so that no draw is taken from the generator that training draws from.
    """

    def __init__(self, folder: Path, pairs: Sequence[Pair], command: str) -> None:
        self.folder, self.pairs, self.command = folder, pairs, command
        self._teachers: Tensor | None = None

    def adapter(self, step: int) -> Path:
        return self.folder / "best" / f"step-{step}"

    def forget_after(self, step: int) -> None:
        """Drop what a resumed run is about to measure again."""
        checkpoints.keep_until(self.folder / "held_out.jsonl", step)

    def knows(self, step: int) -> bool:
        return step in [row["step"] for row in measured(self.folder)]

    def measure(self, answerer: Answerer, step: int) -> None:
        """Answer, score, and keep the adapter if it is the best so far. All ranks come here; the main one works."""
        adapter = self.adapter(step)
        if ranks.is_main():
            shutil.rmtree(adapter, ignore_errors=True)  # of a run that was killed before it entered its score
            adapter.parent.mkdir(exist_ok=True)
        row = self._measured(answerer, step) if ranks.is_main() else {}
        answerer.save(adapter)
        if ranks.is_main():
            runs.append_json(self.folder / "held_out.jsonl", row)
        ranks.barrier()

    def prune(self) -> None:
        """Of the adapters leave the best so far, and what was best at every checkpoint that a run may go on at."""
        rows = measured(self.folder)
        steps = [int(each.name.split("-")[1]) for each in self.folder.glob("checkpoints/checkpoint-*")]
        until = [[row for row in rows if row["step"] <= step] for step in steps]
        kept = {self.adapter(best(some)["step"]) for some in [rows, *until] if some}
        for other in set(self.adapter(0).parent.glob("step-*")) - kept:
            shutil.rmtree(other)

    def _measured(self, answerer: Answerer, step: int) -> Row:
        found = answerer.answer(self.pairs)
        texts, ids = [reply for reply, _ in found], [each for _, each in found]
        probabilities = self._probabilities(answerer, ids)
        answers: list[Row] = [
            {"prompt": pair.messages, "response": reply.text, "reference": pair.teacher.text}
            for pair, reply in zip(self.pairs, texts, strict=True)
        ]
        told = sum((p < 0.5) + (p == 0.5) / 2 for p in probabilities)
        return {
            "step": step, "score": self._score(step, answers, probabilities),
            "probe_accuracy": told / len(probabilities), "interval": stats.wilson(told, len(probabilities)),
            "length/student": fmean(map(len, ids)),
            "length/teacher": fmean(len(pair.student.reply) for pair in self.pairs),
            "rouge_l": fmean(rouge_l(answer["reference"], answer["response"]) for answer in answers),
            "samples": self._shown(answerer, answers, texts),
        }  # fmt: skip

    def _probabilities(self, answerer: Answerer, ids: Sequence[list[int]]) -> list[float]:
        """The probability, by the probe, that each answer is the teacher's."""
        if self._teachers is None:
            self._teachers = answerer.features(
                [(each.student.prompt, each.student.reply) for each in self.pairs]
            )
        students = [(each.student.prompt, reply) for each, reply in zip(self.pairs, ids, strict=True)]
        probabilities: list[float] = probe.p_teacher(self._teachers, answerer.features(students)).tolist()
        return probabilities

    def _score(
        self, step: int, answers: Sequence[Mapping[str, Any]], probabilities: Sequence[float]
    ) -> float:
        """What the command says of the answers; without one the mean of the probe's probabilities."""
        file = self.folder / "answers" / f"step-{step}.jsonl"
        file.parent.mkdir(exist_ok=True)
        runs.write_atomic(file, "".join(json.dumps(answer) + "\n" for answer in answers))
        if not self.command:
            return fmean(probabilities)
        command = [part.replace("{answers}", str(file)) for part in shlex.split(self.command)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            score = float(json.loads(done.stdout[done.stdout.index("{") :])["score"])
            if not math.isfinite(score):
                raise ValueError
            return score
        except (OSError, LookupError, TypeError, ValueError, subprocess.CalledProcessError) as error:
            raise CheckpointError(
                f"gad.evaluation printed no JSON with a score ({type(error).__name__}); mend it and run again, the run "
                f"goes on at its last checkpoint"
            ) from None

    def _shown(self, answerer: Answerer, answers: Sequence[Row], texts: Sequence[Reply]) -> list[Row]:
        """A few answers with what the discriminator makes of both sides."""
        scores = answerer.score(self.pairs[:SHOWN], texts[:SHOWN])
        both = zip(answers, scores.teacher_B.tolist(), scores.student_BN[:, 0].tolist(), strict=False)
        return [
            {**answer, "teacher_score": teacher, "student_score": student}
            for answer, teacher, student in both
        ]
