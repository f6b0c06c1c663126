"""Tests of the store contract, for local folders and for prefixes of an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import buckets
from support.full_disk import files_of_at_most

from lvm_batch.io.errors import OutputError
from lvm_batch.io.storage.store import LocalStore, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def local(root: Path) -> Store:
    """A folder that does not exist yet."""
    return LocalStore(root / "out", "_lvm_batch/tmp")


def in_memory(_: Path) -> Store:
    """A prefix of a bucket in memory."""
    buckets.need_the_extra()
    from obstore.store import MemoryStore

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.object_store import ObjectStore

    return ObjectStore(Bucket(MemoryStore()), "out", "memory://bucket/out")


STORES = {"local": local, "in memory": in_memory}


@pytest.fixture(params=[*STORES, "over HTTP"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "over HTTP":
        return open_store(f"s3://{request.getfixturevalue('bucket')}/out", staging="tmp")
    make: Callable[[Path], Store] = STORES[request.param]
    return make(tmp_path)


def test_an_empty_store_can_be_queried(store: Store) -> None:
    """Every query works on an empty store, even if its folder does not exist."""
    assert store.read("a.json") is None
    assert store.read("deep/er/a.json") is None
    assert store.names("") == []
    assert store.names("_lvm_batch/done") == []
    assert store.first_visible() is None
    store.remove("a.json")


def test_what_is_written_is_read(store: Store) -> None:
    """Small files are written whole, at any depth, and replace the previous content."""
    store.write("deep/er/a.json", b"one")
    store.write("deep/er/a.json", b"2")
    store.write("empty", b"")
    assert (store.read("deep/er/a.json"), store.read("empty")) == (b"2", b"")
    names = ["empty", "nothing", "deep/er/a.json"]
    assert [store.size(name) for name in names] == [0, None, 1]
    assert store.read_many(names) == [b"", None, b"2"]
    assert store.visible_sizes() == {"deep/er/a.json": 1, "empty": 0}


def test_create_takes_a_name_once(store: Store) -> None:
    """Of two files created under one name, the first stays."""
    assert store.create("_lvm_batch/job.json", b"mine")
    assert not store.create("_lvm_batch/job.json", b"yours")
    assert store.read("_lvm_batch/job.json") == b"mine"


def test_append_adds_lines(store: Store) -> None:
    """Lines are appended after the existing ones."""
    for line in (b"a\n", b"b\n", b""):
        store.append("_lvm_batch/events.jsonl", line)
    assert store.read("_lvm_batch/events.jsonl") == b"a\nb\n"


def test_names_are_those_of_files_right_below(store: Store) -> None:
    """A listing is sorted, not recursive, and shows no folders."""
    for name in ("b", "a", "below/c", "below/deeper/d"):
        store.write(name, b"")
    assert store.names("") == ["a", "b"]
    assert store.names("below") == ["c"]
    assert store.names("a") == []


def test_remove_takes_one_file(store: Store) -> None:
    """Removing deletes one file only; removing it again does nothing."""
    store.write("x/a", b"")
    store.write("x/b", b"")
    store.remove("x/a")
    store.remove("x/a")
    assert store.names("x") == ["b"]


def test_a_staged_file_is_seen_only_when_published(store: Store) -> None:
    """Before publishing, the file does not exist; after it, all of it does, in place of the previous one."""
    store.write("year=2024/a-00000.parquet", b"old")
    with store.stage() as staged:
        staged.write_bytes(b"x" * 100_000)
        assert store.read("year=2024/a-00000.parquet") == b"old"
        assert store.names("year=2024") == ["a-00000.parquet"]
        store.publish(staged, "year=2024/a-00000.parquet")
    assert store.read("year=2024/a-00000.parquet") == b"x" * 100_000
    assert not staged.exists()


def stage_and_fail(store: Store, staged: list[Path], *, written: bool) -> None:
    """Raise within a stage, whose name is added to ``staged``."""
    with store.stage() as path:
        staged.append(path)
        if written:
            path.write_bytes(b"x")
        raise ZeroDivisionError


@pytest.mark.parametrize("written", [True, False])
def test_a_stage_left_by_an_exception_leaves_nothing(store: Store, *, written: bool) -> None:
    """The staged file is removed, whether or not anything was written to it."""
    staged: list[Path] = []
    with pytest.raises(ZeroDivisionError):
        stage_and_fail(store, staged, written=written)
    assert not staged[0].exists()
    assert store.first_visible() is None


def test_two_stages_are_two_files(store: Store) -> None:
    """Two simultaneous stages are two files."""
    with store.stage() as one, store.stage() as other:
        one.write_bytes(b"1")
        other.write_bytes(b"2")
        store.publish(other, "b")
        store.publish(one, "a")
    assert (store.read("a"), store.read("b")) == (b"1", b"2")


@pytest.mark.parametrize(
    ("names", "visible"),
    [
        (("_SUCCESS", ".hidden", "_lvm_batch/job.json"), False),
        (("a.parquet",), True),
        (("year=2024/month=01/old.parquet",), True),
        (("_x/a.parquet", "notes.txt"), True),
    ],
)
def test_files_that_readers_would_take_are_found(
    store: Store, names: tuple[str, ...], *, visible: bool
) -> None:
    """A file at any depth is found unless it, or a folder above it, is hidden."""
    for name in names:
        store.write(name, b"xy")
    assert (store.first_visible() is not None) is visible
    assert set(store.visible_sizes().values()) == ({2} if visible else set())


def test_an_upload_that_fails_is_named(tmp_path: Path) -> None:
    """A failed upload is an error with the object's name."""
    store = in_memory(tmp_path)
    with store.stage() as staged:
        staged.write_bytes(b"x")
        with pytest.raises(OutputError, match=r"memory://bucket/out/a/\.\./b cannot be uploaded"):
            store.publish(staged, "a/../b")


