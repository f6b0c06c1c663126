"""Tests that column roles are found, and refused, from the schema alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lvm_batch.io.dataset.columns import assign_roles
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import OUTPUT_COLUMNS, ColumnNames, Layout, Roles, WindowShape

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT = pa.list_(pa.float32(), 3840)
VECTOR = pa.list_(pa.float32(), 768)
WINDOWS: dict[str, Any] = {"context": CONTEXT}
SEQUENCES: dict[str, Any] = {"vector": VECTOR, "article_id": pa.string(), "position": pa.int32()}


def roles(
    columns: dict[str, Any] | pa.Schema,
    names: ColumnNames | None = None,
    *,
    layout: Layout | None = None,
    rename: Mapping[str, str] | None = None,
    dim: int = 768,
) -> Roles:
    """The column roles in `a.parquet`, from names and types."""
    schema = columns if isinstance(columns, pa.Schema) else pa.schema(list(columns.items()))
    names, shape = names or ColumnNames(), WindowShape(dim=dim)
    return assign_roles(schema, "a.parquet", names=names, shape=shape, layout=layout, rename=rename)


def refusal(
    columns: dict[str, Any] | pa.Schema,
    names: ColumnNames | None = None,
    *,
    layout: Layout | None = None,
    rename: Mapping[str, str] | None = None,
    dim: int = 768,
) -> tuple[str, str]:
    """The message and hint of the refusal; the message names the file."""
    with pytest.raises(ColumnError) as error:
        roles(columns, names, layout=layout, rename=rename, dim=dim)
    message, hint = error.value.args
    assert "a.parquet" in message
    assert hint
    return message, hint


def test_a_context_column_means_windows() -> None:
    """A `context` column means the windows layout; each optional column gets its role."""
    assigned = roles(
        WINDOWS
        | {
            "id": pa.int64(),
            "target": VECTOR,
            "lane": pa.string(),
            "context_tokens": pa.int32(),
            "split": pa.string(),
        }
    )
    assert (assigned.layout, assigned.vectors, assigned.target) == ("windows", "context", "target")
    assert (assigned.lane, assigned.tokens, assigned.split) == ("lane", "context_tokens", "split")
    assert (assigned.article, assigned.position) == (None, None)
    assert dict(assigned.carried) == {name: name for name in ("id", "lane", "context_tokens", "split")}
    assert assigned.read_columns == ["context", "target", "lane", "context_tokens", "id", "split"]


def test_a_vector_column_means_sequences() -> None:
    """A `vector` column means the sequences layout, with its `tokens`; `context_tokens` and `target` are only
    carried.
    """
    assigned = roles(SEQUENCES | {"tokens": pa.int16(), "context_tokens": pa.int32(), "target": VECTOR})
    assert (assigned.layout, assigned.vectors, assigned.target) == ("sequences", "vector", None)
    assert (assigned.article, assigned.position, assigned.tokens) == ("article_id", "position", "tokens")
    assert list(assigned.carried) == ["article_id", "position", "tokens", "context_tokens", "target"]
    assert sorted(assigned.read_columns) == sorted(["vector", *assigned.carried])


def test_optional_columns_may_be_absent() -> None:
    """A windows dataset may have contexts only, with nothing to carry."""
    assigned = roles(WINDOWS)
    assert (assigned.target, assigned.lane, assigned.tokens, assigned.split) == (None, None, None, None)
    assert assigned.carried == {}
    assert assigned.read_columns == ["context"]


def test_both_layouts_at_once_need_the_layout_option() -> None:
    """If both columns exist, `--layout` is required; the vectors of the other layout are carried."""
    message, hint = refusal(WINDOWS | SEQUENCES)
    assert "both" in message
    assert "--layout windows" in hint
    assert "--layout sequences" in hint
    assert roles(WINDOWS | SEQUENCES, layout="windows").vectors == "context"
    assert roles(WINDOWS | SEQUENCES, layout="sequences").vectors == "vector"


@pytest.mark.parametrize(
    ("columns", "expected", "advice"),
    [
        ({"contexts": CONTEXT}, "`contexts`", "--context-column contexts"),
        ({"vectors": VECTOR, "x": pa.int32()}, "`x`", "--vector-column vectors"),
        ({"zzz": pa.int32()}, "`zzz`", "--context-column"),
        ({}, "no columns at all", "--context-column"),
        ({f"column_{i:02d}": pa.int32() for i in range(15)}, "and 3 more", "lvm-batch inspect"),
    ],
)
def test_no_layout_is_an_error_that_lists_the_columns(
    columns: dict[str, Any], expected: str, advice: str
) -> None:
    """The message lists the columns of the file; the hint names the option that selects the vectors."""
    message, hint = refusal(columns)
    assert "neither a `context` nor a `vector`" in message
    assert expected in message
    assert advice in hint


@pytest.mark.parametrize(
    ("missing", "instead", "flag"),
    [
        ("article_id", "article", "--article-column article"),
        ("position", "pos_in_article", "--position-column"),
    ],
)
def test_sequences_need_articles_and_positions(missing: str, instead: str, flag: str) -> None:
    """A missing column is named, with the option that maps the most similar existing column."""
    columns = {instead if name == missing else name: kind for name, kind in SEQUENCES.items()}
    message, hint = refusal(columns)
    assert f"no `{missing}` column" in message
    assert "sequences layout" in message
    assert flag in hint


def test_a_requested_layout_needs_its_columns() -> None:
    """With `--layout`, all missing columns are named in one error."""
    assert "`context`" in refusal(SEQUENCES, layout="windows")[0]
    message, _ = refusal(WINDOWS, layout="sequences")
    assert "`vector` and `article_id` and `position`" in message


def test_every_part_can_have_another_name() -> None:
    """An option replaces a default column name, which is then an ordinary column."""
    names = ColumnNames(vector="emb", article="doc", position="i", tokens="n", lane="kind", split="fold")
    columns = {"emb": VECTOR, "doc": pa.int64(), "i": pa.int64(), "n": pa.int64(), "kind": pa.string()}
    assigned = roles(columns | {"fold": pa.string(), "lane": pa.binary()}, names)
    assert (assigned.vectors, assigned.article, assigned.position, assigned.tokens) == (
        "emb",
        "doc",
        "i",
        "n",
    )
    assert (assigned.lane, assigned.split) == ("kind", "fold")
    assert "lane" in assigned.carried
    assert "--position-column NAME" in refusal(columns | {"i": pa.string()}, names)[1]


def test_a_duplicate_column_is_refused() -> None:
    """Two columns with the same name are ambiguous and refused."""
    message, _ = refusal(pa.schema([("context", CONTEXT), ("id", pa.int32()), ("id", pa.string())]))
    assert "`id` more than once" in message


@pytest.mark.parametrize("column", [*OUTPUT_COLUMNS, "ROUTE", "Amn_Cosine"])
def test_carried_columns_may_not_take_an_output_name(column: str) -> None:
    """A carried column named like an output column, in any case, is refused unless it is renamed."""
    columns = WINDOWS | {column: pa.int32()}
    message, hint = refusal(columns)
    assert f"`{column}`" in message
    assert f"--rename {column}=" in hint
    assert dict(roles(columns, rename={column: "before"}).carried) == {column: "before"}


def test_renames_do_not_collide() -> None:
    """A new name must differ from output columns and other carried columns; two columns may swap names."""
    columns = WINDOWS | {"a": pa.int32(), "b": pa.int32()}
    for taken in ("status", "Status"):
        assert f"`{taken}`" in refusal(columns, rename={"a": taken})[0]
    assert "two columns the name `b`" in refusal(columns, rename={"a": "b"})[0]
    assert dict(roles(columns, rename={"a": "b", "b": "a"}).carried) == {"a": "b", "b": "a"}


def test_vectors_may_have_an_output_name() -> None:
    """Vectors are not carried, so the predictions of one job can be the vectors of the next."""
    assigned = roles(
        {"prediction": VECTOR, "article_id": pa.string(), "position": pa.int32()},
        ColumnNames(vector="prediction"),
    )
    assert "prediction" not in assigned.carried


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_lanes_are_strings_of_any_kind(kind: Any) -> None:  # noqa: ANN401
    """Every Arrow string type is accepted for lanes."""
    assert roles(WINDOWS | {"lane": kind}).lane == "lane"


@pytest.mark.parametrize(
    "kind", [pa.int32(), pa.binary(), pa.list_(pa.string()), pa.dictionary(pa.int8(), pa.int64())]
)
def test_lanes_of_other_types_than_strings_are_refused(kind: Any) -> None:  # noqa: ANN401
    """The message gives the type, the hint the option."""
    message, hint = refusal(WINDOWS | {"lane": kind})
    assert f"`lane` is {kind}, but must hold strings" in message
    assert "--lane-column" in hint


NULLS = [pa.null(), pa.dictionary(pa.int8(), pa.null())]


@pytest.mark.parametrize("kind", NULLS)
def test_a_column_of_type_null_has_no_role(kind: Any) -> None:  # noqa: ANN401
    """A column of type null counts as absent for every role; all but a null target are carried."""
    assigned = roles(WINDOWS | dict.fromkeys(("target", "lane", "context_tokens", "split", "id"), kind))
    assert (assigned.target, assigned.lane, assigned.tokens, assigned.split) == (None, None, None, None)
    assert list(assigned.carried) == ["lane", "context_tokens", "split", "id"]
    assert roles(SEQUENCES | {"tokens": kind, "context": kind}).layout == "sequences"
    assert roles(WINDOWS | {"vector": kind}).layout == "windows"


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("part", list(SEQUENCES))
def test_a_needed_column_of_type_null_is_missing(part: str, kind: Any) -> None:  # noqa: ANN401
    """The message lists the column with its type; no hint suggests it again."""
    message, hint = refusal(SEQUENCES | {part: kind}, layout="sequences")
    assert f"no `{part}` column" in message
    assert f"`{part}` of type null" in message
    assert f"`{part}`" not in hint
    assert "neither" in refusal({"context": kind, "vector": kind})[0]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64(), pa.decimal128(38, 0)])
def test_token_counts_are_numbers_of_any_kind(kind: Any) -> None:  # noqa: ANN401
    """Every numeric type is accepted for tokens and positions; positions may also be times."""
    assert roles(SEQUENCES | {"position": pa.timestamp("us")}).position == "position"
    assert roles(WINDOWS | {"context_tokens": kind}).tokens == "context_tokens"
    assert roles(SEQUENCES | {"tokens": kind, "position": kind}).tokens == "tokens"


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        (WINDOWS | {"context_tokens": pa.string()}, "--context-tokens-column"),
        (SEQUENCES | {"tokens": pa.bool_()}, "--tokens-column"),
        (SEQUENCES | {"position": pa.string()}, "--position-column"),
    ],
)
def test_counts_of_other_types_than_numbers_are_refused(columns: dict[str, Any], flag: str) -> None:
    """Strings, booleans and times are refused as token counts and positions."""
    message, hint = refusal(columns)
    assert "must hold " in message
    assert flag in hint


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int32()),
        pa.struct([("id", pa.int32())]),
        pa.float16(),
        pa.dictionary(pa.int8(), pa.float16()),
    ],
)
def test_articles_have_ids_that_can_be_compared(kind: Any) -> None:  # noqa: ANN401
    """Lists, structs and half floats cannot be article ids; this is refused at the start, not during a run."""
    message, hint = refusal(SEQUENCES | {"article_id": kind})
    assert "`article_id`" in message
    assert "must hold strings or integers" in message
    assert "--article-column" in hint


@pytest.mark.parametrize(
    ("columns", "expected", "advice"),
    [
        ({"context": pa.list_(pa.float32(), 3839)}, "3839", "5 lists of 768"),
        ({"context": pa.binary(100)}, "100 bytes", "15360 (float32) or 7680 (float16)"),
        ({"context": pa.string()}, "string", "tensor [5, 768]"),
        (WINDOWS | {"target": CONTEXT}, "`target` holds 3840 floats", "one vector of 768"),
        (SEQUENCES | {"vector": pa.list_(pa.float32(), 767)}, "767 floats", "one vector of 768"),
    ],
)
def test_vectors_of_another_width_are_refused(columns: dict[str, Any], expected: str, advice: str) -> None:
    """The message gives the actual width, the hint the expected one."""
    message, hint = refusal(columns)
    assert expected in message
    assert advice in hint


FLAT = pa.list_(pa.float32(), 640)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (CONTEXT, "5 vectors of 768"),
        (pa.fixed_shape_tensor(pa.float32(), [3840]), "5 vectors of 768"),
        (FLAT, "5 vectors of 128"),
    ],
)
def test_contexts_of_another_width_than_the_models_are_refused(context: Any, expected: str) -> None:  # noqa: ANN401
    """A flat row does not mark vector borders: five vectors of 768 must not be read as sixty of 64."""
    message, hint = refusal({"context": context}, dim=64)
    assert f"holds {expected} a row, and the model reads vectors of 64" in message
    assert "lists of 64" in hint
    assert "model reads vectors of 64" in refusal({"context": pa.binary(15360)}, dim=64)[1]
    assert "`context`" in refusal({"context": context, "target": pa.list_(pa.float32())}, dim=64)[0]


@pytest.mark.parametrize(
    "columns",
    [
        {"context": pa.list_(pa.float32(), 320)},
        {"context": pa.list_(pa.float32(), 192)},
        {"context": pa.list_(pa.list_(pa.float32(), 64), 60)},
        {"context": pa.list_(pa.list_(pa.float32(), 64))},
        {"context": pa.fixed_shape_tensor(pa.float32(), [60, 64])},
        {"context": pa.binary(1280)},
        {"context": CONTEXT, "target": pa.list_(pa.float32(), 64)},
        {"context": CONTEXT, "target": pa.binary(256)},
    ],
)
def test_contexts_of_the_models_width_may_hold_any_number_of_vectors(columns: dict[str, Any]) -> None:
    """If the type or the target shows that vectors have 64 components, a model of 64 reads them."""
    assert roles(columns, dim=64).vectors == "context"


@pytest.mark.parametrize("n_vectors", [1, 4, 6, 10])
def test_contexts_of_the_usual_width_may_hold_any_number_of_vectors(n_vectors: int) -> None:
    """A flat row of vectors of 768 only needs to hold a whole number of them."""
    assert roles({"context": pa.list_(pa.float32(), n_vectors * 768)}).vectors == "context"
