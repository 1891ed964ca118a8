"""SODA: pairs of the teacher's reply and one that the student gave before it was trained, for DPO.

The cheap alternative to GAD: one snapshot of the student and no discriminator. Source: arXiv 2604.03873.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from advcore import chat, progress, runs
from advtrain import ranks
from advtrain.config import RunConfig
from advtrain.encoding import Example, Reply, replies
from advtrain.forward import rollout
from advtrain.methods.dpo import Dpo

AT_ONCE = 16  # prompts that are answered together, and entered together


class Soda(Dpo):
    """DPO whose rejected side is sampled; `gad.temperature` and `gad.max_new_tokens` say how."""

    @property
    def reply_tokens(self) -> int:
        return self.config.gad.max_new_tokens

    def sampled(self, policy: Any, tokenizer: Any, examples: list[Example], folder: Path) -> list[Example]:
        return pairs(self.config, policy, tokenizer, examples, folder)


def pairs(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> list[Example]:
    """The examples with a reply of the policy as it is behind the teacher's; those that were dropped stay as they are.

    Ranks share the prompts, each with a `snapshot-RANK.jsonl`: a run that goes on samples what is in none.
    """
    done = ranks.broadcast(_read(folder))
    left = [at for at, example in enumerate(examples) if not example.dropped and at not in done]
    batches = [left[start : start + AT_ONCE] for start in range(0, len(left), AT_ONCE)]
    rank, processes = ranks.rank(), ranks.world_size()
    _sample(config, policy, tokenizer, examples, batches[rank::processes], folder / f"snapshot-{rank}.jsonl")
    ranks.barrier()
    sampled = _read(folder)
    return [
        example if example.dropped else _pair(tokenizer, example, sampled[at])
        for at, example in enumerate(examples)
    ]


def _sample(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], batches: Sequence[list[int]],
    file: Path,
) -> None:  # fmt: skip
    base = policy.to(PartialState().device).get_base_model()
    stop = chat.stop_ids(base, tokenizer)
    with progress.progress("snapshot", sum(map(len, batches))) if ranks.is_main() else nullcontext() as bar:
        for rows in batches:
            torch.manual_seed(config.seed + rows[0])
            prompts = [examples[at].prompt for at in rows]
            most, temperature = config.gad.max_new_tokens, config.gad.temperature
            drawn = rollout.sample(base, prompts, 1, temperature, most, stop)
            for at, ids in zip(rows, drawn, strict=True):
                reply = replies.decode(tokenizer, ids, stop)
                runs.append_json(file, {"row": at, "text": reply.text, "finished": reply.finished})
            if bar:
                bar.advance(len(rows))


def _read(folder: Path) -> dict[int, Reply]:
    """By row, of all ranks."""
    rows = [row for file in sorted(folder.glob("snapshot-*.jsonl")) for row in runs.read_jsonl(file)]
    return {row["row"]: Reply(row["text"], row["finished"]) for row in rows}


def _pair(tokenizer: Any, example: Example, reply: Reply) -> Example:
    end = [replies.end_of_turn(tokenizer)]
    ids = replies.encode_after(tokenizer, example.messages, example.prompt, reply, end)
    both = (*example.completions, ids)
    # A sample of nothing but a cut is no reply that a teacher's could be preferred to.
    return dataclasses.replace(
        example, completions=both, replies=(*example.replies, reply), dropped=not all(both)
    )
