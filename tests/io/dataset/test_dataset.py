"""Tests which files paths, folders, patterns and URLs select."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyarrow import fs

from lvm_batch.io.dataset.files import check_unchanged, find_files
from lvm_batch.io.dataset.overlap import DatasetReach
from lvm_batch.io.errors import DataError, InputNotFound, UnreadableFile
from lvm_batch.io.storage.locations import Location, locate, read_file

TREE = (
    "a.parquet",
    "b.parquet",
    "year=2023/lang=de/x.parquet",
    "year=2024/lang=de/x.parquet",
    "year=2024/lang=en/x.parquet",
    "year=2024/lang=en/y.pq",
    "year=2024/_temporary/z.parquet",
    "year=2024/.hidden.parquet",
    "_SUCCESS",
    "_lvm_batch/tmp/t.parquet",
    ".git/c.parquet",
)
VISIBLE = list(TREE[:6])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder `data` of files, hive partitions among them, with a few hidden ones."""
    for name in TREE:
        put(tmp_path / "data" / name)
    return tmp_path / "data"


def put(path: Path, content: str = "x") -> Path:
    """Write a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def reads(argument: str, folder: object) -> bool:
    """Whether a dataset would read outputs written to a folder."""
    files = find_files([argument])
    outputs = [f"{file.stem}-00000.parquet" for file in files]
    return DatasetReach([argument], files).reader_of(locate(str(folder)), outputs) == argument


def names(*arguments: object) -> list[str]:
    """The names of the files that the arguments select."""
    return [file.name for file in find_files(map(str, arguments))]


def test_a_folder_is_read_to_any_depth(tree: Path) -> None:
    """Names are relative to the folder, sorted, with hive partitions kept; `_` and `.` hide files and folders."""
    assert names(tree) == VISIBLE
    assert names(f"{tree}/") == VISIBLE


def test_files_have_a_path_a_size_and_a_time(tree: Path) -> None:
    """A file has an absolute path, a size and a modification time; its stem has no Parquet suffix."""
    first = find_files([str(tree)])[0]
    assert (first.path, first.size, first.stem) == (str(tree / "a.parquet"), 1, "a")
    assert first.modified_ns == (tree / "a.parquet").stat().st_mtime_ns
    assert [file.stem for file in find_files([f"{tree}/year=2024/lang=en"])] == ["x", "y"]


@pytest.mark.parametrize("name", ["part.0", "weird.parquet.gz", "UPPER.PARQUET", "plain", "x.parq"])
def test_stems_lose_parquet_suffixes_only(tmp_path: Path, name: str) -> None:
    """Any other suffix stays in the output's name."""
    stem = {"UPPER.PARQUET": "UPPER", "x.parq": "x"}.get(name, name)
    assert find_files([str(put(tmp_path / name))])[0].stem == stem


