"""Adapters as folders: whether one fits its base, what shape it has, and how one is written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft

from advcore import ConfigError
from advcore.engine import loading, names
from advtrain import ranks
from advtrain.config import Lora
from advtrain.forward import adapters
from advtrain.models.names import locate


def is_adapter(folder: str) -> bool:
    return bool(folder) and (Path(folder) / "adapter_config.json").is_file()


def check_adapter(adapter: str, model: str) -> None:
    """Raise ConfigError unless `adapter` is a PEFT folder made on `model`."""
    file = Path(adapter) / "adapter_config.json"
    if not file.is_file():
        raise ConfigError(f"adapter {adapter} has no adapter_config.json")
    base = names.adapter_base(Path(adapter))
    if base != model and locate(base) != locate(model):
        raise ConfigError(f"adapter {adapter} was trained on {base}, not on {model}")


def lora_config(adapter: str, lora: Lora) -> peft.LoraConfig:
    """That of a new adapter, or of the one in a folder, which keeps its own shape."""
    if adapter:
        with loading.loading(adapter):
            found = peft.LoraConfig.from_pretrained(adapter)
        found.inference_mode = False
        return found
    return peft.LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=lora.target, task_type="CAUSAL_LM")


def save_adapter(trainer: Any, folder: Path, base: str) -> None:
    """Write the trained adapter as a PEFT folder that names `base`; it appears whole or not at all.

    All ranks take part, since each may hold a shard; the main one writes.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if ranks.is_main():
        partial = folder.with_name(f".{folder.name}.tmp")
        model.peft_config[adapters.POLICY].base_model_name_or_path = base
        # Left to itself PEFT asks the Hub whether the vocabulary of `base` has grown.
        model.save_pretrained(
            partial, selected_adapters=[adapters.POLICY], save_embedding_layers=False, state_dict=state
        )
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's card is a form with nothing filled in
        partial.rename(folder)
    ranks.barrier()
