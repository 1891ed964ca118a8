"""Building a round: `build` runs it; `validate` and `plan` say beforehand what is wrong and what it would ask for."""

from __future__ import annotations

from advgen.pipeline.build import build
from advgen.pipeline.plan import plan, validate

__all__ = ["build", "plan", "validate"]
