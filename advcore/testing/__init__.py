"""Fakes that ship with the package: with them the real code runs without a network and without a large model.

`FakeHub` is a Hugging Face Hub on loopback, `tiny_model` a random model in the form of a real one, and `servers` has
model servers that speak the providers' protocols.
"""

from advcore.testing.hub import FakeHub
from advcore.testing.tiny import tiny_model

__all__ = ["FakeHub", "tiny_model"]
