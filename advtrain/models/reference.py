"""What DPO compares with."""

from __future__ import annotations

from pathlib import Path

import transformers

from advcore.engine import names
from advtrain.config import RunConfig
from advtrain.models.folders import is_adapter


def reference(config: RunConfig) -> str:
    """The adapter or model that DPO compares with; empty for the base without an adapter."""
    return {"base": "", "previous": config.adapter}.get(config.reference, config.reference)


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
