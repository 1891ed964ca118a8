"""Batches of both providers, kept in memory.

A batch's rows are answered evenly over `batch_s` seconds, but only when somebody looks: nothing runs meanwhile. Results
come in reverse order, since both providers promise none. A row that meets a fault of the wire has timed out.
Left out: expiry, limits on sizes, deleting batches.

Sources: https://platform.openai.com/docs/api-reference/batch,
https://docs.anthropic.com/en/api/creating-message-batches and the pages after it.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from advcore.testing.servers.behaviour import BREAKS, Refusal
from advcore.testing.servers.dialects import Anthropic, Dialect, Json, OpenAI, ServedReply, check, parse_body
from advcore.testing.servers.files import Files, read_rows
from advcore.testing.servers.ledger import Ledger
from advcore.testing.servers.wire import HttpRequest

Answer = Callable[[Dialect, Json], tuple[str, ServedReply | Refusal]]
"""Answers one model call: the fault it meets, and its reply or refusal."""

_OPENAI, _ANTHROPIC = OpenAI(), Anthropic()
_DAY_S = 86_400
_JSONL = "application/x-jsonl"


@dataclass(slots=True)
class Batch:
    """Rows (`custom_id`, body) and what became of them so far: status and body. Times are Unix seconds.

    Beside HTTP's, a result's status is 0 for a row that timed out and -1 for one that was never reached.
    """

    id: str
    rows: list[tuple[str, Json]]
    created_at: float
    given: Json
    errors: list[Json] = field(default_factory=list)
    results: list[tuple[int, Json]] = field(default_factory=list)
    cancelled_at: float = 0.0
    ended_at: float = 0.0
    shown: bool = False
    """OpenAI: the output files are made."""

    def lines(self, line: Callable[[str, int, Json], Json | None]) -> bytes:
        """JSONL of what `line` makes of each row that has a result, without None, last row first."""
        made = (line(name, *result) for (name, _), result in zip(self.rows, self.results, strict=False))
        return b"".join(json.dumps(each).encode() + b"\n" for each in reversed([*made]) if each)


class Batches:
    """Both providers' batch endpoints. `url` is where the server listens, for the addresses of results."""

    def __init__(self, answer: Answer, ledger: Ledger, batch_s: float, url: str) -> None:
        self._answer, self._ledger, self._batch_s, self._url = answer, ledger, batch_s, url
        self._files = Files()
        self._openai: dict[str, Batch] = {}
        self._anthropic: dict[str, Batch] = {}
        one = r"/([\w-]+)"
        self._routes: list[tuple[str, str, Callable[..., Json | bytes]]] = [
            ("POST", "/files", self._files.upload),
            ("GET", f"/files{one}", lambda request, name: self._files.get(name)[0]),
            ("GET", f"/files{one}/content", lambda request, name: self._files.get(name)[1]),
            ("POST", "/batches", self._create_openai),
            ("GET", "/batches", self._list_openai),
            ("GET", f"/batches{one}", self._get_openai),
            ("POST", f"/batches{one}/cancel", self._cancel_openai),
            ("POST", "/messages/batches", self._create_anthropic),
            ("GET", "/messages/batches", self._list_anthropic),
            ("GET", f"/messages/batches{one}", self._get_anthropic),
            ("GET", f"/messages/batches{one}/results", self._results_anthropic),
            ("POST", f"/messages/batches{one}/cancel", self._cancel_anthropic),
        ]

    def handle(self, request: HttpRequest, path: str) -> tuple[bytes, str]:
        """Body and content type of the answer to `path` (without /v1). Raises Refusal."""
        for method, pattern, function in self._routes:
            if method == request.method and (found := re.fullmatch(pattern, path)):
                value = function(request, *found.groups())
                if isinstance(value, bytes):
                    return value, _JSONL
                return json.dumps(value).encode(), "application/json"
        raise Refusal(404, None, f"Invalid URL ({request.method} {request.path})")

    # OpenAI

    def _create_openai(self, request: HttpRequest) -> Json:
        given = parse_body(request.body)
        if missing := {"input_file_id", "endpoint", "completion_window"} - set(given):
            raise Refusal(400, "missing_required_parameter", f"Missing: {', '.join(sorted(missing))}")
        rows, errors = read_rows(self._files.get(given["input_file_id"])[1], given["endpoint"])
        batch = Batch(f"batch_{len(self._openai) + 1}", rows, time.time(), given, errors)
        self._take_on(batch, self._openai)
        return {**self._show_openai(batch), "status": "validating"}

    def _get_openai(self, request: HttpRequest, name: str) -> Json:
        return self._show_openai(self._settled(name, self._openai, _OPENAI))

    def _list_openai(self, request: HttpRequest) -> Json:
        return {"object": "list", **self._page(request, self._openai, _OPENAI, "after", self._show_openai)}

    def _cancel_openai(self, request: HttpRequest, name: str) -> Json:
        batch = self._settled(name, self._openai, _OPENAI)
        if batch.ended_at:
            raise Refusal(409, None, f"Cannot cancel a batch with status '{_status(batch)}'.")
        batch.cancelled_at = time.time()
        return {**self._show_openai(batch), "status": "cancelling"}

    def _show_openai(self, batch: Batch) -> Json:
        status, ended = _status(batch), int(batch.ended_at) or None
        good = [body["usage"] for code, body in batch.results if code == 200]
        output, errors = f"{batch.id}-output", f"{batch.id}-errors"
        if ended and not batch.shown:
            batch.shown = True
            self._files.keep(output, "batch_output", batch.lines(_line_of_output))
            self._files.keep(errors, "batch_output", batch.lines(_line_of_errors))
        tokens = {name: sum(use[name] for use in good) for name in ("prompt_tokens", "completion_tokens")}
        return {
            "id": batch.id, "object": "batch", "endpoint": batch.given["endpoint"], "status": status,
            "input_file_id": batch.given["input_file_id"], "metadata": batch.given.get("metadata"),
            "completion_window": batch.given["completion_window"], "created_at": int(batch.created_at),
            "expires_at": int(batch.created_at) + _DAY_S, "in_progress_at": int(batch.created_at),
            "completed_at": ended if status == "completed" else None,
            "failed_at": ended if status == "failed" else None,
            "cancelling_at": int(batch.cancelled_at) or None,
            "cancelled_at": ended if status == "cancelled" else None,
            "output_file_id": output if self._files.has(output) else None,
            "error_file_id": errors if self._files.has(errors) else None,
            "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
            "request_counts": {
                "total": len(batch.rows), "completed": len(good), "failed": len(batch.results) - len(good),
            },
            "usage": {
                "input_tokens": tokens["prompt_tokens"], "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens["completion_tokens"], "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": sum(tokens.values()),
            },
        }  # fmt: skip

    # Anthropic

    def _create_anthropic(self, request: HttpRequest) -> Json:
        given = parse_body(request.body)
        rows: list[tuple[str, Json]] = []
        for row in given.get("requests") or []:
            if not isinstance(row, dict) or not {"custom_id", "params"} <= set(row):
                raise Refusal(400, None, "requests: custom_id and params are needed")
            check(_ANTHROPIC, row["params"])
            rows.append((row["custom_id"], row["params"]))
        if not rows or len({name for name, _ in rows}) < len(rows):
            raise Refusal(400, None, "requests: at least one is needed, and no custom_id twice")
        batch = Batch(f"msgbatch_{len(self._anthropic) + 1}", rows, time.time(), given)
        self._take_on(batch, self._anthropic)
        return self._show_anthropic(batch)

    def _get_anthropic(self, request: HttpRequest, name: str) -> Json:
        return self._show_anthropic(self._settled(name, self._anthropic, _ANTHROPIC))

    def _list_anthropic(self, request: HttpRequest) -> Json:
        return self._page(request, self._anthropic, _ANTHROPIC, "after_id", self._show_anthropic)

    def _cancel_anthropic(self, request: HttpRequest, name: str) -> Json:
        batch = self._settled(name, self._anthropic, _ANTHROPIC)
        if not batch.ended_at:
            batch.cancelled_at = time.time()
        return self._show_anthropic(batch)

    def _results_anthropic(self, request: HttpRequest, name: str) -> bytes:
        batch = self._settled(name, self._anthropic, _ANTHROPIC)
        if not batch.ended_at:
            raise Refusal(404, None, f"Batch {name} has no results yet.")
        return batch.lines(lambda row, code, body: {"custom_id": row, "result": _result(code, body)})

    def _show_anthropic(self, batch: Batch) -> Json:
        ended = batch.ended_at
        status = "ended" if ended else "canceling" if batch.cancelled_at else "in_progress"
        counts = Counter(_result(*result)["type"] if ended else "processing" for result in batch.results)
        counts["processing"] += 0 if ended else len(batch.rows) - len(batch.results)
        kinds = ("processing", "succeeded", "errored", "canceled", "expired")
        return {
            "id": batch.id, "type": "message_batch", "processing_status": status,
            "request_counts": {kind: counts[kind] for kind in kinds},
            "created_at": _iso(batch.created_at), "expires_at": _iso(batch.created_at + _DAY_S),
            "ended_at": _iso(ended), "cancel_initiated_at": _iso(batch.cancelled_at), "archived_at": None,
            "results_url": f"{self._url}/v1/messages/batches/{batch.id}/results" if ended else None,
        }  # fmt: skip

    # Both

    def _take_on(self, batch: Batch, kept: dict[str, Batch]) -> None:
        for name, body in batch.rows:
            self._ledger.row_arrived(f"{batch.id}:{name}", body)
        kept[batch.id] = batch

    def _settled(self, name: str, kept: dict[str, Batch], dialect: Dialect) -> Batch:
        """The batch, with every row answered that is due by now; or if it was cancelled, given up."""
        if name not in kept:
            raise Refusal(404, None, f"No batch found with id '{name}'.")
        batch, total, now = kept[name], len(kept[name].rows), time.time()
        if batch.ended_at:
            return batch
        at = min(batch.cancelled_at or now, now) - batch.created_at
        due = 0 if batch.errors else total if at >= self._batch_s else int(total * at / self._batch_s)
        for row, body in batch.rows[len(batch.results) : due]:
            batch.results.append(self._one(dialect, body))
            self._ledger.row_done(f"{batch.id}:{row}", batch.results[-1][0])
        if batch.cancelled_at or batch.errors or due == total:
            batch.results += [(-1, {})] * (total - len(batch.results))
            batch.ended_at = now
        return batch

    def _one(self, dialect: Dialect, body: Json) -> tuple[int, Json]:
        fault, answer = self._answer(dialect, body)
        if fault in BREAKS:
            return 0, {}
        return dialect.error(answer) if isinstance(answer, Refusal) else (200, dialect.body(answer))

    def _page(
        self,
        request: HttpRequest,
        kept: dict[str, Batch],
        dialect: Dialect,
        after: str,
        show: Callable[[Batch], Json],
    ) -> Json:
        """Newest first, `limit` of them, from behind the id `after` (or, for Anthropic, up to `before_id`)."""
        names, query = list(reversed(kept)), request.query
        try:
            limit = int(query.get("limit", 20))
            if start := query.get(after):
                names = names[names.index(start) + 1 :]
            elif stop := query.get("before_id"):
                names = names[: names.index(stop)][-limit:]
        except ValueError:
            raise Refusal(400, None, f"Cannot page by {query}") from None
        data = [show(self._settled(name, kept, dialect)) for name in names[:limit]]
        ends = (
            {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
            if data
            else {"first_id": None, "last_id": None}
        )
        return {"data": data, **ends, "has_more": len(names) > limit}


def _status(batch: Batch) -> str:
    if not batch.ended_at:
        return "cancelling" if batch.cancelled_at else "in_progress"
    return "failed" if batch.errors else "cancelled" if batch.cancelled_at else "completed"


def _line_of_output(row: str, code: int, body: Json) -> Json | None:
    return (
        _line(row, {"status_code": code, "request_id": f"req-{row}", "body": body}) if code == 200 else None
    )


def _line_of_errors(row: str, code: int, body: Json) -> Json | None:
    if code == 200:
        return None
    if code > 0:
        return _line(row, {"status_code": code, "request_id": f"req-{row}", "body": body})
    reason = "request_timeout" if code == 0 else "batch_cancelled"
    return {**_line(row, None), "error": {"code": reason, "message": f"This request got no reply: {reason}."}}


def _line(row: str, response: Json | None) -> Json:
    return {"id": f"batch_req_{row}", "custom_id": row, "response": response, "error": None}


def _result(code: int, body: Json) -> Json:
    if code == 200:
        return {"type": "succeeded", "message": body}
    return {"type": "errored", "error": body} if code > 0 else {"type": "canceled" if code < 0 else "expired"}


def _iso(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
