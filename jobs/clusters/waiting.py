"""Waiting for workers: for the first one, which a queue may keep back for long.

The rule: nothing waits without an end, and every half minute it is said what is waited for. This module does not know
where workers come from.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client

CLUSTER_WAIT_S = 600.0
"""How long to wait for workers of a cluster that is started for the run: its queue may be long."""

_LOOK_EVERY_S = 1.0
_NOTE_EVERY_S = 30.0


def await_worker(
    client: Client,
    wait_s: float,
    *,
    tell: Callable[[str], object],
    where: str,
    hint: str,
    refused: Sequence[str] = (),
) -> None:
    """Wait for a first worker; raises :class:`TryAgain` after ``wait_s``, or once one was ``refused`` and none came.

    ``where`` says whose workers they are, ``hint`` what to do if none comes.
    """
    began = noted = monotonic()
    while not _has_come(client, min(_LOOK_EVERY_S, wait_s)):
        now = monotonic()
        if refused:
            raise TryAgain(f"{where} was refused a worker: {refused[0]}", hint)
        if now - noted >= _NOTE_EVERY_S:
            noted = now
            tell(f"waiting for a worker of {where}: {now - began:.0f} s of {wait_s:g} s")
        if now - began >= wait_s:
            raise TryAgain(f"{where} has no workers after {wait_s:g} s", hint)


def _has_come(client: Client, timeout_s: float) -> bool:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        return False
    return True
