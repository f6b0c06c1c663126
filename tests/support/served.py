"""A service on a local port, in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import requests

from support.waiting import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.settings.serve import ServeSettings

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


class Serving(NamedTuple):
    """A server in this process."""

    url: str
    service: Any
    server: Any
    loop: Any

    def post(self, path: str = "/predict", **given: object) -> requests.Response:
        """Send a POST request."""
        return requests.post(self.url + path, timeout=HANG_S, **given)  # type: ignore[arg-type]

    def metric(self, name: str) -> float:
        """A sample of ``/metrics``, 0 if it has not been counted."""
        lines = requests.get(f"{self.url}/metrics", timeout=HANG_S).text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)

    def connected(self) -> socket.socket:
        """A connection to the service."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=HANG_S)


@contextmanager
def serving(settings: ServeSettings, *, drain_s: float = 0) -> Iterator[Serving]:
    """Serve in a thread of this process, on a free port."""
    from lvm_batch.jobs.serving.loading import load
    from lvm_batch.jobs.serving.serve import Server
    from lvm_batch.jobs.serving.service import Service

    service = Service(settings, load(settings))
    server = Server(service, drain_s=drain_s)
    listening = socket.create_server(("127.0.0.1", 0))
    loop = server.config.get_loop_factory()()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve(sockets=[listening])))
    thread.start()
    try:
        yield Serving(f"http://127.0.0.1:{listening.getsockname()[1]}", service, server, loop)
    finally:
        server.should_exit = True
        thread.join(HANG_S)
        service.close()
        loop.close()


def stream(table: pa.Table, **options: object) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(memoryview(sink.getvalue()))
