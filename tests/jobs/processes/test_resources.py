"""The number of cores a process may use, limited by its control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvm_batch.jobs.processes.resources import huge_pages, usable_cores, usable_memory

pytestmark = pytest.mark.slow

_TWO = "200000 100000"


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16), raising=False)


def root(folder: Path, cgroup: str, **files: str) -> Path:
    """A file system with control groups; ``__`` in a file's name stands for ``/``."""
    for name, text in ({"proc__self__cgroup": cgroup} | files).items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "n_cores"),
    [("max 100000", 16), ("100000 100000", 1), (_TWO, 2), ("150000 100000", 2), ("5000 100000", 1)],
)
def test_a_quota_counts(tmp_path: Path, limit: str, n_cores: int) -> None:
    """`--cpus=1` is one core on any machine; part of a core counts as one, and without a limit all cores count."""
    assert usable_cores(root(tmp_path, "0::/", **{"sys__fs__cgroup__cpu.max": limit})) == n_cores


def test_groups_above_count_too(tmp_path: Path) -> None:
    """The lowest limit of a group and of the groups above it holds."""
    files = {"sys__fs__cgroup__a.slice__cpu.max": _TWO, "sys__fs__cgroup__a.slice__b__cpu.max": "max 100000"}
    assert usable_cores(root(tmp_path, "0::/a.slice/b", **files)) == 2


@pytest.mark.parametrize("mounted", ["cpu,cpuacct", "cpuacct,cpu", "cpu"])
@pytest.mark.parametrize("path", ["/", "/docker/0123", "/a/b"])
def test_the_first_version_counts_too(tmp_path: Path, mounted: str, path: str) -> None:
    """It counts whatever its folder is called, and if a container knows only the host's path for it."""
    files = {
        f"sys__fs__cgroup__{mounted}__cpu.cfs_quota_us": "300000",
        f"sys__fs__cgroup__{mounted}__cpu.cfs_period_us": "100000",
        f"sys__fs__cgroup__{mounted}__a__cpu.cfs_quota_us": "-1",
        f"sys__fs__cgroup__{mounted}__a__cpu.cfs_period_us": "100000",
    }
    assert usable_cores(root(tmp_path, f"9:memory:/x\n2:{mounted}:{path}\n0::/", **files)) == 3


def test_without_groups_all_cores_count(tmp_path: Path) -> None:
    """A system without groups, and a limit that cannot be parsed, change nothing."""
    assert usable_cores(tmp_path) == 16
    assert usable_cores(root(tmp_path, "0::/", **{"sys__fs__cgroup__cpu.max": "none"})) == 16


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sys__fs__cgroup__memory.max": "268435456"}, 2**28),
        ({"sys__fs__cgroup__memory.max": "max"}, None),
        ({"sys__fs__cgroup__a__memory.max": "max", "sys__fs__cgroup__memory.max": "268435456"}, 2**28),
        ({}, None),
    ],
)
def test_a_limit_of_memory_counts(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """The memory that a control group, or one above it, allows is what there is; else it is the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory(root(tmp_path, "0::/a", **files)) == (limit or machine)


def test_a_real_quota_counts() -> None:
    """A process in its own group with one core's time counts one core."""
    group = next(
        (path for path in map(Path, ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup")) if path.is_dir()), None
    )
    if group is None:
        pytest.skip("no control groups here")
    group /= f"lvm-batch-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group may be made here")
    try:
        is_first = (group / "cpu.cfs_quota_us").exists()
        if not is_first and not (group / "cpu.max").exists():
            pytest.skip("control groups here do not limit processors")
        name, limit = ("cpu.cfs_quota_us", "100000") if is_first else ("cpu.max", "100000 100000")
        (group / name).write_text(limit)
        code = "from lvm_batch.jobs.processes.resources import usable_cores; print(usable_cores())"
        line = f'echo $$ > {group}/cgroup.procs && exec "$0" -c "$1"'
        done = subprocess.run(
            ["/bin/sh", "-c", line, sys.executable, code], capture_output=True, text=True, check=False
        )
        assert done.stdout == "1\n", done
    finally:
        group.rmdir()


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"},
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"},
        ),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, {}),
    ],
)
def test_huge_pages_are_asked_for_unless_the_user_says_otherwise(
    given: dict[str, str], added: dict[str, str]
) -> None:
    """Other tunables that the user has set stay."""
    assert huge_pages(given) == added
