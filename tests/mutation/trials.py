"""Runs a module's tests in forks of a process that has imported everything except the project.

A fork runs the module with the code given to it, and nothing that a fork does affects another. A fork that hangs
is killed, by limits on its CPU time, its memory and its idle time: other work on the machine does not look like a
hang. Linux only, as it reads ``/proc``.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, FrameType, ModuleType

_OPTIONS = (
    *("-x", "-q", "--tb=no", "--assert=plain", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins are imported already
)
_SCRATCH = tempfile.mkdtemp(prefix="lvm-batch-mutants-")
_MIN_CPU_S = 5.0
_IDLE_S = 3.0
_MAX_BYTES = 4 << 30
_TIMES = 10
_LOOK_S = 0.2
_POLL_S = 0.01
_BUSY = frozenset("RD")


atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)  # forks end without running this


@dataclass(frozen=True, slots=True)
class Subject:
    """A module by its dotted name and file, and the files with its tests."""

    name: str
    path: Path
    tests: tuple[str, ...]


@dataclass(slots=True)
class Trace:
    """The CPU time of one test, in seconds, and the lines of the module that it runs."""

    cpu_s: float = 0.0
    lines: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests of the unchanged module by name, and the modules that they import."""

    tests: dict[str, Trace]
    imported: tuple[str, ...]

    def touching(self, lines: range) -> list[str]:
        """Return the tests that run any of ``lines``, the fastest first; all tests, if only the import runs them."""
        touching = [name for name, trace in self.tests.items() if not trace.lines.isdisjoint(lines)]
        return sorted(touching or self.tests, key=lambda name: self.tests[name].cpu_s)

    def longest_s(self, names: Iterable[str]) -> float:
        """Return the CPU time after which a fork that runs these tests counts as hanging."""
        return _MIN_CPU_S + _TIMES * sum(self.tests[name].cpu_s for name in names)


def observe(subject: Subject, code: CodeType) -> Baseline:
    """Run the tests of the unchanged module; raises ``SystemExit`` if one fails."""
    observer = _Observer(str(subject.path))
    read, write = os.pipe()

    def observe_tests() -> int:
        exit_code = _run_tests(subject, code, (observer,))
        tests = {name: [trace.cpu_s, sorted(trace.lines)] for name, trace in observer.tests.items()}
        with os.fdopen(write, "w") as pipe:
            json.dump([tests, _installed()], pipe)
        return exit_code

    child = _fork(observe_tests, quiet=False)  # the output of failing tests must be visible
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"the tests of {subject.name} fail without any mutation: {' '.join(subject.tests)}")
    tests, imported = json.loads(text)
    return Baseline({name: Trace(cpu_s, set(lines)) for name, (cpu_s, lines) in tests.items()}, imported)


def _installed() -> list[str]:
    """Return the imported modules of installed packages and the standard library."""
    here = str(Path(__file__).parents[2])
    own = {name for name, module in sys.modules.items() if _lies_in(module, here)}
    return [name for name in sys.modules if name not in own and not name.startswith(("__", "lvm_batch"))]


def _lies_in(module: ModuleType, folder: str) -> bool:
    path = getattr(module, "__file__", None) or ""
    return path.startswith(folder) and "site-packages" not in path


def import_ahead(baseline: Baseline) -> None:
    """Import what the tests need, except the project and the tests themselves."""
    for name in baseline.imported:
        with suppress(
            Exception
        ):  # a module that cannot be imported alone is imported by the one that needs it
            import_module(name)
    gc.freeze()  # pytest collects garbage at its end; forks need not scan the shared objects


def killed_by(subject: Subject, code: CodeType, tests: Sequence[str], baseline: Baseline) -> str | None:
    """Run ``tests`` with the module's code replaced; return how they fail, ``None`` if they pass."""
    child = _fork(lambda: _run_tests(subject, code, (_TestSelection(tests),)))
    failure = _watched(child, baseline.longest_s(tests))
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # processes that the tests started
    return failure


def _fork(work: Callable[[], int], *, quiet: bool = True) -> int:
    """Fork a process in its own group that runs ``work`` and exits with its return code."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        if quiet:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nowhere, number)
        code = work()
    except BaseException:  # noqa: BLE001 - it must not come back into the process that forked
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _run_tests(subject: Subject, code: CodeType, plugins: Sequence[object]) -> int:
    """Run the subject's tests in this process, with ``code`` as the module's code."""
    sys.meta_path.insert(0, _ReplacedModule(subject, code))
    sys.dont_write_bytecode = True
    # Any failing example will do, so Hypothesis need not shrink it. Examples are the same each time.
    settings.register_profile(
        "mutants", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True
    )
    settings.load_profile("mutants")
    return int(
        pytest.main([*_OPTIONS, f"--basetemp={_SCRATCH}/tests", *subject.tests], plugins=list(plugins))
    )


def _watched(child: int, max_cpu_s: float) -> str | None:
    """Wait for a fork, and kill it if it hangs; return how it failed, ``None`` if it passed."""
    idle_s = 0.0
    looked = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return f"exit {code}" if code else None
        time.sleep(_POLL_S)
        if time.monotonic() - looked < _LOOK_S:
            continue
        looked = time.monotonic()
        idle_s = max(0.0, idle_s - 1.0) if _is_busy(child) else idle_s + _LOOK_S
        if idle_s > _IDLE_S or _cpu_s(child) > max_cpu_s or _bytes(child) > _MAX_BYTES:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung"


def _is_busy(process: int) -> bool:
    """Whether a thread of a process runs, or waits for a core or a disk."""
    states = set()
    for stat in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):
            states.add(_stat(stat)[0])
    return not _BUSY.isdisjoint(states)


def _cpu_s(process: int) -> float:
    fields = _stat(Path(f"/proc/{process}/stat"))
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _bytes(process: int) -> int:
    return int(_stat(Path(f"/proc/{process}/stat"))[21]) * os.sysconf("SC_PAGE_SIZE")


def _stat(file: Path) -> list[str]:
    """Return the fields after the command's name, which may contain anything."""
    return file.read_text().rpartition(")")[2].split()


class _ReplacedModule(MetaPathFinder, Loader):
    """Gives the module the replaced code at its import."""

    def __init__(self, subject: Subject, code: CodeType) -> None:
        self._subject = subject
        self._code = code

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._subject.name:
            return None
        return spec_from_file_location(fullname, self._subject.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - it is the module's


class _TestSelection:
    """Runs some of the collected tests, in the given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._places]
        items.sort(key=lambda item: self._places[item.nodeid])


class _Observer:
    """Records each test's CPU time and the lines of one file that it runs, in any thread."""

    def __init__(self, file: str) -> None:
        self.tests: dict[str, Trace] = {}
        self._file = file
        self._now = Trace()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now = self.tests[item.nodeid] = Trace()
        began = time.process_time()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self._now.cpu_s = time.process_time() - began

    def _trace(self, frame: FrameType, *_: object) -> Callable[..., object] | None:
        return self._line if frame.f_code.co_filename == self._file else None

    def _line(self, frame: FrameType, *_: object) -> Callable[..., object]:
        self._now.lines.add(frame.f_lineno)
        return self._line
