"""Requests are joined into batches: each gets its own answer, in the right thread, and failures stay in their batch."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.waiting import HANG_S

from lvm_batch.jobs.serving.batcher import Batcher
from lvm_batch.jobs.serving.rows import Answers, Rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

ESCALATED = -1
"""The first number of a row that these models escalate."""


@dataclass
class Echo:
    """Models that answer a row with its own first number, and record the rows and the thread of each call.

    ``before`` is called at the start of each answer, with the numbers of the rows.
    """

    before: Callable[[list[int]], None] = lambda _: None
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    at_work: int = 0

    def __call__(self, rows: Rows) -> Answers:
        """Answer rows."""
        return self.settle(self.judge(rows))

    def judge(self, rows: Rows) -> Any:  # noqa: ANN401 - only `escalated` is read
        """Return which rows are escalated."""
        self._note("judge", rows)
        return SimpleNamespace(rows=rows, escalated=rows.contexts[:, 0, 0] == ESCALATED)

    def settle(self, judged: Any) -> Answers:  # noqa: ANN401 - as above
        """Answer rows that were judged."""
        self._note("settle", judged.rows)
        assert self.at_work == 0, "the models are asked twice at once"
        self.at_work += 1
        numbers = judged.rows.contexts[:, 0, 0]
        self.before(numbers.astype(int).tolist())
        self.at_work -= 1
        none = np.zeros(len(numbers), bool)
        return Answers(judged.rows.contexts[:, 0], judged.escalated, none, *([numbers] * 4), none)

    def _note(self, step: str, rows: Rows) -> None:
        thread = threading.current_thread().name.partition("_")[0]
        self.calls.append((f"{step} in {thread}", rows.contexts[:, 0, 0].astype(int).tolist()))

    @property
    def settled(self) -> list[list[int]]:
        """The numbers of each answered batch."""
        return [numbers for step, numbers in self.calls if step.startswith("settle")]


def rows(*numbers: int) -> Rows:
    """Rows that begin with these numbers."""
    contexts = np.array(numbers, np.float32)[:, None, None]
    n_rows = len(numbers)
    return Rows(contexts, [None] * n_rows, np.zeros(n_rows), None, np.ones(n_rows, bool))


def asking(models: Echo, talk: Callable[[Batcher], Coroutine[Any, Any, Any]], **options: Any) -> Any:  # noqa: ANN401 - the result of the coroutine
    """Run a coroutine with a batcher of these models; a coroutine that hangs fails."""

    async def limited() -> Any:  # noqa: ANN401 - as above
        batcher = Batcher(models, **{"max_rows": 4, "inline_rows": 1, "took": lambda _: None} | options)  # type: ignore[arg-type]
        try:
            return await asyncio.wait_for(talk(batcher), 30)
        finally:
            batcher.close()

    return asyncio.run(limited())


async def numbers(answer: Awaitable[Answers]) -> list[int]:
    """The numbers of an answer."""
    return [int(number) for number in (await answer).confidence]


def test_each_request_gets_the_answers_to_its_own_rows() -> None:
    """Requests share batches, whose sizes are reported."""
    sizes: list[int] = []

    async def talk(batcher: Batcher) -> list[list[int]]:
        requests = [rows(1), rows(2, 3), rows(4), rows(5, 6, 7, 8), rows(9)]
        return await asyncio.gather(*(numbers(batcher.answer(each)) for each in requests))

    models = Echo()
    assert asking(models, talk, took=sizes.append) == [[1], [2, 3], [4], [5, 6, 7, 8], [9]]
    assert models.settled == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert sizes == [4, 4, 1]


def test_a_request_that_does_not_fit_waits_for_the_next_batch() -> None:
    """The requests behind it do not change that; batches follow one another without a pause."""

    async def talk(batcher: Batcher) -> None:
        requests = [rows(1), rows(2, 3), rows(4, 5), rows(6), *(rows(0, 0, 0) for _ in range(20))]
        async with asyncio.timeout(15):
            await asyncio.gather(*(batcher.answer(each) for each in requests))

    models = Echo()
    asking(models, talk)
    assert models.settled == [[1, 2, 3], [4, 5, 6], *[[0, 0, 0]] * 20]


def test_a_few_rows_are_answered_where_requests_are_read() -> None:
    """Up to ``inline_rows`` rows run in the main thread; more rows, and fallback rows, run in the models' thread."""

    async def talk(batcher: Batcher) -> None:
        for each in (rows(1, 2), rows(1, 2, 3), rows(1, ESCALATED)):
            await batcher.answer(each)

    models = Echo()
    asking(models, talk, inline_rows=2)
    assert models.calls == [
        ("judge in MainThread", [1, 2]),
        ("settle in MainThread", [1, 2]),
        ("judge in models", [1, 2, 3]),
        ("settle in models", [1, 2, 3]),
        ("judge in MainThread", [1, ESCALATED]),
        ("settle in models", [1, ESCALATED]),
    ]


