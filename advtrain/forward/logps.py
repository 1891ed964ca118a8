"""Log-probabilities of pairs without gradients: the reference's, kept by content, and the policy's after training.

Pairs of like length share a forward pass, ranks share the pairs. What the reference says of a pair depends on its
weights, the precision and the token ids alone, so it is worked out once: for all epochs, for the margins where they
are taken in the same precision, and for every later run on the same pairs. Called by `dpo` and `margins`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import accelerate.utils
import torch

from advcore import progress, runs
from advcore.engine import weights
from advtrain import ranks
from advtrain.encoding.rows import IGNORED, Example
from advtrain.forward import adapters, packing

Pair = tuple[float, float]
"""Log-probability of the chosen and of the rejected completion, in nats, summed over the tokens."""


def key(example: Example) -> str:
    """Of the token ids, which dataset revision, template and truncation all end in."""
    return runs.sha256_of([example.prompt, *example.completions])


def policy_logps(trainer: Any, examples: Sequence[Example], label: str) -> dict[str, Pair]:
    """By `key`, of the model as it is trained so far."""
    policy = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return _logps(trainer, policy, examples, label)


def reference_logps(trainer: Any, examples: Sequence[Example], reference: str) -> dict[str, Pair]:
    """By `key`, of the reference that the trainer was built with; `reference` is its content's id.

    What a file of the cache has is not worked out again; what it lacks is added to it.
    """
    file = _file(reference, trainer)
    known = ranks.broadcast(_read(file))  # so that all miss the same
    missing = [example for example in examples if key(example) not in known]
    if missing:
        whole = trainer.ref_model and trainer.accelerator.unwrap_model(trainer.ref_model)
        policy = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        with nullcontext() if whole else adapters.as_reference(policy):
            found = _logps(trainer, whole or policy, missing, "reference")
        if ranks.is_main():
            for name, pair in found.items():
                runs.append_json(file, {"key": name, "logps": pair})
        known |= found
    return known


def _file(reference: str, trainer: Any) -> Path:
    """One a reference and precision: another rounding is another number."""
    dtype = trainer.model.get_base_model().dtype
    matmul = torch.get_float32_matmul_precision() if dtype == torch.float32 else ""
    name = runs.sha256_of([reference, str(dtype), matmul, trainer.accelerator.device.type])[:32]
    folder = weights.home() / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.jsonl"


def _read(file: Path) -> dict[str, Pair]:
    known: dict[str, Pair] = {}
    for row in runs.read_jsonl(file, lenient=True):
        match row:
            case {"key": str(name), "logps": [float(chosen), float(rejected)]}:
                known[name] = chosen, rejected
    return known


def _logps(trainer: Any, model: Any, examples: Sequence[Example], label: str) -> dict[str, Pair]:
    accelerator = trainer.accelerator
    distinct = list({key(example): example for example in examples}.values())
    mine = _share(
        list(packing.batches(distinct, lambda each: each.tokens)),
        accelerator.process_index,
        accelerator.num_processes,
    )
    found: dict[str, Pair] = {}
    with progress.progress(label, sum(map(len, mine))) if ranks.is_main() else nullcontext() as bar:
        for batch in mine:
            sums = token_logps(trainer, model, batch).double().sum(dim=1).tolist()
            pairs = zip(sums[: len(batch)], sums[len(batch) :], strict=True)
            found.update(zip(map(key, batch), pairs, strict=True))
            if bar:
                bar.advance(len(batch))
    return _gathered(found)


def _share(items: list[Any], rank: int, world: int) -> list[Any]:
    """Every so many-th item from one's own on; each rank has as many, since shards of a model step together."""
    return [items[(rank + world * turn) % len(items)] for turn in range(math.ceil(len(items) / world))]


def token_logps(trainer: Any, model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """Of the completions' tokens, chosen first, then rejected, in TRL's layout (2B, T - 1); 0 elsewhere."""
    inputs = trainer._prepare_inputs(trainer.data_collator([columns(example) for example in batch]))
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        output = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels,
            use_cache=False, fused_lm_head=True,
        )  # fmt: skip
    model.train(training)
    logps: torch.Tensor = output.log_probs
    return logps


def columns(example: Example) -> dict[str, Any]:
    """The columns that TRL's preference collator reads."""
    chosen, rejected = example.completions
    return {"prompt_ids": example.prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def _gathered(mine: Mapping[str, Pair]) -> dict[str, Pair]:
    everyones = accelerate.utils.gather_object([dict(mine)])
    return {name: pair for found in everyones for name, pair in found.items()}
