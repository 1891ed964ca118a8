"""Messages -> token ids, and replies -> answer, thoughts and program: how text goes to a model and how it is read back.

Data side, trainer and engine all encode through `template` and read through `thoughts` and `program`, so that a reply
is the same thing everywhere.
"""

from .blocks import fenced
from .program import NoCode, above, answer, defines, listing, of_the_future, program
from .talk import forms, trimmed, waits
from .template import (
    Frame,
    Message,
    common_prefix,
    encode,
    encode_text,
    encode_with,
    end_of_turn,
    frame,
    prompt_ids,
    reply_ids,
    stop_ids,
)
from .thoughts import Read, read

__all__ = [
    "Frame", "Message", "NoCode", "Read", "above", "answer", "common_prefix", "defines", "encode", "encode_text",
    "encode_with", "end_of_turn", "fenced", "forms", "frame", "listing", "of_the_future", "program", "prompt_ids",
    "read", "reply_ids", "stop_ids", "trimmed", "waits",
]  # fmt: skip
