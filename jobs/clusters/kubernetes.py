"""Workers that are pods of Kubernetes, under a scheduler there, made by Dask's operator.

The rule: a cluster that exists already is somebody else's, and is left alone.
"""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import dask
from dask.utils import parse_bytes

from lvm_batch.jobs.clusters.start import IDLE_S, OwnCluster
from lvm_batch.jobs.clusters.tables import (
    FLAG,
    LEAVE_OUT,
    TEXT,
    TEXT_OR_TEXTS,
    USE_WORKERS,
    WHOLE,
    TableSchema,
)
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.processes.child_processes import with_safe_environment
from lvm_batch.jobs.settings.fields import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMA = TableSchema(
    name="kubernetes",
    package="dask_kubernetes",
    module="dask_kubernetes.operator",
    class_name="KubeCluster",
    types={
        **dict.fromkeys(("name", "namespace", "image", "scheduler_service_type"), TEXT),
        **dict.fromkeys(("idle_timeout", "resource_timeout", "scheduler_forward_port"), WHOLE),
        **dict.fromkeys(("port_forward_cluster_ip", "jupyter"), FLAG),
        "resources": (dict[str, dict[str, str]], "a table of limits and requests, all of them strings"),
        "env": (dict[str, str] | list[dict[str, Any]], "a table of strings or a list of tables"),
        "worker_command": TEXT_OR_TEXTS,
        "custom_cluster_spec": (str | dict[str, Any], "a YAML file or a table"),
    },
    refused={
        "n_workers": USE_WORKERS,
        **dict.fromkeys(("create_mode", "shutdown_on_close"), LEAVE_OUT),
    },
)


class Kubernetes(OwnCluster):
    """A ``KubeCluster``."""

    name = "kubernetes"
    schema = _SCHEMA
    adapts = True
    adapt_options: ClassVar[Mapping[str, Any]] = {}  # the operator adapts, by its own target
    memory_setting = "resources in [kubernetes]"
    if_not_started = (
        "check that `kubectl get daskclusters` works here; it needs Dask's operator in the cluster"
    )
    if_no_worker = "check the pods (`kubectl get pods`), or wait longer with --wait-for-workers"

    def missing(self) -> Problem | None:
        """Return that the table names neither an image nor a whole resource."""
        if self.table.get("image") or self.table.get("custom_cluster_spec"):
            return None
        return Problem("[kubernetes] has no image", 'give an image with lvm-batch installed: image = "..."')

    def request(self) -> str:
        """Return the ``DaskCluster`` that would be created, as YAML."""
        spec = self._resource()
        _check_name(str(spec["metadata"]["name"]))
        shown = without_credentials(
            json.loads(json.dumps(spec))
        )  # YAML would write references for repeated values
        yaml = import_module("yaml")  # it publishes no types
        return str(yaml.safe_dump(shown, sort_keys=False)).rstrip()

    def table_memory(self) -> int | None:
        """Return the bytes of a pod, by the table's limits."""
        given = self.table.get("resources", {}).get("limits", {}).get("memory")
        return given and int(parse_bytes(given))

    def options(self) -> dict[str, Any]:
        """Return what a ``KubeCluster`` is made with of the table, with a name by which what it leaves would be found.

        If this process is killed, Dask's operator ends the cluster once it has had nothing to do for long.
        """
        table = self.table
        env = table.get("env") or dask.config.get("kubernetes.env", None)
        ours = {"name": "lvm-batch-{uuid}", "idle_timeout": IDLE_S + int(self.patience_s)}
        return ours | table | {"env": with_safe_environment(env)}

    def make(self) -> Any:  # noqa: ANN401 - of an optional package
        """Create the resource and wait for its scheduler."""
        mode = import_module("dask_kubernetes.operator.kubecluster.kubecluster").CreateMode
        return import_module("dask_kubernetes.operator").KubeCluster(
            n_workers=0,
            quiet=True,
            shutdown_on_close=True,
            create_mode=mode.CREATE_ONLY,
            **self.options(),
        )

    def give_up(self) -> None:
        """Delete what has half begun; dask-kubernetes would try only at the end of the process, and print why not."""
        begun = import_module("dask_kubernetes.operator").KubeCluster._instances  # noqa: SLF001 - as its own exit does
        for cluster in list(begun):
            with suppress(Exception):  # the error that ended the start is reported
                cluster.close(timeout=10)
            begun.discard(cluster)

    def _resource(self) -> dict[str, Any]:
        options = self.options()
        spec = options.get("custom_cluster_spec")
        if isinstance(spec, str):
            spec = _read_resource(spec)
        if spec is not None:
            return dict(spec)
        make = import_module("dask_kubernetes.operator").make_cluster_spec
        taken = inspect.signature(make).parameters
        given = {name: value for name, value in options.items() if name in taken}
        return dict(make(n_workers=self.first_workers, **given))


def _read_resource(path: str) -> dict[str, Any]:
    """Read the one resource of a file; raises ``ValueError`` or ``OSError``."""
    yaml = import_module("yaml")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as dask-kubernetes opens it
            spec = yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{path} holds no resource")  # noqa: TRY004 - as what is wrong in a table is reported
    return spec


def _check_name(name: str) -> None:
    """Check it as dask-kubernetes fills it in, by the operator's rule."""
    filled = name.replace("{uuid}", "0" * 10).replace("{user}", "user")
    if "{" not in filled:
        try:
            import_module("dask_kubernetes.operator.validation").validate_cluster_name(filled)
        except import_module("dask_kubernetes.exceptions").ValidationError as error:
            raise ValueError(error.message) from error
