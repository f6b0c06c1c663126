"""A box such as a container: read-only root, a user without a name, a home or rights; made by bubblewrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER = 54321
"""A user that no machine has."""

_TOP = Path(__file__).parents[2]
_TOOLS = ("bwrap", "setpriv", "tini")


@cache
def missing() -> str | None:
    """Return why no box can be made here, or ``None``."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{' and '.join(absent)} not installed"
    if os.getuid() != 0:
        return "only root may become another user"
    tried = subprocess.run(_box([], "true"), capture_output=True, text=True, check=False)
    return f"namespaces are not permitted: {tried.stderr.strip()}" if tried.returncode else None


def start(
    command: Sequence[str], *, readable: Sequence[Path], writable: Sequence[Path], home: str | None = None
) -> subprocess.Popen[str]:
    """Start a command as process 1 of a box that can read and write these folders alone; the last is TMPDIR.

    ``home`` becomes a folder that is closed to the box's user.
    """
    folders = [option for path in readable for option in _bound("--ro-bind", path)]
    folders += [option for path in writable for option in _bound("--bind", path)]
    environ = ["--setenv", "TMPDIR", str(writable[-1])] if writable else []
    return subprocess.Popen(
        _box([*folders, *environ], *command, home=home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _box(options: Sequence[str], *command: str, home: str | None = None) -> list[str]:
    closed = () if home is None else ("--perms", "0700", "--dir", home)
    variable = () if home is None else ("--setenv", "HOME", home)
    drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
    capabilities = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    return [
        "bwrap",
        *_system(),
        *(option for path in _python_folders() for option in _bound("--ro-bind", path)),
        *("--dir", "/opt/lvm-batch/bin"),
        *("--symlink", str(Path(sys.prefix, "bin/lvm-batch")), "/opt/lvm-batch/bin/lvm-batch"),
        *("--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm", "--proc", "/proc"),  # noqa: S108 - the box's own
        *options,
        *closed,
        *("--remount-ro", "/", "--unshare-pid", "--as-pid-1", "--die-with-parent", "--chdir", "/"),
        *("--cap-drop", "ALL", *capabilities),
        *("--clearenv", "--setenv", "PATH", "/usr/bin:/bin", *_kept_environment(), *variable),
        *(*drop, "--bounding-set=-all", "--no-new-privs", *command),
    ]


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc")
    for name in ("/bin", "/sbin", "/lib", "/lib64"):
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.exists():
            yield from ("--ro-bind", name, name)


def _python_folders() -> list[Path]:
    """Return the interpreter, its packages and the repository, where they are outside /usr; parents come first."""
    used = {sys.base_prefix, sys.prefix, str(_TOP), *(path for path in sys.path if os.path.isdir(path))}  # noqa: PTH112
    return sorted(Path(path) for path in used if path and not path.startswith("/usr/"))


def _bound(how: str, path: Path) -> Iterator[str]:
    """Yield options that show a folder, below parents that anybody may pass."""
    for parent in reversed(path.parents[:-1]):
        yield from ("--dir", str(parent))
    yield from (how, str(path), str(path))


def _kept_environment() -> Iterator[str]:
    """Yield what the machine sets for its processor."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in os.environ:
            yield from ("--setenv", name, os.environ[name])
