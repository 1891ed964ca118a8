"""The dataset folder of a round, written row by row. Uploading it is `advcore.hub`'s job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from advcore import contract
from advcore.runs import write_atomic


class DatasetWriter:
    """The files of one round, written row by row; those of earlier rounds come along from `parent`.

    A config without rows gets no file, since an empty one would not load. Files appear whole, when it is left.
    """

    def __init__(self, folder: Path, round_number: int, parent: Path | None) -> None:
        self._folder, self._round, self._parent = folder, round_number, parent
        self._writers: dict[str, contract.RoundWriter] = {}

    def __enter__(self) -> DatasetWriter:
        self._open = ExitStack().__enter__()
        return self

    def add(self, config: str, row: Mapping[str, Any]) -> None:
        """Raises DataError for a row that breaks the contract."""
        contract.check_columns(config, row)
        if config not in self._writers:
            writer = contract.RoundWriter(self._folder, config, self._round, contract.COLUMNS[config])
            self._writers[config] = self._open.enter_context(writer)
        self._writers[config].add(row)

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._open.__exit__(kind, value, trace)
        if kind is not None:
            return
        name = f"round-{self._round:04d}.parquet"
        for file in self._folder.glob(f"*/{name}"):  # left by an earlier build of this round
            if file.parent.name not in self._writers:
                file.unlink()
        for file in sorted(self._parent.glob("*/round-*.parquet")) if self._parent else []:
            if file.name < name:
                write_atomic(self._folder / file.parent.name / file.name, file.read_bytes())
