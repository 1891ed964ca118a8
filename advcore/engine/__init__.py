"""Local inference: messages in, reply out; concurrent calls share batches. One file a backend.

`engines` opens them, `base` is what they share, `openvino` and `transformers` run models, `weights` fetches those that
are embedded, and `names` knows models by name and hash without loading one.
"""

from advcore.engine.base import MAX_SEQUENCES, Engine, PromptRefused, Reply, Sampling
from advcore.engine.engines import Backend, check, open_engine

__all__ = ["MAX_SEQUENCES", "Backend", "Engine", "PromptRefused", "Reply", "Sampling", "check", "open_engine"]
