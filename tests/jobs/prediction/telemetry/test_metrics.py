"""Figures for Prometheus: the file of a run, the workers' pages, and Dask's own dashboard and report."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import pytest
from support.datasets import windows, write_windows
from support.waiting import HANG_S

from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.clusters.backend import LocalWorkers
from lvm_batch.jobs.clusters.dashboard import dask_pages
from lvm_batch.jobs.errors import GateFailed, MissingExtra, Terminated
from lvm_batch.jobs.prediction.observers import RunOutcome, report_failures
from lvm_batch.jobs.prediction.results.summary import Summary
from lvm_batch.jobs.prediction.telemetry.metrics import Metrics, last_success
from lvm_batch.jobs.processes.forkserver import METHOD, PRELOAD, start_forkserver
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import Client

pytestmark = pytest.mark.slow

pytest.importorskip("prometheus_client", reason='pip install "lvm-batch[metrics]"')

N_ROWS = 120


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 60 windows, in_dist and ood; one row is NaN."""
    contexts, targets = (part[:N_ROWS].copy() for part in windows())
    contexts[7, 0, 0] = np.nan
    folder = tmp_path_factory.mktemp("dataset") / "in"
    for shard in range(2):
        rows = slice(60 * shard, 60 * (shard + 1))
        columns = {"split": [("in_dist", "ood")[shard]] * 60}
        write_windows(folder / f"{shard}.parquet", contexts[rows], targets[rows], columns=columns)
    return folder


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample of a page by its name and label values, without ``output``."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, *(value for name, value in sample.labels.items() if name != "output")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_file_has_the_figures_of_the_summary(
    predict: Callable[..., Any], dataset: Path, tmp_path: Path
) -> None:
    """Counts, fractions and means equal the summary's; every sample is a gauge."""
    file = tmp_path / "job.prom"
    before = time.time()
    result = predict(dataset, "--output", tmp_path / "out", "--since", "2000-01-01", "--metrics-file", file)
    figures, summary = samples(file.read_text()), result.values
    assert result.code == 0
    for route, rows in summary["rows_by_route"].items():
        assert figures["lvm_batch_rows_by_route", route] == rows
    assert figures["lvm_batch_rows_by_status", "bad_input"] == 1
    assert (
        figures["lvm_batch_rows_by_reason", "low_confidence"] == summary["rows_by_reason"]["low_confidence"]
    )
    assert figures["lvm_batch_bad_rows_ratio",] == pytest.approx(1 / N_ROWS)
    assert figures["lvm_batch_fallback_ratio",] == summary["fallback_rate"]
    assert figures["lvm_batch_cosine_mean",] == pytest.approx(summary["cosine"]["mean"])
    for split, figure in summary["cosine_by_split"].items():
        assert figures["lvm_batch_cosine_mean_by_split", split] == pytest.approx(figure["mean"])
    assert figures["lvm_batch_cosine_mean_by_route", "amn"] == summary["cosine_by_route"]["amn"]["mean"]
    assert figures["lvm_batch_part_duration_seconds", "amn"] == summary["seconds"]["amn"]
    for gauge, value in {
        "units": 2,
        "units_done": 2,
        "units_computed": 2,
        "units_failed": 0,
        "rows": N_ROWS,
    }.items():
        assert figures[f"lvm_batch_{gauge}",] == value
    assert figures["lvm_batch_run_rows_per_second",] == pytest.approx(N_ROWS / summary["wall_s"])
    assert figures["lvm_batch_run_info", summary["job_id"], "done", summary_version()] == 1
    assert figures["lvm_batch_selected_rows",] == N_ROWS
    assert figures["lvm_batch_selected_bad_rows_ratio",] == figures["lvm_batch_bad_rows_ratio",]
    assert figures["lvm_batch_run_exit_code",] == 0
    assert before <= figures["lvm_batch_last_success_timestamp_seconds",] <= time.time()
    assert figures["lvm_batch_run_timestamp_seconds",] == figures["lvm_batch_last_success_timestamp_seconds",]


