"""Runs untrusted Python: fast, contained, and with verdicts that the program under test cannot forge.

Standard library only, Linux, Python >= 3.11. Does not install, download or trust anything; `docs/sandbox.md`
has the threat model.
"""

from .box import Probe, Sandbox, probe
from .determinism import nondeterminism
from .report import Failure, Limits, Output, Report, SandboxUnavailable
from .wire import CannotCross

__all__ = [
    "CannotCross",
    "Failure",
    "Limits",
    "Output",
    "Probe",
    "Report",
    "Sandbox",
    "SandboxUnavailable",
    "nondeterminism",
    "probe",
]
