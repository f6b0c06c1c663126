"""The parts that columns play are found, and refused, from the schema alone."""

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
    """The roles of columns, by name and type, in `a.parquet`."""
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
    """The message and the hint with which columns are refused; the message names the file."""
    with pytest.raises(ColumnError) as refused:
        roles(columns, names, layout=layout, rename=rename, dim=dim)
    message, hint = refused.value.args
    assert "a.parquet" in message
    assert hint
    return message, hint


def test_windows_are_known_by_their_context() -> None:
    """A `context` column makes windows; each optional column gets its part."""
    found = roles(
        WINDOWS
        | {
            "id": pa.int64(),
            "target": VECTOR,
            "lane": pa.string(),
            "context_tokens": pa.int32(),
            "split": pa.string(),
        }
    )
    assert (found.layout, found.vectors, found.target) == ("windows", "context", "target")
    assert (found.lane, found.tokens, found.split) == ("lane", "context_tokens", "split")
    assert (found.article, found.position) == (None, None)
    assert dict(found.carried) == {name: name for name in ("id", "lane", "context_tokens", "split")}
    assert found.read_columns == ["context", "target", "lane", "context_tokens", "id", "split"]


def test_sequences_are_known_by_their_vector() -> None:
    """A `vector` column makes sequences; `tokens` is theirs, `context_tokens` and `target` are carried only."""
    found = roles(SEQUENCES | {"tokens": pa.int16(), "context_tokens": pa.int32(), "target": VECTOR})
    assert (found.layout, found.vectors, found.target) == ("sequences", "vector", None)
    assert (found.article, found.position, found.tokens) == ("article_id", "position", "tokens")
    assert list(found.carried) == ["article_id", "position", "tokens", "context_tokens", "target"]
    assert sorted(found.read_columns) == sorted(["vector", *found.carried])


def test_optional_columns_may_be_absent() -> None:
    """Windows of nothing but contexts have nothing to carry."""
    found = roles(WINDOWS)
    assert (found.target, found.lane, found.tokens, found.split) == (None, None, None, None)
    assert found.carried == {}
    assert found.read_columns == ["context"]


def test_both_layouts_at_once_need_a_word() -> None:
    """With both columns `--layout` decides, and is asked for; the other layout's vectors are carried."""
    message, hint = refusal(WINDOWS | SEQUENCES)
    assert "both" in message
    assert "--layout windows" in hint
    assert "--layout sequences" in hint
    assert roles(WINDOWS | SEQUENCES, layout="windows").vectors == "context"
    assert roles(WINDOWS | SEQUENCES, layout="sequences").vectors == "vector"


@pytest.mark.parametrize(
    ("columns", "said", "advice"),
    [
        ({"contexts": CONTEXT}, "`contexts`", "--context-column contexts"),
        ({"vectors": VECTOR, "x": pa.int32()}, "`x`", "--vector-column vectors"),
        ({"zzz": pa.int32()}, "`zzz`", "--context-column"),
        ({}, "no columns at all", "--context-column"),
        ({f"column_{i:02d}": pa.int32() for i in range(15)}, "and 3 more", "lvm-batch inspect"),
    ],
)
def test_no_layout_is_an_error_that_lists_the_columns(
    columns: dict[str, Any], said: str, advice: str
) -> None:
    """Without contexts or vectors, the message says what is there, the hint which option points to it."""
    message, hint = refusal(columns)
    assert "neither a `context` nor a `vector`" in message
    assert said in message
    assert advice in hint


@pytest.mark.parametrize(
    ("missing", "instead", "flag"),
    [
        ("article_id", "article", "--article-column article"),
        ("position", "pos_in_article", "--position-column"),
    ],
)
def test_sequences_need_articles_and_positions(missing: str, instead: str, flag: str) -> None:
    """A missing column is named, with the option for the nearest one that is there."""
    columns = {instead if name == missing else name: kind for name, kind in SEQUENCES.items()}
    message, hint = refusal(columns)
    assert f"no `{missing}` column" in message
    assert "sequences layout" in message
    assert flag in hint


