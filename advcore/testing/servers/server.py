"""The mock server itself: routes, faults and delays, in a thread of the caller's process or in one of its own.

Everything runs on one asyncio loop; an answer without delay is written in the same callback in which its request was
read. Endpoints: `/v1/chat/completions`, `/v1/messages`, `/v1/models`, `/stats`, and those of `batches`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advcore.testing.servers.batches import Batches
from advcore.testing.servers.behaviour import REFUSALS, Allowance, Behaviour, Refusal, parse_profile
from advcore.testing.servers.dialects import Anthropic, Dialect, Json, OpenAI, ServedReply, check, parse_body
from advcore.testing.servers.echo import Respond
from advcore.testing.servers.ledger import Ledger
from advcore.testing.servers.wire import Connection, HttpRequest, streamed, whole

_CHATS: dict[str, Dialect] = {"/chat/completions": OpenAI(), "/messages": Anthropic()}
_MODEL = {  # both providers' fields in one
    "id": "mock", "object": "model", "created": 0, "owned_by": "advgen",
    "type": "model", "display_name": "mock", "created_at": "1970-01-01T00:00:00Z",
}  # fmt: skip
_MODELS = {"object": "list", "data": [_MODEL], "has_more": False, "first_id": "mock", "last_id": "mock"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer's status, its bytes in the pieces that go out, seconds before the first and between two."""

    status: int
    pieces: list[bytes]
    delay_s: float
    pause_s: float = 0.0


