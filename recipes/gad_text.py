"""SeqKD, GAD and its rivals on one set of teacher's replies: `python recipes/gad_text.py ANSWERS OUT`.

ANSWERS is what `advgen answer` left, or JSONL with `prompt` and `teacher_response`. Prompts are split once: some to
train on, some to test on; the teacher's replies are cut where the student's are. One warm-up is shared. From it GAD
goes on by policy gradient, with a discriminator that learns and with one that is frozen, and SeqKD by cross-entropy
for as many epochs: all read the same prompts with the same teacher's tokens as often. SODA learns from the base on
the same rows.

Then each student answers the test prompts at the temperature of training, and judges that no training saw say how
well they tell its answers from the teacher's: a new discriminator (LoRA and head), trained on some of the test
prompts and asked about the others, and the linear probe. The lower, the closer; at 50 % they cannot tell. Intervals
are of 95 % over prompts, Wilson's, or the bootstrap's of paired differences. Everything resumes; OUT holds the runs,
`answers/` and `summary.json`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from advcore import stats
from advcore.runs import progress, write_atomic, write_json
from advtrain import config as configs
from advtrain import data, held_out, losses, models, probe, replies, rollout, run
from advtrain.config import Discriminator as Rival
from advtrain.config import Lora, RunConfig, Sft
from advtrain.discriminator import Discriminator, Group
from advtrain.replies import Reply

FOLDS, EPOCHS, RATE, BATCH = 2, 4, 2e-4, 8  # of the fresh discriminator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("answers")
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", default="recipes/gad_small.toml")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="section.key=value")
    parser.add_argument("--test", type=int, default=120, help="prompts to test on")
    args = parser.parse_args()
    config = configs.load(args.config, args.sets)
    train, test = split(args.answers, args.out, config, args.test)
    students = trained(replace(config, dataset=str(train)), args.out)
    teacher = [json.loads(line) for line in test.read_text().splitlines()]
    folder = args.out / "answers"
    summary = {name: measured(config, each, teacher, folder / name) for name, each in students.items()}
    write_json(args.out / "summary.json", summary)
    show(summary)


def split(answers: str, out: Path, config: RunConfig, count: int) -> tuple[Path, Path]:
    """Files of the rows to train on and to test on."""
    tokenizer, most = models.load_tokenizer(config.model), config.gad.max_new_tokens
    rows = [cut(tokenizer, row, most) for row in data.load(answers, "gad").rows]
    files = out / "train.jsonl", out / "test.jsonl"
    for file, part in zip(files, held_out.split(rows, count, seed=0), strict=True):
        write_atomic(file, "".join(json.dumps(row) + "\n" for row in part))
    return files


def cut(tokenizer: Any, row: dict[str, Any], most: int) -> dict[str, Any]:
    """The row with its reply cut where a student's would be."""
    prompt, reply = replies.of_teacher(row)
    reply = replies.cut(tokenizer, prompt, reply, most)
    reason = "stop" if reply.finished else "length"
    return {"prompt": prompt, "teacher_response": reply.text, "finish_reason": reason}


def trained(config: RunConfig, out: Path) -> dict[str, str]:
    """Name -> adapter, '' for the student as it was; runs that are finished are left alone."""
    gad, train = config.gad, config.train
    run.run(replace(config, gad=replace(gad, stages=("warmup",))), out / "warmup")
    warm = replace(config, adapter=str(out / "warmup" / "last"), gad=replace(gad, stages=("gad",)))
    start = str(out / "warmup" / "discriminator.safetensors")
    for name, frozen in (("gad", False), ("frozen", True)):
        rival = replace(config.discriminator, start=start, frozen=frozen)
        run.run(replace(warm, discriminator=rival), out / name)
    slower = replace(train, learning_rate=gad.warmup_learning_rate)
    run.run(replace(warm, method="sft", sft=Sft(config="gad"), train=slower), out / "seqkd")
    soda = replace(config, method="dpo", dpo=replace(config.dpo, config="gad"))
    longer = replace(train, epochs=gad.warmup_epochs + train.epochs)
    run.run(replace(soda, train=longer), out / "soda")
    folders = ("warmup/last", "seqkd/adapter", "gad/last", "frozen/last", "soda/adapter")
    return {"base": "", **{name.partition("/")[0]: str(out / name) for name in folders}}


# --- judges that no training saw -----------------------------------------------------------------------------------


