"""Deliveries to other services, which a run does not wait for longer than some seconds.

The rule: whatever a library of the service raises is a reason that can be told, and never ends the run.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def problem_of(action: Callable[[], None], *, timeout_s: float) -> str | None:
    """Return why ``action`` did not work, in time or at all; it may go on on its thread."""
    ended: SimpleQueue[str | None] = SimpleQueue()

    def act() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a transport of the user's choice may raise
            ended.put(f"{type(error).__name__}: {error}")
        else:
            ended.put(None)

    Thread(target=act, name="lvm-batch-delivery", daemon=True).start()
    try:
        return ended.get(timeout=timeout_s)
    except Empty:
        return f"no answer within {timeout_s:g} s"
