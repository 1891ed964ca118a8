"""Loads models, tokenizers and adapters: the only module here that does.

Does not train and does not fetch: embedded names come from `advcore.engine.weights`. Called by the methods and `run`.
"""

from __future__ import annotations

from typing import Any

import peft
import torch
import transformers

from advcore import ConfigError
from advcore.engine import loading
from advtrain import patches
from advtrain.config import Lora, RunConfig
from advtrain.forward import adapters
from advtrain.loop import log
from advtrain.models.folders import check_adapter, lora_config
from advtrain.models.names import locate


def load_tokenizer(model: str) -> Any:
    """The tokenizer of `model`. Raises ConfigError when it cannot be read or has no chat template."""
    tokenizer = from_pretrained(transformers.AutoTokenizer, model)
    if not tokenizer.chat_template:
        raise ConfigError(f"model {model} has no chat template; take its instruct version")
    return tokenizer


def load_base(model: str, flash: bool = False) -> Any:
    """The dense causal language model on the CPU, in the dtype of `loading.precision`, with its dropout as
    configured. Adapters on it are always float32: steps of 5e-6 vanish in bf16.

    With `flash` it takes flash attention where that is installed, on a GPU; which takes no mask of ours (`prefix`).
    """
    flash = flash and torch.cuda.is_available() and transformers.utils.is_flash_attn_2_available()
    dtype, _ = loading.precision()
    loaded = from_pretrained(
        transformers.AutoModelForCausalLM, model, dtype=dtype,
        attn_implementation="flash_attention_2" if flash else "sdpa",
    )  # fmt: skip
    patches.use_our_attention(loaded)
    return loaded


def from_pretrained(cls: Any, model: str, **options: Any) -> Any:
    with loading.loading(model), log.quietly():
        return cls.from_pretrained(locate(model), **options)


def load_policy(model: str, adapter: str, lora: Lora, seed: int, flash: bool = False) -> Any:
    """A PeftModel whose adapter trains: the one in folder `adapter`, or a new one when that is empty.

    `flash` as for `load_base`.

    Raises ConfigError when `adapter` is no adapter folder or belongs to another base.
    """
    base = load_base(model, flash)
    if adapter:
        check_adapter(adapter, model)
        with loading.loading(adapter):
            policy = peft.PeftModel.from_pretrained(
                base, adapter, adapter_name=adapters.POLICY, is_trainable=True
            )
        # A checkpoint asks what is named here whether its vocabulary has grown: not the Hub, then.
        policy.peft_config[adapters.POLICY].base_model_name_or_path = locate(model)
        return policy
    transformers.set_seed(seed)  # before the first weights of the adapter are drawn
    return peft.get_peft_model(base, lora_config("", lora), adapter_name=adapters.POLICY)


def load_discriminator(config: RunConfig, policy: Any) -> Any:
    """A PeftModel with an adapter `adapters.DISCRIMINATOR`: the policy's own weights, or a base of its own."""
    transformers.set_seed(config.seed + 1)  # its first weights are not the policy's
    own = config.discriminator.model
    if own:
        model = peft.get_peft_model(
            load_base(own), lora_config("", config.lora), adapter_name=adapters.DISCRIMINATOR
        )
        return model.to(policy.device)
    policy.add_adapter(adapters.DISCRIMINATOR, lora_config("", config.lora))
    return policy
