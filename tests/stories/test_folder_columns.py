"""A column in folder names works in every command as the same column inside the files does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.datasets import sample, windows, write_windows

from lvm_batch.io import read_predictions
from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset
from lvm_batch.jobs.reports.data import gather
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.train import TrainSettings
from lvm_batch.jobs.training.training_rows import read_training_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Any]

pytestmark = pytest.mark.slow

ROWS = 12
FILES = [
    {"lane": "sci-fact", "split": "in_dist", "context_tokens": 384, "tokens": 70, "article_id": "007"},
    {"lane": "news", "split": "ood", "context_tokens": 385, "tokens": 80, "article_id": "7"},
    {"lane": "policy/procedure", "split": "ood", "context_tokens": None, "tokens": None, "article_id": "x"},
    {"lane": None, "split": None, "context_tokens": 9, "tokens": 1, "article_id": "y z"},
]
"""The values that all rows of a file share, file by file."""

PARTS = {
    "windows": ("lane", "split", "context_tokens", "article_id"),
    "sequences": ("lane", "split", "tokens", "article_id"),
}


def write_dataset(root: Path, layout: str, *, in_folders: bool) -> Path:
    """Write a file for each of ``FILES``, its constant columns in folder names or in the file; names sort alike."""
    for number, values in enumerate(FILES):
        columns = {name: values[name] for name in PARTS[layout]}
        folders = "/".join(f"{name}={_encoded(value)}" for name, value in columns.items())
        path = root / (f"n={number}/{folders}/part.parquet" if in_folders else f"n={number}/part.parquet")
        held = {} if in_folders else {name: [value] * ROWS for name, value in columns.items()}
        _write(path, layout, number * ROWS, held)
    return root


def _encoded(value: object) -> str:
    return (
        "__HIVE_DEFAULT_PARTITION__" if value is None else str(value).replace("/", "%2F").replace(" ", "%20")
    )


def _write(path: Path, layout: str, first: int, held: dict[str, list[Any]]) -> None:
    if layout == "windows":
        contexts, targets = windows()
        write_windows(
            path, contexts[first : first + ROWS], targets[first : first + ROWS], columns=_typed(held)
        )
        return
    rows = sample().slice(first, ROWS).select(["vector"])
    rows = rows.append_column("position", pa.array(range(ROWS)))
    path.parent.mkdir(parents=True)
    for name, column in _typed(held).items():
        rows = rows.append_column(name, column)
    pq.write_table(rows, path, row_group_size=5)


def _typed(held: dict[str, list[Any]]) -> dict[str, pa.Array]:
    numbers = ("context_tokens", "tokens")
    return {name: pa.array(v, pa.int64() if name in numbers else pa.string()) for name, v in held.items()}


@pytest.fixture(params=list(PARTS))
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str]:
    """One dataset twice, its columns in folder names and in the files, and its layout."""
    layout = request.param
    return (
        write_dataset(tmp_path / "told", layout, in_folders=True),
        write_dataset(tmp_path / "held", layout, in_folders=False),
        layout,
    )


def test_rows_take_the_same_routes(predict: Command, twins: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Predictions, routes, reasons and figures are equal; readers find the columns once, in the output's paths."""
    in_folders, in_files, layout = twins
    summaries = [
        predict(dataset, "--output", tmp_path / f"out-{dataset.name}").values
        for dataset in (in_folders, in_files)
    ]
    frames = [
        read_predictions(tmp_path / f"out-{dataset.name}").collect() for dataset in (in_folders, in_files)
    ]
    columns = ["prediction", "cosine", "route", "escalation_reasons", "status", *PARTS[layout]]
    assert frames[0].select(columns).equals(frames[1].select(columns))
    assert frames[0]["route"].drop_nulls().unique().len() == 2
    for name in ("rows_by_route", "rows_by_reason", "cosine_by_split", "criteria_not_evaluated"):
        assert summaries[0][name] == summaries[1][name]
    assert set(summaries[0]["cosine_by_split"]) == {"in_dist", "ood"}
    first = next((tmp_path / "out-told").rglob("*.parquet"))
    assert not set(PARTS[layout]) & set(pq.read_schema(first).names)
    reported = [gather(OutputFolder(str(tmp_path / f"out-{name}"))).columns for name in ("told", "held")]
    for labels in ([each.lane for each in reported], [each.split for each in reported]):
        assert all(label is not None for label in labels)
        assert labels[0].names == labels[1].names
        np.testing.assert_array_equal(labels[0].codes, labels[1].codes)


