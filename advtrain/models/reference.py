"""What tells the weights of one policy or reference from all others, and what a policy is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import transformers

from advcore import runs
from advcore.engine import names
from advtrain.config import RunConfig
from advtrain.models.folders import is_adapter


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What DPO compares with. Its ids hash weights, so each is worked out once, when it is asked for."""

    kind: Literal["base", "adapter", "model"]
    path: str
    """Of the adapter or the model; empty for the base without an adapter."""
    base: str
    """The model that is trained."""

    @cached_property
    def id(self) -> str:
        """As `policy_id`; a whole model is its name, or the hash of its weights if it is a folder."""
        if self.kind != "model":
            return policy_id(self.base, self.path)
        return names.identity(self.path) if Path(self.path).is_dir() else self.path

    @cached_property
    def content(self) -> str:
        """What tells its weights, its base's included, from all others."""
        if self.kind == "adapter":
            return f"{_content(self.base)}+{names.identity(self.path)}"
        return _content(self.path or self.base)


def reference(config: RunConfig) -> Reference:
    """The reference that `reference` of a config names."""
    path = {"base": "", "previous": config.adapter}.get(config.reference, config.reference)
    if not path:
        return Reference(kind="base", path="", base=config.model)
    return Reference(kind="adapter" if is_adapter(path) else "model", path=path, base=config.model)


def policy_id(model: str, adapter: str) -> str:
    """Base and content of the adapter on it: the same id for the same weights, wherever they lie."""
    return f"{model}+{adapter_hash(adapter)[:12]}" if adapter else model


def adapter_hash(folder: str) -> str:
    """The hash of an adapter's weights and of its shape."""
    return runs.sha256_of_files(names.weight_files(Path(folder)))


def _content(model: str) -> str:
    """Hashes of local files; of a model on the Hub its name and commit."""
    if model in names.embedded() or Path(model).is_dir():
        return names.identity(model)
    return f"{model}@{transformers.AutoConfig.from_pretrained(model)._commit_hash}"
