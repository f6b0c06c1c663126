"""Tests that packed files give the same rows, and that a failed pack leaves nothing."""

from __future__ import annotations

import errno
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.errors import ColumnError, DataError, OutputError, OutputLocked, UnreadableFile
from lvm_batch.io.packing import packed_files as packed_files_module
from lvm_batch.io.packing.encoding import Encoding, Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.store import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = WindowShape(length=5, dim=8)
FORMAT = DatasetFormat(shape=SHAPE)
N_ROWS = 1500  # more than one block


def contexts() -> NDArray[np.float64]:
    """Contexts that float16 holds exactly, with three rows that are bad in one way each."""
    rows = np.random.default_rng(0).integers(-8, 8, (N_ROWS, 5, 8)).astype(np.float64)
    rows[7, 2, 3] = np.nan
    rows[1100, 0, 0] = -np.inf
    rows[1400] = 0.0
    return rows


def column(encoding: str, rows: NDArray[Any]) -> pa.Array:
    """``rows`` in one of the supported encodings; row 3 is null."""
    null = np.arange(len(rows)) == 3
    flat = pa.array(rows.reshape(-1))
    edges = pa.array(np.arange(len(rows) + 1) * 40, pa.int32())
    if encoding == "binary":
        return pa.array(
            [None if null[i] else row.tobytes() for i, row in enumerate(rows)], pa.binary(rows[0].nbytes)
        )
    if encoding == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, 40, mask=pa.array(null))
    if encoding == "nested":
        inner = pa.FixedSizeListArray.from_arrays(flat, 8)
        return pa.FixedSizeListArray.from_arrays(inner, 5, mask=pa.array(null))
    if encoding == "tensor":
        storage = pa.FixedSizeListArray.from_arrays(flat, 40, mask=pa.array(null))
        return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(flat.type, [5, 8]), storage)
    return pa.ListArray.from_arrays(edges, flat, mask=pa.array(null))