def test_a_single_file_is_called_by_its_name(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file given by a relative, absolute or indirect path is named by its last part."""
    monkeypatch.chdir(tree)
    for argument in ("year=2023/lang=de/x.parquet", "./year=2023/../year=2023/lang=de/x.parquet"):
        (file,) = find_files([argument])
        assert (file.name, file.path) == ("x.parquet", str(tree / "year=2023/lang=de/x.parquet"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.parquet", "b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("[!a].parquet", ["b.parquet"]),
        ("[ab].*", ["a.parquet", "b.parquet"]),
        ("year=*/lang=de/*.parquet", [VISIBLE[2], VISIBLE[3]]),
        ("year=2024/*/x.parquet", ["lang=de/x.parquet", "lang=en/x.parquet"]),
        ("**/*.parquet", VISIBLE[:5]),
        ("**", VISIBLE),
        ("**/y.pq", [VISIBLE[5]]),
        ("year=2024/**/x.parquet", ["lang=de/x.parquet", "lang=en/x.parquet"]),
        ("year=202[4]", [name for name in VISIBLE if "2024" in name]),
        ("*", VISIBLE),
        ("*/lang=de", [VISIBLE[2], VISIBLE[3]]),
        ("**/lang=de", [VISIBLE[2], VISIBLE[3]]),
        ("**/*", VISIBLE),
        ("*/**", VISIBLE),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    """Names are relative to the last folder before the first wildcard; a matched folder stands for its files."""
    assert names(f"{tree}/{pattern}") == expected
    assert names(f"file://{tree}/{pattern}") == expected


@pytest.mark.parametrize(
    "pattern", ["*.csv", "year=*/*.parquet/x", "nowhere/*", "_*/*/*", ".g?t/*", "a.parquet/*"]
)
def test_patterns_that_match_nothing(tree: Path, pattern: str) -> None:
    """A pattern without a match is an error that quotes the pattern; hidden names are not matched."""
    with pytest.raises(InputNotFound) as error:
        names(f"{tree}/{pattern}")
    assert f"no file matches {tree}/{pattern}" in error.value.args[0]


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "what?.parquet", "star*.parquet", "100%.parquet", "a b#c.parquet"]
)
def test_special_characters_may_stand_in_a_files_name(tmp_path: Path, name: str) -> None:
    """If a file with exactly that name exists, the argument is a path, not a pattern."""
    put(tmp_path / "a1.parquet")
    path = put(tmp_path / name)
    assert names(path) == [name]
    assert names(path.as_uri()) == [name]


@pytest.mark.parametrize("folder", ["d[1]", "d*", "what?"])
def test_special_characters_may_stand_in_a_folders_name(tmp_path: Path, folder: str) -> None:
    """If a folder with exactly that name exists, it is used as a path, with or without a pattern after it."""
    put(tmp_path / "d1/b.parquet")
    put(tmp_path / folder / "a.parquet")
    assert [file.path for file in find_files([f"{tmp_path / folder}/*.parquet"])] == [
        str(tmp_path / folder / "a.parquet")
    ]
    assert names(tmp_path / folder) == ["a.parquet"]
    with pytest.raises(InputNotFound):
        names(tmp_path / folder / "missing.parquet")


def test_file_urls_are_paths(tree: Path) -> None:
    """`file://` URLs name files and folders, with percent-encoding decoded."""
    put(tree.parent / "über uns" / "a.parquet")
    assert names(tree.as_uri()) == VISIBLE
    assert names(f"file://localhost{tree}/a.parquet") == ["a.parquet"]
    (file,) = find_files([(tree.parent / "über uns").as_uri()])
    assert file.path == str(tree.parent / "über uns" / "a.parquet")


def test_several_arguments_give_one_sorted_list(tree: Path) -> None:
    """The order of arguments does not matter; the result is sorted by name."""
    assert names(tree / "b.parquet", tree / "a.parquet") == ["a.parquet", "b.parquet"]
    assert names(tree / "year=2023", tree / "*.parquet") == ["a.parquet", "b.parquet", "lang=de/x.parquet"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.parquet", "a.parquet"),
        ("a.parquet", "./a.parquet"),
        (".", "year=2023/lang=de/x.parquet"),
        (".", "**/y.pq"),
    ],
)
def test_a_file_given_twice_is_refused(
    tree: Path, arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file given twice, in any form, is refused, since its rows would be duplicated."""
    monkeypatch.chdir(tree)
    with pytest.raises(DataError, match="is given twice"):
        names(*arguments)


def test_names_that_collide_are_refused(tree: Path) -> None:
    """Two files that would write the same outputs are both named, with a way to fix it."""
    with pytest.raises(DataError) as error:
        names(tree / "year=2023/lang=de", tree / "year=2024/lang=de")
    message, hint = error.value.args
    assert "year=2023/lang=de/x.parquet and" in message
    assert "x-00000.parquet" in message
    assert "folder above both" in hint
    put(tree / "a.pq")
    with pytest.raises(DataError, match=r"a-00000\.parquet"):
        names(tree)


@pytest.mark.parametrize(
    "prepare", [lambda _: None, lambda path: put(path / "_x/a.parquet"), lambda path: put(path / ".a")]
)
def test_a_folder_without_files_is_an_error(tmp_path: Path, prepare: object) -> None:
    """An empty folder, or one with only hidden names, is refused."""
    prepare(tmp_path)  # type: ignore[operator]
    (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(InputNotFound) as error:
        names(tmp_path)
    assert "has no files to read" in error.value.args[0]
    assert "`_` or `.`" in error.value.args[1]


def test_a_missing_path_is_an_error_that_says_what_is_there(tree: Path) -> None:
    """The hint names the deepest folder that exists."""
    with pytest.raises(InputNotFound) as error:
        names(tree / "year=2025/lang=de/x.parquet")
    assert "does not exist" in error.value.args[0]
    assert f"{tree} is there" in error.value.args[1]


def test_hidden_names_can_not_be_given_themselves(tree: Path) -> None:
    """A hidden file is refused, since its outputs would be hidden; a hidden folder works, since names start below
    it.
    """
    with pytest.raises(DataError, match="readers skip"):
        names(tree / "year=2024/.hidden.parquet")
    assert names(tree / "year=2024/_temporary") == ["z.parquet"]
    assert names(tree / ".git/*.parquet") == ["c.parquet"]


def test_links_are_followed_and_pipes_skipped(tree: Path) -> None:
    """Links to files and folders are followed; a broken link is kept and fails by name when it is read."""
    (tree / "broken.parquet").symlink_to("nowhere")
    os.mkfifo(tree / "pipe.parquet")
    put(tree.parent / "elsewhere/l.parquet")
    (tree / "linked").symlink_to(tree.parent / "elsewhere")
    assert names(tree) == sorted([*VISIBLE, "broken.parquet", "linked/l.parquet"])


@pytest.mark.parametrize(
    ("link", "to", "arguments"),
    [
        ("year=2025", "year=2024", ["."]),
        ("year=2025", "year=2024", ["*"]),
        ("year=2025", "year=2024", ["year=*"]),
        ("year=2025", "year=2024", ["*/*/*.parquet"]),
        ("year=2025", "year=2024", ["year=2025/lang=de", "year=2024/lang=de/x.parquet"]),
        ("latest.parquet", "b.parquet", ["."]),
        ("latest.parquet", "b.parquet", ["*.parquet"]),
        ("latest.parquet", "b.parquet", ["b.parquet", "latest.parquet"]),
        ("latest.parquet", "year=2024/lang=en/y.pq", ["*"]),
    ],
)
def test_a_target_of_two_links_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch, link: str, to: str, arguments: list[str]
) -> None:
    """If a folder or file is reached in two ways, both paths are named, since rows would be duplicated."""
    monkeypatch.chdir(tree)
    Path(link).symlink_to(to)
    with pytest.raises(DataError, match=r"are the same (file|folder), so its rows would be read twice"):
        names(*arguments)


def test_a_link_to_what_is_not_read_is_one_way(tree: Path) -> None:
    """A file reached in only one of its ways, or a copy of a file, is not a duplicate."""
    (tree / "latest.parquet").symlink_to("b.parquet")
    assert names(tree / "l*.parquet") == ["latest.parquet"]
    (tree / "copy.parquet").hardlink_to(tree / "a.parquet")
    assert names(tree / "[ac]*.parquet") == ["a.parquet", "copy.parquet"]


def test_a_folder_that_cannot_be_listed_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error gives the folder and the operating system's message."""

    class Refusing:
        """A file system that cannot list folders."""

        def get_file_info(self, selector: object) -> object:
            """Answer for single paths, fail for a listing."""
            if isinstance(selector, fs.FileSelector):
                raise PermissionError(13, "Permission denied")
            return fs.LocalFileSystem().get_file_info(selector)

    place = locate(str(tree))
    fake = Location(Refusing(), place.path, place.text)
    monkeypatch.setattr("lvm_batch.io.dataset.files.locate", lambda _: fake)
    with pytest.raises(InputNotFound, match=r"cannot be listed: .*Permission denied"):
        names(tree)


def test_urls_of_an_unknown_kind_are_an_error() -> None:
    """The message quotes the URL, the hint lists the supported kinds."""
    with pytest.raises(DataError) as error:
        names("gopher://somewhere/data")
    assert "gopher://somewhere" in error.value.args[0]
    assert "s3://" in error.value.args[1]


@pytest.mark.parametrize(
    ("argument", "folder", "expected"),
    [
        (".", ".", True),
        (".", "out", True),
        ("year=2023", "out", False),
        ("a.parquet", ".", False),
        ("*.parquet", ".", True),
        ("*.parquet", "out", False),
        ("*.parquet", "..", False),
        ("*", "out", True),
        ("**/*.parquet", "deep/er/out", True),
        ("**/[ab].parquet", "out", False),
        ("*/*/*.parquet", ".", True),
        ("year=*/lang=de/x*.parquet", "year=2024/lang=de", False),
        ("year=*/**/x*", "year=2024", True),
        ("year=*", "year=2024/out", True),
        ("year=202[4]", "../out", False),
    ],
)
def test_outputs_that_a_dataset_would_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch, argument: str, folder: str, *, expected: bool
) -> None:
    """An output counts as inside an input if the next run would read the files that this job writes."""
    monkeypatch.chdir(tree)
    assert reads(argument, folder) is expected
    assert reads(f"{tree}/{argument}", tree / folder) is expected
    if expected:
        (tree / "year=2024/lang=en/y.pq").unlink()
        before = names(argument)
        for file in find_files([argument]):
            put(Path(locate(folder).path) / f"{file.stem}-00000.parquet")
        assert names(argument) != before


