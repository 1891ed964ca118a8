"""Training methods, each a file or a room of its own behind one seam, `base.Method`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from advcore import DataError, contract
from advtrain import encoding, ranks
from advtrain.config import RunConfig

if TYPE_CHECKING:
    from advtrain.methods.base import Method


def of(config: RunConfig) -> Method:
    """The method of a run. It comes with the training libraries, which are imported here and not before."""
    from advtrain.methods.dpo import Dpo
    from advtrain.methods.gad.method import Gad
    from advtrain.methods.sft import Sft
    from advtrain.methods.soda import Soda

    dpo = {"dpo": Dpo, "gad": Soda}[config.dpo.config]
    methods: dict[str, type[Method]] = {"dpo": dpo, "gad": Gad, "sft": Sft}
    return methods[config.method](config)


def settled(config: RunConfig) -> RunConfig:
    """The config with what only the dataset can tell filled in. Raises DataError where that does not."""
    section = getattr(config, config.method)
    found = section.settled(lambda: _flip_rate(config.dataset))
    return config if found is section else dataclasses.replace(config, **{config.method: found})


def _flip_rate(dataset: str) -> float:
    rate = encoding.flip_rate(dataset)
    if rate is None:
        raise DataError(
            f"{dataset} has no {contract.CALIBRATION}: run advgen calibrate, or leave dpo.smoothing out"
        )
    ranks.print_main(f"label_smoothing = {rate:.4f}, as the dataset's {contract.CALIBRATION} says")
    return rate
