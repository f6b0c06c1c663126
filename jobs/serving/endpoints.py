"""The endpoints that read vectors, as plain ASGI.

The rule: a request counts as under way once its body is here, so that a slow sender keeps nobody out; bodies on their
way, and answers until they are taken, have a limit of their own. Every refusal has one form.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

import orjson

from lvm_batch.jobs.serving.bodies import Refusal, too_large, too_many, too_slow, wrong_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.types import Receive, Scope, Send

    from lvm_batch.jobs.serving.memory import MemoryBudget, Reservation
    from lvm_batch.jobs.serving.metrics import Metrics

    Respond = Callable[[bytes], Awaitable[bytes]]

JSON = "application/json"

_PART_BYTES = 2**18

BODY_S = 30
"""How long a body may take to arrive: 16 MiB at 4.5 Mbit/s."""


class _Disconnect(Exception):
    """The client has hung up."""


class Gate:
    """Lets in ``max_queue`` requests at a time. As a context manager, it raises :class:`Refusal` if there are more."""

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self.under_way = 0

    def __enter__(self) -> None:
        if self.under_way >= self._max_queue:
            raise too_many(self._max_queue)
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


class Endpoint:
    """One path, with what responds to each type of body, in that type."""

    def __init__(
        self,
        path: str,
        kinds: Mapping[str, Respond],
        *,
        gate: Gate,
        budget: MemoryBudget,
        metrics: Metrics,
        max_body: int,
    ) -> None:
        self.path = path
        self._kinds = kinds
        self._gate = gate
        self._budget = budget
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request and count it."""
        start = perf_counter()
        status: int | None = 500  # what the server answers if something here fails
        try:
            status = await self._respond(scope, receive, send)
        finally:
            if status is not None:
                self._metrics.answered(self.path, status, perf_counter() - start)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Respond; return the status, or ``None`` if the client has gone."""
        try:
            kind, respond = self._chosen(scope)
            with self._budget.held() as held:
                body = await self._body(receive, held)
                with self._gate:
                    content = await respond(body)
                held.turn_into(len(content))
                del body
                await _send(send, 200, kind, content)
        except Refusal as refusal:
            status, kind, content = refusal.status, JSON, orjson.dumps({"detail": refusal.detail})
            headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        except _Disconnect:
            return None
        else:
            return 200
        await _send(send, status, kind, content, headers)
        return status

    def _chosen(self, scope: Scope) -> tuple[str, Respond]:
        """Return the type of a request's body, and what responds to it. Raises :class:`Refusal`."""
        kind, n_bytes = JSON, 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                n_bytes = int(value)
        respond = self._kinds.get(kind)
        if respond is None:
            raise wrong_type(kind, list(self._kinds))
        if n_bytes > self._max_body:
            raise too_large("the body", self._max_body)
        return kind, respond

    async def _body(self, receive: Receive, held: Reservation) -> bytes:
        """Receive a whole body. Raises :class:`Refusal` if it is too large or too slow."""
        parts: list[bytes] = []
        n_bytes = 0
        more = True
        try:
            async with asyncio.timeout(BODY_S):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Disconnect
                    parts.append(message.get("body", b""))
                    held.add(len(parts[-1]))
                    n_bytes += len(parts[-1])
                    if n_bytes > self._max_body:
                        raise too_large("the body", self._max_body)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise too_slow(BODY_S) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _send(
    send: Send, status: int, kind: str, content: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send an answer in parts, so that no more of a long one is buffered than its reader takes."""
    own = ((b"content-type", kind.encode()), (b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})
    for start in range(0, len(content) - _PART_BYTES, _PART_BYTES):
        part = content[start : start + _PART_BYTES]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": content[_last_part(len(content)) :]})


def _last_part(n_bytes: int) -> int:
    """Return where the last part of so many bytes begins."""
    return max(0, n_bytes - 1) // _PART_BYTES * _PART_BYTES
