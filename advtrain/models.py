"""Loads models, tokenizers and adapters: the only module here that does.

Does not train and does not fetch: embedded names come from `advcore.engine.weights`. Called by `run`, `sft`, `dpo`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from advcore import ConfigError, hub
from advcore.engine import loading, names, weights
from advcore.settings import nearest
from advtrain import ranks
from advtrain.config import Lora, RunConfig

transformers.utils.logging.disable_progress_bar()

# PEFT's name for the adapter that is trained, TRL's for the frozen one that it is compared with, ours for GAD's other
# player.
POLICY, REFERENCE, DISCRIMINATOR = "default", "ref", "discriminator"


def on_gpu() -> bool:
    return bool(torch.cuda.is_available())


def locate(model: str) -> str:
    """What `from_pretrained` takes for `model`: the dense copy of an embedded name, else the name itself.

    Raises ConfigError when a name is neither embedded, nor a folder, nor in the form of a Hub id.
    """
    known = names.embedded()
    if model in known:
        return str(weights.dense(model, report=ranks.say))
    if Path(model).is_dir() or (hub.is_hub_id(model) and "@" not in model):
        return model
    raise ConfigError(f"unknown model {model}{nearest(model, known)}, a folder or a Hub id user/name")


def load_tokenizer(model: str) -> Any:
    """The tokenizer of `model`. Raises ConfigError when it cannot be read or has no chat template."""
    tokenizer = _from_pretrained(transformers.AutoTokenizer, model)
    if not tokenizer.chat_template:
        raise ConfigError(f"model {model} has no chat template; take its instruct version")
    return tokenizer


def load_base(model: str, flash: bool = False) -> Any:
    """The dense causal language model on the CPU, in the dtype of `loading.precision`, with its dropout as
    configured. Adapters on it are always float32: steps of 5e-6 vanish in bf16.

    With `flash` it takes flash attention where that is installed, on a GPU; which takes no mask of ours (`prefix`).
    """
    flash = flash and on_gpu() and transformers.utils.is_flash_attn_2_available()
    dtype, _ = loading.precision()
    return _from_pretrained(
        transformers.AutoModelForCausalLM, model, dtype=dtype,
        attn_implementation="flash_attention_2" if flash else "sdpa",
    )  # fmt: skip


def _from_pretrained(cls: Any, model: str, **options: Any) -> Any:
    with loading.loading(model):
        return cls.from_pretrained(locate(model), **options)


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
    config = _from_pretrained(transformers.AutoConfig, model).get_text_config()
    if adapter:
        check_adapter(adapter, model)
        names.weight_files(Path(adapter))
    with torch.device("meta"):
        base = transformers.AutoModelForCausalLM.from_config(config)
        parameters = base.num_parameters()
        policy = peft.get_peft_model(base, _lora_config(adapter, lora), adapter_name=POLICY)
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


def _lora_config(adapter: str, lora: Lora) -> peft.LoraConfig:
    """That of a new adapter, or of the one in a folder, which keeps its own shape."""
    if adapter:
        with loading.loading(adapter):
            found = peft.LoraConfig.from_pretrained(adapter)
        found.inference_mode = False
        return found
    return peft.LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=lora.target, task_type="CAUSAL_LM")


def load_policy(model: str, adapter: str, lora: Lora, seed: int, flash: bool = False) -> Any:
    """A PeftModel whose adapter trains: the one in folder `adapter`, or a new one when that is empty.

    `flash` as for `load_base`.

    Raises ConfigError when `adapter` is no adapter folder or belongs to another base.
    """
    base = load_base(model, flash)
    if adapter:
        check_adapter(adapter, model)
        with loading.loading(adapter):
            policy = peft.PeftModel.from_pretrained(base, adapter, adapter_name=POLICY, is_trainable=True)
        # A checkpoint asks what is named here whether its vocabulary has grown: not the Hub, then.
        policy.peft_config[POLICY].base_model_name_or_path = locate(model)
        return policy
    transformers.set_seed(seed)  # before the first weights of the adapter are drawn
    return peft.get_peft_model(base, _lora_config("", lora), adapter_name=POLICY)


def check_adapter(adapter: str, model: str) -> None:
    """Raise ConfigError unless `adapter` is a PEFT folder made on `model`."""
    file = Path(adapter) / "adapter_config.json"
    if not file.is_file():
        raise ConfigError(f"adapter {adapter} has no adapter_config.json")
    base = names.adapter_base(Path(adapter))
    if base != model and locate(base) != locate(model):
        raise ConfigError(f"adapter {adapter} was trained on {base}, not on {model}")


def reference(config: RunConfig) -> str:
    """The adapter or model that DPO compares with; empty for the base without an adapter."""
    return {"base": "", "previous": config.adapter}.get(config.reference, config.reference)


def is_adapter(folder: str) -> bool:
    return bool(folder) and (Path(folder) / "adapter_config.json").is_file()


def content_id(model: str, base: str) -> str:
    """What tells the weights of a model or of an adapter on `base` from all others; '' as `model` is the base itself.

    Hashes of local files; of a model on the Hub its name and commit.
    """
    if is_adapter(model):
        return f"{content_id('', base)}+{names.identity(model)}"
    name = model or base
    if name in names.embedded() or Path(name).is_dir():
        return names.identity(name)
    return f"{name}@{transformers.AutoConfig.from_pretrained(name)._commit_hash}"


def set_reference(model: Any, adapter: str) -> None:
    """Make `adapter` (a folder) the frozen reference of a PeftModel; the base without adapters when empty.

    TRL gives every PeftModel a copy of its own adapter as reference, so that copy is taken away first.
    """
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)
    if adapter:
        with loading.loading(adapter):
            model.load_adapter(adapter, REFERENCE, is_trainable=False)
    model.set_adapter(POLICY)


@contextmanager
def as_reference(model: Any) -> Iterator[None]:
    """Within the block the PeftModel is the reference that `set_reference` gave it. Not for use in a training step."""
    with as_adapter(model, REFERENCE) if REFERENCE in model.peft_config else model.disable_adapter():
        yield


@contextmanager
def as_adapter(model: Any, name: str) -> Iterator[None]:
    """Within the block this adapter of the PeftModel is the active one, and the one that takes gradients."""
    active = model.active_adapter
    model.set_adapter(name)
    try:
        yield
    finally:
        model.set_adapter(active)


def load_discriminator(config: RunConfig, policy: Any) -> Any:
    """A PeftModel with an adapter DISCRIMINATOR: the policy's own weights, or a base of its own where configured."""
    transformers.set_seed(config.seed + 1)  # its first weights are not the policy's
    own = config.discriminator.model
    if own:
        model = peft.get_peft_model(load_base(own), _lora_config("", config.lora), adapter_name=DISCRIMINATOR)
        return model.to(policy.device)
    policy.add_adapter(DISCRIMINATOR, _lora_config("", config.lora))
    return policy


