"""Standard error as JSON, and no credentials in anything that a run prints or writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import windows, write_windows
from support.documents import record_of

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.prediction.execution import worker
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.results.events import RunEnded, RunStarted, UnitDone, UnitFailed
from lvm_batch.jobs.prediction.telemetry.progress import ProgressRecords, progress_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

SECRETS = ("oursecret", "ourtoken")
WITH_SECRETS = "s3://ouruser:oursecret@bucket/history?token=ourtoken"


def lines(text: str) -> list[dict[str, Any]]:
    """The objects on stderr; every line must be one, with the common fields."""
    objects = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    for line in objects:
        assert {"at", "level", "message"} <= line.keys()
        assert datetime.fromisoformat(line["at"]).tzinfo == UTC
    return objects


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, list[dict[str, Any]]]]:
    """Call the command in this process; return its exit code, stdout, and the objects on stderr."""

    def run_command(*arguments: object) -> tuple[int, str, list[dict[str, Any]]]:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, lines(captured.err)

    return run_command


def error_in(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The one error; libraries may log something else on threads of their own."""
    (error,) = (line for line in lines if line["level"] == "error")
    return error


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["status", "nowhere"], "not_found", 2),
        (["sttus"], "usage", 2),
        (["run", "--no-such-option"], "usage", 2),
        (["run", "--workers", "many"], "settings", 2),
    ],
)
@pytest.mark.parametrize("flag", [["--log-format", "json"], ["--log-format=json"], "variable"])
def test_an_error_is_an_object(
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    kind: str,
    code: int,
    flag: list[str] | str,
) -> None:
    """Kind and hint are fields, also if the command line cannot be parsed; stdout stays empty."""
    if isinstance(flag, str):
        monkeypatch.setenv("LVM_BATCH_LOG_FORMAT", "json")
        flag = []
    ended, out, lines = call(*arguments, *flag)
    error = error_in(lines)
    assert (ended, out, error["level"], error["kind"]) == (code, "", "error", kind)
    assert error["message"]
    assert error["hint"]
    assert "traceback" not in error


def test_every_problem_is_a_field(call: Callable[..., Any]) -> None:
    """One object holds all problems."""
    _, _, lines = call("run", "--workers", "many", "--pad", "much", "--log-format", "json")
    error = error_in(lines)
    assert error["n_problems"] == len(error["problems"]) == 4
    assert all(problem["message"] and problem["hint"] for problem in error["problems"])


def test_a_traceback_is_a_field(call: Callable[..., Any]) -> None:
    """With --verbose the traceback is a field of the error's object."""
    error = error_in(call("status", "nowhere", "-v", "--log-format", "json")[2])
    assert error["traceback"].startswith("Traceback")


def test_the_result_goes_to_stdout_in_its_own_form(call: Callable[..., Any]) -> None:
    """--json is about stdout: with both, an error appears on both, and a result on stdout only."""
    _, out, lines = call("status", "nowhere", "--json", "--log-format", "json")
    error = error_in(lines)
    assert json.loads(out)["error"]["kind"] == error["kind"]
    code, out, records = call("config", "show", "--json", "--log-format", "json")
    assert (code, records) == (0, [])
    assert json.loads(out)["settings"]


