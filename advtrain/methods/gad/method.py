"""Generative adversarial distillation: a student learns to be taken for its teacher by a discriminator that learns too.

Puts student and discriminator, their data and TRL's options together for `trainer`, and keeps what a run leaves behind.
Source: arXiv 2511.10643.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import trl

from advcore import ConfigError, chat, runs
from advcore.engine import loading, names
from advtrain import models, patches, ranks
from advtrain.encoding import Dataset, Example
from advtrain.forward import fused, prefix, rollout
from advtrain.loop.options import trl_options
from advtrain.methods import base
from advtrain.methods.gad import alarms, held_out
from advtrain.methods.gad.held_out import HeldOut
from advtrain.methods.gad.pairs import Ids, Pair, pairs_of
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
# Our keys that set an option of GRPOConfig with another name.
OWN_KEYS = {
    "num_generations": "gad.samples", "max_completion_length": "gad.max_new_tokens", "use_vllm": "gad.rollouts",
    "steps_per_generation": "train.gradient_accumulation",
    "generation_batch_size": "train.batch_size",
}  # fmt: skip


class Gad(base.Method):
    """Policy gradient on the score of a discriminator that shares the student's weights and samples."""

    rows = "gad"

    @property
    def reply_tokens(self) -> int:
        return self.config.gad.max_new_tokens

    def options(self, folder: Path) -> trl.GRPOConfig:
        config, gad = self.config, self.config.gad
        self._check_options()
        defaults = {"max_grad_norm": GRAD_CLIP, "weight_decay": WEIGHT_DECAY, "disable_dropout": True}
        return trl_options(
            dataclasses.replace(config, trl=defaults | config.trl), folder, trl.GRPOConfig, OWN_KEYS, beta=gad.beta,
            temperature=gad.temperature, num_generations=gad.samples, max_completion_length=gad.max_new_tokens,
            use_vllm=gad.rollouts == "vllm", per_device_train_batch_size=config.train.batch_size * gad.samples,
            steps_per_generation=config.train.gradient_accumulation, generation_batch_size=None, num_iterations=1,
            remove_unused_columns=False,
        )  # fmt: skip

    def _check_options(self) -> None:
        config = self.config
        if found := REFUSED & config.trl.keys():
            raise ConfigError(f'trl.{min(found)} does not go with method = "gad"')
        of_vllm = SAMPLING | {key for key in config.trl if key.startswith("vllm_")}
        if config.gad.rollouts == "transformers" and (found := of_vllm & config.trl.keys()):
            raise ConfigError(f'trl.{min(found)} is read by gad.rollouts = "vllm" only')
        if config.gad.rollouts == "vllm" and importlib.util.find_spec("vllm") is None:
            raise ConfigError('gad.rollouts = "vllm" needs its package: pip install vllm')

    def used(self, examples: Sequence[Example]) -> dict[str, int]:
        trained, held = self.split(examples)
        return {"trained": len(trained), "held_out": len(held)}

    def split(self, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """Of those that were not dropped, the ones to train on and the ones held out."""
        kept = [example for example in examples if not example.dropped]
        prompts = [example.messages for example in kept]
        return held_out.split(kept, prompts, self.config.gad.held_out, self.config.seed)

    def steps(self, rows: int, processes: int = 1) -> int:
        return sum(self.stage_steps(rows, processes))

    def stage_steps(self, rows: int, processes: int = 1) -> tuple[int, int]:
        """Optimizer steps of the warm-up and of the stage `gad`. Raises ConfigError where one would have none."""
        config, gad = self.config, self.config.gad
        per_step = config.train.batch_size * config.train.gradient_accumulation * processes
        per_epoch = rows // per_step
        if per_epoch < 1:
            raise ConfigError(
                f"{rows} rows to train on, without gad.held_out, are fewer than the {per_step} of one step"
            )
        epochs = {"warmup": gad.warmup_epochs, "gad": config.train.epochs}
        taken = {stage: round(per_epoch * epochs[stage]) for stage in gad.stages}
        if not all(taken.values()):
            raise ConfigError(f"a stage has no step: {taken} of {per_epoch} an epoch; train for more epochs")
        warm, first = taken.get("warmup", 0), config.discriminator.warmup_steps
        if warm and gad.warmup == "both" and first >= warm:
            raise ConfigError(
                f"discriminator.warmup_steps = {first} leaves the student none of the warm-up's {warm} steps"
            )
        return warm, taken.get("gad", 0)

    def row_tokens(self, example: Example) -> int:
        """The discriminator reads the teacher's reply beside the samples, which are taken to be as long as can be."""
        return len(example.prompt) + (1 + self.config.gad.samples) * self.config.gad.max_new_tokens

    @property
    def adapter_bytes(self) -> int:
        """The discriminator's adapter is trained beside the student's; the reference's is there where `beta` asks."""
        return 2 * super().adapter_bytes + 4 * (self.config.gad.beta > 0)

    @property
    def companion(self) -> str:
        return self.config.discriminator.model

    def other_phases(self, size: models.Size, parts: Mapping[str, int], tokens: int) -> dict[str, int]:
        """Sampling: the weights, and the keys and values of what is sampled together."""
        dtype, _ = loading.precision()
        cached = min(tokens * self.config.train.gradient_accumulation, rollout.CACHE_TOKENS)
        return {"rollouts": parts["weights"] + parts["adapter"] + cached * size.cached * dtype.itemsize}

    def build(
        self, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
    ) -> AdversarialTrainer:  # fmt: skip
        """Student and discriminator over the examples that were not dropped.

        Raises ConfigError for a `[trl]` key or a discriminator that cannot be used, and for fewer rows than a step
        takes.
        """
        config, own = self.config, self.config.discriminator.model
        arguments, student = self.options(folder), policy.get_base_model()
        if config.gad.temperature != 1 and not fused.is_linear(student):
            raise ConfigError(f"{config.model} bends its logits behind the head: set gad.temperature = 1.0")
        own_tokenizer = models.load_tokenizer(own) if own else None
        trained, held = (pairs_of(some, own_tokenizer) for some in self.split(examples))
        warm_steps = self._settle(arguments, len(trained), student, tokenizer)
        model = models.load_discriminator(config, policy)
        trainer = AdversarialTrainer(
            config, trained, model, own_tokenizer or tokenizer, warm_steps,
            HeldOut(folder, held, config.gad.evaluation) if held else None,
            model=policy, args=arguments, train_dataset=_rows(trained), processing_class=tokenizer,
        )  # fmt: skip
        _try_sharing(trainer, trained + held)
        if own and arguments.gradient_checkpointing:
            _recompute(model)
        if config.discriminator.init_from:
            trainer.discriminator.load(Path(config.discriminator.init_from), self._stands_on())
        for each in {policy, model}:
            patches.fuse_lora(each)
        return trainer

    def _settle(self, arguments: trl.GRPOConfig, rows: int, student: Any, tokenizer: Any) -> int:
        """Give TRL the number of steps, and vLLM the ends of a reply; returns the steps of the warm-up."""
        stages = self.stage_steps(rows, arguments.world_size)
        if arguments.max_steps < 0:
            arguments.max_steps = sum(stages)
        if arguments.use_vllm:  # it knows the model's own ends of a reply, not the template's
            arguments.generation_kwargs = {"stop_token_ids": sorted(chat.stop_ids(student, tokenizer))}
        return stages[0]

    def _stands_on(self) -> str:
        return names.base_name(self.config.discriminator.model or self.config.model)

    def keep(self, trainer: AdversarialTrainer, folder: Path) -> None:
        """Write `discriminator.safetensors`, and `adapter`: the best on the held-out prompts, with `last` beside it.

        Without held-out prompts the last one is all there is.
        """
        if ranks.is_main():
            trainer.discriminator.save(folder / "discriminator.safetensors", self._stands_on())
            shutil.rmtree(folder / "last", ignore_errors=True)
        ranks.barrier()
        if not trainer.held:
            super().keep(trainer, folder)
            return
        trainer.save(folder / "last")
        if ranks.is_main():
            best, partial = held_out.best(held_out.measured(folder)), folder / ".adapter.tmp"
            shutil.copytree(trainer.held.adapter(best["step"]), partial, dirs_exist_ok=True)
            partial.rename(folder / "adapter")
        ranks.barrier()

    def results(
        self, trainer: Any, dataset: Dataset, examples: Sequence[Example], folder: Path
    ) -> dict[str, Any]:  # fmt: skip
        """The checkpoint chosen, and the alarms."""
        if not ranks.is_main():
            return {}
        rows = held_out.measured(folder)
        best = held_out.best(rows) if rows else None
        chosen = {name: value for name, value in best.items() if name != "samples"} if best else None
        return {"held_out": chosen, "warnings": alarms.of(folder / "metrics.jsonl")}

    def lineage(self) -> dict[str, Any]:
        file = self.config.discriminator.init_from
        parent = {"path": file, "sha256": runs.sha256_of_files([Path(file)])} if file else None
        return {**super().lineage(), "discriminator_parent": parent}


def _rows(pairs: Sequence[Pair]) -> datasets.Dataset:
    """What TRL draws from: the messages that it asks for, and the number of the pair."""
    return datasets.Dataset.from_list(
        [{"prompt": pair.messages, "pair": number} for number, pair in enumerate(pairs)]
    )


def _recompute(model: Any) -> None:
    """Let a discriminator with weights of its own keep no activations, as TRL does with the student."""
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.train()  # else nothing is computed again
    trl.trainer.utils.disable_dropout_in_model(model)


def _try_sharing(trainer: AdversarialTrainer, pairs: Sequence[Pair]) -> None:
    """Settle for student and discriminator whether replies may share their prompt; on the longest, with replies as long
    as they may be."""

    def shares(model: Any, read: Sequence[Ids]) -> bool:
        longest, most = max(read, key=lambda each: len(each.prompt)), trainer.gad.max_new_tokens
        reply = (longest.reply * most)[:most]
        return prefix.takes_masks(model.get_base_model(), longest.prompt, [reply] * 2)

    policy, discriminator = trainer.accelerator.unwrap_model(trainer.model), trainer.discriminator
    trainer.shares = discriminator.shares = shares(policy, [pair.student for pair in pairs])
    if discriminator.model is not policy:
        discriminator.shares = shares(discriminator.model, [pair.discriminator for pair in pairs])
