"""The seam between a run and its method: all that a method may do in its own way is a member of `Method`.

`run`, `plan` and `manifest` go through it and know no method by name; a new method is a subclass and a line in
`methods.of`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from advcore import ConfigError, DataError
from advcore.engine import names
from advtrain import encoding, models, ranks
from advtrain.config import RunConfig
from advtrain.encoding import Dataset, Example
from advtrain.loop import log

LISTED = 5  # rows named one by one before the rest is only counted


class Prepared(NamedTuple):
    """What is known of a run before a weight is loaded."""

    dataset: Dataset
    tokenizer: Any
    examples: list[Example]


class Method(ABC):
    """The method of one run. Members stand in the order in which a run comes to them."""

    flash: ClassVar[bool] = False
    """Whether its policy may take flash attention, which takes no mask of ours (`forward.prefix`)."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    # --- before anything is loaded -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def rows(self) -> str:
        """The dataset config that it trains on (`config.dataset_config` says it of a config read back from JSON)."""

    @property
    def reply_tokens(self) -> int:
        """Tokens of a reply at most, where the student samples replies too; 0 where `max_length` alone cuts."""
        return 0

    @abstractmethod
    def options(self, folder: Path) -> Any:
        """TRL's options for this run. Raises ConfigError for a `[trl]` key that cannot be used."""

    def check(self) -> None:
        """Raise ConfigError for what cannot be used, as far as the config alone tells."""
        self.options(Path())
        if self.config.adapter:
            models.check_adapter(self.config.adapter, self.config.model)
        init_from = self.config.discriminator.init_from
        if (
            init_from and not Path(init_from).is_file()
        ):  # read or not, it is hashed as what the run starts from
            raise ConfigError(f"discriminator.init_from: there is no file {init_from}")

    def prepare(self) -> Prepared:
        """The dataset and its rows as ids; names on stderr the rows that do not fit. Loads no model.

        Raises ConfigError as `check` and `steps` do, DataError as `encoding.load` does and when no row fits.
        """
        self.check()
        dataset = encoding.load(self.config.dataset, self.rows, self.config.rounds)
        tokenizer = models.load_tokenizer(self.config.model)
        examples = encoding.encode(
            tokenizer, dataset.rows, self.rows, self.config.max_length, self.reply_tokens
        )
        _report_lengths(examples, self.config.max_length, self.reply_tokens)
        if all(example.dropped for example in examples):
            raise DataError(f"no prompt of {dataset.source} fits max_length = {self.config.max_length}")
        self.steps(self.used(examples)["trained"], ranks.world_size())
        return Prepared(dataset, tokenizer, examples)

    def used(self, examples: Sequence[Example]) -> dict[str, int]:
        """How many of the rows are `trained` on, and how many have another use."""
        return {"trained": sum(not example.dropped for example in examples)}

    def counts(self, examples: Sequence[Example]) -> dict[str, dict[str, int]]:
        """Rows read, and what becomes of them, as plan and manifest have it."""
        return {
            "rows": {
                "read": len(examples),
                **self.used(examples),
                "truncated": sum(example.truncated and not example.dropped for example in examples),
                "dropped": sum(example.dropped for example in examples),
            }
        }

    # --- what a plan says --------------------------------------------------------------------------------------

    def steps(self, rows: int, processes: int = 1) -> int:
        """Optimizer steps of a run on so many rows. Raises ConfigError where it would have none."""
        train = self.config.train
        per_step = train.batch_size * train.gradient_accumulation * processes
        return math.ceil(math.ceil(rows / per_step) * train.epochs)

    def row_tokens(self, example: Example) -> int:
        """Tokens that go through a model together for one row."""
        return example.tokens

    @property
    def adapter_bytes(self) -> int:
        """For each weight of the adapter: itself, its gradient and two moments in float32."""
        return 16

    @property
    def companion(self) -> str:
        """A model whose weights stay in memory beside the policy's; empty where there is none."""
        return ""

    def other_phases(self, size: models.Size, parts: Mapping[str, int], tokens: int) -> dict[str, int]:
        """Bytes at the peak of what is not training, by name; `parts` are those of training (`plan`)."""
        return {}

    # --- the run -----------------------------------------------------------------------------------------------

    def sampled(self, policy: Any, tokenizer: Any, examples: list[Example], folder: Path) -> list[Example]:
        """The examples, with what the policy itself has to add before it is trained."""
        return examples

    @abstractmethod
    def build(self, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path) -> Any:
        """A TRL trainer over the examples that were not dropped. Raises ConfigError for what it cannot use."""

    def fit(self, trainer: Any, examples: Sequence[Example], folder: Path) -> None:
        """Train, from the last whole checkpoint in `folder` or from the start."""
        log.fit(trainer, folder, self.config.method)

    def keep(self, trainer: Any, folder: Path) -> None:
        """Write what was trained, `folder/adapter` above all."""
        models.save_adapter(trainer, folder / "adapter", names.base_name(self.config.model))

    def results(
        self, trainer: Any, dataset: Dataset, examples: Sequence[Example], folder: Path
    ) -> dict[str, Any]:  # fmt: skip
        """What the manifest says of the outcome. All ranks come here; what the main one returns is written."""
        return {}

    def lineage(self) -> dict[str, Any]:
        """What the manifest says of the weights that a run came from, besides the adapter it went on with."""
        return {"discriminator_parent": None, "reference": None}


def _report_lengths(examples: Sequence[Example], room: int, reply: int) -> None:
    dropped = [example.exercise_id for example in examples if example.dropped]
    cut = [example.exercise_id for example in examples if example.truncated and not example.dropped]
    fills, end = f"their prompt alone fills {room} tokens", f"cut at {room} tokens"
    if reply:
        fills = f"their prompt leaves no {reply} tokens of {room} for a reply"
        end = f"with a reply cut at {reply} tokens"
    for what, ids in ((f"dropped, {fills}", dropped), (end, cut)):
        if ids:
            more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
            ranks.print_main(f"{len(ids)} of {len(examples)} rows {what}: {', '.join(ids[:LISTED])}{more}")
