"""The loop of generative adversarial distillation: TRL's GRPOTrainer against a discriminator that learns too.

Two stages in one loop. `warmup`: cross-entropy on the teacher's replies, while the discriminator learns to tell them
from the student's. `gad`: samples are scored by the discriminator before its step on them, z-scored within their
prompt, and followed by policy gradient, with a KL term to the student as the warm-up left it. Prompts are read once for
all that follows them: by the sampler, the discriminator, the student and its reference. Built by `method`.

Source: arXiv 2511.10643; TRL 1.16 `GRPOTrainer`. Shapes: B prompts of a step, N samples of each.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from torch.nn.utils.rnn import pad_sequence

from advcore import ConfigError, chat
from advcore.engine import names
from advtrain import models, patches, ranks
from advtrain.config import Gad, RunConfig
from advtrain.encoding import Reply, replies
from advtrain.forward import adapters, prefix, rollout
from advtrain.loop import checkpoints, order
from advtrain.methods.gad import alarms, metrics, probe
from advtrain.methods.gad.discriminator import Discriminator, Group, Scores
from advtrain.methods.gad.held_out import HeldOut
from advtrain.methods.gad.pairs import Ids, Pair, grouped

STATE = "discriminator.pt"  # in a checkpoint


class AdversarialTrainer(checkpoints.AtomicCheckpoints, trl.GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer against a discriminator that shares its samples.

    Its rows have `prompt` (messages) and `pair`, the number of one of `pairs`. `model_of_discriminator` is the
    PeftModel with the discriminator's adapter, `discriminator_tokenizer` the one that this reads by.
    """

    _buffered_inputs: Any

    def __init__(
        self, config: RunConfig, pairs: Sequence[Pair], model_of_discriminator: Any, discriminator_tokenizer: Any,
        warm_steps: int, held: HeldOut | None, **options: Any,
    ) -> None:  # fmt: skip
        def discriminator(**columns: Any) -> list[float]:  # TRL calls metrics by its name
            return self._rewarded(**columns)

        super().__init__(reward_funcs=[discriminator], **options)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ConfigError(
                "gad runs on one device or under DDP: the discriminator shares the student's weights"
            )
        self.config, self.pairs, self.warm_steps, self.held = config, pairs, warm_steps, held
        self.gad: Gad = config.gad
        self.discriminator_tokenizer = discriminator_tokenizer
        self.discriminator = Discriminator(
            model_of_discriminator.to(self.accelerator.device), config.discriminator,
            batch_size=config.train.batch_size, weight_decay=self.args.weight_decay,
            max_grad_norm=self.args.max_grad_norm, seed=config.seed,
        )  # fmt: skip
        self.shares = True
        """Whether samples may share their prompt: not in a model that takes no mask of ours."""
        self.warm_factor = config.gad.warmup_learning_rate / config.train.learning_rate
        self.clock: defaultdict[str, float] = defaultdict(float)
        self.tokens = Counter[str]()
        self._prompt_ids = {_key(pair.messages): pair.student.prompt for pair in pairs}
        self.add_callback(alarms.AlarmCallback())
        self.add_callback(_Stages(warm_steps, held, self._measure))
        self._patch()

    def _patch(self) -> None:
        base = self.model.get_base_model()
        self.eos_token_ids = sorted(chat.stop_ids(base, self._tokenizer))
        if self.use_vllm:
            patches.preserve_base_weights(self.vllm_generation, self.model)
        patches.score_selected(
            base, self._arranged, self._temperature, cast_lm_head_to_fp32=self.args.cast_lm_head_to_fp32
        )

    # --- who learns what ---------------------------------------------------------------------------------------

    @property
    def warming(self) -> bool:
        return bool(self.state.global_step < self.warm_steps)

    @property
    def discriminator_learns(self) -> bool:
        return self.gad.warmup != "student" if self.warming else not self.config.discriminator.frozen

    @property
    def student_learns(self) -> bool:
        if not self.warming:
            return True
        alone = self.discriminator_learns and self.state.global_step < self.config.discriminator.warmup_steps
        return self.gad.warmup != "discriminator" and not alone

    def _temperature(self) -> float:
        sampled: float = self.gad.temperature
        return 1.0 if self.warming else sampled

    def _arranged(self, ids: Any, mask: Any, labels: Any) -> Any:
        if not self.shares:
            return prefix.apart(ids, mask, labels)
        group = 1 if self.warming else self.num_generations
        members = torch.arange(len(ids), device=ids.device).view(-1, group)
        return prefix.share(ids, mask, labels, members)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Constant in each stage, after the rise that `train.warmup_ratio` asks for."""
        rise: int = max(1, self.args.get_warmup_steps(num_training_steps))

        def factor(step: int) -> float:
            risen = min(1.0, (step + 1) / rise)
            return risen * self.warm_factor if step < self.warm_steps else risen

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        return self.lr_scheduler

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's, whose order would hang on how many epochs this process has gone through."""
        return order.EpochSeeded(super()._get_train_sampler(dataset), self.args.seed, self)

    # --- one step ----------------------------------------------------------------------------------------------

    def _prepare_inputs(self, batch: Any) -> Any:
        """Its forward passes, made when the first is asked for: TRL would shuffle samples out of their groups."""
        turn = self._step % self.args.steps_per_generation
        if turn == 0 or self._buffered_inputs is None:
            self._buffered_inputs = self._warmup_inputs(batch) if self.warming else self._gad_inputs(batch)
        return self._buffered_inputs[turn]

    def _warmup_inputs(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The teacher's replies; the discriminator takes its step on samples that the student does not learn from."""
        self.beta, self.vllm_importance_sampling_correction = 0.0, False
        if self.discriminator_learns:
            self._generate_and_score_completions(batch)
        sequences = [self.pairs[row["pair"]].student for row in batch[:: self.num_generations]]
        tokens = torch.tensor(sum(len(each.reply) for each in sequences), device=self.accelerator.device)
        if self.student_learns:
            self.tokens["student"] += sum(len(each.prompt) + len(each.reply) for each in sequences)
        total = self.accelerator.gather(tokens).sum()
        sequences.sort(key=lambda each: -len(each.prompt) - len(each.reply))
        size = len(sequences) // self.args.steps_per_generation
        return [
            self._padded(sequences[at : at + size]) | {"num_items_in_batch": total}
            for at in range(0, len(sequences), size)
        ]

    def _padded(self, sequences: Sequence[Ids]) -> dict[str, Any]:
        """As TRL has them: prompts padded on the left, completions on the right."""
        sides = {}
        prompts, completions = [each.prompt for each in sequences], [each.reply for each in sequences]
        for name, rows, padding in (("prompt", prompts, "left"), ("completion", completions, "right")):
            ids = [torch.tensor(each, dtype=torch.long) for each in rows]
            sides[f"{name}_ids"] = pad_sequence(
                ids, batch_first=True, padding_value=self._tokenizer.pad_token_id, padding_side=padding
            ).to(self.accelerator.device)
            sides[f"{name}_mask"] = pad_sequence(
                [torch.ones_like(each) for each in ids], batch_first=True, padding_side=padding
            ).to(self.accelerator.device)
        return sides

    def _gad_inputs(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Samples with their advantages. Groups of like length share a forward pass."""
        if self.state.global_step == self.warm_steps and adapters.REFERENCE in self.model.peft_config:
            adapters.copy_adapter(self.model, adapters.POLICY, adapters.REFERENCE)
        self.beta = self.gad.beta
        self.vllm_importance_sampling_correction = self.args.vllm_importance_sampling_correction
        whole = self._generate_and_score_completions(batch)
        mask = torch.cat([whole["prompt_mask"], whole["completion_mask"]], 1)
        self.tokens["student"] += int(mask.sum())
        lengths_B = mask.sum(1).view(-1, self.num_generations).sum(1)
        order = lengths_B.argsort(descending=True, stable=True)
        rows = torch.arange(len(mask), device=mask.device).view(-1, self.num_generations)[order]
        parts = rows.view(self.args.steps_per_generation, -1)
        return [{name: _picked(value, part) for name, value in whole.items()} for part in parts]

    def _tokenize_prompts(self, prompts: Sequence[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """As they were encoded before training: what spells a control token stays text."""
        return [self._prompt_ids[_key(prompt)] for prompt in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, fields: Any, num_generations: int, **options: Any
    ) -> Any:
        with self._timed("rollout"):
            if self.use_vllm:
                ids, logps = super()._generate_single_turn(
                    prompt_ids, images, fields, num_generations, **options
                )
            else:
                model = self.accelerator.unwrap_model(self.model).get_base_model()
                with self.accelerator.autocast():
                    ids = rollout.sample(
                        model, prompt_ids[::num_generations], num_generations, self.gad.temperature,
                        self.gad.max_new_tokens, self.eos_token_ids,
                    )  # fmt: skip
                logps = None
        self.tokens["rollout"] += sum(map(len, ids))
        return ids, logps

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if "advantages" in inputs:
            return super()._compute_loss(model, inputs)
        if not self.student_learns:  # no gradient: with one of zeros weights decay, and AdamW counts a step
            return torch.zeros((), device=self.accelerator.device, requires_grad=True)
        mask = inputs["completion_mask"]
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model, torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], mask], 1), mask.shape[1], compute_entropy=True,
        )  # fmt: skip
        # Each process's share of the mean over all tokens of the step: gradients are averaged over processes.
        weight = self.accelerator.num_processes / inputs["num_items_in_batch"]
        self._metrics["train"]["entropy"].append((entropies * mask).sum().item() / mask.sum().item())
        return -(logps * mask).sum() * weight

    # --- the discriminator -------------------------------------------------------------------------------------

    def _rewarded(
        self, completion_ids: Sequence[list[int]], pair: Sequence[int], log_metric: Any, **_columns: Any
    ) -> list[float]:
        """TRL's reward of each sample: the discriminator's score before its step on all of them."""
        size = self.num_generations
        students = [replies.decode(self._tokenizer, ids, self.eos_token_ids) for ids in completion_ids]
        pairs = [self.pairs[number] for number in pair[::size]]
        samples = [students[at : at + size] for at in range(0, len(students), size)]
        groups = [self.grouped(each, some) for each, some in zip(pairs, samples, strict=True)]
        with self._timed("discriminator"):
            scores = self.discriminator.score_and_step(groups, learn=self.discriminator_learns)
        self.tokens["discriminator"] += sum(group.tokens for group in groups)
        rewards_BN = self.discriminator.rewards(scores.student_BN, groups)
        texts = [
            (each.teacher.text, reply.text)
            for each, some in zip(pairs, samples, strict=True)
            for reply in some
        ]
        for name, value in metrics.of_step(scores, groups, texts).items():
            log_metric(name, value)
        return [float(reward) for reward in rewards_BN.flatten()]

    def grouped(self, pair: Pair, samples: Sequence[Reply]) -> Group:
        """A pair with replies of the student, as the discriminator reads them."""
        return grouped(self.discriminator_tokenizer, pair, samples)

    # --- what held-out prompts need (`held_out.Answerer`) --------------------------------------------------------

    def answer(self, pairs: Sequence[Pair]) -> list[tuple[Reply, list[int]]]:
        base = self.accelerator.unwrap_model(self.model).get_base_model()
        prompts = [pair.student.prompt for pair in pairs]
        with self.accelerator.autocast():
            sampled = rollout.sample(base, prompts, 1, 0.0, self.gad.max_new_tokens, self.eos_token_ids)
        return [self._read(pair, ids) for pair, ids in zip(pairs, sampled, strict=True)]

    def _read(self, pair: Pair, sampled: list[int]) -> tuple[Reply, list[int]]:
        """A sample as text, and that text's ids, as the teacher's are."""
        reply = replies.decode(self._tokenizer, sampled, self.eos_token_ids)
        ids = replies.encode_after(self._tokenizer, pair.messages, pair.student.prompt, reply)
        return reply, ids or sampled  # half a character alone is no text: it stays what it was

    def features(self, replies: Sequence[probe.Reply]) -> torch.Tensor:
        policy = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast(), policy.disable_adapter():
            return probe.features(policy.get_base_model(), replies)

    def score(self, pairs: Sequence[Pair], replies: Sequence[Reply]) -> Scores:
        groups = [self.grouped(pair, [reply]) for pair, reply in zip(pairs, replies, strict=True)]
        return self.discriminator.score_and_step(groups, learn=False)

    def save(self, folder: Path) -> None:
        models.save_adapter(self, folder, names.base_name(self.config.model))

    # --- time, and what is kept --------------------------------------------------------------------------------

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.clock[phase] += time.monotonic() - started

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """TRL's, with seconds and tokens a second of each phase of an optimizer step."""
        started, others = time.monotonic(), sum(self.clock.values())
        output = super().training_step(model, inputs, num_items_in_batch)
        self.clock["student"] += time.monotonic() - started - (sum(self.clock.values()) - others)
        if self._step % self.current_gradient_accumulation_steps == 0:
            for phase, seconds in self.clock.items():
                self._metrics["train"][f"seconds/{phase}"].append(seconds)
                self._metrics["train"][f"tokens_per_s/{phase}"].append(self.tokens[phase] / seconds)
            self.clock.clear()
            self.tokens.clear()
        return output

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self._measure()

    def _measure(self) -> None:
        """After a checkpoint, so that an evaluation that fails can be mended and made up for."""
        if self.held:
            with checkpoints.writing(self.held.folder):
                self.held.measure(self, self.state.global_step)
            if ranks.is_main():
                self.held.prune()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            torch.save(self.discriminator.state(), Path(output_dir) / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint:
            self.discriminator.restore(torch.load(Path(checkpoint) / STATE, weights_only=True))


def _picked(value: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """These rows; a number is that of all of them."""
    return value[rows] if value.dim() else value


def _key(messages: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in messages)


class _Stages(transformers.TrainerCallback):  # type: ignore[misc]
    """Where the warm-up ends there is a checkpoint, to compare others with; and a run that goes on measures what it
    missed."""

    def __init__(self, warm_steps: int, held: HeldOut | None, measure: Callable[[], None]) -> None:
        self._warm_steps, self._held, self._measure = warm_steps, held, measure

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= state.global_step == self._warm_steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        held = self._held
        if held and ranks.is_main():
            held.forget_after(state.global_step)
        if held and ranks.broadcast(state.global_step > 0 and not held.knows(state.global_step)):
            self._measure()
