"""Rows of a dataset to token ids, once: the one place where text is rendered and encoded for training."""

from .rows import Dataset, Example, encode, flip_rate, load, messages

__all__ = ["Dataset", "Example", "encode", "flip_rate", "load", "messages"]
