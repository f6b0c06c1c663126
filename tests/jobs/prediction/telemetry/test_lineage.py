"""A run reports its inputs and outputs to OpenLineage, through the real client over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import windows, write_windows

from lvm_batch.io.output.lock import lock_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("openlineage.client", reason='needs pip install "lvm-batch[openlineage]"')


class _Handler(BaseHTTPRequestHandler):
    """Records the events that are posted."""

    def do_POST(self) -> None:
        self.server.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the server's log out of the tests' output."""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The events that a local server has received."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.events = []  # type: ignore[attr-defined]
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server.events  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def run_job(predict: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run over a small dataset under a job name."""
    contexts, targets = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:20], targets[:20])

    def call(*options: object) -> Any:  # noqa: ANN401
        return predict(tmp_path / "in", "--output", tmp_path / "out", "--openlineage", "nightly", *options)

    return call


def test_a_run_reports_its_inputs_and_outputs(
    run_job: Callable[..., Any], events: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The events at its start and end have one run id; the end has the number of rows."""
    result = run_job()
    assert (result.code, "OpenLineage" in result.stderr) == (0, False)
    start, end = events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert start["job"] == end["job"] == {"namespace": "lvm-batch", "name": "nightly", "facets": {}}
    assert [(one["namespace"], one["name"]) for one in end["inputs"]] == [("file", str(tmp_path / "in"))]
    (output,) = end["outputs"]
    assert (output["namespace"], output["name"]) == ("file", str(tmp_path / "out"))
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"]) == (20, 1)


def test_a_failed_run_reports_its_error(
    run_job: Callable[..., Any], events: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The event holds the error message that the user sees."""
    contexts, _ = windows()
    write_windows(tmp_path / "in/a.parquet", np.full_like(contexts[:20], np.nan))
    result = run_job()
    assert result.code == 3
    start, failed = events
    assert (start["eventType"], failed["eventType"]) == ("START", "FAIL")
    assert failed["run"]["facets"]["errorMessage"]["message"] == result.values["error"]["message"]


def test_a_run_that_never_held_the_output_has_no_lineage(
    run_job: Callable[..., Any], events: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Another run is writing there and reports its own lineage."""
    with lock_output(str(tmp_path / "out")):
        assert run_job().code == 75
    assert events == []


def test_an_unreachable_server_is_one_note(
    run_job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One note says so, and the run does not change."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("lvm_batch.jobs.prediction.telemetry.lineage.TIMEOUT_S", 0.5)
    result = run_job()
    assert result.code == 0
    assert result.stderr.count("OpenLineage event") == 1
