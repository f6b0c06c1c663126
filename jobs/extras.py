"""Packages that only some options need.

The rule: what an option needs is looked for before any work is done, and one that is missing is named with the command
that installs it. This module does not know what an option does.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.dashboard import check_address
from lvm_batch.jobs.errors import MissingExtra

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings


def check_extras(settings: RunSettings) -> None:
    """Raise :class:`MissingExtra` where an option of a run needs what is not installed, ``UsageError`` where it cannot
    have the address it asks for.
    """
    if settings.metrics_file:
        require("prometheus_client", option="--metrics-file", extra="metrics")
    if settings.openlineage:
        require("openlineage", option="--openlineage", extra="openlineage")
    # A scheduler of the user's own draws both by itself.
    if settings.dashboard and not settings.scheduler:
        require("bokeh", option="--dashboard", extra="dashboard")
        check_address(settings.dashboard)
    if settings.performance_report and not settings.scheduler:
        require("bokeh", option="--performance-report", extra="dashboard")


def require(package: str, *, option: str, extra: str) -> None:
    """Raise :class:`MissingExtra` unless ``package`` is installed, without importing it."""
    if find_spec(package) is None:
        raise MissingExtra(
            f"{option} needs {package}, which is not installed", f'pip install "lvm-batch[{extra}]"'
        )
