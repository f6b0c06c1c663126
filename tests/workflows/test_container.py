"""The image: what it is built from, and that its entrypoint works where root is read-only and the user has no name."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import container
from support.callers import WORKFLOWS, dockerfile
from support.datasets import windows, write_windows
from support.waiting import HANG_S, wait_until

pytestmark = pytest.mark.slow

TOP = WORKFLOWS.parent
DOCKERFILE = WORKFLOWS / "container/Dockerfile"
N_ROWS = 12

needs_hadolint = pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")


@needs_hadolint
def test_the_linter_has_nothing_to_say() -> None:
    """Hadolint knows the mistakes that builds let pass."""
    done = subprocess.run(
        [str(shutil.which("hadolint")), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_no_shell_and_no_root() -> None:
    """Entrypoint and arguments are lists, so that signals pass; the user is a number, so that runAsNonRoot can tell."""
    image = dockerfile()
    assert isinstance(image["ENTRYPOINT"], list)
    assert isinstance(image["CMD"], list)
    user, group = map(int, image["USER"].split(":"))
    assert user > 0
    assert group > 0


def test_each_variant_has_its_torch() -> None:
    """A VARIANT is the name of a stage: a misspelt one stops the build."""
    text = DOCKERFILE.read_text()
    assert set(re.findall(r"^FROM \S+ AS torch-(\w+)$", text, re.MULTILINE)) == {"cpu", "cuda"}
    assert "FROM torch-${VARIANT} AS installed" in text


def test_what_the_image_is_built_from_is_whole(tmp_path: Path) -> None:
    """A wheel of the files that .dockerignore lets through has every module, template and card."""
    context = tmp_path / "src"
    context.mkdir()
    rules = (TOP / ".dockerignore").read_text().splitlines()
    left_out = shutil.ignore_patterns(*(rule.removeprefix("**/") for rule in rules if rule.startswith("**/")))
    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        copy = shutil.copytree if (TOP / name).is_dir() else shutil.copy
        copy(TOP / name, context / name, **({"ignore": left_out} if copy is shutil.copytree else {}))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            ".",
        ],
        cwd=context,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    built = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"lvm_batch/{path.relative_to(TOP)}" for room in ("io", "lvm") for path in (TOP / room).rglob("*.py")
    }
    assert wanted <= built
    assert any(name.endswith(".html") for name in built)
    assert any(name.startswith("lvm_batch/lvm/cards/") for name in built)


@pytest.fixture(name="place")
def _place(tmp_path: Path, models: Path) -> Path:
    """Input that anybody can read, and two folders that the box's user owns; skips where no box can be made."""
    if reason := container.missing():
        pytest.skip(reason)
    for name in ("in", "out", "tmp"):
        (tmp_path / name).mkdir(mode=0o755)
    contexts, targets = (part[:N_ROWS] for part in windows())
    write_windows(tmp_path / "in/rows.parquet", contexts, targets)
    for name in ("amn", "gru"):
        shutil.copy(models / f"{name}.pt", tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        path.chmod(0o644)
    for name in ("out", "tmp"):
        os.chown(tmp_path / name, container.USER, container.USER)
    return tmp_path


def start(place: Path, *more: str, home: str | None = None) -> subprocess.Popen[str]:
    """Start the image's entrypoint in a box, for a run over the input."""
    data = place / "in"
    command = ["run", data / "rows.parquet", "--model", data / "amn.pt", "--fallback", data / "gru.pt"]
    command += ["--output", place / "out/predictions", "--workers", "1", *more]
    return container.start(
        [*dockerfile()["ENTRYPOINT"], *map(str, command)],
        readable=[data],
        writable=[place / "out", place / "tmp"],
        home=home,
    )


@pytest.mark.parametrize("home", [None, "/home/of-another"], ids=["no home", "a closed home"])
def test_a_run_needs_no_home_no_name_and_no_writable_root(place: Path, home: str | None) -> None:
    """It writes to the output and to TMPDIR alone, and says nothing of what it lacks."""
    process = start(place, home=home)
    printed, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, printed + said
    assert json.loads((place / "out/predictions/_SUCCESS").read_text())["rows_out"] == N_ROWS
    for complaint in ("temporary cache", "Fontconfig", "Permission", "Read-only", "Traceback"):
        assert complaint not in said


def test_an_exit_code_passes(place: Path) -> None:
    """A mistake in the settings is 2 outside, too."""
    process = start(place, "--min-confidence", "much")
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 2, said


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "while it runs"])
def test_sigterm_ends_a_run(place: Path, *, begun: bool) -> None:
    """143, from the first moment on: process 1 would not hear of a signal that it does not handle yet."""
    process = start(place)
    if begun:
        wait_until(
            lambda: (place / "out/predictions/_lvm_batch").exists() or process.poll() is not None,
            "the run holds its output",
        )
    else:
        wait_until(lambda: bool(_children(process.pid)), "the box is made")
    (first,) = _children(process.pid)
    wait_until(lambda: bool(_children(first)), "the command starts")  # tini passes signals on to it
    os.kill(first, signal.SIGTERM)
    printed, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 128 + signal.SIGTERM, printed + said
    assert not (place / "out/predictions/_SUCCESS").exists()


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
