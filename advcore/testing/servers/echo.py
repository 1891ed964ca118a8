"""A model that is a function, and one that fills bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

Respond = Callable[[list[dict[str, str]], int], str]
"""A reply's text, of the messages and the seed of one request."""


def row_echo(reply_bytes: int) -> Respond:
    """Replies of `reply_bytes` ASCII bytes: the prompt's first `row-<digits>`, a checksum of prompt and seed, filler.

    So a client can check what belongs to what, and no two replies are the same. Row and checksum are never cut.
    """
    filler = "lorem ipsum dolor sit amet " * (reply_bytes // 27 + 1)

    def respond(messages: list[dict[str, str]], seed: int) -> str:
        text = "\n".join(message["content"] for message in messages)
        row = re.search(r"row-\d+", text)
        checksum = zlib.crc32(f"{seed} {text}".encode(errors="surrogatepass"))
        start = f"{row[0] if row else 'no-row'} {checksum:08x} "
        return start + filler[: max(0, reply_bytes - len(start))]

    return respond