def test_the_flag_wins_over_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A format that does not exist is refused as text, wherever it was given."""
    monkeypatch.setenv("LVM_BATCH_LOG_FORMAT", "json")
    assert main(["status", "nowhere", "--log-format", "text"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere")
    monkeypatch.setenv("LVM_BATCH_LOG_FORMAT", "xml")
    assert main(["status", "nowhere"]) == 2
    assert "'xml' is not one of 'text', 'json'" in capsys.readouterr().err
    monkeypatch.setenv("LVM_BATCH_LOG_FORMAT", "")
    assert main(["config", "show"]) == 0
    assert main(["status", "--", "--log-format=json"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_name_with_control_characters_stays_in_its_line(call: Callable[..., Any]) -> None:
    """Whatever a name holds, a line is one object without control characters."""
    name = "a\n\x1b[31m\x9b\u2028\u202e\ud800b"
    code, _, (error,) = call("status", name, "--log-format", "json")
    assert code == 2
    assert "b" in error["message"]


def test_a_run_logs_its_beginning_its_failures_and_its_end(
    call: Callable[..., Any], models: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event has its fields; a warning has its level; there is no progress bar."""
    compute = worker._compute

    def troubled(job: Any, unit: Any, folder: Any) -> Any:  # noqa: ANN401 - the worker's own
        if unit.output == "b-00000.parquet":
            raise ZeroDivisionError("no such luck")
        return compute(job, unit, folder)

    monkeypatch.setattr(worker, "_compute", troubled)
    for name in "ab":
        write_windows(tmp_path / f"in/{name}.parquet", windows()[0][:20])
    code, out, records = call(
        "run", tmp_path / "in", "--output", tmp_path / "out", "--model", models / "amn.pt",
        "--fallback", models / "gru.pt", "--scheduler", scheduler, "--max-context-tokens", 0,
        "--max-fallback-rate", 0, "--shadow-rate", 0, "--log-format", "json",
    )  # fmt: skip
    events = {line["event"]: line for line in records if "event" in line}
    assert code == 1
    assert "rows" in out
    assert events["run_started"]["units"] == 2
    assert events["run_started"]["rows"] == 40
    failed = events["unit_failed"]
    assert (failed["level"], failed["kind"], failed["output"]) == ("error", "bug", "b-00000.parquet")
    assert "ZeroDivisionError: no such luck" in failed["traceback"]
    assert failed["worker"]
    ended = events["run_ended"]
    assert (ended["state"], ended["units_done"], ended["units_failed"], ended["rows_done"]) == (
        "finished",
        1,
        1,
        20,
    )
    assert records[-1]["kind"] == "units_failed"


def test_progress_is_logged_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    """A progress line has rows, rate and time left; units are not listed one by one, nor failures without end."""
    console = Console(log_format="json")
    assert isinstance(progress_on(console), ProgressRecords)
    for every_s, expected in ((0, 1), (3600, 0)):
        tell = ProgressRecords(console, every_s=every_s).event
        tell(RunStarted(units=200, rows=1000, units_done=1, rows_done=5, workers=2))
        tell(UnitDone(record_of(output="a", rows_in=5)))
        for number in range(150):
            tell(UnitFailed(Failure(f"{number}", "bug", "broken"), 5))
        tell(RunEnded("finished"))
        records = lines(capsys.readouterr().err)
        progress = [line for line in records if line.get("event") == "progress"]
        assert len(progress) == expected
        assert all(
            (line["rows_done"], line["rows"], line["units_done"]) == (10, 1000, 2) for line in progress
        )
        assert all(line["rows_per_s"] > 0 and line["left_s"] is None for line in progress)  # not known yet
        assert len(records) == 1 + expected + 100 + 1 + 1
        assert records[-1]["units_failed"] == 150


_NOISE = """
import logging, os, subprocess, sys, threading, warnings
from lvm_batch.jobs.console.console import Console

console = Console(log_format="json")
with console.taking_stderr():
    console.note("first", figure=float("nan"), nested={"deep": [1.5, "http://u:p@h/"]})
    warnings.warn("a warning")
    logging.getLogger("some.library").error("logged %s", "text")
    dask = logging.getLogger("distributed.nanny")
    dask.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    dask.addHandler(handler)
    try:
        1 / 0
    except ZeroDivisionError:
        dask.exception("a worker\\nwent away")
    print("printed", file=sys.stderr, flush=True)
    os.write(2, b"from C: \\xff\\x1b[31m\\n")
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('from a child\\\\n' * 5000)"])
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    os.write(2, b"without an end")
    console.note("last")
"""