def test_a_layout_asked_for_needs_its_columns() -> None:
    """`--layout` does not make up what is not there; all that is missing is named at once."""
    assert "`context`" in refusal(SEQUENCES, layout="windows")[0]
    message, _ = refusal(WINDOWS, layout="sequences")
    assert "`vector` and `article_id` and `position`" in message


def test_every_part_can_have_another_name() -> None:
    """Names given by option replace the usual ones, which then are columns as any other."""
    names = ColumnNames(vector="emb", article="doc", position="i", tokens="n", lane="kind", split="fold")
    columns = {"emb": VECTOR, "doc": pa.int64(), "i": pa.int64(), "n": pa.int64(), "kind": pa.string()}
    found = roles(columns | {"fold": pa.string(), "lane": pa.binary()}, names)
    assert (found.vectors, found.article, found.position, found.tokens) == ("emb", "doc", "i", "n")
    assert (found.lane, found.split) == ("kind", "fold")
    assert "lane" in found.carried
    assert "--position-column NAME" in refusal(columns | {"i": pa.string()}, names)[1]


def test_a_column_there_twice_is_refused() -> None:
    """Two columns of one name cannot be told apart."""
    message, _ = refusal(pa.schema([("context", CONTEXT), ("id", pa.int32()), ("id", pa.string())]))
    assert "`id` more than once" in message


@pytest.mark.parametrize("column", [*OUTPUT_COLUMNS, "ROUTE", "Amn_Cosine"])
def test_carried_columns_may_not_take_an_output_name(column: str) -> None:
    """One named like an output column, in any case of letters, is refused, unless it is renamed."""
    columns = WINDOWS | {column: pa.int32()}
    message, hint = refusal(columns)
    assert f"`{column}`" in message
    assert f"--rename {column}=" in hint
    assert dict(roles(columns, rename={column: "before"}).carried) == {column: "before"}


def test_renames_do_not_collide() -> None:
    """A new name may be neither an output's nor another carried column's; two columns may swap names."""
    columns = WINDOWS | {"a": pa.int32(), "b": pa.int32()}
    for taken in ("status", "Status"):
        assert f"`{taken}`" in refusal(columns, rename={"a": taken})[0]
    assert "two columns the name `b`" in refusal(columns, rename={"a": "b"})[0]
    assert dict(roles(columns, rename={"a": "b", "b": "a"}).carried) == {"a": "b", "b": "a"}


def test_vectors_may_have_an_output_name() -> None:
    """The predictions of one job can be the vectors of the next: vectors are not carried."""
    found = roles(
        {"prediction": VECTOR, "article_id": pa.string(), "position": pa.int32()},
        ColumnNames(vector="prediction"),
    )
    assert "prediction" not in found.carried


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_lanes_are_strings_of_any_kind(kind: Any) -> None:  # noqa: ANN401
    """Every way to hold strings will do for lanes."""
    assert roles(WINDOWS | {"lane": kind}).lane == "lane"


@pytest.mark.parametrize(
    "kind", [pa.int32(), pa.binary(), pa.list_(pa.string()), pa.dictionary(pa.int8(), pa.int64())]
)
def test_lanes_that_are_no_strings_are_refused(kind: Any) -> None:  # noqa: ANN401
    """The message has the type, the hint the option."""
    message, hint = refusal(WINDOWS | {"lane": kind})
    assert f"`lane` is {kind}, but must hold strings" in message
    assert "--lane-column" in hint


NULLS = [pa.null(), pa.dictionary(pa.int8(), pa.null())]


