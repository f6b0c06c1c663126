"""Every command says before work begins which files it skips, which articles are cut, and how it selects."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import sample, windows, write_windows

from lvm_batch.io.output.commit import OutputFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Any]

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two articles, one continued in another file and one in two runs, beside files that hold no data."""
    rows = sample().slice(0, 60)
    folder = tmp_path / "in"
    folder.mkdir()
    parts = {
        "a": [(0, 20, 1), (30, 10, 2), (20, 10, 1)],
        "b": [(40, 20, 2)],
    }
    for name, runs in parts.items():
        tables = [
            rows.slice(first, n_rows)
            .select(["vector"])
            .append_column("article_id", pa.array([article] * n_rows))
            .append_column("position", pa.array(range(first, first + n_rows)))
            for first, n_rows, article in runs
        ]
        pq.write_table(pa.concat_tables(tables), folder / f"{name}.parquet")
    (folder / "README.md").write_text("read me")
    (folder / "a_$folder$").touch()
    return folder


OTHERS = "2 other files are not read: README.md, a_$folder$"
CUTS = "2 articles cut into several runs (2 cuts): `1` is twice in {0}/a.parquet."


def test_a_plan_lists_what_is_not_read(
    lvm_batch: Command, models: Path, dataset: Path, tmp_path: Path
) -> None:
    """The plan says what the cuts cost, which depends on `--pad`."""
    command = ("plan", dataset, "--model", models / "amn.pt", "--output", tmp_path / "out")
    notices = lvm_batch(*command).values["notices"]
    assert OTHERS in notices
    (cuts,) = (notice for notice in notices if notice.startswith(CUTS.format(dataset)))
    assert "so 8 rows more have no prediction, and 2 more have no target" in cuts
    padded = lvm_batch(*command, "--pad", "repeat").values["notices"]
    assert any("so 8 rows more are padded" in notice for notice in padded)


def test_a_run_prints_and_records_what_is_not_read(predict: Command, dataset: Path, tmp_path: Path) -> None:
    """A run prints it to stderr before work begins and writes it to the summary."""
    result = predict(dataset, "--output", tmp_path / "out")
    assert result.code == 0
    summary = OutputFolder(str(tmp_path / "out")).summary()
    for text in (OTHERS, CUTS.format(dataset)):
        assert text in result.stderr
        assert any(notice.startswith(text) for notice in summary["notices"])
    assert result.values["rows_by_status"]["short_context"] == 4 * 2 + 8


def test_inspect_lists_what_is_not_read(lvm_batch: Command, dataset: Path) -> None:
    """Inspect reports it as notes and as values; for whole articles it reports nothing."""
    values = lvm_batch("inspect", dataset).values
    assert values["notices"][0] == OTHERS
    assert values["notices"][1].startswith(CUTS.format(dataset))
    assert values["cut_articles"] == {
        "articles": 2,
        "cuts": 2,
        "rows_of_short_context": 8,
        "in_several_files": 1,
        "example": {"article": "1", "files": [f"{dataset}/a.parquet"]},
    }
    (dataset / "a.parquet").unlink()
    assert lvm_batch("inspect", dataset).values["cut_articles"] is None


def test_training_and_evaluation_list_what_is_not_read(
    lvm_batch: Command, models: Path, dataset: Path, tmp_path: Path
) -> None:
    """`train`, `evaluate` and the checks of a promotion lose the same windows."""
    result = lvm_batch("train", dataset, "--arch", "amn", "--output", tmp_path / "new", "--epochs", 1)
    assert OTHERS in result.stderr
    assert CUTS.format(dataset) in result.stderr
    judged = lvm_batch("evaluate", dataset, "--model", models / "amn.pt").values
    verified = lvm_batch("models", "verify", models / "amn.pt", "--data", dataset).values
    for notices in (judged["notices"], verified["notes"]):
        assert OTHERS in notices
        assert any(notice.startswith(CUTS.format(dataset)) for notice in notices)


def test_banks_and_packs_list_what_they_do_not_read(
    lvm_batch: Command, dataset: Path, tmp_path: Path
) -> None:
    """They name the files left unread; a cut article costs them nothing, since they need no windows."""
    built = lvm_batch("bank", "build", dataset, "--output", tmp_path / "bank")
    assert (built.code, built.values["count"]) == (0, 60)
    assert OTHERS in built.stderr
    packed = lvm_batch("pack", dataset, "--output", tmp_path / "packed")
    assert packed.code == 0
    assert OTHERS in packed.values["notices"]


def test_a_selection_says_how_it_was_made(lvm_batch: Command, models: Path, tmp_path: Path) -> None:
    """`Date=` folders decide what is selected; without them the files' modification times do, and a notice says so."""
    contexts, targets = windows()
    for day in (20, 21):
        write_windows(tmp_path / f"in/Date=2026-11-{day}/a.parquet", contexts[:3], targets[:3])

    def plan(since: str) -> tuple[int, str]:
        values = lvm_batch(
            "plan",
            tmp_path / "in",
            "--model",
            models / "amn.pt",
            "--output",
            tmp_path / "out",
            "--since",
            since,
        ).values
        return values["files"], json.dumps(values["notices"])

    assert plan("2026-11-21")[0] == 1
    n_files, notices = plan("2026-11-22")
    assert n_files == 0
    assert "none of the files found (2) is selected: by the folders date=" in notices
    assert "2026-11-20 00:00 to 2026-11-21 00:00 UTC" in notices
    shutil.move(tmp_path / "in/Date=2026-11-20", tmp_path / "in/first")
    shutil.rmtree(tmp_path / "in/Date=2026-11-21")
    n_files, notices = plan("2020-01-01")
    assert n_files == 1
    assert "selected by the time they were last modified" in notices


@pytest.mark.parametrize(
    ("column", "folder", "values", "differs"),
    [
        ("lane", "news", ["news", None], None),
        ("lane", "news", ["sci-fact", "news"], "sci-fact"),
        ("lane", "__HIVE_DEFAULT_PARTITION__", ["news", None], "news"),
        ("lane", "news", [None, None], None),
        ("context_tokens", "07", [7, 7], None),
        ("context_tokens", "7", [7, 8], 8),
        ("other", "x", ["y", "z"], None),
    ],
)
def test_a_folder_that_contradicts_its_file_is_a_notice(
    lvm_batch: Command,
    tmp_path: Path,
    column: str,
    folder: str,
    values: list[Any],
    differs: Any,  # noqa: ANN401
) -> None:
    """The file's own column wins. If its statistics show a different value, one notice says so for all files."""
    kind = pa.int64() if column == "context_tokens" else pa.string()
    for name in "ab":
        path = tmp_path / f"in/{column}={folder}/{name}.parquet"
        write_windows(path, windows()[0][:2], columns={column: pa.array(values, kind)})
    notices = [
        n for n in lvm_batch("inspect", tmp_path / "in").values["notices"] if "its folder disagrees" in n
    ]
    if differs is None:
        assert notices == []
    else:
        (notice,) = notices
        assert notice.startswith(f"`{column}` is {differs!r} in {tmp_path}/in/{column}={folder}/a.parquet")
        assert "(and 1 more file)" in notice
