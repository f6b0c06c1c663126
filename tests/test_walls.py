"""The walls between rooms, the top of the repository, and what quick commands may load."""

from __future__ import annotations

import ast
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[1]
ROOMS = ("io", "lvm", "jobs")
FORBIDDEN = {
    "io": {"torch", "dask", "distributed", "typer", "rich", "pydantic", "lvm_batch.lvm", "lvm_batch.jobs"},
    "lvm": {
        "pyarrow",
        "polars",
        "dask",
        "distributed",
        "typer",
        "rich",
        "pydantic",
        "lvm_batch.io",
        "lvm_batch.jobs",
    },
    "jobs": {"pandas", "duckdb"},
}
HEAVY = ("torch", "dask", "distributed", "numpy", "pyarrow", "polars")
ALLOWED_AT_TOP = {
    *ROOMS,
    "workflows",
    "tests",
    "docs",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "constraints.txt",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
}
GENERATED_AT_TOP = {"artifacts", "build", "dist", "lvm-batch-demo", "lvm_batch.egg-info"}


def imported(module: Path) -> set[str]:
    """Full names of everything that a module imports, also inside functions and for type checkers."""
    package = ["lvm_batch", *module.relative_to(TOP).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            start = [*above, node.module] if node.module else above
            names |= {".".join([*start, alias.name]) for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    """Whether ``name`` is ``package`` or something inside it."""
    return name == package or name.startswith(package + ".")


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after it ran ``code``."""
    report = f"\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_keep_to_their_walls(room: str) -> None:
    """Io imports no models, lvm reads no files, neither imports jobs, and none of them imports test code."""
    over_the_wall = {
        f"{module.relative_to(TOP)}: {name}"
        for module in (TOP / room).rglob("*.py")
        for name in imported(module)
        if any(within(name, package) for package in FORBIDDEN[room] | {"tests", "support"})
    }
    assert not over_the_wall


def test_relative_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative import is resolved to its full name, so that none bypasses a wall."""
    monkeypatch.setattr(sys.modules[__name__], "TOP", tmp_path)
    module = tmp_path / "jobs" / "commands" / "run.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from . import plan\nfrom ..errors import JobError\nfrom ...io import errors\nimport ast\n"
    )
    assert imported(module) == {
        "lvm_batch.jobs.commands.plan",
        "lvm_batch.jobs.errors.JobError",
        "lvm_batch.io.errors",
        "ast",
    }


def test_the_top_holds_only_what_belongs_there() -> None:
    """Three rooms, workflows, tests, docs and the project's own files; personal notes do not belong there."""
    assert {name for name in names_at_top() if not name.startswith(".")} <= ALLOWED_AT_TOP


def names_at_top() -> set[str]:
    """The names that git tracks; in a copy without git, the names on disk that were not generated."""
    git = shutil.which("git")
    if git is None or not (TOP / ".git").exists():
        return {path.name for path in TOP.iterdir()} - GENERATED_AT_TOP
    known = subprocess.run([git, "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True)
    return {name.split("/")[0] for name in known.stdout.split("\0") if name}


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_typed(room: str) -> None:
    """Users' type checkers see the types of every room."""
    assert (TOP / room / "py.typed").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["config", "show"]])
def test_quick_commands_load_nothing_heavy(arguments: list[str]) -> None:
    """Help and settings need neither torch, Dask, numpy nor pyarrow."""
    assert loaded_by(f"from lvm_batch.jobs.cli import main; assert main({arguments}) == 0") == set()


def test_showing_rows_loads_neither_torch_nor_dask() -> None:
    """Rows of an output are read by Arrow alone."""
    modules = "io.output.row_search, lvm_batch.jobs.prediction.results.shown_rows"
    loaded = loaded_by(f"import lvm_batch.{modules}, lvm_batch.jobs.prediction.results.shown_table")
    assert loaded == {"numpy", "pyarrow"}


def test_the_package_loads_nothing_heavy() -> None:
    """Importing ``lvm_batch`` and looking at its functions and errors is as quick as importing nothing."""
    names = "lvm_batch.run, lvm_batch.GateFailed, lvm_batch.RunResult, lvm_batch.__version__"
    assert loaded_by(f"import lvm_batch; {names}") == set()


def test_thresholds_load_nothing_heavy() -> None:
    """The defaults of the routing policy can be read without the models' libraries."""
    assert loaded_by("import lvm_batch.lvm.inference.thresholds") == set()


def test_facts_of_checkpoints_need_no_torch() -> None:
    """Which models fit a dataset is known before torch is loaded."""
    assert loaded_by("import lvm_batch.lvm.checkpoints.checkpoint_facts") == set()


def test_the_driver_of_a_run_loads_no_torch() -> None:
    """Planning and driving a run leave models to the workers: torch would add 180 MB to the driver."""
    assert "torch" not in loaded_by("import lvm_batch.jobs.prediction.run")


def test_help_takes_little_time() -> None:
    """`lvm-batch --help` takes less than half of the CPU time of importing torch: 0.35 and 1.7 s on a quiet machine."""
    of_torch = cpu_s_of("import torch")
    assert (
        min(cpu_s_of("from lvm_batch.jobs.cli import main; main(['--help'])") for _ in range(3))
        < of_torch / 2
    )


def cpu_s_of(code: str) -> float:
    """CPU seconds of a fresh interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded_by(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
