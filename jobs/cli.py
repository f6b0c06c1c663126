"""The ``lvm-batch`` command as a process: what is set up before its command line runs, and given up after it.

The rule: what takes a moment to import is imported by the command line, once a run has begun to load torch in a process
of its own.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.child_processes import ignore_working_directory
from lvm_batch.jobs.processes.forkserver import start_forkserver_early, stop_forkserver
from lvm_batch.jobs.processes.imports import imported_as_missing
from lvm_batch.jobs.processes.resources import apply_cpu_quota
from lvm_batch.jobs.processes.streams import replace_streams
from lvm_batch.jobs.processes.temporary_folders import ensure_cache_folder, ensure_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WITHOUT_LOCAL_WORKERS = ("--help", "-h", "--dry-run", "--scheduler", "--cluster")
_INTERRUPTED = 130
_ELSEWHERE = ("LVM_BATCH_SCHEDULER", "LVM_BATCH_CLUSTER")


def command() -> int:
    """Run the ``lvm-batch`` command as the last thing that this process does."""
    ignore_working_directory()
    replace_streams()
    ensure_temporary_folder()
    ensure_cache_folder()
    apply_cpu_quota()
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it belongs to a service that has started this process
    if _starts_workers(sys.argv[1:], os.environ):
        start_forkserver_early()
    with imported_as_missing("pandas"):  # which Arrow imports, if it is installed, for 0.2 s and 28 MB
        code = _main_or_interrupted()
    stop_forkserver()
    if "duckdb" not in sys.modules:  # which complains at the end of what has not been collected
        gc.freeze()  # else the interpreter would walk through all of torch before it ends, for half a second
    return code


def _starts_workers(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return whether the command seems to start workers on this machine; a wrong guess costs no more than time."""
    is_run = arguments[:1] == ["run"] and not any(
        each.startswith(_WITHOUT_LOCAL_WORKERS) for each in arguments
    )
    return is_run and not any(map(environ.get, _ELSEWHERE))


def _main_or_interrupted() -> int:
    try:
        return main()
    except KeyboardInterrupt:  # before the command line could take it
        sys.stderr.write("error: interrupted\n")
        return _INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (the process's own by default) and return the exit code."""
    from lvm_batch.jobs.command_line import run_command_line

    return run_command_line(sys.argv[1:] if arguments is None else arguments)
