"""SeqKD, GAD and its baselines on one set of teacher's replies: `python recipes/gad_text.py ANSWERS OUT`.

ANSWERS is what `advgen answer` left, or JSONL with `prompt` and `teacher_response`. Prompts are split once: some to
train on, some to test on; the teacher's replies are cut where the student's are. One warm-up is shared. From it GAD
goes on by policy gradient, with a discriminator that learns and with one that is frozen, and SeqKD by cross-entropy;
SODA learns from the base. All take as many steps on the same prompts, of which GAD's held-out ones are none, at
constant rates and with the same clipping and decay.

Then each student answers the test prompts at the temperature of training, and judges that no training saw say how
well they tell its answers from the teacher's: a new discriminator (LoRA and head), trained on some of the test
prompts and asked about the others, and the linear probe. The lower, the closer; at 50 % they cannot tell. Intervals
are of 95 % over prompts: the bootstrap's, Wilson's for the probe. Everything resumes; OUT holds the runs, `answers/`
with what every student said, `summary.json`, and in `curves.html` the frozen discriminator beside the one that learns.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from advcore import ConfigError, DataError, chat, stats
from advcore.progress import Progress, progress
from advcore.runs import write_atomic, write_json
from advtrain import config as configs
from advtrain import encoding, models, report, run
from advtrain.config import Discriminator as DiscriminatorConfig
from advtrain.config import Lora, RunConfig, Sft
from advtrain.encoding import replies
from advtrain.encoding.replies import Reply
from advtrain.forward import rollout
from advtrain.methods import losses
from advtrain.methods.gad import held_out, method, probe
from advtrain.methods.gad.discriminator import Discriminator, Group

FOLDS, EPOCHS, RATE, BATCH = 2, 3, 1e-3, 8  # of the fresh discriminator
DEALS = 2  # of the prompts to folds: one moves the share that is told apart by 4 points
CURVES = {
    "Tokens of a sample": ("metrics.jsonl", "length/student"),
    "Score of a sample": ("metrics.jsonl", "rewards/discriminator/mean"),
    "Samples told from the teacher's": ("metrics.jsonl", "discriminator/accuracy"),
    "KL to the student of the warm-up, nats": ("metrics.jsonl", "kl"),
    "Held-out prompts: tokens of an answer": ("held_out.jsonl", "length/student"),
    "Held-out prompts: p(teacher) of the student by the probe": ("held_out.jsonl", "score"),
    "Held-out prompts: ROUGE-L to the teacher": ("held_out.jsonl", "rouge_l"),
}
OPTIMISER = {
    "lr_scheduler_type": "constant", "max_grad_norm": method.GRAD_CLIP, "weight_decay": method.WEIGHT_DECAY,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("answers")
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", default="recipes/gad_small.toml")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="section.key=value")
    parser.add_argument("--test", type=int, default=120, help="prompts to test on")
    args = parser.parse_args()
    if args.test < 2 * FOLDS:
        sys.exit(f"error: --test {args.test} prompts are too few for {FOLDS} folds")
    try:
        config = configs.load(args.config, args.sets)
        if not config.gad.held_out:
            raise ConfigError("gad.held_out = 0 leaves nothing to draw curves of; hold some prompts out")
        compare(config, args)
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")


def compare(config: RunConfig, args: argparse.Namespace) -> None:
    train, test = split(args.answers, args.out, config, args.test)
    students = trained(replace(config, dataset=str(train)), args.out)
    draw(args.out)
    teacher, folder = rows_of(test), args.out / "answers"
    said = {name: measured(config, each, teacher, folder / name) for name, each in students.items()}
    summary = {name: figures(row, said["seqkd"]) for name, row in said.items()}
    write_json(args.out / "summary.json", summary)
    show(summary)


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def split(answers: str, out: Path, config: RunConfig, count: int) -> tuple[Path, Path]:
    """Files of the rows to train on and to test on."""
    tokenizer, most = models.load_tokenizer(config.model), config.gad.max_new_tokens
    rows = [cut(tokenizer, row, most) for row in encoding.load(answers, "gad").rows]
    if len(rows) < 2 * count:
        raise DataError(f"{answers} has {len(rows)} replies, too few to test on {count} prompts")
    files = out / "train.jsonl", out / "test.jsonl"
    parts = held_out.split(rows, [row["prompt"] for row in rows], count, seed=0)
    for file, part in zip(files, parts, strict=True):
        write_rows(file, part)
    return files


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(file, "".join(json.dumps(row) + "\n" for row in rows))


def cut(tokenizer: Any, row: dict[str, Any], most: int) -> dict[str, Any]:
    """The row with its reply cut where a student's would be."""
    prompt, reply = encoding.of_teacher(row)
    reply = replies.cut(tokenizer, prompt, reply, most)
    reason = "stop" if reply.finished else "length"
    return {"prompt": prompt, "teacher_response": reply.text, "finish_reason": reason}


