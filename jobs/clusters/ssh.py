"""Workers on hosts that ssh reaches, under a scheduler on the first of them.

The rule: what is started there ends by itself if this process is killed, as nothing else would end it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.clusters.start import IDLE_S, OwnCluster
from lvm_batch.jobs.clusters.tables import TABLE, TABLES, TEXT, TEXT_OR_TEXTS, TEXTS, TableSchema
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.processes.child_processes import safe_python

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMA = TableSchema(
    name="ssh",
    package="asyncssh",
    module="distributed",
    class_name="SSHCluster",
    types={
        "hosts": TEXTS,
        "connect_options": TABLES,
        **dict.fromkeys(("worker_options", "scheduler_options"), TABLE),
        "worker_class": TEXT,
        "remote_python": TEXT_OR_TEXTS,
    },
)

_HOSTS = 2
"""One host for the scheduler, and one for a worker."""

_ALONE = "60s"
"""How long a worker looks for a scheduler that has gone before it was there; dask-jobqueue's default."""


class SSH(OwnCluster):
    """An ``SSHCluster``."""

    name = "ssh"
    schema = _SCHEMA
    if_not_started = (
        "check that `ssh HOST PYTHON -m distributed.cli.dask_spec --help` works from here for each host, with the"
        " remote_python of [ssh]"
    )
    if_no_worker = "check the hosts, or wait longer with --wait-for-workers"

    def check(self) -> Iterator[Problem]:
        """Yield also ``--workers``, as the hosts say how many there are."""
        if self.settings.workers:
            yield Problem(
                "--workers cannot be used with --cluster ssh", "its workers are on the hosts of [ssh]"
            )
        yield from super().check()

    def missing(self) -> Problem | None:
        """Return that there are too few hosts, or not as many options as hosts."""
        n_hosts = len(self.table.get("hosts", ()))
        if n_hosts < _HOSTS:
            return Problem(
                f"[ssh] names {plural(n_hosts, 'host')}, but needs at least {_HOSTS}",
                'write the scheduler\'s, then the workers\': hosts = ["login1", "node1", "node2"]',
            )
        for name in ("connect_options", "remote_python"):
            value = self.table.get(name)
            if isinstance(value, list) and len(value) != n_hosts:
                return Problem(
                    f"[ssh] has {plural(n_hosts, 'host')} and {len(value)} {name}", "give one for each host"
                )
        return None

    def how_many(self) -> str:
        """Describe how many hosts have workers."""
        return f"on {plural(len(self.table['hosts']) - 1, 'host')}"

    def request(self) -> str:
        """Return which hosts would have the scheduler and the workers."""
        scheduler, *workers = self.table["hosts"]
        return f"scheduler on {scheduler}\nworkers on {', '.join(workers)}"

    def options(self) -> dict[str, Any]:
        """Return what an ``SSHCluster`` is made with of the table."""
        table = self.table
        python = table.get("remote_python")
        safe = [safe_python(each) for each in python] if isinstance(python, list) else safe_python(python)
        return table | {"remote_python": safe}

    def make(self) -> Any:  # noqa: ANN401 - of Dask's classes
        """Start a scheduler on the first host, and a worker on each of the others."""
        options = self.options()
        idle = {"idle_timeout": f"{IDLE_S}s", "dashboard": False}
        options["scheduler_options"] = idle | options.get("scheduler_options", {})
        options["worker_options"] = {"death_timeout": _ALONE} | options.get("worker_options", {})
        return import_module("distributed").SSHCluster(silence_logs=logging.ERROR, **options)
