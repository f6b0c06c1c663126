"""Tests that NumPy arrays become Parquet rows, read block by block and never unpickled."""

from __future__ import annotations

import math
import tracemalloc
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import ColumnError, DataError, UnreadableFile
from lvm_batch.io.formats.numpy_files import open_npz
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = WindowShape(length=5, dim=8)
N_ROWS = 2100  # more than two blocks


def floats(*shape: int, dtype: str = "<f4") -> NDArray[Any]:
    """Random vectors, the same for the same shape."""
    return np.random.default_rng(math.prod(shape)).standard_normal(shape).astype(dtype)


def packed(file: Path, *, leave_out: tuple[str, ...] = ()) -> tuple[dict[str, pa.Table], list[str]]:
    """The tables that ``file`` is packed into, by file name, and the notices."""
    reading = Reading(shape=SHAPE, leave_out=frozenset(leave_out))
    sources = find_sources(find_files([str(file)]), reading)
    output = file.parent / "packed"
    files, notices, _ = pack(sources, str(output), packing=Packing())
    return {packed.name: pq.read_table(output / packed.name) for packed in files}, notices


def vectors(column: pa.ChunkedArray, dtype: str = "<f4") -> NDArray[Any]:
    """The values of a column of binary vectors, one row each."""
    return np.stack([np.frombuffer(value, dtype) for value in column.to_pylist()])


def save(folder: Path, **arrays: NDArray[Any]) -> Path:
    """Write an NPZ file."""
    np.savez(folder / "windows.npz", **arrays)
    return folder / "windows.npz"


@pytest.mark.parametrize(
    ("write", "dtype", "row", "names"),
    [
        (np.savez, "<f2", (5, 8), ("context_sequences", "target_vectors")),
        (np.savez, "<f4", (40,), ("contexts", "targets")),
        (np.savez_compressed, "<f8", (40,), ("context_sequences", "target_vectors")),
        (np.savez_compressed, ">f4", (5, 8), ("contexts", "targets")),
    ],
)
def test_npz_becomes_the_same_rows(
    tmp_path: Path, write: Callable[..., None], dtype: str, row: tuple[int, ...], names: tuple[str, str]
) -> None:
    """An NPZ file, stored or compressed, of any width, byte order and key, gives the rows that NumPy loads."""
    arrays = {names[0]: floats(N_ROWS, *row, dtype=dtype), names[1]: floats(N_ROWS, 8, dtype=dtype)}
    write(tmp_path / "windows.npz", **arrays)
    tables, notices = packed(tmp_path / "windows.npz")
    table = tables["windows-00000.parquet"]
    stored = "<f2" if dtype == "<f2" else "<f4"
    expected = arrays[names[0]].reshape(N_ROWS, 40).astype(stored)
    np.testing.assert_array_equal(vectors(table["context"], stored), expected)
    np.testing.assert_array_equal(vectors(table["target"], stored), arrays[names[1]].astype(stored))
    assert notices == []


def test_each_prefix_gets_a_folder(tmp_path: Path) -> None:
    """Arrays named train_ and val_ go to folders of these names, each with its own columns, without the prefix."""
    file = save(
        tmp_path,
        train_context_sequences=floats(7, 5, 8),
        train_target_vectors=floats(7, 8),
        train_lane=np.array(list("abcdefg")),
        val_contexts=floats(3, 40),
        shared=np.arange(7),
    )
    tables, notices = packed(file)
    assert {name: table.column_names for name, table in tables.items()} == {
        "train/windows-00000.parquet": ["context", "target", "lane"],
        "val/windows-00000.parquet": ["context"],
    }
    assert tables["train/windows-00000.parquet"]["lane"].to_pylist() == list("abcdefg")
    assert [table.num_rows for table in tables.values()] == [7, 3]
    assert ["`shared` is left out" in notice for notice in notices] == [True]