def read(path: Path) -> dict[str, Any]:
    """Everything that a run reads from a file or folder, all rows together."""
    parts: list[dict[str, Any]] = []
    for _, footer in read_footers(find_files([str(path)]), FORMAT):
        assert isinstance(footer, Footer)
        for unit in cut_units(footer, unit_bytes=2**16, shape=SHAPE):
            with open_unit(unit, FORMAT, batch_rows=100) as rows:
                parts += [
                    {
                        "contexts": batch.contexts.copy(),
                        "targets": None if batch.targets is None else batch.targets.copy(),
                        "status": batch.status,
                        "details": [batch.details.get(row) for row in range(batch.n_rows)],
                        "carried": batch.carried.to_pylist(),
                    }
                    for batch in rows.batches
                ]
    together = {key: [part[key] for part in parts] for key in parts[0]}
    return {
        key: list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)
        for key, values in together.items()
        if values[0] is not None
    }


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Check that both hold the same rows."""
    assert left.keys() == right.keys()
    for key, values in left.items():
        np.testing.assert_array_equal(values, right[key], err_msg=key)


def packed(source: Path, output: Path, **settings: Any) -> list[str]:  # noqa: ANN401 - Packing's fields
    """Pack one input and return the notices."""
    inputs = find_sources(find_files([str(source)]), Reading(shape=SHAPE))
    return pack(inputs, str(output), packing=replace(Packing(), **settings))[1]


def windows(path: Path, encoding: str = "fixed", dtype: str = "float32") -> Path:
    """A file of windows with a target and two carried columns."""
    rows = contexts()
    target = pa.FixedSizeListArray.from_arrays(pa.array(rows[:, 0].reshape(-1)), 8)
    table = pa.table(
        {
            "id": np.arange(N_ROWS),
            "context": column(encoding, rows.astype(dtype)),
            "lane": pa.array(["a", None, "b"] * (N_ROWS // 3)).dictionary_encode(),
            "target": target,
        }
    )
    pq.write_table(table, path, row_group_size=400)
    return path


@pytest.mark.parametrize(
    ("encoding", "dtype", "written"),
    [
        ("binary", "float32", "fixed_size_binary"),
        ("binary", "float16", "fixed_size_list"),
        ("fixed", "float64", "fixed_size_binary"),
        ("nested", "float16", "fixed_size_binary"),
        ("tensor", "float32", "fixed_size_list"),
        ("list", "float64", "fixed_size_list"),
    ],
)
def test_windows_of_any_encoding_read_back_the_same(
    tmp_path: Path, encoding: str, dtype: str, written: Encoding
) -> None:
    """Contexts, targets, carried columns and the flaws of rows are the same before and after packing."""
    source = windows(tmp_path / "w.parquet", encoding, dtype)
    notices = packed(source, tmp_path / "out", encoding=written)
    before, after = read(source), read(tmp_path / "out")
    if written == "fixed_size_list":  # not every reader can read a null in a fixed-size list
        before["details"][3] = "nan"
    assert before["details"][7] == "nan"
    assert before["details"][1400] == "zero_norm"
    assert_same(before, after)
    become = "null" if written == "fixed_size_binary" else "filled with NaN"
    assert notices == [
        f"{source}: 1 of 1,500 rows hold no vectors of the right length: they are {become}, and count as bad"
    ]


@pytest.mark.parametrize(
    ("source", "requested", "width"),
    [("float16", None, 80), ("float64", None, 160), ("float64", "float16", 80)],
)
def test_the_type_is_the_sources_unless_dtype_is_given(
    tmp_path: Path, source: str, requested: str | None, width: int
) -> None:
    """float16 stays float16, every other type becomes float32, and --dtype overrides it."""
    packed(windows(tmp_path / "w.parquet", dtype=source), tmp_path / "out", dtype=requested)
    schema = pq.read_schema(tmp_path / "out" / "w-00000.parquet")
    assert schema.field("context").type == pa.binary(width)
    assert schema.field("lane").type == pa.dictionary(pa.int32(), pa.string())


def test_only_vectors_are_stored_without_compression(tmp_path: Path) -> None:
    """Vectors have no compression, dictionary or statistics; other columns are compressed."""
    packed(windows(tmp_path / "w.parquet"), tmp_path / "out")
    row_group = pq.read_metadata(tmp_path / "out" / "w-00000.parquet").row_group(0)
    leaves = {row_group.column(i).path_in_schema: row_group.column(i) for i in range(row_group.num_columns)}
    for name in ("context", "target"):
        leaf = leaves[name]
        assert (leaf.compression, leaf.has_dictionary_page, leaf.statistics) == ("UNCOMPRESSED", False, None)
    assert leaves["lane"].compression == "ZSTD"
    assert leaves["id"].statistics.max == N_ROWS - 1


def test_row_groups_follow_bytes_and_files_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group holds the contexts that fit its byte limit, a file the requested rows; no row is lost."""
    monkeypatch.setattr(packed_files_module, "_ROW_GROUP_BYTES", 200 * 160)
    source = windows(tmp_path / "w.parquet", dtype="float16")
    packed(source, tmp_path / "out", file_rows=650)
    metadata = [pq.read_metadata(path) for path in sorted((tmp_path / "out").iterdir())]
    assert [[part.row_group(i).num_rows for i in range(part.num_row_groups)] for part in metadata] == [
        [200, 200, 200, 50],
        [200, 200, 200, 50],
        [200],
    ]
    assert read(source)["carried"] == read(tmp_path / "out")["carried"]


