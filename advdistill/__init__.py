"""Adversarial distillation from Python: the commands of `advgen` and `advtrain` as functions, and the loop of both.

    import advdistill as ad

    first = ad.build("quickstart.toml", "runs/r0", tasks="shipped")
    print(first.kept, first.pairs[0])

Importing this brings nothing heavy: each function imports what it needs. `docs/python.md` shows all of it.
"""

from __future__ import annotations

from importlib import metadata

from advdistill import _siblings as _siblings  # first: it tells where a foreign module would be imported

# isort: split
from advcore.ask.config import ModelConfig
from advcore.settings import load
from advdistill.api import (
    aanswer,
    abuild,
    aevaluate,
    ajudge,
    answer,
    audit,
    build,
    evaluate,
    judge,
    push,
    train,
    verify,
)
from advdistill.errors import (
    AdvdistillError,
    ConfigError,
    DataError,
    MissingExtra,
    SandboxUnavailable,
    TeacherError,
)
from advdistill.loop import Round, Rounds, rounds
from advdistill.results import Answers, Build, Evaluation, Judgement, Training
from advgen.config import (
    AttemptsConfig,
    BuildConfig,
    CurationConfig,
    CurriculumConfig,
    ExercisesConfig,
    GateConfig,
    SandboxConfig,
)
from advtrain.config import Discriminator, Dpo, Gad, Lora, RunConfig, Sft, Train
from sandbox import Limits, Sandbox

__version__ = metadata.version("advdistill")

__all__ = [
    "AdvdistillError",
    "Answers",
    "AttemptsConfig",
    "Build",
    "BuildConfig",
    "ConfigError",
    "CurationConfig",
    "CurriculumConfig",
    "DataError",
    "Discriminator",
    "Dpo",
    "Evaluation",
    "ExercisesConfig",
    "Gad",
    "GateConfig",
    "Judgement",
    "Limits",
    "Lora",
    "MissingExtra",
    "ModelConfig",
    "Round",
    "Rounds",
    "RunConfig",
    "Sandbox",
    "SandboxConfig",
    "SandboxUnavailable",
    "Sft",
    "TeacherError",
    "Train",
    "Training",
    "__version__",
    "aanswer",
    "abuild",
    "aevaluate",
    "ajudge",
    "answer",
    "audit",
    "build",
    "evaluate",
    "judge",
    "load",
    "push",
    "rounds",
    "train",
    "verify",
]
