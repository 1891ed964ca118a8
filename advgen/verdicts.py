"""What a judge's marks come to: one reply read, scores with intervals, position bias, control of length.

Pure: asks nothing, reads no files. `judge` calls it.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from advcore import stats
from advgen.parse import ParseError, answered

LOWEST, HIGHEST = 1, 10
FEWEST_PROMPTS = 10  # under this a bootstrap is too narrow to decide by (see stats.bootstrap)
MAX_UNJUDGED = 0.05  # share of answers without a score that is no longer passed over in silence
MAX_TIED = 0.8  # share of equal marks that a judge who can tell replies apart stays under
_KEYS = ("first", "second")

Marks = tuple[float, float]


def marks(text: str) -> Marks:
    """The marks of the first and the second reply: those of the last JSON object that holds both, thoughts left out.

    Raises ParseError where there is none, or where its marks are no numbers in range.
    """
    found = [each for each in _objects(answered(text)) if each.keys() >= set(_KEYS)]
    if not found:
        raise ParseError("no object with two marks")
    first, second = (found[-1][key] for key in _KEYS)
    if type(first) not in (int, float) or type(second) not in (int, float):
        raise ParseError("a mark that is no number")
    if not all(LOWEST <= mark <= HIGHEST for mark in (first, second)):
        raise ParseError(f"a mark that is not from {LOWEST} to {HIGHEST}")
    return first, second


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, those inside of others left out."""
    decoder, at = json.JSONDecoder(object_pairs_hook=_unambiguous), text.find("{")
    while at >= 0:
        end = at + 1
        with contextlib.suppress(ValueError, RecursionError):  # braces of something else
            value, end = decoder.raw_decode(text, at)
            yield value
        at = text.find("{", end)


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; an empty one where a key comes twice."""
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one answer. Marks are the student's, then the reference's; both are there when it is `judged`."""

    row: int
    sample: int
    prompt: str
    """Key of the prompt, equal for answers to the same one."""
    status: str
    """`judged`, `no_answer`, `no_reference`, `no_verdict` or `unreadable`."""
    reason: str = ""
    student_first: Marks = (math.nan, math.nan)
    reference_first: Marks = (math.nan, math.nan)
    student_chars: int = 0
    reference_chars: int = 0
    requests: tuple[str, ...] = ()
    """Journal keys of the reference, if one was asked for, and of the two verdicts."""

    @property
    def score(self) -> float:
        """The student's share of the marks in percent, over both orders."""
        return fmean((_share(self.student_first), _share(self.reference_first)))

    @property
    def first_position_bonus(self) -> float:
        """Points that the student gains by standing first."""
        return (_share(self.student_first) - _share(self.reference_first)) / 2

    @property
    def order_flips(self) -> bool:
        """Whether the better reply is another one in the other order."""
        (student, reference), (other_student, other_reference) = self.student_first, self.reference_first
        return (student - reference) * (other_student - other_reference) < 0

    @property
    def log_length_ratio(self) -> float:
        """log(student's characters / reference's), an empty reply counted as one character."""
        return math.log(max(1, self.student_chars) / max(1, self.reference_chars))

    def as_json(self) -> dict[str, Any]:
        """One line of `verdicts.jsonl`; what there is no value for is left out."""
        if self.status == "judged":
            return {**asdict(self), "score": self.score}
        given = ("row", "sample", "prompt", "status", "reason", "requests")
        return {name: value for name, value in asdict(self).items() if name in given}


def _pairs(judged: Iterable[Verdict]) -> list[Marks]:
    return [pair for verdict in judged for pair in (verdict.student_first, verdict.reference_first)]


def _tied(judged: Iterable[Verdict]) -> float:
    """Share of the requests in which both marks are the same."""
    return fmean(student == reference for student, reference in _pairs(judged))


def _share(pair: Marks) -> float:
    return 100 * pair[0] / sum(pair)


