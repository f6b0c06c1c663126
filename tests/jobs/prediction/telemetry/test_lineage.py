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
from lvm_batch.jobs.prediction.telemetry.lineage import dataset_name

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
    (read,) = end["inputs"]
    columns = [(field["name"], field["ordinal_position"]) for field in read["facets"]["schema"]["fields"]]
    assert columns == [("context", 1), ("target", 2)]
    written = {field["name"]: field["type"] for field in output["facets"]["schema"]["fields"]}
    assert "prediction" in written
    assert written["cosine"] == "float"


def test_the_end_says_how_good_the_rows_are(
    run_job: Callable[..., Any], events: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Rows judged, rows with a usable vector, and the gates with their limits, also if one of them fails."""
    contexts, targets = windows()
    contexts = contexts[:20].copy()
    contexts[:3] = np.nan
    write_windows(tmp_path / "in/a.parquet", contexts, targets[:20])
    assert run_job("--max-bad-rows", "0.1").code == 3
    *_, end = events
    (read,) = end["inputs"]
    metrics = read["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], metrics["fileCount"]) == (20, 1)
    assert metrics["columnMetrics"]["context"]["count"] == 17
    bad, fallback = read["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (bad["assertion"], bad["column"], bad["success"]) == ("bad_row_rate", "context", False)
    assert (bad["expected"], bad["actual"]) == ("<= 0.1", "0.15")
    assert (fallback["assertion"], fallback["success"], fallback["severity"]) == (
        "fallback_rate",
        True,
        "warn",
    )


PARENT_RUN = "0190a4c5-6d7e-7000-8000-0123456789ab"


@pytest.mark.parametrize(
    ("parent", "named"),
    [
        (f"airflow/nightly.predict/{PARENT_RUN}", ("airflow", "nightly.predict")),
        (f"https://airflow.example.com/a/nightly/{PARENT_RUN}", ("https://airflow.example.com/a", "nightly")),
        ("airflow/nightly/today", None),
        (PARENT_RUN, None),
    ],
)
def test_a_run_names_the_run_that_started_it(
    run_job: Callable[..., Any],
    events: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    parent: str,
    named: tuple[str, str] | None,
) -> None:
    """The variable is OpenLineage's own; what names no run is a note."""
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", parent)
    result = run_job()
    assert result.code == 0
    assert ("OPENLINEAGE_PARENT_ID is left out" in result.stderr) is (named is None)
    for event in events:
        facet = event["run"]["facets"].get("parent")
        assert (facet and (facet["job"]["namespace"], facet["job"]["name"])) == named
        assert facet is None or facet["run"]["runId"] == PARENT_RUN


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


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("/data/in", ("file", "/data/in")),
        ("file:///data/in", ("file", "/data/in")),
        ("s3://bucket/in/a", ("s3://bucket", "in/a")),
        ("delta:/data/table@7", ("file", "/data/table")),
        ("delta:s3://bucket/table", ("s3://bucket", "table")),
        ("iceberg:local.vectors.windows@12", ("iceberg://local", "vectors.windows")),
    ],
)
def test_a_dataset_has_the_name_that_others_give_it(argument: str, name: tuple[str, str]) -> None:
    """So that a graph of lineage joins what one job writes to what another reads; a version is no other dataset."""
    assert dataset_name(argument) == name
