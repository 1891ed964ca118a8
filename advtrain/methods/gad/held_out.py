"""Prompts that nobody is trained on: each checkpoint of GAD answers them and is measured by that, and the best stays.

The score is that of a command, such as a judge's, or of the probe. `held_out.jsonl` has a row a checkpoint, `answers`
what it answered, `best/step-N` the adapter of the highest score. Called by `gad` and `adversarial`.
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
from typing import Any, TypeVar

from advcore import rouge, runs, stats
from advcore.engine import names
from advtrain import CheckpointError, models, ranks
from advtrain.encoding import replies
from advtrain.encoding.replies import Reply
from advtrain.forward import rollout
from advtrain.loop import checkpoints
from advtrain.methods.gad import probe

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
    file = folder / "held_out.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def best(rows: Sequence[Row]) -> Row:
    """That of the highest score, the earlier of two."""
    return max(rows, key=lambda row: (row["score"], -row["step"]))


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L of two texts."""
    return rouge.rouge_l(rouge.words(one), rouge.words(other))


class HeldOut:
    """The held-out rows of a run, as `gad` has them, and what becomes of its checkpoints on them.

    Answers are the likeliest ones, so that no draw is taken from the generator that training draws from.
    """

    def __init__(self, folder: Path, rows: Sequence[Row], command: str) -> None:
        self.folder, self.rows, self.command = folder, rows, command
        self._teachers: Any = None

    def adapter(self, step: int) -> Path:
        return self.folder / "best" / f"step-{step}"

    def forget_after(self, step: int) -> None:
        """Drop what a resumed run is about to measure again."""
        checkpoints.keep_until(self.folder / "held_out.jsonl", step)

    def knows(self, step: int) -> bool:
        return step in [row["step"] for row in measured(self.folder)]

    def measure(self, built: Any) -> None:
        """Answer, score, and keep the adapter if it is the best so far. All ranks come here; the main one works."""
        step = built.state.global_step
        adapter = self.adapter(step)
        if ranks.is_main():
            shutil.rmtree(adapter, ignore_errors=True)  # of a run that was killed before it entered its score
            adapter.parent.mkdir(exist_ok=True)
        row = self._measured(built) if ranks.is_main() else {}
        models.save_adapter(built, adapter, names.base_name(built.config.model))
        if ranks.is_main():
            runs.append_json(self.folder / "held_out.jsonl", row)
        ranks.wait()

    def prune(self) -> None:
        """Of the adapters leave the best so far, and what was best at every checkpoint that a run may go on at."""
        rows = measured(self.folder)
        steps = [int(each.name.split("-")[1]) for each in self.folder.glob("checkpoints/checkpoint-*")]
        until = [[row for row in rows if row["step"] <= step] for step in steps]
        kept = {self.adapter(best(some)["step"]) for some in [rows, *until] if some}
        for other in set(self.adapter(0).parent.glob("step-*")) - kept:
            shutil.rmtree(other)

    def _measured(self, built: Any) -> Row:
        teachers = [built.teacher_ids(row) for row in self.rows]
        texts, ids, chances = self._answered(built, teachers)
        answers = [
            {"prompt": row["prompt"], "response": reply.text, "reference": row["text"]}
            for row, reply in zip(self.rows, texts, strict=True)
        ]
        told = sum((chance < 0.5) + (chance == 0.5) / 2 for chance in chances)
        step = built.state.global_step
        return {
            "step": step, "score": self._score(step, answers, chances),
            "told_apart": told / len(chances), "interval": stats.wilson(told, len(chances)),
            "length/student": fmean(map(len, ids)), "length/teacher": fmean(len(reply) for _, reply in teachers),
            "rouge_l": fmean(rouge_l(answer["reference"], answer["response"]) for answer in answers),
            "samples": self._shown(built, answers, texts),
        }  # fmt: skip

    def _answered(
        self, built: Any, teachers: Sequence[probe.Reply]
    ) -> tuple[list[Reply], list[list[int]], list[float]]:
        """The answers, their ids, read from text as the teacher's are, and the chance that the probe gives each to be
        the teacher's."""
        policy = built.accelerator.unwrap_model(built.model)
        base, prompts = policy.get_base_model(), [prompt for prompt, _ in teachers]
        with built.accelerator.autocast():
            drawn = rollout.sample(base, prompts, 1, 0.0, built.gad.max_new_tokens, built.eos_token_ids)
            texts = [replies.decode(built._tokenizer, each, built.eos_token_ids) for each in drawn]
            ids = [
                # Half a character alone is no text: it stays what it was.
                replies.encode(built._tokenizer, row["prompt"], [text])[1][0] or each
                for row, text, each in zip(self.rows, texts, drawn, strict=True)
            ]
            with policy.disable_adapter():
                if self._teachers is None:
                    self._teachers = probe.features(base, teachers)
                students = probe.features(base, list(zip(prompts, ids, strict=True)))
        return texts, ids, probe.taken_for_teacher(self._teachers, students).tolist()

    def _score(self, step: int, answers: Sequence[Mapping[str, Any]], chances: Sequence[float]) -> float:
        """What the command says of the answers; without one the mean of the probe's chances."""
        file = self.folder / "answers" / f"step-{step}.jsonl"
        file.parent.mkdir(exist_ok=True)
        runs.write_atomic(file, "".join(json.dumps(answer) + "\n" for answer in answers))
        if not self.command:
            return fmean(chances)
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

    def _shown(self, built: Any, answers: Sequence[Row], texts: Sequence[Reply]) -> list[Row]:
        """A few answers with what the discriminator makes of both sides."""
        groups = [
            built.grouped(row["prompt"], [Reply(row["text"], row["finished"]), reply])
            for row, reply in zip(self.rows[:SHOWN], texts, strict=False)
        ]
        scores = built.judge.play(groups, learn=False)
        pairs = zip(answers, scores.teacher_B.tolist(), scores.student_BN[:, 0].tolist(), strict=False)
        return [
            {**answer, "teacher_score": teacher, "student_score": student}
            for answer, teacher, student in pairs
        ]
