"""A command writes neither into what it reads nor into what other commands write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.datasets import windows, write_windows

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.errors import SettingsError
from lvm_batch.jobs.places import Place, check_places, place_errors
from lvm_batch.jobs.prediction.planning.places import metrics_file_is_misplaced, places_written
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

WRITTEN = ("output", "history", "metrics_file", "performance_report")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a dataset, a link to it, and a bank's folder."""
    write_windows(tmp_path / "data/date=1/a.parquet", windows()[0][:4])
    (tmp_path / "alias").symlink_to("data")
    (tmp_path / "bank").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(dataset: str = "data", **given: str) -> list[str]:
    """The problems found with these paths, for a run whose other paths lie elsewhere."""
    settings = RunSettings(dataset=(dataset,), **{"output": "out", "bank": "bank"} | given)
    kept = [Place("the bank", "--bank", str(settings.bank), keeps_out="everything")]
    return [
        str(e.args[0]) for e in place_errors(places_written(settings), dataset=settings.dataset, kept=kept)
    ]


@pytest.mark.parametrize(
    "where",
    ["data/x", "alias/x", "./data/../data/x", "file://{}/data/x", "{}/data/x/", "{}//alias/date=1/x", "data"],
)
@pytest.mark.parametrize("dataset", ["data", "{}/alias/", "data/**", "file://{}/data/*"])
def test_nothing_is_written_into_the_input(here: Path, where: str, dataset: str) -> None:
    """It is refused however either path is spelled: the next run would read the output."""
    (text,) = problems(dataset.format(here), output=where.format(here))
    assert "is inside the input" in text


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_at_all_is_written_into_the_input(here: Path, name: str) -> None:
    """Each kind of output is refused inside the input, and the error names that kind."""
    (text,) = problems(str(here / "alias"), **{name: "data/x"})
    assert "is inside the input" in text


@pytest.mark.parametrize("name", WRITTEN)
def test_paths_that_a_dataset_does_not_read_are_allowed(here: Path, name: str) -> None:
    """Folders beside the input, folders that start with its name, and what a pattern does not match are allowed."""
    for where in ("data-2/x", "x", "alias-2"):
        assert not problems(**{name: where})
    assert not problems("data/date=1/a*.parquet", **{name: "data/x"})
    assert not problems("s3://data/in", **{name: "data/in/x"})


@pytest.mark.parametrize(
    ("name", "where"),
    [
        *(("history", where) for where in ("out", "out/x", "out/_lvm_batch/x", "out/../out/_x", "bank/x")),
        *(("metrics_file", where) for where in ("file://{}/out/x.parquet", "bank")),
        ("performance_report", "out/x"),
    ],
)
def test_nothing_lies_among_predictions_or_in_a_bank(here: Path, name: str, where: str) -> None:
    """Hidden names are refused too: some readers take every file below a folder."""
    (text,) = problems(**{name: where.format(here)})
    assert "is inside the " in text or "is also" in text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"history": "runs", "output": "runs/out"}, "the output runs/out is inside the history runs"),
        ({"history": ".", "bank": "bank"}, "is inside the history ."),
        ({"output": "bank/out"}, "the output bank/out is inside the bank bank"),
        ({"output": "o", "bank": "o/bank"}, "the bank o/bank is inside the output o"),
        ({"metrics_file": "m.prom", "performance_report": "./m.prom"}, "is also the performance report"),
        ({"metrics_file": "runs", "history": "runs"}, "is also the metrics file"),
    ],
)
def test_outputs_do_not_share_paths(here: Path, given: dict[str, str], text: str) -> None:
    """No two outputs share a path, and readers of a folder find nothing else in it."""
    assert here
    assert any(text in each for each in problems(**given))


def test_files_may_lie_beside_the_runs_of_a_history(here: Path) -> None:
    """Readers of a history take only Parquet files."""
    assert here
    assert not problems(history="runs", metrics_file="runs/m.prom", performance_report="runs/p.html")


def test_objects_are_compared_by_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is plain text: only slashes make one key the parent of another."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "x")
    output = Place("the output", "--output", "s3://b/out/", keeps_out="everything")
    inside = ("s3://b/out", "S3://b/out/x", "s3://b/out//")
    assert all(list(place_errors([output], kept=[Place("it", "", text)])) for text in inside)
    beside = ("s3://b/out-2", "s3://b/o", "s3://b2/out/x", "gs://b/out/x", "/b/out/x", "s3://b/x/../out")
    assert not any(list(place_errors([output], kept=[Place("it", "", text)])) for text in beside)


def test_all_misplaced_paths_are_reported_at_once(here: Path) -> None:
    """One error lists every misplaced path."""
    assert here
    settings = RunSettings(dataset=("data",), output="data/out", history="data/h", metrics_file="data/out/m")
    with pytest.raises(SettingsError) as caught:
        check_places(places_written(settings), dataset=settings.dataset)
    assert len(caught.value.problems) == 4  # the last path has two problems


def test_a_run_is_refused_before_it_writes(here: Path, predict: Callable[..., Any]) -> None:
    """Nothing is written, not even the metrics file that reports how a run ended: it would damage the input."""
    data = here / "data/date=1/a.parquet"
    before = data.read_bytes()
    options = ("--output", here / "out", "--history", here / "data/history")
    result = predict(
        here / "data", *options, "--metrics-file", data, "--performance-report", here / "out/p.html"
    )
    assert result.code == 2
    assert [p["message"].split()[1] for p in result.values["error"]["problems"]] == [
        "performance", "history", "metrics",
    ]  # fmt: skip
    assert data.read_bytes() == before
    assert {path.name for path in here.iterdir()} == {"alias", "bank", "data"}
    assert [path.name for path in (here / "data").iterdir()] == ["date=1"]


def test_a_misplaced_metrics_file_is_known_without_a_listing(here: Path) -> None:
    """The check compares paths only, since it runs after every run, failed ones too."""
    assert here
    for file, is_misplaced in (("data/m.prom", True), ("out/m.prom", True), ("m.prom", False)):
        settings = RunSettings(dataset=("data",), output="out", metrics_file=file)
        assert metrics_file_is_misplaced(settings) is is_misplaced


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "data", "--output", "alias/x"],
        ["bank", "build", "data", "--vector-column", "context", "--output", "data/x"],
        ["train", "data", "--arch", "amn", "--output", "data/x"],
        ["evaluate", "data", "--model", "m.pt", "--output", "data/x"],
        ["evaluate", "data", "--model", "m.pt", "--bank", "bank", "--output", "bank/x"],
        ["report", "out", "--output", "out/x.html"],
        ["report", "out", "out2", "--output", "out2/x.html"],
        ["plan", "data", "--output", "data/x", "--model", "m.pt"],
    ],
)
def test_every_command_checks_its_paths(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Every command refuses such a path with exit code 2 before it creates anything."""
    before = sorted(here.rglob("*"))
    assert main([*arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    messages = [error["message"], *(each["message"] for each in error.get("problems", ()))]
    assert any("is inside" in message for message in messages)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("within", ["out/x", "link/x/y", "out/_lvm_batch/x"])
def test_an_output_lies_in_no_other_jobs_output(within: str, predict: Callable[..., Any], here: Path) -> None:
    """Readers of the other job's folder would take its files for that job's."""
    assert predict(here / "data", "--output", here / "out").code == 0
    (here / "link").symlink_to("out")
    refused = predict(here / "data", "--output", here / within, "--shadow-rate", 1)
    assert refused.code == 2
    assert f"is inside {here}/out, the output of another job" in refused.values["error"]["message"]
    assert predict(here / "data", "--output", here / "out2").code == 0
