"""A dataset that grows and changes, runs of the real command over it, and kills at random moments.

After every round the output's own reports are checked: ``_SUCCESS``, ``summary.json``, ``status``, ``verify``, and
every row that a reader gets.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io import read_predictions
from lvm_batch.io.errors import InputNotFound, NotFinished, OutputError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.jobs.prediction.results.status import status
from lvm_batch.jobs.prediction.results.verify import verify
from support.datasets import windows, write_windows
from support.processes import descendants, is_alive, parent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NIGHTS = tuple(f"2026-11-{day}" for day in range(10, 18))
N_VERSIONS = 3
UNIT_ROWS = 12
UNITS = (4, 3, 5)  # of a night, by its version
VICTIMS = ("driver", "worker", "fork server", "group")

BEAT_S, TTL_S = 0.3, 3.0
"""Short times for the lease of a run on a store, so that a dead run's lease soon expires."""

_HANG_S = 300
_COMMAND = f"""
import sys
from lvm_batch.io.storage import lease
from lvm_batch.jobs.cli import main
lease.BEAT_S, lease.TTL_S = {BEAT_S}, {TTL_S}
if __name__ == "__main__":
    sys.exit(main())
"""


def write_night(data: Path, night: str, version: int) -> Path:
    """Write one version of a night, with its own rows and another number of units than the version before."""
    contexts, targets = windows()
    first = (NIGHTS.index(night) * N_VERSIONS + version) * UNIT_ROWS * max(UNITS)
    rows = slice(first, first + UNITS[version] * UNIT_ROWS)
    keys = {"key": np.arange(rows.start, rows.stop)}
    return write_windows(
        data / f"date={night}/a.parquet",
        contexts[rows],
        targets[rows],
        columns=keys,
        row_group_rows=UNIT_ROWS,
    )


@dataclass
class World:
    """A folder with a dataset of nights, its output, and the expected rows of each version of a night.

    ``whole_s`` is the duration of the last complete run, so that kills fall within a run on any machine.
    """

    folder: Path
    options: tuple[str, ...]
    clean: Mapping[tuple[str, int], Mapping[int, np.ndarray]]
    seed: int
    output: str
    whole_s: float = 6.0
    nights: dict[str, int] = field(default_factory=dict)
    endings: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with two nights."""
        self.chance = random.Random(self.seed)  # noqa: S311 - no secret
        (self.folder / "command.py").write_text(_COMMAND)
        for night in NIGHTS[:2]:
            self.change(night)

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / "data"

    def change(self, night: str) -> None:
        """Write a new night, or the next version of one."""
        self.nights[night] = (self.nights.get(night, -1) + 1) % N_VERSIONS
        write_night(self.data, night, self.nights[night])

    def round(self) -> None:
        """Perhaps change the dataset, begin a run, kill part of it, and check the output."""
        what = self.chance.choice(("nothing", "nothing", "grow", "change", "all"))
        if what == "grow" and len(self.nights) < len(NIGHTS):
            self.change(NIGHTS[len(self.nights)])
        elif what == "change":
            self.change(self.chance.choice(list(self.nights)))
        victim = self.chance.choice(VICTIMS)
        process = self.started("--reprocess", "all" if what == "all" else "failed")
        began = time.monotonic()
        time.sleep(self.chance.uniform(0.1, 1.0) * self.whole_s)
        kill(process, victim)
        self.endings.append((victim, self.ended(process)))
        if self.endings[-1][1] == 0:
            self.whole_s = time.monotonic() - began
        self.check()

    def started(self, *options: str) -> subprocess.Popen[bytes]:
        """Begin a run in its own process group."""
        command = [sys.executable, str(self.folder / "command.py"), "run", str(self.data), "--json"]
        # To files: processes that outlive the driver would keep a pipe open.
        with self.stdout_file.open("w") as stdout, (self.folder / "stderr").open("a") as stderr:
            return subprocess.Popen(
                [*command, "--output", self.output, *self.options, *options],
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout_file(self) -> Path:
        """The stdout of the last run."""
        return self.folder / "stdout"

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a run's end; a driver that was not killed exits with 0, 1 or 75."""
        below = descendants(process.pid)
        code = process.wait(_HANG_S)
        assert code in {0, 1, 75, -signal.SIGKILL}, self.stdout_file.read_text()
        wait_for_end(below)
        return code

    def check(self) -> None:
        """Check everything that the output reports."""
        folder = OutputFolder(self.output)
        if folder.job() is None:
            return
        report = verify(self.output)[0]
        succeeded = folder.succeeded
        damaged = [fault for fault in report["faults"] if "no commit record" not in fault["what"]]
        assert not damaged, damaged
        if succeeded:
            assert (report["faults"], report["units_missing"]) == ([], []), report
            assert folder.success().rows_out == report["rows"]
        else:
            assert status(self.output)[0]["state"] != "done"
        self.check_rows(must_read=succeeded)

    def check_rows(self, *, must_read: bool) -> None:
        """Check that readers get one whole version of each night, as a clean run predicts it."""
        try:
            rows = read_predictions(self.output).select("date", "key", "prediction").collect()
        except (NotFinished, InputNotFound, OutputError):
            assert not must_read
            return
        for (date,), night in rows.partition_by("date", as_dict=True).items():
            keys = night["key"].to_list()
            version = next(
                version for version in range(N_VERSIONS) if keys == list(self.clean[str(date), version])
            )
            expected = np.stack(list(self.clean[str(date), version].values()))
            np.testing.assert_allclose(night["prediction"].to_numpy(), expected, atol=1e-5)

    def finish(self) -> None:
        """Check that an undisturbed run exits with 0 and gives the rows of a clean run over the current dataset."""
        process = self.started("--reprocess", "failed")
        assert self.ended(process) == 0, self.stdout_file.read_text()
        self.check_end()

    def check_end(self) -> None:
        """Check the rows of a job that has ended, and what its last run printed."""
        summary = json.loads(self.stdout_file.read_text())
        self.check()
        rows = read_predictions(self.output).select("date", "key").collect()
        expected = {
            (night, key) for night, version in self.nights.items() for key in self.clean[night, version]
        }
        assert {(str(date), key) for date, key in rows.rows()} == expected
        assert rows.height == len(expected) == summary["rows_out"] == summary["rows_in"]
        assert summary["units"] == summary["units_done"] == sum(UNITS[v] for v in self.nights.values())


