"""The resources of this process: usable cores and memory, freed memory, peak memory.

The rule: the limits of a container, a quota or ``taskset`` count, not the size of the machine.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import sys
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path("/")

_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024

# mallopt(3): free memory at the top of the heap that is kept, and the size from which an allocation is a mapping of its
# own, which is always given back. Larger values were no faster.
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 64 * 2**20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 8 * 2**20


def usable_cores(root: Path = _ROOT) -> int:
    """Return the number of cores that this process may use, at least 1; part of a core counts as one.

    ``root`` holds ``/proc`` and ``/sys``.
    """
    return max(1, min([_schedulable(), *map(ceil, _quotas(root))]))


def processor_name(root: Path = _ROOT) -> str:
    """Return what the processor calls itself, or else its architecture; ``root`` holds ``/proc``."""
    named = (line.partition(":")[2].strip() for line in _lines(root / "proc/cpuinfo") if "model name" in line)
    return next(filter(None, named), platform.processor() or platform.machine())


def usable_memory(root: Path = _ROOT) -> int:
    """Return the bytes of memory that this process may use: the machine's, or what a control group allows."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_memory_limits(root)])


def apply_cpu_quota() -> None:
    """Limit libraries that count the cores of the machine by themselves to what a quota allows.

    A value that the user has set stays. Call it before those libraries are imported.
    """
    n_cores = usable_cores()
    if n_cores < _schedulable():
        os.environ.setdefault("OMP_NUM_THREADS", str(n_cores))


def _schedulable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the cores' worth of time that each control group of this process allows, if it sets a limit."""
    for folder in _groups(root):
        with suppress(OSError, ValueError):
            quota, period = _limit(folder)
            if quota > 0 and period > 0:
                yield quota / period


def _limit(folder: Path) -> tuple[int, int]:
    """Return the quota and its period in microseconds; raises ``OSError`` or ``ValueError`` if there is no limit."""
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota), int(period)
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    quota, period = ((folder / name).read_text() for name in names)
    return int(quota), int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """Yield the bytes that each control group of this process allows, if it sets a limit."""
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                yield int((folder / name).read_text())


def _groups(root: Path, controller: str = "cpu") -> Iterator[Path]:
    """Yield the folders of this process's control groups and of all their parents, each of which may set a limit.

    A container may see its path on the host while its own group is at the top, so some folders may not exist.
    """
    top = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        names = (controllers, controller, "cpu,cpuacct") if controllers else ("", "unified")
        group = Path(path.lstrip("/"))
        for mounted in dict.fromkeys(top / name for name in names):
            yield from (mounted / part for part in (group, *group.parents))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # not Linux, or without control groups


def keep_freed_memory() -> None:
    """Ask glibc to keep up to 64 MiB of what is freed; other C libraries are left alone.

    A worker asks for the same few sizes in every batch, and a fresh page costs six times a used one. Dask starts its
    workers so that they give everything back at once: 4,000 rows/s against 5,300 (2026-11-23).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which glibc asks for pages of 2 MiB, unless ``environment`` decides that already.

    Weights and what layers pass on take hundreds of pages less to look up: AMN computes 5 % and GRU 4 % faster in
    float32, both 8 % in int8; a worker's peak is at most 7 % higher (2026-11-29, Zen 4). It holds for processes that
    start with it; older and other C libraries ignore it.
    """
    given = environment.get(_TUNABLES, "")
    if _HUGE_PAGES in given:
        return {}
    return {_TUNABLES: ":".join(filter(None, (given, f"{_HUGE_PAGES}=1")))}


def give_back_freed_memory() -> bool:
    """Give memory that is free back to the system; return whether the C library can do that, as glibc can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return False
    gc.collect()
    trim(0)
    return True


def own_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory that this process holds beside files, such as the libraries' code; None where no one tells.

    ``root`` holds ``/proc``.
    """
    found = (line.split() for line in _lines(root / "proc/self/status") if line.startswith("RssAnon:"))
    return next((int(n_kib) * 1024 for _, n_kib, _ in found), None)


def peak_bytes() -> int:
    """Return the peak of the resident set of this process, in bytes, memory-mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
