"""Workers that are jobs of SLURM, submitted from this machine by dask-jobqueue.

The rule: why a job is refused is the run's error at once; Dask would log it, and wait for the worker all the same.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from typing import Any

import dask
from distributed import Status

from lvm_batch.jobs.clusters.dashboard import dashboard_options
from lvm_batch.jobs.clusters.start import OwnCluster, in_a_line
from lvm_batch.jobs.clusters.tables import (
    FLAG,
    LEAVE_OUT,
    NUMBER,
    TABLE,
    TEXT,
    TEXTS,
    USE_WORKERS,
    WHOLE,
    TableSchema,
)
from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.errors import Problem, UsageError
from lvm_batch.jobs.extras import import_extra
from lvm_batch.jobs.processes.child_processes import safe_python
from lvm_batch.jobs.settings.fields import without_assigned

_SCHEMA = TableSchema(
    name="slurm",
    package="dask_jobqueue",
    module="dask_jobqueue",
    class_name="SLURMCluster",
    more=(("dask_jobqueue.slurm", "SLURMJob"), ("dask_jobqueue.core", "Job")),
    types={
        **dict.fromkeys(("cores", "processes", "job_cpu"), WHOLE),
        **dict.fromkeys(("memory", "job_mem", "queue", "account", "walltime", "job_name"), TEXT),
        **dict.fromkeys(("interface", "protocol", "python", "shebang", "worker_command"), TEXT),
        **dict.fromkeys(("local_directory", "log_directory", "shared_temp_directory"), TEXT),
        **dict.fromkeys(("worker_extra_args", "job_script_prologue"), TEXTS),
        **dict.fromkeys(("job_extra_directives", "job_directives_skip"), TEXTS),
        "death_timeout": NUMBER,
        "nanny": FLAG,
        "scheduler_options": TABLE,
    },
    refused={
        "n_workers": USE_WORKERS,
        **dict.fromkeys(("job_cls", "scheduler_cls", "scheduler", "config_name"), LEAVE_OUT),
        **dict.fromkeys(("host", "dashboard_address"), "write it in [slurm.scheduler_options]"),
        # Names that dask-jobqueue has given up.
        "extra": "it is called worker_extra_args",
        "env_extra": "it is called job_script_prologue",
        "job_extra": "it is called job_extra_directives",
        "header_skip": "it is called job_directives_skip",
        "project": "it is called account",
    },
)

_EXAMPLES = {"cores": "cores = 8", "memory": 'memory = "24GB"'}
"""What a job must be given, by the table or by a site's own settings of dask-jobqueue."""


class Slurm(OwnCluster):
    """A ``SLURMCluster``."""

    name = "slurm"
    schema = _SCHEMA
    adapts = True
    scheduler_is_here = True
    memory_setting = "memory and processes in [slurm]"
    if_not_started = "check that workers can reach a scheduler on this machine: [slurm.scheduler_options]"
    if_no_worker = (
        "check the queue (`squeue --me`) and the jobs' logs (log_directory in [slurm]), or wait longer with "
        "--wait-for-workers"
    )

    def missing(self) -> Problem | None:
        """Return that the table does not say what each job is to have."""
        for name, example in _EXAMPLES.items():
            if not self.table.get(name) and dask.config.get(f"jobqueue.slurm.{name}", None) is None:
                return Problem(f"[slurm] has no {name}", f"add what each job gets: {example}")
        return None

    def request(self) -> str:
        """Return the script that each job would be, with a place for the scheduler's address."""
        return str(without_assigned(self._job().job_script())).rstrip()

    def table_memory(self) -> int:
        """Return the bytes of each of a job's processes."""
        job = self._job()
        return int(job.worker_memory // job.worker_processes)

    def options(self) -> dict[str, Any]:
        """Return what a ``SLURMCluster`` is made with of the table; certificates if its ``protocol`` is tls."""
        table = self.table
        secure = str(table.get("protocol", "")).startswith("tls")
        python = safe_python(table.get("python") or dask.config.get("jobqueue.slurm.python", None))
        return table | {"python": python} | ({"security": client_security()} if secure else {})

    def make(self) -> Any:  # noqa: ANN401 - of an optional package
        """Start a scheduler on this machine."""
        if shutil.which("sbatch") is None:
            raise UsageError(
                "--cluster slurm needs sbatch, which is not on this machine",
                "run the command on a machine where jobs are submitted",
            )
        options = self.options()
        page = dashboard_options(self.settings.dashboard)
        scheduler = {"dashboard_address": page["dashboard_address"], **page["scheduler_kwargs"]}
        options["scheduler_options"] = scheduler | options.get("scheduler_options", {})
        return import_extra("dask_jobqueue").SLURMCluster(
            job_cls=_recording_job(self.refused), silence_logs=logging.ERROR, **options
        )

    def _job(self) -> Any:  # noqa: ANN401 - of an optional package
        """Return a job as it would be submitted; raises ``ValueError`` or ``TypeError`` if it cannot be one."""
        job = import_extra("dask_jobqueue.slurm").SLURMJob
        cluster_only = ("scheduler_options", "shared_temp_directory")
        options = {name: value for name, value in self.options().items() if name not in cluster_only}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names in a site's own Dask settings
            return job("<scheduler>", name="<name>", **options)


def _recording_job(refused: list[str]) -> type:
    """Return dask-jobqueue's job, which adds to ``refused`` why it could not be submitted."""
    base: Any = import_extra("dask_jobqueue.slurm").SLURMJob

    class RecordingJob(base):  # type: ignore[misc] # its class is found when it is needed
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                refused.append(in_a_line(error))
                self.status = Status.running  # as far as Dask is concerned, which closes it like any other

    return RecordingJob
