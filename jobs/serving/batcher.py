"""Requests gathered into batches for the models.

The rule: no request waits for others to come; those that arrive while the models compute make the next batch. A single
row is answered in the thread that reads requests if the models are quick: a handover to another thread and back costs
half as much as the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lvm_batch.jobs.serving.rows import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvm_batch.jobs.serving.rows import Answerer, Answers, Rows

    Waiting = tuple[Rows, asyncio.Future[Answers]]


class Batcher:
    """Gathers rows of one event loop for one :class:`Answerer`.

    Up to ``inline_rows`` rows are answered without another thread. ``took`` is called with the size of each batch.
    """

    def __init__(
        self, answerer: Answerer, *, max_rows: int, inline_rows: int, took: Callable[[int], None]
    ) -> None:
        self._answerer = answerer
        self._max_rows = max_rows
        self._inline_rows = inline_rows
        self._took = took
        self._waiting: deque[Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "models")

    async def answer(self, rows: Rows) -> Answers:
        """Answer rows, at most ``max_rows`` of them."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        self._waiting.append((rows, future))
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._answer_all())  # what has arrived with it is read first
        return await future

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown()

    async def _answer_all(self) -> None:
        """Answer waiting rows until there are none; an error goes to the requests of its batch."""
        while group := self._next_group():
            try:
                answers = await self._answers(joined([rows for rows, _ in group]))
                _hand_out(group, answers)
            except Exception as error:  # noqa: BLE001 - it belongs to the requests
                _fail(group, error)
            await asyncio.sleep(0)  # what has arrived meanwhile is read before the next group is taken

    async def _answers(self, rows: Rows) -> Answers:
        self._took(len(rows))
        loop = asyncio.get_running_loop()
        if len(rows) > self._inline_rows:
            return await loop.run_in_executor(self._thread, self._answerer, rows)
        judged = self._answerer.judge(rows)
        if judged.escalated.any():
            return await loop.run_in_executor(self._thread, self._answerer.settle, judged)
        return self._answerer.settle(judged)

    def _next_group(self) -> list[Waiting]:
        group: list[Waiting] = []
        room = self._max_rows
        while self._waiting and len(self._waiting[0][0]) <= room:
            rows, future = self._waiting.popleft()
            if not future.cancelled():  # the client has gone
                group.append((rows, future))
                room -= len(rows)
        return group


def _hand_out(group: Sequence[Waiting], answers: Answers) -> None:
    parts = answers.divided([len(rows) for rows, _ in group])
    for (_, future), part in zip(group, parts, strict=True):
        if not future.done():
            future.set_result(part)


def _fail(group: Sequence[Waiting], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
