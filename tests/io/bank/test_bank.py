"""Tests of banks: unit norms, ids, the digest, and one error for each thing that can be wrong with a bank."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.full_disk import files_of_at_most

from lvm_batch.io.bank.bank import Bank, _header, build_bank, open_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import ColumnError, OutputError, UnreadableFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIM = 16


def vectors(n_rows: int = 9, *, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """Random vectors with norms far from one."""
    return 7 * np.random.default_rng(seed).standard_normal((n_rows, dim)).astype(np.float32)


def put(path: Path, rows: Any, kind: Any = None, **columns: Any) -> Path:  # noqa: ANN401
    """Write a Parquet file of vectors and other columns, in small row groups."""
    listed = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    table = pa.table({"vector": pa.array(listed, kind or pa.list_(pa.float32(), DIM)), **columns})
    pq.write_table(table, path, row_group_size=4)
    return path


def build(tmp_path: Path, *sources: Path, name: str = "bank", **options: Any) -> Bank:  # noqa: ANN401
    """Build a bank and open it."""
    build_bank(find_files(map(str, sources)), str(tmp_path / name), **options)
    return open_bank(str(tmp_path / name))


def ids_of(tmp_path: Path, name: str = "bank") -> dict[str, list[Any]]:
    """The ids that the bank reports for its rows."""
    columns: dict[str, list[Any]] = pq.read_table(tmp_path / name / "ids.parquet").to_pydict()
    return columns


def unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows divided by their norms, in float64."""
    exact = rows.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)


def test_vectors_are_of_unit_norm_in_order(tmp_path: Path) -> None:
    """Each row is divided by its norm and keeps its position; torch can write to the bank's float32 array."""
    rows = vectors()
    meta = build_bank(find_files([str(put(tmp_path / "v.parquet", rows))]), str(tmp_path / "bank"))
    bank = open_bank(str(tmp_path / "bank"))
    np.testing.assert_allclose(bank.vectors, unit(rows), atol=1e-7)
    assert (bank.vectors.dtype, bank.dim, bank.index) == (np.float32, DIM, None)
    assert (meta["count"], meta["left_out"], meta["dim"], meta["digest"]) == (9, 0, DIM, bank.digest)
    assert meta["sources"] == [str(tmp_path / "v.parquet")]
    assert bank.vectors.flags.writeable
    assert ids_of(tmp_path) == {"row": list(range(9))}


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-44])
def test_norms_beyond_float32_are_normalised(tmp_path: Path, scale: float) -> None:
    """A vector is normalised even if its squares overflow or underflow float32."""
    rows = np.full((2, DIM), scale, np.float32)
    bank = build(tmp_path, put(tmp_path / "v.parquet", rows))
    np.testing.assert_allclose(np.linalg.norm(bank.vectors, axis=1), 1.0, atol=1e-6)


def test_unusable_vectors_are_left_out_and_counted(tmp_path: Path) -> None:
    """Null, non-finite, zero and wrong-width vectors are left out and counted; other rows keep ids and row numbers."""
    good = vectors()
    rows: list[Any] = list(good)
    rows[0], rows[2], rows[3] = None, [np.nan] * DIM, [0.0] * DIM
    rows[5], rows[6], rows[8] = [np.inf] + [1.0] * (DIM - 1), [1.0] * (DIM - 1), [None] + [1.0] * (DIM - 1)
    row_counts: list[int] = []
    put(
        tmp_path / "v.parquet",
        rows[1:] + rows[:1],
        pa.list_(pa.float32()),
        id=pa.array([f"id {i}" for i in range(9)]),
    )
    meta = build_bank(
        find_files([str(tmp_path / "v.parquet")]), str(tmp_path / "bank"), on_rows=row_counts.append
    )
    assert (meta["count"], meta["left_out"]) == (3, 6)
    assert ids_of(tmp_path) == {"row": [0, 3, 6], "id": ["id 0", "id 3", "id 6"]}
    np.testing.assert_allclose(open_bank(str(tmp_path / "bank")).vectors, unit(good[[1, 4, 7]]), atol=1e-7)
    assert row_counts[-1] == 3
    assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == [
        "bank.json",
        "ids.parquet",
        "vectors.npy",
    ]


