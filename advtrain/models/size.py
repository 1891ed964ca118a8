"""How large a policy is, counted without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from advcore.engine import names
from advtrain.config import Lora
from advtrain.forward import adapters
from advtrain.models.folders import check_adapter, lora_config
from advtrain.models.load import from_pretrained


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a policy that is not loaded."""

    parameters: int
    """Of the base."""
    trainable: int
    """Of the adapter."""
    hidden: int
    feed_forward: int
    """Width of a block's middle; four times the hidden size where the model's config has no word for it."""
    layers: int
    vocabulary: int
    cached: int
    """Numbers that attention keeps of a token while it samples."""


def size(model: str, adapter: str, lora: Lora) -> Size:
    """Of the policy that `load_policy` would load, counted without weights. Raises ConfigError as it does."""
    config = from_pretrained(transformers.AutoConfig, model).get_text_config()
    if adapter:
        check_adapter(adapter, model)
        names.weight_files(Path(adapter))
    with torch.device("meta"):
        base = transformers.AutoModelForCausalLM.from_config(config)
        parameters = base.num_parameters()
        policy = peft.get_peft_model(base, lora_config(adapter, lora), adapter_name=adapters.POLICY)
    trainable, _ = policy.get_nb_trainable_parameters()
    return Size(
        parameters=parameters, trainable=trainable, hidden=config.hidden_size, layers=config.num_hidden_layers,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size, cached=2 * config.num_hidden_layers * _heads_width(config),
    )  # fmt: skip


def _heads_width(config: Any) -> int:
    """Of the keys of a layer."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int((getattr(config, "num_key_value_heads", None) or heads) * width)
