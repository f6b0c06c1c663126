"""Tests of commands to paste: quoted, named after the dataset, and never over what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvm_batch.jobs.datasets.command_lines import base_path, command, free_path, from_here, sort_command
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_words_are_quoted_for_a_shell() -> None:
    """A word with a blank or a sign that a shell acts on is quoted."""
    assert command("run", "my data", "in/*.parquet") == "lvm-batch run 'my data' 'in/*.parquet'"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["data/"], "data"),
        (["data/x.parquet"], "x"),
        (["data/part-*.parquet"], "data"),
        (["data/**/*.parquet"], "data"),
        (["s3://bucket/sets/mine/"], "mine"),
        (["s3://bucket/sets/date=*/*.parquet"], "sets"),
        (["data/x.parquet", "data/y.parquet"], "dataset"),
    ],
)
def test_outputs_are_named_after_the_dataset(tmp_path: Path, arguments: list[str], name: str) -> None:
    """A file gives its name without a suffix, a folder or a pattern that of its folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.parquet").touch()
    assert base_path(arguments) == name


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A path that is taken gets a number."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x-2").mkdir()
    assert (free_path("y"), free_path("x")) == ("y", "x-3")


def test_paths_are_shown_from_here(tmp_path: Path) -> None:
    """Only paths below the working folder are shortened."""
    assert from_here(f"{tmp_path}/in/a") == "in/a"
    assert from_here(f"{tmp_path}2/in/a") == f"{tmp_path}2/in/a"


def test_columns_without_their_usual_names_are_named() -> None:
    """The command that sorts names the columns of sequences that are not called as usual, and no others."""
    settings = RunSettings(dataset=("in",), article_column="doc", lane_column="topic")
    assert sort_command(settings) == "lvm-batch pack in --article-column doc --sort --output in-sorted"