def test_whatever_writes_to_stderr_arrives_as_json() -> None:
    """Warnings, logs, prints, C code, child processes and threads: each line is an object, and none is lost."""
    done = subprocess.run([sys.executable, "-c", _NOISE], capture_output=True, text=True, check=True)
    records = lines(done.stderr)
    by_logger: dict[str | None, list[dict[str, Any]]] = {}
    for line in records:
        by_logger.setdefault(line.get("logger"), []).append(line)
    ours = by_logger[None]
    assert [line["message"] for line in ours] == ["first", "last"]
    assert (ours[0]["figure"], ours[0]["nested"]) == (None, {"deep": [1.5, "http://***@h/"]})
    assert "UserWarning: a warning" in by_logger["py.warnings"][0]["message"]
    assert by_logger["some.library"][0]["message"] == "logged text"
    (nanny,) = by_logger["distributed.nanny"]
    assert nanny["level"] == "error"
    assert nanny["message"].startswith("a worker\nwent away\nTraceback")
    rest = "\n".join(line["message"] for line in records if "logger" in line).splitlines()
    assert "printed" in rest
    assert "from C: \ufffd\x1b[31m" in rest
    assert rest.count("from a child") == 5000
    assert "ZeroDivisionError: division by zero" in rest
    assert rest[-1] == "without an end"


def test_a_closed_stderr_changes_nothing() -> None:
    """A command whose stderr is closed ends as it would otherwise."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", _NOISE], stderr=write, check=False)
    os.close(write)
    assert done.returncode == 0


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_credentials_appear_in_what_a_run_prints_or_writes(
    models: Path,
    scheduler: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    log_format: str,
) -> None:
    """A user name, a password and a query reach no stream and no file, from a setting or from an error."""
    compute = worker._compute

    def troubled(job: Any, unit: Any, folder: Any) -> Any:  # noqa: ANN401 - the worker's own
        if unit.output == "b-00000.parquet":
            raise ConnectionError(f"nothing at {WITH_SECRETS}")
        if unit.output == "c-00000.parquet":
            raise ZeroDivisionError(f"nothing at {WITH_SECRETS}")
        return compute(job, unit, folder)

    monkeypatch.setattr(worker, "_compute", troubled)
    contexts = windows()[0][:20].copy()
    contexts[3] = np.nan
    for name in "abc":
        write_windows(tmp_path / f"in/{name}.parquet", contexts)
    capfd.readouterr()
    code = main([
        "run", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--model", str(models / "amn.pt"),
        "--fallback", str(models / "gru.pt"), "--scheduler", scheduler, "--max-bad-rows", "1", "-v",
        "--history", WITH_SECRETS, "--metrics-file", str(tmp_path / "m.prom"), "--log-format", log_format,
    ])  # fmt: skip
    streams = capfd.readouterr()
    assert code == 1
    private = tmp_path / "out/_lvm_batch"
    written = {path.name: path.read_bytes() for path in private.rglob("*.*") if path.is_file()}
    written |= {"m.prom": (tmp_path / "m.prom").read_bytes()}
    assert {"job.json", "summary.json", "events.jsonl", "report.html", "m.prom"} <= written.keys()
    for name, text in {**written, "out": streams.out.encode(), "err": streams.err.encode()}.items():
        assert not [secret for secret in (*SECRETS, "ouruser") if secret.encode() in text], name
    assert b"nothing at s3://***@bucket/history?***" in written["events.jsonl"]


@pytest.mark.parametrize("option", ["--scheduler", "--dataset", "--output", "--bank", "--model"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_refusal_shows_no_credentials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, log_format: str
) -> None:
    """The error shows an address without its credentials."""
    path = str(write_windows(tmp_path / "a.parquet", windows()[0][:5]))
    url = WITH_SECRETS.replace("s3", "tcp") if option == "--scheduler" else WITH_SECRETS
    arguments = {"--dataset": path, "--output": str(tmp_path / "out"), option: url}
    dataset = arguments.pop("--dataset")
    options = [part for pair in arguments.items() for part in pair]
    code = main(["run", dataset, *options, "-v", "--log-format", log_format])
    captured = capsys.readouterr()
    assert code in {2, 75}
    for secret in SECRETS:
        assert secret not in captured.err + captured.out
