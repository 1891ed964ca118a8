"""What the next round grows from, and whether that still works: margins in, parents, verdicts and warnings out. Pure.

`weights` turns a pool into sampling weights, `draw` draws parents and describes the draw, `intents` checks what each
strategy declares, `monitor` watches rounds: stop rules and the failure signatures of AKD (arXiv 2505.06267).
Nothing here reads a file, asks a model or runs a program; and the novelty gate is `curate`'s.
"""

from __future__ import annotations

from advgen.curriculum.draw import DrawStats, draw, plan, refreshers
from advgen.curriculum.intents import Effect, IntentCheck, deceptive, effect, incremental, opposite
from advgen.curriculum.monitor import FailureSignature, RoundStats, signatures, stop_reasons
from advgen.curriculum.weights import effective_sample_size, entropy, sampling_weights, usable_margins

__all__ = [
    "DrawStats",
    "Effect",
    "FailureSignature",
    "IntentCheck",
    "RoundStats",
    "deceptive",
    "draw",
    "effect",
    "effective_sample_size",
    "entropy",
    "incremental",
    "opposite",
    "plan",
    "refreshers",
    "sampling_weights",
    "signatures",
    "stop_reasons",
    "usable_margins",
]
