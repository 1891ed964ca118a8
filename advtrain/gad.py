"""Generative adversarial distillation: a student learns to be taken for its teacher by a discriminator that learns too.

Puts both players, their data and TRL's options together for `adversarial`, and keeps what a run leaves behind. Called
by `run`. Source: arXiv 2511.10643.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advcore import ConfigError, engine
from advtrain import alarms, fused, held_out, models, ranks, replies, scoring, trainer
from advtrain.adversarial import AdversarialTrainer
from advtrain.config import RunConfig
from advtrain.data import Example
from advtrain.held_out import HeldOut

# The paper's; TRL's are 1 and 0.
GRAD_CLIP, WEIGHT_DECAY = 0.2, 0.01
# GRPOConfig's words for what is done here, and for what `rollout` does in its own way.
SCHEDULE = {"lr_scheduler_type", "lr_scheduler_kwargs"}
SAMPLING = {
    "top_p", "top_k", "min_p", "repetition_penalty", "generation_kwargs", "cache_implementation",
    "use_transformers_continuous_batching", "use_transformers_paged",
}  # fmt: skip


def options(config: RunConfig, folder: Path) -> trl.GRPOConfig:
    """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""
    if found := SCHEDULE & config.trl.keys():
        raise ConfigError(f"trl.{min(found)} would do nothing: the learning rate is constant in each stage")
    if config.gad.rollouts == "transformers" and (found := SAMPLING & config.trl.keys()):
        raise ConfigError(f'trl.{min(found)} is read by gad.rollouts = "vllm" only')
    defaults = {
        "max_grad_norm": GRAD_CLIP,
        "weight_decay": WEIGHT_DECAY,
        "disable_dropout": True,
    } | config.trl
    return trainer.options(
        dataclasses.replace(config, trl=defaults), folder, trl.GRPOConfig, beta=config.gad.beta,
        temperature=config.gad.temperature, num_generations=config.gad.samples,
        max_completion_length=config.gad.max_new_tokens, use_vllm=config.gad.rollouts == "vllm",
        per_device_train_batch_size=config.train.batch_size * config.gad.samples,
        steps_per_generation=config.train.gradient_accumulation, generation_batch_size=None, num_iterations=1,
        remove_unused_columns=False,
    )  # fmt: skip


def build(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> AdversarialTrainer:
    """Both players over the examples that were not dropped.

    Raises ConfigError for a `[trl]` key or a discriminator that cannot be used, and for fewer rows than a step takes.
    """
    arguments = options(config, folder)
    rows = [_row(example) for example in examples if not example.dropped]
    rows, held = held_out.split(rows, config.gad.held_out, config.seed)
    warm_steps, all_steps = steps(config, len(rows), arguments.world_size)
    if arguments.max_steps < 0:
        arguments.max_steps = all_steps
    player = models.load_discriminator(config, policy)
    own = config.discriminator.model
    built = AdversarialTrainer(
        config, player, models.load_tokenizer(own) if own else tokenizer, warm_steps,
        HeldOut(folder, held, config.gad.evaluation) if held else None,
        model=policy, args=arguments, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
    )  # fmt: skip
    longest = max(examples, key=lambda example: example.length)
    twice = longest.completions * 2
    built.shares = scoring.takes_masks(policy.get_base_model(), longest.prompt, twice)
    built.judge.shares = (
        scoring.takes_masks(player.get_base_model(), longest.prompt, twice) if own else built.shares
    )
    if config.discriminator.start:
        built.judge.load(Path(config.discriminator.start), _stands_on(config))
    for model in {policy, player}:
        fused.fuse_lora(model)
    return built


def steps(config: RunConfig, rows: int, processes: int = 1) -> tuple[int, int]:
    """Optimizer steps of the warm-up, and of both stages. Raises ConfigError for fewer rows than one step takes."""
    per_step = config.train.batch_size * config.train.gradient_accumulation * processes
    per_epoch = rows // per_step
    if not per_epoch:
        raise ConfigError(f"{rows} rows to train on are fewer than the {per_step} of one step")
    warm = round(per_epoch * config.gad.warmup_epochs) if "warmup" in config.gad.stages else 0
    return warm, warm + (round(per_epoch * config.train.epochs) if "gad" in config.gad.stages else 0)


def _row(example: Example) -> dict[str, Any]:
    """What the trainer needs of a row. A teacher that was cut has not ended its reply."""
    prompt, reply = replies.of_teacher(example.row)
    return {"prompt": prompt, "text": reply.text, "finished": reply.finished}


def _stands_on(config: RunConfig) -> str:
    return engine.base_name(config.discriminator.model or config.model)


def keep(built: AdversarialTrainer, config: RunConfig, folder: Path) -> None:
    """Write `discriminator.safetensors`, and `adapter`: the best on the held-out prompts, with `last` beside it.

    Without held-out prompts the last one is all there is.
    """
    base = engine.base_name(config.model)
    if ranks.is_main():
        built.judge.save(folder / "discriminator.safetensors", _stands_on(config))
        shutil.rmtree(folder / "last", ignore_errors=True)
    ranks.wait()
    if not built.held:
        models.save_adapter(built, folder / "adapter", base)
        return
    models.save_adapter(built, folder / "last", base)
    if ranks.is_main():
        best, partial = held_out.best(held_out.measured(folder)), folder / ".adapter.tmp"
        shutil.copytree(built.held.adapter(best["step"]), partial, dirs_exist_ok=True)
        partial.rename(folder / "adapter")
    ranks.wait()


def outcome(folder: Path) -> dict[str, Any]:
    """For the manifest: the checkpoint chosen, and the alarms."""
    rows = held_out.measured(folder)
    chosen = (
        {name: value for name, value in held_out.best(rows).items() if name != "samples"} if rows else None
    )
    return {"held_out": chosen, "warnings": alarms.of(folder / "metrics.jsonl")}
