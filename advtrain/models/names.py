"""What a model is called, and where `from_pretrained` finds it."""

from __future__ import annotations

from pathlib import Path

from advcore import ConfigError, hub
from advcore.engine import names, weights
from advcore.settings import nearest
from advtrain import ranks


def locate(model: str) -> str:
    """What `from_pretrained` takes for `model`: the dense copy of an embedded name, else the name itself.

    Raises ConfigError when a name is neither embedded, nor a folder, nor in the form of a Hub id.
    """
    known = names.embedded()
    if model in known:
        return str(weights.hf_folder(model, report=ranks.print_main))
    if Path(model).is_dir() or (hub.is_hub_id(model) and "@" not in model):
        return model
    raise ConfigError(f"unknown model {model}{nearest(model, known)}, a folder or a Hub id user/name")
