"""Modules that lie beside the data are never imported, however a command starts its processes."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.datasets import windows, write_windows

from lvm_batch.jobs.clusters.kinds import backend_of
from lvm_batch.jobs.clusters.ssh import SSH
from lvm_batch.jobs.processes.child_processes import SAFE
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
# Linux has the fork server; the other way takes twice the time.
START_METHODS = ("forkserver", pytest.param("spawn", marks=pytest.mark.soak))

_TRAP = """
import sys
with open({fired!r}, "a") as file:
    print("{name}", sys.orig_argv[:4], file=file)
raise ImportError("a trap")
"""

# Like the installed script, whose first search path is its own folder; with a user's own modules.
_SCRIPT = """
import sys
import beside_the_script, on_python_path
from lvm_batch.jobs.cli import command
from lvm_batch.jobs.processes import forkserver
forkserver.METHOD = sys.argv.pop(1)
if __name__ == "__main__":
    sys.exit(command())
"""


def lay_traps(folder: Path) -> Path:
    """Write a module in ``folder`` for every name in Python's library and installed packages.

    Returns the path of a file that each of them writes to when it is imported.
    """
    fired = folder.with_name("fired")
    names = {*sys.stdlib_module_names, *packages_distributions(), "sitecustomize", "usercustomize"}
    for name in filter(str.isidentifier, names):
        (folder / f"{name}.py").write_text(_TRAP.format(fired=str(fired), name=name))
    return fired


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    """A folder with a dataset, models and traps; the script that calls the command lies elsewhere."""
    contexts, targets = windows()
    write_windows(tmp_path / "here/t.parquet", contexts[:120], targets[:120], row_group_rows=40)
    for model in models.iterdir():
        shutil.copy(model, tmp_path / "here")
    for path in ("bin/script.py", "bin/beside_the_script.py", "lib/on_python_path.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(_SCRIPT if path == "bin/script.py" else "")
    return tmp_path / "here"


def call(folder: Path, method: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command in ``folder`` as a user does, with workers started by ``method``."""
    return subprocess.run(
        [sys.executable, folder.with_name("bin") / "script.py", method, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder.with_name("lib"))},
        capture_output=True,
        text=True,
        check=False,
    )


_MODELS = ("--model", "amn.pt", "--fallback", "gru.pt")
_RUN = ("run", "t.parquet", "--output", "out", *_MODELS, "--unit-size", "310KiB", "--workers", "1", "--json")


@pytest.mark.parametrize("method", START_METHODS)
def test_a_run_imports_nothing_that_lies_beside_its_data(folder: Path, method: str) -> None:
    """Workers, the fork server and the resource tracker import the installed modules.

    PYTHONPATH and the folder of a user's own script still apply to all of them; workers import from there.
    """
    fired = lay_traps(folder)
    done = call(folder, method, *_RUN)
    assert not fired.exists(), fired.read_text()
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["rows_out"] == 120


@pytest.mark.soak
@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--rows", "500", "--workers", "1"),
        ("demo",),
        ("run", "t.parquet", "--output", "out", *_MODELS, "--unit-size", "310KiB", "--part", "1/2"),
        ("train", "t.parquet", "--arch", "amn", "--output", "trained", "--epochs", "1"),
        ("evaluate", "t.parquet", "--model", "amn.pt", "--output", "evaluated"),
        ("inspect", "t.parquet"),
        ("plan", "t.parquet", "--output", "out", *_MODELS),
        ("pack", "t.parquet", "--output", "packed"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_command_imports_what_lies_beside_its_data(folder: Path, arguments: tuple[str, ...]) -> None:
    """Other commands do not import them either, including those that start further commands."""
    fired = lay_traps(folder)
    done = call(folder, "forkserver", *arguments)
    assert not fired.exists(), fired.read_text()
    assert done.returncode == 0, done


def test_workers_elsewhere_start_safely() -> None:
    """SLURM and ssh workers get a flag, Kubernetes workers a variable, beside the user's own options."""
    pytest.importorskip("dask_jobqueue")
    slurm = RunSettings(cluster="slurm", workers=1, slurm={"cores": 1, "memory": "1GB", "python": "py"})
    assert "py -P -m distributed.cli.dask_worker" in str(backend_of(slurm).preview().request)
    ssh = RunSettings(cluster="ssh", ssh={"hosts": ["a", "b"]})
    assert SSH(ssh).options()["remote_python"] == f"{sys.executable} -P"
    each = RunSettings(cluster="ssh", ssh={"hosts": ["a", "b"], "remote_python": ["x", "y"]})
    assert SSH(each).options()["remote_python"] == ["x -P", "y -P"]


@pytest.mark.parametrize("env", [{"MINE": "1"}, [{"name": "MINE", "value": "1"}]], ids=["table", "tables"])
def test_containers_of_workers_are_safe(env: dict[str, str] | list[dict[str, str]]) -> None:
    """Both forms of Kubernetes variables keep the values that the user gave."""
    pytest.importorskip("dask_kubernetes")
    settings = RunSettings(cluster="kubernetes", workers=1, kubernetes={"image": "x", "env": env})
    text = str(backend_of(settings).preview().request)
    assert "name: MINE" in text
    assert all(f"name: {name}" in text for name in SAFE)


_STARTERS = {
    "subprocess",
    "multiprocessing",
    "ProcessPoolExecutor",
    "posix_spawn",
    "execv",
    "popen",
}
_THAT_START = {
    "jobs/processes/child_processes.py": "what the others take",
    "jobs/processes/forkserver.py": "the fork server and its copies",
    "jobs/processes/local_needs.py": "a semaphore alone",
    "jobs/benchmark/bench.py": "the command itself",
    "jobs/prediction/execution/processes.py": "waits for copies of the fork server, which start_copy starts",
}


def _names(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else ()
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize("room", ["io", "lvm", "jobs"])
def test_processes_are_started_where_that_is_known_to_be_safe(room: str) -> None:
    """Every module that starts processes uses ``child_processes``, and is listed here."""
    starting = {
        str(module.relative_to(TOP))
        for module in (TOP / room).rglob("*.py")
        if _STARTERS.intersection(_names(module))
    }
    assert starting <= set(_THAT_START)