def test_a_size_of_files_is_whole_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of limited size ends with a whole row group, and holds at least one."""
    monkeypatch.setattr(packed_files_module, "_ROW_GROUP_BYTES", 200 * 160)
    source = windows(tmp_path / "w.parquet")
    for size, rows in ((2.9, [400, 400, 400, 300]), (0.1, [200] * 7 + [100])):
        packed(source, tmp_path / f"out{size}", file_bytes=int(size * 200 * 160))
        names = sorted((tmp_path / f"out{size}").iterdir())
        assert [pq.read_metadata(name).num_rows for name in names] == rows


def test_sequences_read_back_the_same_and_stay_whole(tmp_path: Path) -> None:
    """Single vectors are packed into one file, so that windows over them stay the same."""
    with as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as sample:
        inputs = find_sources(find_files([str(sample)]), Reading())
        pack(inputs, str(tmp_path / "out"), packing=Packing(file_rows=100))
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["wikipedia_sample-00000.parquet"]
        before, after = pq.read_table(sample), pq.read_table(tmp_path / "out")
    assert after.schema.field("vector").type == pa.binary(1536)
    values = np.stack([np.frombuffer(value, "<f2") for value in after["vector"].to_pylist()])
    np.testing.assert_array_equal(values, np.stack(before["vector"].to_numpy()))
    assert after.drop(["vector"]).equals(before.drop(["vector"]))


def test_short_contexts_are_padded_with_a_notice(tmp_path: Path) -> None:
    """Short contexts are padded as a run pads them, with a notice; those without a whole vector become null."""
    rows = [[1.0] * 40, [2.0] * 16, [3.0] * 9, [4.0] * 48]
    pq.write_table(pa.table({"context": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / "w.parquet")
    notices = packed(tmp_path / "w.parquet", tmp_path / "out")
    before, after = read(tmp_path / "w.parquet"), read(tmp_path / "out")
    np.testing.assert_array_equal(before["contexts"], after["contexts"])
    assert before["details"] == [None, "padded: 2", "wrong_length: 9", None]
    assert after["details"] == [None, None, "null", None]
    assert [notice.split(": ", 1)[1] for notice in notices] == [
        "1 of 4 rows hold no vectors of the right length: they are null, and count as bad",
        "1 of 4 rows have a short context, which was padded",
    ]


def test_targets_of_a_wrong_length_make_no_bad_rows(tmp_path: Path) -> None:
    """A target of the wrong length becomes null and is counted separately; its row is not bad."""
    targets = pa.array([[1.0] * 8, [1.0] * 7, None], pa.list_(pa.float32()))
    contexts = pa.array([[1.0] * 40] * 3, pa.list_(pa.float32()))
    pq.write_table(pa.table({"context": contexts, "target": targets}), tmp_path / "w.parquet")
    (notice,) = packed(tmp_path / "w.parquet", tmp_path / "out")
    assert notice.endswith(
        ": 2 of 3 rows hold no target of the right length: it is null, and these rows get no cosine"
    )
    assert read(tmp_path / "out")["details"] == [None] * 3


def test_values_too_large_for_float16_are_reported(tmp_path: Path) -> None:
    """A value that float16 cannot hold becomes infinite, and a notice says so."""
    np.save(tmp_path / "c.npy", np.where(np.arange(120).reshape(3, 5, 8) == 50, 1e5, 1.0).astype(np.float32))
    notices = packed(tmp_path / "c.npy", tmp_path / "out", dtype="float16")
    assert "1 of 3 rows have values too large" in notices[0]
    assert read(tmp_path / "out")["details"] == [None, "inf", None]


def test_a_folder_keeps_its_folders(tmp_path: Path) -> None:
    """Files keep their subfolders, as hive partitions."""
    for day in ("day=1", "day=2"):
        (tmp_path / "in" / day).mkdir(parents=True)
        windows(tmp_path / "in" / day / "w.parquet")
    packed(tmp_path / "in", tmp_path / "out")
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.parquet"))
    assert names == ["day=1/w-00000.parquet", "day=2/w-00000.parquet"]


def test_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two inputs that would write the same output are both named, and nothing is written."""
    windows(tmp_path / "w.parquet")
    np.save(tmp_path / "w.npy", np.ones((1, 5, 8), np.float32))
    inputs = find_sources(find_files([str(tmp_path / "w.*")]), Reading(shape=SHAPE))
    with pytest.raises(DataError, match=r"w\.npy and .*w\.parquet would both write to w-00000\.parquet"):
        pack(inputs, str(tmp_path / "out"), packing=Packing())
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """Existing files are never overwritten or mixed with; an empty folder is accepted."""
    source, output = windows(tmp_path / "w.parquet"), tmp_path / "out"
    output.mkdir()
    packed(source, output)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in output.iterdir())
    with pytest.raises(OutputError, match=r"is not empty: it holds w-00000\.parquet"):
        packed(source, output)
    with pytest.raises(OutputError, match="is a file"):
        packed(source, source)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in output.iterdir()) == before