@pytest.mark.parametrize("kind", NULLS)
def test_a_column_of_type_null_plays_no_part(kind: Any) -> None:  # noqa: ANN401
    """It is carried as any other, a null target not even that, as no target is."""
    found = roles(WINDOWS | dict.fromkeys(("target", "lane", "context_tokens", "split", "id"), kind))
    assert (found.target, found.lane, found.tokens, found.split) == (None, None, None, None)
    assert list(found.carried) == ["lane", "context_tokens", "split", "id"]
    assert roles(SEQUENCES | {"tokens": kind, "context": kind}).layout == "sequences"
    assert roles(WINDOWS | {"vector": kind}).layout == "windows"


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("part", list(SEQUENCES))
def test_a_needed_column_of_type_null_is_missing(part: str, kind: Any) -> None:  # noqa: ANN401
    """The message lists it with its type, and no hint points to it again."""
    message, hint = refusal(SEQUENCES | {part: kind}, layout="sequences")
    assert f"no `{part}` column" in message
    assert f"`{part}` of type null" in message
    assert f"`{part}`" not in hint
    assert "neither" in refusal({"context": kind, "vector": kind})[0]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64()])
def test_token_counts_are_numbers_of_any_kind(kind: Any) -> None:  # noqa: ANN401
    """Every width of number will do for tokens and positions."""
    assert roles(WINDOWS | {"context_tokens": kind}).tokens == "context_tokens"
    assert roles(SEQUENCES | {"tokens": kind, "position": kind}).tokens == "tokens"


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        (WINDOWS | {"context_tokens": pa.string()}, "--context-tokens-column"),
        (SEQUENCES | {"tokens": pa.bool_()}, "--tokens-column"),
        (SEQUENCES | {"position": pa.timestamp("us")}, "--position-column"),
    ],
)
def test_counts_that_are_no_numbers_are_refused(columns: dict[str, Any], flag: str) -> None:
    """Strings, booleans and times are no counts."""
    message, hint = refusal(columns)
    assert "must hold integers" in message
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
    """Lists, structs and half floats are no article ids: that shows at the start, not in the middle of a run."""
    message, hint = refusal(SEQUENCES | {"article_id": kind})
    assert "`article_id`" in message
    assert "must hold strings or integers" in message
    assert "--article-column" in hint


@pytest.mark.parametrize(
    ("columns", "said", "advice"),
    [
        ({"context": pa.list_(pa.float32(), 3839)}, "3839", "5 lists of 768"),
        ({"context": pa.binary(100)}, "100 bytes", "15360 (float32) or 7680 (float16)"),
        ({"context": pa.string()}, "string", "tensor [5, 768]"),
        (WINDOWS | {"target": CONTEXT}, "`target` holds 3840 floats", "one vector of 768"),
        (SEQUENCES | {"vector": pa.list_(pa.float32(), 767)}, "767 floats", "one vector of 768"),
    ],
)
def test_vectors_of_another_width_are_refused(columns: dict[str, Any], said: str, advice: str) -> None:
    """The message has the width that is there, the hint what would be right."""
    message, hint = refusal(columns)
    assert said in message
    assert advice in hint


FLAT = pa.list_(pa.float32(), 640)


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (CONTEXT, "5 vectors of 768"),
        (pa.fixed_shape_tensor(pa.float32(), [3840]), "5 vectors of 768"),
        (FLAT, "5 vectors of 128"),
    ],
)
def test_contexts_of_another_width_than_the_models_are_refused(context: Any, said: str) -> None:  # noqa: ANN401
    """A flat row says of no vector where it ends: five vectors of 768 are not taken for sixty of 64."""
    message, hint = refusal({"context": context}, dim=64)
    assert f"holds {said} a row, and the model reads vectors of 64" in message
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
    """What says that its vectors are of 64, or that the target is, is read by a model of 64."""
    assert roles(columns, dim=64).vectors == "context"


@pytest.mark.parametrize("n_vectors", [1, 4, 6, 10])
def test_contexts_of_the_usual_width_may_hold_any_number_of_vectors(n_vectors: int) -> None:
    """A flat row of vectors of 768 needs no more than a whole number of them."""
    assert roles({"context": pa.list_(pa.float32(), n_vectors * 768)}).vectors == "context"
