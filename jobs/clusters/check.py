"""What a cluster would be asked for, known before anything is contacted.

The rule: every problem of a table is told at once, and what is shown is what would be submitted. This module does not
start anything.
"""

from __future__ import annotations

import inspect
import json
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dask
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend

from lvm_batch.jobs.clusters.class_options import kubernetes_options, slurm_options
from lvm_batch.jobs.clusters.tables import BLOCKS, block_of, problems_of
from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.settings.fields import without_assigned, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.settings.run import RunSettings

_ONE = "keep one of the two; `lvm-batch config show --origin` says where each is from"
_HOSTS = 2
"""One host for the scheduler, and one for a worker."""


def check_cluster(settings: RunSettings) -> None:
    """Raise ``SettingsError`` or ``MissingExtra`` where the cluster or scheduler that is asked for cannot be."""
    problems = list(_contradictions(settings))
    if settings.scheduler and not _is_address(settings.scheduler):
        told = "it looks like tcp://host:8786"
        problems.append(Problem(f"--scheduler cannot be {settings.scheduler!r}", told))
    elif settings.scheduler and settings.scheduler.startswith("tls:"):
        client_security()
    if settings.cluster:
        problems += problems_of(settings.cluster, block_of(settings))
        problems = problems or list(_incomplete(settings))
    if problems:
        raise SettingsError(*problems)


def _is_address(text: str) -> bool:
    """Whether a scheduler could be reached there, as far as that can be told from here."""
    try:
        scheme, place = parse_address(text, strict=True)
        get_backend(scheme)
        return scheme == "inproc" or bool(parse_host_port(place)[0])
    except ValueError:
        return False


def asked_text(settings: RunSettings) -> str:
    """What would be submitted: a job script, a Kubernetes resource, or which hosts; for settings that were checked."""
    return {"slurm": job_script, "kubernetes": _resource, "ssh": _hosts}[str(settings.cluster)](settings)


def n_workers_text(settings: RunSettings) -> str:
    """How many workers are asked for, in words."""
    if settings.cluster == "ssh":
        return f"ssh, on {len(block_of(settings)['hosts']) - 1} hosts"
    if settings.adapt:
        return f"{settings.cluster}, {settings.adapt.replace(':', ' to ')} of them"
    return f"{settings.cluster}, {settings.workers} of them"


def limits(settings: RunSettings) -> tuple[int, int] | None:
    """The workers that ``--adapt`` allows, at least and at most, or ``None``.

    At least one: a run has work until it ends, so that a worker that goes would only have to be waited for again.
    """
    if settings.adapt is None:
        return None
    least, most = settings.adapt.split(":")
    return max(1, int(least)), int(most)


def job_script(settings: RunSettings) -> str:
    """Return the script that each job of SLURM would be, with a place for the scheduler's address."""
    return str(without_assigned(slurm_job(settings).job_script())).rstrip()


def slurm_job(settings: RunSettings) -> Any:  # noqa: ANN401 - of an optional package
    """Return a job as dask-jobqueue would submit it; raises ``ValueError`` or ``TypeError`` for what it cannot be."""
    job = import_module("dask_jobqueue.slurm").SLURMJob
    cluster_only = ("scheduler_options", "shared_temp_directory")
    options = {name: value for name, value in slurm_options(settings).items() if name not in cluster_only}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names in a site's own Dask settings
        return job("<scheduler>", name="<name>", **options)


def _contradictions(settings: RunSettings) -> Iterator[Problem]:
    if settings.cluster and settings.scheduler:
        yield Problem(
            f"--cluster {settings.cluster} and --scheduler {settings.scheduler} are both given", _ONE
        )
    elif settings.scheduler and settings.workers:
        yield Problem(
            f"--workers {settings.workers} and --scheduler {settings.scheduler} are both given",
            "leave out --workers: those of the scheduler do the work, as many as there are",
        )
    if settings.adapt and settings.workers:
        yield Problem(f"--adapt {settings.adapt} and --workers {settings.workers} are both given", _ONE)
    if settings.adapt and settings.cluster not in {"slurm", "kubernetes"}:
        yield Problem("--adapt has nothing to adapt", "give --cluster slurm or kubernetes, or leave it out")
    if settings.cluster in {"slurm", "kubernetes"} and not (settings.adapt or settings.workers):
        yield Problem(
            f"--cluster {settings.cluster} is not told how many workers to ask for",
            "give --workers N or --adapt MIN:MAX",
        )
    if settings.cluster == "ssh" and settings.workers:
        yield Problem("--workers is not for --cluster ssh", "its workers are on the hosts of [ssh]")
    if settings.cluster in {"ssh", "kubernetes"} and settings.dashboard:
        yield Problem(
            f"--dashboard is not for --cluster {settings.cluster}, whose scheduler is not on this machine",
            "leave it out: Dask's scheduler serves its own",
        )
    if settings.wait_for_workers and not settings.runs_elsewhere:
        yield Problem("--wait-for-workers is for --scheduler or --cluster", "leave it out")


