"""Tests that JSON lines become rows: every value in its kind, every row in its place, refused by file and line."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.data_files import PACKABLE
from lvm_batch.io.dataset.files import find_files, look_for_files
from lvm_batch.io.errors import ColumnError, DataError, UnreadableFile
from lvm_batch.io.formats import json_lines
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a few lines at a time, so that every file here has several blocks."""
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 100)


def rows(n_rows: int = 20, **columns: list[Any]) -> list[dict[str, Any]]:
    """Rows with an embedding of four numbers."""
    return [
        {"embedding": [n, 0.5, -1, 2], **{name: values[n] for name, values in columns.items()}}
        for n in range(n_rows)
    ]


def lines(values: list[dict[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def packed(
    folder: Path, content: bytes, name: str = "rows.jsonl", **given: str
) -> tuple[pa.Table, list[str]]:
    """The table that a file becomes, and the notices."""
    (folder / name).write_bytes(content)
    sources = find_sources(find_files([str(folder / name)]), Reading(given))
    found = pack(sources, str(folder / "out"), packing=Packing())
    return pq.read_table(folder / "out" / found.files[0].name), found.notices


def vectors(table: pa.Table) -> list[Any]:
    """The vectors of a table as lists."""
    return [
        None if value is None else np.frombuffer(value, "<f4").tolist()
        for value in table["embedding"].to_pylist()
    ]


def test_every_value_keeps_its_kind(tmp_path: Path) -> None:
    """Numbers in vectors are floats; texts that look like times stay texts, whole numbers whole, lists lists."""
    n = list(range(20))
    columns: dict[str, list[Any]] = {
        "when": ["2026-11-29 10:00:00" for _ in n],
        "count": n,
        "score": [1.5 if k % 2 else k for k in n],
        "tags": [["a", "2026-01-01"] for _ in n],
        "ids": [[k, k + 1] for k in n],
        "meta": [{"page": k} if k < 10 else {"page": k, "url": "u"} for k in n],
        "flag": [None if k < 5 else k % 2 == 0 for k in n],
    }
    table, _ = packed(tmp_path, lines(rows(**columns)))
    assert vectors(table) == [[k, 0.5, -1.0, 2.0] for k in n]
    assert {name: str(table.schema.field(name).type) for name in ("when", "count", "score", "flag")} == {
        "when": "string",
        "count": "int64",
        "score": "double",
        "flag": "bool",
    }
    assert table["tags"].type.value_type == pa.string()
    assert table["ids"].type.value_type == pa.int64()
    for name in ("when", "count", "score", "tags", "ids", "flag"):
        assert table[name].to_pylist() == columns[name]
    assert table["meta"].to_pylist()[9:11] == [{"page": 9, "url": None}, {"page": 10, "url": "u"}]


def test_rows_without_an_embedding_keep_their_place(tmp_path: Path) -> None:
    """A row with a missing, null, empty or ragged embedding is null; the width is that of most rows."""
    values = rows()
    values[0]["embedding"] = [1.0]
    values[3]["embedding"] = None
    del values[7]["embedding"]
    values[9]["embedding"] = []
    values[11]["embedding"] = [1, None, 2, 3]
    table, notices = packed(tmp_path, lines(values))
    bad = {0, 3, 7, 9, 11}
    assert [row for row, vector in enumerate(vectors(table)) if vector is None] == sorted(bad)
    assert [notice for notice in notices if "5 of 20 rows hold no vectors of the right length" in notice]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("kind", ["plain", "gzip", "zst", "bom", "blank lines"])
def test_however_the_lines_are_written(tmp_path: Path, kind: str, end: bytes) -> None:
    """Compressed files, a byte order mark, empty lines, and an end with or without a newline give the same rows."""
    content = lines(rows()).rstrip() + end
    if kind == "gzip":
        content = gzip.compress(content)
    elif kind == "zst":
        content = bytes(pa.Codec("zstd").compress(content, asbytes=True))
    elif kind == "bom":
        content = b"\xef\xbb\xbf" + content
    elif kind == "blank lines":
        content = content.replace(b"\n", b"\n\n  \n")
    table, _ = packed(tmp_path, content, name=f"rows.{kind[:2]}")
    assert vectors(table) == [[k, 0.5, -1.0, 2.0] for k in range(20)]


@pytest.mark.parametrize("line", [2, 17])
def test_ids_of_two_kinds_are_refused_by_line(tmp_path: Path, line: int) -> None:
    """A column with numbers and texts is refused, with the file, the line and the column, wherever that line is."""
    ids: list[Any] = list(range(20))
    ids[line - 1] = "a"
    with pytest.raises(ColumnError, match=rf"rows\.jsonl, line {line}: `id` changes its type") as error:
        packed(tmp_path, lines(rows(id=ids)))
    assert "all ids as strings" in error.value.args[1]
    assert not (tmp_path / "out").exists()


BROKEN = {
    "cut short": (lines(rows())[:-20], UnreadableFile, r"line 20: "),
    "not JSON": (lines(rows()).replace(b'"embedding": [4', b"embedding: [4"), UnreadableFile, r"line 5: "),
    "an array": (b'[{"embedding": [1, 2]}]', UnreadableFile, "one JSON array, not JSON lines"),
    "two objects in a line": (
        b'{"embedding": [1, 2]} {"embedding": [1, 2]}\n',
        UnreadableFile,
        "not one JSON object",
    ),
    "no embedding": (b'{"a": 1}\n', ColumnError, "has neither a `context` nor a `vector` column; it has `a`"),
    "texts": (b"a,b\n1,2\n", DataError, "is neither NPZ nor NPY nor Parquet nor JSON lines"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_json_lines_is_refused(tmp_path: Path, case: str) -> None:
    """The error names the file, the line and what to do; nothing is written."""
    content, kind, message = BROKEN[case]
    with pytest.raises(kind, match=message) as error:
        packed(tmp_path, content)
    assert "rows.jsonl" in error.value.args[0]
    assert error.value.args[1]
    assert not (tmp_path / "out").exists()


def test_what_parquet_cannot_hold_is_said(tmp_path: Path) -> None:
    """A column of empty objects is left out and named; ids beyond 64 bits, which become floats, are named, too."""
    values = rows(meta=[{}] * 20, big=[2**63 + n for n in range(20)])
    table, notices = packed(tmp_path, lines(values))
    assert table.column_names == ["embedding", "big"]
    assert any("`meta` is left out: its objects have no values" in notice for notice in notices)
    assert any("`big` mixes whole numbers with fractions" in notice for notice in notices)


def test_a_folder_of_json_lines_is_read(tmp_path: Path) -> None:
    """In a folder, files are JSON lines by their suffix, compressed or not; others are counted."""
    for name in ("a.jsonl", "b.ndjson", "c.jsonl.gz", "README.md"):
        (tmp_path / name).write_bytes(gzip.compress(lines(rows())) if name.endswith("gz") else lines(rows()))
    listing = look_for_files([str(tmp_path)], PACKABLE)
    assert [file.name for file in listing.files] == ["a.jsonl", "b.ndjson", "c.jsonl.gz"]
    stems = [source.stem for source in find_sources(listing.files, Reading())]
    assert stems == ["a", "b", "c"]