def test_inspect_finds_the_same(lvm_batch: Command, twins: tuple[Path, Path, str]) -> None:
    """`inspect` finds the partitions, and reports no criterion without its column."""
    of_folders, of_files = (lvm_batch("inspect", dataset).values for dataset in twins[:2])
    for name in ("columns", "criteria_not_evaluated", "layouts", "rows"):
        assert of_folders[name] == of_files[name]
    assert of_folders["sample"]["by_status"] == of_files["sample"]["by_status"]
    assert of_folders["criteria_not_evaluated"] == {}


def test_models_are_trained_and_evaluated_on_the_same_rows(twins: tuple[Path, Path, str]) -> None:
    """Articles, splits, lanes and token counts are the same in training, in evaluation and in what uses them."""
    trained = [read_training_rows(TrainSettings(dataset=(str(dataset),))) for dataset in twins[:2]]
    assert trained[0].ood.tolist() == trained[1].ood.tolist()
    assert trained[0].ood.any()
    assert trained[0].articles.tolist() == trained[1].articles.tolist()
    assert len(set(trained[0].articles.tolist())) == len(FILES)
    judged = [
        list(JudgedDataset(EvaluateSettings(dataset=(str(dataset),)), dim=768)) for dataset in twins[:2]
    ]
    for in_folders, in_files in zip(*judged, strict=True):
        for name in ("contexts", "targets", "articles", "splits", "lanes", "context_tokens"):
            assert np.array_equal(
                getattr(in_folders, name),
                getattr(in_files, name),
                equal_nan=name in {"context_tokens", "targets"},
            )
    assert len({article for rows in judged[0] for article in rows.articles.tolist()}) == len(FILES)


def test_packed_rows_keep_their_folders(
    predict: Command, lvm_batch: Command, twins: tuple[Path, Path, str], tmp_path: Path
) -> None:
    """Packed rows take the routes that they took before packing."""
    assert lvm_batch("pack", twins[0], "--output", tmp_path / "packed").code == 0
    for dataset in (tmp_path / "packed", twins[1]):
        predict(dataset, "--output", tmp_path / f"out-{dataset.name}")
    packed, plain = (
        read_predictions(tmp_path / f"out-{name}").select("route", "lane", "n").collect()
        for name in ("packed", "held")
    )
    assert packed.equals(plain)


def test_a_partition_given_as_the_dataset_keeps_its_columns(
    predict: Command, lvm_batch: Command, tmp_path: Path
) -> None:
    """A file's route does not depend on how it is given; the output holds columns that its path does not."""
    folder = write_dataset(tmp_path / "in", "windows", in_folders=True) / "n=0"
    lane = folder / "lane=sci-fact"
    predict(lane, "--output", tmp_path / "out")
    rows = read_predictions(tmp_path / "out").collect()
    assert rows["lane"].to_list() == ["sci-fact"] * ROWS
    assert rows["route"].to_list() == ["gru"] * ROWS
    assert rows["split"].to_list() == ["in_dist"] * ROWS
    (written,) = (tmp_path / "out").rglob("*.parquet")
    assert "lane" in pq.read_schema(written).names
    assert "n" not in pq.read_schema(written).names
    lvm_batch("pack", lane, "--output", tmp_path / "packed")
    (packed,) = (tmp_path / "packed").rglob("*.parquet")
    assert pq.ParquetFile(packed).read(["lane"])["lane"].to_pylist() == ["sci-fact"] * ROWS


def test_a_files_own_column_wins(predict: Command, tmp_path: Path) -> None:
    """A file below `lane=sci-fact` that has its own lane column is routed by that column."""
    contexts, targets = windows()
    for name, columns in (("a", {"lane": ["news"] * 5}), ("b", {}), ("c", {"lane": pa.nulls(5)})):
        path = tmp_path / f"in/lane=sci-fact/{name}.parquet"
        write_windows(path, contexts[:5], targets[:5], columns=columns)
    predict(tmp_path / "in", "--output", tmp_path / "out")
    routes = [
        pq.ParquetFile(path).read(["route"])["route"]
        for path in sorted((tmp_path / "out").rglob("*.parquet"))
    ]
    assert [column.unique().to_pylist() for column in routes] == [["amn"], ["gru"], ["gru"]]


