"""Audits a preference set, ours or anybody's: what a trainer could learn from it other than correctness.

One pass over the rows; every check takes each pair in turn and says at the end what it found. What a check holds
stands in its own module: some bytes for every pair, texts only for bounded samples, the rest on disk. Nothing is
changed, and nothing is run here: who wants the programs run gives `reexecute`. Called by the `audit` command, and by
`build` before it calls a dataset publishable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from advgen.audit import rows
from advgen.audit.classifier import BagOfTokens
from advgen.audit.contamination import Contamination
from advgen.audit.diversity import Diversity
from advgen.audit.duplicates import Duplicates
from advgen.audit.execution import Claimed, Executed, Passes
from advgen.audit.failures import FailureKinds, Parsing, SameSides
from advgen.audit.lengths import LengthRatios, TokenLengths
from advgen.audit.report import AuditReport, Finding, ordered
from advgen.audit.shortcuts import Shortcuts
from advgen.audit.truth import LabelNoise
from advgen.hygiene.pairs import PreferencePair


class Check(Protocol):
    """One question to a set."""

    def add(self, pair: PreferencePair) -> None:
        """Take one pair."""

    def findings(self) -> Iterator[Finding]:
        """What all pairs together amount to; asked once, after at least one pair."""


def audit(
    source: str,
    *,
    benchmarks: Sequence[Path] = (),
    max_tokens: int = 1024,
    tokenizer: str = "",
    reexecute: Passes | None = None,
) -> AuditReport:
    """Every check on a folder, a JSONL or Parquet file, or a Hub id `user/name@revision`.

    `benchmarks` are files of public benchmarks beside those that are known by hash; `max_tokens` is what the trainer
    keeps of a row; `tokenizer` a Hub id or folder, else tokens are estimated. `reexecute(code, tests_json,
    entry_point)` runs a program in a sandbox and says whether it passes. Raises DataError for what is no preference
    set.
    """
    pairs = 0
    with (
        closing(Duplicates()) as duplicates,
        closing(Shortcuts()) as shortcuts,
        closing(Diversity()) as diversity,
    ):
        checks: list[Check] = [
            LabelNoise(), Parsing(), SameSides(), duplicates, Contamination(benchmarks, reexecute),
            Executed(reexecute) if reexecute else Claimed(), shortcuts, BagOfTokens(), FailureKinds(), LengthRatios(),
            TokenLengths(max_tokens, tokenizer), diversity,
        ]  # fmt: skip
        for pair in rows.read(source):
            pairs += 1
            for check in checks:
                check.add(pair)
        findings = [finding for check in checks for finding in check.findings()]
    return AuditReport(source=source, pairs=pairs, findings=ordered(findings))
