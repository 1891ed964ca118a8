"""Models, tokenizers and adapters: loading them, their size, what tells their weights from others."""

from .folders import check_adapter, is_adapter, save_adapter
from .load import load_base, load_discriminator, load_policy, load_tokenizer
from .names import locate
from .reference import Reference, adapter_hash, policy_id, reference
from .size import Size, size

__all__ = [
    "Reference", "Size", "adapter_hash", "check_adapter", "is_adapter", "load_base", "load_discriminator",
    "load_policy", "load_tokenizer", "locate", "policy_id", "reference", "save_adapter", "size",
]  # fmt: skip
