"""Runs over datasets that grow: only new files are predicted, into one dataset."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import assert_same_rows, read_rows, windows, write_windows

from lvm_batch.io import read_predictions
from lvm_batch.io.errors import NotFinished, OutputError
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.errors import SettingsError
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import resolve_settings
from lvm_batch.jobs.settings.times import PLACEHOLDERS, UnknownPlaceholder, fill_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

NIGHTS = ("2026-11-20", "2026-11-21", "2026-11-22")


def write_night(data: Path, night: str, *, n_rows: int = 20, bad_rows: int = 0) -> Path:
    """Write a night's file of two row groups."""
    contexts, targets = windows()
    first = 20 * NIGHTS.index(night)
    contexts, targets = contexts[first : first + n_rows].copy(), targets[first : first + n_rows]
    contexts[:bad_rows] = np.nan
    return write_windows(data / f"date={night}/a.parquet", contexts, targets, row_group_rows=10)


def committed_at(output: Path) -> dict[str, int]:
    """When each file was published, in ns."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*.parquet")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset of one night."""
    write_night(tmp_path / "data", NIGHTS[0])
    return tmp_path / "data"


@pytest.fixture
def run_job(predict: Callable[..., Any], data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run over the whole dataset, one row group a unit."""

    def call(*options: object) -> Any:  # noqa: ANN401
        return predict(data, "--output", tmp_path / "out", "--unit-size", "1", *options)

    return call


def test_a_grown_dataset_gets_its_new_files_predicted(
    run_job: Callable[..., Any], predict: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Existing output files are not touched, and the final rows equal those of one run over everything."""
    assert run_job().values["units_computed"] == 2
    before = committed_at(tmp_path / "out")
    write_night(data, NIGHTS[1])
    grown = run_job()
    assert (grown.code, grown.values["units_computed"]) == (0, 2)
    assert (grown.values["files"], grown.values["units"], grown.values["rows_out"]) == (2, 4, 40)
    assert before.items() <= committed_at(tmp_path / "out").items()
    again = run_job()
    assert (again.code, again.values["units_computed"], again.values["rows_out"]) == (0, 0, 40)

    assert predict(data, "--output", tmp_path / "clean").code == 0
    assert_same_rows(read_rows(tmp_path / "out"), read_rows(tmp_path / "clean"))
    assert_same_rows(
        *(
            read_predictions(tmp_path / name).collect().drop("prediction").to_dicts()
            for name in ("out", "clean")
        )
    )


def test_a_night_reads_its_own_files(run_job: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    """Each night adds to the same output; the rest of the dataset is neither read nor reported missing."""
    write_night(data, NIGHTS[1])
    first = run_job("--as-of", NIGHTS[1], "--since", "{date-1d}", "--until", "{date}")
    assert (first.code, first.values["rows_out"], first.values["selected"]["files"]) == (0, 20, 1)
    assert first.values["selected"]["since"] == "2026-11-20T00:00:00+00:00"
    (data / f"date={NIGHTS[0]}/a.parquet").unlink()
    second = run_job("--as-of", NIGHTS[2], "--since", "{date-1d}", "--until", "{date}")
    assert (second.code, second.values["units_computed"], second.values["rows_out"]) == (0, 2, 40)
    assert (tmp_path / "out/_SUCCESS").exists()
    assert read_predictions(tmp_path / "out").collect().height == 40


def test_a_night_without_files_is_nothing_to_do(run_job: Callable[..., Any]) -> None:
    """The run says so and exits with 0, also if the output does not exist yet."""
    for n_rows in (0, 20):
        empty = run_job("--since", NIGHTS[2])
        assert (empty.code, empty.values["units_computed"], empty.values["rows_out"]) == (0, 0, n_rows)
        assert "no file is in the selected time" in empty.stderr
        assert run_job().code == 0


def test_lookback_includes_late_files(run_job: Callable[..., Any], data: Path) -> None:
    """Files that were predicted already are not predicted again."""
    write_night(data, NIGHTS[2])
    assert run_job("--since", NIGHTS[2]).values["units_computed"] == 2
    write_night(data, NIGHTS[1])
    assert run_job("--since", NIGHTS[2], "--lookback", "1d").values["units_computed"] == 2
    assert run_job("--until", "2026-11-23", "--lookback", "3d").values["units_computed"] == 2


def test_success_needs_the_nights_before(run_job: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    """A night whose predecessor is incomplete exits with 0, and says why readers do not see it yet."""
    assert run_job().code == 0
    write_night(data, NIGHTS[1])
    assert run_job("--since", NIGHTS[1]).code == 0
    next((tmp_path / f"out/date={NIGHTS[0]}").iterdir()).unlink()
    write_night(data, NIGHTS[2])
    night = run_job("--since", NIGHTS[2])
    assert night.code == 0
    assert "there is no _SUCCESS" in night.stderr
    assert not (tmp_path / "out/_SUCCESS").exists()
    assert run_job().values["units_computed"] == 1
    assert (tmp_path / "out/_SUCCESS").exists()


def test_gates_are_checked_on_tonights_rows_too(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Gates are checked on tonight's rows too, which older rows would hide; readers still see the accepted rows."""
    assert run_job().code == 0
    write_night(data, NIGHTS[1], bad_rows=3)
    gate = ("--max-bad-rows", "0.1")
    assert run_job("--since", NIGHTS[1], *gate).code == 3
    assert read_predictions(tmp_path / "out").collect().height == 20
    assert run_job(*gate).code == 0  # 3 of 40 rows
    assert read_predictions(tmp_path / "out").collect().height == 40


def test_a_changed_file_is_predicted_again_on_request(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Without --reprocess it is refused; with it, output files that no longer belong to the input are deleted."""
    write_night(data, NIGHTS[1])
    assert run_job().code == 0
    untouched = committed_at(tmp_path / f"out/date={NIGHTS[0]}")
    write_night(data, NIGHTS[1], n_rows=10)
    refused = run_job()
    assert refused.code == 2
    assert "--reprocess failed" in refused.values["error"]["hint"]
    changed = run_job("--reprocess", "failed")
    assert (changed.code, changed.values["units_computed"], changed.values["rows_out"]) == (0, 1, 30)
    assert len(committed_at(tmp_path / f"out/date={NIGHTS[1]}")) == 1
    assert committed_at(tmp_path / f"out/date={NIGHTS[0]}") == untouched
    assert run_job().values["units_computed"] == 0


def test_units_with_bad_rows_are_predicted_again_on_request(run_job: Callable[..., Any], data: Path) -> None:
    """Only those units run again; with --reprocess all, every file that was read does."""
    write_night(data, NIGHTS[1], bad_rows=1)
    accept = ("--max-bad-rows", "1")
    assert run_job(*accept).code == 0
    assert run_job(*accept, "--reprocess", "failed").values["units_computed"] == 1
    assert run_job(*accept, "--reprocess", "all", "--since", NIGHTS[1]).values["units_computed"] == 2
    assert run_job(*accept, "--reprocess", "all").values["units_computed"] == 4


def test_readers_wait_while_rows_are_replaced(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """After an interrupted --reprocess readers refuse the output; the same command without the option completes it."""
    from lvm_batch.io.output.commit import OutputFolder

    assert run_job().code == 0
    folder = OutputFolder(str(tmp_path / "out"))
    folder.mark_success(None)
    folder.begin(folder.required_job(), again={f"date={NIGHTS[0]}/a-00000.parquet"})
    with pytest.raises(NotFinished):
        read_predictions(tmp_path / "out")
    assert run_job().values["units_computed"] == 1
    assert read_predictions(tmp_path / "out").collect().height == 20


def test_a_plan_shows_what_a_run_would_predict(
    run_job: Callable[..., Any], lvm_batch: Callable[..., Any], models: Path, data: Path, tmp_path: Path
) -> None:
    """A plan counts how many of the selected units are done and how many remain."""
    assert run_job().code == 0
    write_night(data, NIGHTS[1])
    plan = ("plan", data, "--output", tmp_path / "out", "--unit-size", "1")
    options = ("--model", models / "amn.pt", "--fallback", models / "gru.pt")

    def done(*more: str) -> list[bool]:
        return [unit["done"] for unit in lvm_batch(*plan, *options, *more).values["units"]]

    assert done() == [True, True, False, False]
    assert done("--since", NIGHTS[1]) == [False, False]
    assert done("--until", NIGHTS[0]) == []
    assert done("--reprocess", "all") == [False] * 4


def test_a_plan_names_the_job_that_a_run_continues(
    run_job: Callable[..., Any], lvm_batch: Callable[..., Any], models: Path, data: Path, tmp_path: Path
) -> None:
    """A grown dataset is the same job, with the name that its files carry."""
    began = run_job().values["job_id"]
    write_night(data, NIGHTS[1])
    plan = ("plan", data, "--output", tmp_path / "out", "--unit-size", "1")
    options = ("--model", models / "amn.pt", "--fallback", models / "gru.pt")
    assert lvm_batch(*plan, *options).values["job_id"] == began
    assert lvm_batch(*plan, *options, "--min-margin", 1).values["job_id"] != began


def test_a_folder_that_is_one_night_is_no_growth(
    predict: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Two nights given as separate folders would have the same file names: the second is refused."""
    write_night(data, NIGHTS[1])
    assert predict(data / f"date={NIGHTS[0]}", "--output", tmp_path / "out").code == 0
    refused = predict(data / f"date={NIGHTS[1]}", "--output", tmp_path / "out")
    assert refused.code == 2
    assert "inputs.a.parquet.path was" in refused.values["error"]["message"]


def test_a_file_under_another_name_is_refused(
    run_job: Callable[..., Any], predict: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """The same file given through its own folder or a link would appear twice. Committed units stay as they are."""
    write_night(data, NIGHTS[1])
    assert run_job().code == 0
    before = committed_at(tmp_path / "out")
    (tmp_path / "link").symlink_to(data / f"date={NIGHTS[0]}")
    one_night = ("--since", NIGHTS[0], "--until", NIGHTS[1])
    alone = ("--output", tmp_path / "out", "--unit-size", "1")
    for refused in (
        predict(data / f"date={NIGHTS[0]}", *alone, *one_night),
        predict(data / f"date={NIGHTS[0]}", *alone, *one_night, "--reprocess", "all"),
        predict(tmp_path / "link", *alone, "--time-column", "modified", "--since", NIGHTS[0]),
    ):
        assert refused.code == 2
        assert f"`date={NIGHTS[0]}/a.parquet`" in refused.values["error"]["message"]
    assert committed_at(tmp_path / "out") == before
    assert (tmp_path / "out/_SUCCESS").exists()
    again = run_job()
    assert (again.code, again.values["units_computed"], again.values["units"]) == (0, 0, 4)


@pytest.mark.parametrize("night", [NIGHTS[0], None])
def test_a_file_that_takes_anothers_output_names_is_refused(
    run_job: Callable[..., Any], data: Path, tmp_path: Path, night: str | None
) -> None:
    """A file replaced by one called ``a.pq`` would be taken for the predicted one. The advice in the error works."""
    write_night(data, NIGHTS[1])
    assert run_job().code == 0
    taken, other = data / f"date={NIGHTS[0]}/a.parquet", data / f"date={NIGHTS[1]}/a.parquet"
    taken.unlink()
    other.rename(taken.with_suffix(".pq"))
    write_night(data, NIGHTS[1])
    job = json.loads((tmp_path / "out/_lvm_batch/job.json").read_bytes())
    modified_ns = job["identity"]["inputs"][f"date={NIGHTS[1]}/a.parquet"]["modified_ns"]
    os.utime(other, ns=(modified_ns, modified_ns))
    selected = ("--since", night, "--until", NIGHTS[1]) if night else ()
    refused = run_job(*selected)
    assert refused.code == 2
    assert f"would write to date={NIGHTS[0]}/a-00000.parquet" in refused.values["error"]["message"]
    assert "call it a.parquet and add --reprocess failed" in refused.values["error"]["hint"]
    taken.with_suffix(".pq").rename(taken)
    assert run_job(*selected, "--reprocess", "failed").values["units_computed"] == 2
    done = run_job(*selected)
    assert (done.code, done.values["units_computed"], done.values["rows_out"]) == (0, 0, 40)


def test_a_missing_file_of_the_night_is_refused(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """A renamed replacement would be predicted beside it; files outside the selected time may be missing."""
    write_night(data, NIGHTS[1])
    assert run_job().code == 0
    before = committed_at(tmp_path / "out")
    gone = data / f"date={NIGHTS[0]}/a.parquet"
    gone.rename(gone.with_name("compacted.parquet"))
    refused = run_job("--since", NIGHTS[0], "--until", NIGHTS[1])
    assert refused.code == 2
    assert (
        f"inputs.date={NIGHTS[0]}/a.parquet.path was {gone}, is absent" in refused.values["error"]["message"]
    )
    assert run_job("--since", NIGHTS[1]).code == 0
    assert committed_at(tmp_path / "out") == before


def test_a_pattern_for_one_night_does_not_miss_the_others(
    predict: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Inputs that the dataset arguments do not match are not reported missing, whatever their time."""
    for night in NIGHTS[:2]:
        write_night(data, night)
        run = predict(f"{data}/*{night[-2:]}/*.parquet", "--output", tmp_path / "out", "--since", NIGHTS[0])
        assert run.code == 0
    assert run.values["rows_out"] == 40


def test_a_record_of_an_older_input_does_not_count(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """However the record got there, its unit is predicted again, and readers never see the old rows."""
    assert run_job().code == 0
    record = tmp_path / f"out/_lvm_batch/done/date%3D{NIGHTS[0]}%2Fa-00001.parquet.json"
    record.write_text(record.read_text().replace('"input_modified_ns": ', '"input_modified_ns": 1'))
    with pytest.raises(OutputError, match=r"a-00001\.parquet is gone or has changed"):
        read_predictions(tmp_path / "out")
    (tmp_path / "out/_SUCCESS").unlink()
    before = committed_at(tmp_path / "out")
    assert run_job().code == 0  # the file's footer names its input, so the unit is recorded again
    assert committed_at(tmp_path / "out") == before
    assert read_predictions(tmp_path / "out").collect().height == 20


def test_units_without_a_record_are_no_success(
    run_job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run exits with 0 only if every unit that it read is committed."""
    monkeypatch.setattr("lvm_batch.jobs.prediction.run.drive", lambda *_, **__: iter(()))
    run = run_job()
    assert (run.code, run.values["units_computed"]) == (1, 0)
    assert "a-00000.parquet" in run.values["error"]["message"]
    assert not (tmp_path / "out/_SUCCESS").exists()


AS_OF = datetime(2026, 3, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/date={date}/x", "s3://b/date=2026-03-01/x"),
        ("{date-1d}", "2026-02-28"),
        ("{date_nodash}{hour}", "2026030105"),
        ("{year}/{month}/{day}", "2026/03/01"),
        ("{date-6h} {hour-6h}", "2026-02-28 23"),
        ("{date+1w}", "2026-03-08"),
        ("{{date}} {{}}", "{date} {}"),
        ("none", "none"),
    ],
)
def test_placeholders_are_filled_in(text: str, expected: str) -> None:
    """Their values come from the run's --as-of time; doubled braces are literal braces."""
    assert fill_in(text, AS_OF) == expected


@pytest.mark.parametrize("text", ["{dat}", "{}", "{date - 1d}", "{date-1}", "{date-999999w}", "{0}"])
def test_what_cannot_be_filled_in_is_refused(text: str) -> None:
    """An unknown placeholder is an error, not a folder of that name."""
    with pytest.raises(UnknownPlaceholder) as error:
        fill_in(f"a/{text}", AS_OF)
    assert error.value.args[0] == text
    assert error.value.args[1] in PLACEHOLDERS


def resolved(*, now: datetime | None = None, **flags: object) -> RunSettings:
    """The settings that result from a command line."""
    return resolve_settings(RunSettings, flags, {}, required=(), now=now).settings


def test_braces_are_names_like_any_others_without_a_time() -> None:
    """Folder names may contain braces; only --as-of makes them placeholders."""
    assert resolved(output="{date}").output == "{date}"
    assert resolved(output="{date}", as_of="now", now=AS_OF).output == "2026-03-01"


def test_placeholders_are_filled_in_wherever_settings_come_from(tmp_path: Path) -> None:
    """The time of a flag fills in placeholders in a file and in the environment."""
    config = tmp_path / "nightly.toml"
    config.write_text('dataset = ["data/{date-1d}", "more"]\nsince = "{date-1d}"\nas_of = "now"\n')
    environ = {"LVM_BATCH_HISTORY": "runs/{year}"}
    settings = resolve_settings(
        RunSettings, {"as_of": "2026-01-01"}, environ, config, required=(), now=AS_OF
    ).settings
    assert settings.dataset == ("data/2025-12-31", "more")
    assert (settings.history, settings.since) == ("runs/2026", datetime(2025, 12, 31, tzinfo=UTC))


def test_toml_may_write_times_as_its_own(tmp_path: Path) -> None:
    """TOML dates and times without quotes are accepted; without an offset they are UTC."""
    config = tmp_path / "nightly.toml"
    config.write_text("since = 2026-11-21\nuntil = 2026-11-22T06:00:00+02:00\n")
    settings = resolve_settings(RunSettings, {}, {}, config, required=()).settings
    assert settings.span == (datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"since": "yesterday"}, "--since cannot be 'yesterday'"),
        ({"as_of": "tomorrow"}, "--as-of cannot be 'tomorrow'"),
        ({"as_of": "2026-01-01", "output": "{dte}"}, "--output: {dte} cannot be filled in"),
        ({"since": "2026-11-22", "until": "2026-11-22"}, "--until: it is not after since"),
        ({"lookback": "1d"}, "--lookback: it needs since, until or as_of"),
        ({"lookback": "1 day", "since": "2026-11-22"}, "--lookback cannot be '1 day'"),
        ({"reprocess": "some"}, "--reprocess cannot be 'some'"),
        ({"since": "0001-01-01T00:00+05:00"}, "--since cannot be '0001-01-01T00:00+05:00'"),
        ({"since": "2026-11-22", "lookback": "999999w"}, "--lookback cannot be '999999w'"),
    ],
)
def test_times_that_cannot_be_are_refused(flags: dict[str, object], message: str) -> None:
    """Each error names where the time was written."""
    with pytest.raises(SettingsError) as error:
        resolved(**flags)
    assert any(problem.message.startswith(message) for problem in error.value.problems)


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ({"as_of": "tomorrow", "lookback": "1d"}, "it can be something like 2026-11-22"),
        ({"as_of": "tomorrow", "until": "{date}"}, "it can be something like 2026-11-22"),
        ({"as_of": "2026-01-01", "since": "{dte}", "lookback": "1d"}, "did you mean {date}?"),
        ({"lookback": "1d"}, "give one of --since, --until and --as-of"),
        ({"since": "2026-11-22", "until": "2026-11-21"}, "give a later --until"),
    ],
)
def test_a_mistake_is_reported_once(flags: dict[str, object], hint: str) -> None:
    """The error omits problems that follow from another, and its hint fixes the cause."""
    with pytest.raises(SettingsError) as error:
        resolved(**flags)
    [problem] = error.value.problems
    assert problem.hint.startswith(hint)


def test_effective_settings_are_shown_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` prints a file that gives the same run."""
    assert main(["config", "show", "--as-of", "2026-11-22", "--since", "{date-1d}"]) == 0
    out = capsys.readouterr().out
    assert 'since = "2026-11-21T00:00:00Z"' in out
    assert 'as_of = "2026-11-22T00:00:00Z"' in out
