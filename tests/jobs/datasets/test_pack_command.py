"""`lvm-batch pack` writes Parquet that a run reads, lists its files, and refuses bad input with one clear error."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.discovery.find_columns import find_columns
from lvm_batch.io.packing.packed_files import PackedFiles
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
    """Without --json the result ends with the commands that come next, complete with paths."""
    assert main(["pack", str(npz), "--output", str(tmp_path / "out"), "--dtype", "float16"]) == 0
    out, err = capsys.readouterr()
    first, *more = out[out.index("next ") :].splitlines()
    lines = {line[:10].strip(): line[10:] for line in out.splitlines()}
    assert lines["rows"].startswith("49 in 2 files, ")
    assert lines["columns"] == "context, target, lane"
    place, model = f"{tmp_path}/out", f"{tmp_path}/out-model/best_model.pt"
    assert [line[10:] for line in (first, *more)] == [
        f"lvm-batch train {place}/train --arch amn --output {place}-model",
        f"lvm-batch run {place}/train --model {model} --output {place}-predictions-train",
        f"lvm-batch run {place}/val --model {model} --output {place}-predictions-val",
    ]
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
    assert "is inside the input" in values["error"]["message"]


@pytest.mark.parametrize(("shape", "command"), [((20, 768), "bank build"), ((20, 5, 768), "train")])
def test_what_comes_next_takes_what_was_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], command: str
) -> None:
    """Vectors alone can become a bank, but form no window."""
    np.save(tmp_path / "some.npy", vectors(*shape))
    assert main(["pack", str(tmp_path / "some.npy"), "--output", str(tmp_path / "packed")]) == 0
    assert f"next      lvm-batch {command} {tmp_path / 'packed'} " in capsys.readouterr().out


def json_lines(path: Path, n_rows: int = 60, dim: int = 12, **columns: Any) -> Path:  # noqa: ANN401 - JSON
    """Rows of six articles in no order, as people have them."""
    order = np.random.default_rng(0).permutation(n_rows)
    made = [
        {
            "doc_id": f"d{n // 10}",
            "chunk_index": int(n % 10),
            "embedding": [float(n)] * dim,
            "text": f"text {n}",
            **columns,
        }
        for n in order.tolist()
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in made), encoding="utf-8")
    return path


def test_sort_brings_rows_of_any_source_into_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pack --sort` finds the columns by the names people use, and the next commands name them."""
    # 384 float32 take as many bytes as 768 float16, for which readers would take them.
    source, out = json_lines(tmp_path / "rows.jsonl", dim=384), tmp_path / "out"
    code, values = result(capsys, source, "--sort", "--output", out, "--rows-per-file", 25)
    assert code == 0
    files = [pq.read_table(out / file["name"]) for file in values["files"]]
    assert [file.num_rows for file in files] == [20, 20, 20]
    assert [text for file in files for text in file["text"].to_pylist()] == [f"text {n}" for n in range(60)]
    assert [v[0] for file in files for v in file["embedding"].to_pylist()] == list(range(60))
    found = find_columns(find_files([str(out)]), {})
    assert (found.names.vector, found.shape.dim) == ("embedding", 384)
    flags = "--vector-column embedding --article-column doc_id --position-column chunk_index"
    assert values["next"] == [
        f"lvm-batch train {out} {flags} --arch amn --output {out}-model",
        f"lvm-batch bank build {out} --vector-column embedding --output {out}-bank",
        f"lvm-batch run {out} {flags} --model {out}-model/best_model.pt --bank {out}-bank --output {out}-predictions",
    ]
    assert "sorted by `doc_id`, then `chunk_index`" in values["notices"]


