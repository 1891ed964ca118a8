"""Models, tokenizers and adapters: loading them, their size, what tells their weights from others."""

from .folders import check_adapter, is_adapter, save_adapter
from .load import load_base, load_discriminator, load_policy, load_tokenizer
from .names import locate
from .reference import content_id, reference
from .size import Size, size

__all__ = [
    "Size", "check_adapter", "content_id", "is_adapter", "load_base", "load_discriminator", "load_policy",
    "load_tokenizer", "locate", "reference", "save_adapter", "size",
]  # fmt: skip
