"""Hugging Face folders and LoRA adapter folders on transformers, a batch at a time."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from advcore import chat
from advcore.chat import Message
from advcore.engine import loading, names, weights
from advcore.engine.base import MAX_SEQUENCES, Engine, Job, Reply, Sampling


class TransformersEngine(Engine):
    """Static batches of a Hugging Face folder, or of an adapter folder on its base, unmerged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__()

    def _load(self) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        base = self.folder
        # An adapter is asked as it was trained, without thoughts; another model as its template has it.
        self._is_adapter = (self.folder / "adapter_config.json").exists()
        if self._is_adapter:
            name = names.adapter_base(self.folder)
            base = weights.hf_folder(name) if name in names.embedded() else Path(name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with loading.loading(str(self.folder)):
            self._tokenizer = AutoTokenizer.from_pretrained(base)
            self._model = (
                AutoModelForCausalLM.from_pretrained(base, dtype=loading.precision()[0]).to(device).eval()
            )
            if base != self.folder:
                from peft import PeftModel

                self._model = PeftModel.from_pretrained(self._model, str(self.folder)).eval()
        self._torch = torch

    def _run(self, jobs: list[Job]) -> None:
        groups: dict[tuple[float, float, int], list[tuple[Job, list[int]]]] = {}
        for job, ids in self._encoded(jobs):
            sampling = job.sampling
            groups.setdefault((sampling.temperature, sampling.top_p, sampling.max_tokens), []).append(
                (job, ids)
            )
        for group in groups.values():
            group.sort(key=lambda pair: len(pair[1]))  # alike lengths pad little
            for start in range(0, len(group), MAX_SEQUENCES):
                self._batch(group[start : start + MAX_SEQUENCES])

    def _encode(self, messages: list[Message]) -> list[int]:
        if self._is_adapter:
            return chat.prompt_ids(self._tokenizer, messages)
        return chat.encode(self._tokenizer, messages, add_generation_prompt=True)

    def _batch(self, encoded: list[tuple[Job, list[int]]]) -> None:
        torch, sampling = self._torch, encoded[0][0].sampling
        width = max(len(ids) for _, ids in encoded)
        eos, pad = sorted(chat.stop_ids(self._model, self._tokenizer)), self._tokenizer.pad_token_id
        if pad is None:  # as Llama 3 has it; the mask hides padding, so that any id will do
            pad = next(iter(eos), 0)
        rows = [[pad] * (width - len(ids)) + ids for _, ids in encoded]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for _, ids in encoded]
        draw = self._draw(sampling, [job.sampling.seed for job, _ in encoded])
        device = self._model.device
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=torch.tensor(rows, device=device), attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=sampling.max_tokens, pad_token_id=pad, eos_token_id=eos or None,
                do_sample=False, logits_processor=draw,
            )  # fmt: skip
        for (job, ids), new in zip(encoded, output[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(new) if token in eos), None)
            text = self._tokenizer.decode(new[:end], skip_special_tokens=True)
            count = len(new) if end is None else end + 1
            self._answer(job, Reply(text, len(ids), count, "length" if end is None else "stop"))

    def _draw(self, sampling: Sampling, seeds: list[int]) -> list[Any]:
        """The logits processors that draw each row's token by its own seed; none for greedy replies."""
        if not sampling.temperature > 0:
            return []
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        nucleus = [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
        return [TemperatureLogitsWarper(sampling.temperature), *nucleus, _Draw(seeds)]


class _Draw:
    """A token a row, drawn with random numbers of the row's own: all logits but its own become -inf.

    `generate` itself draws from one stream for a whole batch, so that a reply would depend on what it shares it with.
    """

    def __init__(self, seeds: list[int]) -> None:
        self._chances = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: Any, logits_BV: Any) -> Any:
        import torch

        drawn = [[chance.random()] for chance in self._chances]
        below_BV = logits_BV.float().softmax(-1).cumsum(-1)
        points_B1 = torch.tensor(drawn, device=logits_BV.device) * below_BV[:, -1:]
        tokens_B1 = torch.searchsorted(below_BV, points_B1)
        return torch.full_like(logits_BV, -torch.inf).scatter_(1, tokens_B1, 0.0)
