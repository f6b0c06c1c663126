"""A run sends its spans to OpenTelemetry, through the real SDK over HTTP."""

from __future__ import annotations

import threading
from collections import defaultdict
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

for package in ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.proto"):
    pytest.importorskip(package, reason='needs pip install "lvm-batch[opentelemetry]"')

_ERROR = 2  # the code of a status in OpenTelemetry's protocol


class Collector(ThreadingHTTPServer):
    """Keeps the spans that are posted, by name, and the service that they are of."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: defaultdict[str, list[Any]] = defaultdict(list)
        self.services: set[str] = set()
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in body.resource_spans:
            self.server.services.add(named(resource.resource)["service.name"])
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.server.spans[span.name].append(span)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the server's log out of the tests' output."""


def named(of: Any) -> dict[str, Any]:  # noqa: ANN401 - a message of the protocol
    """The attributes of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector on this machine, which the environment names."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("TRACEPARENT", raising=False)
    with Collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server
        server.shutdown()


@pytest.fixture
def run_job(predict: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run over two units under the name of a service."""
    contexts, targets = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:20], targets[:20], row_group_rows=10)
    given = ("--unit-size", "1", "--opentelemetry", "nightly")

    def call(*options: object) -> Any:  # noqa: ANN401
        return predict(tmp_path / "in", "--output", tmp_path / "out", *given, *options)

    return call


def test_a_run_and_its_units_are_spans(
    run_job: Callable[..., Any], collector: Collector, tmp_path: Path
) -> None:
    """Units are within the run, and last as long as their parts took; a second run has nothing to compute."""
    result = run_job()
    assert (result.code, "OpenTelemetry" in result.stderr) == (0, False)
    (run,), units = collector.spans["run"], collector.spans["unit"]
    assert collector.services == {"nightly"}
    assert named(run) | {"lvm_batch.units_done": 2, "lvm_batch.rows_out": 20} == named(run)
    assert named(run)["lvm_batch.job_id"] == result.values["job_id"]
    assert named(run)["lvm_batch.output"] == str(tmp_path / "out")
    assert run.status.code != _ERROR
    assert {unit.parent_span_id for unit in units} == {run.span_id}
    assert [named(unit)["lvm_batch.rows"] for unit in units] == [10, 10]
    for unit in units:
        parts = [took for name, took in named(unit).items() if name.startswith("lvm_batch.seconds.")]
        assert (unit.end_time_unix_nano - unit.start_time_unix_nano) / 1e9 == pytest.approx(
            sum(parts), abs=1e-3
        )
    run_job()
    assert (len(collector.spans["run"]), len(collector.spans["unit"])) == (2, 2)


@pytest.mark.parametrize(
    ("parent", "is_known"),
    [("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True), ("tonight", False), ("", False)],
)
def test_a_run_is_within_the_span_that_the_environment_names(
    run_job: Callable[..., Any],
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    parent: str,
    *,
    is_known: bool,
) -> None:
    """What names no span is a note; an empty variable is as none."""
    monkeypatch.setenv("TRACEPARENT", parent)
    result = run_job()
    (run,) = collector.spans["run"]
    assert run.parent_span_id.hex() == ("b7ad6b7169203331" if is_known else "")
    assert ("TRACEPARENT is left out" in result.stderr) is (parent == "tonight")


def test_a_failed_run_has_its_error(
    run_job: Callable[..., Any], collector: Collector, tmp_path: Path
) -> None:
    """The status holds the message that the user sees."""
    contexts, _ = windows()
    write_windows(tmp_path / "in/a.parquet", np.full_like(contexts[:20], np.nan))
    result = run_job()
    assert result.code == 3
    (run,) = collector.spans["run"]
    assert (run.status.code, run.status.message) == (_ERROR, result.values["error"]["message"])


def test_a_run_that_never_held_the_output_has_no_span(
    run_job: Callable[..., Any], collector: Collector, tmp_path: Path
) -> None:
    """Another run is writing there and has its own."""
    with lock_output(str(tmp_path / "out")):
        assert run_job().code == 75
    assert not collector.spans


def test_spans_that_are_refused_are_one_note(run_job: Callable[..., Any], collector: Collector) -> None:
    """The note has the collector's reason, and the run does not change."""
    collector.status = 401
    result = run_job()
    assert result.code == 0
    assert result.stderr.count("spans for OpenTelemetry may not have arrived") == 1
    assert "401" in result.stderr


@pytest.mark.parametrize(
    ("name", "note", "n_runs"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "no spans are sent to OpenTelemetry: ValueError", 0),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "spans for OpenTelemetry may not have arrived: Unsupported", 1),
    ],
)
def test_settings_that_opentelemetry_cannot_use_are_one_note(
    run_job: Callable[..., Any],
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    note: str,
    n_runs: int,
) -> None:
    """Whether its SDK raises an error or goes on without them, the run does not change."""
    monkeypatch.setenv(name, "nonsense")
    result = run_job()
    assert result.code == 0
    assert result.stderr.count(note) == 1
    assert len(collector.spans["run"]) == n_runs
