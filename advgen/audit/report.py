"""What an audit has to say: findings with their rows, and how they look in a terminal. Measures nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

Severity = Literal["error", "warning", "info"]
_ORDER: dict[str, int] = {"error": 0, "warning": 1, "info": 2}
_STYLE = {"error": "bold red", "warning": "yellow", "info": "dim"}
_SHOWN_ROWS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing an audit measured. `rows` count from 0 in the order of reading; where they may be many, in an array."""

    check: str
    severity: Severity
    summary: str
    rows: Sequence[int] = ()
    number: float = 0.0
    """The figure that the check turns on: a share, an accuracy, a score. `summary` says which."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of `number`, where it has one."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Further figures, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """All findings on one preference set, the grave ones first."""

    source: str
    pairs: int
    findings: tuple[Finding, ...]

    @property
    def publishable(self) -> bool:
        """No finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain types only, every row of every finding included."""
        findings = [asdict(finding) | {"rows": list(finding.rows)} for finding in self.findings]
        return {
            "source": self.source, "pairs": self.pairs, "findings": findings, "publishable": self.publishable,
        }  # fmt: skip


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then what is only told; within each as measured."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def render(report: AuditReport) -> RenderableType:
    """The report as a table; of many rows the first few are shown."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "finding", "rows (from 0)"):
        table.add_column(heading, overflow="fold")
    for finding in report.findings:
        cells = (finding.severity, finding.check, printable(finding.summary), _rows(finding.rows))
        style = _STYLE[finding.severity]
        table.add_row(Text(cells[0], style=style), *(Text(cell) for cell in cells[1:]))
    verdict = "publishable" if report.publishable else "not publishable"
    return Group(Text(f"{printable(report.source)}: {report.pairs} pairs, {verdict}\n", style="bold"), table)


def _rows(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
    return ", ".join(map(str, rows[:_SHOWN_ROWS])) + more


def printable(text: str) -> str:
    """A summary can quote a dataset; a control character in it must not reach the terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