def test_several_files_make_one_bank(tmp_path: Path) -> None:
    """Rows, also bad ones, are numbered across files in the order of names; a file without ids gives null ids."""
    one, two = vectors(5), vectors(6, seed=1)
    one[1] = np.nan
    put(tmp_path / "b.parquet", two, pa.list_(pa.float64()))
    put(tmp_path / "a.parquet", one, pa.list_(pa.float16(), DIM), id=pa.array(range(10, 15), pa.int32()))
    put(tmp_path / "c.parquet", one[:0])
    bank = build(tmp_path, tmp_path / "b.parquet", tmp_path / "a.parquet", tmp_path / "c.parquet")
    kept = [0, *range(2, 11)]
    assert ids_of(tmp_path) == {"row": kept, "id": [10, 12, 13, 14, *[None] * 6]}
    np.testing.assert_allclose(
        bank.vectors, unit(np.concatenate([one.astype(np.float16), two])[kept]), atol=1e-6
    )


def test_an_id_column_can_be_named(tmp_path: Path) -> None:
    """Options name the vector and id columns; ids of any type are kept, dictionary-encoded ones too."""
    table = pa.table(
        {
            "emb": pa.array([list(row) for row in vectors(3)], pa.list_(pa.float32())),
            "url": pa.array(["x", None, "x"]).dictionary_encode(),
            "id": [1, 2, 3],
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    build(tmp_path, tmp_path / "v.parquet", vector_column="emb", id_column="url")
    assert ids_of(tmp_path) == {"row": [0, 1, 2], "id": ["x", None, "x"]}


def test_articles_and_positions_are_kept(tmp_path: Path) -> None:
    """They are found by the names people use, rows keep theirs, and without ids they name the vectors."""
    rows: list[Any] = list(vectors(4))
    rows[1] = None
    put(
        tmp_path / "v.parquet",
        rows,
        doc_id=["a", "a", "a", "b"],
        chunk_index=pa.array([0, 1, 2, 0], pa.int16()),
    )
    bank = build(tmp_path, tmp_path / "v.parquet")
    assert ids_of(tmp_path) == {"row": [0, 2, 3], "article_id": ["a", "a", "b"], "position": [0, 2, 0]}
    ids = bank.read_ids()
    assert ids is not None
    assert (ids.named_by, ids.values.type.field("position").type) == ("article and position", pa.int16())
    assert ids.values.to_pylist()[1] == {"article_id": "a", "position": 2}
    meta = json.loads((tmp_path / "bank/bank.json").read_bytes())
    assert meta["columns"] == {"article_id": "doc_id", "position": "chunk_index"}


def test_ids_of_their_own_come_before_articles_and_positions(tmp_path: Path) -> None:
    """A bank keeps all three, and names vectors by the ids; one of no such columns names them by row."""
    columns = {"article_id": [7, 7], "position": [0, 1]}
    ids = build(tmp_path, put(tmp_path / "v.parquet", vectors(2), id=["x", "y"], **columns)).read_ids()
    assert ids is not None
    assert (ids.named_by, ids.values.to_pylist()) == ("id", ["x", "y"])
    assert ids_of(tmp_path) == {"row": [0, 1], "id": ["x", "y"], **columns}
    left_out = build(tmp_path, tmp_path / "v.parquet", name="none", article_column="@none")
    assert ids_of(tmp_path, "none") == {"row": [0, 1], "id": ["x", "y"]}
    assert left_out.digest == open_bank(str(tmp_path / "bank")).digest
    rows = build(tmp_path, put(tmp_path / "w.parquet", [None, *vectors(2)]), name="rows").read_ids()
    assert rows is not None
    assert (rows.named_by, rows.values.to_pylist()) == ("row number", [1, 2])


def test_articles_without_positions_are_not_kept(tmp_path: Path) -> None:
    """Neither is kept without the other; one that is named alone is refused, and the hint names the other's option."""
    put(tmp_path / "v.parquet", vectors(2), article_id=[7, 7], place=["x", "y"])
    build(tmp_path, tmp_path / "v.parquet")
    assert ids_of(tmp_path) == {"row": [0, 1]}
    with pytest.raises(ColumnError, match="no column is sure to be the position") as error:
        build(tmp_path, tmp_path / "v.parquet", name="b", article_column="article_id")
    assert "--position-column" in error.value.args[1]
    with pytest.raises(ColumnError, match="does not order the rows of an article"):
        build(tmp_path, tmp_path / "v.parquet", name="b", position_column="place")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("column", ["vector", "key"])
def test_missing_columns_are_named(tmp_path: Path, column: str) -> None:
    """The message lists the columns of the file, the hint names the option, and no folder is created."""
    pq.write_table(
        pa.table({"x": [1.0], "vector" if column == "key" else "y": [[1.0]]}), tmp_path / "v.parquet"
    )
    with pytest.raises(ColumnError, match=rf"v\.parquet has no `{column}` column; it has `x`") as error:
        build(tmp_path, tmp_path / "v.parquet", id_column="key" if column == "key" else None)
    assert ("--vector-column" if column == "vector" else "--id-column") in error.value.args[1]
    assert not (tmp_path / "bank").exists()


def test_ids_of_types_that_do_not_join_are_an_error(tmp_path: Path) -> None:
    """Numbers in one file and strings in another cannot be the ids of one bank."""
    put(tmp_path / "a.parquet", vectors(2), id=pa.array([1, 2]))
    put(tmp_path / "b.parquet", vectors(2), id=pa.array(["x", "y"]))
    with pytest.raises(ColumnError, match=r"ids of the files before it are"):
        build(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_the_digest_is_that_of_the_vectors(tmp_path: Path) -> None:
    """The digest depends on the vectors, their order and the index only, not on encoding or row groups."""
    rows = vectors(12)
    put(tmp_path / "one.parquet", rows)
    put(tmp_path / "two.parquet", rows[:5], pa.list_(pa.float64()))
    put(tmp_path / "two2.parquet", [None, *rows[5:]], pa.large_list(pa.float32()), id=pa.array(range(8)))
    put(tmp_path / "turned.parquet", rows[::-1])
    changed = rows.copy()
    changed[11, 0] += 0.001
    put(tmp_path / "changed.parquet", changed)
    digests = {
        name: build(
            tmp_path, *(tmp_path / f"{source}.parquet" for source in sources.split()), name=name
        ).digest
        for name, sources in {"a": "one", "b": "two two2", "c": "turned", "d": "changed", "e": "two"}.items()
    }
    indexed = build(tmp_path, tmp_path / "one.parquet", name="f", build_index=lambda _: b"index")
    assert digests["a"] == digests["b"]
    assert len({*digests.values(), indexed.digest}) == 5
    assert len(indexed.digest) == 64


def test_an_index_is_kept_beside_the_vectors(tmp_path: Path) -> None:
    """The index built from the kept vectors is read back unchanged."""
    indexed_vectors: list[NDArray[np.float32]] = []
    rows = [*vectors(3), None]
    path = put(tmp_path / "v.parquet", rows, pa.list_(pa.float32()))
    bank = build(tmp_path, path, build_index=lambda kept: indexed_vectors.append(kept.copy()) or b"\x00index")
    assert bank.index == b"\x00index"
    np.testing.assert_array_equal(indexed_vectors[0], bank.vectors)


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (
            [[1.0] * 8] * 2,
            pa.list_(pa.float32(), 8),
            r"b\.parquet: column `vector` holds 8 floats a row, not 16",
        ),
        ([b"x" * 3072] * 2, pa.binary(3072), r"b\.parquet: column `vector` holds 3072 bytes"),
        ([1, 2], pa.int64(), r"b\.parquet: column `vector` is int64"),
    ],
)
def test_a_bank_has_one_dimension(tmp_path: Path, rows: list[Any], kind: Any, message: str) -> None:  # noqa: ANN401
    """A file whose vectors have another width or type is named before anything is written."""
    put(tmp_path / "a.parquet", vectors(2))
    pq.write_table(pa.table({"vector": pa.array(rows, kind)}), tmp_path / "b.parquet")
    with pytest.raises(ColumnError, match=message):
        build(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.string(), pa.list_(pa.string()), pa.list_(pa.int32()), pa.null()]
)
def test_a_column_of_no_vectors_is_refused(tmp_path: Path, kind: Any) -> None:  # noqa: ANN401
    """If a column holds no vectors, the error names its type."""
    pq.write_table(pa.table({"vector": pa.nulls(3, kind)}), tmp_path / "v.parquet")
    with pytest.raises(ColumnError, match="not vectors of floats"):
        build(tmp_path, tmp_path / "v.parquet")


