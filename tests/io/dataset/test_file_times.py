"""Tests which folders give the time of a file, and which files have none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lvm_batch.io.dataset.file_times import Span, files_within, selection_notices
from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.errors import DataError

WRITTEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
NIGHT = Span(since=datetime(2026, 11, 21, tzinfo=UTC), until=datetime(2026, 11, 22, tzinfo=UTC))


def list_files(root: str, *names: str) -> list[InputFile]:
    """List files below ``root``, all modified last night."""
    return [InputFile(f"{root}/{name}", name, 1, int(WRITTEN.timestamp() * 1e9)) for name in names]


@pytest.mark.parametrize("by", [None, "year"])
@pytest.mark.parametrize("name", ["a", "month=11/a", "year=/a", "year=2026/month=/a", "lane=x/day=21/a"])
def test_a_file_without_a_year_folder_is_named(name: str, by: str | None) -> None:
    """A file without a year folder would get the year 1 and never be selected, so it is refused by name."""
    with pytest.raises(DataError, match=f"/data/{name} is not in a folder year="):
        files_within(list_files("/data", "year=2026/month=11/day=21/b", name), NIGHT, by=by)


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("/mnt/year=2019/archive/data", "a"),
        ("/mnt/date=2019-01-01/data", "lane=x/a"),
        ("s3://bucket/dt=20190101/data", "a"),
    ],
)
def test_folders_above_a_dataset_give_no_time(root: str, name: str) -> None:
    """Folders above the input do not count: its files have their modification times."""
    files = list_files(root, name)
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
    """A folder `date=...` gives the time of its files, whether it is the input or below it."""
    files = list_files(root, name)
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
    """Folder names and `--time-column` match in any case; otherwise nothing, or the wrong files, would be selected."""
    names = [f"{folders.format(f'2026-11-{day}', day)}/a" for day in (20, 21, 22)]
    by = "eVENT" if folders.startswith("Event") else None
    files = list_files("/data", *names)
    assert files_within(files, NIGHT, by=by) == files[1:2]
    assert list(selection_notices(files, files[1:2], by=by)) == []


def test_letters_of_folders_may_differ_between_files() -> None:
    """`Date=` and `date=` are the same column."""
    files = list_files("/data", "Date=2026-11-21/a", "date=2026-11-21/b", "date=2026-11-22/c")
    assert files_within(files, NIGHT) == files[:2]


def test_files_without_a_date_folder_are_reported() -> None:
    """One line reports that these files are selected by modification time, unless the user asked for that."""
    files = list_files("/data", "lane=x/a", "b")
    (notice,) = selection_notices(files, files_within(files, NIGHT))
    assert "selected by the time they were last modified" in notice
    assert "date=, dt=" in notice
    assert list(selection_notices(files, files, by="Modified")) == []


def test_an_empty_selection_is_explained() -> None:
    """The error gives the number of files, their range of times, and the source of the times."""
    files = list_files("/data", "Date=2026-11-20/a", "Date=2026-11-23/hour=4/b", "Date=2026-11-22/c")
    assert files_within(files, NIGHT) == []
    (notice,) = selection_notices(files, [])
    assert "none of the files found (3) is selected" in notice
    assert "by the folders date=, they date from 2026-11-20 00:00 to 2026-11-23 04:00 UTC" in notice
    _, notice = selection_notices(list_files("/data", "a"), [])
    assert "by modification time, they date from 2026-11-21 12:00 to 2026-11-21 12:00 UTC" in notice
    assert list(selection_notices([], [])) == []
