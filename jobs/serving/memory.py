"""Memory that requests take, counted in bytes over all of them.

The rule: what is counted is what is held, from the first byte of a body to the last of its answer. A body that finds no
memory left is refused, because it would wait in memory; what a body is unpacked to waits for its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from lvm_batch.jobs.serving.bodies import too_full

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Reservation:
    """Bytes of the budget that one request holds; as a context manager, it gives them back at the end."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._n_bytes = 0

    def __enter__(self) -> Self:
        return self

    def add(self, n_bytes: int) -> None:
        """Hold more. Raises :class:`Refusal` if all requests together would hold too much."""
        if self._budget.n_bytes + n_bytes > self._budget.max_bytes:
            raise too_full(self._budget.max_bytes)
        self._budget.n_bytes += n_bytes
        self._n_bytes += n_bytes

    def turn_into(self, n_bytes: int) -> None:
        """Hold an answer in place of its body, without a limit, because the answer exists already."""
        self._budget.n_bytes += n_bytes - self._n_bytes
        self._n_bytes = n_bytes

    def __exit__(self, *_: object) -> None:
        self._budget.n_bytes -= self._n_bytes


class MemoryBudget:
    """What bodies take that are on their way or being answered: ``n_bytes`` of at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0

    def check(self) -> None:
        """Raise :class:`Refusal` if answers that nobody reads leave no memory for another."""
        if self.n_bytes > self.max_bytes:
            raise too_full(self.max_bytes)

    def held(self) -> Reservation:
        """Return what one request holds of it."""
        return Reservation(self)


class MemoryQueue:
    """Lets in requests of one event loop, in their order, while they take ``max_bytes`` together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._free = max_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, n_bytes: int) -> AsyncIterator[None]:
        """Wait for ``n_bytes``, or for all of the memory if that is less."""
        n_bytes = min(n_bytes, self._max_bytes)
        await self._take(n_bytes)
        try:
            yield
        finally:
            self._free += n_bytes
            self._let_in()

    async def _take(self, n_bytes: int) -> None:
        if not self._waiting and n_bytes <= self._free:
            self._free -= n_bytes
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((n_bytes, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was let in already
                self._free += n_bytes
            self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            n_bytes, future = self._waiting.popleft()
            if not future.done():
                self._free -= n_bytes
                future.set_result(None)
