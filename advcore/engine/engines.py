"""The engines of this process, one a model and backend, opened when they are first asked for."""

from __future__ import annotations

import threading
from typing import Literal

from advcore import extras
from advcore.engine import names, weights
from advcore.engine.base import Engine

Backend = Literal["auto", "openvino", "transformers"]


def open_engine(model: str, backend: Backend = "auto") -> Engine:
    """The engine for an embedded name, a Hugging Face model folder or a LoRA adapter folder; one per process and model.

    Raises ConfigError: unknown name, a folder that holds no model, a backend that cannot run it.
    """
    key = (model, backend)
    if key in _engines:  # without a lock: one model's download must not hold up another that is loaded
        return _engines[key]
    with _lock:
        opening = _opening.setdefault(key, threading.Lock())
    with opening:
        if key not in _engines:
            _engines[key] = _open(model, backend)
        return _engines[key]


def check(model: str, backend: Backend = "auto") -> None:
    """Raise ConfigError unless this machine can run the model: its name and folder, the backend, its libraries."""
    names.check_model(model, backend)
    libraries = ("openvino_genai", "gguf") if _on_openvino(model, backend) else ("torch", "transformers")
    for library in libraries:
        extras.need(library, f"the model {model}")


def _on_openvino(model: str, backend: Backend) -> bool:
    return backend == "openvino" or (backend == "auto" and model in names.embedded())


def _open(model: str, backend: Backend) -> Engine:
    check(model, backend)  # before weights are fetched
    from advcore.engine.openvino import OpenVinoEngine
    from advcore.engine.transformers import TransformersEngine

    if _on_openvino(model, backend):
        return OpenVinoEngine(weights.gguf_file(model))
    return TransformersEngine(
        weights.hf_folder(model) if model in names.embedded() else names.folder_of(model)
    )


_engines: dict[tuple[str, Backend], Engine] = {}
_opening: dict[tuple[str, Backend], threading.Lock] = {}
_lock = threading.Lock()
