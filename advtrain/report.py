"""A run as one HTML page: curves of training, the margins by strategy and round, what the run came from.

Reads the files of a run folder and writes `report.html` beside them, finished or not. The page loads nothing from
anywhere; charts are SVG, drawn by the template `report.html.j2`. Trains and scores nothing. Called by `cli`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from advcore import DataError, contract, runs
from advtrain import encoding
from advtrain.config import dataset_config

# What is called how on the page; several lines on one chart share an axis. Of `held_out.jsonl`:
HELD_OUT = {
    "Held-out prompts: score of the answers": ("score",),
    "Held-out prompts: share told from the teacher's": ("probe_accuracy",),
    "Held-out prompts: tokens of an answer": ("length/teacher", "length/student"),
    "Held-out prompts: ROUGE-L to the teacher": ("rouge_l",),
}
# Of `metrics.jsonl`:
CURVES = {
    "Told apart: by the discriminator, by length alone": ("discriminator/accuracy", "length/longer"),
    "Discriminator's loss": ("discriminator/loss",),
    "Score of the teacher, reward of the student": ("discriminator/teacher", "rewards/discriminator/mean"),
    "Deviation of the student's scores": ("rewards/discriminator/std",),
    "Tokens of a reply": ("length/teacher", "length/student"),
    "ROUGE-L to the teacher": ("rouge_l",),
    "KL to the student of the warm-up, nats": ("kl",),
    "Loss": ("loss",),
    "Reward margin": ("rewards/margins",),
    "Rewards": ("rewards/chosen", "rewards/rejected"),
    "Share of pairs with a margin above 0": ("rewards/accuracies",),
    "Log-probability of a completion, nats": ("logps/chosen", "logps/rejected"),
    "Share of tokens that are the likeliest": ("mean_token_accuracy",),
    "Entropy, nats": ("entropy",),
    "Gradient norm": ("grad_norm",),
    "Learning rate": ("learning_rate",),
    "Tokens a second": (
        "tokens_per_s",
        "tokens_per_s/rollout",
        "tokens_per_s/discriminator",
        "tokens_per_s/student",
    ),
}
BINS = 24
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines by name, or bars; `x` and `y` are the ranges shown."""

    title: str
    lines: dict[str, list[Point]]
    bars: bool = False
    x_label: str = "step"

    @property
    def x(self) -> Point:
        return _range(x for line in self.lines.values() for x, _ in line)

    @property
    def y(self) -> Point:
        low, high = _range(y for line in self.lines.values() for _, y in line)
        return (min(0.0, low), high) if self.bars else (low, high)


def write(folder: Path) -> Path:
    """`folder/report.html`. Raises DataError for a folder that holds no run."""
    config = _config(folder)
    metrics, manifest = runs.read_jsonl(folder / "metrics.jsonl"), _json(folder / "manifest.json")
    held = runs.read_jsonl(folder / "held_out.jsonl")
    margins = contract.read(folder, "margins") if any(folder.glob("margins/*.parquet")) else []
    rows, trouble = _dataset(config) if margins else ([], "")
    what = f"{config['method']} of {config['model']} on {_without_home(config['dataset'])}"
    html = page(
        folder.resolve().name, what if manifest else f"{what}; not finished yet",
        [*_curves(held, HELD_OUT), *_curves(metrics, CURVES), *_margin_charts(margins, rows)],
        parent=_without_home(_parent(manifest)), manifest=manifest, rounds=_rounds(folder), trouble=trouble,
        warnings=manifest.get("warnings", []), groups=_groups(margins, rows),
        samples=_samples(held, manifest),
    )  # fmt: skip
    runs.write_atomic(folder / "report.html", html)
    return folder / "report.html"