def summary(verdicts: Sequence[Verdict], seed: int = 0) -> dict[str, Any]:
    """All figures, in percent or points of it, with 95 % bootstrap intervals over prompts.

    `score` is the mean over answers of student / (student + reference), as in GAD (arXiv 2511.10643); `pooled_score`
    is the same share of all marks added up. `length_controlled_score` is the intercept of `length_controlled`. Raises
    ValueError where nothing was judged.
    """
    judged = [verdict for verdict in verdicts if verdict.status == "judged"]
    groups: dict[str, list[Verdict]] = {}
    for verdict in judged:
        groups.setdefault(verdict.prompt, []).append(verdict)
    student, reference = (fmean(each) for each in zip(*_pairs(judged), strict=True))
    scores = [[verdict.score for verdict in group] for group in groups.values()]
    bias = [[verdict.first_position_bonus for verdict in group] for group in groups.values()]
    return {
        "answers": len(verdicts), "judged": len(judged), "prompts": len(groups),
        "statuses": dict(Counter(verdict.status for verdict in verdicts).most_common()),
        "score": fmean(verdict.score for verdict in judged),
        "interval": stats.bootstrap_mean(scores, seed),
        "pooled_score": _share((student, reference)),
        "length_controlled_score": length_controlled(list(groups.values()), seed),
        "position_bias": {
            "first_position_bonus": fmean(verdict.first_position_bonus for verdict in judged),
            "interval": stats.bootstrap_mean(bias, seed),
            "order_flips": fmean(verdict.order_flips for verdict in judged),
        },
        "tied": _tied(judged),
        "mean_marks": {"student": student, "reference": reference},
        "mean_chars": {
            "student": fmean(verdict.student_chars for verdict in judged),
            "reference": fmean(verdict.reference_chars for verdict in judged),
        },
    }  # fmt: skip


Sums = tuple[float, float, float, float, float]


def length_controlled(groups: Sequence[Sequence[Verdict]], seed: int) -> dict[str, Any] | None:
    """The score at equal length: `a` of the least-squares line  y = a + b * x / sd(x)  over all answers.

    y is the score, x = log(student's characters / reference's), and x is not centred, so that `a` is the value at equal
    length. After the length-controlled win rate of AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475), which sets the
    length term of a logistic model to zero; here y is a share and not a win, so that the model is linear. `slope` is b,
    in points. None where all ratios are the same and no line can be laid.
    """
    sums = [_sums(group) for group in groups]
    count, x, _, xx, _ = _totals(sums)
    spread = math.sqrt(max(0.0, xx / count - (x / count) ** 2))
    if spread < 1e-9:
        return None
    intercept, slope = _line(sums)
    return {
        "score": intercept, "interval": stats.bootstrap(sums, lambda drawn: _line(drawn)[0], seed),
        "slope": slope * spread, "log_ratio_mean": x / count, "log_ratio_sd": spread,
    }  # fmt: skip


def _sums(group: Iterable[Verdict]) -> Sums:
    """Number, x, y, x * x and x * y, added up: all that a line needs of a group."""
    points = [(verdict.log_length_ratio, verdict.score) for verdict in group]
    return _totals([(1.0, x, y, x * x, x * y) for x, y in points])


def _totals(sums: Sequence[Sums]) -> Sums:
    count, x, y, xx, xy = map(math.fsum, zip(*sums, strict=True))
    return count, x, y, xx, xy


def _line(sums: Sequence[Sums]) -> tuple[float, float]:
    """Intercept and slope; a flat line where all x are the same, as in a draw of one prompt only."""
    count, x, y, xx, xy = _totals(sums)
    spread = xx - x * x / count
    slope = (xy - x * y / count) / spread if spread > 1e-9 * count else 0.0
    return (y - slope * x) / count, slope


def warnings(verdicts: Sequence[Verdict], unanswered: int) -> list[str]:
    """What a reader of the figures must know, each in one line."""
    judged = [verdict for verdict in verdicts if verdict.status == "judged"]
    ratios = [verdict.log_length_ratio for verdict in judged]
    total, lost = len(verdicts) + unanswered, len(verdicts) - len(judged) + unanswered
    found = []
    if lost > MAX_UNJUDGED * total:
        kinds = Counter(verdict.status for verdict in verdicts if verdict.status != "judged")
        said = ", ".join(
            f"{count} {status}" for status, count in (*kinds.items(), ("unanswered", unanswered)) if count
        )
        found.append(
            f"{lost} of {total} answers have no score ({said}): the figures stand on the others alone"
        )
    if (prompts := len({verdict.prompt for verdict in judged})) < FEWEST_PROMPTS:
        found.append(f"{prompts} prompts were judged: under {FEWEST_PROMPTS} the intervals are too narrow")
    if ratios and (min(ratios) > 0 or max(ratios) < 0):
        side = "longer" if min(ratios) > 0 else "shorter"
        found.append(f"every answer is {side} than its reference: the score at equal length is extrapolated")
    if judged and _tied(judged) > MAX_TIED:
        share = f"{100 * _tied(judged):.0f} %"
        found.append(
            f"in {share} of the verdicts both marks are the same: this judge hardly tells replies apart"
        )
    return found