def summary_version() -> str:
    """The version of this package."""
    from importlib.metadata import version

    return version("lvm-batch")


def test_a_file_is_as_prometheus_wants_it(predict: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    """Each gauge has HELP and TYPE once, no name looks like a counter's, and each sample names the output."""
    (tmp_path / "prom").mkdir()
    predict(dataset, "--output", tmp_path / "out", "--metrics-file", tmp_path / "prom/job.prom").done()
    lines = (tmp_path / "prom/job.prom").read_text().splitlines()
    helped = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    typed = [line.split()[2:] for line in lines if line.startswith("# TYPE ")]
    sampled = [line for line in lines if not line.startswith("#")]
    assert typed == [[name, "gauge"] for name in helped]
    assert len(set(helped)) == len(helped)
    assert {line.split("{")[0] for line in sampled} == set(helped)
    assert all(re.fullmatch(r"lvm_batch_[a-z]+(_[a-z]+)*", name) and "_total" not in name for name in helped)
    assert all(f'output="{tmp_path / "out"}"' in line for line in sampled)
    assert [path.name for path in (tmp_path / "prom").iterdir()] == ["job.prom"]


@pytest.mark.parametrize("trouble", ["gate", "unit", "input", "locked"])
def test_a_failed_run_writes_its_exit_code_and_keeps_the_last_success(
    predict: Callable[..., Any], dataset: Path, tmp_path: Path, trouble: str
) -> None:
    """The exit code is written however a run ends, and the time of the last success is kept."""
    file, out = tmp_path / "job.prom", tmp_path / "out"
    file.write_text('lvm_batch_last_success_timestamp_seconds{output="/elsewhere"} 1.5e9\n')
    options: list[object] = [dataset, "--output", out, "--metrics-file", file]
    if trouble == "locked":
        with lock_output(str(out), on_wait=lambda _: None):
            code = predict(*options).code
    elif trouble == "input":
        code = predict(tmp_path / "nowhere", *options[1:]).code
    elif trouble == "unit":
        broken = write_windows(tmp_path / "in/a.parquet", windows()[0][:60])
        content = bytearray(broken.read_bytes())
        content[1000:100_000] = bytes(99_000)
        broken.write_bytes(content)
        code = predict(broken, *options[1:]).code
    else:
        code = predict(*options, "--max-bad-rows", 0).code
    figures = samples(file.read_text())
    assert (code, figures["lvm_batch_run_exit_code",]) == (
        {"gate": 3, "unit": 1, "input": 2, "locked": 75}[trouble],
        code,
    )
    assert figures["lvm_batch_last_success_timestamp_seconds",] == 1.5e9
    assert figures["lvm_batch_run_timestamp_seconds",] > 1.5e9
    assert (("lvm_batch_rows",) in figures) == (trouble in {"gate", "unit"})
    assert figures.get(("lvm_batch_units_failed",), 1.0) == (trouble != "gate")


@pytest.mark.parametrize(
    ("ending", "code", "kind"),
    [
        (Terminated("stopped"), 143, "interrupted"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (GateFailed("too many"), 3, "gate"),
        (ZeroDivisionError(), 70, "bug"),
        (MissingExtra("--openlineage needs openlineage"), 2, "missing_extra"),
    ],
)
def test_every_ending_is_recorded(ending: BaseException, code: int, kind: str, tmp_path: Path) -> None:
    """Signals and bugs are recorded, too; before the first success its time is 0."""
    settings = RunSettings(output=str(tmp_path / "out"), metrics_file=str(tmp_path / "m.prom"))
    started = time.monotonic() - 5
    metrics = Metrics(settings, started=started, tell=pytest.fail)
    with pytest.raises(type(ending)), report_failures([metrics]):
        raise ending
    figures = samples((tmp_path / "m.prom").read_text())
    assert figures["lvm_batch_run_exit_code",] == code
    assert figures["lvm_batch_run_info", "", kind, summary_version()] == 1
    assert figures["lvm_batch_last_success_timestamp_seconds",] == 0
    assert 5 <= figures["lvm_batch_run_duration_seconds",] <= time.monotonic() - started


def test_an_invalid_former_file_is_replaced(
    predict: Callable[..., Any], dataset: Path, tmp_path: Path
) -> None:
    """Without a known last success its time is 0, and the next run writes its own."""
    summary = Summary.from_json(predict(dataset, "--output", tmp_path / "out").done())
    file = tmp_path / "m.prom"
    metrics = Metrics(
        RunSettings(output="o", metrics_file=str(file)), started=time.monotonic(), tell=pytest.fail
    )
    for former in (b"\xff\xfe", b"lvm_batch_last_success_timestamp_seconds oops\n", b'{a="', b""):
        file.write_bytes(former)
        assert last_success(file) == 0
        metrics.conclude(RunOutcome(summary, "", None))
        assert last_success(file) > 1e9


@pytest.mark.parametrize("where", ["nowhere/job.prom", ""])
def test_a_file_that_cannot_be_written_changes_nothing(
    predict: Callable[..., Any], dataset: Path, tmp_path: Path, where: str
) -> None:
    """The run succeeds all the same, and one note says what is missing."""
    result = predict(dataset, "--output", tmp_path / "out", "--metrics-file", tmp_path / where)
    assert result.code == 0
    assert result.stderr.count("the metrics file") == 1
    assert (tmp_path / "out/_SUCCESS").exists()
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith(f"{tmp_path.name}.")]


def test_a_file_that_node_exporter_ignores_is_a_note(tmp_path: Path) -> None:
    """Its text file collector reads only `*.prom`."""
    notes: list[str] = []
    settings = RunSettings(output="o", metrics_file=str(tmp_path / "metrics.txt"))
    Metrics(settings, started=time.monotonic(), tell=notes.append).fail(Terminated("stopped"))
    assert len(notes) == 1
    assert ".prom" in notes[0]


@pytest.mark.parametrize(
    ("option", "package", "extra"),
    [
        ("--metrics-file", "prometheus_client", "metrics"),
        ("--dashboard", "bokeh", "dashboard"),
        ("--performance-report", "bokeh", "dashboard"),
    ],
)
def test_a_missing_extra_is_named_before_any_work(
    lvm_batch: Callable[..., Any],
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    package: str,
    extra: str,
) -> None:
    """The error holds the command that installs it, and nothing is written."""
    monkeypatch.setitem(sys.modules, package, None)
    result = lvm_batch("run", dataset, "--output", tmp_path / "out", option, "127.0.0.1:0")
    assert (result.code, result.values["error"]["kind"]) == (2, "missing_extra")
    assert result.values["error"]["hint"] == f'pip install "lvm-batch[{extra}]"'
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address", ["8787x", "host", "127.0.0.1:65536", "127.0.0.1:-1", "", "a b:1 ", "203.0.113.1:0"]
)
def test_a_dashboard_needs_an_address_of_this_machine(
    lvm_batch: Callable[..., Any], dataset: Path, tmp_path: Path, address: str
) -> None:
    """An invalid address, or one on another machine, is refused before any work."""
    pytest.importorskip("bokeh", reason='pip install "lvm-batch[dashboard]"')
    result = lvm_batch("run", dataset, "--output", tmp_path / "out", "--dashboard", address)
    assert result.code == 2
    assert "--dashboard" in result.values["error"]["message"]
    assert not list(tmp_path.iterdir())


