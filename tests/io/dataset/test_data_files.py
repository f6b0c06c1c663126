"""Tests which files of a folder count as data, and how skipped files are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvm_batch.io.dataset.data_files import PACKABLE
from lvm_batch.io.dataset.files import DatasetListing, look_for_files
from lvm_batch.io.errors import InputNotFound
from lvm_batch.io.storage.locations import bucket_of, locate

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"PAR1" + bytes(20)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(listing: DatasetListing) -> list[str]:
    """The names of the files to read."""
    return [file.name for file in listing.files]


DATASET = {
    "a.parquet": b"whatever",
    "b.PARQUET": b"",
    "c.Parq": DATA,
    "d=1/e.pq": DATA,
    "d=1/part-0": DATA,
    "d=1/part-1": b"PAR2" + bytes(20),
    "d=1/short": b"PAR1",
    "d=1/empty": b"",
    "d=1/part-0.crc": DATA,
    "d=1/part.0": DATA,
    "d=1_$folder$": b"",
    "x.parquet_$folder$": b"",
    "README.md": b"read me",
    "_SUCCESS": b"",
    "_$folder$": b"",
    "d=1/_$folder$": b"",
    ".hidden": DATA,
}
READ = ["a.parquet", "b.PARQUET", "c.Parq", "d=1/e.pq", "d=1/part-0"]
N_OTHERS = 8


def test_names_and_first_bytes_identify_data(tmp_path: Path) -> None:
    """Files are recognised by extension, in any case, or by their first bytes; the others are counted and named."""
    listing = look_for_files([str(put(tmp_path, DATASET))])
    assert names(listing) == READ
    (notice,) = listing.notices
    assert notice == f"{N_OTHERS} other files are not read: README.md, d=1/empty, d=1/part-0.crc, …"


def test_hidden_files_are_skipped_without_a_message(tmp_path: Path) -> None:
    """Hidden files are skipped by name, without a message."""
    listing = look_for_files([str(put(tmp_path, {"a.parquet": DATA, "_b": b"", ".c": b""}))])
    assert listing.notices == []
    put(tmp_path, {"notes.txt": b""})
    assert look_for_files([str(tmp_path)]).notices == ["1 other file is not read: notes.txt"]


@pytest.mark.parametrize("name", ["README.md", "d=1/part-1", "d=1/part-0.crc", "d=1/empty", "d=1_$folder$"])
def test_a_file_that_is_named_is_read(tmp_path: Path, name: str) -> None:
    """A file named explicitly is read whatever its name; if it is not Parquet, the error names it."""
    assert names(look_for_files([str(put(tmp_path, DATASET) / name)])) == [name.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", READ),
        ("**", READ),
        ("**/*", READ),
        ("d=*", ["d=1/e.pq", "d=1/part-0"]),
        ("d=*/*", ["d=1/e.pq", "d=1/part-0"]),
        ("d=*/part*", ["d=1/part-0", "d=1/part-0.crc", "d=1/part-1", "d=1/part.0"]),
        ("*.md", ["README.md"]),
        ("d=1/[es]*", ["e.pq", "short"]),
    ],
)
def test_what_a_pattern_names_is_read(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    """A pattern's last part selects files unless it is `*`, but never folder markers or the content of folders."""
    listing = look_for_files([f"{put(tmp_path, DATASET)}/{pattern}"])
    assert names(listing) == expected


def test_nothing_to_read_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    """The error says what the folder or pattern holds instead."""
    put(tmp_path, {"a.csv": b"x", "b": b"x"})
    for argument in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(InputNotFound) as error:
            look_for_files([str(argument)])
        assert "2 other files are not read: a.csv, b" in error.value.args[0]
        assert ".parquet or .parq or .pq" in error.value.args[1]


def test_a_broken_link_is_named_when_it_is_read(tmp_path: Path) -> None:
    """A broken link may have been data, so it is kept and fails by name later."""
    put(tmp_path, {"a.parquet": DATA})
    (tmp_path / "lost").symlink_to("nowhere")
    assert names(look_for_files([str(tmp_path)])) == ["a.parquet", "lost"]


def test_arrays_are_data_to_be_packed(tmp_path: Path) -> None:
    """NPZ and NPY files are recognised as files to pack by extension or first bytes."""
    files = {
        "a.npz": b"",
        "b.NPY": b"",
        "c": b"\x93NUMPY" + bytes(20),
        "d": b"PK\x03\x04" + bytes(20),
        "e.md": b"",
    }
    listing = look_for_files([str(put(tmp_path, files))], PACKABLE)
    assert names(listing) == ["a.npz", "b.NPY", "c", "d"]
    assert listing.others == ("e.md",)


def test_a_store_is_listed_likewise(s3: None) -> None:
    """In a bucket the first bytes of objects without an extension are read, and of no others."""
    bucket, _ = bucket_of(locate("s3://readable/x"))
    for name, content in DATASET.items():
        bucket.put(f"data/{name}", content)
    listing = look_for_files(["s3://readable/data"])
    assert names(listing) == READ
    assert len(listing.others) == N_OTHERS
    assert names(look_for_files(["s3://readable/data/d=*"])) == ["d=1/e.pq", "d=1/part-0"]


@pytest.mark.parametrize("marker", ["d=1", "d=1.parquet", "d=1_$folder$", "d=1.parquet_$folder$"])
def test_empty_objects_that_mark_folders_are_not_read(s3: None, marker: str) -> None:
    """Empty objects that mark folders are skipped, whichever tool wrote them and however the folder is given."""
    bucket, _ = bucket_of(locate("s3://markers/x"))
    folder = marker.removesuffix("_$folder$")
    bucket.put(f"data-{marker}/{marker}", b"")
    bucket.put(f"data-{marker}/{folder}/a.parquet", DATA)
    for argument in ("", "/*", "/d=*", "/**"):
        listing = look_for_files([f"s3://markers/data-{marker}{argument}"])
        assert names(listing) == [f"{folder}/a.parquet"]
        assert listing.others == (marker,)
    assert names(look_for_files([f"s3://markers/data-{marker}/{folder}"])) == ["a.parquet"]


def test_markers_of_consoles_are_not_read(server: Any, bucket: str) -> None:  # noqa: ANN401
    """Keys ending with a slash, as S3's console writes them, are skipped; EMR's markers are recognised by name."""
    server.put(bucket, "data/d=1/a.parquet", DATA)
    server.put(bucket, "data/d=1/", b"")
    server.put(bucket, "data/d=2/", b"")
    server.put(bucket, "data/d=1_$folder$", b"")
    assert names(look_for_files([f"s3://{bucket}/data"])) == ["d=1/a.parquet"]
    assert not any("folder" in request for request in server.requests)  # one each, of very many
    assert names(look_for_files([f"s3://{bucket}/data/d=*"])) == ["d=1/a.parquet"]
