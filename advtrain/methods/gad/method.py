"""Generative adversarial distillation: a student learns to be taken for its teacher by a discriminator that learns too.

Puts both players, their data and TRL's options together for `adversarial`, and keeps what a run leaves behind. Called
by `run`. Source: arXiv 2511.10643.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advcore import ConfigError, chat
from advcore.engine import names
from advtrain import models, ranks
from advtrain.config import RunConfig
from advtrain.encoding import replies
from advtrain.encoding.replies import Reply
from advtrain.encoding.rows import Example
from advtrain.forward import fused, prefix
from advtrain.loop.options import trl_options
from advtrain.methods.gad import alarms, held_out
from advtrain.methods.gad.held_out import HeldOut
from advtrain.methods.gad.trainer import AdversarialTrainer

# The paper's; TRL's are 1 and 0.
GRAD_CLIP, WEIGHT_DECAY = 0.2, 0.01
# GRPOConfig's words for what this loop does in its own way or cannot do: they would change nothing, or something else.
REFUSED = {
    "lr_scheduler_type", "lr_scheduler_kwargs", "mask_truncated_completions", "entropy_coef", "use_adaptive_entropy",
    "chat_template_kwargs", "shuffle_dataset", "save_strategy", "logging_strategy", "logging_steps", "reward_weights",
    "use_liger_kernel", "eval_strategy", "eval_on_start", "auto_find_batch_size", "data_seed", "fp16", "bf16",
    "generation_kwargs", "cache_implementation", "use_transformers_continuous_batching", "use_transformers_paged",
}  # fmt: skip
# And for what `rollout` does in its own way.
SAMPLING = {"top_p", "top_k", "min_p", "repetition_penalty"}


def options(config: RunConfig, folder: Path) -> trl.GRPOConfig:
    """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""
    if found := REFUSED & config.trl.keys():
        raise ConfigError(f'trl.{min(found)} does not go with method = "gad"')
    of_vllm = SAMPLING | {key for key in config.trl if key.startswith("vllm_")}
    if config.gad.rollouts == "transformers" and (found := of_vllm & config.trl.keys()):
        raise ConfigError(f'trl.{min(found)} is read by gad.rollouts = "vllm" only')
    if config.gad.rollouts == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ConfigError('gad.rollouts = "vllm" needs its package: pip install vllm')
    defaults = {
        "max_grad_norm": GRAD_CLIP,
        "weight_decay": WEIGHT_DECAY,
        "disable_dropout": True,
    } | config.trl
    return trl_options(
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
    trained, held = split(config, examples)
    rows = [_row(config, tokenizer, example) for example in trained]
    held_rows = [_row(config, tokenizer, example) for example in held]
    if config.gad.temperature != 1 and not fused.is_linear(policy.get_base_model()):
        raise ConfigError(f"{config.model} bends its logits behind the head: set gad.temperature = 1.0")
    warm_steps, all_steps = steps(config, len(rows), arguments.world_size)
    if arguments.max_steps < 0:
        arguments.max_steps = all_steps
    if arguments.use_vllm:  # it knows the model's own ends of a reply, not the template's
        stop = sorted(chat.stop_ids(policy.get_base_model(), tokenizer))
        arguments.generation_kwargs = {"stop_token_ids": stop}
    player = models.load_discriminator(config, policy)
    own = config.discriminator.model
    built = AdversarialTrainer(
        config, player, models.load_tokenizer(own) if own else tokenizer, warm_steps,
        HeldOut(folder, held_rows, config.gad.evaluation) if held else None,
        model=policy, args=arguments, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer,
    )  # fmt: skip
    _try_sharing(built, rows + held_rows)
    if own and arguments.gradient_checkpointing:
        player.enable_input_require_grads()
        player.gradient_checkpointing_enable()
        player.train()  # else nothing is computed again
        trl.trainer.utils.disable_dropout_in_model(player)
    if config.discriminator.start:
        built.judge.load(Path(config.discriminator.start), _stands_on(config))
    for model in {policy, player}:
        fused.fuse_lora(model)
    return built


def split(config: RunConfig, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Of those that were not dropped, the ones to train on and the ones held out."""
    kept = [example for example in examples if not example.dropped]
    prompts = [replies.of_teacher(example.row)[0] for example in kept]
    return held_out.split(kept, prompts, config.gad.held_out, config.seed)


def _try_sharing(built: AdversarialTrainer, rows: Sequence[dict[str, Any]]) -> None:
    """Settle for both players whether replies may share their prompt; on the longest, with replies as long as they may
    be."""

    def shares(model: Any, prompt: list[int], reply: list[int]) -> bool:
        longest = (reply * built.gad.max_new_tokens)[: built.gad.max_new_tokens]
        return prefix.takes_masks(model.get_base_model(), prompt, [longest] * 2)

    policy = built.accelerator.unwrap_model(built.model)
    encoded = (built.teacher_ids(row) for row in rows)
    built.shares = built.judge.shares = shares(policy, *max(encoded, key=lambda each: len(each[0])))
    if built.judge.model is not policy:
        groups = (built.grouped(row["prompt"], [Reply(row["text"], row["finished"])]) for row in rows)
        group = max(groups, key=lambda each: len(each.prompt))
        built.judge.shares = shares(built.judge.model, group.prompt, group.teacher)


def steps(config: RunConfig, rows: int, processes: int = 1) -> tuple[int, int]:
    """Optimizer steps of the warm-up, and of both stages. Raises ConfigError for fewer rows than one step takes."""
    per_step = config.train.batch_size * config.train.gradient_accumulation * processes
    per_epoch = rows // per_step
    if per_epoch < 1:
        raise ConfigError(
            f"{rows} rows to train on, without gad.held_out, are fewer than the {per_step} of one step"
        )
    epochs = {"warmup": config.gad.warmup_epochs, "gad": config.train.epochs}
    taken = {stage: round(per_epoch * epochs[stage]) for stage in config.gad.stages}
    if not all(taken.values()):
        raise ConfigError(f"a stage has no step: {taken} of {per_epoch} an epoch; train for more epochs")
    warm, alone = taken.get("warmup", 0), config.discriminator.alone_steps
    if warm and config.gad.warmup == "both" and alone >= warm:
        raise ConfigError(
            f"discriminator.alone_steps = {alone} leaves the student none of the warm-up's {warm} steps"
        )
    return warm, sum(taken.values())


def _row(config: RunConfig, tokenizer: Any, example: Example) -> dict[str, Any]:
    """What the trainer needs of a row. The teacher's reply is cut where the student's are; then it has not ended."""
    prompt, reply = replies.of_teacher(example.row)
    reply = replies.cut(tokenizer, prompt, reply, config.gad.max_new_tokens)
    return {"prompt": prompt, "text": reply.text, "finished": reply.finished}


def _stands_on(config: RunConfig) -> str:
    return names.base_name(config.discriminator.model or config.model)


def keep(built: AdversarialTrainer, config: RunConfig, folder: Path) -> None:
    """Write `discriminator.safetensors`, and `adapter`: the best on the held-out prompts, with `last` beside it.

    Without held-out prompts the last one is all there is.
    """
    base = names.base_name(config.model)
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
