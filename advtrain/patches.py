"""x"""

from collections.abc import Callable
from typing import Any

import torch


def unharmed(merges: Callable[[], None], policy: Any) -> Callable[[], None]:
    """`merges`, after which the base is what it was: PEFT adds the adapter to it and takes it away again, each time
    with a rounding. A copy of the weights stays in the CPU's memory."""
    bases = {name: weight for name, weight in policy.named_parameters() if ".base_layer." in name}
    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in bases.items()}

    def merged() -> None:
        merges()
        with torch.no_grad():
            for name, weight in bases.items():
                weight.copy_(kept[name])

    return merged