def test_files_and_folders_can_be_articles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name stands for a missing article, the order of its rows for positions, a folder for a column."""
    for lane in ("news", "law"):
        folder = tmp_path / "in" / f"lane={lane}" / "day=2026-11-29"
        folder.mkdir(parents=True)
        np.save(folder / f"{lane}.npy", vectors(4, 3))
    flags = ["--sort", "--article-column", "@file", "--position-column", "@row"]
    code, values = result(capsys, tmp_path / "in", "--output", tmp_path / "out", *flags)
    assert code == 0
    (table,) = [pq.read_table(tmp_path / "out" / file["name"]) for file in values["files"]]
    assert table["lane"].to_pylist() == ["law"] * 4 + ["news"] * 4
    assert str(table.schema.field("day").type) == "date32[day]"
    assert table["article_id"].to_pylist()[3:5] == [
        "lane=law/day=2026-11-29/law.npy",
        "lane=news/day=2026-11-29/news.npy",
    ]
    assert table["position"].to_pylist() == [0, 1, 2, 3] * 2


def test_what_sorting_needs_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a column of articles and one of positions the error names both, and the options that help."""
    np.save(tmp_path / "some.npy", vectors(4, 3))
    code, values = result(capsys, tmp_path / "some.npy", "--sort", "--output", tmp_path / "out")
    assert (code, values["error"]["kind"]) == (2, "columns")
    assert "no column of the article and no column of the position" in values["error"]["message"]
    assert "@file" in values["error"]["hint"]
    assert "@row" in values["error"]["hint"]


def test_contexts_are_not_sorted(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Windows hold their order in themselves: --sort is refused."""
    code, values = result(capsys, npz, "--sort", "--output", npz.parent / "out")
    assert (code, values["error"]["hint"]) == (2, "leave --sort out: it is for single vectors")


@pytest.mark.parametrize("sort", [[], ["--sort"]])
def test_rows_without_vectors_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sort: list[str]
) -> None:
    """Where no vector survives the command exits with 1 and writes nothing; where some do not, it tells how many."""
    lost, out = json_lines(tmp_path / "lost.jsonl", embedding=[None, 1.0]), tmp_path / "out"
    code, values = result(capsys, lost, "--output", out, *sort)
    assert (code, values["error"]["kind"]) == (1, "no_vectors")
    assert not out.exists()
    some = json_lines(tmp_path / "some.jsonl", n_rows=10)
    some.write_text(some.read_text().replace("[3.0, ", "[").replace("[5.0, 5.0, ", "[NaN, 5.0, "))
    assert main(["pack", str(some), "--output", str(out), *sort]) == 0
    text = capsys.readouterr().out
    assert "10 in 1 file, 0.0 MiB, 2 of them without a usable vector" in text


def test_vectors_of_two_widths_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No model reads vectors of two widths: the files of each are named, before anything is written."""
    json_lines(tmp_path / "a.jsonl", dim=8)
    json_lines(tmp_path / "b.jsonl", dim=12)
    code, values = result(capsys, tmp_path, "--output", f"{tmp_path}-out")
    assert code == 2
    assert "a.jsonl holds vectors of 8, and" in values["error"]["message"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sort", "--memory-limit", "1MiB"], "--memory-limit cannot be '1MiB'"),
        (["--sort", "--memory-limit", "much"], "--memory-limit cannot be 'much'"),
        (["--memory-limit", "1GiB"], "--memory-limit needs --sort"),
    ],
)
def test_memory_is_a_size_and_for_sorting(
    npz: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    """--memory-limit accepts a size that the process itself fits into, with --sort."""
    code, values = result(capsys, npz, "--output", npz.parent / "out", *flags)
    assert (code, values["error"]["message"]) == (2, message)


@pytest.mark.parametrize("sort", [[], ["--sort"]])
def test_sigterm_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sort: list[str]
) -> None:
    """A signal in the middle of writing ends the command with 143, and neither files nor temporary files are left."""
    write = PackedFiles.write

    def write_and_stop(*arguments: Any, **options: Any) -> None:  # noqa: ANN401
        write(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PackedFiles, "write", write_and_stop)
    source, out = json_lines(tmp_path / "rows.jsonl"), tmp_path / "out"
    code, values = result(capsys, source, "--output", out, *sort)
    assert (code, values["error"]["hint"]) == (143, "nothing was written; run the same command again")
    assert not out.exists()


def test_binary_is_for_vectors_whose_width_readers_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes of vectors of another width than 768 do not say how many floats they are: binary is refused."""
    source = json_lines(tmp_path / "rows.jsonl", dim=384)
    flags = ["--encoding", "fixed_size_binary", "--output", tmp_path / "out"]
    code, values = result(capsys, source, *flags)
    assert code == 2
    assert (
        "readers cannot tell how many floats the bytes of a vector of 384 are" in values["error"]["message"]
    )
