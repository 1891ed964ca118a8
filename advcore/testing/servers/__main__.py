"""`python -m advcore.testing.servers`: the mock server as a process of its own, for benchmarks. SIGTERM ends it.

When it is ready it prints one JSON line: `url`, `api_base` (OpenAI's clients want it) and `pid`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from advcore import ConfigError
from advcore.testing.servers.behaviour import FAULTS, Behaviour
from advcore.testing.servers.echo import Respond, row_echo
from advcore.testing.servers.server import MockServer


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0, or 2 for arguments that cannot be used."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    port, log, reply_bytes = given.pop("port"), given.pop("log"), given.pop("reply_bytes")
    named = given.pop("replies")
    try:
        replies = row_echo(reply_bytes) if named == "rows" else _model(named)
        behaviour = Behaviour(**{**given, "faults": _shares(given["faults"])})
        server = MockServer(replies, None, behaviour, port=port, log=log, keep_requests=False)
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    asyncio.run(_serve(server))
    return 0


def _model(named: str) -> Respond:
    """The function at `module:name`, or an instance of the class there. Raises ConfigError."""
    module, _, name = named.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        model: Respond = found() if isinstance(found, type) else found
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"--replies takes rows or MODULE:NAME, not {named!r}: {error}") from None
    if not callable(model):
        raise ConfigError(f"--replies takes a function of messages and seed, and {named!r} is none")
    return model


async def _serve(server: MockServer) -> None:
    def ready() -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, server.stop)
        print(json.dumps({"url": server.url, "api_base": server.api_base, "pid": os.getpid()}), flush=True)

    await server.serve(ready)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m advcore.testing.servers", description=__doc__)
    add, usual = parser.add_argument, Behaviour()
    add("--port", type=int, default=0, help="0: one that is free")
    add("--log", type=Path, help="JSONL file: a line when a request arrives, another when its answer is out")
    add(
        "--replies",
        default="rows",
        help="rows: filler that names its row; MODULE:NAME: a function of messages and seed, or a class of such",
    )
    add(
        "--reply-bytes",
        type=int,
        default=1024,
        help="size of a reply; it begins with the prompt's row-<digits>",
    )
    add(
        "--profile",
        default=usual.profile,
        help="fixed:S lognormal:MEDIAN,P99 queue:CAPACITY,S per_token:S; add by +",
    )
    add("--faults", default="", help=f"NAME:SHARE,... of {' '.join(FAULTS)}")
    add(
        "--requests-per-s",
        type=float,
        default=usual.requests_per_s,
        help="beyond it the answer is 429; 0: no limit",
    )
    add("--burst", type=int, default=usual.burst, help="requests at once that the allowance adds up to")
    add(
        "--retry-after",
        action=argparse.BooleanOptionalAction,
        default=usual.retry_after,
        help="say it with a 429",
    )
    add(
        "--rate-headers",
        action=argparse.BooleanOptionalAction,
        default=usual.rate_headers,
        help="x-ratelimit-...",
    )
    add("--batch-s", type=float, default=usual.batch_s, help="seconds that a batch takes")
    add("--seed", type=int, default=usual.seed, help="of all that is drawn")
    return parser


def _shares(text: str) -> dict[str, float]:
    """`name:share,name:share` as a mapping. Raises ConfigError."""
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        return {name: float(share) for name, share in pairs}
    except ValueError:
        raise ConfigError(f"cannot read the faults {text!r}; NAME:SHARE,NAME:SHARE") from None


if __name__ == "__main__":
    sys.exit(main())
