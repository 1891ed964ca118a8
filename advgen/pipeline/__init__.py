"""Building a round: `build` runs it; `validate` and `plan` say beforehand what is wrong and what it would ask for,
`check_kept` afterwards whether it came to anything.
"""

from __future__ import annotations

from advgen.pipeline.build import build
from advgen.pipeline.funnel import check_kept
from advgen.pipeline.plan import plan, validate

__all__ = ["build", "check_kept", "plan", "validate"]
