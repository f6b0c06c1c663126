"""Ctrl-C and SIGTERM: the first signal ends the run in good order, a second one ends the command at once.

The rule: the exit code is that of the signal, and committed units stay. A process that is not the command's own keeps
its handlers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from lvm_batch.jobs.errors import Interrupted, Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_DASK = logging.getLogger("distributed")
_ENDS = {signal.SIGINT: Interrupted, signal.SIGTERM: Terminated}
_MESSAGES = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM"}


class _Stopped(KeyboardInterrupt):
    """A signal, raised wherever the run is; no ``except Exception`` on the way catches it."""


@contextmanager
def stop_on_signals(*, hint: str = "run the same command again to resume") -> Iterator[None]:
    """End the block when a signal arrives: raises ``Interrupted`` or ``Terminated`` after the block is left.

    ``hint`` says what the user can do then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, _stop) for number in _ENDS}
    try:
        yield
    except _Stopped as stopped:
        number, level = stopped.args
        _DASK.setLevel(level)
        raise _ENDS[number](_MESSAGES[number], hint) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupt_on_ctrl_c() -> Iterator[None]:
    """In a process of somebody else's: Ctrl-C raises ``KeyboardInterrupt``, as Python does, each time that it comes.

    Other handlers than Python's own stay, also those for SIGTERM.
    """
    level = _DASK.level
    in_main = threading.current_thread() is threading.main_thread()
    is_pythons = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_pythons:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        _DASK.setLevel(level)
        if is_pythons:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _DASK.setLevel(logging.CRITICAL)  # as in _stop
    signal.default_int_handler(number, frame)


def _stop(number: int, _: object) -> NoReturn:
    # A signal to the whole group ends workers too; what Dask logs while it tries to replace them is no news.
    level = _DASK.level
    _DASK.setLevel(logging.CRITICAL)
    for each in _ENDS:
        signal.signal(each, _stop_at_once)
    raise _Stopped(signal.Signals(number), level)


def _stop_at_once(number: int, _: object) -> NoReturn:
    """End the process; workers see that their parent has gone and end by themselves."""
    os._exit(_ENDS[signal.Signals(number)].exit_code)