def test_values_beside_the_vectors_become_columns(tmp_path: Path) -> None:
    """Arrays with one value a row keep their names, values and types across blocks."""
    columns = {
        "lane": np.array(["sci-fact", "ü"] * (N_ROWS // 2)),
        "source": np.array([b"wiki", b""] * (N_ROWS // 2)),
        "context_tokens": np.arange(N_ROWS, dtype=">i4"),
        "weight": floats(N_ROWS, dtype="<f8"),
        "kept": np.arange(N_ROWS) % 3 == 0,
        "day": np.full(N_ROWS, "2026-11-23", "datetime64[D]"),
    }
    table = packed(save(tmp_path, contexts=floats(N_ROWS, 5, 8), **columns))[0]["windows-00000.parquet"]
    assert [str(table.schema.field(name).type) for name in columns] == [
        "string",
        "string",
        "int32",
        "double",
        "bool",
        "date32[day]",
    ]
    assert table["lane"].to_pylist() == columns["lane"].tolist()
    assert table["source"].to_pylist() == ["wiki", ""] * (N_ROWS // 2)
    assert table["day"].to_pylist()[-1] == date(2026, 11, 23)
    for name in ("context_tokens", "weight", "kept"):
        assert table[name].to_pylist() == columns[name].tolist()


def test_arrays_that_do_not_fit_are_named_and_left_out(tmp_path: Path) -> None:
    """Arrays of another length, shape or type are left out with a reason; nothing else is lost."""
    file = save(
        tmp_path,
        contexts=floats(4, 5, 8),
        short=np.arange(3),
        square=floats(4, 4),
        scalar=np.array(768),
        phases=np.zeros(4, complex),
        steps=np.arange(4).astype("datetime64[25s]"),
        target=np.arange(4),
        id=np.arange(4),
    )
    tables, notices = packed(file)
    assert tables["windows-00000.parquet"].column_names == ["context", "id"]
    reasons = {notice.split("`")[1]: notice.split("left out: ")[1] for notice in notices}
    assert reasons == {
        "short": "it has 3 values for 4 rows",
        "square": "it has the shape (4, 4), not one value per row",
        "scalar": "it has the shape (), not one value per row",
        "phases": "no column can hold complex128",
        "steps": "no column can hold datetime64[25s]",
        "target": "there already is a column `target`",
    }


def test_dates_out_of_range_are_refused(tmp_path: Path) -> None:
    """A date that the column type cannot hold is refused, never changed or replaced by null."""
    days = np.array(["NaT", "-5000000-01-01", "2026-11-23", "5000000-01-01"], "datetime64[D]")
    table = packed(save(tmp_path, contexts=floats(4, 5, 8), day=days.astype(">M8[D]")))[0][
        "windows-00000.parquet"
    ]
    assert table["day"].cast(pa.int32()).to_pylist() == [None, *days[1:].astype(int).tolist()]
    (tmp_path / "far").mkdir()
    far = np.array(["2026-11-23"] * 3 + ["9000000-01-01"], "datetime64[D]")
    with pytest.raises(ColumnError, match="array `day` cannot become a column"):
        packed(save(tmp_path / "far", contexts=floats(4, 5, 8), day=far))


class Payload:
    """An object that does harm when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return open, (str(self._path), "w")


@pytest.mark.parametrize("name", ["contexts", "titles"])
def test_objects_are_refused_by_name_and_never_unpickled(tmp_path: Path, name: str) -> None:
    """An array of objects is refused before anything is read or written, whatever its name."""
    harm = tmp_path / "harm"
    arrays = {"contexts": floats(2, 5, 8), name: np.array([Payload(harm), None], dtype=object)}
    with pytest.raises(UnreadableFile, match=f"array `{name}` holds Python objects") as error:
        packed(save(tmp_path, **arrays))
    assert f"--leave-out {name}" in error.value.args[1]
    assert not harm.exists()
    assert not (tmp_path / "packed").exists()


def test_objects_in_npy_are_refused(tmp_path: Path) -> None:
    """An NPY file of objects is refused like an NPZ file."""
    harm = tmp_path / "harm"
    np.save(tmp_path / "contexts.npy", np.array([Payload(harm), None], dtype=object))
    with pytest.raises(UnreadableFile, match="holds Python objects"):
        packed(tmp_path / "contexts.npy")
    assert not harm.exists()


def test_arrays_that_are_left_out_are_not_read(tmp_path: Path) -> None:
    """With --leave-out, the vectors of a file that also holds an array of objects can be packed."""
    titles = np.array(["a", None], dtype=object)
    tables, notices = packed(save(tmp_path, contexts=floats(2, 5, 8), titles=titles), leave_out=("titles",))
    assert tables["windows-00000.parquet"].column_names == ["context"]
    assert notices == []


WRONG: list[tuple[dict[str, NDArray[Any]], str, str]] = [
    (
        {"contexts": floats(4, 5, 8), "targets": floats(3, 8)},
        "`contexts` has 4 rows, but `targets` has 3",
        "",
    ),
    ({"context_seqs": floats(4, 5, 8)}, r"it has `context_seqs` \(4, 5, 8\)", "did you mean `context_seqs`"),
    ({"x": floats(2)}, "has no array `context_sequences` or `contexts`", "save the contexts as"),
    ({"contexts": floats(4, 5, 7)}, r"has the shape \(4, 5, 7\), not \(n, 5, 8\) or \(n, 40\)", "that shape"),
    (
        {"contexts": floats(4, 5, 8), "targets": floats(4, 9)},
        r"`targets` has the shape \(4, 9\)",
        "that shape",
    ),
    ({"contexts": np.zeros((4, 5, 8), int)}, "holds int64, not floats", "float32"),
    ({"contexts": floats(4, 5, 8), "context_sequences": floats(4, 5, 8)}, "mean the same", "--leave-out"),
    (
        {"train_contexts": floats(4, 5, 8), "val_targets": floats(4, 8)},
        "has `val_targets`, but no",
        "--leave-out",
    ),
]


@pytest.mark.parametrize(("arrays", "message", "hint"), WRONG, ids=lambda value: str(value)[:20])
def test_wrong_arrays_are_refused(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], message: str, hint: str
) -> None:
    """If arrays do not fit together, the error names the file, the array and what to do."""
    with pytest.raises(ColumnError, match=message) as error:
        packed(save(tmp_path, **arrays))
    assert "windows.npz" in error.value.args[0]
    assert hint in error.value.args[1]


@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_a_truncated_npz_is_refused(tmp_path: Path, part: float) -> None:
    """Wherever the file is truncated, the error says that it is damaged."""
    file = save(tmp_path, contexts=floats(50, 5, 8))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UnreadableFile, match=r"windows\.npz cannot be read"):
        packed(file)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_found(tmp_path: Path, write: Callable[..., None]) -> None:
    """A changed value fails the archive's checksum, and the pack leaves nothing behind."""
    file = tmp_path / "windows.npz"
    write(file, contexts=floats(500, 5, 8))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UnreadableFile, match="array `contexts` cannot be read"):
        packed(file)
    assert not (tmp_path / "packed").exists()


def test_fortran_order_in_a_zip_is_refused(tmp_path: Path) -> None:
    """Column-major arrays in a ZIP cannot be streamed by row; the error says what to save instead."""
    with pytest.raises(UnreadableFile, match="Fortran order") as error:
        packed(save(tmp_path, contexts=np.asfortranarray(floats(4, 5, 8))))
    assert "ascontiguousarray" in error.value.args[1]


def test_arrays_are_never_whole_in_memory(tmp_path: Path) -> None:
    """Reading in batches of 100 rows takes the memory of some hundred rows, not of all 20,000."""
    np.savez_compressed(tmp_path / "big.npz", contexts=np.zeros((20_000, 5, 80), np.float32))
    with open_npz(str(tmp_path / "big.npz")) as npz:
        tracemalloc.start()
        n_rows = sum(len(block) for block in npz.arrays["contexts"].blocks(100))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n_rows == 20_000
    assert peak < 2_000_000 < 20_000 * 5 * 80 * 4


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8"])
@pytest.mark.parametrize("ordered", [np.ascontiguousarray, np.asfortranarray])
def test_npy_of_contexts_becomes_the_same_rows(
    tmp_path: Path, dtype: str, ordered: Callable[[Any], NDArray[Any]]
) -> None:
    """NPY files are memory-mapped, in C or Fortran order."""
    contexts = floats(N_ROWS, 5, 8, dtype=dtype)
    np.save(tmp_path / "contexts.npy", ordered(contexts))
    table = packed(tmp_path / "contexts.npy")[0]["contexts-00000.parquet"]
    stored = "<f2" if dtype == "<f2" else "<f4"
    np.testing.assert_array_equal(vectors(table["context"], stored), contexts.reshape(-1, 40).astype(stored))


def test_npy_of_vectors_lacks_columns_of_a_run(tmp_path: Path) -> None:
    """Single vectors become a column `vector`, which suffices for a bank and not for a run."""
    np.save(tmp_path / "bank.npy", floats(6, 8))
    tables, notices = packed(tmp_path / "bank.npy")
    np.testing.assert_array_equal(vectors(tables["bank-00000.parquet"]["vector"]), floats(6, 8))
    assert "`bank build`" in notices[0]


def test_a_truncated_npy_is_refused(tmp_path: Path) -> None:
    """A file shorter than its header says is refused before it is mapped."""
    np.save(tmp_path / "contexts.npy", floats(50, 5, 8))
    content = (tmp_path / "contexts.npy").read_bytes()
    (tmp_path / "contexts.npy").write_bytes(content[:-1])
    with pytest.raises(UnreadableFile, match=r"contexts\.npy is cut short"):
        packed(tmp_path / "contexts.npy")


@pytest.mark.parametrize("content", [b"", b"plain text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """The type of a file is decided by its first bytes, whatever its name."""
    (tmp_path / "windows.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"windows\.npz is neither NPZ nor NPY nor Parquet"):
        packed(tmp_path / "windows.npz")


def test_no_rows_are_one_empty_file(tmp_path: Path) -> None:
    """An array without rows gives a Parquet file with its columns and no rows."""
    for table in packed(save(tmp_path, contexts=floats(0, 5, 8), id=np.arange(0)))[0].values():
        assert (table.num_rows, table.column_names) == (0, ["context", "id"])
