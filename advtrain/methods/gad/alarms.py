"""What is wrong while GAD trains, in numbers.

Reward is no sign of success: it is relative to a discriminator that moves. Reads the metrics of steps, trains nothing.
Called by `trainer` and `method`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import transformers

from advcore import runs
from advtrain import ranks

WINDOW = 20
"""Steps whose mean an alarm looks at."""
MOST_ACCURATE = 0.95
"""A discriminator that tells more than this apart gives the student nothing to climb."""
DRIFT = 1.5
"""Ratio of the sides' lengths beyond which they drift apart."""
CLIPPED = 0.5
"""Share of samples that may be cut: how long they would be is not known of those."""
COLLAPSED = 0.02
"""Standard deviation of the scores of one prompt's samples below which they are as good as alike."""
BY_LENGTH = 0.6
"""Share of pairs that length alone tells apart from which it may be what the discriminator has learnt."""


def active(steps: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return name -> line with its numbers, of each alarm that the mean of these steps' metrics sets off."""
    if not steps:
        return {}

    def mean(name: str) -> float:
        return fmean(step[name] for step in steps)

    accuracy, longer = mean("discriminator/accuracy"), mean("length/longer")
    student, teacher = mean("length/student"), mean("length/teacher")
    by_length, spread = max(longer, 1 - longer), mean("discriminator/spread")
    clipped = mean("completions/clipped_ratio")
    found = {
        "accuracy": accuracy > MOST_ACCURATE
        and f"the discriminator tells {accuracy:.0%} apart, over {MOST_ACCURATE:.0%}: rewards say little",
        "length": not teacher / DRIFT <= student <= teacher * DRIFT
        and f"replies have {student:.0f} tokens, the teacher's {teacher:.0f}: over a factor of {DRIFT:g}",
        "clipped": clipped > CLIPPED
        and f"{clipped:.0%} of the samples are cut at gad.max_new_tokens, over {CLIPPED:.0%}",
        "collapse": spread < COLLAPSED
        and f"the scores of a prompt's samples deviate by {spread:.4f}, below {COLLAPSED:g}: they are scored alike",
        "by_length": by_length > BY_LENGTH
        and by_length > accuracy - 0.02
        and f"length alone tells {by_length:.0%} apart, the discriminator {accuracy:.0%}: it may know no more",
    }
    return {name: line for name, line in found.items() if line}


class Alarms:
    """Which alarms began at which step, as steps are seen."""

    def __init__(self) -> None:
        self._steps: deque[Mapping[str, float]] = deque(maxlen=WINDOW)
        self._on: set[str] = set()

    def see(self, step: Mapping[str, float]) -> list[str]:
        """Lines of the alarms that begin with this one, a row of `metrics.jsonl`."""
        if "discriminator/accuracy" not in step:
            return []
        self._steps.append(step)
        found = active(self._steps) if len(self._steps) == WINDOW else {}
        begun = [f"step {step['step']}: {line}" for name, line in found.items() if name not in self._on]
        self._on = set(found)
        return begun


class AlarmCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """Prints an alarm when it begins."""

    def __init__(self) -> None:
        self._alarms = Alarms()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        for line in self._alarms.see({**(logs or {}), "step": state.global_step}):
            ranks.print_main(f"warning: {line}")


def of(metrics: Path) -> list[str]:
    """All that began in a run."""
    seen = Alarms()
    return [line for row in runs.read_jsonl(metrics) for line in seen.see(row)]
