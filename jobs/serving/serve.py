"""A service on a port, from its first request to its last.

The rule: no connection is accepted before the models are ready, and no request is cut off. To stop, the service first
says that it is not ready, so that load balancers send no more; then it accepts no connections and answers what is left.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.serving.loading import load
from lvm_batch.jobs.serving.protocol import LimitedProtocol
from lvm_batch.jobs.serving.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.settings.serve import ServeSettings

_GRACE_S = 30
"""Seconds that requests under way may take once no others are accepted."""

_BACKLOG = 2048


class Server(uvicorn.Server):
    """A service behind uvicorn, which leaves signals to us."""

    def __init__(self, service: Service, *, drain_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                service,
                access_log=False,
                log_config=None,
                http=LimitedProtocol,
                ws="none",  # unused here, and it has limits of its own
                lifespan="off",
                proxy_headers=False,  # the client's address is not used
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._service = service
        self._drain_s = drain_s
        self._stopping: asyncio.TimerHandle | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: :meth:`serve_until_stopped` handles them."""
        yield

    def stop(self) -> None:
        """Become unready, and accept no more requests after the drain; a second call ends the drain."""
        self._service.readiness.is_ready = False
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().call_later(self._drain_s, self._accept_no_more)
        else:
            self._accept_no_more()

    async def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serve on a socket until SIGTERM, or until Ctrl-C, which skips the drain."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self._accept_no_more)
        await self.serve(sockets=[listening])

    def _accept_no_more(self) -> None:
        self._service.readiness.is_ready = False
        self.should_exit = True


def serve(settings: ServeSettings, *, console: Console) -> tuple[dict[str, Any], str]:
    """Answer requests until stopped; return the result of the command, as values and as text."""
    with _port(settings) as port:
        loaded = load(settings)
        service = Service(settings, loaded)
        _listen(port, settings)
        url = _url(port)
        for notice in loaded.notices:
            console.note(notice)
        console.note(f"{' and '.join(filter(None, loaded.model_names))} at {url}, described at {url}/docs")
        server = Server(service, drain_s=settings.drain)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve_until_stopped(port))
        service.close()
    counts = service.metrics.totals()
    return {"url": url, **counts}, _text(counts)


def _text(counts: dict[str, Any]) -> str:
    return (
        f"stopped after {plural(counts['n_requests'], 'request')}, {plural(counts['n_rows'], 'row')} answered"
    )


@contextmanager
def _port(settings: ServeSettings) -> Iterator[socket.socket]:
    """Bind the port, but do not listen yet: clients ask as soon as it is open. Raises :class:`UsageError`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as soon as a service before it has ended
        if family == socket.AF_INET6:
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        port.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # for connections too: or answers wait 40 ms
        with _port_errors(settings):
            port.bind((settings.host, settings.port))
        yield port


def _listen(port: socket.socket, settings: ServeSettings) -> None:
    """Open the port. Raises :class:`UsageError` if another service has taken it in the meantime."""
    with _port_errors(settings):
        port.listen(_BACKLOG)


@contextmanager
def _port_errors(settings: ServeSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            "give an address of this machine as --host, and another --port; 0 takes a free one",
        ) from error


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
