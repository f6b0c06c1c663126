"""Tests of a file's columns: its own, and those of its partition folders."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lvm_batch.io.dataset.column_checks import refuse_folders
from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.dataset.partitions import folder_schema, folder_texts
from lvm_batch.io.dataset.units import DatasetFormat, read_footers
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import OUTPUT_COLUMNS, ColumnNames

FORMAT = DatasetFormat()


def folder_values(path: str, name: str | None = None, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values that a file's folders give for column roles; ``name`` is its name relative to the input."""
    file = InputFile(path, name or path.rpartition("/data/")[2], 1, 1)
    columns = FORMAT.columns(pa.schema(list((own or {}).items())), file)
    return {name: value.as_py() for name, value in columns.of_folders.items()}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("lane=sci-fact", {"lane": "sci-fact"}),
        ("lane=policy%2Fprocedure", {"lane": "policy/procedure"}),
        ("lane=2024", {"lane": "2024"}),
        ("lane=", {"lane": ""}),
        ("lane=a=b", {"lane": "a=b"}),
        ("lane=%FF", {"lane": "%FF"}),
        ("lane=__HIVE_DEFAULT_PARTITION__", {"lane": None}),
        ("context_tokens=385", {"context_tokens": 385}),
        ("context_tokens=__HIVE_DEFAULT_PARTITION__", {"context_tokens": None}),
        ("context_tokens=", {"context_tokens": None}),
        ("context_tokens=many", {"context_tokens": "many"}),
        ("context_tokens=1_0", {"context_tokens": "1_0"}),
        ("context_tokens=\u0667", {"context_tokens": "\u0667"}),
        ("context_tokens=12345678901234567890", {"context_tokens": "12345678901234567890"}),
        ("tokens=-1/position=07", {"tokens": -1, "position": 7}),
        ("article_id=007", {"article_id": "007"}),
        ("article_id=7/split=ood", {"article_id": "7", "split": "ood"}),
        ("lane=a/lane=b", {"lane": "b"}),
        ("date=2026-11-20/lane=x/hour=3", {"lane": "x"}),
        ("context=a/target=b/vector=c", {}),
        ("Lane=x", {}),
        ("part/=x/lane", {}),
    ],
)
def test_a_folder_gives_texts_and_numbers(folder: str, expected: dict[str, Any]) -> None:
    """Text stays text; columns without a role and vectors are never taken from folders."""
    assert folder_values(f"/in/data/{folder}/a.parquet") == expected


def test_a_null_has_the_type_of_its_role() -> None:
    """A null partition is an unknown lane or count, not a column of type null, which would count as absent."""
    nulls = "/".join(f"{name}=__HIVE_DEFAULT_PARTITION__" for name in ("lane", "context_tokens"))
    columns = FORMAT.columns(pa.schema([]), InputFile(f"/d/{nulls}/a", f"{nulls}/a", 1, 1))
    assert [field.type for field in columns.schema] == [pa.string(), pa.int64()]


def test_a_files_own_column_wins_over_its_folders() -> None:
    """The file's own column wins unless its type is null."""
    path = "/in/data/lane=x/a.parquet"
    assert folder_values(path, own={"lane": pa.string()}) == {}
    assert folder_values(path, own={"lane": pa.null()}) == {"lane": "x"}
    columns = FORMAT.columns(
        pa.schema({"lane": pa.null(), "id": pa.int8()}), InputFile(path, "lane=x/a", 1, 1)
    )
    assert columns.schema == pa.schema({"id": pa.int8(), "lane": pa.string()})


@pytest.mark.parametrize(
    ("path", "name", "expected", "kept"),
    [
        ("/d/lane=x/a", "lane=x/a", {"lane": "x"}, {"lane"}),
        ("/d/lane=x/a", "a", {"lane": "x"}, set()),
        ("/d/lane=x/split=ood/a", "split=ood/a", {"lane": "x", "split": "ood"}, {"split"}),
        ("/lane=x/data/a", "a", {}, set()),
        ("s3://b/lane=x/a", "a", {"lane": "x"}, set()),
    ],
)
def test_partition_folders_above_the_input_count(
    path: str, name: str, expected: dict[str, str], kept: set[str]
) -> None:
    """A file has the same roles however it is given; values missing from its output path are written as columns."""
    assert folder_values(path, name) == expected
    assert FORMAT.columns(pa.schema([]), InputFile(path, name, 1, 1)).kept == kept


def test_roles_have_the_names_given_by_option() -> None:
    """Folders are looked up by the column names and types that options give."""
    fmt = DatasetFormat(ColumnNames(lane="topic", context_tokens="n"))
    columns = fmt.columns(pa.schema([]), InputFile("/d/topic=5/n=5/lane=z/a", "topic=5/n=5/lane=z/a", 1, 1))
    assert {name: value.as_py() for name, value in columns.of_folders.items()} == {"topic": "5", "n": 5}


@pytest.mark.parametrize("name", [*OUTPUT_COLUMNS, "Status", "ROUTE"])
def test_a_folder_called_like_an_output_column_is_refused(name: str) -> None:
    """Readers that parse folders, such as DuckDB, would replace the output column by the folder's value."""
    ((_, error),) = read_footers([InputFile(f"/d/{name}=x/a", f"{name}=x/a", 1, 1)], FORMAT)
    assert isinstance(error, ColumnError)
    assert f"/d/{name}=x/a is in a folder that adds a column `{name}`" in error.args[0]
    refuse_folders(folder_texts("a"), f"/d/{name}=x/a")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["7", "8"], pa.int64()),
        (["07", "8"], pa.int64()),
        (["007", "7"], pa.string()),
        (["0", "-0"], pa.string()),
        (["7", "x"], pa.string()),
        (["\u0667", "8"], pa.string()),
        (["2026-11-20", "2026-11-21"], pa.date32()),
        (["2026-11-20", "2026-11-31"], pa.string()),
    ],
)
def test_folders_types_keep_values_apart(values: list[str], kind: Any) -> None:  # noqa: ANN401
    """Values become numbers or dates only if no two folders get the same value."""
    assert folder_schema(f"n={value}/a" for value in values).field("n").type == kind


def test_what_is_encoded_is_decoded_as_far_as_it_is_text() -> None:
    """Names and values are percent-decoded; bytes that are not UTF-8 stay encoded, to keep folders distinct."""
    assert folder_texts("a%20b=c%2Fd/x=%FF/y=%FE/f") == {"a b": "c/d", "x": "%FF", "y": "%FE"}
