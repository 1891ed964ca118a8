"""A model server on loopback.

`MockServer` speaks OpenAI's and Anthropic's chat and batch protocols over real HTTP; `Behaviour` makes it slow, scarce
or faulty. Its models are functions; `row_echo` makes one that fills bytes. Also a process:
`python -m advcore.testing.servers --help`. Standard library only; nothing here is used by a real run.

Reading order: `server` -> `behaviour`, `dialects`, `batches`, `files` -> `wire`, `ledger` -> `echo`.
"""

from advcore.testing.servers.behaviour import Behaviour
from advcore.testing.servers.echo import Respond, row_echo
from advcore.testing.servers.server import MockServer

__all__ = ["Behaviour", "MockServer", "Respond", "row_echo"]
