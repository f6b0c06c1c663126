"""The columns of a file are its own and its folders'."""

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


def told(path: str, name: str | None = None, own: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the folders of a file tell of the parts that columns play; ``name`` is its name below what was given."""
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
def test_a_folder_tells_texts_and_numbers(folder: str, expected: dict[str, Any]) -> None:
    """Texts stay texts; what plays no part is not told, and neither are vectors, which no folder holds."""
    assert told(f"/in/data/{folder}/a.parquet") == expected


def test_a_null_has_the_type_of_its_part() -> None:
    """It is a lane, or a count, that is not known, and no column of type null, which would count as absent."""
    nulls = "/".join(f"{name}=__HIVE_DEFAULT_PARTITION__" for name in ("lane", "context_tokens"))
    columns = FORMAT.columns(pa.schema([]), InputFile(f"/d/{nulls}/a", f"{nulls}/a", 1, 1))
    assert [field.type for field in columns.schema] == [pa.string(), pa.int64()]


def test_a_files_own_column_wins_over_its_folders() -> None:
    """Unless it is of type null, which says nothing."""
    path = "/in/data/lane=x/a.parquet"
    assert told(path, own={"lane": pa.string()}) == {}
    assert told(path, own={"lane": pa.null()}) == {"lane": "x"}
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
def test_folders_right_above_what_is_given_count(
    path: str, name: str, expected: dict[str, str], kept: set[str]
) -> None:
    """A file plays the same part however it is given; what the path of its outputs does not tell is written there."""
    assert told(path, name) == expected
    assert FORMAT.columns(pa.schema([]), InputFile(path, name, 1, 1)).kept == kept


def test_parts_have_the_names_given_by_option() -> None:
    """A folder is looked for by the name that the part's column has, and so is its type."""
    fmt = DatasetFormat(ColumnNames(lane="topic", context_tokens="n"))
    columns = fmt.columns(pa.schema([]), InputFile("/d/topic=5/n=5/lane=z/a", "topic=5/n=5/lane=z/a", 1, 1))
    assert {name: value.as_py() for name, value in columns.of_folders.items()} == {"topic": "5", "n": 5}


@pytest.mark.parametrize("name", [*OUTPUT_COLUMNS, "Status", "ROUTE"])
def test_a_folder_called_like_an_output_column_is_refused(name: str) -> None:
    """Readers of folders, such as DuckDB, would take what stands in the path for the rows' own."""
    ((_, error),) = read_footers([InputFile(f"/d/{name}=x/a", f"{name}=x/a", 1, 1)], FORMAT)
    assert isinstance(error, ColumnError)
    assert f"/d/{name}=x/a lies in a folder that gives a column `{name}`" in error.args[0]
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
    """Readers see numbers and dates where no two folders become one by it."""
    assert folder_schema(f"n={value}/a" for value in values).field("n").type == kind


def test_what_is_encoded_is_decoded_as_far_as_it_is_text() -> None:
    """Names too; bytes that are no UTF-8 stay encoded, or two folders would become one."""
    assert folder_texts("a%20b=c%2Fd/x=%FF/y=%FE/f") == {"a b": "c/d", "x": "%FF", "y": "%FE"}
