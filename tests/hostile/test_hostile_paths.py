"""Tests of names of files, folders and columns that try to leave the output or control the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, windows, write_windows

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

NAMES = [
    "date=%2e%2e%2f%2e%2e/x.parquet",
    "date=%2Fetc%2Fpasswd/x.parquet",
    "a/b%00..%2f..%2fetc.parquet",
    "back\\..\\..\\x.parquet",
    "new\nline/x\n.parquet",
    "esc\x1b[2J/x\x1b]0;title\x07.parquet",
    "\u202egnp/x.parquet",
    "q?uery#frag/*[a].parquet",
    "colon:s3:/b.parquet",
    "~/x.parquet",
    "$HOME/x.parquet",
    "-rf.parquet",
    f"k={'v' * 200}/{'n' * 230}.parquet",
    "x=__HIVE_DEFAULT_PARTITION__/a.parquet",
    "tmp/x.parquet",
]


NEXT = "=== the next command"


def everything(root: Path) -> set[str]:
    """The names of everything below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_outputs_stay_in_the_output_folder(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Whatever the names of partitions and files, their predictions have the same relative names in the output."""
    source = write_windows(tmp_path / "source.parquet", windows()[0][:2])
    for name in NAMES:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "in" / name)
    before = everything(tmp_path)
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert result.code == 0
    assert {name for name in everything(tmp_path) - before if not name.startswith("out")} == set()
    written = {name for name in everything(tmp_path / "out") if name.endswith(".parquet")}
    assert written == {name.removesuffix(".parquet") + "-00000.parquet" for name in NAMES}
    assert predict(tmp_path / "in", "--output", tmp_path / "out").values["units_computed"] == 0


@pytest.mark.parametrize("name", ["n" * 247, f"key={'v' * 200}/{'é' * 121}"])
def test_an_outputs_name_may_be_too_long(predict: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """If an output's name would be too long, its input is refused by name before anything is written."""
    write_windows(tmp_path / f"in/{name}.parquet", windows()[0][:2])
    write_windows(tmp_path / "in/short.parquet", windows()[0][:2])
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert f"{name}-00000.parquet would be written, but it is too long" in result.values["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_links_are_read_and_not_written_through(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Linked files are read; predictions are written to the output only, never through a link."""
    outside = write_windows(tmp_path / "outside/a.parquet", windows()[0][:2]).parent
    (tmp_path / "in").mkdir()
    (tmp_path / "in/part").symlink_to(outside)
    (tmp_path / "in/b.parquet").symlink_to(write_windows(tmp_path / "beside/a.parquet", windows()[0][:2]))
    assert predict(tmp_path / "in", "--output", tmp_path / "out").code == 0
    assert everything(outside) == everything(tmp_path / "beside") == {"a.parquet"}
    assert {"part/a-00000.parquet", "b-00000.parquet"} <= everything(tmp_path / "out")


def test_the_output_may_be_a_link(predict: Callable[..., Any], tmp_path: Path) -> None:
    """An output that is a link means the folder it points to; one inside the input is refused."""
    path = write_windows(tmp_path / "in/a.parquet", windows()[0][:2])
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert predict(path, "--output", tmp_path / "link").code == 0
    assert len(read_rows(tmp_path / "real")) == 2
    (tmp_path / "around").symlink_to(tmp_path / "in")
    refused = predict(tmp_path / "in", "--output", tmp_path / "around/out")
    assert (refused.code, "is inside" in refused.values["error"]["message"]) == (2, True)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_special_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    """A pipe, socket or device in place of a file is not read, and not reported as missing."""
    write_windows(tmp_path / "in/a.parquet", windows()[0][:2])
    place = tmp_path / "in/b.parquet"
    with contextlib.chdir(tmp_path / "in"), socket.socket(socket.AF_UNIX) as made:
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "socket":
            made.bind("b.parquet")  # its full path may be too long
        else:
            place.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"b\.parquet is a pipe"):
        find_files([str(place)])


@pytest.mark.parametrize("links", [{"in/up": "in"}, {"in/a": "other", "in/b": "other"}, {"in/a/up": "in"}])
def test_rows_are_not_read_twice_by_links(tmp_path: Path, links: dict[str, str]) -> None:
    """A folder reached in two ways, or that contains itself, is refused at once with both names."""
    write_windows(tmp_path / "in/a.parquet", windows()[0][:2])
    (tmp_path / "other").mkdir()
    (tmp_path / "in/a").mkdir() if "in/a/up" in links else None
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(DataError, match="are the same folder, so its rows would be read twice"):
        find_files([str(tmp_path / "in")])


def test_names_of_invalid_text_are_refused(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """File names that are not UTF-8 cannot be recorded, so they are refused, and so are names with a null character."""
    path = write_windows(tmp_path / "in/a.parquet", windows()[0][:2])
    shutil.copy(path, os.fsencode(tmp_path) + b"/in/\xff\xfe.parquet")
    for dataset in (
        str(tmp_path / "in"),
        os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff\xfe.parquet"),
        "a\0b",
    ):
        result = lvm_batch("inspect", dataset)
        assert (result.code, result.values["error"]["kind"] in {"data", "settings"}) == (2, True)
    result = lvm_batch("run", path, "--output", "o\0ut", "--model", "nowhere")
    assert result.code == 2


_ONE_BY_ONE = f"""
import json, sys
from lvm_batch.jobs.cli import main
for arguments in json.loads(sys.argv[1]):
    main(arguments)
    print("{NEXT}", flush=True)
"""


def on_a_terminal(*commands: Sequence[object]) -> list[bytes]:
    """Run commands one after the other in a terminal; return everything that each sends there."""
    given = json.dumps([[str(argument) for argument in arguments] for arguments in commands])
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", _ONE_BY_ONE, given], stdin=its, stdout=its, stderr=its)
    os.close(its)
    sent = b""
    try:
        while part := os.read(ours, 65536):
            sent += part
    except OSError:  # a pseudo-terminal raises this when its writer has closed it
        pass
    os.close(ours)
    process.wait()
    *each, _ = sent.split(NEXT.encode())
    assert len(each) == len(commands), sent
    return each


def test_names_do_not_control_the_terminal(models: Path, tmp_path: Path) -> None:
    """Escape sequences in names of files, columns and lanes are printed escaped."""
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"
    lane = pa.array([hostile] * 2).dictionary_encode()
    for folder in ("good", "bad"):
        path = tmp_path / folder / f"{hostile}.parquet"
        write_windows(path, windows()[0][:2], columns={hostile: [1, 2], "lane": lane})
    (tmp_path / f"bad/{hostile}2.parquet").write_bytes(b"junk")
    plan = ("--output", tmp_path / f"out{hostile}", "--model", models / "amn.pt")
    inspected = [("inspect", tmp_path / folder) for folder in ("bad", "good")]
    planned = [("plan", tmp_path / folder, *plan) for folder in ("bad", "good")]
    for sent in on_a_terminal(*inspected, *planned):
        assert b"\\x1b]0;owned\\x07" in sent
        for raw in (b"\x1b]0", b"\x07", b"\x1b[2J", "\x9b".encode(), "\u202e".encode()):
            assert raw not in sent


def test_a_message_is_one_line(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A newline in a name cannot start a line that looks like the command's own."""
    from lvm_batch.jobs.cli import main

    path = tmp_path / "a\n  what to do: rm -rf .parquet"
    path.write_bytes(b"junk")
    (sent,) = on_a_terminal(("inspect", path))
    assert [line for line in sent.decode().splitlines() if line.startswith("  what to do: rm")] == []
    assert main(["inspect", str(path), "--json"]) == 0


def test_columns_with_escape_sequences_are_carried_unchanged(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """Names are escaped on the terminal only, not in the output."""
    name = "\x1b[2J"
    path = write_windows(tmp_path / "in.parquet", windows()[0][:2], columns={name: ["\x1b", "\0"]})
    assert predict(path, "--output", tmp_path / "out").code == 0
    assert pq.ParquetFile(tmp_path / "out/in-00000.parquet").read([name])[name].to_pylist() == ["\x1b", "\0"]