def read_by_gad(config: RunConfig, file: Path) -> Path:
    """A file of the rows that GAD trains on, in whole steps: those that fit, without its held-out ones."""
    tokenizer, room = models.load_tokenizer(config.model), config.max_length - config.gad.max_new_tokens
    fitting = [
        row for row in rows_of(Path(config.dataset)) if len(chat.prompt_ids(tokenizer, row["prompt"])) <= room
    ]
    rows, _ = held_out.split(fitting, [row["prompt"] for row in fitting], config.gad.held_out, config.seed)
    step = config.train.batch_size * config.train.gradient_accumulation
    write_rows(file, rows[: len(rows) // step * step])
    return file


def trained(config: RunConfig, out: Path) -> dict[str, str]:
    """Name -> adapter, '' for the student as it was; runs that are finished are left alone."""
    options, train = config.gad, config.train
    run.run(replace(config, gad=replace(options, stages=("warmup",))), out / "warmup")
    warm = replace(config, adapter=str(out / "warmup" / "last"), gad=replace(options, stages=("gad",)))
    start = str(out / "warmup" / "discriminator.safetensors")
    for name, frozen in (("gad", False), ("frozen", True)):
        discriminator = replace(config.discriminator, init_from=start, frozen=frozen)
        run.run(replace(warm, discriminator=discriminator), out / name)
    baseline = replace(config, dataset=str(read_by_gad(config, out / "baselines.jsonl")), trl=OPTIMISER)
    faster = replace(train, learning_rate=options.warmup_learning_rate)
    seqkd = replace(baseline, adapter=warm.adapter, method="sft", sft=Sft(config="gad"), train=faster)
    run.run(seqkd, out / "seqkd")
    longer = replace(train, epochs=options.warmup_epochs + train.epochs)
    soda = replace(baseline, method="dpo", dpo=replace(config.dpo, config="gad"), train=longer)
    run.run(soda, out / "soda")
    steps = {name: len(read_losses(out / name)) for name in ("warmup", "gad", "frozen", "seqkd", "soda")}
    if not steps["gad"] == steps["frozen"] == steps["seqkd"] == steps["soda"] - steps["warmup"]:
        sys.exit(f"error: not as many steps each: {steps}; make the epochs whole numbers")
    folders = ("warmup/last", "seqkd/adapter", "gad/last", "frozen/last", "soda/adapter")
    return {"base": "", **{name.partition("/")[0]: str(out / name) for name in folders}}


def read_losses(folder: Path) -> list[float]:
    return [row["loss"] for row in rows_of(folder / "metrics.jsonl") if "loss" in row]


def draw(out: Path) -> None:
    """GAD's curves for both discriminators; step 0 of the held-out ones is the student as the warm-up left it."""
    charts = []
    for title, (file, key) in CURVES.items():
        warm = [{**rows_of(out / "warmup" / file)[-1], "step": 0}] if file == "held_out.jsonl" else []
        rows = {name: [*warm, *rows_of(out / name / file)] for name in ("gad", "frozen")}
        lines = {name: [(row["step"], row[key]) for row in each if key in row] for name, each in rows.items()}
        charts.append(report.Chart(title=title, lines=lines))
    lead = "Both go on from one warm-up, whose discriminator the frozen one stays."
    write_atomic(
        out / "curves.html", report.page("GAD with a discriminator that learns or is frozen", lead, charts)
    )


# --- judges that no training saw -----------------------------------------------------------------------------------


def measured(
    config: RunConfig, adapter: str, teacher: Sequence[dict[str, Any]], name: Path
) -> dict[str, Any]:
    """What the judges make of a student's answers to the test prompts: lists with an item a prompt."""
    file = name.with_suffix(".json")
    if file.exists():
        return dict(json.loads(file.read_text()))
    tokenizer = models.load_tokenizer(config.model)
    sides = [encoding.of_teacher(row) for row in teacher]
    said = answered(config, adapter, tokenizer, [prompt for prompt, _ in sides])
    groups = []
    for (prompt, reply), student in zip(sides, said, strict=True):
        start, ids = replies.encode(tokenizer, prompt, [reply, student])
        groups.append(Group(start, ids[0], ids[1:]))
    base = models.load_base(config.model)
    probabilities = probe.p_teacher(
        probe.features(base, [(group.prompt, group.teacher) for group in groups]),
        probe.features(base, [(group.prompt, group.samples[0]) for group in groups]),
    )
    texts = [(reply.text, student.text) for (_, reply), student in zip(sides, said, strict=True)]
    result = {
        "discriminator_accuracy": fresh(config, groups),
        "probe": [(each < 0.5) + (each == 0.5) / 2 for each in probabilities.tolist()],
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
    ids = [chat.prompt_ids(tokenizer, prompt) for prompt in prompts]
    stop, most = chat.stop_ids(base, tokenizer), config.gad.max_new_tokens
    torch.manual_seed(0)
    drawn = rollout.sample(base, ids, 1, config.gad.temperature, most, stop)
    return [replies.decode(tokenizer, each, stop) for each in drawn]


def fresh(config: RunConfig, groups: Sequence[Group]) -> list[float]:
    """Of each prompt, how often discriminators that were trained on the other folds tell the sides apart."""
    told = [0.0] * len(groups)
    with progress("fresh discriminator", DEALS * FOLDS * EPOCHS) as bar:
        for deal in range(DEALS):
            order = random.Random(deal).sample(range(len(groups)), len(groups))
            for fold in range(FOLDS):
                held = order[fold::FOLDS]
                discriminator = trained_on(
                    config, [groups[at] for at in order if at not in held], deal * FOLDS + fold, bar
                )
                scores = discriminator.score_and_step([groups[at] for at in held], learn=False)
                shares = losses.discriminator_accuracy(scores.teacher_B, scores.student_BN).tolist()
                for at, share in zip(held, shares, strict=True):
                    told[at] += share / DEALS
    return told


def trained_on(config: RunConfig, groups: Sequence[Group], seed: int, bar: Progress) -> Discriminator:
    """A new one, after some epochs on these groups."""
    config = replace(config, discriminator=DiscriminatorConfig(learning_rate=RATE), seed=seed)
    model = models.load_discriminator(config, models.load_policy(config.model, "", Lora(), seed))
    discriminator = Discriminator(
        model, config.discriminator, batch_size=BATCH, weight_decay=0.01, max_grad_norm=1.0, seed=seed
    )
    for epoch in range(EPOCHS):
        drawn = random.Random(epoch).sample(groups, len(groups))
        for at in range(0, len(drawn), BATCH):
            discriminator.score_and_step(drawn[at : at + BATCH], learn=True)
        bar.advance()
    return discriminator


# --- the table ------------------------------------------------------------------------------------------------------


def figures(row: dict[str, Any], seqkd: dict[str, Any]) -> dict[str, Any]:
    """Means and intervals. `against_seqkd` is the difference in `discriminator_accuracy`: below 0, the student is
    closer to the teacher than SeqKD."""
    gaps = [
        mine - other
        for mine, other in zip(row["discriminator_accuracy"], seqkd["discriminator_accuracy"], strict=True)
    ]
    probed = fmean(row["probe"])
    return {
        "discriminator_accuracy": with_interval(row["discriminator_accuracy"]), "against_seqkd": with_interval(gaps),
        "probe": [probed, *stats.wilson(sum(row["probe"]), len(row["probe"]))],
        **{name: fmean(row[name]) for name in ("tokens", "teacher_tokens", "finished", "rouge_l")},
    }  # fmt: skip


def with_interval(values: Sequence[float]) -> list[float]:
    return [fmean(values), *stats.bootstrap_mean([[value] for value in values], seed=0)]


def show(summary: dict[str, dict[str, Any]]) -> None:
    print(
        "| student | told apart, fresh discriminator | against SeqKD | probe | tokens | finished | ROUGE-L |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in summary.items():
        gap, low, high = row["against_seqkd"]
        cells = (
            name, share(row["discriminator_accuracy"]), f"{gap:+.2f} [{low:+.2f}, {high:+.2f}]", share(row["probe"]),
            f"{row['tokens']:.0f} of {row['teacher_tokens']:.0f}", f"{row['finished']:.0%}", f"{row['rouge_l']:.3f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def share(figure: Sequence[float]) -> str:
    mean, low, high = figure
    return f"{mean:.0%} [{low:.0%}, {high:.0%}]"


if __name__ == "__main__":
    main()
