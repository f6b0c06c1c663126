"""A health check server: a real HTTP server on this machine that records its pings, or answers them badly."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "8c7f6a1d-secret-4e0b"  # noqa: S105 - not a real one
HANG = 0
"""An answer that never comes, until the server is closed."""


class Ping(NamedTuple):
    """A request: the path after the check's address, the query, the content type and the JSON body."""

    event: str
    query: dict[str, list[str]]
    content_type: str
    body: dict[str, Any]


class CheckServer(ThreadingHTTPServer):
    """Answers each ping with ``answer``; calls ``on_ping`` before that, on a thread of the server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/ping/{SECRET}"
        self.pings: list[Ping] = []
        self.answer = 200
        self.on_ping: Callable[[str], object] = lambda _: None
        self.closing = threading.Event()

    @property
    def events(self) -> list[str]:
        """The events of the pings, in order; success is an empty string."""
        return [ping.event for ping in self.pings]


class _Handler(BaseHTTPRequestHandler):
    server: CheckServer

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        event = parts.path.split(SECRET)[1].removeprefix("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pings.append(
            Ping(event, parse_qs(parts.query), self.headers["Content-Type"], json.loads(body))
        )
        self.server.on_ping(event)
        if self.server.answer == HANG:
            self.server.closing.wait()
            return
        self.send_response(self.server.answer, f"about {SECRET}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the server's log out of the tests' output."""


@contextmanager
def check_server() -> Iterator[CheckServer]:
    """Serve while the block runs."""
    with CheckServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
