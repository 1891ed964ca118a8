"""A Hugging Face Hub on loopback, for the official client.

`FakeHub` speaks enough of the protocol; it keeps nothing on disk and knows no Xet, no pull requests and no branch but
`main`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class _File:
    data: bytes
    lfs: bool

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "path": path, "oid": self.blob_id, "size": len(self.data)}
        if self.lfs:
            row["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": 130}
        return row


@dataclass(frozen=True)
class FakeCommit:
    """One commit: its id, its message and the whole tree."""

    oid: str
    message: str
    files: dict[str, _File]


@dataclass
class FakeRepo:
    """A repository: commits of `main`, oldest first, and tags as name -> commit id."""

    kind: str
    name: str
    private: bool
    commits: list[FakeCommit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, message: str, files: dict[str, _File]) -> FakeCommit:
        seed = f"{self.kind} {self.name} {len(self.commits)} {message}"
        self.commits.append(FakeCommit(hashlib.sha1(seed.encode()).hexdigest(), message, files))
        return self.commits[-1]

    def at(self, revision: str) -> FakeCommit:
        wanted = self.commits[-1].oid if revision == "main" else self.tags.get(revision, revision)
        for commit in self.commits:
            if commit.oid == wanted:
                return commit
        raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str = "", **body: str) -> None:
        super().__init__(message)
        self.status, self.code, self.body = status, code, body


@dataclass(frozen=True)
class _Request:
    body: bytes
    query: dict[str, list[str]]
    token: str
    bytes_wanted: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class _Reply:
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class FakeHub:
    """A Hub on loopback for the time of a `with` block: point `HF_ENDPOINT` at `url`, `HF_TOKEN` at `token`.

    `read_token` may read private repositories and write nothing. With `lfs`, binary files travel through the
    large-file store as on the real Hub; the client must then run with `HF_HUB_DISABLE_XET=1`.
    """

    def __init__(self, *, user: str = "tester", lfs: bool = False) -> None:
        self.user, self.lfs = user, lfs
        self.token, self.read_token = "hf_fakewritetoken", "hf_fakereadtoken"
        self.repos: dict[tuple[str, str], FakeRepo] = {}
        self._store: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` must be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_repo(
        self, repo: str, files: dict[str, bytes], *, repo_type: str = "dataset", private: bool = False
    ) -> FakeRepo:
        """A repository that is there from the start; its files are in the large-file store if `lfs` is on."""
        made = self._new_repo(repo_type, repo, private)
        made.commit("Add files", {path: _File(data, self.lfs) for path, data in files.items()})
        return made

    def _new_repo(self, kind: str, name: str, private: bool) -> FakeRepo:
        made = FakeRepo(kind, name, private)
        made.commit("initial commit", {})
        self.repos[kind, name] = made
        return made

    def _answer(self, method: str, path: str, request: _Request) -> _Reply:
        for verb, pattern, action in _ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                with self._lock:
                    return action(self, request, **{k: unquote(v) for k, v in match.groupdict("").items()})
        raise _RefusedError(404, f"the fake Hub does not know {method} {path}")

    def _readable(self, request: _Request, kind: str, name: str) -> FakeRepo:
        found = self.repos.get((kind.removesuffix("s"), name))
        if found and (not found.private or request.token in (self.token, self.read_token)):
            return found
        raise _RefusedError(404 if request.token else 401, "Repository not found", "RepoNotFound")

    def _writable(self, request: _Request, kind: str, name: str) -> FakeRepo:
        self._check_writer(request)
        return self._readable(request, kind, name)

    def _check_writer(self, request: _Request) -> None:
        if request.token == self.read_token:
            raise _RefusedError(403, "this token may not write")
        if request.token != self.token:
            raise _RefusedError(401, "Invalid credentials in Authorization header")

    def _whoami(self, request: _Request) -> _Reply:
        if request.token not in (self.token, self.read_token):
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return _as_json({"type": "user", "name": self.user, "orgs": []})

    def _create(self, request: _Request) -> _Reply:
        self._check_writer(request)
        wanted = request.json()
        kind = wanted.get("type") or "model"
        name = f"{wanted.get('organization') or self.user}/{wanted['name']}"
        url = f"{self.url}/{_PREFIX[kind]}{name}"
        if (kind, name) in self.repos:
            raise _RefusedError(409, "You already created this repo", url=url)
        self._new_repo(kind, name, wanted.get("visibility") == "private" or bool(wanted.get("private")))
        return _as_json({"url": url, "name": name})

    def _info(self, request: _Request, kind: str, name: str, revision: str = "main") -> _Reply:
        repo = self._readable(request, kind, name)
        commit = repo.at(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        row = {"_id": commit.oid[:24], "id": name, "author": name.split("/")[0], "sha": commit.oid}
        state = {"private": repo.private, "gated": False, "disabled": False, "tags": [], "downloads": 0}
        return _as_json({**row, **state, "likes": 0, "siblings": siblings})

    def _preupload(self, request: _Request, kind: str, name: str, revision: str) -> _Reply:
        now = self._writable(request, kind, name).at(revision).files
        rows = []
        for file in request.json()["files"]:
            path = file["path"]
            lfs = self.lfs and PurePosixPath(path).suffix in _LARGE_SUFFIXES
            before = (now[path].sha256 if lfs else now[path].blob_id) if path in now else None
            mode = "lfs" if lfs else "regular"
            rows.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": before})
        return _as_json({"files": rows})

    def _lfs_batch(self, request: _Request, kind: str, name: str) -> _Reply:
        self._writable(request, kind or "models", name)
        rows = []
        for wanted in request.json()["objects"]:
            if wanted["oid"] not in self._store:
                wanted["actions"] = {"upload": {"href": f"{self.url}/fake-store/{wanted['oid']}"}}
            rows.append(wanted)
        return _as_json({"transfer": "basic", "objects": rows})

    def _lfs_put(self, request: _Request, oid: str) -> _Reply:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise _RefusedError(400, "the content does not have this SHA-256")
        self._store[oid] = request.body
        return _Reply(b"")

    def _commit(self, request: _Request, kind: str, name: str, revision: str) -> _Reply:
        repo = self._writable(request, kind, name)
        files = dict(repo.at(revision).files)
        message = ""
        for line in request.body.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "header":
                message = value["summary"]
            elif step["key"] == "file":
                files[value["path"]] = _File(base64.b64decode(value["content"]), lfs=False)
            elif step["key"] == "lfsFile":
                files[value["path"]] = _File(self._stored(value["oid"]), lfs=True)
            else:
                raise _RefusedError(400, f"the fake Hub does not know the operation {step['key']}")
        made = repo.commit(message, files)
        url = f"{self.url}/{_PREFIX[repo.kind]}{name}/commit/{made.oid}"
        return _as_json({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def _stored(self, oid: str) -> bytes:
        if oid not in self._store:
            raise _RefusedError(400, f"{oid} was never uploaded")
        return self._store[oid]

    def _tag(self, request: _Request, kind: str, name: str, revision: str) -> _Reply:
        repo = self._writable(request, kind, name)
        tag = request.json()["tag"]
        if tag in repo.tags:
            raise _RefusedError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = repo.at(revision).oid
        return _as_json({})

    def _untag(self, request: _Request, kind: str, name: str, revision: str) -> _Reply:
        repo = self._writable(request, kind, name)
        if repo.tags.pop(revision, None) is None:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return _as_json({})

    def _refs(self, request: _Request, kind: str, name: str) -> _Reply:
        repo = self._readable(request, kind, name)
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.at("main").oid}
        tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": oid} for t, oid in repo.tags.items()]
        return _as_json({"branches": [main], "tags": tags, "converts": []})

    def _tree(self, request: _Request, kind: str, name: str, revision: str, path: str) -> _Reply:
        files = self._readable(request, kind, name).at(revision).files
        deep = request.query.get("recursive", ["false"])[0].lower() == "true"
        rows = _listing(files, path, deep)
        if path and not rows:
            raise _RefusedError(404, f"{path} does not exist", "EntryNotFound")
        return _as_json(rows)

    def _paths_info(self, request: _Request, kind: str, name: str, revision: str) -> _Reply:
        files = self._readable(request, kind, name).at(revision).files
        text = request.body.decode()
        paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
        every = {row["path"]: row for row in _listing(files, "", deep=True)}
        return _as_json([every[path] for path in paths if path in every])

    def _resolve(self, request: _Request, kind: str, name: str, revision: str, path: str) -> _Reply:
        commit = self._readable(request, kind or "models", name).at(revision)
        if path not in commit.files:
            raise _RefusedError(404, f"{path} does not exist", "EntryNotFound")
        file = commit.files[path]
        etag = f'"{file.sha256 if file.lfs else file.blob_id}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if file.lfs:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(file.data))}
        return _ranged(file.data, headers, request.bytes_wanted)

    def _valid_card(self, request: _Request) -> _Reply:
        return _as_json({"errors": [], "warnings": []})


_LARGE_SUFFIXES = {".parquet", ".safetensors", ".gguf", ".bin", ".gz"}
_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/((?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_REV = r"/(?P<revision>[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., _Reply]]] = [
    ("GET", "/api/whoami-v2", FakeHub._whoami),
    ("POST", "/api/repos/create", FakeHub._create),
    ("POST", "/api/validate-yaml", FakeHub._valid_card),
    ("GET", f"{_API}(/revision{_REV})?", FakeHub._info),
    ("GET", f"{_API}/refs", FakeHub._refs),
    ("GET", f"{_API}/tree{_REV}(/(?P<path>.+))?", FakeHub._tree),
    ("POST", f"{_API}/paths-info{_REV}", FakeHub._paths_info),
    ("POST", f"{_API}/preupload{_REV}", FakeHub._preupload),
    ("POST", f"{_API}/commit{_REV}", FakeHub._commit),
    ("POST", f"{_API}/tag{_REV}", FakeHub._tag),
    ("DELETE", f"{_API}/tag{_REV}", FakeHub._untag),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", FakeHub._lfs_batch),
    ("PUT", "/fake-store/(?P<oid>[0-9a-f]{64})", FakeHub._lfs_put),
    ("GET", f"{_PAGE}/resolve{_REV}/(?P<path>.+)", FakeHub._resolve),
]


def _as_json(value: Any) -> _Reply:
    return _Reply(json.dumps(value).encode(), {"Content-Type": "application/json"})


def _listing(files: dict[str, _File], under: str, deep: bool) -> list[dict[str, Any]]:
    """Files and folders below `under`, as the Hub's tree lists them."""
    rows: dict[str, dict[str, Any]] = {}
    for path, file in sorted(files.items()):
        if under and not path.startswith(under + "/"):
            continue
        rows[path] = file.described(path)
        for parent in PurePosixPath(path).parents:
            if str(parent) not in (".", under) and str(parent).startswith(under):
                rows[str(parent)] = {"type": "directory", "path": str(parent), "oid": "0" * 40, "size": 0}
    inside = PurePosixPath(under) if under else PurePosixPath(".")
    return [row for path, row in rows.items() if deep or PurePosixPath(path).parent == inside]


def _ranged(data: bytes, headers: dict[str, str], wanted: str) -> _Reply:
    """The whole content, or the part that `bytes=first-last` asks for."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if not match:
        return _Reply(data, headers)
    first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
    headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
    return _Reply(data[first : last + 1], headers, status=206)


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            request = _Request(body, parse_qs(url.query), token, self.headers.get("Range", ""))
            method = "GET" if self.command == "HEAD" else self.command
            try:
                self._send(hub._answer(method, url.path, request))
            except _RefusedError as error:
                headers = {"X-Error-Message": str(error)} | (
                    {"X-Error-Code": error.code} if error.code else {}
                )
                reply = _as_json({"error": str(error), **error.body})
                self._send(_Reply(reply.body, {**reply.headers, **headers}, error.status))

        def _send(self, reply: _Reply) -> None:
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass  # a test's output is its own

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    return Handler
