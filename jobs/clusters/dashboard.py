"""Dask's own pages: the dashboard while a run computes, and a report of what the workers did when.

The rule: both are there on demand only, and a report that cannot be written changes nothing about the run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.settings.types import THIS_MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

    from lvm_batch.jobs.settings.run import RunSettings


def dashboard_options(address: str | None) -> dict[str, Any]:
    """Return the options of a ``LocalCluster`` for a dashboard at ``address``, or for none.

    Without one it serves metrics all the same, and spares the half second that importing bokeh takes.
    """
    return {
        "dashboard_address": address or f"{THIS_MACHINE}:0",  # None would still take the port 8787
        "scheduler_kwargs": {"dashboard": address is not None},
    }


@contextmanager
def dask_pages(client: Client, settings: RunSettings, *, tell: Callable[[str], object]) -> Iterator[None]:
    """Note where the dashboard is, and write ``--performance-report`` of what the workers do in the block.

    The report is one file that loads nothing but Dask's icon. It is also written if the block raises. If it cannot be
    written, a line says why.
    """
    if settings.dashboard:
        tell(f"dashboard: {_link(client, settings)}")
    if settings.performance_report is None:
        yield
        return
    from distributed import performance_report

    report = performance_report(filename=settings.performance_report, mode="inline")
    why_not = _problem(client, report.__enter__)
    try:
        yield
    finally:
        why_not = why_not or _problem(client, lambda: report.__exit__(None, None, None))
        if why_not:
            what = redact(settings.performance_report)
            tell(f"the performance report {what} was not written: {redact(why_not)}")


def _problem(client: Client, action: Callable[[], object]) -> str | None:
    """Return why ``action`` failed: the scheduler is gone or lacks bokeh, or the file cannot be written."""
    try:
        with client.as_current():
            action()
    except (OSError, ImportError, ValueError) as error:
        return str(error) or type(error).__name__
    return None


def _link(client: Client, settings: RunSettings) -> str:
    """Return the URL of the dashboard; its port differs from the requested one if that was taken."""
    if settings.scheduler:
        return f"{client.dashboard_link}, served by the scheduler"
    host = str(settings.dashboard).rpartition(":")[0]
    port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
    return f"http://{host}:{port}/status"