def unharmed(merges: Callable[[], None], policy: Any) -> Callable[[], None]:
    """`merges`, after which the base is what it was: PEFT adds the adapter to it and takes it away again, each time
    with a rounding. A copy of the weights stays in the CPU's memory."""
    bases = {name: weight for name, weight in policy.named_parameters() if ".base_layer." in name}
    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in bases.items()}

    def merged() -> None:
        merges()
        with torch.no_grad():
            for name, weight in bases.items():
                weight.copy_(kept[name])

    return merged


def copy_adapter(model: Any, source: str, target: str) -> None:
    """Give adapter `target` of the PeftModel the weights that `source` has."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if f".{source}." in name:
                weights[name.replace(f".{source}.", f".{target}.")].copy_(weight)


def save_adapter(trainer: Any, folder: Path, base: str) -> None:
    """Write the trained adapter as a PEFT folder that names `base`; it appears whole or not at all.

    All ranks take part, since each may hold a shard; the main one writes.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if ranks.is_main():
        partial = folder.with_name(f".{folder.name}.tmp")
        model.peft_config[POLICY].base_model_name_or_path = base
        # Left to itself PEFT asks the Hub whether the vocabulary of `base` has grown.
        model.save_pretrained(
            partial, selected_adapters=[POLICY], save_embedding_layers=False, state_dict=state
        )
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's card is a form with nothing filled in
        partial.rename(folder)
    ranks.wait()
