"""A device beside the CPU, for tests, with a given memory, speed and failures.

The CPU does the arithmetic. Time is the device's own clock, which only waiting and work advance, so that overlap is
measured without a stopwatch: uploads, computing and downloads are three engines, each doing one thing at a time.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np
    import pytest


class Broken(RuntimeError):
    """Raised when the device fails for good."""


@dataclass
class FakeDevice:
    """A device of ``capacity`` bytes, of which a forward pass takes ``held_a_row`` for each row.

    ``up_s``, ``compute_s`` and ``down_s`` are seconds a row. ``faults`` maps the number of a flight (from 0) to the
    error raised at its start, ``late_faults`` to the error raised in place of its answers.
    """

    capacity: float = float("inf")
    held_a_row: int = 0
    up_s: float = 0.0
    compute_s: float = 0.0
    down_s: float = 0.0
    faults: dict[int, BaseException] = field(default_factory=dict)
    late_faults: dict[int, BaseException] = field(default_factory=dict)
    spoil: Callable[[torch.Tensor], torch.Tensor] = lambda answers: answers

    name = "fake, 1 GiB"
    device = torch.device("cpu")

    def __post_init__(self) -> None:
        """Set the clock and the engines to zero."""
        self.now = 0.0
        self.used = 0
        self.sizes: list[int] = []
        self.precisions: set[str] = set()
        self.releases = 0
        self._engines = dict.fromkeys(("up", "compute", "down"), 0.0)
        self._lock = Lock()

    def free_bytes(self) -> int:
        """The free memory, or 1 GiB if the capacity is unlimited."""
        return int(self.capacity - self.used) if self.capacity < float("inf") else 2**30

    def start(
        self, rows: np.ndarray, forward: Callable[[torch.Tensor], torch.Tensor], precision: str
    ) -> FakeResult:
        """Compute at once, and note when the device would have finished."""
        with self._lock:
            self.precisions.add(precision)
            number = len(self.sizes)
            self.sizes.append(len(rows))
            if number in self.faults:
                raise _fresh(self.faults[number])
            held = rows.nbytes + rows.nbytes // rows.shape[1]
            if self.used + held + len(rows) * self.held_a_row > self.capacity:
                raise torch.OutOfMemoryError(f"{len(rows)} rows do not fit")
            self.used += held
            with torch.inference_mode():
                answers = self.spoil(forward(torch.from_numpy(rows.copy())))
            return FakeResult(self, answers, held, self._schedule(len(rows)), self.late_faults.get(number))

    def _schedule(self, n_rows: int) -> float:
        ready = self.now
        for engine, each_s in (("up", self.up_s), ("compute", self.compute_s), ("down", self.down_s)):
            ready = max(ready, self._engines[engine]) + n_rows * each_s
            self._engines[engine] = ready
        return ready

    def release(self) -> None:
        """Count the call; flights free their memory when they are dropped."""
        self.releases += 1

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is the one that CUDA raises when memory runs out."""
        return isinstance(error, torch.OutOfMemoryError)

    def explain(self, error: BaseException) -> DeviceError | None:
        """The text for a broken device."""
        return (
            DeviceError(f"{self.name} failed: {error}", "look at it") if isinstance(error, Broken) else None
        )


class FakeResult:
    """Answers that become available at a time of the device's clock."""

    def __init__(
        self,
        owner: FakeDevice,
        answers: torch.Tensor,
        held: int,
        ready: float,
        fault: BaseException | None,
    ) -> None:
        self._owner, self._answers, self._held, self._ready, self._fault = owner, answers, held, ready, fault

    def wait(self, out: np.ndarray) -> None:
        """Advance the clock until the answers are available."""
        self._owner.now = max(self._owner.now, self._ready)
        if self._fault:
            raise _fresh(self._fault)
        torch.from_numpy(out).copy_(self._answers)

    def __del__(self) -> None:
        """Free the memory."""
        self._owner.used -= self._held


def _fresh(error: BaseException) -> BaseException:
    """A copy without a traceback, which would keep the flights alive."""
    return type(error)(*error.args)


class FakeStream:
    """A CUDA stream that records its calls."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self.name = log, name

    def wait_stream(self, other: FakeStream) -> None:
        """Record that later work waits for the other stream's current work."""
        self._log.append(f"{self.name} waits for {other.name}")


class FakeEvent:
    """A CUDA event that has happened as soon as it is waited for."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def record(self, stream: FakeStream) -> None:
        """Record the event in the stream."""
        self._log.append(f"event on {stream.name}")

    def synchronize(self) -> None:
        """Record that the host waits."""
        self._log.append("wait")


def stand_in_for_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torch's CUDA calls work on the CPU; return the recorded calls of streams and events, in order."""
    log: list[str] = []
    names = iter(("up", "compute", "down"))
    empty = torch.empty

    def stream(entered: FakeStream) -> AbstractContextManager[None]:
        log.append(f"on {entered.name}")
        return nullcontext()

    def unpinned(*shape: int, pin_memory: bool = False, **options: torch.dtype) -> torch.Tensor:
        if pin_memory:
            log.append("pin")
        return empty(*shape, **options)

    cuda = {
        "Stream": lambda _: FakeStream(log, next(names)),
        "Event": lambda **_: FakeEvent(log),
        "default_stream": lambda _: FakeStream(log, "default"),
        "stream": stream,
        "device": lambda _: nullcontext(),
        "empty_cache": lambda: log.append("empty cache"),
        "mem_get_info": lambda _: (2**30, 2**31),
        "memory_reserved": lambda _: 300,
        "memory_allocated": lambda _: 100,
    }
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "empty", unpinned)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, used: log.append(f"used on {used.name}"))
    return log
