"""The probability that a label is right, from who agreed with whom; fitted on statements whose answers are known.

Solutions of one model are no independent witnesses: they share their errors, and four that agree are worth far less
than four strangers. How much less is not assumed but fitted: two logistic regressions, on what can be seen without the
truth, give the probability that a rejected program is wrong and that a chosen one is right; a pair's is their product.
`data/truth.json` holds the weights of the embedded models on HumanEval+; `advgen consensus` fits a run's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import DataError
from advcore.settings import shipped
from advgen.verify.verification import Testimony

SHIPPED = "data/truth.json"
_DECAY = 2.0  # of the weights, in units of one observation
_STEPS = 50

REJECTED = (
    "share of the tests that it fails", "fails an example of the statement", "share of others that do as it does",
)  # fmt: skip
CHOSEN = ("share of all programs that do as it does",)
"""More votes (for a test, against it, of solutions, of attempts) were tried, and made the fit worse on unseen tasks."""


def rejected_features(told: Testimony, at: int, failed: Sequence[int]) -> list[float]:
    """Of attempt `at`, which fails the tests `failed`, in the order of REJECTED."""
    stated = any(told.votes[test].stated for test in failed)
    return [len(failed) / len(told.votes), float(stated), told.like_attempt[at]]


def chosen_features(told: Testimony) -> list[float]:
    """Of the reference, in the order of CHOSEN."""
    return [told.like_reference]


# --- logistic regression ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """P = 1 / (1 + exp(-(bias + sum of weight * feature)))."""

    weights: tuple[float, ...]
    bias: float

    def __call__(self, features: Sequence[float]) -> float:
        score = self.bias + math.fsum(w * x for w, x in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def fit(features: Sequence[Sequence[float]], right: Sequence[bool]) -> Logistic:
    """The logistic regression with the least log loss and decay, by Newton's method. Raises DataError without both
    kinds of cases.
    """
    import numpy as np

    if len(set(right)) < 2:
        raise DataError(f"of {len(right)} cases all are alike, so that nothing can be fitted")
    x_NF, y_N = np.array(features, dtype=float), np.array(right, dtype=float)
    middle_F, spread_F = x_NF.mean(0), np.maximum(x_NF.std(0), 1e-6)
    z_NF = np.hstack([(x_NF - middle_F) / spread_F, np.ones((len(x_NF), 1))])
    decay_F = np.full(z_NF.shape[1], _DECAY)
    decay_F[-1] = 1e-3
    w_F = np.zeros(z_NF.shape[1])
    for _ in range(_STEPS):
        p_N = 1 / (1 + np.exp(-(z_NF @ w_F)))
        bend_FF = (z_NF * (p_N * (1 - p_N))[:, None]).T @ z_NF + np.diag(decay_F)
        w_F -= np.linalg.solve(bend_FF, z_NF.T @ (p_N - y_N) + decay_F * w_F)
    weights_F = w_F[:-1] / spread_F
    return Logistic(weights=tuple(map(float, weights_F)), bias=float(w_F[-1] - weights_F @ middle_F))


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What gives a pair its probability."""

    rejected: Logistic
    """That a program that fails tests is wrong."""
    chosen: Logistic
    """That a program that passes all of them is right."""
    fitted_on: str
    """Models and statements, for whoever reads the number."""

    def of_chosen(self, told: Testimony) -> float:
        """The probability that the reference is right; given tests are the truth."""
        if told.given:
            return 1.0
        return self.chosen(chosen_features(told))

    def of_rejected(self, told: Testimony, at: int, failed: Sequence[int]) -> float:
        """The probability that attempt `at` is wrong, which fails the tests `failed`."""
        if told.given:
            return 1.0
        return self.rejected(rejected_features(told, at, failed))

    def as_json(self) -> dict[str, Any]:
        """With the name of each weight."""
        sides = {"rejected": (self.rejected, REJECTED), "chosen": (self.chosen, CHOSEN)}
        named = {
            side: {"bias": model.bias, "weights": dict(zip(names, model.weights, strict=True))}
            for side, (model, names) in sides.items()
        }
        return {"fitted_on": self.fitted_on, **named}


def load(path: Path | None = None) -> Truth:
    """The weights of a file that `advgen consensus` wrote, the shipped ones by default. Raises DataError."""
    file = path or shipped(SHIPPED)
    try:
        told = json.loads(file.read_text())
        sides = {
            side: Logistic(
                weights=tuple(float(told[side]["weights"][name]) for name in names),
                bias=float(told[side]["bias"]),
            )
            for side, names in (("rejected", REJECTED), ("chosen", CHOSEN))
        }
        return Truth(**sides, fitted_on=str(told["fitted_on"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{file} holds no weights of `advgen consensus`: {error}") from None
