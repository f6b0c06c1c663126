"""One job computed in parts, by processes that know nothing of each other, on a disk and in a store."""

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
from support.datasets import assert_same_rows, read_rows, windows, write_windows
from support.waiting import HANG_S, wait_until

import lvm_batch
from lvm_batch.errors import LvmBatchError
from lvm_batch.io.history.history import read_history
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.lock import lock_output, lock_part
from lvm_batch.io.schema import Part
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

N_UNITS, UNIT_ROWS = 7, 50
COUNT = 3
OPTIONS = ("--unit-size", "768KB", "--shadow-rate", "0.1", "--min-confidence", "1", "--workers", "2")

_COMMAND = """
import sys
from lvm_batch.io.storage import lease
lease.BEAT_S, lease.TTL_S = 0.1, 5.0
from lvm_batch.jobs.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, of four units and of three, the last one shorter."""
    folder = tmp_path_factory.mktemp("parts") / "in"
    contexts, targets = windows()
    for name, rows in (("a", slice(0, 200)), ("b", slice(200, 330))):
        columns = {"key": np.arange(rows.start, rows.stop)}
        write_windows(
            folder / f"{name}.parquet",
            contexts[rows],
            targets[rows],
            columns=columns,
            row_group_rows=UNIT_ROWS,
        )
    return folder


