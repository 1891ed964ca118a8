"""`rounds.json` of a dataset folder: what each round so far came to, oldest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advcore import contract
from advcore.runs import read_json, write_json

Funnel = Mapping[str, Any]
"""A round in numbers (`pipeline.funnel`)."""


def write(folder: Path, funnels: Sequence[Funnel]) -> None:
    """Store what the card says, and what the next round compares itself with."""
    write_json(folder / contract.ROUNDS, list(funnels))


def read(folder: Path) -> list[dict[str, Any]]:
    """Read what `write` stored; [] where there is none. Raises DataError when the file is broken."""
    return list(read_json(folder / contract.ROUNDS, []))
