"""HTTP/1.1 on an asyncio `Protocol`: requests in, bytes out, one exchange at a time on each connection.

What comes early (pipelining) waits until the answer before it is out. It knows nothing of models. No TLS, no chunked
requests (411); https://www.rfc-editor.org/rfc/rfc9112.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_HEAD = 65_536
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class HttpRequest:
    """One request; `head` is its first line and headers as they came, `closes` that no other shall follow."""

    method: str
    path: str
    query: dict[str, str]
    head: bytes
    closes: bool
    body: bytes = b""


class Connection(asyncio.Protocol):
    """One client. `on_request` is called with each request when it is its turn, and must in the end call `finish`,
    `reset` or `cut`, or leave the client waiting; `on_lost` when the client is gone.

    `exchange` and `task` are the server's own: the request now open ("" for none), and what works on it.
    """

    def __init__(
        self, on_request: Callable[[Connection, HttpRequest], None], on_lost: Callable[[Connection], None]
    ) -> None:
        self.exchange, self.fate = "", "client gone"
        self.task: asyncio.Task[None] | None = None
        self._on_request, self._on_lost = on_request, on_lost
        self._buffer = bytearray()
        self._coming: HttpRequest | None = None
        self._body_at = self._ends_at = 0
        self._busy = self._closes = False
        self._drained: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)  # so that resume_writing tells when all is out

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def resume_writing(self) -> None:
        if self._drained:
            drained, self._drained = self._drained, None
            drained()

    def write(self, data: bytes) -> None:
        """Send a part of an answer."""
        self.transport.write(data)

    def finish(self, data: bytes, sent: Callable[[], None]) -> None:
        """Send the last of an answer, call `sent` when the kernel has all of it, and take the next request."""

        def out() -> None:
            sent()
            self._busy = False
            if self._closes:
                self.transport.close()
            elif self._buffer:
                asyncio.get_running_loop().call_soon(self._advance)

        self.transport.write(data)
        if self.transport.get_write_buffer_size():
            self._drained = out
        else:
            out()

    def cut(self, data: bytes) -> None:
        """Send a part of an answer and close."""
        self.transport.write(data)
        self.transport.close()

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _advance(self) -> None:
        while not self._busy and not self.transport.is_closing() and (request := self._take()):
            self._busy, self._closes = True, request.closes
            try:
                self._on_request(self, request)
            except BaseException:  # nobody would answer: better a closed connection than a client that waits
                self.transport.abort()
                raise

    def _take(self) -> HttpRequest | None:
        """The next request of the buffer if all of it is there."""
        if self._coming is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    self._give_up(431)
                return None
            head = bytes(self._buffer[:end])
            self._coming = _parse(head)
            if self._coming is None or b"\r\ntransfer-encoding:" in head.lower():
                self._give_up(411 if self._coming else 400)
                return None
            length = _LENGTH.search(head)
            self._body_at = end + 4
            self._ends_at = self._body_at + (int(length[1]) if length else 0)
            if len(self._buffer) < self._ends_at and b"100-continue" in head:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._buffer) < self._ends_at:
            return None
        request, self._coming = self._coming, None
        request.body = bytes(self._buffer[self._body_at : self._ends_at])
        del self._buffer[: self._ends_at]
        return request

    def _give_up(self, status: int) -> None:
        self.cut(whole(status, b"", {}, "text/plain"))


def whole(status: int, data: bytes, headers: Mapping[str, object], kind: str = "application/json") -> bytes:
    """An answer of known length; `kind` is its content type."""
    return _head(status, kind, f"Content-Length: {len(data)}", headers) + data


def streamed(events: list[bytes], headers: Mapping[str, object]) -> list[bytes]:
    """An answer of server-sent events, a chunk each, in the pieces in which it may be sent."""
    head = _head(200, "text/event-stream", "Transfer-Encoding: chunked", headers)
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in (*events, b"")]
    return (
        [head + chunks[0], *chunks[1:-2], chunks[-2] + chunks[-1]]
        if len(events) > 1
        else [head + b"".join(chunks)]
    )


def _head(status: int, kind: str, size: str, headers: Mapping[str, object]) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = _REASONS.get(status, "Unknown")
    return f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{size}\r\n{more}\r\n".encode()


def _parse(head: bytes) -> HttpRequest | None:
    line, _, rest = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    path, _, query = words[1].partition("?")
    closes = b"connection: close" in rest.lower() or words[2] == "HTTP/1.0"
    return HttpRequest(words[0], path, dict(parse_qsl(query)), head, closes)
