"""Tests of the messages for refused columns that a reader could take for something else."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lvm_batch.io.dataset.columns import assign_roles
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.output.writer import prediction_schema
from lvm_batch.io.schema import OUTPUT_COLUMNS, ColumnNames, Layout, Roles, WindowShape

VECTOR = pa.list_(pa.float32(), 768)
WINDOWS: dict[str, Any] = {"context": pa.list_(pa.float32(), 3840)}
SEQUENCES: dict[str, Any] = {"vector": VECTOR, "article_id": pa.string(), "position": pa.int32()}


def roles(
    columns: dict[str, Any],
    *,
    names: ColumnNames | None = None,
    dim: int = 768,
    rename: dict[str, str] | None = None,
    layout: Layout | None = None,
) -> Roles:
    """The column roles, from names and types."""
    schema = pa.schema(list(columns.items()))
    return assign_roles(
        schema,
        "a.parquet",
        names=names or ColumnNames(),
        shape=WindowShape(dim=dim),
        rename=rename,
        layout=layout,
    )


def refusal(columns: dict[str, Any], **options: Any) -> tuple[str, str]:  # noqa: ANN401
    """The message and the hint of a refusal."""
    with pytest.raises(ColumnError) as error:
        roles(columns, **options)
    message, hint = error.value.args
    return message, hint


def test_every_column_of_the_output_is_kept_free() -> None:
    """A carried column with the name of an output column would appear twice in the output file."""
    assert set(prediction_schema(pa.schema([]), dim=3).names) <= set(OUTPUT_COLUMNS)


def test_every_carried_column_is_checked() -> None:
    """All carried columns are checked, not only the first."""
    message, hint = refusal(WINDOWS | {"id": pa.int32(), "note": pa.string(), "route": pa.string()})
    assert "`route` would be carried as `route`" in message
    assert "--rename route=source_route" in hint


def test_the_first_of_several_duplicate_names_is_reported() -> None:
    """One duplicate name is reported at a time; each is fixed in the same way."""
    columns = WINDOWS | dict.fromkeys("abcd", pa.int32())
    message, _ = refusal(columns, rename={"a": "x", "b": "x", "c": "y", "d": "y"})
    assert "two columns the name `x`" in message


def test_windows_of_sequences_are_made_of_four_columns_at_most() -> None:
    """Each column is read once, whatever roles it has; carried columns of neighbouring rows are not read."""
    assigned = roles(SEQUENCES | {"tokens": pa.int16(), "note": pa.string()})
    assert assigned.window_columns == ["vector", "article_id", "position", "tokens"]
    assert roles(SEQUENCES).window_columns == ["vector", "article_id", "position"]
    shared = roles(
        {"vector": VECTOR, "article_id": pa.int64()},
        names=ColumnNames(position="article_id"),
        layout="sequences",
    )
    assert shared.window_columns == ["vector", "article_id"]


@pytest.mark.parametrize("dim", [5, 64, 320, 768, 1280])
def test_a_single_vector_may_have_any_width(dim: int) -> None:
    """A single vector may also have a width that is a multiple of five: its width is not ambiguous."""
    assert roles(SEQUENCES | {"vector": pa.list_(pa.float32(), dim)}, dim=dim).vectors == "vector"


def test_contexts_of_ambiguous_width_are_described_in_whole_vectors() -> None:
    """The message gives whole numbers of vectors for both readings: five of another width, or some of the model's."""
    message, hint = refusal({"context": pa.list_(pa.float32(), 640)}, dim=64)
    assert message.endswith("holds 5 vectors of 128 a row, and the model reads vectors of 64")
    assert hint == ("use a model of vectors of 128; if these are 10 vectors of 64, write them as lists of 64")


@pytest.mark.parametrize(
    ("columns", "dim", "advice"),
    [
        (
            {"context": pa.string()},
            768,
            (
                "each row must hold 5 vectors of 768 floats: a list of 3840, 5 lists of 768, a tensor [5, 768], or "
                "binary of 15360 (float32) or 7680 (float16) bytes"
            ),
        ),
        (
            {"context": pa.string()},
            64,
            (
                "the model reads vectors of 64: each row must hold 5 vectors of 64 floats: a list of 320, 5 lists "
                "of 64, a tensor [5, 64], or binary of 1280 (float32) or 640 (float16) bytes"
            ),
        ),
        (SEQUENCES | {"vector": pa.string()}, 768, "each row must hold one vector of 768 floats"),
    ],
)
def test_a_refusal_of_vectors_says_what_would_be_right(
    columns: dict[str, Any], dim: int, advice: str
) -> None:
    """The hint gives the numbers of this layout and this model."""
    assert refusal(columns, dim=dim)[1] == advice


def test_names_of_the_output_are_free_where_no_rows_are_written() -> None:
    """Training, evaluation and inspection read datasets that a run refuses for such names."""
    schema = pa.schema(list((WINDOWS | {"route": pa.string()}).items()))
    assigned = assign_roles(schema, "a", names=ColumnNames(), shape=WindowShape(), writes_rows=False)
    assert dict(assigned.carried) == {"route": "route"}


@pytest.mark.parametrize(
    ("there", "expected"),
    [({}, []), ({"lane": "lane"}, ["lane"]), ({"lane": "x", "split": "x"}, ["x"]), ({"split": "s"}, ["s"])],
)
def test_columns_of_a_few_texts_are_read_as_codes(there: dict[str, str], expected: list[str]) -> None:
    """Lanes and splits are read as dictionary codes, each column once, missing columns not at all."""
    columns = WINDOWS | {name: pa.string() for name in there.values()}
    assert roles(columns, names=ColumnNames(**there)).coded_columns == expected
