"""`lvm-batch pack` writes Parquet that a run reads, lists its files, and refuses bad input with one clear error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.schema import WindowShape
from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def vectors(*shape: int) -> NDArray[np.float32]:
    """Random vectors, equal for equal shapes."""
    return np.random.default_rng(shape[0]).standard_normal(shape).astype(np.float32)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """An NPZ file as production writes it."""
    np.savez(
        tmp_path / "lvm.npz",
        train_context_sequences=vectors(40, 5, 768),
        train_target_vectors=vectors(40, 768),
        train_lane=np.array(["sci-fact", "news"] * 20),
        val_context_sequences=vectors(9, 5, 768),
        val_target_vectors=vectors(9, 768),
        val_lane=np.array(["news"] * 9),
        epoch=np.array(3),
    )
    return tmp_path / "lvm.npz"


def result(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """The exit code and JSON of a `lvm-batch pack`."""
    code = main(["pack", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_reads_what_was_packed(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run's reader finds contexts, targets and lanes of each part as the arrays hold them."""
    code, values = result(capsys, npz, "--output", tmp_path / "out")
    assert (code, values["rows"]) == (0, 49)
    footer = next(iter(read_footers(find_files([str(tmp_path / "out" / "train")]), DatasetFormat())))[1]
    assert isinstance(footer, Footer)
    (unit,) = cut_units(footer, unit_bytes=2**26, shape=WindowShape())
    with open_unit(unit, DatasetFormat(), batch_rows=64) as rows:
        (batch,) = rows.batches
        np.testing.assert_array_equal(batch.contexts, vectors(40, 5, 768))
        np.testing.assert_array_equal(batch.targets, vectors(40, 768))
    assert batch.lanes is not None
    assert batch.lanes.tolist() == ["sci-fact", "news"] * 20
    assert not batch.details


def test_the_result_names_every_file(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json lists each file with its rows, its bytes and its source, and what was left out."""
    values = result(capsys, npz, "--output", tmp_path / "out", "--rows-per-file", 30)[1]
    assert [(file["name"], file["rows"], file["part"]) for file in values["files"]] == [
        ("train/lvm-00000.parquet", 30, "train"),
        ("train/lvm-00001.parquet", 10, "train"),
        ("val/lvm-00000.parquet", 9, "val"),
    ]
    for file in values["files"]:
        assert (tmp_path / "out" / file["name"]).stat().st_size == file["bytes"]
        assert file["source"] == str(npz)
        assert file["columns"] == ["context", "target", "lane"]
    assert values["notices"] == [f"{npz}: `epoch` is left out: its name begins with none of train_, val_"]


def test_the_text_shows_the_next_command(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --json the result ends with the next command."""
    assert main(["pack", str(npz), "--output", str(tmp_path / "out"), "--dtype", "float16"]) == 0
    out, err = capsys.readouterr()
    lines = {line[:10].strip(): line[10:] for line in out.splitlines()}
    assert lines["rows"].startswith("49 in 2 files, ")
    assert lines["columns"] == "context, target, lane"
    assert f"lvm-batch run {tmp_path}/out/train --output" in lines["next"]
    assert "epoch" in lines["note 1"]
    assert err == ""
    schema = pq.read_schema(tmp_path / "out" / "val" / "lvm-00000.parquet")
    assert schema.field("context").type.byte_width == 7680


def test_columns_of_parquet_can_have_other_names(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Renamed vector columns are re-encoded under their new names, and columns can be left out."""
    assert result(capsys, npz, "--output", tmp_path / "first", "--encoding", "fixed_size_list")[0] == 0
    path = tmp_path / "own.parquet"
    table = pq.read_table(tmp_path / "first" / "train").rename_columns(["ctx", "next", "lane"])
    assert str(table.schema.field("ctx").type) == "fixed_size_list<element: float>[3840]"
    pq.write_table(table, path)
    flags = ["--context-column", "ctx", "--target-column", "next", "--leave-out", "lane"]
    assert result(capsys, path, "--output", tmp_path / "out", *flags)[0] == 0
    schema = pq.read_schema(tmp_path / "out" / "own-00000.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("ctx", "fixed_size_binary[15360]"),
        ("next", "fixed_size_binary[3072]"),
    ]


def test_wrong_options_are_reported_at_once(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every invalid option is named with the accepted values, before anything is read or written."""
    wrong = ["--encoding", "list", "--dtype", "int8", "--pad", "no", "--rows-per-file", "0"]
    code, values = result(capsys, npz, "--output", npz.parent / "out", *wrong)
    assert code == 2
    assert [problem["message"] for problem in values["error"]["problems"]] == [
        "--encoding cannot be 'list'",
        "--dtype cannot be 'int8'",
        "--pad cannot be 'no'",
        "--rows-per-file cannot be '0'",
    ]
    assert not (npz.parent / "out").exists()


@pytest.mark.parametrize("size", ["-1", "many", "", "1.5", "0GiB"])
def test_a_files_size_is_rows_or_bytes(npz: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--rows-per-file accepts a positive integer, or a size with a unit."""
    code, values = result(capsys, npz, "--output", npz.parent / "out", "--rows-per-file", size)
    assert (code, values["error"]["message"]) == (2, f"--rows-per-file cannot be {size!r}")


def test_bad_input_is_refused_with_its_name(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be packed exits with 2 and two lines; nothing is written."""
    npz.write_bytes(npz.read_bytes()[:-100])
    assert main(["pack", str(npz), "--output", str(npz.parent / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {npz} cannot be read: ")
    assert len(err.splitlines()) == 2
    assert not (npz.parent / "out").exists()


def test_an_output_inside_the_input_is_refused(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the next pack would read this one's output."""
    code, values = result(capsys, npz.parent, "--output", npz.parent / "out")
    assert (code, values["error"]["kind"]) == (2, "output")
    assert "lies inside the input" in values["error"]["message"]


@pytest.mark.parametrize(("shape", "command"), [((20, 768), "bank build"), ((20, 5, 768), "run")])
def test_what_comes_next_takes_what_was_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], command: str
) -> None:
    """Vectors alone can become a bank, but form no window."""
    np.save(tmp_path / "some.npy", vectors(*shape))
    assert main(["pack", str(tmp_path / "some.npy"), "--output", str(tmp_path / "packed")]) == 0
    assert f"lvm-batch {command} {tmp_path / 'packed'} --output" in capsys.readouterr().out
