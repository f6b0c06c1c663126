"""A Hugging Face Hub of the test's own: commits, listings in pages, and files on another server that takes ranges.

Answers are those that https://huggingface.co/docs/hub/api and the hub's client describe; the real service is not asked.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "owner/windows"
TOKEN = "hf_secretsecretsecret"  # noqa: S105 - of this server alone
PAGE = 2


@dataclass
class Hub:
    """What the servers hold: files by commit, commits by revision; and what they were asked."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False
    faults: list[int] = field(default_factory=list)
    tokens_at_files: set[str | None] = field(default_factory=set)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""
    files_url: str = ""

    def commit(self, files: dict[str, bytes], revision: str = "main") -> str:
        """Add a commit of these files, and move a revision there; return its name."""
        content = repr(sorted(files.items())) + str(len(self.commits))
        name = hashlib.sha1(content.encode()).hexdigest()  # noqa: S324 - git's
        self.commits[name] = files
        self.revisions[revision] = name
        return name


class _Handler(BaseHTTPRequestHandler):
    """What both servers answer with."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        """Answer a request."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


class _HubHandler(_Handler):
    def do_GET(self) -> None:
        """Answer the API, and send readers of files to the other server."""
        if self.hub.faults:
            self.answer(self.hub.faults.pop())
            return
        if self.hub.is_gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(403 if self.headers["Authorization"] else 401, X_Error_Code="GatedRepo")
            return
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        kind, *parts = path.strip("/").split("/")
        if kind == "api":
            self.api(parts, query)
        else:
            owner, name, _, commit, *below = parts
            location = f"{self.hub.files_url}/{owner}/{name}/{commit}/{'/'.join(below)}"
            self.answer(302, Location=location, X_Repo_Commit=commit)

    def api(self, parts: list[str], query: dict[str, list[str]]) -> None:
        """Answer with a commit or with a listing."""
        _, owner, name, what, revision, *below = parts
        revision = unquote(revision)
        commit = self.hub.revisions.get(revision, revision)
        if f"{owner}/{name}" != NAME:
            self.answer(401, X_Error_Code="RepoNotFound")
        elif commit not in self.hub.commits:
            self.answer(404, X_Error_Code="RevisionNotFound")
        elif what == "revision":
            self.answer(200, json.dumps({"id": NAME, "sha": commit}).encode())
        else:
            self.tree(commit, unquote("/".join(below)), query)

    def tree(self, commit: str, folder: str, query: dict[str, list[str]]) -> None:
        """List a folder, a page at a time."""
        entries = list(_entries(self.hub.commits[commit], folder, recursive=query["recursive"] == ["true"]))
        if not entries and folder:
            self.answer(404, X_Error_Code="EntryNotFound")
            return
        start = int(query.get("cursor", ["0"])[0])
        end = start + PAGE
        path = f"{self.hub.url}{urlsplit(self.path).path}?recursive={query['recursive'][0]}&cursor={end}"
        link = {"Link": f'<{path}>; rel="next"'} if end < len(entries) else {}
        self.answer(200, json.dumps(entries[start:end]).encode(), **link)


class _FilesHandler(_Handler):
    def do_GET(self) -> None:
        """Answer a range of a file, or all of it."""
        self.hub.tokens_at_files.add(self.headers["Authorization"])
        self.hub.ranges.append(self.headers["Range"])
        _, _, commit, *below = self.path.strip("/").split("/")
        content = self.hub.commits[commit].get(unquote("/".join(below)))
        if content is None:
            self.answer(404)
        elif wanted := self.headers["Range"]:
            first, last = wanted.removeprefix("bytes=").split("-")
            part = content[int(first) : int(last) + 1]
            self.answer(206, part, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        else:
            self.answer(200, content)


def _entries(files: dict[str, bytes], folder: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    seen = set()
    for path, content in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        *parents, _ = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parents) + 1):
            directory = prefix + "/".join(parents[:depth])
            if directory not in seen and (recursive or depth == 1):
                seen.add(directory)
                yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": directory}
        if recursive or not parents:
            digest = hashlib.sha256(content).hexdigest()
            yield {
                "type": "file",
                "oid": digest[:40],
                "size": len(content),
                "path": path,
                "lfs": {"oid": digest, "size": len(content), "pointerSize": 134},
            }


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub without datasets on this machine."""
    hub = Hub()
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
        for kind in (_HubHandler, _FilesHandler)
    ]
    hub.url, hub.files_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def address(path: str = "", *, revision: str = "") -> str:
    """Return the address of a path in the dataset."""
    at = f"@{quote(revision, safe='')}" if revision else ""
    return f"hf://datasets/{NAME}{at}/{path}".rstrip("/")
