"""A tiny random model in the form of a real one; it predicts nothing. Its libraries are imported inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_CORPUS = (
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "Write a Python function that returns the sum of the numbers in a list.\n",
    "for index, value in enumerate(values):\n        if value is None:\n            continue\n",
    "system user assistant You are a helpful assistant. assert solution([1, 2, 3]) == 6\n",
)


def tiny_model(folder: Path) -> Path:
    """Save a random two-layer Qwen2 model (0.1 M parameters, float32) with its tokenizer; returns `folder`.

    The same weights every time. ChatML template as Qwen2.5's, without its default system message;
    `<|im_end|>` ends a turn, `<|endoftext|>` pads. Needs the `train` or the `local` extra.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tiny_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tiny_tokenizer() -> Any:
    """Qwen2's own tokenizer class over a vocabulary trained on a few lines: any text round-trips."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, min_frequency=1, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[_PAD, _START, _END],
    )  # fmt: skip
    bpe.train_from_iterator(_CORPUS, trainer)
    trained = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]],
        unk_token=None, eos_token=_END, pad_token=_PAD, extra_special_tokens=[_START],
        chat_template=_CHATML, model_max_length=4096,
    )  # fmt: skip