def test_what_a_killed_pack_has_left_is_removed(tmp_path: Path) -> None:
    """Leftovers of a killed pack are not an output: the next pack removes them and writes its own files."""
    left = tmp_path / "out" / "_packing" / "some.part"
    left.parent.mkdir(parents=True)
    left.touch()
    packed(windows(tmp_path / "w.parquet"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["w-00000.parquet"]


def test_two_packs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    """While a pack is running, a second one to the same folder is refused and changes nothing there."""
    source = windows(tmp_path / "w.parquet")
    with packed_files_module.packed_files(str(tmp_path / "out")) as files:
        (files.folder / "some.part").touch()
        with pytest.raises(OutputLocked, match="another pack is writing"):
            packed(source, tmp_path / "out")
        assert [path.name for path in files.folder.iterdir()] == ["some.part"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_pack_leaves_nothing(tmp_path: Path, *, existed: bool) -> None:
    """If the last of several inputs fails while it is read, no input has an output."""
    (tmp_path / "in").mkdir()
    windows(tmp_path / "in" / "a.parquet")
    damaged = windows(tmp_path / "in" / "b.parquet")
    content = bytearray(damaged.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    damaged.write_bytes(content)
    if existed:
        (tmp_path / "out").mkdir()
    with pytest.raises(UnreadableFile, match=r"b\.parquet cannot be read as Parquet, row group 0"):
        packed(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out").exists() == existed
    assert not existed or not list((tmp_path / "out").iterdir())


def test_files_appear_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one file cannot be published, the files published before it are removed."""
    publish = LocalStore.publish

    def fail_at_the_second(self: LocalStore, staged: Path, name: str) -> None:
        if name == "w-00001.parquet":
            raise OutputError("no room")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"_packing"}
        publish(self, staged, name)
        assert (tmp_path / "out" / name).is_file()

    monkeypatch.setattr(LocalStore, "publish", fail_at_the_second)
    with pytest.raises(OutputError, match="no room"):
        packed(windows(tmp_path / "w.parquet"), tmp_path / "out", file_rows=600)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error gives the output and the system's message, and nothing is left there."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed_files_module.os, "fsync", full)
    with pytest.raises(OutputError, match=r"out cannot be written: .*No space left") as error:
        packed(windows(tmp_path / "w.parquet"), tmp_path / "out")
    assert "make room" in error.value.args[1]
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """An output folder below a file is refused."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        packed(windows(tmp_path / "w.parquet"), tmp_path / "file" / "out")


def test_parquet_without_vectors_is_refused(tmp_path: Path) -> None:
    """The error lists the columns of the file and the option that names the vector column."""
    pq.write_table(pa.table({"contxt": [1], "id": [1]}), tmp_path / "w.parquet")
    with pytest.raises(ColumnError, match="it has `contxt`, `id`") as error:
        packed(tmp_path / "w.parquet", tmp_path / "out")
    assert error.value.args[1] == "name it: --context-column contxt"


def test_vectors_of_a_wrong_width_are_refused(tmp_path: Path) -> None:
    """A column that cannot hold whole vectors is refused before any row is read."""
    wrong = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(39, np.float32)), 39)
    pq.write_table(pa.table({"context": wrong}), tmp_path / "w.parquet")
    with pytest.raises(ColumnError, match=r"w\.parquet: column `context` holds 39 floats a row"):
        packed(tmp_path / "w.parquet", tmp_path / "out")


def test_long_values_make_small_row_groups(tmp_path: Path) -> None:
    """A row group holds at most 64 MiB of decoded rows, even if all rows share one text."""
    n_rows = 200
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array(["x" * 10**6]))
    table = pa.table({"context": column("list", np.ones((n_rows, 5, 8))), "note": text})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=["note"], store_schema=False)
    (file,) = find_files([str(tmp_path / "a.parquet")])
    pack(find_sources([file], Reading(shape=SHAPE)), str(tmp_path / "out"), packing=Packing())
    packed = pq.ParquetFile(tmp_path / "out" / "a-00000.parquet")
    assert (packed.metadata.num_rows, packed.metadata.row_group(0).num_rows) == (n_rows, 67)
    assert packed.read_row_group(2)["note"][-1].as_py() == "x" * 10**6
