"""The student side: reads a published dataset, trains a student on it and hands back one margin per exercise.

`cli -> config -> run -> methods`, and `evaluate` beside them. Never imports `advgen`. What
must be set before the training libraries are imported (their telemetry is off) is set here, so that no
module can forget it.
"""

import os

from advcore import AdvdistillError

# Read once, when huggingface_hub and the trainers are imported. Not `setdefault`: nothing is ever reported.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
# The sandbox and the data loader fork, and the tokenizers library warns about its threads at every fork.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# torch then asks the kernel for large pages: activations come and go by the gigabyte, and a sixth of a CPU
# run went into faulting them in by 4 KB.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


class CheckpointError(AdvdistillError, RuntimeError):
    """What a run keeps could not be written, as a rule for want of room; checkpoints are as they were."""