def test_without_a_host_the_dashboard_is_for_this_machine_only() -> None:
    """A port alone does not open the page to the network."""
    assert RunSettings(dashboard=":8787").dashboard == "127.0.0.1:8787"
    assert RunSettings(dashboard="8787").dashboard == "127.0.0.1:8787"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A local cluster of one worker process, with the dashboard, as a run starts it."""
    pytest.importorskip("bokeh", reason='pip install "lvm-batch[dashboard]"')
    from lvm_batch.jobs.clusters.local import local_cluster

    start_forkserver()
    workers = LocalWorkers(1, method=METHOD, preload=(PRELOAD,))
    with local_cluster(workers, dashboard="127.0.0.1:0", profile=True) as cluster:
        yield cluster


def page(url: str) -> str:
    """The body that a server returns."""
    with urlopen(url, timeout=HANG_S) as answer:  # noqa: S310 - the address of a server that the test started
        assert answer.status == 200
        return answer.read().decode()


def worker_page(client: Client) -> str:
    """The address of the only worker's metrics, beside Dask's own."""
    (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
    return f"http://{worker['host']}:{worker['services']['dashboard']}/metrics"


def test_a_worker_counts_what_it_does(
    predict: Callable[..., Any], client: Client, dataset: Path, tmp_path: Path
) -> None:
    """The worker's Dask page counts rows, units and seconds; a unit that was already done is not counted."""
    options = (dataset, "--output", tmp_path / "out", "--scheduler", client.scheduler.address)
    result = predict(*options)
    predict(*options).done()
    text = page(worker_page(client))
    figures = samples(text)
    assert figures["lvm_batch_worker_units_computed_total",] == 2
    assert figures["lvm_batch_worker_unit_duration_seconds_count",] == 2
    assert figures["lvm_batch_worker_rows_by_route_total", "amn"] == result.values["rows_by_route"]["amn"]
    assert figures["lvm_batch_worker_rows_by_status_total", "bad_input"] == 1
    assert figures["lvm_batch_worker_part_seconds_total", "amn"] == pytest.approx(
        result.values["seconds"]["amn"], abs=0.001
    )
    assert 0 < figures["lvm_batch_worker_unit_duration_seconds_sum",] < result.values["wall_s"]
    assert "dask_worker_threads" in text

    (tmp_path / "out/_lvm_batch/tmp").rmdir()
    (tmp_path / "out/_lvm_batch/done/0-00000.parquet.json").unlink()
    (tmp_path / "out/0-00000.parquet").unlink()
    (tmp_path / "out/0-00000.parquet").mkdir()  # replaces a file to be published
    assert predict(*options).code == 1
    figures = samples(page(worker_page(client)))
    assert (
        sum(value for key, value in figures.items() if key[0] == "lvm_batch_worker_units_failed_total") == 1
    )


