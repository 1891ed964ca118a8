"""What TRL gets to know of a run: our config's options, this machine's, and those of `[trl]`, in that order.

Knows no loss and no dataset. Called by every method.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import torch

from advcore import ConfigError
from advcore.settings import nearest
from advtrain.config import RunConfig

# TRL options that have a key of their own here; two places for one number would disagree sooner or later.
OWN_KEY = {
    "output_dir": "--out",
    "seed": "seed",
    "max_length": "max_length",
    "learning_rate": "train.learning_rate",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "warmup_steps": "train.warmup_ratio",
    "save_steps": "train.checkpoint_steps",
    "report_to": "report_to",
}
# TRL options about text and loading, which are done here before TRL sees the rows: they would be ignored.
DONE_HERE = {
    "truncation_mode", "chat_template_path", "dataset_text_field", "assistant_only_loss",
    "completion_only_loss", "eos_token", "model_init_kwargs", "dataset_kwargs", "skip_prepare_dataset",
}  # fmt: skip

# TRL options that put another reference in the place of the one that `reference` names, or move it.
REFERENCE_HERE = {"precompute_ref_log_probs", "sync_ref_model"}


def trl_options(
    config: RunConfig, folder: Path, cls: Any, own_keys: dict[str, str] | None = None, **method: Any
) -> Any:
    """A `cls` (DPOConfig, SFTConfig or GRPOConfig) for this run; `method` holds what only that method has,
    `own_keys` which of our keys set an option of another name.

    Raises ConfigError for a `[trl]` key that TRL does not know, that has its own key here, or that TRL
    refuses.
    """
    if config.report_to != "none" and importlib.util.find_spec(config.report_to) is None:
        raise ConfigError(f"report_to = {config.report_to} needs its package: pip install {config.report_to}")
    ours = _from_config(config, folder) | _from_machine() | method
    known = {field.name for field in dataclasses.fields(cls) if field.init}
    for key in config.trl:
        if key not in known:
            raise ConfigError(f"unknown key trl.{key}{nearest(key, known)}")
        if key in OWN_KEY or key in method:
            own = {field.name for field in dataclasses.fields(getattr(config, config.method))}
            named = {name: f"{config.method}.{name}" for name in own} | OWN_KEY | (own_keys or {})
            raise ConfigError(f"trl.{key} is set by {named.get(key, f'method = {config.method}')}")
        if key in DONE_HERE:
            raise ConfigError(f"trl.{key} would do nothing: advtrain loads the model and tokenises by itself")
        if key == "save_only_model":
            raise ConfigError("trl.save_only_model would leave checkpoints that no run can go on at")
        if key in REFERENCE_HERE:
            raise ConfigError(f"trl.{key} would change the reference, which `reference` alone decides")
    try:
        return cls(**(ours | config.trl))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"TRL refuses these options: {str(error).strip().splitlines()[0]}") from None


def _from_config(config: RunConfig, folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "checkpoints"),
        "seed": config.seed,
        "learning_rate": config.train.learning_rate,
        "num_train_epochs": config.train.epochs,
        "per_device_train_batch_size": config.train.batch_size,
        "gradient_accumulation_steps": config.train.gradient_accumulation,
        "warmup_steps": config.train.warmup_ratio,
        "save_steps": config.train.checkpoint_steps,
        "save_total_limit": 2,  # one may be half-written when the run is killed
        "logging_steps": 1,
        "report_to": config.report_to,
        "disable_tqdm": True,
    }


def _from_machine() -> dict[str, Any]:
    """GPU: bf16 autocast and gradient checkpointing. CPU: neither, the weights' own dtype computes."""
    gpu = torch.cuda.is_available()
    return {
        "use_cpu": not gpu,
        "bf16": gpu,
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
    }
