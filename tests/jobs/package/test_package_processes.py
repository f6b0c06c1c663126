"""``lvm_batch`` in processes of its own: as the command, and under a user's type checker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lvm_batch

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[3]
ROOMS = ("io", "lvm", "jobs")

_USE = """\
from datetime import date
from pathlib import Path

import lvm_batch

result = lvm_batch.run([Path("a"), "b"], output=Path("out"), unit_size="8MiB", as_of=date(2026, 1, 1), pad="zero")
mean: float | None = result.summary.totals.cosine.mean
model: Path = lvm_batch.train("a", arch="amn", output="m").model
bank: str = lvm_batch.build_bank("a", output="b").path
left: int = lvm_batch.plan("a", output="out", model=model, bank=bank, slurm={"cores": 4}).units_left
print(lvm_batch.__version__, lvm_batch.evaluate("a", calibrate=True)["leaderboard"], lvm_batch.inspect("a").text)
lvm_batch.read_predictions(result.output).select("route").collect()
try:
    lvm_batch.run(config="nightly.toml")
except lvm_batch.GateFailed as error:
    print(error.result, error.hint, error.exit_code)
except lvm_batch.LvmBatchError as error:
    print(error.message)
"""
_WRONG = {
    'lvm_batch.run("a", outputs="out")': "call-arg",
    'lvm_batch.run("a", output="out", pad="zeros")': "arg-type",
    'lvm_batch.run("a", output="out", workers="many")': "arg-type",
    'lvm_batch.train("a").models': "attr-defined",
    "lvm_batch.runn()": "attr-defined",
}


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Start Python."""
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_python_m_is_the_command(tmp_path: Path) -> None:
    """It prints what the command prints, ends with its exit code, and imports nothing from the working directory."""
    for name in ("typer", "rich", "pydantic", "json"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a trap')")
    shown = call("-m", "lvm_batch", "--version", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, f"lvm-batch {lvm_batch.__version__}\n"), shown.stderr
    refused = call("-m", "lvm_batch", "plan", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no output is given" in refused.stderr
    assert "Traceback" not in refused.stderr


def linked_package(tmp_path: Path) -> Path:
    """A folder in which mypy finds the package: that of ``make types``, so that each finds what the other has read."""
    folder = TOP / ".types" if (TOP / ".types/lvm_batch").exists() else tmp_path / "types"
    if not folder.exists():
        (folder / "lvm_batch").mkdir(parents=True)
        for path in (*(TOP / room for room in ROOMS), *(TOP / "jobs/package").iterdir()):
            (folder / "lvm_batch" / path.name).symlink_to(path)
    return folder


def test_a_users_types_are_checked(tmp_path: Path) -> None:
    """Strict mypy accepts right calls, and finds names and values that are wrong."""
    pytest.importorskip("mypy", reason="mypy is not installed: make check brings it")
    types = linked_package(tmp_path)
    lines = _USE.splitlines()
    use = tmp_path / "use.py"
    use.write_text("\n".join([*lines, *_WRONG]))
    options = ("--config-file", str(TOP / "pyproject.toml"), "--no-error-summary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(types))
        done = call("-m", "mypy", *options, str(use), cwd=types)
    found = [
        (int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]"))
        for line in done.stdout.splitlines()
        if ": error:" in line
    ]
    assert found == [(len(lines) + n, code) for n, code in enumerate(_WRONG.values(), 1)], done.stdout
