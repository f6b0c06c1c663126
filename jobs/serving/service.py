"""A service: models that are ready, behind HTTP endpoints.

The rule: a service is one ASGI application with all that it needs, for any server and port.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Response

from lvm_batch.jobs.serving.application import make_application
from lvm_batch.jobs.serving.arrow_bodies import MEDIA_TYPE, UNPACKED, ArrowForm, rows_of
from lvm_batch.jobs.serving.batcher import Batcher
from lvm_batch.jobs.serving.endpoints import JSON, Endpoint, Gate
from lvm_batch.jobs.serving.json_answers import AnswerWriter
from lvm_batch.jobs.serving.json_bodies import QueryReader, room_for
from lvm_batch.jobs.serving.memory import MemoryBudget, MemoryQueue
from lvm_batch.jobs.serving.metrics import Metrics
from lvm_batch.jobs.serving.rows import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.serving.loading import LoadedModels
    from lvm_batch.jobs.settings.serve import ServeSettings


_LARGE = 2**18
"""Bytes from which a query is read in another thread: to find what is wrong with it takes over 40 ms."""


_LEAST_HELD = 2**28
"""Bytes that the bodies of all requests together may take at least, however small ``--max-body`` is."""


@dataclass
class Readiness:
    """Whether the service wants requests."""

    is_ready: bool = True


class Service:
    """Everything between HTTP and the models, as an ASGI application."""

    def __init__(self, settings: ServeSettings, loaded: LoadedModels) -> None:
        self.metrics = Metrics(loaded.answerer.reasons)
        self.readiness = Readiness()
        self.gate = Gate(settings.max_queue)
        most = max(UNPACKED * settings.max_body, _LEAST_HELD)
        self.budget = MemoryBudget(most)
        self._queue = MemoryQueue(most)
        self._loaded = loaded
        self._max_rows = settings.max_batch
        self._row_bytes = _row_bytes(loaded.shape)
        self._new_reader = partial(
            QueryReader,
            length=loaded.shape.length,
            dim=loaded.shape.dim,
            pad=settings.pad,
            bank=loaded.named_bank,
            n_neighbours=settings.neighbours,
        )
        self._room = partial(room_for, length=loaded.shape.length)
        self._reader = self._new_reader()
        self._writer = AnswerWriter(loaded.model_names, loaded.named_bank)
        self._arrow = ArrowForm(
            loaded.dataset_format,
            pad=settings.pad,
            max_rows=self._max_rows,
            max_bytes=UNPACKED * settings.max_body,
            dtype=settings.output_dtype,
            n_neighbours=settings.neighbours,
            bank=loaded.named_bank,
        )
        self._batcher = Batcher(
            loaded.answerer,
            max_rows=self._max_rows,
            inline_rows=1 if loaded.is_quick else 0,
            took=self.metrics.batch,
        )
        self._endpoints_by_path = self._endpoints(int(settings.max_body))
        self._app = self._application()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application.

        FastAPI's way to an endpoint takes 46 us, two thirds of what the server itself does for a request, so it is cut
        short for the paths that read vectors.
        """
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        respond = self._endpoints_by_path.get(scope["path"], self._app) if is_post else self._app
        await respond(scope, receive, send)

    def close(self) -> None:
        """Stop what runs beside the event loop."""
        self._batcher.close()

    def _endpoints(self, max_body: int) -> dict[str, Endpoint]:
        """Return the endpoints that read vectors, by path."""
        add = partial(Endpoint, gate=self.gate, budget=self.budget, metrics=self.metrics)
        several = {JSON: self._several, MEDIA_TYPE: self._stream}
        most = min(_most_of_a_query(self._loaded.shape), max_body)
        endpoints = (
            add("/predict", {JSON: self._one}, max_body=most),
            add("/predict/batch", several, max_body=max_body),
        )
        return {endpoint.path: endpoint for endpoint in endpoints}

    def _application(self) -> FastAPI:
        app = make_application(self._endpoints_by_path, self._loaded.shape)
        not_ready = {"description": "The service is stopping: send requests elsewhere."}
        app.get("/health", summary="Whether the process is alive.")(self._health)
        app.get("/ready", summary="Whether the service takes requests.", responses={503: not_ready})(
            self._ready
        )
        app.get("/metrics", summary="Counters for Prometheus.", response_class=_PlainText)(self._metrics)
        return app

    async def _one(self, body: bytes) -> bytes:
        if len(body) > _LARGE:  # with a reader of its own, which reads in one thread at a time
            async with self._turn(self._room(body, row_bytes=0)):
                query = await asyncio.to_thread(self._new_reader().query, body)
        else:
            query = self._reader.query(body)
        answers = await self._batcher.answer(query.rows)
        content = self._writer.answer(answers, query.detail, query.place)
        self.metrics.routed(answers)
        return content

    @asynccontextmanager
    async def _turn(self, n_bytes: int) -> AsyncIterator[None]:
        """Wait until there is memory for what a body is unpacked to and answered with."""
        async with self._queue.taken(n_bytes):
            self.budget.check()
            yield

    async def _several(self, body: bytes) -> bytes:
        async with self._turn(self._room(body, row_bytes=self._row_bytes)):
            rows, details = await asyncio.to_thread(self._reader.queries, body)
            parts = [await self._batcher.answer(part) for part in _cut(rows, self._max_rows)]
            content = await asyncio.to_thread(self._writer.answers, parts, details)
        for answers in parts:
            self.metrics.routed(answers)
        return content

    async def _stream(self, body: bytes) -> bytes:
        async with self._turn(await asyncio.to_thread(self._arrow.room, body)):
            answer, batches = await asyncio.to_thread(self._arrow.read, body)
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                answers = await self._batcher.answer(rows_of(batch, self._arrow.n_neighbours))
                await asyncio.to_thread(answer.write, batch, answers)
                self.metrics.routed(answers)
            return await asyncio.to_thread(answer.content)

    async def _health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def _ready(self, response: Response) -> dict[str, Any]:
        if not self.readiness.is_ready:
            response.status_code = 503
            return {"status": "stopping"}
        return {"status": "ready", **self._loaded.as_dict}

    async def _metrics(self) -> Response:
        self.metrics.ready.set(self.readiness.is_ready)
        self.metrics.under_way.set(self.gate.under_way)
        return _PlainText(self.metrics.text())


class _PlainText(Response):
    media_type = "text/plain; version=0.0.4"


def _most_of_a_query(shape: WindowShape) -> int:
    """Bytes that a query may take: contexts twenty times as long as what counts of them, at 32 bytes a number."""
    return max(_LARGE, 20 * shape.length * shape.dim * 32)


def _row_bytes(shape: WindowShape) -> int:
    """Bytes that a row of JSON takes besides: context, target and prediction, and twice its answer."""
    return (shape.length + 2) * shape.dim * 4 + 2 * shape.dim * 22


def _cut(rows: Rows, max_rows: int) -> Iterator[Rows]:
    """Yield rows, ``max_rows`` at a time."""
    for start in range(0, len(rows), max_rows):
        part = slice(start, start + max_rows)
        targets = None if rows.targets is None else rows.targets[part]
        yield Rows(
            rows.contexts[part],
            rows.lanes[part],
            rows.context_tokens[part],
            targets,
            rows.usable[part],
            None if rows.n_neighbours is None else rows.n_neighbours[part],
        )
