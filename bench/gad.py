"""Steps of generative adversarial distillation side by side with a plain build of it: `python bench/gad.py DATASET`.

Arms, each in a process of its own, in turn, `--repeats` times; all with the same student, LoRA, prompts in the same
order, teacher's replies, samples a prompt and seed, on the CPU:

- `plain`: TRL and the structure of the paper's published code. TRL's GRPOTrainer as it is, with its compact head, which
  is what it does on a GPU, forced; for its reward a discriminator with weights of its own, all of them trained: AdamW
  on float32, forward passes in the student's dtype, as FSDP's mixed precision has it. It reads the samples for the
  rewards without gradients, then for its step each sample with the teacher's reply beside it: that reply as often as
  there are samples. A forward pass holds no more positions than ours, of like length.
- `own`: ours, with a discriminator base of its own weights (`discriminator.model`).
- `advtrain`: ours as it is by default: the discriminator is an adapter on the student's weights.

Seconds are those of an optimizer step without loading, `student` with its reference and all that is in no other phase;
where other work runs beside, CPU seconds with OMP_NUM_THREADS=1 are what to go by: threads that wait count too.
Samples are drawn, so arms differ in how many tokens they come to: `s/1k` are seconds per thousand of them, and with
`--fixed` every sample has exactly `--new-tokens`. RSS is the peak of the process. `forwarded` are positions that went
through a backbone in a step, padding included. A loss, reward or KL that is not finite stops the run, and arms that saw
other prompts are not compared. On a GPU nothing was measured.

DATASET is a dataset folder or JSONL, of which the rows are taken that are nearest to `--prompt` and `--reply` tokens.
With `--out`, what the file holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
ARMS = ("plain", "own", "advtrain")
PHASES = ("rollout", "discriminator", "student")
SETTINGS = (
    "dataset", "prompt", "reply", "model", "steps", "batch_size", "accumulation", "samples", "new_tokens", "fixed",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--model", default="student-small")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=2, help="prompts a forward pass")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--fixed", action="store_true", help="no sample ends before that")
    parser.add_argument("--prompt", type=float, default=180, help="tokens")
    parser.add_argument("--reply", type=float, default=100, help="tokens of the teacher's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("gad.jsonl"))
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(measure(args)))
        return
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    settings = {name: getattr(args, name) for name in SETTINGS}
    if any(row["settings"] != settings for row in done):
        sys.exit(f"error: {args.out} is of other settings; give another --out")
    for repeat in range(args.repeats):
        for arm in ARMS[:: -1 if repeat % 2 else 1]:  # there and back: drift favours nobody
            if not any((row["arm"], row["repeat"]) == (arm, repeat) for row in done):
                done.append(
                    {"arm": arm, "repeat": repeat, "settings": settings, **_in_a_process(arm, repeat)}
                )
                with open(args.out, "a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                seconds = sum(done[-1]["seconds"].values())
                print(f"{repeat + 1}/{args.repeats} {arm}: {seconds:.1f} s a step", file=sys.stderr)
    show(done)


def _in_a_process(arm: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--arm", arm, "--seed", str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- one arm ------------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers.trainer_utils import SaveStrategy

    from advtrain import encoding, models

    config = _config(args)
    tokenizer = models.load_tokenizer(config.model)
    rows = encoding.load(config.dataset, "gad").rows
    encoded = encoding.encode(tokenizer, rows, "gad", config.max_length, config.gad.max_new_tokens)
    examples = chosen_rows(encoded, args)
    policy = models.load_policy(config.model, "", config.lora, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        build = _plain if args.arm == "plain" else _ours
        trainer, backbones = build(config, policy, tokenizer, examples, Path(folder), args.fixed)
        trainer.args.save_strategy = SaveStrategy.NO
        meter = Meter(trainer, backbones)
        started, cpu = time.monotonic(), time.process_time()
        trainer.train()
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    logged = _checked([row for row in trainer.state.log_history if "loss" in row], args.steps)
    meter.seconds["student"] = seconds - sum(meter.seconds.values())
    meter.cpu["student"] = cpu - sum(meter.cpu.values())
    return {
        "seconds": {phase: meter.seconds[phase] / args.steps for phase in PHASES},
        "cpu_s": {phase: meter.cpu[phase] / args.steps for phase in PHASES},
        "forwarded": {phase: meter.positions[phase] / args.steps for phase in PHASES},
        "tokens": meter.tokens / args.steps,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "dtype": str(policy.get_base_model().dtype), "threads": torch.get_num_threads(),
        "prompts": meter.prompts, "logged": logged,
        "mean_prompt": statistics.fmean(len(each.prompt) for each in examples),
        "mean_reply": statistics.fmean(len(each.completions[0]) for each in examples),
    }  # fmt: skip


def _config(args: argparse.Namespace) -> Any:
    from advcore import settings
    from advtrain.config import RunConfig

    sections = {
        "train": {"batch_size": args.batch_size, "gradient_accumulation": args.accumulation, "learning_rate": 1e-5},
        "gad": {
            "stages": ["gad"], "samples": args.samples, "max_new_tokens": args.new_tokens, "held_out": 0,
        },
        "discriminator": {"model": args.model if args.arm == "own" else ""},
    }  # fmt: skip
    values = {"method": "gad", "dataset": args.dataset, "model": args.model, "seed": args.seed, **sections}
    return settings.build(RunConfig, values)


def chosen_rows(examples: Sequence[Any], args: argparse.Namespace) -> list[Any]:
    """As many as the steps take, nearest to the asked lengths, in the dataset's order."""
    wanted = args.steps * args.batch_size * args.accumulation

    def distance(index: int) -> float:
        example = examples[index]
        return float(abs(len(example.prompt) - args.prompt) + abs(len(example.completions[0]) - args.reply))

    whole = [index for index, example in enumerate(examples) if not example.truncated and not example.dropped]
    if len(whole) < wanted:
        sys.exit(
            f"error: {args.dataset} has {len(whole)} replies of at most {args.new_tokens} tokens, {wanted} wanted"
        )
    return [examples[index] for index in sorted(sorted(whole, key=distance)[:wanted])]


