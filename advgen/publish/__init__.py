"""What of a build is for others: the dataset's files, the card that says what they are worth, and their upload."""

from __future__ import annotations

from advgen.publish.card import write_card
from advgen.publish.dataset import DatasetWriter
from advgen.publish.push import push

__all__ = ["DatasetWriter", "push", "write_card"]
