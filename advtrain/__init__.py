"""The student side: reads a published dataset, trains a student on it and hands back one margin per exercise.

`cli -> config -> run -> sft | dpo -> margins`, and `evaluate` beside them. Never imports `advgen`. What
must be set before the training libraries are imported (their telemetry is off) is set here, so that no
module can forget it.
"""

import os

# Both are read once, at the import of huggingface_hub and of the trainers. A user's own setting is left
# alone only where it does not turn reporting on.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
# datasets and transformers draw tqdm bars of their own; our one progress line says more.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# torch then asks the kernel for large pages: activations come and go by the gigabyte, and a sixth of a CPU
# run went into faulting them in by 4 KB.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
