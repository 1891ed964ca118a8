"""SODA: pairs of the teacher's reply and one that the student gave before it was trained, for DPO.

The cheap rival of GAD: one snapshot of the student and no discriminator. Called by `run`. Source: arXiv 2604.03873.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from advcore import runs
from advtrain import ranks, replies, rollout
from advtrain.config import RunConfig
from advtrain.data import Example
from advtrain.replies import Reply

AT_ONCE = 16  # prompts that are answered together, and entered together


def pairs(
    config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], folder: Path
) -> list[Example]:
    """The examples with a reply of the policy as it is behind the teacher's; those that were dropped stay as they are.

    Replies are in `snapshot.jsonl`: a run that goes on samples the rest.
    """
    file = folder / "snapshot.jsonl"
    if ranks.is_main():
        _sample(config, policy, tokenizer, examples, file)
    ranks.wait()
    said = {row["row"]: Reply(row["text"], row["finished"]) for row in _read(file)}
    return [
        example if example.dropped else _pair(config, tokenizer, example, said[at])
        for at, example in enumerate(examples)
    ]


def _sample(config: RunConfig, policy: Any, tokenizer: Any, examples: Sequence[Example], file: Path) -> None:
    base = policy.get_base_model()
    stop = replies.stop_ids(base, tokenizer)
    known = _read(file)
    runs.write_atomic(file, "".join(json.dumps(row) + "\n" for row in known))  # without a line that was cut
    done = {row["row"] for row in known}
    left = [at for at, example in enumerate(examples) if not example.dropped and at not in done]
    with runs.progress("snapshot", len(left)) as progress:
        for start in range(0, len(left), AT_ONCE):
            rows = left[start : start + AT_ONCE]
            torch.manual_seed(config.seed + rows[0])
            prompts = [replies.prompt_ids(tokenizer, replies.of_teacher(examples[at].row)[0]) for at in rows]
            most, temperature = config.gad.max_new_tokens, config.gad.temperature
            for at, ids in zip(
                rows,
                rollout.sample(base, prompts, 1, temperature, most, stop),
                strict=True,
            ):
                reply = replies.decode(tokenizer, ids, stop)
                runs.append_json(file, {"row": at, "text": reply.text, "finished": reply.finished})
            progress.advance(len(rows))


def _read(file: Path) -> list[dict[str, Any]]:
    """All but a line that a killed run left half-written."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _pair(config: RunConfig, tokenizer: Any, example: Example, reply: Reply) -> Example:
    prompt, teacher = replies.of_teacher(example.row)
    teacher = replies.cut(tokenizer, prompt, teacher, config.gad.max_new_tokens)
    start, ids = replies.encode(tokenizer, prompt, [teacher, reply])
    return dataclasses.replace(example, prompt=start, completions=tuple(ids))