def test_local_stages_lie_in_the_output(tmp_path: Path) -> None:
    """Stages lie on the output's file system, hidden from readers, so that publishing is a rename."""
    with local(tmp_path).stage() as staged:
        assert staged.parent == tmp_path / "out/_lvm_batch/tmp"
        assert staged.suffix == ".part"


def test_create_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hard links, creating a name still succeeds only once."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    store = local(tmp_path)
    assert store.create("job.json", b"mine")
    assert not store.create("job.json", b"yours")
    assert store.read("job.json") == b"mine"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda store: store.read("folder"), r"out/folder cannot be read: Is a directory"),
        (lambda store: store.read("x" * 300), r"x cannot be read: File name too long"),
        (lambda store: store.size("x" * 300), r"x cannot be accessed: File name too long"),
        (lambda store: store.names("x" * 300), r"x cannot be listed: File name too long"),
        (lambda store: store.remove("folder"), r"out/folder cannot be removed: "),
        (lambda store: store.write("file/below", b""), r"out/file/below cannot be written: "),
        (lambda store: store.create("file/below", b""), r"out/file/below cannot be written: "),
        (lambda store: store.append("folder", b""), r"out/folder cannot be written: Is a directory"),
        (lambda store: store.write("large", bytes(2**20)), r"out/large cannot be written: File too large"),
    ],
)
def test_an_error_of_the_disk_is_named(tmp_path: Path, act: Callable[[Store], object], message: str) -> None:
    """The error gives the path and the system's message, as for an object store; nothing is left partly written."""
    store = local(tmp_path)
    store.write("folder/a", b"")
    store.write("file", b"")
    with files_of_at_most(2**19), pytest.raises(OutputError, match=message):
        act(store)
    assert store.visible_sizes() == {"file": 0, "folder/a": 0}
    assert store.names("_lvm_batch/tmp") == []


def test_an_exception_of_the_caller_is_not_the_stores_error(tmp_path: Path) -> None:
    """An exception raised while a file is staged passes through unchanged."""
    with pytest.raises(FileNotFoundError), local(tmp_path).stage() as staged:
        staged.read_bytes()


def test_a_folder_with_only_empty_folders_is_empty(tmp_path: Path) -> None:
    """A folder that holds only folders counts as empty."""
    (tmp_path / "out/year=2024").mkdir(parents=True)
    assert local(tmp_path).first_visible() is None


def test_a_file_where_the_folder_should_be_holds_nothing(tmp_path: Path) -> None:
    """If the folder is a file, queries return nothing; the error comes with the first write."""
    (tmp_path / "out").write_text("x")
    store = local(tmp_path)
    assert (store.names(""), store.names("done"), store.read("job.json")) == ([], [], None)


def test_stores_are_opened_by_their_address(s3: None, tmp_path: Path) -> None:
    """A path or a `file://` URL opens a local folder, any other URL an object store."""
    assert isinstance(open_store(str(tmp_path), staging="tmp"), LocalStore)
    assert isinstance(open_store(tmp_path.as_uri(), staging="tmp"), LocalStore)
    assert type(open_store("s3://bucket/out", staging="tmp")).__name__ == "ObjectStore"
