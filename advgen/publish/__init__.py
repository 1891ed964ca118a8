"""What of a build is for others to load: the dataset's files, and the card that says what they are worth."""

from __future__ import annotations

from advgen.publish.card import write_card
from advgen.publish.dataset import DatasetWriter

__all__ = ["DatasetWriter", "write_card"]
