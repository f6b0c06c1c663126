"""A device beside the CPU, for tests: it has so much memory, takes so long, and fails when told to.

Arithmetic is the CPU's. Time is a clock of its own, which only waiting and work move on, so that what overlaps can be
told without a stopwatch: copies up, computing and copies down are three engines, each doing one thing at a time.
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
    """What the device raises when it fails for good."""


@dataclass
class FakeDevice:
    """A device of ``capacity`` bytes, of which a forward pass takes ``held_a_row`` for each row.

    ``up_s``, ``compute_s`` and ``down_s`` are seconds a row. ``faults`` are raised in place of beginning the so-manieth
    flight (from 0), ``late_faults`` in place of its answers.
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
        """Stand still."""
        self.now = 0.0
        self.used = 0
        self.sizes: list[int] = []
        self.precisions: set[str] = set()
        self.releases = 0
        self._engines = dict.fromkeys(("up", "compute", "down"), 0.0)
        self._lock = Lock()

    def free_bytes(self) -> int:
        """Whatever is not taken, or a GiB where there is no end."""
        return int(self.capacity - self.used) if self.capacity < float("inf") else 2**30

    def start(
        self, rows: np.ndarray, forward: Callable[[torch.Tensor], torch.Tensor], precision: str
    ) -> FakeResult:
        """Compute at once, and say when it would have been done."""
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
        """Count; flights give back what they hold when they are let go."""
        self.releases += 1

    def is_out_of_memory(self, error: BaseException) -> bool:
        """As CUDA tells it."""
        return isinstance(error, torch.OutOfMemoryError)

    def explain(self, error: BaseException) -> DeviceError | None:
        """Name a device that is broken."""
        return (
            DeviceError(f"{self.name} failed: {error}", "look at it") if isinstance(error, Broken) else None
        )


class FakeResult:
    """Answers that are there at a time of the device's clock."""

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
        """Let the clock go on until the answers are there."""
        self._owner.now = max(self._owner.now, self._ready)
        if self._fault:
            raise _fresh(self._fault)
        torch.from_numpy(out).copy_(self._answers)

    def __del__(self) -> None:
        """Give memory back."""
        self._owner.used -= self._held


def _fresh(error: BaseException) -> BaseException:
    """A copy without a traceback, which would keep what was under way."""
    return type(error)(*error.args)


class FakeStream:
    """A CUDA stream that takes down what it is told."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self.name = log, name

    def wait_stream(self, other: FakeStream) -> None:
        """What comes next waits for what the other has now."""
        self._log.append(f"{self.name} waits for {other.name}")


class FakeEvent:
    """A CUDA event that has happened when it is waited for."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def record(self, stream: FakeStream) -> None:
        """Happen when the stream comes here."""
        self._log.append(f"event on {stream.name}")

    def synchronize(self) -> None:
        """Wait."""
        self._log.append("wait")


def stand_in_for_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torch's CUDA calls work on the CPU; returns what streams and events are told, in order."""
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