def measured(
    config: RunConfig, adapter: str, teacher: Sequence[dict[str, Any]], name: Path
) -> dict[str, Any]:
    """What the judges make of a student's answers to the test prompts: lists with an item a prompt."""
    file = name.with_suffix(".json")
    if file.exists():
        return dict(json.loads(file.read_text()))
    tokenizer = models.load_tokenizer(config.model)
    sides = [replies.of_teacher(row) for row in teacher]
    said = answered(config, adapter, tokenizer, [prompt for prompt, _ in sides])
    groups = []
    for (prompt, reply), student in zip(sides, said, strict=True):
        start, ids = replies.encode(tokenizer, prompt, [reply, student])
        groups.append(Group(start, ids[0], ids[1:]))
    base = models.load_base(config.model)
    chances = probe.taken_for_teacher(
        probe.features(base, [(group.prompt, group.teacher) for group in groups]),
        probe.features(base, [(group.prompt, group.samples[0]) for group in groups]),
    )
    texts = [(reply.text, student.text) for (_, reply), student in zip(sides, said, strict=True)]
    result = {
        "told_apart": fresh(config, groups),
        "probe": [(each < 0.5) + (each == 0.5) / 2 for each in chances.tolist()],
        "tokens": [len(group.samples[0]) for group in groups],
        "teacher_tokens": [len(group.teacher) for group in groups],
        "rouge_l": [held_out.rouge_l(*pair) for pair in texts],
        "finished": [student.finished for student in said],
        "texts": [student.text for student in said],
    }
    write_json(file, result)
    return result


def answered(config: RunConfig, adapter: str, tokenizer: Any, prompts: Sequence[Any]) -> list[Reply]:
    """One sample to each prompt, as in training."""
    base = models.load_policy(config.model, adapter, Lora(), seed=0).get_base_model()
    ids = [replies.prompt_ids(tokenizer, prompt) for prompt in prompts]
    stop, most = replies.stop_ids(base, tokenizer), config.gad.max_new_tokens
    torch.manual_seed(0)
    drawn = rollout.sample(base, ids, 1, config.gad.temperature, most, stop, tokenizer.pad_token_id)
    return [replies.decode(tokenizer, each, stop) for each in drawn]


def fresh(config: RunConfig, groups: Sequence[Group]) -> list[float]:
    """Of each prompt, whether a discriminator that was trained on the other folds tells the sides apart."""
    order = random.Random(1).sample(range(len(groups)), len(groups))
    told = [0.0] * len(groups)
    with progress("fresh discriminator", FOLDS * EPOCHS) as bar:
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            rest = [at for at in order if at not in held]
            rival = replace(config, discriminator=Rival(learning_rate=RATE), seed=fold)
            player = models.load_discriminator(rival, models.load_policy(config.model, "", Lora(), fold))
            judge = Discriminator(player, rival.discriminator, 0.01, 1.0, fold)
            for epoch in range(EPOCHS):
                drawn = random.Random(epoch).sample(rest, len(rest))
                for at in range(0, len(drawn), BATCH):
                    judge.play([groups[place] for place in drawn[at : at + BATCH]], learn=True)
                bar.advance()
            scores = judge.play([groups[at] for at in held], learn=False)
            shares = losses.told_apart(scores.teacher_B, scores.student_BN).tolist()
            for at, share in zip(held, shares, strict=True):
                told[at] = share
    return told


# --- the table ------------------------------------------------------------------------------------------------------


def show(summary: dict[str, dict[str, Any]]) -> None:
    """One line a student; below 0 against SeqKD is closer to the teacher than SeqKD is."""
    print(
        "| student | told apart, fresh discriminator | against SeqKD | probe | tokens | finished | ROUGE-L |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in summary.items():
        gaps = [
            mine - other
            for mine, other in zip(row["told_apart"], summary["seqkd"]["told_apart"], strict=True)
        ]
        low, high = stats.bootstrap_mean([[gap] for gap in gaps], seed=0)
        cells = (
            name, share(row["told_apart"]), f"{fmean(gaps):+.2f} [{low:+.2f}, {high:+.2f}]", share(row["probe"]),
            f"{fmean(row['tokens']):.0f} of {fmean(row['teacher_tokens']):.0f}", f"{fmean(row['finished']):.0%}",
            f"{fmean(row['rouge_l']):.3f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def share(values: Sequence[float]) -> str:
    low, high = stats.wilson(sum(values), len(values))
    return f"{fmean(values):.0%} [{low:.0%}, {high:.0%}]"


if __name__ == "__main__":
    main()
