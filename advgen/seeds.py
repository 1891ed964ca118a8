"""What a round asks for: topics in turn in round 0, evolved parents afterwards. Reads datasets, asks no model."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore import ConfigError, DataError, contract, hub
from advcore.settings import shipped
from advgen import curriculum
from advgen.config import BuildConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One exercise to be asked for: where it comes from."""

    index: int
    round: int
    strategy: str
    topic: str
    subtopic: str
    parent_id: str = ""
    parent_stub: str = ""
    parent_failure: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """The round before: its dataset, the kept exercises of all rounds so far, and their margins."""

    folder: Path
    round: int
    pool: list[dict[str, Any]]
    margins: dict[str, float]


def open_parent(spec: str, margins: str) -> Parent:
    """A run folder, a dataset folder or `user/name@revision`; `margins` is a folder that holds that config, or ''.

    Raises DataError: nothing there, or no kept exercise to grow from.
    """
    folder = Path(spec) / "dataset" if (Path(spec) / "dataset").is_dir() else hub.resolve(spec)
    rows = contract.read(folder, "raw")
    pool = [row for row in rows if row["status"] == "kept"]
    if not pool:
        raise DataError(f"{spec} has no kept exercise to grow a round from")
    source = hub.resolve(margins) if margins else folder
    found = contract.read(source, "margins") if margins or (source / "margins").is_dir() else []
    usable = {row["exercise_id"]: row["margin"] for row in found if not row["dropped"]}
    return Parent(folder, max(row["round"] for row in rows), pool, usable)


def topic_seeds(config: BuildConfig) -> list[Seed]:
    """Seeds of round 0: topics in turn, `per_topic` of each; their subtopics come when they are needed.

    Raises ConfigError when there are too few topics.
    """
    asked = config.exercises
    topics = asked.topics or tuple(tomllib.loads(shipped("data/topics.toml").read_text())["topics"])
    opened = -(-asked.count // asked.per_topic)
    if opened > len(topics):
        raise ConfigError(
            f"{asked.count} exercises at {asked.per_topic} a topic need {opened} topics; there are {len(topics)}"
        )
    return [
        Seed(index=at, round=0, strategy="seed", topic=topics[at // asked.per_topic], subtopic="")
        for at in range(asked.count)
    ]


def adversarial_seeds(config: BuildConfig, parent: Parent) -> tuple[list[Seed], dict[str, Any]]:
    """Seeds of a later round, parents drawn by margin and handed to the strategies in turn; and the draw in numbers."""
    how, number = config.curriculum, parent.round + 1
    weights = curriculum.sampling_weights(parent.pool, parent.margins, how.rule, how.tau)
    rows = {row["exercise_id"]: row for row in parent.pool}
    drawn = curriculum.draw(weights, how.strategies, config.exercises.count, seed=config.seed + number)
    draw = {
        "rule": how.rule, "pool": len(rows), "with_margin": sum(name in parent.margins for name in rows),
        "parents": len({name for name, _ in drawn}),
        "effective_sample_size": round(curriculum.effective_sample_size(weights), 2),
    }  # fmt: skip
    return [_child(rows[name], at, number, strategy) for at, (name, strategy) in enumerate(drawn)], draw


def _child(parent: dict[str, Any], index: int, round_number: int, strategy: str) -> Seed:
    failing = [each for each in json.loads(parent["attempts"]) if each["detail"]]
    return Seed(
        index=index, round=round_number, strategy=strategy, topic=parent["topic"], subtopic=parent["subtopic"],
        parent_id=parent["exercise_id"], parent_stub=parent["stub"],
        parent_failure=failing[0]["detail"] if failing else "",
    )  # fmt: skip
