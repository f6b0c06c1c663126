"""What retrieval loses by each `--output-dtype`: stored predictions of the demo against its bank.

    lvm-batch demo && python tests/benchmarks/stored_predictions.py lvm-batch-demo

It prints the table of docs/output.md. A row's own context vectors do not count, as in a run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import polars as pl
import pyarrow as pa

from lvm_batch.io import decode_predictions, read_predictions
from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.schema import OutputDtype
from lvm_batch.io.vectors.stored import encode, stored_type

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

DIM, FIRST = 768, (1, 5, 10)
SAME = 0.9999  # the cosine from which on two vectors are one


def floats(column: pl.Series) -> Floats:
    """The vectors in a column of bytes, of unit norm, float32 (n, vectors in a row, dim)."""
    vectors = np.frombuffer(b"".join(column), "<f4").reshape(len(column), -1, DIM)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return unit


def found(predictions: Floats, bank: Floats, own: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The bank's rows in the order of their cosines with each prediction, those of its own context last."""
    cosines = predictions @ bank.T
    cosines[own] = -2
    return np.argsort(-cosines, axis=1, kind="stable")


def recalls(order: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> str:
    """How often the wanted row is among the first, as cells of the table."""
    shares = ((order[:, :first] == wanted[:, None]).any(axis=1).mean() for first in FIRST)
    return " | ".join(f"{share:.3f}" for share in shares)


def main(demo: Path) -> None:
    """Print the table."""
    windows = pl.read_parquet(demo / "windows/*.parquet")
    bank = np.array(open_bank(str(demo / "bank")).vectors, np.float32)
    exact = read_predictions(demo / "predictions").collect()["prediction"].to_numpy()
    own = (np.einsum("nld,md->nlm", floats(windows["context"]), bank) > SAME).any(axis=1)
    following = (floats(windows["target"])[:, 0] @ bank.T).argmax(axis=1)
    nearest = found(exact, bank, own)[:, 0]
    for dtype in get_args(OutputDtype):
        column = encode(exact, stored_type(dtype, DIM))
        stored = decode_predictions(pa.table({"prediction": column, "status": ["ok"] * len(exact)}))
        order = found(stored, bank, own)
        cosine = np.einsum("nd,nd->n", stored, exact).mean()
        print(f"| `{dtype}` | {cosine:.4f} | {recalls(order, nearest)} | {recalls(order, following)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
