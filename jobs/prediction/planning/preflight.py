"""Checks, before any work, that this machine has what the options of a run need.

The rule: the error names the command that installs a missing package, or the option whose address cannot be served.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from lvm_batch.io.tables.names import DELTA
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.extras import require

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings


def check_extras(settings: RunSettings) -> None:
    """Raise :class:`MissingExtra` if an option needs a package that is not installed, :class:`UsageError` if
    ``--dashboard`` cannot be served at its address.
    """
    if settings.metrics_file:
        require("prometheus_client", option="--metrics-file", extra="metrics")
    if DELTA in settings.register:
        require("deltalake", option="--register delta", extra="delta")
    if any(name != DELTA for name in settings.register):
        require("pyiceberg", option="--register iceberg:…", extra="iceberg")
    if settings.openlineage:
        require("openlineage", option="--openlineage", extra="openlineage")
    if settings.opentelemetry:
        package = "opentelemetry.exporter.otlp.proto.http"
        require(package, option="--opentelemetry", extra="opentelemetry")
    # A scheduler that the user started serves both itself.
    if settings.dashboard and not settings.scheduler:
        require("bokeh", option="--dashboard", extra="dashboard")
        check_address(settings.dashboard)
    if settings.performance_report and not settings.scheduler:
        require("bokeh", option="--performance-report", extra="dashboard")


def check_address(address: str) -> None:
    """Raise :class:`UsageError` if nothing can be served at the host of ``address``."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        family = socket.getaddrinfo(host, 0)[0][0]
        socket.create_server((host, 0), family=family).close()
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--dashboard cannot be served at {address}: {error}",
            "give an address of this machine, such as 127.0.0.1:8787",
        ) from error
