"""A cluster's table in the job's file: ``[slurm]``, ``[kubernetes]`` or ``[ssh]``.

The rule: everything that can be told without contacting anything is told at once, before work begins. What a key may be
called, the signature of the class that takes it says; what its value may be is declared here, as those classes mostly
do not. This module does not know how a cluster is started.
"""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.extras import require
from lvm_batch.jobs.settings.fields import brief, table_without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.jobs.settings.run import RunSettings

_TEXT = (str, "a text")
_WHOLE = (int, "a whole number")
_NUMBER = (float, "a number of seconds")
_FLAG = (bool, "true or false")
_TEXTS = (list[str], "a list of texts")
_TEXT_OR_TEXTS = (str | list[str], "a text or a list of texts")
_TABLE = (dict[str, Any], "a table")
_TABLES = (dict[str, Any] | list[dict[str, Any]], "a table or a list of tables")

_STRICT = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class BlockKind:
    """What is known of a table: the class that takes it, who adds parameters to it, what its values may be.

    ``ours`` are parameters that a run gives by itself, or that are not for a table, each with what to do instead.
    """

    module: str
    takes: str
    more: tuple[tuple[str, str], ...]
    package: str
    types: Mapping[str, tuple[Any, str]]
    ours: Mapping[str, str]


_HOW_MANY = "use --workers or --adapt"
_OWN = "leave it out: a run sets it by itself"
_HIDDEN = ("loop", "asynchronous", "silence_logs", "security", "quiet", "kwargs", "self")

BLOCKS = {
    "slurm": BlockKind(
        module="dask_jobqueue",
        takes="SLURMCluster",
        more=(("dask_jobqueue.slurm", "SLURMJob"), ("dask_jobqueue.core", "Job")),
        package="dask_jobqueue",
        types={
            **dict.fromkeys(("cores", "processes", "job_cpu"), _WHOLE),
            **dict.fromkeys(("memory", "job_mem", "queue", "account", "walltime", "job_name"), _TEXT),
            **dict.fromkeys(("interface", "protocol", "python", "shebang", "worker_command"), _TEXT),
            **dict.fromkeys(("local_directory", "log_directory", "shared_temp_directory"), _TEXT),
            **dict.fromkeys(("worker_extra_args", "job_script_prologue"), _TEXTS),
            **dict.fromkeys(("job_extra_directives", "job_directives_skip"), _TEXTS),
            "death_timeout": _NUMBER,
            "nanny": _FLAG,
            "scheduler_options": _TABLE,
        },
        ours={
            "n_workers": _HOW_MANY,
            **dict.fromkeys(("job_cls", "scheduler_cls", "scheduler", "config_name"), _OWN),
            **dict.fromkeys(("host", "dashboard_address"), "write it in [slurm.scheduler_options]"),
            # Names that dask-jobqueue has given up.
            **dict.fromkeys(("extra",), "it is called worker_extra_args"),
            **dict.fromkeys(("env_extra",), "it is called job_script_prologue"),
            **dict.fromkeys(("job_extra",), "it is called job_extra_directives"),
            **dict.fromkeys(("header_skip",), "it is called job_directives_skip"),
            **dict.fromkeys(("project",), "it is called account"),
        },
    ),
    "kubernetes": BlockKind(
        module="dask_kubernetes.operator",
        takes="KubeCluster",
        more=(),
        package="dask_kubernetes",
        types={
            **dict.fromkeys(("name", "namespace", "image", "scheduler_service_type"), _TEXT),
            **dict.fromkeys(("idle_timeout", "resource_timeout", "scheduler_forward_port"), _WHOLE),
            **dict.fromkeys(("port_forward_cluster_ip", "jupyter"), _FLAG),
            "resources": (dict[str, dict[str, str]], "a table of limits and requests, all of them texts"),
            "env": (dict[str, str] | list[dict[str, Any]], "a table of texts or a list of tables"),
            "worker_command": _TEXT_OR_TEXTS,
            "custom_cluster_spec": (str | dict[str, Any], "a file of YAML or a table"),
        },
        ours={
            "n_workers": _HOW_MANY,
            **dict.fromkeys(("create_mode", "shutdown_on_close"), _OWN),
        },
    ),
    "ssh": BlockKind(
        module="distributed",
        takes="SSHCluster",
        more=(),
        package="asyncssh",
        types={
            "hosts": _TEXTS,
            "connect_options": _TABLES,
            **dict.fromkeys(("worker_options", "scheduler_options"), _TABLE),
            "worker_class": _TEXT,
            "remote_python": _TEXT_OR_TEXTS,
        },
        ours={},
    ),
}


def block_of(settings: RunSettings) -> dict[str, Any]:
    """The table of the cluster that is asked for."""
    return dict(getattr(settings, str(settings.cluster)))


def problems_of(name: str, block: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a table's keys and values; raises ``MissingExtra`` where its class is not installed."""
    kind = BLOCKS[name]
    require(kind.package, option=f"--cluster {name}", extra=name)
    known = _parameters(kind)
    for key, value in block.items():
        if key in kind.ours:
            yield Problem(f"{key} in [{name}] is not for a table", kind.ours[key])
        elif key not in known:
            yield _unknown(name, key, known - kind.ours.keys())
        elif key in kind.types and not _fits(value, kind.types[key][0]):
            shown = brief(table_without_credentials({key: value})[key])
            yield Problem(f"{key} in [{name}] cannot be {shown}", f"it can be {kind.types[key][1]}")


def _parameters(kind: BlockKind) -> set[str]:
    classes = ((kind.module, kind.takes), *kind.more)
    signatures = (inspect.signature(getattr(import_module(module), name)) for module, name in classes)
    named = {
        each.name
        for signature in signatures
        for each in signature.parameters.values()
        if each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}
    }
    return named.difference(_HIDDEN)


def _unknown(name: str, key: str, known: set[str]) -> Problem:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(sorted(known))}"
    return Problem(f"{key} in [{name}] is not known to {BLOCKS[name].takes}", hint)


def _fits(value: object, wanted: Any) -> bool:  # noqa: ANN401 - any type
    try:
        TypeAdapter(wanted, config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    return True
