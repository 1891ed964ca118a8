"""Rows of a dataset to token ids, once: the one place where text is rendered and encoded for training."""

from .replies import Message, Reply
from .rows import IGNORED, Dataset, Example, Row, encode, flip_rate, load, messages, of_teacher

__all__ = [
    "IGNORED", "Dataset", "Example", "Message", "Reply", "Row", "encode", "flip_rate", "load", "messages",
    "of_teacher",
]  # fmt: skip
