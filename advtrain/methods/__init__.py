"""Training methods, each a file or a room of its own behind one seam, `base.Method`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
