"""Tests of machines that lack or forbid something: the command works without it, or names it and says what to do;
never a bug.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.datasets import windows, write_windows
from support.waiting import HANG_S

from lvm_batch.jobs import command_line
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.console.exit_codes import error_as_dict, exit_code_of
from lvm_batch.jobs.errors import SurroundingsError
from lvm_batch.jobs.prediction.execution.worker import _failure
from lvm_batch.jobs.processes.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

COMMAND = "import sys; from lvm_batch.jobs.cli import command; sys.exit(command())"


class CommandResult(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The message of its error."""
        return str(json.loads(self.out)["error"]["message"])


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    """A dataset of three units, and models."""
    contexts, targets = windows()
    write_windows(tmp_path / "t.parquet", contexts[:120], targets[:120], row_group_rows=40)
    shutil.copytree(models, tmp_path / "models")
    return tmp_path


def run_in(folder: Path, before: str = "", *, within: str = "", **environment: str) -> CommandResult:
    """Run the job as a process in ``folder``: a shell runs ``before``, and ``within`` is put before the command."""
    options = "run t.parquet --output out --model models/amn.pt --fallback models/gru.pt --json"
    options += " --workers 2 --unit-size 310KiB"
    line = f'{before}\nexec {within} "$0" -c "$1" {options}'
    done = subprocess.run(
        ["/bin/sh", "-ec", line, sys.executable, COMMAND],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "TMPDIR"} | environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def isolated(kind: str) -> str:
    """The start of a line that gets its own mounts or network; skips if that is not possible."""
    probe = shutil.which("unshare") and subprocess.run(
        ["unshare", kind, "true"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if not probe or probe.returncode:
        pytest.skip(f"no `unshare {kind}` here")
    return f"unshare {kind}"


# Errors that reach the command line


def system_error(number: int) -> OSError:
    """An error of the operating system."""
    return OSError(number, os.strerror(number), "/some/where")


def with_cause(error: Exception, cause: Exception) -> Exception:
    """An error with a cause."""
    error.__cause__ = cause
    return error


def test_no_error_of_the_system_is_a_bug() -> None:
    """Every system error gives its path, message and hint, and an exit code for problems to fix or retry."""
    for number, name in errno.errorcode.items():
        assert exit_code_of(system_error(number)) in {2, 75}, name
        document = error_as_dict(system_error(number))
        assert "/some/where" in document["message"] or number == errno.EINPROGRESS, name
        assert os.strerror(number) in document["message"], name
        assert document["hint"], name


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 75, "MemoryError"),
        (RuntimeError("can't start new thread"), 75, "can't start new thread"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), 75, "temporarily unavailable"),
        (
            RuntimeError("[enforce fail at alloc] DefaultCPUAllocator: can't allocate memory"),
            75,
            "DefaultCPU",
        ),
        (ImportError("libtorch.so: failed to map segment from shared object"), 75, "libtorch.so"),
        (ImportError("x.so: cannot open: Too many open files"), 2, "Too many open files"),
        (system_error(errno.ENOSPC), 2, "/some/where: No space left"),
        (system_error(errno.EROFS), 2, "/some/where: Read-only"),
        (system_error(errno.EIO), 75, "/some/where"),
        (TimeoutError("timed out"), 75, "timed out"),
        (socket.gaierror(-3, "Temporary failure in name resolution"), 75, "name resolution"),
        (EOFError("unexpected EOF"), 75, "had started died"),
        (
            with_cause(RuntimeError("Cluster failed to start"), system_error(errno.EMFILE)),
            2,
            "Too many open files",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_have_the_right_exit_code(error: Exception, code: int, words: str) -> None:
    """The exit code is 2 if the user must act and 75 if a retry may help, also for errors wrapped by libraries."""
    assert exit_code_of(error) == code
    assert words in error_as_dict(error)["message"]


def test_a_bug_beside_a_system_error_is_a_bug() -> None:
    """A bug raised while a system error is handled is reported as a bug."""

    def handle() -> None:
        try:
            raise system_error(errno.ENOSPC)
        except OSError as error:
            raise IndexError(str(error.errno)) from None

    with pytest.raises(IndexError) as raised:
        handle()
    raised.value.__context__ = system_error(errno.ENOSPC)
    assert exit_code_of(raised.value) == 70
    assert exit_code_of(RuntimeError("no such thing")) == 70


def test_an_error_swallowed_by_a_library_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken pipe inside a command is not mistaken for its standard output."""

    def app(**_: object) -> None:
        try:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        except OSError:
            sys.exit(1)  # as typer does

    monkeypatch.setattr(command_line, "app", app)
    assert main(["run"]) == 75
    assert "Broken pipe" in capsys.readouterr().err


def test_a_system_error_of_a_unit_is_no_bug() -> None:
    """A worker reports it with the unit and a hint."""
    failure = _failure(SimpleNamespace(output="a-00000.parquet"), MemoryError("no more"))
    assert (failure.kind, failure.trace) == (SurroundingsError.kind, None)
    assert failure.message == "a-00000.parquet: MemoryError: no more"


# Standard streams


def shell(line: str, **environment: str) -> CommandResult:
    """Run a shell line in which ``$0 -c "$1"`` is the command."""
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, COMMAND],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def test_a_full_stdout_is_named_and_may_be_retried() -> None:
    """The result exists and could not be printed, so the exit code is neither success nor a bug."""
    result = shell('exec "$0" -c "$1" config show >/dev/full')
    assert result.code == 75
    assert result.err.startswith(
        "error: the result could not be printed: No space left on device\n  what to do:"
    )


def test_a_full_stdout_does_not_hide_how_a_command_failed() -> None:
    """The exit code of the failure is kept."""
    assert shell('exec "$0" -c "$1" run --json >/dev/full').code == 2


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", "<&- >&- 2>&-", "<&-"])
def test_other_full_streams_change_nothing(streams: str) -> None:
    """A full or closed stream other than stdout does not change the exit code."""
    assert shell(f'exec "$0" -c "$1" config show {streams}').code == 0
    assert shell(f'exec "$0" -c "$1" nope {streams}').code == 2


def test_no_file_replaces_a_closed_stream() -> None:
    """A file opened later does not receive what is printed."""
    code = (
        "import os; from lvm_batch.jobs.processes.streams import replace_streams;"
        "replace_streams(); os._exit(os.dup(1))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=False
    )
    assert done.returncode > 2


def test_names_that_a_terminal_cannot_show_are_escaped() -> None:
    """A character that the terminal's encoding lacks is printed as Python escapes it."""
    result = shell('exec "$0" -c "$1" status né-日', PYTHONIOENCODING="ascii:strict")
    assert result.code == 2
    assert "n\\xe9-\\u65e5" in result.err


def test_a_stream_is_like_its_descriptor() -> None:
    """A stream is a terminal if its descriptor is one, and uses its own encoding."""
    read, write = os.pipe()
    with Stream(write, "utf-8") as stream:
        print("é", file=stream)
        assert (stream.isatty(), stream.fileno(), stream.lost) == (False, write, None)
    assert os.read(read, 10) == "é\n".encode()
    os.close(read)
    os.close(write)


# Machines


_SITE = """
distributed:
  comm: {require-encryption: true, default-scheme: tls, tls: {ca-file: /nope, worker: {cert: /nope}}}
  scheduler: {preload: [no_such_module], allowed-failures: 7}
  nanny: {preload: [no_such_module], pre-spawn-environ: {A: 1}}
  worker: {preload: [no_such_module], memory: {target: much}}
temporary-directory: /proc/nowhere
scheduler-address: tcp://10.255.255.1:8786
"""

_READ_ONLY = """
mount --bind /tmp /tmp
mount --bind {folder} {folder}
mount -o remount,ro,bind /tmp
mount --bind /var/tmp /var/tmp
mount -o remount,ro,bind /var/tmp
cd {folder}
"""


def test_a_run_needs_neither_tmp_nor_a_home_nor_a_site_s_dask_settings(folder: Path) -> None:
    """Temporary files go where there is space, and local workers ignore the site's Dask settings."""
    within = isolated("-m")
    long = folder / ("long" * 30)
    long.mkdir()
    (folder / "site").mkdir()
    (folder / "site/dask.yaml").write_text(_SITE)
    (folder / "job.sh").write_text(_READ_ONLY.format(folder=folder) + 'exec "$@"')
    result = run_in(
        folder,
        within=f"{within} sh -e job.sh",
        HOME="/proc/nowhere",
        DASK_CONFIG=str(folder / "site"),
        TMPDIR=str(long),  # a socket's path would be too long here
    )
    assert result.code == 0, result
    assert json.loads(result.out)["rows_out"] == 120
    assert not [path.name for path in folder.iterdir() if path.name.startswith(("pymp", "dask", "tmp"))]


def test_temporary_files_go_where_there_is_space(folder: Path) -> None:
    """The working directory, which holds the data, is used only if no other folder can be."""
    code = (
        "import tempfile; from lvm_batch.jobs.processes import temporary_folders as t; t.ensure_temporary_folder();"
        " print(tempfile.gettempdir())"
    )
    (folder / "job.sh").write_text(_READ_ONLY.format(folder=folder) + 'exec "$@"')
    line = [*isolated("-m").split(), "sh", "-e", "job.sh", sys.executable, "-c", code]
    done = subprocess.run(
        line,
        cwd=folder,
        env=os.environ | {"TMPDIR": "/proc/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "/dev/shm\n"  # noqa: S108


def test_a_machine_without_shared_memory_is_named(folder: Path) -> None:
    """Nothing is started if local workers cannot run."""
    mount = "mount -t tmpfs -o ro none /dev/shm && exec"
    (folder / "job.sh").write_text(f'{mount} "$@"')
    result = run_in(folder, within=f"{isolated('-m')} sh job.sh")
    assert result.code == 2, result
    assert "/dev/shm" in result.message  # noqa: S108
    assert not (folder / "out").exists()


def test_a_machine_without_loopback_is_named(folder: Path) -> None:
    """The error comes at once, not after Dask's timeout."""
    result = run_in(folder, within=isolated("-n"))
    assert result.code == 2, result
    assert "127.0.0.1" in result.message


def test_a_removed_working_directory_is_named(folder: Path) -> None:
    """The message cannot give the folder's path, only that it no longer exists."""
    result = run_in(folder, "mkdir gone; cd gone; rmdir ../gone")
    assert (result.code, result.message) == (2, "the working directory no longer exists")


def test_invalid_matplotlib_settings_are_named(tmp_path: Path) -> None:
    """An invalid matplotlib file in the working directory is named only when a figure is drawn."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff")
    code = (
        "from lvm_batch.jobs import cli, command_line; from lvm_batch.jobs.plots import figure_svg;"
        " command_line.app = lambda **_: figure_svg(print); raise SystemExit(cli.main(['run', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    assert json.loads(done.stdout)["error"]["message"].startswith(
        "matplotlib's settings on this machine cannot"
    )


def test_invalid_dask_settings_are_named(folder: Path) -> None:
    """The error names the file, which the site must fix."""
    (folder / "site").mkdir()
    (folder / "site/dask.yaml").write_text("{{{")
    result = run_in(folder, DASK_CONFIG=str(folder / "site"))
    assert result.code == 2, result
    assert "site/dask.yaml" in result.message


@contextmanager
def at_most_processes(number: int) -> Iterator[str]:
    """A control group with a limit of processes and threads; yields the shell line that enters it."""
    group = Path(f"/sys/fs/cgroup/pids/lvm-batch-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(number))
    except OSError:
        pytest.skip("no control group for processes may be made here")
    try:
        yield f"echo $$ > {group}/cgroup.procs"
    finally:
        for _ in range(100):
            pids = (group / "cgroup.procs").read_text().split()
            if not pids:
                break
            for pid in map(int, pids):
                _kill(pid)
        _until_removed(group)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)


def _until_removed(group: Path) -> None:
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:  # the killed processes have not ended yet
            sleep(0.05)
        else:
            return


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    "number", [16, *(pytest.param(each, marks=SOAK) for each in (1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 24, 28))]
)
def test_a_limit_of_processes_may_be_retried(folder: Path, number: int) -> None:
    """With any limit, the run ends with exit code 75 or succeeds."""
    with at_most_processes(number) as entering:
        result = run_in(folder, entering)
    assert result.code == 75 or (number > 20 and result.code == 0), result


@pytest.mark.parametrize(
    "number", [14, *(pytest.param(each, marks=SOAK) for each in (8, 11, 17, 24, 32, 40, 47, 48, 56))]
)
def test_a_limit_of_open_files_is_named(folder: Path, number: int) -> None:
    """The error gives the limit and how to raise it."""
    result = run_in(folder, f"ulimit -n {number}")
    assert result.code == 2 or (number >= 48 and result.code == 0), result
    assert result.code == 0 or f"the limit is {number} open files" in result.message


@pytest.mark.parametrize(
    "kib", [600_000, *(pytest.param(each, marks=SOAK) for each in (400_000, 700_000, 800_000))]
)
def test_a_limit_of_memory_is_no_crash(folder: Path, kib: int) -> None:
    """A limit on the address space, as `ulimit -v` sets it, never crashes the run."""
    result = run_in(folder, f"ulimit -v {kib}")
    assert result.code in {0, 2, 75}, result
