"""Reports: they are made from the output alone, names in them are only text, and they fail no run."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import buckets
from support.reported import BAD_ROW, FILE, HOSTILE, N_ROWS, make_output

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.lock import lock_output
from lvm_batch.io.storage.store import open_store
from lvm_batch.jobs.plots import COLOURS, figure_svg
from lvm_batch.jobs.prediction.results.summary import Summary
from lvm_batch.jobs.reports import columns as report_columns
from lvm_batch.jobs.reports.columns import read_columns
from lvm_batch.jobs.reports.documents import Event
from lvm_batch.jobs.reports.figures import picture
from lvm_batch.jobs.reports.rates import rates_of
from lvm_batch.jobs.reports.report_writer import write_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    Command = Callable[..., Any]

pytestmark = pytest.mark.slow

REPORT = "_lvm_batch/report.html"


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take most of the time of a report, except for tests that use the fixture ``drawn``."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("lvm_batch.jobs.reports.figures.figure_svg", lambda *_, **__: b"<svg ></svg>")


@pytest.fixture
def drawn() -> None:
    """Figures as a user sees them."""


@pytest.fixture(scope="module")
def finished(models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished output; read-only."""
    return make_output(tmp_path_factory.mktemp("reported"), models, bank, scheduler)


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of the output that a test may change."""
    return shutil.copytree(finished, tmp_path / "out")


class _Read(HTMLParser):
    """The text of a page, its elements, and the targets of its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "data"}:
                self.links.add(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def read(path: Path) -> _Read:
    """Parse a page as a browser would."""
    return _Read(path.read_text(encoding="utf-8"))


def remove_unit(output: Path) -> None:
    """Remove one unit and ``_SUCCESS``, as if the run had not come so far."""
    next(iter(sorted((output / "_lvm_batch/done").iterdir()))).unlink()
    (output / "_SUCCESS").unlink()


def test_a_report_has_the_figures_of_the_summary(output: Path, lvm_batch: Command) -> None:
    """It has rows by route, reason and status, means, bad rows with their places, settings and digests."""
    result = lvm_batch("report", output)
    assert (result.code, result.values["state"], result.values["rows_done"]) == (0, "done", N_ROWS)
    assert result.values["report"] == str(output / REPORT)
    summary = json.loads((output / "_lvm_batch/summary.json").read_text())
    texts = read(output / REPORT).texts
    for count in (*summary["rows_by_route"].values(), *summary["rows_by_reason"].values()):
        assert f"{count:,}" in texts
    assert f"{summary['escalation_gain']['mean']:+.4f}" in texts
    tile = texts.index("Mean cosine")
    assert texts[tile + 1] == f"{summary['cosine']['mean']:.4f}"
    assert texts[tile + 2].startswith("over 239 rows, ")
    assert texts[texts.index("Bad rows") + 1] == "1"
    assert summary["models"]["amn"]["sha256"] in texts
    place = texts.index(str(BAD_ROW))
    assert (texts[place + 1], texts[place + 2].endswith(FILE)) == ("nan", True)
    assert {"min_confidence", "0.098", "shadow_rate"} <= set(texts)
    assert "max_context_tokens" not in texts  # a default
    assert "long_context" in texts  # with the reason why it was not evaluated
    assert "there is no `context_tokens` column" in texts


def test_a_page_begins_with_what_ran_and_how_it_ended(output: Path, lvm_batch: Command) -> None:
    """The title names dataset and output, badges tell the state, and the first section says what escalation did."""
    assert lvm_batch("report", output).code == 0
    texts = [text for text in read(output / REPORT).texts if text]
    title = texts.index("in → out")
    assert texts[title + 1 : title + 3] == ["Done", "3 warnings"]
    answer = texts[texts.index("Did escalation pay?", texts.index("Did escalation pay?") + 1) + 1]
    assert answer.startswith("No. On escalated rows GRU is worse than AMN: -0.0")
    assert texts.index("Is anything wrong?") < texts.index("No unit failed.") < texts.index("Rows by status")
    remove_unit(output)
    assert lvm_batch("report", output).code == 0
    texts = read(output / REPORT).texts
    assert "Not finished" in texts
    assert texts[texts.index("Rows") + 2].startswith("of 240, ")


@pytest.mark.usefixtures("drawn")
def test_names_from_the_data_are_only_names(output: Path, lvm_batch: Command) -> None:
    """Markup in lanes and file names is shown as text; no script runs, and no link leaves the page."""
    assert lvm_batch("report", output).code == 0
    page = read(output / REPORT)
    assert HOSTILE in page.texts
    assert not page.tags & {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


@pytest.mark.usefixtures("drawn")
def test_the_same_output_gives_the_same_bytes(output: Path, lvm_batch: Command) -> None:
    """The report at the end of a run equals one that is made from its output later."""
    lvm_batch("report", output).done()
    once = (output / REPORT).read_bytes()
    folder = OutputFolder(str(output))
    (output / REPORT).unlink()
    assert write_report(folder, summary_of(folder), records=folder.records()) is None
    assert (output / REPORT).read_bytes() == once


def test_a_job_that_is_not_finished_is_shown_as_far_as_it_is(output: Path, lvm_batch: Command) -> None:
    """The page begins by saying that it is not finished, and whether a run is at work."""
    remove_unit(output)
    assert lvm_batch("report", output).values["state"] == "incomplete"
    assert any(text.startswith("Not finished: ") for text in read(output / REPORT).texts)
    with lock_output(str(output)):
        assert lvm_batch("report", output).values["state"] == "running"
    assert any("a run is at work" in text for text in read(output / REPORT).texts)


def test_a_job_of_which_nothing_is_done_has_a_report(output: Path, lvm_batch: Command) -> None:
    """Parts with nothing to show have a sentence instead."""
    remove_unit(output)
    shutil.rmtree(output / "_lvm_batch/done")
    for name in ("summary.json", "events.jsonl"):
        (output / "_lvm_batch" / name).unlink()
    result = lvm_batch("report", output)
    assert (result.code, result.values["state"], result.values["rows_done"]) == (0, "incomplete", 0)
    page = read(output / REPORT)
    assert "svg" not in page.tags
    assert {
        "No event says when units were done.",
        "No row is bad.",
        "No run has finished a unit yet.",
    } <= set(page.texts)


def test_a_report_says_why_a_job_is_not_accepted(output: Path, lvm_batch: Command) -> None:
    """A failed gate is named with its figure."""
    (output / "_SUCCESS").unlink()
    path = output / "_lvm_batch/summary.json"
    summary = json.loads(path.read_text())
    summary["settings"]["max_bad_rows"] = 0.001
    path.write_text(json.dumps(summary))
    assert lvm_batch("report", output).values["state"] == "not accepted"
    assert any("0.42% of the rows are bad_input" in text for text in read(output / REPORT).texts)


def test_a_report_has_its_warnings_on_top(output: Path, lvm_batch: Command) -> None:
    """A fallback that makes rows worse stands above all figures, with the next command; a comparison has it, too."""
    loss = {"escalation_gain": {"n": 50, "sum": -25.0, "n_squares": 50, "squares": 13.0}}
    for path in (output / "_lvm_batch/done").iterdir():
        path.write_text(json.dumps(json.loads(path.read_text()) | loss))
    lvm_batch("report", output).done()
    lvm_batch("report", output, output, "--output", output.parent / "two.html").done()
    pages = [" ".join(read(path).texts) for path in (output / REPORT, output.parent / "two.html")]
    warning = "Warning: the fallback makes escalated rows worse: gru - amn is -0.5000 ±"
    assert [page.count(warning) for page in pages] == [1, 2]
    assert (
        pages[0].index(warning)
        < pages[0].index("What to do: look for thresholds")
        < pages[0].index("Mean cosine")
    )


def test_units_that_failed_are_named_until_they_are_done(output: Path, lvm_batch: Command) -> None:
    """Each has the reason, the hint, and a bug's traceback; a unit that has a record since is left out."""
    remove_unit(output)
    path = output / "_lvm_batch/summary.json"
    summary = json.loads(path.read_text())
    done = min(OutputFolder(str(output)).records())
    failed = {"kind": "bug", "hint": "report <this>", "trace": "Traceback <b>", "worker": ""}
    summary["failed_units"] = [
        {"output": "gone.parquet", "message": "it broke", **failed},
        {"output": done, "message": "it had broken", **failed},
    ]
    path.write_text(json.dumps(summary))
    assert lvm_batch("report", output).code == 0
    texts = read(output / REPORT).texts
    assert {"gone.parquet", "it broke", "report <this>", "Traceback <b>"} <= set(texts)
    assert "it had broken" not in texts


def test_half_a_line_of_events_is_reported_and_left_out(output: Path, lvm_batch: Command) -> None:
    """A killed run may have left half a line."""
    with (output / "_lvm_batch/events.jsonl").open("a") as file:
        file.write('{"at": "2026-11-2')
    assert lvm_batch("report", output).code == 0
    assert "1 line of events.jsonl cannot be read and is left out." in read(output / REPORT).texts


def test_the_workers_of_a_run_are_named(output: Path, lvm_batch: Command) -> None:
    """Each unit event names its worker, and so does the page."""
    lines = map(json.loads, (output / "_lvm_batch/events.jsonl").read_text().splitlines())
    workers = {line["worker"] for line in lines if line["event"] == "unit_done"}
    assert all(worker.startswith("tcp://") for worker in workers)
    assert lvm_batch("report", output).code == 0
    assert workers <= set(read(output / REPORT).texts)


def test_the_work_of_each_worker_is_shown_where_events_name_it(output: Path, lvm_batch: Command) -> None:
    """The slowest worker comes first; if events do not name workers, a sentence gives the mean."""
    path = output / "_lvm_batch/events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for named in (True, False):
        for number, line in enumerate(lines):
            line["worker"] = f"tcp://<b>{number % 2}" if named else None
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert lvm_batch("report", output).code == 0
        texts = read(output / REPORT).texts
        assert ("tcp://<b>0" in texts, "tcp://<b>1" in texts) == (named, named)
        assert any(text.startswith("The events do not name workers.") for text in texts) != named


def summary_of(folder: OutputFolder) -> Summary:
    """The summary in an output folder."""
    return Summary.from_json(folder.summary() or {})


def change(path: Path, **values: object) -> None:
    """Set keys of a JSON document; ``None`` removes one."""
    document = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda private: (private / "job.json").unlink(), "holds no job"),
        (lambda private: change(private / "job.json", identity={"format": 99}), "whose format is 99"),
        (lambda private: change(private / "job.json", units="many"), "job.json is damaged"),
        (lambda private: (private / "job.json").write_text("{"), "job.json is damaged"),
        (lambda private: change(private / "summary.json", notices=7), "summary.json is damaged"),
        (
            lambda private: change(next((private / "done").iterdir()), rows_out=None),
            "done is damaged: the record of",
        ),
        (
            lambda private: change(next((private / "done").iterdir()), cosine="high"),
            "done is damaged: the record of",
        ),
        (lambda private: next((private / "done").iterdir()).write_text("{"), "done/"),
    ],
    ids=["none", "newer", "job", "job-cut", "summary", "count-missing", "count-wrong", "record-cut"],
)
def test_what_cannot_be_reported_is_refused_by_name(
    output: Path, lvm_batch: Command, spoil: Callable[[Path], None], named: str
) -> None:
    """No job, a newer one, or a damaged document: exit code 2. At the end of a run it is only a note."""
    summary = summary_of(OutputFolder(str(output)))
    spoil(output / "_lvm_batch")
    result = lvm_batch("report", output)
    assert (result.code, named in result.values["error"]["message"]) == (2, True)
    assert result.values["error"]["hint"]
    if named != "summary.json is damaged":
        assert named in str(write_report(OutputFolder(str(output)), summary))
    assert not (output / REPORT).exists()