@pytest.mark.parametrize("inline_rows", [0, 4])
def test_a_failure_reaches_all_requests_of_the_batch(inline_rows: int) -> None:
    """Every request of the batch gets the error, and later ones are answered."""

    def fail_on_one(batch: list[int]) -> None:
        if 1 in batch:
            models.at_work = 0
            raise MemoryError("too large")

    async def talk(batcher: Batcher) -> list[object]:
        together = [batcher.answer(rows(number)) for number in (1, 2, 3, 4)]
        failed = await asyncio.gather(*together, return_exceptions=True)
        return [*failed, await numbers(batcher.answer(rows(5)))]

    models = Echo(fail_on_one)
    *failed, after = asking(models, talk, inline_rows=inline_rows)
    assert [str(error) for error in failed] == ["too large"] * 4
    assert after == [5]


def test_cancelled_requests_are_not_computed() -> None:
    """They take no room in a batch either; the requests that still wait are answered."""
    sizes: list[int] = []

    async def talk(batcher: Batcher) -> list[list[int]]:
        requests = [
            asyncio.ensure_future(numbers(batcher.answer(rows(number, number)))) for number in range(4)
        ]
        await asyncio.sleep(0)  # all are queued, and none is taken yet
        for gone in requests[:2]:
            gone.cancel()
        return await asyncio.gather(*requests[2:])

    models = Echo()
    assert asking(models, talk, took=sizes.append) == [[2, 2], [3, 3]]
    assert models.settled == [[2, 2, 3, 3]]
    assert sizes == [4]


@pytest.mark.parametrize("fails", [False, True])
def test_a_request_cancelled_in_progress_changes_no_other(*, fails: bool) -> None:
    """The others of the batch get their answers, or the error."""

    async def talk(batcher: Batcher) -> list[object]:
        loop = asyncio.get_running_loop()
        computing, go_on = asyncio.Event(), threading.Event()

        def wait(_: list[int]) -> None:
            loop.call_soon_threadsafe(computing.set)
            assert go_on.wait(HANG_S)
            if fails:
                raise MemoryError("too large")

        models.before = wait
        requests = [asyncio.ensure_future(numbers(batcher.answer(rows(number)))) for number in range(3)]
        await computing.wait()
        requests[0].cancel()
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*requests[1:], return_exceptions=True)

    models = Echo()
    assert list(map(str, asking(models, talk))) == (["too large"] * 2 if fails else ["[1]", "[2]"])


def test_the_models_answer_one_batch_at_a_time() -> None:
    """A request that arrives meanwhile waits in the queue, even if it could be answered at once."""

    async def talk(batcher: Batcher) -> list[list[int]]:
        long = asyncio.ensure_future(numbers(batcher.answer(rows(1, 2, 3))))
        await asyncio.sleep(0.01)
        short = [asyncio.ensure_future(numbers(batcher.answer(rows(number)))) for number in (4, 5)]
        return await asyncio.gather(long, *short)

    models = Echo(lambda batch: time.sleep(0.05) if 1 in batch else None)
    assert asking(models, talk, inline_rows=2) == [[1, 2, 3], [4], [5]]
    assert models.settled == [[1, 2, 3], [4, 5]]


def test_an_answer_does_not_wait_for_the_next_batch() -> None:
    """The event loop runs between two batches, also if the main thread computes the answers."""

    async def talk(batcher: Batcher) -> list[list[int]]:
        requests = [asyncio.ensure_future(batcher.answer(each)) for each in (rows(1, 2, 3), rows(4, 5))]
        models.before = lambda _: answered.append([request.done() for request in requests])
        await asyncio.gather(*requests)
        return answered

    answered: list[list[bool]] = []
    models = Echo()
    assert asking(models, talk, inline_rows=4) == [[False, False], [True, False]]


def test_closing_ends_the_thread() -> None:
    """The models' thread ends with the service."""

    async def talk(batcher: Batcher) -> None:
        await batcher.answer(rows(1, 2))
        assert any(thread.name.startswith("models") for thread in threading.enumerate())

    asking(Echo(), talk)
    assert not any(thread.name.startswith("models") for thread in threading.enumerate())
