"""Windows as people write them: one row is a context, and perhaps the true next vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from support.wild.tables import write
from support.wild.truth import Answer, Wild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_N_ROWS = 90


def nested_contexts(folder: Path) -> Wild:
    """A list of five lists a row, and the next vector."""
    contexts, targets, texts = _windows(5, 64)
    columns = {
        "contexts": pa.array(contexts.tolist(), pa.list_(pa.list_(pa.float32()))),
        "targets": pa.array(list(targets), pa.list_(pa.float32())),
        "sample_id": texts,
    }
    return _wild(write(folder / "windows.parquet", **columns), contexts, targets, texts)


def flat_half(folder: Path) -> Wild:
    """Flat float16 lists under the usual name: only the target says where a vector ends."""
    contexts, targets, texts = _windows(5, 48)
    flat = contexts.reshape(_N_ROWS, -1).astype(np.float16)
    columns = {
        "context": pa.array(list(flat), pa.list_(pa.float16())),
        "target": pa.array(list(targets), pa.list_(pa.float32())),
        "key": texts,
    }
    exact = flat.astype(np.float32).reshape(contexts.shape)
    return _wild(write(folder / "windows.parquet", **columns), exact, targets, texts)


def input_tensors(folder: Path) -> Wild:
    """Tensors `input` and vectors `label`, as a data loader takes them."""
    contexts, targets, texts = _windows(5, 32)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(contexts.ravel()), 5 * 32)
    columns = {
        "input": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (5, 32)), storage),
        "label": pa.FixedSizeListArray.from_arrays(pa.array(targets.ravel()), 32),
        "example": texts,
    }
    return _wild(write(folder / "train.parquet", **columns), contexts, targets, texts)


def three_vectors(folder: Path) -> Wild:
    """Contexts of three vectors and no target, for a model that reads three."""
    contexts, _, texts = _windows(3, 32)
    columns = {
        "id": texts,
        "context_vectors": pa.array(contexts.tolist(), pa.list_(pa.list_(pa.float32(), 32), 3)),
    }
    return _wild(write(folder / "windows.parquet", **columns), contexts, None, texts)


def x_and_y(folder: Path) -> Wild:
    """Arrays `X` and `y` in one file, as notebooks keep them."""
    contexts, targets, texts = _windows(5, 32)
    np.savez(folder / "train.npz", X=contexts, y=targets, names=np.array(texts))
    return _wild(folder / "train.npz", contexts, targets, texts)


def _windows(length: int, dim: int) -> tuple[Floats, Floats, list[str]]:
    """Return contexts (n, length, dim), targets (n, dim), and a text for each."""
    rng = np.random.default_rng(4)
    both = rng.standard_normal((_N_ROWS, length + 1, dim)).astype(np.float32)
    return both[:, :-1], both[:, -1], [f"window {row}" for row in range(_N_ROWS)]


def _wild(path: Path, contexts: Floats, targets: Floats | None, texts: list[str]) -> Wild:
    answers = {
        text: Answer("ok", contexts[row], None if targets is None else targets[row])
        for row, text in enumerate(texts)
    }
    _, length, dim = contexts.shape
    return Wild(str(path), texts, [], answers, dim, length)


CONTEXTS: tuple[Callable[[Path], Wild], ...] = (
    nested_contexts,
    flat_half,
    input_tensors,
    three_vectors,
    x_and_y,
)
