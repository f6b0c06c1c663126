"""Tests that every encoding gives the same vectors, and every flaw its row and its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.vectors.decoding import decode_column, decode_vectors
from lvm_batch.io.vectors.flaws import Flaws
from lvm_batch.io.vectors.types import check_vector_type, vector_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lvm_batch.io.schema import Pad

LENGTH, DIM = 5, 768
WIDTH = LENGTH * DIM
FLOATS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}


def values(n_rows: int = 7, *, dtype: str = "float32", seed: int = 0) -> NDArray[Any]:
    """Random contexts, (rows, 5, 768)."""
    return np.random.default_rng(seed).standard_normal((n_rows, LENGTH, DIM)).astype(dtype)


def offsets(n_lists: int, size: int, kind: Any) -> pa.Array:  # noqa: ANN401 - Arrow publishes no types
    """Offsets of lists of equal length."""
    return pa.array(np.arange(n_lists + 1) * size, kind)


def as_fixed(leaf: pa.Array, size: int) -> pa.Array:
    """Lists of a fixed size."""
    return pa.FixedSizeListArray.from_arrays(leaf, size)


def as_list(leaf: pa.Array, size: int) -> pa.Array:
    """Lists with 32-bit offsets."""
    return pa.ListArray.from_arrays(offsets(len(leaf) // size, size, pa.int32()), leaf)


def as_large(leaf: pa.Array, size: int) -> pa.Array:
    """Lists with 64-bit offsets."""
    return pa.LargeListArray.from_arrays(offsets(len(leaf) // size, size, pa.int64()), leaf)


def as_view(leaf: pa.Array, size: int) -> pa.Array:
    """Lists that lie in the array of their values from the last one to the first."""
    starts = np.arange(len(leaf) // size)[::-1] * size
    order = (starts[:, None] + np.arange(size)).reshape(-1)
    values = leaf.take(pa.array(order))
    sizes = np.full(len(starts), size, np.int32)
    return pa.ListViewArray.from_arrays(pa.array(starts.astype(np.int32)), pa.array(sizes), values)


LISTS = {"fixed": as_fixed, "list": as_list, "large": as_large}


def as_tensor(leaf: pa.Array, shape: list[int]) -> pa.Array:
    """Tensors of a fixed shape."""
    kind = pa.fixed_shape_tensor(leaf.type, shape)
    return pa.ExtensionArray.from_storage(kind, as_fixed(leaf, int(np.prod(shape))))


def as_binary(rows: NDArray[Any]) -> pa.Array:
    """Bytes of a fixed width, little-endian."""
    return pa.array([row.tobytes() for row in rows], pa.binary(rows[0].nbytes))


ENCODINGS: dict[str, Callable[[pa.Array], pa.Array]] = {
    **{name: (lambda leaf, wrap=wrap: wrap(leaf, WIDTH)) for name, wrap in LISTS.items()},
    **{
        f"{outer} of {inner}": (lambda leaf, o=wrap_outer, i=wrap_inner: o(i(leaf, DIM), LENGTH))
        for outer, wrap_outer in LISTS.items()
        for inner, wrap_inner in LISTS.items()
    },
    "view": lambda leaf: as_view(leaf, WIDTH),
    "tensor": lambda leaf: as_tensor(leaf, [LENGTH, DIM]),
    "flat tensor": lambda leaf: as_tensor(leaf, [WIDTH]),
}
SHORTENABLE = [
    name for name in ENCODINGS if not name.startswith("fixed") and "tensor" not in name and name != "view"
]


def encode(rows: NDArray[Any], encoding: str) -> pa.Array:
    """Rows of floats in one of the encodings."""
    return ENCODINGS[encoding](pa.array(rows.reshape(-1)))


def ragged(rows: list[NDArray[np.float32] | None], encoding: str) -> pa.Array:
    """Rows of any number of floats; nested lists hold vectors of 768 and, last, the remainder."""
    nested = " of " in encoding
    listed = [None if row is None else cut(row) if nested else row.tolist() for row in rows]
    kinds = {"list": pa.list_, "large": pa.large_list, "fixed": lambda kind: pa.list_(kind, DIM)}
    kind = pa.float32()
    for name in reversed(encoding.split(" of ")):
        kind = kinds[name](kind)
    return pa.array(listed, kind)


def cut(row: NDArray[np.float32]) -> list[list[float]]:
    """The vectors of a row."""
    return [row[first : first + DIM].tolist() for first in range(0, len(row), DIM)]


def decoded(
    array: pa.Array | pa.ChunkedArray, *, pad: Pad | None = "repeat", length: int = LENGTH, dim: int = DIM
) -> tuple[NDArray[np.float32], Flaws]:
    """The contexts, decoded into a buffer with random content, and their flaws."""
    out = np.full((len(array), length, dim), 12345.0, np.float32)
    decode = decode_column if isinstance(array, pa.ChunkedArray) else decode_vectors
    return out, decode(array, out, pad=pad)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_contexts(encoding: str, dtype: str) -> None:
    """Whatever the encoding and dtype, a context is decoded to its floats as float32, and its type is accepted."""
    rows = values(dtype=dtype)
    array = encode(rows, encoding)
    contexts, flaws = decoded(array)
    np.testing.assert_array_equal(contexts, rows.astype(np.float32))
    assert flaws == Flaws()
    assert check_vector_type(array.type, length=LENGTH, dim=DIM) is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_binary_gives_the_same_contexts(dtype: str) -> None:
    """Fixed-width binary is decoded as little-endian floats: whole columns, slices and columns with null rows."""
    rows = values(dtype=dtype)
    array = as_binary(rows)
    assert check_vector_type(array.type, length=LENGTH, dim=DIM) is None
    np.testing.assert_array_equal(decoded(array)[0], rows.astype(np.float32))
    np.testing.assert_array_equal(decoded(array.slice(2, 3))[0], rows[2:5].astype(np.float32))
    contexts, flaws = decoded(pa.array([None, *array.to_pylist(), None], array.type).slice(0, 4))
    np.testing.assert_array_equal(contexts[1:], rows[:3].astype(np.float32))
    assert flaws == Flaws(bad={0: "null"})
    assert not contexts[0].any()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_of_any_number_are_decoded_row_by_row(kind: Any, dtype: str) -> None:  # noqa: ANN401
    """Each row is float32 or float16 by its number of bytes; another number and null are bad, in slices too."""
    rows = values(6, dtype=dtype)
    rows[4, 0, 0] = np.nan
    half = values(1, dtype="float16")[0]
    stored = [row.tobytes() for row in rows]
    array = pa.array([*stored, None, b"", stored[0][:-4], half.tobytes()], kind)
    assert check_vector_type(kind, length=LENGTH, dim=DIM) is None
    contexts, flaws = decoded(array)
    short = (len(stored[0]) - 4) // 4
    assert flaws == Flaws(bad={4: "nan", 6: "null", 7: "wrong_length: 0", 8: f"wrong_length: {short}"})
    np.testing.assert_array_equal(contexts[:4], rows[:4].astype(np.float32))
    np.testing.assert_array_equal(contexts[9], half.astype(np.float32))
    assert not contexts[[4, 6, 7, 8]].any()
    np.testing.assert_array_equal(decoded(array.slice(1, 2))[0], rows[1:3].astype(np.float32))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_slice_is_decoded_as_its_rows(encoding: str) -> None:
    """Slices, slices of slices and empty slices give exactly their rows."""
    rows = values(9)
    array = encode(rows, encoding)
    for first, n_rows in [(0, 9), (1, 8), (3, 2), (8, 1), (9, 0), (4, 0)]:
        contexts, flaws = decoded(array.slice(first, n_rows))
        np.testing.assert_array_equal(contexts, rows[first : first + n_rows])
        assert flaws == Flaws()
    np.testing.assert_array_equal(decoded(array.slice(2).slice(3, 2))[0], rows[5:7])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_chunks_are_decoded_as_one_column(encoding: str) -> None:
    """Chunks of any length, also empty ones, are numbered as one column."""
    rows = values(6)
    rows[4, 2, 3] = np.nan
    array = encode(rows, encoding)
    column = pa.chunked_array([array.slice(0, 1), array.slice(1, 0), array.slice(1, 2), array.slice(3)])
    contexts, flaws = decoded(column)
    assert flaws == Flaws(bad={4: "nan"})
    np.testing.assert_array_equal(np.delete(contexts, 4, 0), np.delete(rows, 4, 0))
    assert decoded(pa.chunked_array([], array.type))[1] == Flaws()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_null_rows_keep_their_place(encoding: str) -> None:
    """A null row is zeros with the reason `null`; the rows around it keep their place, in slices too."""
    rows = values(6)
    array = encode(rows, encoding).take(pa.array([0, None, 2, None, 4, 5]))
    for shown, its_rows, null in ((array, rows, [1, 3]), (array.slice(1, 4), rows[1:5], [0, 2])):
        contexts, flaws = decoded(shown)
        assert flaws == Flaws(bad=dict.fromkeys(null, "null"))
        assert not contexts[null].any()
        np.testing.assert_array_equal(np.delete(contexts, null, 0), np.delete(its_rows, null, 0))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_null_value_makes_its_row_bad(encoding: str) -> None:
    """A null among the floats makes its own row bad, whatever value lies under it, in slices too."""
    rows = values(5)
    mask = np.zeros((5, LENGTH, DIM), bool)
    mask[1, 4, 767] = mask[3, 0, 0] = True
    array = ENCODINGS[encoding](pa.array(rows.reshape(-1), mask=mask.reshape(-1)))
    assert decoded(array)[1] == Flaws(bad={1: "null", 3: "null"})
    contexts, flaws = decoded(array.slice(2, 3))
    assert flaws == Flaws(bad={1: "null"})
    np.testing.assert_array_equal(contexts[[0, 2]], rows[[2, 4]])


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if " of " in name])
def test_a_null_inner_list_makes_its_row_bad(encoding: str) -> None:
    """A context with a null vector is bad, and no other."""
    outer, inner = encoding.split(" of ")
    rows = values(4)
    vectors = LISTS[inner](pa.array(rows.reshape(-1)), DIM)
    picked: list[int | None] = list(range(20))
    picked[9] = None
    contexts, flaws = decoded(LISTS[outer](vectors.take(pa.array(picked)), LENGTH))
    assert flaws == Flaws(bad={1: "null"})
    np.testing.assert_array_equal(contexts[[0, 2, 3]], rows[[0, 2, 3]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("encoding", ["fixed", "list", "list of fixed", "tensor"])
def test_non_finite_values_are_bad(encoding: str, dtype: str) -> None:
    """One NaN or infinity makes its row bad and zero."""
    rows = values(5, dtype=dtype)
    rows[1, 3, 100], rows[2, 0, 0], rows[4, 4, 767] = np.nan, np.inf, -np.inf
    contexts, flaws = decoded(encode(rows, encoding))
    assert flaws == Flaws(bad={1: "nan", 2: "inf", 4: "inf"})
    assert not contexts[[1, 2, 4]].any()
    np.testing.assert_array_equal(contexts[[0, 3]], rows[[0, 3]].astype(np.float32))


def test_nan_is_reported_before_infinity() -> None:
    """If a row has both NaN and infinity, its reason is the NaN."""
    rows = values(1)
    rows[0, 0, :2] = np.inf, np.nan
    assert decoded(encode(rows, "fixed"))[1].bad == {0: "nan"}


@pytest.mark.parametrize("encoding", ["fixed", "large", "fixed of list"])
def test_float64_beyond_float32_is_infinite(encoding: str) -> None:
    """A float64 that float32 cannot hold makes its row `inf`, without a warning."""
    rows = values(2, dtype="float64")
    rows[0, 0, 0] = 1e39
    assert decoded(encode(rows, encoding))[1].bad == {0: "inf"}


@pytest.mark.parametrize("scale", [1e-25, 1e25, 3e38, 1e-44])
def test_extreme_values_are_not_bad(scale: float) -> None:
    """Values whose squares overflow or underflow float32 are finite and not zero."""
    rows = np.full((2, LENGTH, DIM), scale, np.float32)
    contexts, flaws = decoded(encode(rows, "fixed"))
    assert flaws == Flaws()
    np.testing.assert_array_equal(contexts, rows)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_context_of_zeros_has_no_norm(zero: float) -> None:
    """A context of zeros only is bad; a zero vector among others is not."""
    rows = values(3)
    rows[0], rows[1, 2] = zero, zero
    assert decoded(encode(rows, "fixed"))[1] == Flaws(bad={0: "zero_norm"})


def test_a_single_vector_may_be_zero() -> None:
    """A row that is one vector may be all zeros."""
    array = as_fixed(pa.array(np.zeros(3 * DIM, np.float32)), DIM)
    assert decoded(array, length=1, pad=None)[1] == Flaws()


@pytest.mark.parametrize(
    ("encoding", "width"),
    [
        (encoding, width)
        for encoding in SHORTENABLE
        for width in ((0, 1, 767, 3839, 3841, 7681) if encoding == "list" else (0, 767, 3841))
        if not (encoding.endswith("fixed") and width % DIM)
    ],
)
def test_a_row_of_no_whole_vectors_is_bad(encoding: str, width: int) -> None:
    """If the floats of a row do not make whole vectors, the reason gives their count, whatever `pad` is."""
    good = values(2).reshape(2, WIDTH)
    odd = np.ones(width, np.float32)
    contexts, flaws = decoded(ragged([good[0], odd, good[1]], encoding))
    assert list(flaws.bad) == [1]
    assert flaws.bad[1] == f"wrong_length: {width}"
    assert flaws.short == {}
    np.testing.assert_array_equal(contexts[[0, 2]].reshape(2, WIDTH), good)
    assert not contexts[1].any()


@pytest.mark.parametrize(
    ("encoding", "k"), [*((encoding, 2) for encoding in SHORTENABLE), ("list", 1), ("list", 4)]
)
def test_short_contexts_are_padded_at_the_front(encoding: str, k: int) -> None:
    """The k vectors come last; before them the first one is repeated, or zeros stand, or the row is bad."""
    full = values(3).reshape(3, WIDTH)
    array = ragged([full[0], full[1, : k * DIM], full[2]], encoding)
    vectors = full[1].reshape(LENGTH, DIM)[:k]
    repeated, flaws = decoded(array, pad="repeat")
    assert flaws == Flaws(short={1: k})
    np.testing.assert_array_equal(repeated[1], np.concatenate([vectors[:1]] * (LENGTH - k) + [vectors]))
    zeroed, flaws = decoded(array, pad="zero")
    assert flaws == Flaws(short={1: k})
    np.testing.assert_array_equal(zeroed[1, LENGTH - k :], vectors)
    assert not zeroed[1, : LENGTH - k].any()
    rejected, flaws = decoded(array, pad="reject")
    assert flaws == Flaws(bad={1: f"wrong_length: {k * DIM}"})
    for contexts in (repeated, zeroed, rejected):
        np.testing.assert_array_equal(contexts[[0, 2]].reshape(2, WIDTH), full[[0, 2]])


@pytest.mark.parametrize("encoding", SHORTENABLE)
def test_long_contexts_are_cut_to_their_last_vectors(encoding: str) -> None:
    """Of ten vectors the last five are used, without a flaw, whatever the padding."""
    long = values(2).reshape(10 * DIM)
    short = values(1, seed=1).reshape(WIDTH)
    pads: tuple[Pad, ...] = ("repeat", "zero", "reject")
    for pad in pads:
        contexts, flaws = decoded(ragged([short, long], encoding), pad=pad)
        assert flaws == Flaws()
        np.testing.assert_array_equal(contexts[1].reshape(-1), long[WIDTH:])


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_column_of_fixed_lists_may_be_short_throughout(k: int) -> None:
    """If fixed-size lists hold another number of vectors, each row is padded or truncated."""
    rows = np.random.default_rng(k).standard_normal((4, k * DIM)).astype(np.float32)
    array = as_fixed(pa.array(rows.reshape(-1)), k * DIM).take(pa.array([0, None, 2, 3]))
    assert check_vector_type(array.type, length=LENGTH, dim=DIM) is None
    contexts, flaws = decoded(array, pad="zero")
    assert flaws.bad == {1: "null"}
    assert flaws.short == ({} if k > LENGTH else dict.fromkeys([0, 2, 3], k))
    kept = min(k, LENGTH)
    np.testing.assert_array_equal(contexts[3, LENGTH - kept :].reshape(-1), rows[3, -kept * DIM :])


@pytest.mark.parametrize("widths", [(767, 769, 768, 768, 768), (0, 1536, 768, 768, 768), (1536,), (384, 384)])
def test_inner_lists_of_another_width_are_bad_though_the_total_fits(widths: tuple[int, ...]) -> None:
    """Inner lists are never concatenated: the first one of the wrong width gives the reason."""
    row = [np.ones(width, np.float32).tolist() for width in widths]
    good = cut(values(1).reshape(-1))
    contexts, flaws = decoded(pa.array([good, row, good], pa.list_(pa.list_(pa.float32()))))
    assert flaws == Flaws(bad={1: f"wrong_length: {widths[0]}"})
    assert not contexts[1].any()
    np.testing.assert_array_equal(contexts[0], contexts[2])


def test_empty_inner_lists_are_no_vectors() -> None:
    """A context of five empty lists has length 0."""
    array = pa.array([[[]] * 5, []], pa.list_(pa.list_(pa.float32())))
    assert decoded(array)[1].bad == {0: "wrong_length: 0", 1: "wrong_length: 0"}


def test_flaws_of_all_kinds_in_one_array() -> None:
    """Rows with every kind of flaw in one array each get their own reason."""
    good = values(1).reshape(WIDTH)
    rows = [
        good,
        None,
        good[:DIM],
        np.zeros(2 * DIM),
        good[:5],
        np.r_[good[:DIM], np.full(DIM, np.inf)],
        good,
    ]
    contexts, flaws = decoded(ragged(rows, "list"))
    assert flaws.short == {2: 1}
    assert flaws.bad == {1: "null", 3: "zero_norm", 4: "wrong_length: 5", 5: "inf"}
    np.testing.assert_array_equal(contexts[[0, 6]].reshape(2, WIDTH), [good, good])


def test_values_under_nulls_are_ignored() -> None:
    """The floats under a null list may be of any number and are ignored."""
    leaf = pa.array(np.arange(3 * DIM, dtype=np.float32))
    edges = pa.array([0, DIM, 2 * DIM + 5, 3 * DIM + 0], pa.int32())
    array = pa.ListArray.from_arrays(edges, leaf, mask=pa.array([False, True, False]))
    _, flaws = decoded(array, length=1, pad=None)
    assert flaws.bad == {1: "null", 2: f"wrong_length: {DIM - 5}"}


@pytest.mark.parametrize(
    "encoded",
    [
        lambda rows: as_fixed(pa.array(rows.reshape(-1)), DIM),
        lambda rows: as_list(pa.array(rows.reshape(-1)), DIM),
        lambda rows: as_large(as_fixed(pa.array(rows.reshape(-1)), DIM), 1),
        lambda rows: as_tensor(pa.array(rows.reshape(-1)), [DIM]),
        lambda rows: as_tensor(pa.array(rows.reshape(-1)), [1, DIM]),
        as_binary,
    ],
)
def test_single_vectors_have_the_same_encodings(encoded: Callable[[NDArray[Any]], pa.Array]) -> None:
    """A column of single vectors is decoded like contexts of one vector."""
    rows = values(1).reshape(LENGTH, DIM)
    array = encoded(rows)
    assert check_vector_type(array.type, length=1, dim=DIM) is None
    vectors, flaws = decoded(array, length=1, pad=None)
    np.testing.assert_array_equal(vectors[:, 0], rows)
    assert flaws == Flaws()


def test_single_vectors_are_neither_cut_nor_padded() -> None:
    """Without padding, a row of two vectors is not a single vector."""
    two = np.ones(2 * DIM, np.float32)
    assert decoded(ragged([two, two[:DIM]], "list"), length=1, pad=None)[1].bad == {0: "wrong_length: 1536"}


F32 = pa.float32()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.binary(15359), "15359 bytes"),
        (pa.binary(WIDTH * 8), "not 15360"),
        (pa.binary(3072), "3072 bytes"),
        (pa.string(), "string"),
        (pa.int64(), "int64"),
        (F32, "float"),
        (pa.list_(pa.int32()), "list<item: int32>"),
        (pa.list_(pa.string()), "list<item: string>"),
        (pa.list_(pa.decimal128(5, 2), WIDTH), "decimal"),
        (pa.struct([("x", F32)]), "struct"),
        (pa.list_(pa.list_(pa.list_(F32))), "list"),
        (pa.dictionary(pa.int32(), pa.string()), "dictionary"),
        (pa.null(), "null"),
        (pa.list_(F32, 3839), "3839 floats"),
        (pa.list_(F32, 0), "0 floats"),
        (pa.list_(pa.list_(F32, 767), 5), "767"),
        (pa.list_(pa.list_(F32, 767)), "767"),
        (pa.list_(pa.list_(F32, 1536), 5), "1536"),
        (pa.list_(pa.list_(F32, DIM), 0), "0 floats"),
        (pa.fixed_shape_tensor(F32, [DIM, LENGTH]), "[768, 5]"),
        (pa.fixed_shape_tensor(F32, [2, 1920]), "[2, 1920]"),
        (pa.fixed_shape_tensor(F32, [LENGTH, DIM], permutation=[1, 0]), "permuted"),
        (pa.fixed_shape_tensor(pa.int32(), [LENGTH, DIM]), "not vectors of floats"),
    ],
)
def test_columns_without_contexts_are_refused_by_type(kind: Any, message: str) -> None:  # noqa: ANN401
    """A column that cannot hold contexts is refused by its type, before any row is read."""
    problem = check_vector_type(kind, length=LENGTH, dim=DIM)
    assert problem is not None
    assert message in problem


@pytest.mark.parametrize("kind", [pa.list_(F32, WIDTH), pa.binary(15360), pa.list_(pa.list_(F32, DIM), 5)])
def test_contexts_are_not_single_vectors(kind: Any) -> None:  # noqa: ANN401
    """A column of contexts is refused where single vectors are expected."""
    assert check_vector_type(kind, length=1, dim=DIM)


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        (pa.list_(F32, 384), 384),
        (pa.list_(pa.list_(F32, 384)), 384),
        (pa.fixed_shape_tensor(pa.float16(), [DIM]), DIM),
        (pa.binary(1536), DIM),
        (pa.binary(3072), DIM),
        (pa.binary(4096), 1024),
        (pa.list_(F32), None),
        (pa.list_(pa.list_(F32), 1), None),
        (pa.string(), None),
    ],
)
def test_types_give_the_width_of_vectors(kind: Any, width: int | None) -> None:  # noqa: ANN401
    """The type of a vector column gives the width, or nothing if only the rows can give it."""
    assert vector_width(kind, usual=DIM) == width
