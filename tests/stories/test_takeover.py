"""Real runs over S3 that are stopped, taken over and continued: the output in the end is the successor's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import buckets
from support.datasets import predictions_of, windows, write_windows
from support.waiting import HANG_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

BEAT_S, TTL_S = 0.3, 1.0  # a run is stopped before another begins: no slow beat is taken for a dead one
N_ROWS, UNIT_ROWS = 200, 50

_COMMAND = f"""
import sys
from lvm_batch.io.storage import lease
lease.BEAT_S, lease.TTL_S = {BEAT_S}, {TTL_S}
from lvm_batch.jobs.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """An S3 server over HTTP; a ``s3_server.Server``."""
    with buckets.serving() as serving:
        yield serving


@pytest.fixture
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: ANN401
    """The name of an empty bucket on the server; the lease of a stalled run expires there within seconds."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", BEAT_S)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", TTL_S)
    with buckets.environment(server):
        yield buckets.new_bucket(server)


def write_night(folder: Path, number: int) -> Path:
    """Write a file with two units."""
    contexts, targets = (part[number * 100 : number * 100 + 100] for part in windows())
    path = folder / f"night-{number}.parquet"
    columns = {"key": np.arange(number * 100, number * 100 + 100)}
    write_windows(path, contexts, targets, columns=columns, row_group_rows=UNIT_ROWS)
    return path


@pytest.fixture
def nights(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: the first exists when a run begins, the second arrives while the run is stopped."""
    return write_night(tmp_path / "in", 0), write_night(tmp_path / "later", 1)


