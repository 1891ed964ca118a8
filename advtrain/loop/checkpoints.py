"""Atomic checkpoints, which count only when they are complete, and one clear line where the disk has no room for them.

Called by every method's trainer, and by what else a run writes while it trains.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from advcore import runs
from advtrain import CheckpointError, ranks
from advtrain.forward import adapters

# One of these is all that torch.save says of a full disk; which, depends on its version and on where in the file.
_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "iostream error", "unexpected pos")
COMPLETE = "complete.json"  # the last file of a checkpoint


class AtomicCheckpoints:
    """A mixin of all trainers: a checkpoint counts once its last file, `complete.json`, lists the others with sizes.

    A killed run can leave any of them behind, or a part of one; so can a full disk.
    """

    def create_model_card(self, *_args: Any, **_options: Any) -> None:
        """None: TRL's has no metrics and no lineage."""

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            if ranks.is_main():  # one that a damaged checkpoint has left here would vouch for this one
                (folder / COMPLETE).unlink(missing_ok=True)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            ranks.barrier()
            if ranks.is_main():
                runs.write_json(folder / COMPLETE, _sizes(folder))

    def _load_from_checkpoint(self: Any, checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(checkpoint, model)  # type: ignore[misc]
        policy = self.accelerator.unwrap_model(self.model)
        # Where other adapters lie in folders beside it, transformers before 5.23 passes over the trained one.
        if len(policy.peft_config) > 1 and not self.is_fsdp_enabled:
            policy.load_adapter(checkpoint, adapters.POLICY, is_trainable=True)
            policy.set_adapter(adapters.POLICY)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file, those of a sharded state in folders of their own too."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise CheckpointError for what torch, safetensors and the system raise where `path` cannot be written."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, RuntimeError) and not any(sign in reason for sign in _TORCH_CANNOT_WRITE):
            raise
        free = shutil.disk_usage(path.parent).free / 1e6
        raise CheckpointError(
            f"{path.name} cannot be written ({reason}; {free:.0f} MB free); make room and run again, the run goes "
            f"on at its last checkpoint"
        ) from None


def last_checkpoint(folder: Path) -> str | None:
    """Return the latest complete checkpoint. An incomplete one is named on stderr, and written again in its turn."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda each: -int(each.name.removeprefix("checkpoint-")))
    for checkpoint in found:
        if _is_complete(checkpoint):
            return str(checkpoint)
        ranks.print_main(f"warning: {checkpoint.name} is incomplete and is skipped")
    return None


def _is_complete(checkpoint: Path) -> bool:
    try:
        sizes = runs.read_json(checkpoint / COMPLETE)
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def keep_until(file: Path, step: int) -> None:
    """Drop the rows of steps that a resumed run is about to take again."""
    rows = runs.read_jsonl(file)
    if any(row["step"] > step for row in rows):
        runs.write_jsonl(file, (row for row in rows if row["step"] <= step))
