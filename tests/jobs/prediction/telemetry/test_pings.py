"""Pings of a run to a health check; only runs with a ping URL send them."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.check_server import HANG, SECRET, CheckServer, check_server
from support.datasets import windows, write_windows
from support.waiting import HANG_S

from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.prediction.telemetry import pings
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 40


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckServer]:
    """A health check server that no proxy hides; its answers are awaited however long they take."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(pings, "TIMEOUT_S", HANG_S)
    with check_server() as server:
        yield server


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small file of windows."""
    contexts, targets = windows()
    folder = tmp_path_factory.mktemp("pinged") / "in"
    write_windows(folder / "a.parquet", contexts[:N_ROWS], targets[:N_ROWS])
    return folder


@pytest.fixture
def pinged(predict: Callable[..., Any], rows: Path, tmp_path: Path) -> Callable[..., Any]:
    """Call ``run`` over the rows with a ping URL; later options override."""

    def call(url: str, *arguments: object, dataset: Path = rows) -> Any:  # noqa: ANN401
        return predict(dataset, "--output", tmp_path / "out", "--ping-url", url, *arguments)

    return call


def test_a_run_pings_as_it_begins_and_as_it_succeeds(pinged: Callable[..., Any], check: CheckServer) -> None:
    """Both pings have the run's id; the second holds the run's result. A rerun has its own id."""
    result = pinged(check.url)
    assert (result.code, result.stderr.count("the ping ")) == (0, 0)
    began, done = check.pings
    assert (began.event, done.event) == ("start", "")
    assert began.query == done.query
    assert set(began.query) == {"rid"}
    assert began.content_type == "application/json"
    job_id = result.values["job_id"]
    assert {name: began.body[name] for name in ("job_id", "rows")} == {"job_id": job_id, "rows": N_ROWS}
    assert done.body == {
        "version": began.body["version"],
        "job_id": job_id,
        "rows": N_ROWS,
        "routes": result.values["rows_by_route"],
        "failed_units": 0,
        "seconds": result.values["wall_s"],
        "exit_code": 0,
    }
    assert pinged(check.url).code == 0
    assert check.events == ["start", "", "start", ""]
    assert check.pings[2].query == check.pings[3].query != began.query


def test_a_dry_run_sends_no_ping(
    lvm_batch: Callable[..., Any], rows: Path, models: Path, tmp_path: Path, check: CheckServer
) -> None:
    """A dry run sends no ping at all."""
    where = ("--output", tmp_path / "out", "--model", models / "amn.pt", "--ping-url", check.url)
    assert lvm_batch("run", rows, *where, "--dry-run").code == 0
    assert check.pings == []


def _some_files_broken(folder: Path) -> tuple[object, ...]:
    (folder / "b.parquet").write_bytes(b"PAR1 is all that is left of it")
    return ("--on-bad-file", "skip")


def _rows_broken(folder: Path) -> tuple[object, ...]:
    write_windows(folder / "b.parquet", np.full((9, 5, 768), np.nan, np.float32))
    return ()


@pytest.mark.parametrize(
    ("breaks", "code", "kind", "events"),
    [
        (_some_files_broken, 1, "units_failed", ["start", "fail"]),
        (_rows_broken, 3, "gate", ["start", "fail"]),
        (lambda _: ("--bank", "no-such-bank"), 2, "unreadable_file", ["fail"]),
        (lambda _: ("--model", "no-such-model.pt", "--bank", "no-such-bank"), 2, "settings", ["fail"]),
    ],
)
def test_a_fail_ping_has_the_error_that_the_user_sees(
    pinged: Callable[..., Any],
    rows: Path,
    tmp_path: Path,
    check: CheckServer,
    *,
    breaks: Callable[[Path], tuple[object, ...]],
    code: int,
    kind: str,
    events: list[str],
) -> None:
    """The ping has the command's exit code and error; a failure before work begins has no start ping."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.parquet").write_bytes((rows / "a.parquet").read_bytes())
    result = pinged(check.url, *breaks(folder), dataset=folder)
    assert result.code == code
    assert check.events == events
    body = check.pings[-1].body
    assert body["exit_code"] == code
    assert {name: body["error"][name] for name in ("kind", "message", "hint")} == {
        name: result.values["error"][name] for name in ("kind", "message", "hint")
    }
    assert body["error"]["kind"] == kind
    assert body["error"].get("problems") == result.values["error"].get("problems")


