"""How an attempt failed, in the words of the field. Pure.

`truncated`, `no_code`, `syntax`, `wrong_name`, `wrong_signature`, `exception:<Type>`, `wrong_answer`, `timeout`,
`memory`, `output_limit`, `crash`, `exited`, `tampered`, `flaky`.
"""

from __future__ import annotations

import ast
import builtins
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from advcore.contract import helper
from advcore.literals import Raised, arguments, outcome_of
from advgen.parse import ParseError, tree
from sandbox import Report

MAX_DETAIL_CHARS = 300
NO_ANSWER = ("empty reply", "thoughts alone")
_FUNCTION = re.compile(r"^[ \t]*(async[ \t]+)?def\s|\blambda\b", re.MULTILINE)


def of_text(text: str, problem: ParseError) -> str:
    """The kind of a reply that holds no program to run."""
    reason = str(problem)
    if reason == "truncated":
        return reason
    if reason in NO_ANSWER or not _FUNCTION.search(text):
        return "no_code"
    return "wrong_name" if reason == "no such function" else "syntax"


def of_report(report: Report, code: str, entry_point: str, call: str) -> str:
    """The kind of a run that did not pass; `call` is that of the first failed test, '' where none was reached."""
    if report.status == "fail":
        return "wrong_answer"
    if report.status != "error" or report.error is None:
        return report.status
    kind = getattr(builtins, report.error.type, None)
    # A class that the program itself defines lends no name to the data: it is the model's text.
    kind = kind if isinstance(kind, type) and issubclass(kind, BaseException) else Exception
    if issubclass(kind, SyntaxError) and not call:  # what parses may still not compile
        return "syntax"
    if kind is TypeError and call and not _accepts(code, entry_point, call):
        return "wrong_signature"
    return f"exception:{kind.__name__}"


def _accepts(code: str, entry_point: str, call: str) -> bool:
    """Whether the entry point can be called with as many arguments; True where that cannot be read off its text."""
    found = [
        node
        for node in tree(code).body
        if isinstance(node, ast.FunctionDef) and node.name == entry_point and not node.decorator_list
    ]
    if not found:
        return True
    takes, given = found[-1].args, len(arguments(call))
    most = math.inf if takes.vararg else len(takes.posonlyargs) + len(takes.args)
    least = len(takes.posonlyargs) + len(takes.args) - len(takes.defaults)
    return least <= given <= most and all(takes.kw_defaults)


def detail(report: Report, tests: Sequence[Mapping[str, Any]], failed: int) -> str:
    """What happened, for a person: the test, what it expects and what came, or the error."""
    error = report.error
    if error is None:
        return ""
    if report.status != "fail" or failed < 0 or "call" not in tests[failed]:
        return bounded(f"{error.type}: {error.message}")
    expected, got = outcome_of(tests[failed]), error.got
    if isinstance(expected, Raised):
        came = "it was not raised"
    elif helper(tests[failed]):  # which keeps the value to itself
        came = "got another value"
    else:
        came = f"got {got}"
    return bounded(f"test {failed}, {tests[failed]['call']}: expected {expected}, {came}")


def bounded(text: str, most: int = MAX_DETAIL_CHARS) -> str:
    """Cut, and free of lone surrogates, which would break who writes it down."""
    return text[:most].encode(errors="replace").decode()
