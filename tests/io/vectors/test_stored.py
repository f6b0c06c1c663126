"""How predictions are stored in a column, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.errors import ColumnError
from lvm_batch.io.vectors.stored import (
    LARGEST_CODE,
    decode_predictions,
    encode,
    row_bytes,
    scale_of,
    stored_type,
    stored_width,
)

if TYPE_CHECKING:
    from lvm_batch.io.schema import OutputDtype

DTYPES = ("float32", "float16", "int8", "binary")
LEAST_COSINE = {"float32": 1 - 1e-6, "float16": 0.9999, "int8": 0.997, "binary": 0.7}


def unit_vectors(n_rows: int, dim: int) -> np.ndarray:
    """Random rows of unit norm, float32."""
    vectors = np.random.default_rng(0).standard_normal((n_rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored(vectors: np.ndarray, dtype: OutputDtype, status: list[str] | None = None) -> pa.Table:
    """A table of predictions as a job stores them."""
    column = encode(vectors, stored_type(dtype, vectors.shape[1]))
    labels = pa.array(status or ["ok"] * len(vectors)).dictionary_encode()
    return pa.table({"prediction": column, "status": labels})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [8, 768])
def test_decoded_predictions_point_where_they_did(dtype: OutputDtype, dim: int) -> None:
    """Every type comes back as unit vectors of float32, near to those that were stored."""
    vectors = unit_vectors(64, dim)
    table = stored(vectors, dtype)
    decoded = decode_predictions(table)
    assert (decoded.dtype, decoded.shape) == (np.float32, vectors.shape)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-3)
    assert np.einsum("nd,nd->n", decoded, vectors).mean() > LEAST_COSINE[dtype]
    kind = table["prediction"].type
    assert (stored_width(kind), table["prediction"].combine_chunks().nbytes) == (
        dim,
        64 * row_bytes(dtype, dim),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_without_a_prediction_is_nan_again(dtype: OutputDtype) -> None:
    """It is never null; it is NaN or zeros as it is stored, and NaN when it is decoded."""
    vectors = unit_vectors(3, 16)
    vectors[1] = np.nan
    table = stored(vectors, dtype, ["ok", "bad_input", "ok"])
    assert table["prediction"].null_count == 0
    decoded = decode_predictions(table)
    assert np.isnan(decoded[1]).all()
    assert np.isfinite(decoded[[0, 2]]).all()
    if dtype == "int8":
        assert table["prediction"][1].as_py() == [0] * 16
    if dtype == "binary":
        assert table["prediction"][1].as_py() == bytes(2)


def test_codes_are_symmetric_and_all_rows_have_one_scale() -> None:
    """1 becomes 127, and the negative of a row has the negative codes: products of codes order rows as cosines do."""
    vectors = np.array([[0.8, -0.6], [-0.8, 0.6], [0.0, -1.0]], np.float32)
    codes = [[102, -76], [-102, 76], [0, -LARGEST_CODE]]
    assert encode(vectors, stored_type("int8", 2)).to_pylist() == codes
    assert scale_of("int8", 2) == 1 / LARGEST_CODE


def test_signs_are_packed_from_the_highest_bit() -> None:
    """A positive component is a set bit, in the order of NumPy's packbits; zero counts as negative."""
    vectors = np.array([[1, 0, 0, 0, 0, 0, 0, 0.5], [-1, 1, 1, 1, 1, 1, 1, 1]], np.float32)
    assert encode(vectors, stored_type("binary", 8)).to_pylist() == [b"\x81", b"\x7f"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_have_the_width_all_the_same(dtype: OutputDtype) -> None:
    """An empty table decodes to no rows of its width."""
    assert decode_predictions(stored(np.empty((0, 16), np.float32), dtype)).shape == (0, 16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_and_chunks_decode_to_their_own_rows(dtype: OutputDtype) -> None:
    """A part of a table gives what the whole gives for these rows."""
    table = stored(unit_vectors(9, 16), dtype)
    parts = pa.concat_tables([table.slice(2, 3), table.slice(7)])
    np.testing.assert_array_equal(decode_predictions(parts), decode_predictions(table)[[2, 3, 4, 7, 8]])
    (batch,) = table.slice(4, 2).to_batches()
    np.testing.assert_array_equal(decode_predictions(batch), decode_predictions(table)[4:6])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"status": ["ok"]}), "no column `prediction`"),
        (pa.table({"prediction": pa.array([b"a"], pa.binary(1))}), "does not have it"),
        (pa.table({"prediction": [[0.5]]}), "which no job writes"),
    ],
)
def test_what_cannot_be_decoded_is_told(table: pa.Table, message: str) -> None:
    """The error names the column and what to do."""
    with pytest.raises(ColumnError, match=message) as caught:
        decode_predictions(table)
    assert caught.value.hint