@pytest.mark.parametrize("rows", [[], [None, None], [[], []]])
def test_lists_without_any_vector_are_refused(tmp_path: Path, rows: list[Any]) -> None:
    """A bank cannot be built from variable-size lists that hold no vector at all."""
    put(tmp_path / "v.parquet", rows, pa.list_(pa.float32()))
    with pytest.raises(ColumnError, match="holds no vector"):
        build(tmp_path, tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([None, [], [1.0] * DIM, [1.0] * 3], pa.list_(pa.float32())),
        ([None, [[1.0] * DIM], [[1.0] * 3]], pa.list_(pa.list_(pa.float32()))),
        ([[[1.0] * DIM], None], pa.list_(pa.list_(pa.float32(), DIM))),
    ],
)
def test_the_first_vectors_decide_the_width(tmp_path: Path, rows: list[Any], kind: Any) -> None:  # noqa: ANN401
    """If the type does not give the width, the first vectors do; vectors of another width are left out."""
    bank = build(tmp_path, put(tmp_path / "v.parquet", rows, kind))
    assert bank.vectors.shape == (1, DIM)


def test_one_odd_vector_does_not_decide_the_width(tmp_path: Path) -> None:
    """If the type leaves the width open, most of the first vectors decide it, wherever the others are."""
    rows = [[1.0] * 3, *vectors(4), [1.0] * 3, None]
    meta = build_bank(
        find_files([str(put(tmp_path / "v.parquet", rows, pa.list_(pa.float32())))]), str(tmp_path / "bank")
    )
    assert (meta["dim"], meta["count"], meta["left_out"]) == (DIM, 4, 3)