class MockServer:
    """A model server on loopback. `respond(messages, seed)` makes the reply; `requests` keeps what came.

    `requests` holds the body of every model call, a batch's rows when they are answered; with `keep_requests=False`
    nothing, so that a long benchmark does not grow. `fail_with` is a list of HTTP status codes, used up one a request
    (of any kind but /stats) before anything is answered. `log` is a JSONL file that is added to (see `ledger`).

    `respond` is called on the server's one thread: it must not wait (`behaviour` does that), and a slow one slows all.
    What it raises closes the connection and is printed.
    """

    def __init__(
        self, respond: Respond, fail_with: list[int] | None = None, behaviour: Behaviour | None = None, *,
        port: int = 0, log: Path | None = None, keep_requests: bool = True,
    ) -> None:  # fmt: skip
        self.requests: list[dict[str, Any]] = []
        self.fail_with = fail_with or []
        self.behaviour = behaviour or Behaviour()
        self._respond, self._keep_requests = respond, keep_requests
        self._latency = parse_profile(self.behaviour.profile)
        self._allowance = Allowance(self.behaviour.requests_per_s, self.behaviour.burst)
        self._slots = asyncio.Semaphore(self._latency.capacity) if self._latency.capacity else None
        self._arrivals = self._calls = 0
        self._connections: set[Connection] = set()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.api_base = f"{self.url}/v1"
        self._ledger = Ledger(log)
        self._batches = Batches(self._answer_row, self._ledger, self.behaviour.batch_s, self.url)

    def __enter__(self) -> MockServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self.serve(ready.set),), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.stop)
        self._thread.join()

    async def serve(self, ready: Callable[[], object]) -> None:
        """Serve on the running loop until `stop`; `ready` is called when the first request may come."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(self._connect, sock=self._socket, backlog=4096)
        ready()
        await self._stopped.wait()
        server.close()
        for connection in self._connections:
            connection.fate = "server stopped"
            connection.transport.abort()
        while self._connections:
            await asyncio.sleep(0)
        self._ledger.close()

    def stop(self) -> None:
        """End `serve`; from its loop only. Requests in flight are dropped."""
        self._stopped.set()

    def stats(self) -> dict[str, Any]:
        """What GET /stats answers: see `Ledger.stats`."""
        return self._ledger.stats()

    # From a request to what is answered

    def _connect(self) -> Connection:
        connection = Connection(self._handle, self._lost)
        self._connections.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection.exchange:
            self._ledger.lost(connection.exchange, connection.fate)
        if connection.task:
            connection.task.cancel()

    def _handle(self, connection: Connection, request: HttpRequest) -> None:
        path = request.path.removeprefix("/v1")
        if path == "/stats":
            connection.finish(whole(200, json.dumps(self.stats()).encode(), {}), lambda: None)
            return
        self._arrivals += 1
        connection.exchange = f"req-{self._arrivals}"
        dialect = _CHATS["/messages" if path.startswith("/messages") else "/chat/completions"]
        is_call, body = request.method == "POST" and path in _CHATS, None
        try:
            try:
                body = parse_body(request.body) if is_call else None
            finally:
                self._ledger.arrived(connection.exchange, request.method, request.path, body)
            if body is not None:
                self._keep(body)
            if self.fail_with:
                raise Refusal(self.fail_with.pop(0), None, "scripted failure")
            if body is not None:
                self._call(connection, dialect, body)
            elif request.method == "GET" and path == "/models":
                data = json.dumps(_MODELS).encode()
                self._finish(connection, 200, whole(200, data, _named(connection)))
            else:
                data, kind = self._batches.handle(request, path)
                self._finish(connection, 200, whole(200, data, _named(connection), kind))
        except Refusal as refusal:
            self._refuse(connection, dialect, refusal, _named(connection))

    def _call(self, connection: Connection, dialect: Dialect, body: Json) -> None:
        check(dialect, body)
        wait_s = self._allowance.take()
        headers = self._headers(connection, dialect, wait_s)
        if wait_s:
            refusal = Refusal(429, "rate_limit_exceeded", "Rate limit reached for requests.")
            self._refuse(connection, dialect, refusal, headers)
            return
        fault, answer = self._answer(dialect, body)
        delay_s = self._latency.seconds(self.behaviour.seed, self._calls)
        if fault in ("reset", "cut", "hang"):
            connection.fate = fault
        if fault == "reset":
            connection.reset()
        elif isinstance(answer, Refusal):
            status, value = dialect.error(answer)
            data = whole(status, json.dumps(value).encode(), headers)
            # What the client did wrong is refused at the door; the server's own errors take their time.
            self._deliver(connection, Delivery(status, [data], delay_s if status >= 500 else 0.0))
        elif fault != "hang":
            self._deliver(connection, self._delivery(dialect, answer, body, fault, headers, delay_s))

    def _answer_row(self, dialect: Dialect, body: Json) -> tuple[str, ServedReply | Refusal]:
        self._keep(body)
        return self._answer(dialect, body)

    def _keep(self, body: Json) -> None:
        if self._keep_requests:
            self.requests.append(body)

    def _answer(self, dialect: Dialect, body: Json) -> tuple[str, ServedReply | Refusal]:
        """The fault that the next model call meets ("" for none), and its reply or refusal."""
        self._calls += 1
        fault = self.behaviour.fault(self._calls)
        if fault in REFUSALS:
            return fault, REFUSALS[fault]
        messages = dialect.messages(body)
        text = self._respond(messages, body.get("seed") or 0)
        if fault == "length":
            text = text[: len(text) // 2]
        prompt_tokens = sum(len(message["content"].split()) for message in messages)
        name = f"{dialect.name}-{self._calls}"
        return fault, ServedReply(name, body["model"], text, fault != "length", prompt_tokens)

    def _headers(self, connection: Connection, dialect: Dialect, wait_s: float) -> Json:
        headers = _named(connection)
        if self.behaviour.rate_headers:
            headers |= dialect.rate_headers(round(self._allowance.rate * 60), *self._allowance.state())
        if wait_s and self.behaviour.retry_after:
            headers |= {"retry-after": math.ceil(wait_s), "retry-after-ms": math.ceil(wait_s * 1000)}
        return headers

    # From what is answered to the wire

    def _delivery(
        self, dialect: Dialect, reply: ServedReply, body: Json, fault: str, headers: Json, delay_s: float
    ) -> Delivery:
        """The reply's bytes and when they go out, broken as `fault` says."""
        per_token_s = self._latency.per_token_s
        if not body.get("stream"):
            data = json.dumps(dialect.body(reply)).encode()
            half = len(data) // 2
            answer = whole(200, data[:half] if fault == "truncated" else data, headers)
            pieces = [answer[:-half] if fault == "cut" else answer]
            return Delivery(200, pieces, delay_s + per_token_s * reply.completion_tokens)
        events = dialect.events(reply, body)
        if fault == "truncated":
            events = [b"".join(events)[: sum(map(len, events)) // 2]]
        pieces = streamed(events, headers)
        if fault == "cut":
            pieces = pieces[: len(pieces) // 2]
        return Delivery(200, pieces if per_token_s else [b"".join(pieces)], delay_s, per_token_s)

    def _deliver(self, connection: Connection, delivery: Delivery) -> None:
        if delivery.delay_s or len(delivery.pieces) > 1 or self._slots:
            connection.task = self._loop.create_task(self._deliver_later(connection, delivery))
        else:
            self._end(connection, delivery)

    async def _deliver_later(self, connection: Connection, delivery: Delivery) -> None:
        async with self._slots or contextlib.nullcontext():
            await asyncio.sleep(delivery.delay_s)
            for piece in delivery.pieces[:-1]:
                connection.write(piece)
                await asyncio.sleep(delivery.pause_s)
            self._end(connection, delivery)

    def _end(self, connection: Connection, delivery: Delivery) -> None:
        if connection.fate == "cut":
            connection.cut(delivery.pieces[-1])
        else:
            self._finish(connection, delivery.status, delivery.pieces[-1])

    def _refuse(self, connection: Connection, dialect: Dialect, refusal: Refusal, headers: Json) -> None:
        status, body = dialect.error(refusal)
        self._finish(connection, status, whole(status, json.dumps(body).encode(), headers))

    def _finish(self, connection: Connection, status: int, data: bytes) -> None:
        def sent() -> None:
            self._ledger.sent(connection.exchange, status)
            connection.exchange, connection.task = "", None

        connection.finish(data, sent)


def _named(connection: Connection) -> Json:
    """Headers that give the request's id in the log, by the names under which the providers' SDKs look for it."""
    return {"x-request-id": connection.exchange, "request-id": connection.exchange}
