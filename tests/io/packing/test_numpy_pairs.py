"""Tests that arrays of single vectors find the ids and positions beside them, in one file or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.data_files import PACKABLE
from lvm_batch.io.dataset.files import find_files, look_for_files
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lvm_batch.io.packing.sources import Source


def floats(*shape: int) -> NDArray[np.float32]:
    """Random vectors, the same for the same shape."""
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(np.float32)


def saved(folder: Path, **arrays: NDArray[Any]) -> Path:
    """Write each array as an NPY file."""
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def sources(path: Path, **given: str) -> list[Source]:
    """The sources of a file or folder."""
    return find_sources(look_for_files([str(path)], PACKABLE).files, Reading(given))


def columns(source: Source) -> tuple[list[str], list[str]]:
    """The columns of vectors and the others."""
    return list(source.vectors), source.others.names


@pytest.mark.parametrize(
    ("arrays", "others"),
    [
        ({"vectors": 12, "ids": 0}, ["ids"]),
        ({"embeddings": 12, "doc_ids": 0, "positions": 0}, ["doc_ids", "positions"]),
        ({"wiki": 12, "wiki_ids": 0}, ["ids"]),
        ({"train_emb": 12, "train_doc_id": 0}, ["doc_id"]),
        ({"x": 12, "chunk_index": 0}, ["chunk_index"]),
    ],
)
def test_files_beside_vectors_become_columns(
    tmp_path: Path, arrays: dict[str, int], others: list[str]
) -> None:
    """Files of one value a row are columns of the vectors beside them, whatever the width is."""
    folder = saved(
        tmp_path / "in", **{name: floats(6, dim) if dim else np.arange(6) for name, dim in arrays.items()}
    )
    (source,) = sources(folder)
    assert columns(source) == (["vector"], others)
    assert (source.n_rows, source.shape.length, source.shape.dim) == (6, 1, 12)
    pack([source], str(tmp_path / "out"), packing=Packing())
    table = pq.read_table(tmp_path / "out")
    assert table[others[0]].to_pylist() == list(range(6))
    np.testing.assert_array_equal(np.frombuffer(table["vector"][2].as_py(), "<f4"), floats(6, 12)[2])


def test_shards_find_their_own_ids(tmp_path: Path) -> None:
    """Of several files of vectors each has the ids with the same number in the name."""
    parts = {f"vectors_{n}": floats(3 + n, 4) for n in range(3)} | {
        f"ids_{n}": np.arange(3 + n) for n in range(3)
    }
    found = sources(saved(tmp_path, **parts))
    assert [(source.stem, source.n_rows, source.others.names) for source in found] == [
        (f"vectors_{n}", 3 + n, ["ids"]) for n in range(3)
    ]


def test_contexts_find_their_targets(tmp_path: Path) -> None:
    """Targets beside contexts are their targets, and say where a vector ends."""
    (source,) = sources(
        saved(tmp_path, contexts=floats(4, 21), targets=floats(4, 7), lanes=np.array(list("abcd")))
    )
    assert columns(source) == (["context", "target"], ["lanes"])
    assert (source.shape.length, source.shape.dim) == (3, 7)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    (
        {"vectors": floats(4, 3), "ids": np.arange(5)},
        "ids.npy has 5 rows, but .*vectors.npy has 4",
        "--leave-out ids",
    ),
    (
        {"vectors_0": floats(4, 3), "vectors_1": floats(4, 3), "ids": np.arange(4)},
        "ids.npy has one value per row, and 0 of the 2 files of vectors",
        "ids_3.npy for vectors_3.npy",
    ),
    ({"ids": np.arange(4)}, "0 of the 0 files of vectors", "give both"),
    (
        {"vectors": floats(4, 3), "phase": np.zeros(4, complex)},
        "no column can hold complex128",
        "--leave-out phase",
    ),
]


@pytest.mark.parametrize(("arrays", "message", "hint"), WRONG, ids=lambda value: str(value)[:20])
def test_files_that_belong_nowhere_are_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str, hint: str
) -> None:
    """A file beside vectors is a column or an error that names it, never passed over in silence."""
    with pytest.raises(ColumnError, match=message) as error:
        sources(saved(tmp_path, **arrays))
    assert hint in error.value.args[1]


@pytest.mark.parametrize("name", ["embeddings", "vectors", "emb", "arr_0"])
def test_npz_of_single_vectors(tmp_path: Path, name: str) -> None:
    """Without contexts an NPZ file holds single vectors under any usual name, or in its only array of such rows."""
    np.savez(
        tmp_path / "e.npz",
        **{name: floats(5, 9), "doc_ids": np.array(list("aabbb")), "chunk_index": np.arange(5)},
    )
    (source,) = sources(tmp_path / "e.npz")
    assert columns(source) == (["vector"], ["doc_ids", "chunk_index"])
    assert source.shape.dim == 9


def test_of_two_arrays_of_vectors_the_user_chooses(tmp_path: Path) -> None:
    """Two arrays that can be the vectors are an error with the option that chooses; the other is named as left out."""
    np.savez(tmp_path / "e.npz", title_embedding=floats(5, 9), text_embedding=floats(5, 9))
    with pytest.raises(ColumnError, match="both `title_embedding` and `text_embedding`") as error:
        sources(tmp_path / "e.npz")
    assert "--vector-column title_embedding" in error.value.args[1]
    (source,) = sources(tmp_path / "e.npz", vector="text_embedding")
    assert "`title_embedding` is left out" in source.notices[0]


@pytest.mark.parametrize(
    ("context", "target", "shape"),
    [
        ((4, 7, 12), None, (7, 12)),
        ((4, 84), (4, 12), (7, 12)),
        ((4, 2304), None, (3, 768)),
        ((4, 60), None, (5, 12)),
    ],
)
def test_contexts_of_any_shape_are_measured(
    tmp_path: Path, context: tuple[int, ...], target: tuple[int, ...] | None, shape: tuple[int, int]
) -> None:
    """Three axes say length and width; flat contexts are cut as their targets say, or into vectors of usual width."""
    arrays = {"contexts": floats(*context)} | ({"targets": floats(*target)} if target else {})
    np.savez(tmp_path / "c.npz", **arrays)
    (source,) = sources(tmp_path / "c.npz")
    assert (source.shape.length, source.shape.dim) == shape


def test_arrays_of_a_file_are_found_by_find_files(tmp_path: Path) -> None:
    """A file named by itself is read alone: what lies beside it is not."""
    folder = saved(tmp_path, vectors=floats(4, 3), ids=np.arange(4))
    (source,) = find_sources(find_files([str(folder / "vectors.npy")]), Reading())
    assert source.others.names == []
    assert "only vectors" in source.notices[0]