@pytest.mark.parametrize("name", ["vector", "id", "other"])
def test_a_name_that_two_columns_have_is_refused(tmp_path: Path, name: str) -> None:
    """If two columns share a name, the bank is refused, since the name is ambiguous."""
    table = pq.read_table(put(tmp_path / "v.parquet", vectors(2)))
    pq.write_table(
        pa.table([*table.columns, table["vector"], table["vector"]], names=["vector", name, name]),
        tmp_path / "w.parquet",
    )
    with pytest.raises(ColumnError, match=rf"w\.parquet has the column `{name}` more than once"):
        build(tmp_path, tmp_path / "w.parquet")


def test_the_vector_column_cannot_hold_the_ids(tmp_path: Path) -> None:
    """One column cannot be both vectors and ids; if the vector column is called `id`, the bank has no ids."""
    path = put(tmp_path / "v.parquet", vectors(2))
    with pytest.raises(ColumnError, match="`vector` is given for both the ids and the vectors"):
        build(tmp_path, path, id_column="vector")
    pq.write_table(pq.read_table(path).rename_columns(["id"]), path)
    build(tmp_path, path, vector_column="id")
    assert ids_of(tmp_path) == {"row": [0, 1]}


@pytest.mark.parametrize("most", [100, 300, 2000])
def test_a_disk_that_fills_is_named(tmp_path: Path, most: int) -> None:
    """If a file does not fit on the disk, the error names folder and reason; with more space building succeeds."""
    path = put(tmp_path / "v.parquet", vectors(9))
    with (
        files_of_at_most(most),
        pytest.raises(OutputError, match=r"bank cannot be written: .*File too large"),
    ):
        build(tmp_path, path, build_index=lambda _: bytes(4000))
    with pytest.raises(UnreadableFile, match=r"not a bank: it has no bank\.json"):
        open_bank(str(tmp_path / "bank"))
    assert build(tmp_path, path).vectors.shape == (9, DIM)


def test_the_row_count_is_written_at_the_end() -> None:
    """NumPy's header reserves room for any row count, so the kept vectors need not be copied a second time."""
    assert len({len(_header(count, DIM)) for count in (0, 1, 10**9, 2**63 - 1)}) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_binary_vectors_are_taken_at_the_models_dimension(tmp_path: Path, dtype: str) -> None:
    """With a model dimension of 768, 1,536 bytes are read as 768 float16, not 384 float32."""
    rows = np.random.default_rng(0).standard_normal((3, 768)).astype(dtype)
    table = pa.table({"vector": pa.array([row.tobytes() for row in rows], pa.binary(rows[0].nbytes))})
    pq.write_table(table, tmp_path / "v.parquet")
    bank = build(tmp_path, tmp_path / "v.parquet")
    np.testing.assert_allclose(bank.vectors, unit(rows), atol=1e-7)


