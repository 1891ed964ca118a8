"""What the teacher could repair, from what the sandbox saw. Pure.

A report on a solution holds that program's own error and nothing of the other solutions. The value they agree on is
left out on purpose: a solution bent towards it would no longer be an independent witness, and agreement would show
nothing. For the same reason a solution that merely returns something else is no complaint.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Sequence

from advgen.parse import tree
from advgen.verify.failure import bounded
from advgen.verify.verification import Complaint
from sandbox import Output

MAX_REPORT_CHARS = 1_200
_CALLS_SHOWN = 3  # of one program, each with its error
_MUTANTS_SHOWN = 2
_LOADING = ("SyntaxError", "IndentationError", "TabError", "NameError: the solution does not define")


def solution(code: str, report: str) -> Complaint:
    """A complaint about one program."""
    return Complaint(kind="solution", code=code, report=bounded(report, MAX_REPORT_CHARS))


def calls(report: str) -> Complaint:
    """A wish for further calls."""
    return Complaint(kind="calls", report=bounded(report, MAX_REPORT_CHARS))


def failing(
    codes: Sequence[str], rows: Sequence[Sequence[Output]], sources: Sequence[str], wall_s: float
) -> Iterator[Complaint]:
    """Programs that raise or end where another one returns, or everywhere. `rows[i][j]`: program i on call j."""
    returns = [any(output.status == "ok" for output in column) for column in zip(*rows, strict=True)]
    for code, row in zip(codes, rows, strict=True):
        never = not any(output.status == "ok" for output in row)
        bad = [at for at, output in enumerate(row) if output.status != "ok" and (never or returns[at])]
        if bad:
            yield solution(code, _errors([(sources[at], row[at]) for at in bad], wall_s))


def _errors(failed: Sequence[tuple[str, Output]], wall_s: float) -> str:
    call, first = failed[0]
    if (first.error or "").startswith(_LOADING) and len({output.error for _, output in failed}) == 1:
        return f"The program cannot be used: {first.error}"
    if first.status not in ("ok", "error"):  # it took the rest of the calls with it
        return _ending(call, first.status, wall_s)
    shown = [f"{call} raises {output.error}"[:350] for call, output in failed[:_CALLS_SHOWN]]
    more = len(failed) - len(shown)
    return "\n".join([*shown, *([f"and {more} more calls fail"] if more else [])])


def _ending(call: str, status: str, wall_s: float) -> str:
    words = {
        "timeout": f"does not end within {wall_s:g} s", "memory": "takes too much memory",
        "output_limit": "prints too much", "exited": "ends the interpreter", "crash": "crashes the interpreter",
    }  # fmt: skip
    return f"{call[:300]} {words.get(status, f'ends as {status}')}"


def too_few(rows: Sequence[Sequence[Output]], sources: Sequence[str], unfit: Sequence[str]) -> Complaint:
    """More calls are wanted. Named are those that do not fit the signature, and those that no program returns from,
    since they hardly fit the statement.
    """
    lost = [f"{source} does not fit the signature"[:250] for source in unfit]
    lost += [
        f"{source} raises {column[0].error}"[:250]
        for source, column in zip(sources, zip(*rows, strict=True), strict=True)
        if all(output.status == "error" for output in column)
    ]
    if not lost:
        return calls("Too few of the calls lead to a result that solutions agree on.")
    return calls("\n".join(["These calls show nothing:", *lost[: 2 * _CALLS_SHOWN]]))


def surviving(reference: str, mutants: Sequence[str]) -> Complaint:
    """Calls are wanted that tell the reference from these wrong versions of it, shown as diffs."""
    before = ast.unparse(tree(reference)).splitlines()
    diffs = []
    for mutant in mutants[:_MUTANTS_SHOWN]:
        lines = difflib.unified_diff(before, mutant.splitlines(), n=1, lineterm="")
        diffs.append("\n".join(list(lines)[2:]))  # without the names of files, which there are none of
    head = "All calls so far give the same results when a right program is changed like this:"
    return calls("\n\n".join([head, *(diff[:500] for diff in diffs)]))