@pytest.mark.parametrize(
    ("argument", "folder"),
    [
        *(
            ("data", out)
            for out in ("alias/out", "other/out", "data/far/out", "data/gone/out", "./data/../data/out")
        ),
        *((argument, "other/out") for argument in ("data/", "./data/../data", "data/**/*.parquet", "alias")),
    ],
)
def test_a_dataset_reads_an_output_through_links(
    tree: Path, monkeypatch: pytest.MonkeyPatch, argument: str, folder: str
) -> None:
    """The check follows links, both in the output's path and inside the dataset."""
    monkeypatch.chdir(tree.parent)
    (tree.parent / "alias").symlink_to(tree)
    put(tree.parent / "other/deep/c.parquet")
    (tree / "far").symlink_to(tree.parent / "other")
    (tree / "gone").symlink_to(tree.parent / "empty")
    (tree.parent / "empty").mkdir()
    assert reads(argument, folder)
    assert reads(f"file://{tree.parent}/{argument}", f"{tree.parent}/{folder}")
    assert not reads(argument, "elsewhere/out")
    assert not reads(argument, "data-2/out")


def test_a_file_that_changes_is_noticed(tree: Path) -> None:
    """A file whose size or time differs, or that is gone, no longer matches the plan."""
    file, other, removed = find_files([str(tree)])[:3]
    check_unchanged(file)
    os.utime(file.path, ns=(1, 1))
    Path(other.path).write_text("xx")
    Path(removed.path).unlink()
    for changed, problem in ((file, "has changed"), (other, "has changed"), (removed, "no longer exists")):
        with pytest.raises(UnreadableFile, match=problem) as error:
            check_unchanged(changed)
        assert error.value.path == changed.path


def test_small_files_are_read_whole(tree: Path) -> None:
    """`read_file` gives a file's bytes from a path or a URL, or says that it cannot."""
    assert read_file(str(tree / "a.parquet")) == b"x"
    assert read_file((tree / "a.parquet").as_uri()) == b"x"
    for missing in (tree / "none", tree):
        with pytest.raises(InputNotFound, match="cannot be read"):
            read_file(str(missing))


def test_the_root_has_children_without_a_double_slash() -> None:
    """Paths at the root of a file system have one slash."""
    assert locate("/").child("data").text == "/data"
