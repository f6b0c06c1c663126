"""A cluster of this run's own: started on SLURM, on Kubernetes or over ssh, and gone when the run is.

The rule: whatever ends a run, nothing of its cluster is left. What was asked for is given back when the block is left,
also after an error or a signal; should this process be killed, workers end by themselves once their scheduler is away,
and a scheduler elsewhere once it has had nothing to do for long. This module does not know what the workers compute.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Status

from lvm_batch.jobs.clusters.check import first_workers, limits
from lvm_batch.jobs.clusters.class_options import IDLE_S, kubernetes_options, slurm_options, ssh_options
from lvm_batch.jobs.clusters.dashboard import served_at
from lvm_batch.jobs.clusters.local import ENGINE
from lvm_batch.jobs.clusters.waiting import CLUSTER_WAIT_S, await_workers
from lvm_batch.jobs.errors import TryAgain, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.jobs.settings.run import RunSettings

_ALONE = "60s"
"""How long a worker looks for its scheduler, should that have gone before it was there; dask-jobqueue's default."""

_TARGET_S = "1s"
"""Dask asks for so many workers that what is submitted takes this long; the driver submits little at a time."""


@dataclass(frozen=True, slots=True)
class _Started:
    """A cluster of Dask's, and what it has been refused since."""

    cluster: Any
    refused: list[str] = field(default_factory=list)


@contextmanager
def started_cluster(
    settings: RunSettings, *, n_units: int, tell: Callable[[str], object]
) -> Iterator[Client]:
    """Start the cluster that ``settings`` ask for, wait for its first worker, and stop it when the block is left.

    No more workers are asked for than there are units. Raises :class:`TryAgain` where it does not come to be.
    """
    with (
        dask.config.set(ENGINE),
        _STARTERS[str(settings.cluster)](settings) as started,
        _client(settings, started.cluster) as client,
    ):
        allowed = limits(settings)
        if settings.workers or allowed:
            started.cluster.scale(min(first_workers(settings), n_units))
        await_workers(
            client,
            settings.wait_for_workers or CLUSTER_WAIT_S,
            tell=tell,
            where=f"--cluster {settings.cluster}",
            hint=_HINTS[str(settings.cluster)],
            refused=started.refused,
        )
        if allowed:
            _adapt(settings, started.cluster, min(allowed[0], n_units), min(allowed[1], n_units))
        yield client


