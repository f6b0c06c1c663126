"""The endpoints that read vectors, as plain ASGI.

The rule: a request is admitted before its body is read, and whatever is wrong with it is told in one form. FastAPI
documents these endpoints and finds the way to them; between it and the models nothing is put that costs time for each
request. Does not know what a body holds.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import orjson

from lvm_batch.jobs.serving.refusals import Refused, too_large, too_many, wrong_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from lvm_batch.jobs.serving.metrics import Metrics

    Respond = Callable[[bytes], Awaitable[bytes]]

_JSON = "application/json"


class _Gone(Exception):
    """Whoever asked has hung up."""


class Gate:
    """Lets in so many requests at a time."""

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self.under_way = 0

    def enter(self) -> None:
        """Count a request in. Raises :class:`Refused`."""
        if self.under_way >= self._max_queue:
            raise too_many(self._max_queue)
        self.under_way += 1

    def leave(self) -> None:
        """Count it out."""
        self.under_way -= 1


class Endpoint:
    """One path, with what responds to each type of body, in that type."""

    def __init__(
        self, path: str, kinds: Mapping[str, Respond], *, gate: Gate, metrics: Metrics, max_body: int
    ) -> None:
        self._path = path
        self._kinds = kinds
        self._gate = gate
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        start = perf_counter()
        headers: list[tuple[bytes, bytes]] = []
        try:
            self._gate.enter()
            try:
                kind, content = await self._responded(scope, receive)
            finally:
                self._gate.leave()
            status = 200
        except Refused as refused:
            status, kind, content = refused.status, _JSON, orjson.dumps({"detail": refused.detail})
            headers = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
        except _Gone:
            return
        headers += [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._metrics.answered(self._path, status, perf_counter() - start)

    async def _responded(self, scope: Scope, receive: Receive) -> tuple[str, bytes]:
        kind, n_bytes = _JSON, 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                n_bytes = int(value)
        respond = self._kinds.get(kind)
        if respond is None:
            raise wrong_type(kind, list(self._kinds))
        if n_bytes > self._max_body:
            raise too_large(self._max_body)
        return kind, await respond(await self._body(receive))

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        n_bytes = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts.append(message.get("body", b""))
            n_bytes += len(parts[-1])
            if n_bytes > self._max_body:
                raise too_large(self._max_body)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)