def test_a_run_that_finds_another_at_work_is_logged_and_does_not_start(
    pinged: Callable[..., Any], tmp_path: Path, check: CheckServer
) -> None:
    """A start ping would make the check wait for this run in place of the running one."""
    with lock_output(str(tmp_path / "out")):
        assert pinged(check.url).code == 75
    assert check.events == ["log"]
    assert check.pings[0].body["error"]["kind"] == "locked"


def test_an_unreachable_scheduler_is_a_log_ping(
    pinged: Callable[..., Any], check: CheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command works later: nothing has failed, and the check still waits for the success."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr("lvm_batch.jobs.clusters.scheduler.Scheduler.wait_s", 0.3)
    assert pinged(check.url, "--scheduler", f"tcp://127.0.0.1:{port}").code == 75
    assert check.events == ["start", "log"]
    assert check.pings[1].body["exit_code"] == 75


def test_a_bug_sends_a_ping_and_no_traceback_has_the_address(
    pinged: Callable[..., Any], check: CheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error exits with 70, and the ping has its type and text."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of it")

    monkeypatch.setattr("lvm_batch.jobs.prediction.run.check_memory", broken)
    result = pinged(check.url, "--verbose")
    assert result.code == 70
    assert check.events == ["fail"]
    assert check.pings[0].body["error"]["message"] == "ZeroDivisionError: nobody thought of it"
    assert "Traceback" in result.stderr
    assert SECRET not in result.stderr + str(result.values)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_sends_a_fail_ping(
    pinged: Callable[..., Any], check: CheckServer, number: signal.Signals, code: int
) -> None:
    """A signal sends a fail ping with the run's id."""
    check.on_ping = lambda event: os.kill(os.getpid(), number) if event == "start" else None
    result = pinged(check.url)
    assert result.code == code
    assert check.events == ["start", "fail"]
    assert check.pings[0].query == check.pings[1].query
    assert check.pings[1].body["exit_code"] == code
    assert check.pings[1].body["error"]["kind"] == "interrupted"


def test_a_run_that_is_stopped_while_it_is_planned_sends_a_fail_ping(
    pinged: Callable[..., Any], check: CheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends a fail ping without a start ping, since work has not begun."""

    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("lvm_batch.jobs.prediction.planning.plan.make_plan", stopped)
    assert pinged(check.url).code == 143
    assert check.events == ["fail"]
    assert check.pings[0].body["exit_code"] == 143


@pytest.mark.parametrize(
    ("answer", "tries", "why"),
    [
        (500, 2, "the server answered 500"),
        (404, 1, "the server answered 404"),
        (HANG, 2, "no answer within 0.4 s"),
    ],
)
def test_a_ping_that_goes_wrong_is_one_note(
    pinged: Callable[..., Any],
    check: CheckServer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: int,
    tries: int,
    why: str,
) -> None:
    """A ping is retried if that may help; the run ends as usual; the note quotes nothing of the server's."""
    if answer == HANG:
        monkeypatch.setattr(pings, "TIMEOUT_S", 0.4)
    monkeypatch.setattr(pings, "_PAUSE_S", 0.05)
    check.answer = answer
    result = pinged(check.url)
    assert result.code == 0
    assert check.events == ["start"] * tries + [""] * tries
    (note,) = [line for line in result.stderr.splitlines() if "the ping" in line]
    assert note == f"the ping start was not delivered: {why}"
    assert SECRET not in result.stderr


def test_an_unreachable_address_changes_nothing(
    pinged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run keeps its exit code, and one note says why the ping failed."""
    monkeypatch.setattr(pings, "_PAUSE_S", 0.05)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = pinged(f"http://127.0.0.1:{port}/{SECRET}", "--max-bad-rows", "0")
    assert result.code == 0
    (note,) = [line for line in result.stderr.splitlines() if "the ping" in line]
    assert note == "the ping start was not delivered: Connection refused"


def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then would keep urllib's own timeout from expiring."""
    monkeypatch.setattr(pings, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(pings, "TRIES", 1)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(HANG_S)
        import threading

        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.05):
                    connection.send(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert (
                pings._sent(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}") == "no answer within 0.3 s"
            )
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize(
    ("url", "event", "address"),
    [
        ("https://hc-ping.com/key/slug", "start", "https://hc-ping.com/key/slug/start?rid=7"),
        ("https://hc-ping.com/key/slug/", None, "https://hc-ping.com/key/slug?rid=7"),
        ("http://h:8000/p/u?create=1", "fail", "http://h:8000/p/u/fail?create=1&rid=7"),
    ],
)
def test_events_go_before_the_query(url: str, event: str | None, address: str) -> None:
    """An address may end with a slash, and may have a query, which every ping keeps."""
    assert pings._address(url, event, 7) == address


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ("flag", "hc-ping.com/{}"),
        ("flag", "ftp://h/{}"),
        ("flag", "file:///{}"),
        ("flag", "http:///{}"),
        ("flag", "http://me:{}@h/"),
        ("flag", "http://h:x/{}"),
        ("flag", "http://h/{} "),
        ("environment", "hc-ping.com/{}"),
        ("file", "hc-ping.com/{}"),
    ],
)
def test_a_wrong_address_is_refused_without_showing_it(
    pinged: Callable[..., Any],
    lvm_batch: Callable[..., Any],
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    url: str,
    where: str,
) -> None:
    """The error says only where the address was given and what an address looks like."""
    wrong, flags = url.format(SECRET), ()
    match where:
        case "flag":
            flags = ("--ping-url", wrong)
        case "environment":
            monkeypatch.setenv("LVM_BATCH_PING_URL", wrong)
        case "file":
            (tmp_path / "job.toml").write_text(f'ping-url = "{wrong}"\n')
            flags = ("--config", tmp_path / "job.toml")
    result = lvm_batch("run", rows, "--output", tmp_path / "out", *flags, "--verbose")
    assert result.code == 2
    assert "secret, not shown" in result.values["error"]["message"]
    assert "https://hc-ping.com/UUID" in result.values["error"]["hint"]
    assert SECRET not in result.stderr + str(result.values)


def test_the_address_is_written_nowhere(
    lvm_batch: Callable[..., Any],
    models: Path,
    scheduler: str,
    rows: Path,
    tmp_path: Path,
    check: CheckServer,
) -> None:
    """No file of the output or the history holds it: not job, summary and report, nor events and records."""
    places = ("--output", tmp_path / "out", "--history", tmp_path / "history")
    run_with = ("--model", models / "amn.pt", "--scheduler", scheduler, "--ping-url", check.url, "--verbose")
    result = lvm_batch("run", rows, *places, *run_with)
    assert result.code == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert names >= {"job.json", "summary.json", "report.html", "events.jsonl", "_SUCCESS"}
    assert any("history" in str(path.parent) for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in result.stderr + str(result.values)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_config_show_says_that_an_address_is_set_and_not_which(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]
) -> None:
    """The printed file is valid for --config: the secret appears as a comment."""
    monkeypatch.setenv("LVM_BATCH_PING_URL", f"https://hc-ping.com/{SECRET}")
    assert main(["config", "show", *options]) == 0
    shown = capsys.readouterr().out
    assert SECRET not in shown
    assert "ping_url" in shown
    if "--json" not in options:
        assert "# ping_url is set, but not shown" in shown
        (tmp_path / "job.toml").write_text(shown)
        assert main(["config", "show", "--config", str(tmp_path / "job.toml")]) == 0


def test_settings_do_not_show_the_address() -> None:
    """The address is neither printed nor dumped, so that no log or crash report contains it by accident."""
    settings = RunSettings(ping_url=f"https://hc-ping.com/{SECRET}")
    assert settings.ping_url.get_secret_value().endswith(SECRET)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