class Run:
    """A real run of the first night, with its own workers, that can be stopped while a request is under way."""

    def __init__(self, server: Any, arguments: list[str], folder: Path, *words: str) -> None:  # noqa: ANN401
        self.fault = server.fail("late", *words)
        command = folder / "command.py"
        command.write_text(_COMMAND)
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(command), "run", *arguments],
                start_new_session=True,
                stderr=stderr,
                stdout=subprocess.PIPE,
            )
        wait_until(lambda: self.fault.met or self.process.poll() is not None, "the request is on its way")
        assert self.fault.met, (folder / "stderr").read_text()

    def stop(self, *, whole_group: bool) -> None:
        """Send SIGSTOP to the driver alone, or to its workers as well."""
        (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> tuple[int, dict[str, Any]]:
        """Send SIGCONT; return the exit code."""
        os.killpg(self.process.pid, signal.SIGCONT)
        out, _ = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, json.loads(out)

    def end(self) -> None:
        """Kill all processes of the run."""
        self.fault.is_through.set()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


STOPPED_AT = {
    "a unit": ("PUT", "night-0-00001.parquet conditional"),
    "its record": ("PUT", "done/night-0-00001"),
    "the summary": ("PUT", "summary.json"),
    "what it tells": ("PUT", "accepted.json"),
    "success": ("PUT", "_SUCCESS"),
    "the report": ("PUT", "report.html"),
}

# What happens at the other requests is tested against this server without runs: see io/output/test_fencing.py.
_QUICK = {("a unit", False)}
CASES = [
    pytest.param(
        at,
        whole_group,
        id=f"{at}, {'driver and workers' if whole_group else 'the driver'}",
        marks=() if (at, whole_group) in _QUICK else pytest.mark.soak,
    )
    for at in STOPPED_AT
    for whole_group in (False, True)
]
"""The request that is under way when a run is stopped, and whether its workers are stopped, too."""


@pytest.mark.parametrize(("at", "whole_group"), CASES)
def test_a_run_that_is_stopped_and_taken_over_changes_nothing_any_more(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    bucket: str,
    nights: tuple[Path, Path],
    models: Path,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
    tmp_path: Path,
    at: str,
    whole_group: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """It exits with 75; `_SUCCESS`, summary, `status` and `verify` report all four units, and the rows are right."""
    server.put(bucket, "in/night-0.parquet", nights[0].read_bytes())
    shared = [f"s3://{bucket}/in", "--output", f"s3://{bucket}/out", "--unit-size", "768KB"]
    given = ["--model", f"{models}/amn.pt", "--fallback", f"{models}/gru.pt", "--workers", "1", "--json"]
    run = Run(server, [*shared, *given], tmp_path, *STOPPED_AT[at])
    try:
        run.stop(whole_group=whole_group)
        server.put(bucket, "in/night-1.parquet", nights[1].read_bytes())
        successor = predict(*shared)
        assert successor.code == 0, successor
        run.fault.is_through.set()
        code, values = run.go_on()
    finally:
        run.end()
    assert (code, values["error"]["kind"]) == (75, "locked"), (values, (tmp_path / "stderr").read_text())
    objects = server.objects(bucket)
    for name in ("_SUCCESS", "_lvm_batch/summary.json"):
        document = json.loads(objects[f"out/{name}"])
        assert (document["units"], document["rows_out"]) == (4, N_ROWS)
    status = lvm_batch("status", f"s3://{bucket}/out").values
    assert (status["state"], status["units_done"], status["rows_done"]) == ("done", 4, N_ROWS)
    verified = lvm_batch("verify", f"s3://{bucket}/out")
    assert (verified.code, verified.values["success_stands"]) == (0, True), verified
    assert_rows(objects, predict, nights, tmp_path)


def assert_rows(
    objects: dict[str, bytes], predict: Callable[..., Any], nights: tuple[Path, Path], folder: Path
) -> None:
    """Check that the rows equal those of a clean run on this machine."""
    for key, content in objects.items():
        if key.startswith("out/night"):
            path = folder / "copy" / key.removeprefix("out/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    clean = folder / "clean"
    assert predict(*nights, "--output", clean, "--unit-size", "768KB").code == 0
    np.testing.assert_allclose(predictions_of(folder / "copy"), predictions_of(clean), atol=1e-5)


def start_together(arguments: list[str], folder: Path, n_runs: int) -> list[tuple[int, dict[str, Any], str]]:
    """Start a command many times at once, on the existing leases; return each exit code and output."""
    command = folder / "command.py"
    command.write_text("\n".join(line for line in _COMMAND.splitlines() if "lease" not in line))
    runs = [
        subprocess.Popen(
            [sys.executable, str(command), "run", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(n_runs)
    ]
    outputs = [run.communicate(timeout=HANG_S) for run in runs]
    return [
        (run.returncode, json.loads(out), err.decode()) for run, (out, err) in zip(runs, outputs, strict=True)
    ]


@pytest.mark.soak
@pytest.mark.parametrize("n_runs", [20])
@pytest.mark.parametrize("where", ["local", "S3"])
def test_of_many_runs_that_start_together_one_works(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    bucket: str,
    nights: tuple[Path, Path],
    models: Path,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
    tmp_path: Path,
    where: str,
    n_runs: int,
) -> None:
    """One run does the work; the others exit with 75 or find it done. Each unit is recorded exactly once."""
    output = str(tmp_path / "out") if where == "local" else f"s3://{bucket}/out"
    arguments = [*map(str, nights), "--output", output, "--unit-size", "768KB", "--shadow-rate", "0"]
    given = ["--model", f"{models}/amn.pt", "--fallback", f"{models}/gru.pt", "--workers", "1", "--json"]
    ended = start_together([*arguments, *given], tmp_path, n_runs)
    assert {code for code, *_ in ended} <= {0, 75}, ended
    assert sum(values.get("units_computed", 0) for _, values, _ in ended) == 4, ended
    assert lvm_batch("verify", output).code == 0
    status = lvm_batch("status", output).values
    assert (status["state"], status["units_done"], status["rows_done"]) == ("done", 4, N_ROWS)
    assert predict(*arguments).values["units_computed"] == 0