def test_a_renamed_folder_column_is_written_by_its_new_name(predict: Command, tmp_path: Path) -> None:
    """With `--rename` the column is written to the files, since the path holds the old name."""
    dataset = write_dataset(tmp_path / "in", "windows", in_folders=True)
    assert predict(dataset, "--output", tmp_path / "out", "--rename", "lane=topic").code == 0
    rows = read_predictions(tmp_path / "out").collect()
    assert rows["topic"].to_list() == rows["lane"].to_list()


def test_another_folder_makes_another_job(predict: Command, tmp_path: Path) -> None:
    """Folder values decide routes, so a file in a renamed folder makes a different job."""
    dataset = write_dataset(tmp_path / "in", "windows", in_folders=True)
    assert predict(dataset, "--output", tmp_path / "out").code == 0
    (dataset / "n=0/lane=sci-fact").rename(dataset / "n=0/lane=news")
    refused = predict(dataset, "--output", tmp_path / "out")
    assert refused.code == 2
    assert "holds another job" in json.dumps(refused.values)


def test_other_readers_find_folder_columns(predict: Command, tmp_path: Path) -> None:
    """Arrow and polars read the output's folders as the run read the input's."""
    dataset = write_dataset(tmp_path / "in", "windows", in_folders=True)
    predict(dataset, "--output", tmp_path / "out")
    arrow = ds.dataset(tmp_path / "out", partitioning=ds.partitioning(flavor="hive"))
    assert arrow.to_table(["lane"])["lane"].to_pylist() == [v["lane"] for v in FILES for _ in range(ROWS)]
    lazy = pl.scan_parquet(tmp_path / "out/**/*.parquet", hive_partitioning=True)
    assert set(lazy.select("lane").collect()["lane"].to_list()) >= {"sci-fact", "news"}


@pytest.mark.parametrize("layout", list(PARTS))
def test_a_count_that_is_no_number_is_refused(lvm_batch: Command, tmp_path: Path, layout: str) -> None:
    """Inspect says what a run would refuse: the problem names the file and the option."""
    part = {"windows": "context_tokens", "sequences": "tokens"}[layout]
    _write(tmp_path / f"in/{part}=many/article_id=1/a.parquet", layout, 0, {})
    refused = lvm_batch("inspect", tmp_path / "in")
    assert refused.code == 0
    assert f"column `{part}` is string, but must hold integers" in json.dumps(refused.values)


def test_a_bank_takes_ids_from_folders(tmp_path: Path) -> None:
    """`id=` gives the ids of the vectors below it, as text, and so does a folder named like the id column."""
    for name in ("007", "7"):
        path = tmp_path / f"in/id={name}/doc={name}x/v.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(sample().slice(0, 3).select(["vector"]), path)
    for column, expected in ((None, ["007"] * 3 + ["7"] * 3), ("doc", ["007x"] * 3 + ["7x"] * 3)):
        build_bank(find_files([str(tmp_path / "in")]), str(tmp_path / f"bank-{column}"), id_column=column)
        assert pq.read_table(tmp_path / f"bank-{column}/ids.parquet")["id"].to_pylist() == expected


def test_an_output_from_before_folder_columns_is_another_job(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """An output from before folder columns existed is refused with the difference, and --reprocess repairs it."""
    contexts, targets = windows()
    for name in ("lane=sci-fact/a", "lane=news/b"):
        write_windows(tmp_path / f"in/{name}.parquet", contexts[:8], targets[:8], row_group_rows=4)
    arguments = (tmp_path / "in", "--output", tmp_path / "out")
    assert predict(*arguments).code == 0
    job = tmp_path / "out/_lvm_batch/job.json"
    before = json.loads(job.read_text())
    for file in before["identity"]["inputs"].values():
        del file["folders"]
    job.write_text(json.dumps(before | {"fingerprint": "f"}))
    refused = predict(*arguments)
    assert refused.code == 2
    assert "a.parquet.folders was absent, is {'lane': 'sci-fact'}" in refused.values["error"]["message"]
    assert predict(*arguments, "--reprocess", "failed").values["units_computed"] == 2
    assert predict(*arguments).values["units_computed"] == 0
