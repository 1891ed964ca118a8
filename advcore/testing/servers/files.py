"""OpenAI's files, kept in memory: uploads, results, and what an uploaded batch asks for. No uploads in parts.

Source: https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from advcore.testing.servers.behaviour import Refusal
from advcore.testing.servers.dialects import Json, OpenAI, check
from advcore.testing.servers.wire import HttpRequest


class Files:
    """What was uploaded or made, by id: the file object and its bytes."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Json, bytes]] = {}

    def upload(self, request: HttpRequest) -> Json:
        """Keep the file of a form. Raises Refusal (400) if the form is not one."""
        parts = _multipart(request)
        if "file" not in parts or "purpose" not in parts:
            raise Refusal(400, None, "'file' and 'purpose' are needed, as multipart/form-data.")
        filename, data = parts["file"]
        return self.keep(f"file-{len(self._kept) + 1}", parts["purpose"][1].decode(), data, filename)

    def keep(self, name: str, purpose: str, data: bytes, filename: str = "") -> Json:
        """Keep `data` as the file `name`; returns its file object."""
        shown = {
            "id": name, "object": "file", "bytes": len(data), "created_at": int(time.time()),
            "filename": filename or f"{name}.jsonl", "purpose": purpose, "status": "processed",
        }  # fmt: skip
        self._kept[name] = (shown, data)
        return shown

    def get(self, name: str) -> tuple[Json, bytes]:
        """File object and content. Raises Refusal (404)."""
        if name not in self._kept:
            raise Refusal(404, None, f"No such File object: {name}")
        return self._kept[name]

    def has(self, name: str) -> bool:
        """Whether there is such a file, with something in it."""
        return name in self._kept and bool(self._kept[name][1])


def read_rows(data: bytes, endpoint: str) -> tuple[list[tuple[str, Json]], list[Json]]:
    """Rows of an input file, and what is wrong with it as OpenAI's validation says it."""
    rows: dict[str, Json] = {}
    errors: list[Json] = []

    def wrong(line: int | None, code: str, message: str) -> None:
        errors.append({"code": code, "line": line, "message": message, "param": None})

    for at, line in enumerate(data.rstrip().splitlines(), 1):
        try:
            row: Any = json.loads(line)
            name, body = row["custom_id"], row["body"]
            check(OpenAI(), body)
            if row["url"] != endpoint or row["method"] != "POST":
                wrong(at, "mismatched_endpoint", "The url or method is not the batch's.")
            elif name in rows:
                wrong(at, "duplicate_custom_id", f"The custom_id {name} was used before.")
            rows[name] = body
        except (ValueError, KeyError, TypeError, Refusal):
            wrong(at, "invalid_json_line", "This line is not a request that can be read.")
    if not rows and not errors:
        wrong(None, "empty_file", "The input file is empty.")
    return [*rows.items()], errors


def _multipart(request: HttpRequest) -> dict[str, tuple[str, bytes]]:
    """Filename and content of each field of a form: https://www.rfc-editor.org/rfc/rfc7578"""
    found = re.search(rb'boundary="?([^";\r\n]+)', request.head)
    fields = {}
    for part in request.body.split(b"--" + found[1])[1:-1] if found else []:
        head, _, content = part.partition(b"\r\n\r\n")
        names = dict(re.findall(rb'\b(name|filename)="([^"]*)"', head))
        fields[names.get(b"name", b"").decode()] = (
            names.get(b"filename", b"").decode(errors="replace"),
            content.removesuffix(b"\r\n"),
        )
    return fields
