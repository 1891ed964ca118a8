"""Verification by execution: solutions x calls, test strength, determinism, attempts, the verifier's own error rates.

The only package of the data side that uses `sandbox`. Expected values are what independent solutions agree on; asserts
written from the statement alone are the cross-check. Nothing a model wrote runs outside the sandbox, and a
`sandbox_error` is never counted as a failed program: it raises. Asking a teacher to repair what failed is `pipeline`'s.
Finished datasets are checked by `reverify` (each row again) and `calibration` (error rates), imported where needed.
"""

from sandbox import SandboxUnavailable

from .stored import Solution, Stored
from .verification import TRUE, Attempt, Complaint, SandboxBroken, Testimony, Verification, Votes
from .verifier import Verifier

__all__ = [
    "TRUE",
    "Attempt",
    "Complaint",
    "SandboxBroken",
    "SandboxUnavailable",
    "Solution",
    "Stored",
    "Testimony",
    "Verification",
    "Verifier",
    "Votes",
]