@pytest.fixture(scope="module")
def clean(
    data: Path, models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of a run over everything, by Dask's workers."""
    from support.command import called

    output = tmp_path_factory.mktemp("whole") / "out"
    given = [*OPTIONS[:-2], *named(models, bank), "--scheduler", scheduler]
    called("run", data, "--output", output, *given).done()
    return output


def named(models: Path, bank: Path) -> list[str]:
    """The options that name the models and the bank."""
    return ["--model", f"{models}/amn.pt", "--fallback", f"{models}/gru.pt", "--bank", str(bank)]


_ALSO_IN_A_STORE = pytest.mark.parametrize("output", ["disk", "store"], indirect=True)
"""Of other tests the case of a store is with the long ones."""


@pytest.fixture(params=["disk", pytest.param("store", marks=pytest.mark.soak)])
def output(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty output."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.1)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 5.0)
    if request.param == "disk":
        yield str(tmp_path / "out")
        return
    with buckets.serving() as server, buckets.environment(server):
        yield f"s3://{buckets.new_bucket(server)}/out"


@pytest.fixture
def run(
    lvm_batch: Callable[..., Result], data: Path, models: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Call ``run`` over the dataset; no report is drawn, which takes longer than such a run."""
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)

    def call(output: str, *options: object, dataset: Path = data) -> Result:
        return lvm_batch("run", dataset, "--output", output, *OPTIONS, *named(models, bank), *options)

    return call


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    command = folder / "command.py"
    command.write_text(_COMMAND)
    with (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, str(command), "run", *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


def copied(output: str, folder: Path) -> Path:
    """Copy the files of predictions to a folder of this machine, and return it."""
    store = open_store(output, staging="tmp")
    for name in OutputFolder(output).published():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(name) or b"")
    return folder


def assert_as_whole(output: str, clean: Path, folder: Path) -> None:
    """Check that an output has the files and the rows of a run over everything."""
    rows = copied(output, folder / "copy")
    names = [[path.name for path in sorted(place.rglob("*.parquet"))] for place in (rows, clean)]
    assert names[0] == names[1]
    assert_same_rows(read_rows(rows), read_rows(clean))


@_ALSO_IN_A_STORE
def test_parts_make_what_a_run_makes(
    run: Callable[..., Result],
    lvm_batch: Callable[..., Result],
    output: str,
    clean: Path,
    tmp_path: Path,
) -> None:
    """Each part tells how far the job is; the last step checks it and writes what a run writes."""
    done = 0
    for number in (2, 1, 3):
        part = run(output, "--part", f"{number}/{COUNT}").done()
        share = len(Part(COUNT, number).share(range(N_UNITS)))
        done += share
        assert (part["units"], part["units_done"], part["units_computed"]) == (share,) * 3
        assert part["part"] == {"number": number, "count": COUNT, "units": N_UNITS, "units_done": done}
        assert part["rows_in"] == part["rows_out"] == part["rows_computed"]
        assert not OutputFolder(output).succeeded
        status = lvm_batch("status", output).done()
        assert (status["units_done"], status["state"]) == (
            done,
            "incomplete" if done < N_UNITS else "not finished",
        )
    assert status["parts"] == {"running": [], "to_do": []}
    summary = run(output, "--finish").done()
    assert (summary["units"], summary["units_done"], summary["units_computed"]) == (N_UNITS, N_UNITS, 0)
    assert (summary["rows_in"], summary["rows_out"]) == (330, 330)
    assert OutputFolder(output).success().rows_out == 330
    assert lvm_batch("status", output).values["state"] == "done"
    assert lvm_batch("verify", output).code == 0
    assert_as_whole(output, clean, tmp_path)
    assert run(output).done()["units_computed"] == 0
    assert run(output, "--part", "2/3").done()["units_computed"] == 0


def test_parts_that_begin_together_share_the_work(
    run: Callable[..., Result],
    output: str,
    data: Path,
    models: Path,
    bank: Path,
    clean: Path,
    tmp_path: Path,
) -> None:
    """Processes that start at once on an empty output agree on the job, and each unit is computed once."""
    options = [str(data), "--output", output, *OPTIONS, *named(models, bank)]
    parts = [start(tmp_path, [*options, "--part", f"{number}/{COUNT}"]) for number in range(1, COUNT + 1)]
    ended = [json.loads(part.communicate(timeout=HANG_S)[0]) for part in parts]
    assert [part.returncode for part in parts] == [0] * COUNT, (ended, (tmp_path / "stderr").read_text())
    assert sum(values["units_computed"] for values in ended) == N_UNITS
    run(output, "--finish").done()
    assert_as_whole(output, clean, tmp_path)


def test_a_part_that_was_killed_is_continued_by_the_same_command(
    run: Callable[..., Result],
    output: str,
    data: Path,
    models: Path,
    bank: Path,
    clean: Path,
    tmp_path: Path,
) -> None:
    """What it has committed stays; the job can be finished after that, and not before."""
    options = [str(data), "--output", output, *OPTIONS, *named(models, bank), "--part", "1/1"]
    part = start(tmp_path, options)
    wait_until(
        lambda: OutputFolder(output).recorded() or part.poll() is not None, "a unit is done", every_s=0.05
    )
    os.killpg(part.pid, signal.SIGKILL)
    part.communicate()
    done = len(OutputFolder(output).records())
    assert done >= 1
    if done < N_UNITS:
        refused = run(output, "--finish")
        assert (refused.code, refused.values["error"]["kind"]) == (1, "units_failed")
        assert f"{N_UNITS - done} of {N_UNITS} units" in refused.values["error"]["message"]
        assert "parts to run again: 1/1" in refused.values["error"]["message"]
    values = run(output, "--part", "1/1").done()
    assert values["units_computed"] <= N_UNITS - done
    assert values["units_done"] == N_UNITS
    run(output, "--finish").done()
    assert_as_whole(output, clean, tmp_path)


@_ALSO_IN_A_STORE
def test_only_parts_are_computed_at_the_same_time(run: Callable[..., Result], output: str) -> None:
    """A run, the end of a job and the same part once more exit with 75, and say what is at work."""
    with lock_part(output, Part(COUNT, 1)):
        for options in ((), ("--finish",), ("--part", "1/3")):
            refused = run(output, *options)
            assert (refused.code, refused.values["error"]["kind"]) == (75, "locked"), refused
            assert "part 1/3" in refused.values["error"]["message"]
        run(output, "--part", "2/3").done()
    with lock_output(output):
        refused = run(output, "--part", "2/3")
        assert (refused.code, refused.values["error"]["kind"]) == (75, "locked")
        assert "another run is writing" in refused.values["error"]["message"]


def test_status_tells_the_parts_that_run_and_those_that_are_missing(
    run: Callable[..., Result], lvm_batch: Callable[..., Result], output: str
) -> None:
    """Also parts that nobody has started yet."""
    run(output, "--part", "1/3").done()
    with lock_part(output, Part(COUNT, 2)):
        status = lvm_batch("status", output).done()
        assert (status["state"], status["parts"]) == ("running", {"running": ["2/3"], "to_do": ["3/3"]})
    assert lvm_batch("status", output).done()["parts"] == {"running": [], "to_do": ["2/3", "3/3"]}


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_a_job_is_finished_only_when_all_of_it_is_done(run: Callable[..., Result], output: str) -> None:
    """The error counts the units and names the parts; a success that lost a unit is none any more."""
    nothing = run(output, "--finish")
    assert (nothing.code, nothing.values["error"]["kind"]) == (2, "not_found")
    run(output, "--part", "2/3").done()
    refused = run(output, "--finish")
    assert refused.code == 1
    assert refused.values["error"]["message"] == (
        f"5 of {N_UNITS} units have no output; parts to run again: 1/3, 3/3"
    )
    run(output, "--part", "1/3").done()
    run(output, "--part", "3/3").done()
    run(output, "--finish").done()
    OutputFolder(output).remove_units(["a-00001.parquet"])
    refused = run(output, "--finish")
    assert (refused.code, refused.values["error"]["message"]) == (
        1,
        f"1 of {N_UNITS} units has no output; parts to run again: 2/3",
    )
    assert not OutputFolder(output).succeeded


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_gates_are_checked_when_a_job_is_finished(run: Callable[..., Result], output: str) -> None:
    """Not by its parts, whose rates say little of the whole."""
    gate = ("--max-fallback-rate", "0.5", "--fallback-policy", "fail")
    for number in range(1, COUNT + 1):
        assert "error" not in run(output, *gate, "--part", f"{number}/{COUNT}").done()
    refused = run(output, *gate, "--finish")
    assert (refused.code, refused.values["error"]["kind"]) == (3, "gate")
    assert not OutputFolder(output).succeeded
    run(output, "--finish", "--max-fallback-rate", "1").done()


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_a_cap_is_the_same_in_parts(
    run: Callable[..., Result],
    lvm_batch: Callable[..., Result],
    output: str,
    data: Path,
    models: Path,
    bank: Path,
    scheduler: str,
    tmp_path: Path,
) -> None:
    """It ranks the rows of a unit, and parts are whole units."""
    cap = ("--max-fallback-rate", "0.3", "--fallback-policy", "cap")
    for number in range(1, COUNT + 1):
        run(output, *cap, "--part", f"{number}/{COUNT}").done()
    run(output, *cap, "--finish").done()
    whole = tmp_path / "whole"
    given = (*OPTIONS[:-2], *named(models, bank), "--scheduler", scheduler)
    lvm_batch("run", data, "--output", whole, *given, *cap).done()
    assert_as_whole(output, whole, tmp_path)


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_a_part_with_other_settings_or_other_inputs_is_refused(
    run: Callable[..., Result], output: str, data: Path, tmp_path: Path
) -> None:
    """Before it computes anything; what differs is named. `plan` says the same."""
    run(output, "--part", "1/3").done()
    refused = run(output, "--part", "2/3", "--shadow-rate", "0.2")
    assert (refused.code, refused.values["error"]["kind"]) == (2, "job_changed")
    assert "settings.shadow_rate was 0.1, is 0.2" in refused.values["error"]["message"]
    more = tmp_path / "in"
    more.mkdir()
    for path in data.iterdir():
        (more / path.name).symlink_to(path)
    contexts, targets = windows()
    write_windows(more / "c.parquet", contexts[:50], targets[:50])
    for how in (("--part", "2/3"), ("--finish",)):
        refused = run(output, *how, dataset=more)
        assert refused.code == 2
        assert refused.values["error"]["kind"] == "job_changed"
        planned = run(output, *how, "--dry-run", dataset=more).done()
        assert planned["refusal"]["message"] == refused.values["error"]["message"]
    assert len(OutputFolder(output).records()) == 3


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_a_dataset_that_has_grown_is_not_for_parts(
    run: Callable[..., Result], output: str, data: Path, tmp_path: Path
) -> None:
    """The new file is named; a run without `--part` takes it in, and parts compute the job as it is then."""
    grown = tmp_path / "in"
    grown.mkdir()
    for path in data.iterdir():
        (grown / path.name).write_bytes(path.read_bytes())
    run(output, "--part", "1/3", dataset=grown).done()
    contexts, targets = windows()
    write_windows(grown / "c.parquet", contexts[:50], targets[:50])
    for how in (("--part", "2/3"), ("--finish",)):
        refused = run(output, *how, dataset=grown)
        assert refused.code == 2
        assert "inputs.c.parquet.path was absent" in refused.values["error"]["message"]
        planned = run(output, *how, "--dry-run", dataset=grown).done()
        assert planned["refusal"]["message"] == refused.values["error"]["message"]
    run(output, dataset=grown).done()
    OutputFolder(output).remove_units(["c-00000.parquet", "a-00000.parquet"])
    computed = [run(output, "--part", f"{n}/2", dataset=grown).done()["units_computed"] for n in (1, 2)]
    assert sum(computed) == 2
    run(output, "--finish", dataset=grown).done()


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_a_unit_that_fails_is_told_by_its_part(
    run: Callable[..., Result], output: str, data: Path, tmp_path: Path
) -> None:
    """The part exits with 1 and its events have the reason; the others go on."""
    broken = tmp_path / "in"
    broken.mkdir()
    content = bytearray((data / "b.parquet").read_bytes())
    content[8 : len(content) // 4] = b"\xff" * (len(content) // 4 - 8)
    (broken / "b.parquet").write_bytes(content)
    (broken / "a.parquet").write_bytes((data / "a.parquet").read_bytes())
    codes = {}
    for number in range(1, COUNT + 1):
        ended = run(output, "--part", f"{number}/{COUNT}", dataset=broken)
        codes[number] = ended.code
        if ended.code:
            assert (ended.code, ended.values["error"]["kind"]) == (1, "units_failed")
            assert "b-00000.parquet" in str(ended.values["failed_units"])
    assert sorted(codes.values()) == [0, 0, 1]
    (failed,) = [number for number, code in codes.items() if code]
    events = open_store(output, staging="tmp").read(f"_lvm_batch/parts/{failed}-of-3.events.jsonl")
    assert b'"unit_failed"' in events
    refused = run(output, "--finish", dataset=broken)
    assert refused.code == 1
    assert f"parts to run again: {failed}/3" in refused.values["error"]["message"]


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_the_history_has_one_entry_of_the_whole_job(
    run: Callable[..., Result], output: str, tmp_path: Path
) -> None:
    """It is written by the run that finishes the job, and once; what only workers know of a run is not in it."""
    history = ("--history", str(tmp_path / "history"))
    for number in range(1, COUNT + 1):
        run(output, *history, "--part", f"{number}/{COUNT}").done()
    assert not (tmp_path / "history").exists()
    for _ in range(2):
        run(output, *history, "--finish").done()
    [(_, [entry])] = read_history(str(tmp_path / "history"))
    assert (entry.units, entry.rows_in, entry.rows_out, entry.state) == (N_UNITS, 330, 330, "done")
    assert entry.rows_per_s is None  # of the parts nobody knows how long they took together
    assert entry.row_sample is None
    assert entry.input_norm is not None


CONTRADICTIONS = [
    (("--scheduler", "tcp://127.0.0.1:1"), "--scheduler and --part 1/3 are both given"),
    (("--cluster", "ssh"), "--cluster and --part 1/3 are both given"),
    (("--adapt", "1:2"), "--adapt and --part 1/3 are both given"),
    (("--dashboard", "127.0.0.1:0"), "--dashboard and --part 1/3 are both given"),
    (("--performance-report", "x.html"), "--performance-report and --part 1/3 are both given"),
    (("--wait-for-workers", "9"), "--wait-for-workers and --part 1/3 are both given"),
    (("--reprocess", "all"), "--reprocess all and --part 1/3 are both given"),
    (("--finish",), "--part 1/3 and --finish are both given"),
]


@pytest.mark.parametrize("output", ["disk"], indirect=True)
@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS)
def test_what_is_not_for_parts_is_refused(
    run: Callable[..., Result], output: str, options: tuple[str, ...], message: str
) -> None:
    """By name, before anything is written."""
    refused = run(output, "--part", "1/3", *options)
    assert refused.code == 2
    assert message in str(refused.values["error"])
    assert OutputFolder(output).job() is None


@pytest.mark.parametrize("output", ["disk"], indirect=True)
@pytest.mark.parametrize("part", ["0/16", "17/16", "3", "a/b", "-1/4"])
def test_what_is_no_part_is_refused(run: Callable[..., Result], output: str, part: str) -> None:
    """The error says how parts are counted."""
    refused = run(output, f"--part={part}")
    assert refused.code == 2
    assert refused.values["error"]["message"] == f"--part: there is no part `{part}`"
    assert "the first is 1/16" in refused.values["error"]["hint"]


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_plan_shows_the_share_of_a_part(
    run: Callable[..., Result], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after the job has begun; the part may come from the environment, as schedulers give it."""
    monkeypatch.setenv("LVM_BATCH_PART", "3/3")
    planned = run(output, "--dry-run").done()["part"]
    assert planned == {
        "part": "3/3",
        "rows": 100,
        "units_done": 0,
        "units": ["a-00002.parquet", "b-00001.parquet"],
    }
    run(output).done()
    assert run(output, "--dry-run").done()["part"] == {**planned, "units_done": 2}


@pytest.mark.parametrize("output", ["disk"], indirect=True)
def test_python_computes_parts_and_finishes_them(
    output: str, data: Path, models: Path, bank: Path, clean: Path, tmp_path: Path
) -> None:
    """With the same settings; what is missing is raised."""
    settings: dict[str, Any] = {
        "output": output,
        "unit_size": "768KB",
        "shadow_rate": 0.1,
        "min_confidence": 1,
        "model": models / "amn.pt",
        "fallback": models / "gru.pt",
        "bank": bank,
        "progress": False,
    }
    part = lvm_batch.run(data, part="1/2", workers=1, **settings)
    assert (part.summary.part.units_done, part.summary.units_done) == (4, 4)
    assert "the same command with --finish in place of --part" in str(part)
    with pytest.raises(LvmBatchError, match="parts to run again: 2/2"):
        lvm_batch.run(data, finish=True, **settings)
    lvm_batch.run(data, part="2/2", workers=1, **settings)
    assert lvm_batch.run(data, finish=True, **settings).summary.is_whole
    assert "--finish" not in str(lvm_batch.run(data, part="2/2", **settings))
    assert_as_whole(output, clean, tmp_path)