@pytest.mark.parametrize("rows", [[], [None], [[0.0] * DIM, [np.nan] * DIM]])
def test_no_usable_vector_makes_no_bank(tmp_path: Path, rows: list[Any]) -> None:
    """A source without a usable vector is refused, and its output folder can be used for another bank."""
    path = put(tmp_path / "v.parquet", rows)
    with pytest.raises(UnreadableFile, match=f"none of the {len(rows)} rows"):
        build(tmp_path, path)
    with pytest.raises(UnreadableFile, match=r"not a bank: it has no bank\.json"):
        open_bank(str(tmp_path / "bank"))
    assert build(tmp_path, put(path, vectors(1))).vectors.shape == (1, DIM)


def test_an_existing_bank_is_not_overwritten(tmp_path: Path) -> None:
    """A folder that holds a bank or anything else is refused and left unchanged; so is a file in its place."""
    path = put(tmp_path / "v.parquet", vectors())
    before = build(tmp_path, path)
    with pytest.raises(OutputError, match="already holds a bank"):
        build(tmp_path, put(tmp_path / "w.parquet", vectors(seed=2)))
    assert open_bank(before.path).digest == before.digest
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="is not empty"):
        build(tmp_path, path, name="other")
    with pytest.raises(OutputError, match="cannot be made"):
        build(tmp_path, path, name="v.parquet")


def damage(bank: Path, how: str) -> None:
    """Damage one part of a bank."""
    meta = json.loads((bank / "bank.json").read_text())
    garbage = {"empty": b"", "garbage": b"no array at all", "magic only": b"\x93NUMPY\x01\x00"}
    if how in garbage:
        (bank / "vectors.npy").write_bytes(garbage[how])
    elif how == "truncated":
        content = (bank / "vectors.npy").read_bytes()
        (bank / "vectors.npy").write_bytes(content[:-10])
    elif how in {"count", "dim", "digest"}:
        del meta[how]
        (bank / "bank.json").write_text(json.dumps(meta))
    elif how == "another count":
        (bank / "bank.json").write_text(json.dumps(meta | {"count": 8}))
    elif how == "text for a count":
        (bank / "bank.json").write_text(json.dumps(meta | {"count": "many"}))
    elif how in {"float64", "objects", "big-endian"}:
        kind = {"float64": np.float64, "objects": object, "big-endian": ">f4"}[how]
        np.save(bank / "vectors.npy", np.zeros((9, DIM), kind), allow_pickle=True)
    else:
        (bank / "bank.json").write_bytes(
            {"no json": b"{", "a list": b"[1]", "bytes": b"\xff\xfe\x00", "nothing": b""}[how]
        )


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "garbage", "magic only", "truncated", "float64", "objects", "big-endian"),
        *(
            "count",
            "dim",
            "digest",
            "another count",
            "text for a count",
            "no json",
            "a list",
            "bytes",
            "nothing",
        ),
    ],
)
def test_a_damaged_bank_is_named(tmp_path: Path, how: str) -> None:
    """Whatever file is damaged, the error gives the bank's path and says to build the bank again."""
    build(tmp_path, put(tmp_path / "v.parquet", vectors()))
    damage(tmp_path / "bank", how)
    with pytest.raises(UnreadableFile, match="bank is a damaged bank: ") as error:
        open_bank(str(tmp_path / "bank"))
    assert str(tmp_path / "bank") in error.value.args[0]
    assert "again" in error.value.args[1]


@pytest.mark.parametrize("missing", ["bank.json", "vectors.npy", "faiss.index"])
def test_a_bank_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    """The error names the missing file."""
    build(tmp_path, put(tmp_path / "v.parquet", vectors()), build_index=lambda _: b"i")
    (tmp_path / "bank" / missing).unlink()
    with pytest.raises(UnreadableFile, match=f"bank is not a bank: it has no {missing}"):
        open_bank(str(tmp_path / "bank"))


def test_a_path_without_a_bank_is_refused_with_the_build_command(tmp_path: Path) -> None:
    """A missing folder, an empty one and a file get different errors; for a Parquet file the hint has the command."""
    path = put(tmp_path / "v.parquet", vectors())
    (tmp_path / "empty").mkdir()
    for text, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty", "no bank.json"),
        (path, "a file"),
    ):
        with pytest.raises(UnreadableFile, match=message) as error:
            open_bank(str(text))
        assert "lvm-batch bank build" in error.value.args[1]
    assert f"bank build {path}" in error.value.args[1]
