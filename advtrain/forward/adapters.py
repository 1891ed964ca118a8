"""Which adapter of a PeftModel a forward pass goes through: the one that trains, the frozen reference, another.

Loads a reference's weights into a model that is there; everything else about files is in `models`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from advcore.engine import loading

# PEFT's name for the adapter that is trained, TRL's for the frozen one that it is compared with, ours for that of GAD's
# discriminator.
POLICY, REFERENCE, DISCRIMINATOR = "default", "ref", "discriminator"


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


def copy_adapter(model: Any, source: str, target: str) -> None:
    """Give adapter `target` of the PeftModel the weights that `source` has."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if f".{source}." in name:
                weights[name.replace(f".{source}.", f".{target}.")].copy_(weight)