def _checked(logged: Sequence[dict[str, Any]], steps: int) -> list[dict[str, float]]:
    names = ("loss", "reward", "kl", "grad_norm", "discriminator/loss")
    kept = [{name: float(row[name]) for name in names} for row in logged]
    if len(kept) != steps or not all(math.isfinite(value) for row in kept for value in row.values()):
        sys.exit(f"error: not {steps} steps in finite numbers: {kept}")
    if not all(row["grad_norm"] > 0 for row in kept):
        sys.exit(f"error: a step that moved nothing: {kept}")
    return kept


class Meter:
    """Seconds, positions and sampled tokens by phase, taken around what all arms have: a sampler and one reward."""

    def __init__(self, trainer: Any, backbones: Sequence[Any]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.positions = Counter[str]()
        self.tokens = 0
        self.prompts: list[str] = []
        self.phase = "student"
        from advcore import runs

        sample, (reward,) = trainer._generate_single_turn, trainer.reward_funcs

        def sampling(prompts: Any, *args: Any, **options: Any) -> Any:
            self.prompts.append(runs.sha256_of(prompts))
            with self._in("rollout"):
                ids, logps = sample(prompts, *args, **options)
            self.tokens += sum(map(len, ids))
            return ids, logps

        def rewarding(**columns: Any) -> Any:
            with self._in("discriminator"):
                return reward(**columns)

        trainer._generate_single_turn, trainer.reward_funcs = sampling, [rewarding]
        for backbone in backbones:
            backbone.register_forward_pre_hook(self._count, with_kwargs=True)

    @contextmanager
    def _in(self, phase: str) -> Iterator[None]:
        started, cpu, self.phase = time.monotonic(), time.process_time(), phase
        yield
        self.phase = "student"
        self.seconds[phase] += time.monotonic() - started
        self.cpu[phase] += time.process_time() - cpu

    def _count(self, _module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        self.positions[self.phase] += inputs["input_ids"].numel()


def _ours(
    config: Any, policy: Any, tokenizer: Any, examples: Any, folder: Path, fixed: bool
) -> tuple[Any, list[Any]]:
    from advtrain.methods.gad import method

    trainer = method.Gad(config).build(policy, tokenizer, examples, folder)
    if fixed:
        trainer.eos_token_ids = []
    bases = {id(model): model.get_base_model() for model in (policy, trainer.discriminator.model)}
    return trainer, [base.base_model for base in bases.values()]


def _plain(
    config: Any, policy: Any, tokenizer: Any, examples: Any, folder: Path, fixed: bool
) -> tuple[Any, list[Any]]:
    import datasets
    import trl.trainer.utils

    from advtrain import encoding
    from advtrain.methods.gad import method

    trl.trainer.utils._use_triton = lambda device: True
    policy.get_base_model().set_attn_implementation("sdpa")  # without what `forward.attention` spares
    options = method.Gad(config).options(folder)
    if fixed:
        options.generation_kwargs = {"min_new_tokens": config.gad.max_new_tokens}
    rows = [
        {
            "prompt": encoding.messages(example.row["prompt"], "user"),
            "teacher": encoding.messages(example.row["teacher_response"], "assistant")[0]["content"],
        }
        for example in examples
    ]
    discriminator = PlainDiscriminator(config, tokenizer, policy.get_base_model().dtype, options)
    trainer = trl.GRPOTrainer(
        model=policy, args=options, reward_funcs=discriminator.rewards, processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip
    return trainer, [policy.get_base_model().base_model, discriminator.model]


class PlainDiscriminator:
    """The paper's discriminator, arXiv 2511.10643: a copy of the student, all of it trained, with a scalar head."""

    def __init__(self, config: Any, tokenizer: Any, dtype: Any, options: Any) -> None:
        import torch
        import transformers

        from advtrain import models

        self.tokenizer, self.dtype, self.most = tokenizer, dtype, config.gad.max_new_tokens
        self.batch_size, self.samples = config.train.batch_size, config.gad.samples
        self.max_grad_norm = options.max_grad_norm
        self.model = transformers.AutoModel.from_pretrained(
            models.locate(config.model), dtype=torch.float32, attn_implementation="sdpa"
        )
        self.head = torch.nn.Linear(self.model.config.hidden_size, 1, bias=False)
        torch.nn.init.normal_(self.head.weight, std=self.model.config.initializer_range)
        self.weights = [*self.model.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-6, weight_decay=options.weight_decay)

    def rewards(
        self, prompts: Any, completion_ids: Any, teacher: Any, log_metric: Callable[..., None], **_: Any
    ) -> list[float]:
        """The scores before the step."""
        import torch

        from advtrain.forward import packing

        starts = self.tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)
        replies = self.tokenizer(teacher, add_special_tokens=False)["input_ids"]
        ends = [[*ids, self.tokenizer.eos_token_id][: self.most] for ids in replies]
        students = [start + ids for start, ids in zip(starts["input_ids"], completion_ids, strict=True)]
        teachers = [start + ids for start, ids in zip(starts["input_ids"], ends, strict=True)]
        size = self.samples
        groups = [
            len(starts["input_ids"][at]) + sum(map(len, completion_ids[at : at + size])) + len(ends[at])
            for at in range(0, len(students), size)
        ]
        most = self.batch_size * max(groups)
        scores = torch.zeros(len(students))
        with torch.no_grad():
            for places in packing.batches(range(len(students)), lambda place: len(students[place]), most):
                scores[places] = self._scores([students[place] for place in places])
        log_metric("discriminator/loss", self._step(students, teachers, most))
        return [float(score) for score in scores]

    def _step(self, students: Sequence[list[int]], teachers: Sequence[list[int]], most: int) -> float:
        """One on all pairs by the loss of Bradley and Terry, which is returned."""
        import torch

        from advtrain.forward import packing

        def positions(place: int) -> int:
            return 2 * max(len(students[place]), len(teachers[place]))

        total = 0.0
        for places in packing.batches(range(len(students)), positions, most):
            scores = self._scores([side[place] for side in (students, teachers) for place in places])
            student, teacher = scores.view(2, -1)
            loss = torch.nn.functional.softplus(student - teacher).sum() / len(students)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.weights, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _scores(self, sequences: Sequence[list[int]]) -> Any:
        import torch

        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in sequences], batch_first=True)
        lengths = torch.tensor([len(each) for each in sequences])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            output = self.model(input_ids=ids, attention_mask=mask, use_cache=False)
        last = output.last_hidden_state[torch.arange(len(ids)), lengths - 1]
        return self.head(last.float())[:, 0]


