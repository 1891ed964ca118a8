"""A small bag-of-tokens classifier: can words alone tell chosen from rejected? Advisory, since words may be the point.

Logistic regression on the difference of the two sides' hashed token counts, without intercept, so that swapping the
sides swaps the answer. It sees no order and no syntax. A high accuracy is a reason to look, not to refuse: where a
student always forgets the same call, that call separates the sides rightly.

Held: the hashed counts of at most 1,000 pairs, evenly drawn; 8 MB while fitting.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from advgen.audit.report import Finding
from advgen.audit.sample import Reservoir
from advgen.audit.shortcuts import FOLDS, MOST, exercises, group_key, score
from advgen.hygiene.features import tokens
from advgen.hygiene.pairs import PreferencePair

_PAIRS = 1000
_BUCKETS = 1024
_STEPS = 200
_DECAY = 1e-3
# Rows have length 1, so that the loss bends by at most 1/4 and the decay: a step of its inverse cannot overshoot.
_STEP = 1 / (0.25 + _DECAY)

Counts = dict[int, int]


class BagOfTokens:
    """The check: a warning where the lower bound on unseen exercises is above what one feature may reach."""

    def __init__(self) -> None:
        self._sample: Reservoir[tuple[int, int, Counts]] = Reservoir(_PAIRS)

    def add(self, pair: PreferencePair) -> None:
        """Count the tokens of both sides, if the pair is drawn."""
        self._sample.offer(
            lambda: (pair.row, group_key(pair.group), difference(pair.chosen.text, pair.rejected.text))
        )

    def findings(self) -> Iterator[Finding]:
        """One."""
        rows, groups, counts = zip(*self._sample.items, strict=True)
        exercise_N = exercises(groups)
        earned_N = cross_validated(counts, exercise_N)
        result = score(earned_N, exercise_N)
        beats = result.interval[0] > MOST
        told = sorted(row for row, credit in zip(rows, earned_N, strict=True) if credit == 1.0)
        yield Finding(
            check="shortcut:bag_of_tokens",
            severity="warning" if beats else "info",
            summary=(
                f"token counts tell chosen from rejected (advisory): accuracy {result} on {len(rows)} pairs"
            ),
            rows=told if beats else (),
            number=result.accuracy,
            interval=result.interval,
        )


def difference(chosen: str, rejected: str) -> Counts:
    """Hashed token -> how much oftener it stands in chosen; zeros left out."""
    counts = Counter(map(_bucket, tokens(chosen)))
    counts.subtract(Counter(map(_bucket, tokens(rejected))))
    return {bucket: count for bucket, count in counts.items() if count}


def _bucket(token: str) -> int:
    return zlib.crc32(token.encode()) % _BUCKETS


def cross_validated(counts: Sequence[Counts], exercise_N: Any) -> Any:
    """(N,) 1, 0 or a half (no token differs that was seen) for each pair, by weights fitted on other exercises."""
    import numpy as np

    x_NV = _unit_rows(counts)
    earned_N = np.full(len(counts), 0.5)
    for fold in range(FOLDS):
        held_N = exercise_N % FOLDS == fold
        margin_N = x_NV[held_N] @ fit(x_NV[~held_N])
        earned_N[held_N] = (1 + np.sign(margin_N)) / 2
    return earned_N


def _unit_rows(counts: Sequence[Counts]) -> Any:
    """(pairs N, buckets V), each row of length 1; a row of equal sides stays 0."""
    import numpy as np

    x_NV = np.zeros((len(counts), _BUCKETS), dtype=np.float32)
    for at, row in enumerate(counts):
        x_NV[at, list(row)] = list(row.values())
    return x_NV / np.maximum(np.linalg.norm(x_NV, axis=1, keepdims=True), 1e-12)


def fit(x_NV: Any) -> Any:
    """Weights (V,) that minimise the mean of log(1 + exp(-x w)) + decay/2 |w|^2, by gradient descent from 0."""
    import numpy as np

    w_V = np.zeros(x_NV.shape[1], dtype=np.float32)
    for _ in range(_STEPS if len(x_NV) else 0):
        miss_N = 1 / (1 + np.exp(x_NV @ w_V))
        w_V -= _STEP * (_DECAY * w_V - miss_N @ x_NV / len(x_NV))
    return w_V
