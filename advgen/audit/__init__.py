"""What a trainer could learn from a preference set other than correctness: `audit` finds it, `render` shows it."""

from __future__ import annotations

from advgen.audit.report import AuditReport, Finding, render
from advgen.audit.run import audit

__all__ = ["AuditReport", "Finding", "audit", "render"]