def test_a_report_that_cannot_be_written_is_an_error(
    output: Path, lvm_batch: Command, tmp_path: Path
) -> None:
    """The command exits with 2 and names the path. At the end of a run it is only a note."""
    result = lvm_batch("report", output, "--output", tmp_path / "no such folder/report.html")
    assert (result.code, "no such folder/report.html" in result.values["error"]["message"]) == (2, True)
    (output / REPORT).mkdir()
    assert lvm_batch("report", output).code == 2
    folder = OutputFolder(str(output))
    assert "no report was written" in str(write_report(folder, summary_of(folder)))


def test_an_unreadable_file_is_left_out_and_reported(output: Path, lvm_batch: Command) -> None:
    """A changed file's record still counts; its rows are not read."""
    path = next(iter(sorted(output.glob("*.parquet"))))
    path.write_bytes(bytes(path.stat().st_size))
    result = lvm_batch("report", output)
    assert (result.code, result.values["rows_done"]) == (0, N_ROWS)
    assert result.values["rows_looked_at"] < N_ROWS
    assert any("1 file could not be read" in text for text in read(output / REPORT).texts)


def test_large_outputs_are_read_in_part(
    output: Path, lvm_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evenly spread files represent all, the same ones each time, and the page says how many."""
    monkeypatch.setattr(report_columns, "MAX_ROWS", N_ROWS // 2)
    assert lvm_batch("report", output).values["rows_looked_at"] == N_ROWS // 2
    once = (output / REPORT).read_bytes()
    assert f"Of {N_ROWS // 2} of the {N_ROWS} rows" in once.decode()
    lvm_batch("report", output).done()
    assert (output / REPORT).read_bytes() == once
    monkeypatch.setattr(report_columns, "MAX_FILES", 1)
    assert lvm_batch("report", output).values["rows_looked_at"] <= N_ROWS // 2


def test_a_group_of_an_output_holds_the_means_of_its_rows(finished: Path) -> None:
    """Cosines by lane, split and route are means over the rows that have a cosine."""
    import polars as pl

    from lvm_batch.jobs.reports.groups import groups_by

    folder = OutputFolder(str(finished))
    rows_by_output = {name: record.tally.rows_out for name, record in folder.records().items()}
    columns = read_columns(folder, rows_by_output, lane="lane", split="split")
    rows = pl.concat([pl.read_parquet(path) for path in sorted(finished.glob("*.parquet"))])
    groups = {group.name: group for group in groups_by(columns, columns.lane)}
    assert set(groups) == {HOSTILE, "sci-fact", "music", "(none)"}
    for lane, group in groups.items():
        theirs = rows.filter(pl.col("lane").eq_missing(None if lane == "(none)" else lane))
        assert group.rows == len(theirs)
        assert group.cosine == pytest.approx(theirs["cosine"].mean(), abs=1e-6)
        routed = theirs.filter(pl.col("route") == "gru")
        assert group.by_route["gru"][1] == len(routed)
        assert group.by_route["gru"][0] == pytest.approx(routed["cosine"].mean(), abs=1e-6)
        assert group.gain == pytest.approx((theirs["gru_cosine"] - theirs["amn_cosine"]).mean(), abs=1e-6)


def test_a_long_lane_is_held_once(tmp_path: Path) -> None:
    """A text that all rows of a large file share is not read once for each row."""
    n_rows, written = 20_000, tmp_path / "out" / "a-00000.parquet"
    written.parent.mkdir()
    codes = pa.array(np.zeros(n_rows, np.int32))
    floats = dict.fromkeys(
        ("cosine", "amn_cosine", "gru_cosine", "confidence", "margin"), pa.nulls(n_rows, "float32")
    )
    route, lane = (pa.DictionaryArray.from_arrays(codes, pa.array([text])) for text in ("amn", "x" * 10**6))
    table = pa.table({**floats, "shadow": pa.array(np.zeros(n_rows, bool)), "route": route, "lane": lane})
    pq.write_table(table, written, use_dictionary=["lane", "route"], store_schema=False)
    columns = read_columns(
        OutputFolder(str(written.parent)), {written.name: n_rows}, lane="lane", split="split"
    )
    assert columns.lane is not None
    assert (columns.n_rows, len(columns.lane.names[0]), set(columns.lane.codes)) == (n_rows, 10**6, {0})
    assert pa.default_memory_pool().max_memory() < 2**31


def events(*lines: tuple[int, str, dict[str, Any]]) -> list[Event]:
    """Events at given seconds of one minute."""
    return [
        Event.model_validate({"at": f"2026-01-01T00:00:{second:02}Z", "event": kind, **values})
        for second, kind, values in lines
    ]


def test_rates_count_the_time_in_which_runs_were_at_work() -> None:
    """A pause between runs does not count, and each worker's rate is per busy second."""
    unit = {"rows_in": 100, "seconds": {"read": 1.0, "amn": 1.0}}
    rates = rates_of(
        events(
            (0, "run_started", {"workers": 1}),
            (2, "unit_done", unit | {"worker": "a"}),
            (40, "run_started", {"workers": 2}),
            (42, "unit_done", unit | {"worker": "a"}),
            (44, "unit_done", unit | {"worker": "b", "rows_in": 300}),
            (44, "run_ended", {"state": "finished"}),
        )
    )
    assert (rates.wall_s, rates.rows, rates.rate, rates.resumed) == (6.0, 500, pytest.approx(500 / 6), (2.0,))
    assert [session.state for session in rates.sessions] == ["cut off", "finished"]
    assert [(one.name, one.units, one.rate) for one in rates.workers] == [("a", 2, 50.0), ("b", 1, 150.0)]
    assert rates.busy == pytest.approx(6 / 10)
    assert (rates.rows_per_s * np.diff(rates.edges)).sum() == pytest.approx(500)


def test_parts_that_were_at_work_together_count_as_one_run() -> None:
    """With as many workers as there were in the mean; a part that was computed later is another run."""
    unit = {"rows_in": 100, "seconds": {"read": 1.0, "amn": 1.0}}
    rates = rates_of(
        [],
        [
            events(
                (0, "run_started", {"workers": 2}),
                (4, "unit_done", unit | {"worker": "a"}),
                (10, "run_ended", {"state": "finished"}),
            ),
            events(
                (5, "run_started", {"workers": 2}),
                (9, "unit_done", unit | {"worker": "b"}),
                (15, "run_ended", {"state": "interrupted"}),
                (20, "run_started", {"workers": 3}),
                (22, "unit_done", unit | {"worker": "b"}),
                (24, "run_ended", {"state": "finished"}),
            ),
            events((30, "run_started", {"workers": 9}), (31, "run_ended", {"state": "finished"})),
        ],
    )
    found = [(one.wall_s, one.workers, len(one.done), one.state) for one in rates.sessions]
    assert found == [(15.0, round(40 / 15), 2, "interrupted"), (4.0, 3, 1, "finished")]
    assert (rates.wall_s, rates.rows, rates.resumed) == (19.0, 300, (15.0,))
    assert (rates.rows_per_s * np.diff(rates.edges)).sum() == pytest.approx(300)


def test_a_clock_that_goes_backwards_gives_no_negative_rate() -> None:
    """A duration that is not known gives no rate."""
    rates = rates_of(
        events(
            (30, "run_started", {"workers": 1}),
            (10, "unit_done", {"rows_in": 5, "seconds": {"read": 1.0}}),
            (5, "run_ended", {"state": "finished"}),
        )
    )
    assert (rates.wall_s, rates.rate, len(rates.rows_per_s)) == (0.0, None, 0)


def test_two_outputs_are_compared_side_by_side(
    output: Path, finished: Path, lvm_batch: Command, tmp_path: Path
) -> None:
    """Differing settings and models are named, means and rates appear side by side, and neither output changes."""
    path = output / "_lvm_batch/summary.json"
    summary = json.loads(path.read_text())
    summary["settings"]["min_confidence"] = 0.5
    path.write_text(json.dumps(summary))
    job = json.loads((output / "_lvm_batch/job.json").read_text())
    job["models"]["primary"]["sha256"] = "f" * 64
    change(output / "_lvm_batch/job.json", models=job["models"])
    result = lvm_batch("report", finished, output, "--output", tmp_path / "c.html")
    assert (result.code, result.values["comparison"]) == (0, str(tmp_path / "c.html"))
    assert result.values["settings_differ"] == ["min_confidence"]
    assert result.values["models_differ"] == ["primary"]
    assert result.values["means"]["cosine"][0] == result.values["means"]["cosine"][1] is not None
    page = read(tmp_path / "c.html")
    assert {"min_confidence", "0.098", "0.5", HOSTILE, "+0.0000"} <= set(page.texts)
    assert all(link.startswith("#") for link in page.links)
    assert not (output / REPORT).exists()
    assert not (finished / REPORT).exists()


def test_a_comparison_lies_beside_the_report(
    finished: Path, lvm_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it is in the first output, where no reader lists it, and not where the command is called."""
    monkeypatch.chdir(tmp_path)
    result = lvm_batch("report", finished, finished)
    page = Path(result.values["comparison"])
    assert page.parent == (finished / REPORT).parent
    assert page.name.startswith("comparison-")
    assert list(tmp_path.iterdir()) == []
    assert {"All settings are the same.", "Models and bank are the same."} <= set(read(page).texts)


def test_an_output_in_a_store_has_its_report_there(finished: Path, lvm_batch: Command) -> None:
    """Reports and comparisons are read from and written to the store."""
    with buckets.in_memory():
        store = open_store("s3://bucket/out", staging="tmp")
        for path in (path for path in finished.rglob("*") if path.is_file() and path.name != "lock"):
            store.write(str(path.relative_to(finished)), path.read_bytes())
        result = lvm_batch("report", "s3://bucket/out")
        assert (result.code, result.values["rows_looked_at"]) == (0, N_ROWS)
        assert b"<!DOCTYPE html>" in (store.read(REPORT) or b"")
        result = lvm_batch("report", "s3://bucket/out", finished, "--output", "s3://bucket/pages/c.html")
        assert (result.code, result.values["comparison"]) == (0, "s3://bucket/pages/c.html")
        assert open_store("s3://bucket/pages", staging="tmp").read("c.html")


@pytest.mark.usefixtures("drawn")
def test_figures_take_their_colours_from_the_page() -> None:
    """A figure has no fixed colour and no background; its element ids are unique to it."""

    def draw(figure: Figure) -> None:
        place = figure.subplots()
        place.plot([1, 2], label="a")
        place.legend()

    svg = str(picture("one", "What <it> shows.", draw).draw_svg(False))  # noqa: FBT003
    assert not any(colour.lower() in svg.lower() for colour in (*COLOURS, "#010203", "#040506", "#ffffff"))
    assert {"var(--ink)" in svg, "var(--grid)" in svg, "var(--series-0)" in svg} == {True}
    assert 'aria-label="What &lt;it&gt; shows."' in svg
    assert svg.startswith("<svg ")
    assert svg.count('id="') == svg.count('id="one-')
    assert figure_svg(draw) == figure_svg(draw, style={})