def _incomplete(settings: RunSettings) -> Iterator[Problem]:
    """Yield what is missing from a table whose keys and values are right as such."""
    block = block_of(settings)
    if settings.cluster == "slurm":
        for name in ("cores", "memory"):
            if not block.get(name) and dask.config.get(f"jobqueue.slurm.{name}", None) is None:
                example = {"cores": "cores = 8", "memory": 'memory = "24GB"'}[name]
                yield Problem(f"[slurm] does not say {name}", f"write what each job is to have: {example}")
                return
        yield from _refused_by_class(settings)
    elif settings.cluster == "kubernetes":
        if not (block.get("image") or block.get("custom_cluster_spec")):
            yield Problem(
                "[kubernetes] does not say image", 'name one that has lvm-batch installed: image = "..."'
            )
            return
        yield from _refused_by_class(settings)
    elif len(block.get("hosts", ())) < _HOSTS:
        yield Problem(
            f"[ssh] names {len(block.get('hosts', ()))} hosts, and takes at least {_HOSTS}",
            'write the scheduler\'s, then the workers\': hosts = ["login1", "node1", "node2"]',
        )
    elif problem := _unequal(block):
        yield problem


def _unequal(block: dict[str, Any]) -> Problem | None:
    for name in ("connect_options", "remote_python"):
        value = block.get(name)
        if isinstance(value, list) and len(value) != len(block["hosts"]):
            return Problem(
                f"[ssh] has {len(block['hosts'])} hosts and {len(value)} {name}", "write one for each host"
            )
    return None


def _refused_by_class(settings: RunSettings) -> Iterator[Problem]:
    try:
        asked_text(settings)
    except (ValueError, TypeError, OSError, KeyError) as error:
        yield Problem(f"[{settings.cluster}] cannot be used: {error}", f"mend it: {_where(settings)}")


def _where(settings: RunSettings) -> str:
    kind = BLOCKS[str(settings.cluster)]
    return f"it is what {kind.module}.{kind.takes} takes"


def _resource(settings: RunSettings) -> str:
    """Return the ``DaskCluster`` that would be created, as YAML."""
    yaml = import_module("yaml")  # it publishes no types
    block = kubernetes_options(settings)
    spec = block.get("custom_cluster_spec")
    if isinstance(spec, str):
        spec = _loaded(spec)
    if spec is None:
        make = import_module("dask_kubernetes.operator").make_cluster_spec
        taken = inspect.signature(make).parameters
        given = {name: value for name, value in block.items() if name in taken}
        spec = make(n_workers=first_workers(settings), **given)
    _check_name(str(spec["metadata"]["name"]))
    shown = without_credentials(json.loads(json.dumps(spec)))  # YAML would refer to what stands there twice
    return str(yaml.safe_dump(shown, sort_keys=False)).rstrip()


def _loaded(path: str) -> dict[str, Any]:
    """Read a resource of a file, which holds one; raises ``ValueError`` or ``OSError``."""
    yaml = import_module("yaml")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as dask-kubernetes opens it
            spec = yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{path} holds no resource")  # noqa: TRY004 - as what is wrong in a table is told
    return spec


def _check_name(name: str) -> None:
    """Check it as dask-kubernetes fills it in, by the operator's rule."""
    filled = name.replace("{uuid}", "0" * 10).replace("{user}", "user")
    if "{" not in filled:
        try:
            import_module("dask_kubernetes.operator.validation").validate_cluster_name(filled)
        except import_module("dask_kubernetes.exceptions").ValidationError as error:
            raise ValueError(error.message) from error


def first_workers(settings: RunSettings) -> int:
    """How many workers to begin with."""
    allowed = limits(settings)
    return allowed[0] if allowed else settings.workers or 1


def _hosts(settings: RunSettings) -> str:
    scheduler, *workers = block_of(settings)["hosts"]
    return f"scheduler on {scheduler}\nworkers on {', '.join(workers)}"