def bokeh_page(status: str) -> str:
    """A page that exists only with bokeh, beside the one at ``status``."""
    assert page(status)
    return page(status.replace("/status", "/individual-task-stream"))


def test_the_dashboard_is_where_the_note_says(client: Client) -> None:
    """While the cluster computes, the page is served at the address in the note."""
    notes: list[str] = []
    with dask_pages(client, RunSettings(dashboard="127.0.0.1:0"), tell=notes.append):
        assert bokeh_page(notes[0].removeprefix("dashboard: "))


def test_a_given_scheduler_has_its_own_dashboard(client: Client) -> None:
    """With --scheduler the note gives the address of that scheduler's dashboard."""
    notes: list[str] = []
    settings = RunSettings(dashboard="127.0.0.1:1", scheduler=client.scheduler.address)
    with dask_pages(client, settings, tell=notes.append):
        pass
    assert bokeh_page(notes[0].removeprefix("dashboard: ").partition(",")[0])


def test_a_performance_report_is_one_file(
    predict: Callable[..., Any], client: Client, dataset: Path, tmp_path: Path
) -> None:
    """It shows the run's tasks and loads no scripts; if it cannot be written, the run ends as usual."""
    options = (dataset, "--scheduler", client.scheduler.address)
    report = tmp_path / "report.html"
    assert predict(*options, "--output", tmp_path / "a", "--performance-report", report).code == 0
    text = report.read_text()
    assert "number of tasks: 2" in text
    assert not re.search(r"<script[^>]* src=|<link[^>]* rel=.stylesheet", text)
    result = predict(*options, "--output", tmp_path / "b", "--performance-report", tmp_path)
    assert result.code == 0
    assert "the performance report" in result.stderr
    assert json.loads((tmp_path / "b/_SUCCESS").read_text())["units"] == 2