class WorldOfParts(World):
    """A dataset that stays as it is, computed in parts that are killed, beside runs that end the job too early."""

    COUNT = 3

    def __post_init__(self) -> None:
        """Begin with all nights."""
        super().__post_init__()
        for night in NIGHTS[2:]:
            self.change(night)

    def round(self) -> None:
        """Take units away, start all parts at once with another run among them, kill some of them, and check."""
        self.lose_units()
        rivals = self.chance.choice(((), ("--finish",), ("--part", "1/3"), ()))
        commands = [("--part", f"{number}/{self.COUNT}") for number in range(1, self.COUNT + 1)]
        began = time.monotonic()
        processes = [self.started(*options) for options in (*commands, *([rivals] if rivals else []))]
        time.sleep(self.chance.uniform(0.1, 1.0) * self.whole_s)
        for process in self.chance.sample(processes, self.chance.randint(1, 2)):
            victim = self.chance.choice(VICTIMS)
            kill(process, victim)
            self.endings.append((victim, 0))
        codes = [self.ended(process) for process in processes]
        self.endings += [("none", code) for code in codes]
        if not any(codes):
            self.whole_s = time.monotonic() - began
        self.check()

    def lose_units(self) -> None:
        """Remove what some units have written, as a disk or a careless person may."""
        folder = OutputFolder(self.output)
        done = sorted(folder.records())
        if done:
            folder.mark_success(None)
            folder.remove_units(self.chance.sample(done, self.chance.randint(0, len(done))))

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """As of a run; a job cannot be ended before one of its parts has begun it."""
        below = descendants(process.pid)
        code = process.wait(_HANG_S)
        assert code in {0, 1, 2, 75, -signal.SIGKILL}, self.said()
        assert code != 2 or "holds no job" in self.said(), self.said()
        wait_for_end(below)
        return code

    def finish(self) -> None:
        """Compute the parts one after the other, end the job, and check it."""
        for number in range(1, self.COUNT + 1):
            process = self.started("--part", f"{number}/{self.COUNT}")
            assert self.ended(process) == 0, self.said()
        process = self.started("--finish")
        assert self.ended(process) == 0, self.said()
        self.check_end()

    def said(self) -> str:
        """What the runs of this world printed last, and all their messages."""
        return self.stdout_file.read_text() + (self.folder / "stderr").read_text()[-3000:]


def kill(process: subprocess.Popen[bytes], victim: str) -> None:
    """Kill part of a run, if it is still running."""
    below = descendants(process.pid)
    servers = [pid for pid in below if _is_fork_server(pid)]
    workers = [pid for pid in below if pid not in servers and parent_of(pid) in servers]
    chosen = {"driver": [process.pid], "worker": workers[:1], "fork server": servers, "group": []}[victim]
    for pid in chosen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if victim == "group":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _is_fork_server(pid: int) -> bool:
    with suppress(OSError):
        return b"forkserver import main" in Path(f"/proc/{pid}/cmdline").read_bytes() and not _is_fork_server(
            parent_of(pid)
        )
    return False


def wait_for_end(processes: list[int]) -> None:
    """Wait until processes have ended with the run that started them."""
    until = time.monotonic() + _HANG_S
    while any(map(is_alive, processes)):
        assert time.monotonic() < until, "processes outlive their run"
        time.sleep(0.05)


def clean_rows(run: Any, folder: Path) -> dict[tuple[str, int], dict[int, np.ndarray]]:  # noqa: ANN401 - a function
    """The rows by key that ``run(data, output)`` predicts for every version of every night alone."""
    clean = {}
    for night in NIGHTS:
        for version in range(N_VERSIONS):
            data, output = folder / f"{night}-{version}", folder / f"{night}-{version}.out"
            write_night(data, night, version)
            run(data, output)
            rows = read_predictions(output).collect()
            clean[night, version] = dict(
                zip(rows["key"].to_list(), rows["prediction"].to_numpy(), strict=True)
            )
    return clean
