"""What a build is told: frozen dataclasses, one section of the TOML file each. A field's text stands below it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from advcore.ask import config as ask
from advcore.ask.config import ModelConfig
from advcore.settings import at_least, at_most

# Of a resumed run these may be others than at its start: they say what it may cost and how fast it goes.
MAY_CHANGE = ask.MAY_CHANGE | {"budget_usd", "max_failure_share", "keep_empty"}
Strategy = Literal["incremental", "opposite", "deceptive"]
RULES = ("margin", "band", "regret", "uniform")
JUDGE = ModelConfig(model="", temperature=0.0, max_tokens=1536)
"""How a judge is asked where nothing else is said: it writes references at length, and does not roll dice for marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExercisesConfig:
    """How many exercises are asked for, and how much is asked about each."""

    count: int = 24
    """Exercises of this round; of given tasks and texts at most so many."""
    topics: tuple[str, ...] = ()
    """Topics of round 0 in place of the shipped ones (`data/topics.toml`)."""
    more_topics: tuple[str, ...] = ()
    """Topics beside those."""
    per_topic: int = 2
    """Exercises of a topic before the next one has its turn; after the last topic the first comes again."""
    order: Literal["statement", "reference"] = "statement"
    """Of an exercise that grows from no parent. `statement`: that is written first, and expected values are what
    solutions agree on. `reference`: a program is written, or given by `--seeds FILE.py`; its outputs are the expected
    values, the statement is written from it, and kept is what solutions reproduce from the statement alone."""
    solutions: int = 4
    """Independent teacher solutions an exercise."""
    calls: int = 14
    """Calls the teacher is asked to probe an exercise with, in a request apart from the solutions."""
    asserts: int = 6
    """Asserts written from the statement alone, as a cross-check; 0 leaves that request out."""
    feedback: bool = False
    """Show the teacher the sandbox's report on what failed, and let it repair solutions or write further calls."""
    repairs: int = 2
    """Turns of repair an exercise at most, with `feedback`."""

    def __post_init__(self) -> None:
        at_least(2, self, "solutions")
        at_least(1, self, "count", "per_topic", "calls")
        at_least(0, self, "asserts", "repairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """What an exercise must show before it is kept."""

    min_tests: int = 5
    """Surviving tests."""
    agreement: float = 0.6
    """Share of the teacher's solutions that must return the same value for a call to become a test."""
    min_kill_rate: float = 0.6
    """Share of the mutants of the reference solution that the tests must fail."""
    max_mutants: int = 30
    """Mutants tried an exercise."""
    generated_tests: int = 8
    """Tests added at most on inputs derived from the others', where all right solutions agree: those that fail a mutant
    first, then those that enter a new block or have a new kind of result."""
    benchmarks: tuple[str, ...] = ()
    """Files of benchmarks to stay clear of, beside those known by hash; their tests are run on what is kept."""

    def __post_init__(self) -> None:
        at_least(1, self, "min_tests")
        at_least(0, self, "min_kill_rate", "max_mutants", "generated_tests")
        at_least(0.01, self, "agreement")
        at_most(1, self, "agreement", "min_kill_rate")
        if self.max_mutants == 0 and self.min_kill_rate > 0:
            raise ValueError("max_mutants is 0, so that no min_kill_rate over 0 can be met")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptsConfig:
    """What the student is asked, and what becomes of it."""

    count: int = 6
    """Attempts an exercise, and fresh ones at each drawn parent."""

    def __post_init__(self) -> None:
        at_least(1, self, "count")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationConfig:
    """Which pairs are made of what was attempted."""

    pairs_per_exercise: int = 1
    """Preference pairs an exercise at most, each with another failing program."""
    chosen: Literal["teacher", "student", "repaired"] = "teacher"
    """Where the right program comes from: the teacher's solution, the student's own passing attempt, or the teacher's
    smallest repair of the failing one. An exercise without such a program gives no pair."""
    min_p_wrong: float = 0.95
    """Pairs whose rejected side is less likely to be wrong are left out; 0 keeps all."""
    min_p_true: float = 0.5
    """Pairs that are less likely to be right on both sides are left out; 0 keeps all."""
    truth: str = ""
    """File of the weights behind these probabilities, as `advgen consensus` writes it; empty for those of the embedded
    models."""
    max_kind_share: float = 0.25
    """Of all pairs at most this share for each kind of failure that is not a wrong answer."""

    def __post_init__(self) -> None:
        at_least(1, self, "pairs_per_exercise")
        at_least(0, self, "max_kind_share", "min_p_wrong", "min_p_true")
        at_most(1, self, "max_kind_share", "min_p_wrong", "min_p_true")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Limits of one sandboxed run."""

    wall_s: float = 4.0
    """Wall time of a run; an attempt may take four times what its reference took, if that is longer."""
    memory_bytes: int = 1 << 30
    """Address space of a run."""
    allow_unsandboxed: bool = False
    """Go on below level L2; every record then carries the level it was run at."""

    def __post_init__(self) -> None:
        at_least(0.1, self, "wall_s")
        at_most(3600, self, "wall_s")
        at_least(1 << 26, self, "memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig:
    """How the parents of an adversarial round are drawn; without `--parent` it is not used."""

    rule: Literal["margin", "band", "regret", "uniform", "mix"] = "margin"
    """`margin`: AKD's softmax(-M/tau); `band`: student pass rates of 0.3 to 0.8 first; `regret`: teacher minus student
    pass rate; `mix`: several of them, see below."""
    mix: dict[str, float] = field(default_factory=dict)
    """Shares of the rules that `mix` joins, such as `{margin = 0.5, band = 0.5}`; only with that rule."""
    tau: float = 1.0
    """Temperature over z-scored margins."""
    weigh_truth: bool = True
    """Multiply the weights by the probability that the exercise is right (`curation.truth`)."""
    length_normalised: bool = False
    """Take the margin per token: the summed one grows with the length of the programs."""
    strategies: tuple[Strategy, ...] = ("incremental", "opposite", "deceptive")
    """Templates the drawn parents are handed to, in turn."""
    refresh: float = 0.0
    """Share of the round that is plain new exercises on the subtopics of the pool's easier half; Lion takes 0.5."""

    def __post_init__(self) -> None:
        at_least(0.01, self, "tau")
        at_least(0, self, "refresh")
        if self.refresh >= 1:
            raise ValueError(f"refresh is {self.refresh}, not under 1")
        if not self.strategies:
            raise ValueError("strategies is empty")
        if (self.rule == "mix") != bool(self.mix):
            raise ValueError('rule = "mix" and [curriculum.mix] go together')
        for name, share in self.mix.items():
            if name not in RULES or type(share) not in (int, float) or not 0 < share < math.inf:
                raise ValueError(f"mix.{name} is {share!r}; it takes shares above 0 of {', '.join(RULES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """One round of building: `advgen build CONFIG --out RUN`."""

    teacher: ModelConfig
    """Writes exercises, solutions and tests."""
    student: ModelConfig
    """Attempts what was verified."""
    witnesses: tuple[ModelConfig, ...] = ()
    """Further models, best of other families than the teacher's, that write as many solutions; an exercise is kept
    where each has one that passes every test."""
    seed: int = 0
    """Seeds sampling and draws."""
    budget_usd: float = 0.0
    """Cap on what teacher and student may cost together in this run folder, over all its restarts; 0 is none."""
    max_failure_share: float = 0.2
    """The run stops when more than this share of its exercises ends in an infrastructure failure."""
    exercises: ExercisesConfig = field(default_factory=ExercisesConfig)
    """What is asked for."""
    gate: GateConfig = field(default_factory=GateConfig)
    """What must hold before an exercise is kept."""
    attempts: AttemptsConfig = field(default_factory=AttemptsConfig)
    """The student's part."""
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    """Limits of a run."""
    curation: CurationConfig = field(default_factory=CurationConfig)
    """Which pairs are made."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """How parents of a later round are drawn."""

    def __post_init__(self) -> None:
        at_least(0, self, "budget_usd", "max_failure_share")
        if self.teacher.temperature == 0:
            raise ValueError(
                "teacher.temperature is 0: solutions that are all the same show nothing by agreeing"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerConfig:
    """One prompt file through one model: `advgen answer PROMPTS --model M --out RUN`."""

    teacher: ModelConfig
    """Answers."""
    n: int = 1
    """Replies a prompt."""
    system: str = ""
    """System message put before prompts that are given as a string."""
    keep_empty: bool = False
    """Take a reply without text for an answer, so that what a student cannot say does not vanish from its score."""
    budget_usd: float = 0.0
    """Cap on what the run folder may cost, over all its restarts; 0 is none."""
    max_failure_share: float = 0.2
    """The run stops when more than this share of its prompts has failed for want of infrastructure."""

    def __post_init__(self) -> None:
        at_least(1, self, "n")
        at_least(0, self, "budget_usd", "max_failure_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Answers judged by one model: `advgen judge ANSWERS --model M --out RUN`."""

    judge: ModelConfig
    """Writes the references and gives the marks."""
    verdict_tokens: int = 48
    """Longest verdict, in tokens; one line is asked for. A judge that thinks before it answers needs more."""
    budget_usd: float = 0.0
    """Cap on what the run folder may cost, over all its restarts; 0 is none."""
    max_failure_share: float = 0.2
    """The run stops when more than this share of its answers has failed for want of infrastructure."""

    def __post_init__(self) -> None:
        at_least(1, self, "verdict_tokens")
        at_least(0, self, "budget_usd", "max_failure_share")