def _client(settings: RunSettings, cluster: Any) -> Client:  # noqa: ANN401 - of Dask's classes
    try:
        return Client(cluster, set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"the scheduler of --cluster {settings.cluster} cannot be reached: {_in_a_line(error)}"
        raise TryAgain(message, _START_HINTS[str(settings.cluster)]) from error


_HINTS = {
    "slurm": "look at the queue (`squeue --me`) and at the jobs' logs (log_directory in [slurm]); --wait-for-workers"
    " waits for longer",
    "kubernetes": "look at the pods (`kubectl get pods`); --wait-for-workers waits for longer",
    "ssh": "look at the hosts; --wait-for-workers waits for longer",
}


def _adapt(settings: RunSettings, cluster: Any, least: int, most: int) -> None:  # noqa: ANN401 - of Dask's classes
    # On Kubernetes the operator adapts, by its own target.
    more = {} if settings.cluster == "kubernetes" else {"target_duration": _TARGET_S}
    cluster.adapt(minimum=least, maximum=most, **more)


@contextmanager
def _slurm(settings: RunSettings) -> Iterator[_Started]:
    if shutil.which("sbatch") is None:
        raise UsageError(
            "--cluster slurm needs sbatch, which is not on this machine", "run it where jobs are submitted"
        )
    refused: list[str] = []
    options = slurm_options(settings)
    page = served_at(settings.dashboard)
    scheduler = {"dashboard_address": page["dashboard_address"], **page["scheduler_kwargs"]}
    options["scheduler_options"] = scheduler | options.get("scheduler_options", {})
    cluster = _made(
        settings,
        lambda: import_module("dask_jobqueue").SLURMCluster(
            job_cls=_telling_job(refused), silence_logs=logging.ERROR, **options
        ),
    )
    with cluster:
        yield _Started(cluster, refused)


def _telling_job(refused: list[str]) -> type:
    """Return dask-jobqueue's job, which adds to ``refused`` why it could not be submitted.

    Dask would log it, and wait for the worker all the same.
    """
    base: Any = import_module("dask_jobqueue.slurm").SLURMJob

    class Submitted(base):  # type: ignore[misc] # its class is found when it is needed
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                refused.append(_in_a_line(error))
                self.status = Status.running  # as far as Dask is concerned, which closes it like any other

    return Submitted


def _in_a_line(error: Exception) -> str:
    """What the command said, of what dask-jobqueue tells of it."""
    text = str(error)
    said = text.partition("stderr:\n")[2].strip() or text.strip()
    return " ".join(said.split())


@contextmanager
def _kubernetes(settings: RunSettings) -> Iterator[_Started]:
    options = kubernetes_options(settings)
    cluster = _made(
        settings,
        lambda: import_module("dask_kubernetes.operator").KubeCluster(
            n_workers=0, quiet=True, shutdown_on_close=True, create_mode=_create_only(), **options
        ),
        _give_up_kubernetes,
    )
    with cluster:
        yield _Started(cluster)


def _give_up_kubernetes() -> None:
    """Delete what has half begun; dask-kubernetes would try only when the process ends, and print why it could not."""
    begun = import_module("dask_kubernetes.operator").KubeCluster._instances  # noqa: SLF001 - as its own exit does
    for cluster in list(begun):
        with suppress(Exception):  # the error that ended the start is told
            cluster.close(timeout=10)
        begun.discard(cluster)


def _create_only() -> Any:  # noqa: ANN401 - of an optional package
    """A cluster of the same name is somebody else's."""
    return import_module("dask_kubernetes.operator.kubecluster.kubecluster").CreateMode.CREATE_ONLY


@contextmanager
def _ssh(settings: RunSettings) -> Iterator[_Started]:
    options = ssh_options(settings)
    # Should this process be killed, nothing else ends a scheduler on another machine.
    idle = {"idle_timeout": f"{IDLE_S}s", "dashboard": False}
    options["scheduler_options"] = idle | options.get("scheduler_options", {})
    options["worker_options"] = {"death_timeout": _ALONE} | options.get("worker_options", {})
    cluster = _made(
        settings, lambda: import_module("distributed").SSHCluster(silence_logs=logging.ERROR, **options)
    )
    with cluster:
        yield _Started(cluster)


_STARTERS = {"slurm": _slurm, "kubernetes": _kubernetes, "ssh": _ssh}


def _made(settings: RunSettings, make: Callable[[], Any], give_up: Callable[[], None] = lambda: None) -> Any:  # noqa: ANN401 - of Dask's classes
    """Return what ``make`` makes; raises :class:`TryAgain` for whatever it raises, after ``give_up``.

    It is made on another thread, so that a signal does not cut it short: nobody could close what has half begun.
    """
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(make)
        try:
            return making.result()
        except KeyboardInterrupt:
            if making.exception() is None:
                making.result().close()
            give_up()
            raise
        except Exception as error:  # what Dask's classes raise: `Exception` itself for a host that refuses
            give_up()
            raise TryAgain(
                f"--cluster {settings.cluster} did not start: {_in_a_line(error) or type(error).__name__}",
                _START_HINTS[str(settings.cluster)],
            ) from error


_START_HINTS = {
    "slurm": "see whether this machine may serve a scheduler: [slurm.scheduler_options]",
    "kubernetes": "see that `kubectl get daskclusters` works here, which needs Dask's operator in the cluster",
    "ssh": "see that `ssh HOST PYTHON -m distributed.cli.dask_spec --help` works from here for each host, with the"
    " remote_python of [ssh]",
}