def page(title: str, lead: str, charts: Sequence[Chart], **sections: Any) -> str:
    """HTML of charts under a title and a sentence; of the `sections` of a run, those given."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("advtrain").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    empty = {"manifest": {}, "rounds": [], "trouble": "", "warnings": [], "groups": [], "samples": []}
    return template.render(name=title, lead=lead, charts=charts, **{**empty, **sections})


def _config(folder: Path) -> dict[str, Any]:
    """As the run resolved it. Raises DataError where there is none, or that of another tool."""
    config = _json(folder / "config.json")
    if not config:
        raise DataError(f"{folder} is no run of advtrain: it has no config.json")
    if not {"method", "model", "dataset", "rounds"} <= config.keys():
        raise DataError(f"{folder} is no run of advtrain: its config.json is of something else")
    return config


def _parent(manifest: dict[str, Any]) -> str:
    found: dict[str, str] = manifest.get("adapter_parent") or {}
    return found.get("path", "none")


def _without_home(text: str) -> str:
    """A page is shown to others."""
    return text.replace(str(Path.home()), "~")


def _json(file: Path) -> dict[str, Any]:
    """Empty where there is no such file yet. Raises DataError for one that is no JSON object."""
    found = runs.read_json(file, {})
    if not isinstance(found, dict):
        raise DataError(f"{file} is no JSON object")
    return found


def _dataset(config: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """What the margins are told apart by, or why it cannot be read any more."""
    try:
        return encoding.load(config["dataset"], dataset_config(config), config["rounds"]).rows, ""
    except DataError as error:
        return [], f"Margins are not told apart by strategy and round: {error}"


def _curves(rows: Sequence[dict[str, Any]], titles: Mapping[str, Sequence[str]]) -> list[Chart]:
    charts = []
    for title, names in titles.items():
        lines = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
        charts.append(Chart(title=title, lines={name: _finite(line) for name, line in lines.items() if line}))
    return [chart for chart in charts if any(len(line) > 1 for line in chart.lines.values())]


def _margin_charts(margins: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[Chart]:
    values = sorted(row["margin"] for row in margins if math.isfinite(row["margin"]))
    if not values:
        return []
    charts = [Chart(title="Margins", lines={"exercises": _histogram(values)}, bars=True, x_label="margin")]
    lengths = {row["exercise_id"]: row["prompt_chars"] for row in _described(rows)}
    points = [
        (float(lengths[row["exercise_id"]]), row["margin"])
        for row in margins
        if row["exercise_id"] in lengths
    ]
    if len(points) > 1:
        charts.append(
            Chart(
                title="Margin by length of the prompt",
                lines={"": sorted(_finite(points))},
                x_label="characters",
            )
        )
    return charts


def _samples(held: Sequence[dict[str, Any]], manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Held-out answers of the checkpoint that was chosen; until there is one, of the last."""
    chosen = (manifest.get("held_out") or {}).get("step")
    rows = [row for row in held if row["step"] == chosen] or held[-1:]
    return list(rows[0]["samples"]) if rows else []


def _histogram(values: Sequence[float]) -> list[Point]:
    """Counts in bins of one width, each at its middle."""
    low, high = _range(values)
    width = (high - low) / BINS
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    return [(low + (at + 0.5) * width, float(count)) for at, count in enumerate(counts)]


def _described(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What margins are told apart by. A row without an id goes by its number, as in training."""
    return [
        {
            "exercise_id": str(row.get("exercise_id", number)), "strategy": row.get("strategy", ""),
            "round": row.get("round", 0), "prompt_chars": len(_text(row["prompt"])),
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip


def _text(prompt: str | list[dict[str, str]]) -> str:
    return prompt if isinstance(prompt, str) else "".join(message["content"] for message in prompt)


def _groups(margins: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Margins by round and strategy: count, mean, share above 0."""
    known = {row["exercise_id"]: row for row in _described(rows)}
    groups: dict[tuple[int, str], list[float]] = defaultdict(list)
    for row in margins:
        if math.isfinite(row["margin"]) and (found := known.get(row["exercise_id"])):
            groups[found["round"], found["strategy"]].append(row["margin"])
    return [
        {
            "round": number, "strategy": strategy, "count": len(values), "mean": fmean(values),
            "above_zero": fmean(value > 0 for value in values),
        }
        for (number, strategy), values in sorted(groups.items())
    ]  # fmt: skip


def _rounds(folder: Path) -> list[dict[str, Any]]:
    """The manifests that this run's adapter descends from, oldest first, as far as their folders stand."""
    found: list[dict[str, Any]] = []
    seen: set[Path] = set()
    current: Path | None = folder
    while current and current.resolve() not in seen and (manifest := _json(current / "manifest.json")):
        seen.add(current.resolve())
        found.append({"name": current.resolve().name, **manifest})
        parent = manifest.get("adapter_parent")
        current = Path(parent["path"]).parent if parent else None
    return found[::-1]


def _finite(line: Iterable[Point]) -> list[Point]:
    return [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]


def _range(values: Iterable[float]) -> Point:
    """Least and most, apart even where they are equal."""
    found = list(values)
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
