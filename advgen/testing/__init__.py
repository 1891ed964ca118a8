"""Fakes at advgen's outward seam: a model server on loopback, and scripted models to put behind it.

`MockServer` speaks OpenAI's and Anthropic's chat and batch protocols over real HTTP; `Behaviour` makes it slow, scarce
or faulty; `scripted` and `ScriptedStudent` play teacher and student over exercises of their own. Also a process:
`python -m advgen.testing --help`. Standard library only; nothing here is used by a real run.

Reading order: `server` -> `behaviour`, `dialects`, `batches`, `files` -> `wire`, `ledger` -> `scripted`.
"""

from advgen.testing.behaviour import Behaviour
from advgen.testing.scripted import Respond, ScriptedStudent, row_echo, scripted
from advgen.testing.server import MockServer

__all__ = ["Behaviour", "MockServer", "Respond", "ScriptedStudent", "row_echo", "scripted"]
