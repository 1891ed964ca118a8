"""How dense models are loaded with transformers, here and by training: in what precision, and with which errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from advcore import ConfigError


def precision() -> tuple[Any, str]:
    """The torch dtype in which a dense model is held on this machine, and why."""
    import torch

    if torch.cuda.is_available():
        return torch.bfloat16, "GPU"
    able = torch.cpu.get_capabilities()
    if able.get("amx_bf16") or able.get("avx512_bf16"):
        return torch.bfloat16, "CPU with bf16 instructions"
    return torch.float32, "CPU without bf16 instructions"


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turns what transformers and PEFT raise for files that they cannot use into a ConfigError that names `model`."""
    from safetensors import SafetensorError

    try:
        yield
    except ConfigError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"cannot load model {model}: {reason}") from None
