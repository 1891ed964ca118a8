"""Fakes at advgen's outward seam: a scripted teacher that LiteLLM reaches like any OpenAI-compatible server.

`MockServer` listens on loopback and answers `/v1/chat/completions` with what a function of the messages returns;
`scripted` and `ScriptedStudent` are such functions, which play teacher and student over exercises of their own.
Nothing here is used by a real run.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[list[dict[str, str]], int], str]


class MockServer:
    """An OpenAI-compatible server on loopback. `respond(messages, seed)` makes the reply; `requests` keeps what came.

    `fail_with` is a list of HTTP status codes, used up one a request before anything is answered.
    """

    def __init__(self, respond: Respond, fail_with: list[int] | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.fail_with = fail_with or []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                if outer.fail_with:
                    self._send(outer.fail_with.pop(0), {"error": {"message": "scripted failure"}})
                    return
                self._send(200, _completion(body, respond(body["messages"], body.get("seed") or 0)))

            def _send(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.api_base = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> MockServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    prompt = sum(len(message["content"].split()) for message in body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": len(text.split())}
    return {
        "id": "mock", "object": "chat.completion", "created": 0, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }  # fmt: skip


def scripted(messages: list[dict[str, str]], seed: int) -> str:
    """A teacher that knows every request advgen makes by a phrase of its template, and is always right.

    Statements are drawn from a small family by what was asked, so that evolving one gives another.
    """
    text = messages[-1]["content"]
    number = int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) + seed
    if "different subtopics of" in text:
        return "\n".join(f"{at}. scripted subtopic {at}" for at in range(1, 9))
    if "You write statements" in text:
        return _fenced(_statement(number % 9_000 + 1_000))
    name = re.findall(r"def (\w+)\(", text)[-1]
    offset = int(name.rsplit("_", 1)[1])
    if "show whether an implementation" in text:
        return _fenced(
            "\n".join(f"{name}({values})" for values in ([], [1], [5, -2], [7, 7], [0, 3, 9], [-4], [2, 8]))
        )
    if "function alone, write" in text:
        return _fenced(f"assert {name}([1, 1]) == {2 + offset}\nassert {name}([3]) == 0")
    return _fenced(_solution(name, offset))


class ScriptedStudent:
    """Solves as `scripted` does, but is wrong in three replies of four to each prompt, in three different ways.

    By the count of replies and not by the seed, so that a test knows what it will see.
    """

    def __init__(self) -> None:
        self._replies: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, messages: list[dict[str, str]], seed: int) -> str:
        text = messages[-1]["content"]
        name = re.findall(r"def (\w+)\(", text)[-1]
        offset = int(name.rsplit("_", 1)[1])
        wrong = [
            f"def {name}(values: list[int]) -> int:\n    return sum(values)",
            f"def {name}(values: list[int]) -> int:\n    return values[0] + {offset}",
            f"def {name}(values: list[int]) -> int:\n    return sum(values) + {offset + 1}",
        ]
        with self._lock:
            self._replies[text] += 1
            return _fenced([_solution(name, offset), *wrong][self._replies[text] % 4])


def _statement(offset: int) -> str:
    words = " ".join(hashlib.sha256(f"{offset}-{at}".encode()).hexdigest()[:8] for at in range(30))
    return (
        f"def total_{offset}(values: list[int]) -> int:\n"
        f'    """Add up the values and {offset}; the empty list gives {offset}. Key: {words}.\n\n'
        f'    >>> total_{offset}([1, 2])\n    {3 + offset}\n    """'
    )


def _solution(name: str, offset: int) -> str:
    return (
        f"def {name}(values: list[int]) -> int:\n    result = {offset}\n    for value in values:\n"
        "        result = result + value\n    return result"
    )


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"
