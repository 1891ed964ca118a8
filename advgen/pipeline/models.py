"""The models of one build: teacher, student and witnesses, with one journal and one budget."""

from __future__ import annotations

import asyncio
from typing import Any

from advcore import ConfigError
from advcore.ask import Budget, Client, Journal, check_model, note
from advgen.config import BuildConfig


class Models:
    """Raises ConfigError for a model that cannot be asked."""

    def __init__(self, config: BuildConfig, journal: Journal) -> None:
        budget = Budget(config.budget_usd, journal)
        self.teacher = Client(config.teacher, journal, budget)
        self.student = Client(config.student, journal, budget)
        self.witnesses = [Client(each, journal, budget) for each in config.witnesses]

    @property
    def open_requests(self) -> int:
        """Of all of them, at most."""
        return sum(model.open_requests for model in self._all)

    def note(self, share: float) -> str:
        """What a progress line says of them when `share` of the work is done."""
        return note(self._all, share)

    def stop(self) -> None:
        """No further request; what is in flight comes home."""
        for model in self._all:
            model.limiter.stop()

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self._all))

    def as_json(self) -> dict[str, Any]:
        """What each has used."""
        names = ["teacher", "student", *(f"witness_{at}" for at in range(1, len(self.witnesses) + 1))]
        return {
            name: {**model.usage.as_json(), "limits": model.limiter.describe()}
            for name, model in zip(names, self._all, strict=True)
        }

    @property
    def _all(self) -> list[Client]:
        return [self.teacher, self.student, *self.witnesses]


def check_models(config: BuildConfig) -> None:
    """Raise ConfigError for one that cannot be asked, before anything is; and for a witness that is the teacher."""
    for each in (config.teacher, config.student, *config.witnesses):
        check_model(each)
    for each in config.witnesses:
        if (each.model, each.revision) == (config.teacher.model, config.teacher.revision):
            raise ConfigError(f"witness {each.model} is the teacher itself, which witnesses nothing")