# --- the table ----------------------------------------------------------------------------------------------------


COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "s/step": (".1f", lambda row: sum(row["seconds"].values())),
    **{name: (".1f", lambda row, name=name: row["seconds"][name]) for name in PHASES},  # type: ignore[misc]
    "CPU s": (".1f", lambda row: sum(row["cpu_s"].values())),
    **{f"{name} CPU": (".1f", lambda row, name=name: row["cpu_s"][name]) for name in PHASES},  # type: ignore[misc]
    "tokens": (".0f", lambda row: row["tokens"]),
    "s/1k": (".2f", lambda row: 1000 * sum(row["seconds"].values()) / row["tokens"]),
    "forwarded": (",.0f", lambda row: sum(row["forwarded"].values())),
    "RSS MB": (".0f", lambda row: row["rss_mb"]),
}


def show(rows: Sequence[dict[str, Any]]) -> None:
    by_arm = {arm: sorted((row for row in rows if row["arm"] == arm), key=_repeat) for arm in ARMS}
    for runs in zip(*by_arm.values(), strict=True):
        if len({tuple(row["prompts"]) for row in runs}) > 1:
            sys.exit(
                f"error: the arms of repeat {runs[0]['repeat']} did not see the same prompts in the same order"
            )
    first, settings = rows[0], rows[0]["settings"]
    print(
        f"{settings['steps']} steps of {settings['batch_size'] * settings['accumulation']} prompts, "
        f"{settings['samples']} samples of {'' if settings['fixed'] else 'at most '}{settings['new_tokens']} tokens, "
        f"mean prompt {first['mean_prompt']:.0f} and teacher's reply {first['mean_reply']:.0f} tokens, "
        f"{first['dtype']}, {first['threads']} threads, {len(by_arm['advtrain'])} repeats\n"
    )
    print(f"| arm | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for arm, mine in by_arm.items():
        cells = [
            f"{statistics.median(value(row) for row in mine):{form}}" for form, value in COLUMNS.values()
        ]
        print(f"| {arm} | {' | '.join(cells)} |")
    compared = ("s/step", "CPU s", "s/1k", "RSS MB")
    print(f"\n| as many times advtrain's | {' | '.join(compared)} |\n|---|{'---|' * len(compared)}")
    for arm in ARMS[:-1]:
        print(f"| {arm} | {' | '.join(_ratio(by_arm[arm], by_arm['advtrain'], name) for name in compared)} |")
    print("\nMedian of the repeats; in brackets the least and the most.")


def _repeat(row: dict[str, Any]) -> int:
    return int(row["repeat"])


def _ratio(theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]], column: str) -> str:
    _, value = COLUMNS[column]
    ratios = sorted(value(a) / value(b) for a, b in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"


if __name__ == "__main__":
    main()
