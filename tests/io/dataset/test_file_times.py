"""Which folders tell the time of a file, and which files have none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lvm_batch.io.dataset.file_times import Span, files_within, selection_notices
from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.errors import DataError

WRITTEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
NIGHT = Span(since=datetime(2026, 11, 21, tzinfo=UTC), until=datetime(2026, 11, 22, tzinfo=UTC))


def found(root: str, *names: str) -> list[InputFile]:
    """Files below ``root``, written in the night."""
    return [InputFile(f"{root}/{name}", name, 1, int(WRITTEN.timestamp() * 1e9)) for name in names]


@pytest.mark.parametrize("by", [None, "year"])
@pytest.mark.parametrize("name", ["a", "month=11/a", "year=/a", "year=2026/month=/a", "lane=x/day=21/a"])
def test_a_file_below_no_year_is_named(name: str, by: str | None) -> None:
    """It would otherwise be of the year 1, in no night, and never predicted."""
    with pytest.raises(DataError, match=f"/data/{name} lies in no folder year="):
        files_within(found("/data", "year=2026/month=11/day=21/b", name), NIGHT, by=by)


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/mnt/year=2019/archive/data", "a"),
        ("/mnt/date=2019-01-01/data", "lane=x/a"),
        ("s3://bucket/dt=20190101/data", "a"),
    ],
)
def test_where_a_dataset_lies_tells_nothing(root: str, name: str) -> None:
    """Folders above what was given are not its own: its files have the time they were written at."""
    files = found(root, name)
    assert files_within(files, NIGHT) == files
    assert files_within(files, Span(until=NIGHT.since)) == []


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/data/date=2019-01-01", "a"),
        ("/data/date=2019-01-01/lane=x", "a"),
        ("/data/year=2019/month=01", "day=01/a"),
        ("s3://bucket/data/dt=20190101", "part/a"),
        ("/data", "date=2019-01-01/part/a"),
    ],
)
def test_folders_that_were_given_count(root: str, name: str) -> None:
    """A folder `date=...` tells of what lies in it, whether it is given itself or lies below what is."""
    files = found(root, name)
    assert files_within(files, NIGHT) == []
    assert files_within(files, Span(until=NIGHT.since)) == files


@pytest.mark.parametrize(
    "folders",
    [
        "Date={0}",
        "DATE={0}",
        "Dt={0}",
        "DS={0}",
        "DateTime={0}",
        "Year=2026/MONTH=11/Day={1}/HOUR=12",
        "Event={0}",
    ],
)
def test_names_are_folders_of_a_date_in_any_case_of_letters(folders: str) -> None:
    """They would otherwise select nothing, or by when files were written; `--time-column` is taken likewise."""
    names = [f"{folders.format(f'2026-11-{day}', day)}/a" for day in (20, 21, 22)]
    by = "eVENT" if folders.startswith("Event") else None
    files = found("/data", *names)
    assert files_within(files, NIGHT, by=by) == files[1:2]
    assert list(selection_notices(files, files[1:2], by=by)) == []


def test_letters_of_folders_may_differ_between_files() -> None:
    """`Date=` and `date=` are one column."""
    files = found("/data", "Date=2026-11-21/a", "date=2026-11-21/b", "date=2026-11-22/c")
    assert files_within(files, NIGHT) == files[:2]


def test_files_without_folders_of_a_date_are_said_to_be_selected_by_when_they_were_written() -> None:
    """In one line, unless that is what was asked for."""
    files = found("/data", "lane=x/a", "b")
    (notice,) = selection_notices(files, files_within(files, NIGHT))
    assert "selected by when they were written" in notice
    assert "date=, dt=" in notice
    assert list(selection_notices(files, files, by="Modified")) == []


def test_a_selection_of_nothing_says_what_it_saw() -> None:
    """How many files there are, of which times, and what tells them."""
    files = found("/data", "Date=2026-11-20/a", "Date=2026-11-23/hour=4/b", "Date=2026-11-22/c")
    assert files_within(files, NIGHT) == []
    (notice,) = selection_notices(files, [])
    assert "none of the files found (3) is selected" in notice
    assert "by their folders date=, they are of 2026-11-20 00:00 to 2026-11-23 04:00 UTC" in notice
    _, notice = selection_notices(found("/data", "a"), [])
    assert "by when they were written, they are of 2026-11-21 12:00 to 2026-11-21 12:00 UTC" in notice
    assert list(selection_notices([], [])) == []
