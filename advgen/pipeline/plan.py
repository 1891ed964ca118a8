"""A build before it asks for anything: what would only fail later, and how much it would ask for."""

from __future__ import annotations

from typing import Any

from advcore import DataError
from advcore.ask import estimate
from advgen.config import BuildConfig
from advgen.pipeline.models import check_models
from advgen.specs import NOTHING, Given, Parent, first_specs, topics

PROMPT_TOKENS = 500  # of one request, for estimates; the longest template with its statement stays below it


def validate(config: BuildConfig, parent: Parent | None, given: Given = NOTHING) -> None:
    """Raise ConfigError for what would only fail later: models that cannot be asked, no specs."""
    check_models(config)
    given.read_tasks()
    texts = Given(texts=given.texts)  # looked at also where tasks are enough
    if parent is None and next(first_specs(config, texts), None) is None:
        raise DataError(f"{given.texts} holds nothing to make an exercise from")


def plan(config: BuildConfig, parent: Parent | None, given: Given = NOTHING) -> dict[str, Any]:
    """What a build would ask for, without repairs: request counts and their most tokens, for `--dry-run`."""
    asked = config.exercises
    written = max(0, asked.count - len(given.read_tasks()))
    programs = asked.order == "reference" and not given.texts
    extra = 1 + 1 + bool(asked.asserts) + programs
    opened = 0 if parent or given.texts else min(-(-written // asked.per_topic), len(topics(config)))
    teacher = opened + asked.count * asked.solutions + written * extra
    rematches = min(len(parent.pool), asked.count) if parent else 0
    student = (asked.count + rematches) * config.attempts.count
    witness = written * asked.solutions
    asked_of = [(config.teacher, teacher), (config.student, student)]
    asked_of += [(each, witness) for each in config.witnesses]
    costs = [estimate(model, count, count * PROMPT_TOKENS) for model, count in asked_of]
    return {
        "round": parent.round + 1 if parent else 0,
        "exercises": asked.count,
        "teacher_requests": teacher,
        "teacher_tokens_at_most": teacher * config.teacher.max_tokens,
        "witness_requests": witness * len(config.witnesses),
        "student_requests_at_most": student,
        "student_tokens_at_most": student * config.student.max_tokens,
        "cost_usd_estimate": None if None in costs else sum(cost or 0.0 for cost in costs),
    }
