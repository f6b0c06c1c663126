"""A local S3 server: moto's, over real HTTP, that fails on demand."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from time import sleep
from typing import TYPE_CHECKING, Any, Literal

from moto.backends import get_backend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from support.waiting import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEY, SECRET, TOKEN = "AKIATESTKEYVISIBLE7", "wJalrXUtnFEMI/K7MDENG+secretsecret", "FwoGZXIvYXdzEtokentoken"

How = Literal["500", "503", "501", "403", "cut before", "cut within", "cut after", "hang", "late"]
"""An HTTP error; a connection cut before the request is executed, within its answer, or after it is executed; no
answer; or a request that is delayed until it is released, and then executed, whether or not its client still exists."""

_ERRORS = {"500": "InternalError", "503": "SlowDown", "501": "NotImplemented", "403": "AccessDenied"}


@dataclass
class Fault:
    """Applies to the next ``times`` requests whose line, ``PUT /bucket/key?query``, contains all of ``words``."""

    how: How
    words: tuple[str, ...]
    times: int
    met: int = 0
    is_through: threading.Event = field(default_factory=threading.Event)
    done: int = 0

    def takes(self, line: str) -> bool:
        """Whether the fault applies to this request."""
        if self.met >= self.times or not all(word in line for word in self.words):
            return False
        self.met += 1
        return True


@dataclass
class Server:
    """The server's address, the request lines so far, the faults to come, and the delay of each request."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    delay: Callable[[str], float] = lambda _: 0.0
    authorization: str = ""
    awake: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, how: How, *words: str, times: int = 1) -> Fault:
        """Make matching requests fail."""
        self.faults.append(Fault(how, words, times))
        return self.faults[-1]

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self.backend.create_bucket(name, "us-east-1")

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object, bypassing HTTP."""
        self.backend.put_object(bucket, key, content)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket, bypassing HTTP."""
        return {name: key.value for name, key in self.backend.buckets[bucket].keys.items()}

    def uploads(self, bucket: str) -> int:
        """Multipart uploads that were neither completed nor aborted."""
        return len(self.backend.buckets[bucket].multiparts)

    @property
    def backend(self) -> Any:  # noqa: ANN401 - moto's
        """Moto's model of S3."""
        return get_backend("s3")["123456789012"]["aws"]

    def fault(self, line: str) -> Fault | None:
        """Record a request, and return the fault that applies to it."""
        with self._lock:
            self.requests.append(line)
            return next((fault for fault in self.faults if fault.takes(line)), None)


App = Callable[..., "Iterable[bytes]"]
"""A WSGI application."""


@contextmanager
def serving(around: Callable[[App], App] | None = None) -> Iterator[Server]:
    """Serve until the block ends, behind another application if ``around`` makes one."""
    server = Server()
    app: App = DomainDispatcherApplication(create_backend_app)
    app = _failing(around(app) if around else app, server)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    httpd = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.awake.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


class _Handler(WSGIRequestHandler):
    """Keeps connections open, as real stores do."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore the error that a cut connection raises here."""
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True


def _failing(app: Callable[..., Iterable[bytes]], server: Server) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"
        line += (
            " conditional" if {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys() and not query else ""
        )
        server.authorization = environ.get("HTTP_AUTHORIZATION", "")
        fault = server.fault(line)
        if seconds := server.delay(line):
            sleep(seconds)
        if fault is None:
            return app(environ, start_response)
        if fault.how in _ERRORS:
            return _error(fault.how, environ, start_response)
        if fault.how == "late":
            return _late(fault, app, environ, start_response)
        if fault.how == "hang":
            server.awake.wait(HANG_S)
        elif fault.how != "cut before":
            body = b"".join(app(environ, start_response))
            if fault.how == "cut within":
                return _cut_within(body, environ)
        _cut(environ)
        return []

    return answer


def _late(
    fault: Fault,
    app: Callable[..., Iterable[bytes]],
    environ: dict[str, Any],
    start_response: Callable[..., Any],
) -> list[bytes]:
    environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    fault.is_through.wait(HANG_S)
    body = list(app(environ, start_response))
    fault.done += 1
    return body


def _error(status: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    key = environ.get("HTTP_AUTHORIZATION", "")
    body = f"<Error><Code>{_ERRORS[status]}</Code><Message>{key}</Message><StringToSign>{SECRET}</StringToSign></Error>"
    start_response(f"{status} {_ERRORS[status]}", [("Content-Length", str(len(body)))])
    return [body.encode()]


def _cut_within(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    _cut(environ)
    yield body[len(body) // 2 :]


def _cut(environ: dict[str, Any]) -> None:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
