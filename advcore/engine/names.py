"""Names, folders and hashes of local models; loads none.

A model is an embedded name, a Hugging Face folder or a LoRA adapter folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from advcore import ConfigError
from advcore.engine import weights
from advcore.settings import nearest


def embedded() -> list[str]:
    """The names of the embedded models (the manifest holds other files too)."""
    return [name for name, entry in weights.manifest().items() if entry.file.endswith(".gguf")]


def check_model(model: str, backend: str = "auto") -> None:
    """Raise ConfigError, naming the nearest, unless `model` is an embedded model or a folder that holds one, and
    `backend` runs it.
    """
    if model in embedded():
        return
    folder_of(model)
    if backend == "openvino":
        raise ConfigError(f"openvino runs the embedded models only ({', '.join(embedded())}), not {model}")


def identity(model: str) -> str:
    """Content hash of a local model's weights: a retrained adapter at the same path is another model.

    Raises ConfigError for an unknown name and for a folder without weights.
    """
    if model in embedded():
        return weights.manifest()[model].sha256
    folder = folder_of(model)
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    if (folder / "adapter_config.json").exists():
        base = adapter_base(folder)
        digest.update((identity(base) if base in embedded() or Path(base).is_dir() else base).encode())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weights of a model or adapter folder: safetensors, else PyTorch's own form. ConfigError when neither."""
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not found:
        raise ConfigError(f"{folder} holds no weights (*.safetensors or *.bin)")
    return found


def adapter_base(folder: Path) -> str:
    """What the adapter in `folder` stands on: an embedded name, a folder or a Hub id.

    An adapter trained on an embedded model names the Hub id of its weights, so that others can load it; here that id
    means the embedded copy again. Raises ConfigError when `adapter_config.json` is malformed.
    """
    file = folder / "adapter_config.json"
    try:
        base = str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{file} is no PEFT adapter config that names its base model") from None
    return next((name for name in embedded() if weights.manifest()[name].base_model == base), base)


def base_name(model: str) -> str:
    """By what an adapter on `model` names its base: `adapter_base` undone."""
    return weights.manifest()[model].base_model if model in embedded() else model


def folder_of(model: str) -> Path:
    """The folder of a model that is not embedded. Raises ConfigError, naming the nearest, when there is none."""
    folder = Path(model)
    if not folder.is_dir():
        raise ConfigError(
            f"no local model {model}{nearest(model, embedded())}, or the path of a model folder"
        )
    if not ((folder / "config.json").exists() or (folder / "adapter_config.json").exists()):
        raise ConfigError(f"{model} holds neither a model (config.json) nor an adapter (adapter_config.json)")
    return folder
