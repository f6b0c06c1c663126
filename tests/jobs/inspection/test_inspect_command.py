"""`lvm-batch inspect` describes a dataset as a run with the same settings reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.datasets import sample as sample_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sequences() -> Iterator[Path]:
    """The vectors that ship with the project."""
    with as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as path:
        yield path


@pytest.fixture(scope="module")
def vectors(sequences: Path) -> NDArray[np.float64]:
    """The vectors as an array."""
    return np.stack(pq.read_table(sequences)["vector"].to_numpy()).astype(np.float64)


def lists(rows: NDArray[Any]) -> pa.Array:
    """A fixed-size list array with the values of each row."""
    flat = rows.astype(np.float32).reshape(len(rows), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def windows(vectors: NDArray[np.float64], n_rows: int) -> dict[str, pa.Array]:
    """The first windows over the vectors, with their targets."""
    contexts = vectors[np.arange(n_rows)[:, None] + np.arange(5)]
    return {"context": lists(contexts), "target": lists(vectors[5 : 5 + n_rows])}


def inspected(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON of a successful `lvm-batch inspect`."""
    assert main(["inspect", *map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The mean cosine over rows."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).mean())


def test_sequences_are_described_from_their_footers(
    sequences: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, rows, layout, encoding, row groups, columns and units come from the footers."""
    values = inspected(capsys, sequences, "--unit-size", "2MiB")
    metadata = pq.read_metadata(sequences)
    assert (values["files"], values["rows"], values["layouts"]) == (1, 1958, ["sequences"])
    assert values["bytes"] == sequences.stat().st_size
    assert values["decoded_bytes"] == 1958 * 768 * 4
    assert [(stored["encoding"], stored["values"]) for stored in values["vectors"]] == [
        ("fixed_size_list", "float16")
    ]
    assert values["row_groups"]["count"] == metadata.num_row_groups == 4
    assert values["columns"] == {
        "target": None,
        "lane": None,
        "tokens": "tokens",
        "split": None,
        "article": "article_id",
        "position": "position",
    }
    assert values["criteria_not_evaluated"] == {"high_stakes_lane": "there is no `lane` column"}
    assert values["carried"]["title"] == "string"
    assert "vector" not in values["carried"]
    assert values["units"] == {"count": 4, "unit_bytes": 2 * 2**20}


def test_the_sample_is_what_the_first_rows_are(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample's means equal a separate computation over the same windows."""
    pq.write_table(pa.table(windows(vectors, 300)), tmp_path / "w.parquet")
    sample = inspected(capsys, tmp_path)["sample"]
    single = vectors.astype(np.float32).astype(np.float64)
    contexts, targets = single[np.arange(300)[:, None] + np.arange(5)], single[5:305]
    assert sample["by_status"] == {"ok": 300, "short_context": 0, "bad_input": 0}
    assert sample["vector_norm"] == pytest.approx(np.linalg.norm(contexts, axis=2).mean(), abs=1e-9)
    assert sample["last_vector_cosine"] == pytest.approx(cosines(contexts[:, -1], targets), abs=1e-9)
    assert sample["context_mean_cosine"] == pytest.approx(cosines(contexts.mean(axis=1), targets), abs=1e-9)


def test_bad_rows_are_counted_and_the_first_are_named(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample counts bad rows with their reasons, and leaves them out of its means."""
    rows = vectors[:40].copy()
    rows[4] = np.inf  # in windows 0 to 4
    columns = windows(rows, 30)
    pq.write_table(pa.table(columns), tmp_path / "w.parquet")
    sample = inspected(capsys, tmp_path)["sample"]
    assert sample["by_status"] == {"ok": 25, "short_context": 0, "bad_input": 5}
    assert [(bad["row"], bad["detail"]) for bad in sample["details"]] == [
        (0, "inf"),
        (1, "inf"),
        (2, "inf"),
    ]
    assert sample["vector_norm"] == pytest.approx(1.0, abs=1e-3)


def test_a_small_dataset_is_read_whole(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All rows of a small dataset are judged, in every file, and the result says so."""
    for name in "abc":
        pq.write_table(pa.table(windows(vectors, 30)), tmp_path / f"{name}.parquet")
    sample = inspected(capsys, tmp_path)["sample"]
    assert (sample["rows"], sample["is_whole"]) == (90, True)


def test_of_a_large_dataset_a_few_rows_of_some_files_are_read(
    vectors: NDArray[np.float64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sample takes its rows from files at even distances, and a file that breaks is named."""
    monkeypatch.setattr(sample_module, "SAMPLE_ROWS", 40)
    monkeypatch.setattr(sample_module, "WHOLE_BYTES", 1)
    for number in range(16):
        pq.write_table(pa.table(windows(vectors, 30)), tmp_path / f"{number:02}.parquet")
    content = bytearray((tmp_path / "04.parquet").read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    (tmp_path / "04.parquet").write_bytes(content)
    values = inspected(capsys, tmp_path)
    assert (values["rows"], values["sample"]["rows"], values["sample"]["is_whole"]) == (480, 40, False)
    assert ["04.parquet" in problem["message"] for problem in values["problems"]] == [True]


def test_a_dataset_without_rows_can_be_inspected(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without rows is one empty unit, and there is no sample."""
    pq.write_table(pa.table(windows(vectors, 1)).slice(0, 0), tmp_path / "w.parquet")
    values = inspected(capsys, tmp_path)
    assert (values["rows"], values["units"]["count"]) == (0, 1)
    assert values["sample"]["vector_norm"] is None
    assert main(["inspect", str(tmp_path)]) == 0


def test_no_encoding_is_called_slow(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists are read nearly as fast as what pack writes."""
    pq.write_table(pa.table(windows(vectors, 20)), tmp_path / "w.parquet")
    assert inspected(capsys, tmp_path / "w.parquet")["notices"] == []
    assert main(["pack", str(tmp_path / "w.parquet"), "--output", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    values = inspected(capsys, tmp_path / "out")
    assert values["vectors"][0]["encoding"] == "fixed_size_binary"
    assert values["notices"] == []


def test_files_with_other_columns_are_reported(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that differ from the first are counted, with the difference and the criterion that it affects."""
    columns = windows(vectors, 10)
    pq.write_table(pa.table({**columns, "lane": ["a"] * 10, "id": range(10)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({**columns, "id": ["x"] * 10, "split": ["ood"] * 10}), tmp_path / "b.parquet")
    values = inspected(capsys, tmp_path)
    assert values["notices"][0] == (
        "1 of 2 files has other columns than a.parquet: "
        "no `lane`, also `split`, `id` is string, not int64 in b.parquet"
    )
    assert values["criteria_not_evaluated"] == {
        "high_stakes_lane": "there is no `lane` column in 1 of 2 files (the others have it)",
        "long_context": "there is no `context_tokens` column",
    }
    assert values["columns"]["split"] == "split"


def test_large_row_groups_are_reported(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row group of many units' size is named, because no unit is smaller than a row group."""
    pq.write_table(pa.table(windows(vectors, 400)), tmp_path / "w.parquet")
    notices = inspected(capsys, tmp_path, "--unit-size", "1MiB")["notices"]
    assert any("a row group decodes to 6 MiB" in notice for notice in notices)


def test_columns_can_have_other_names(
    vectors: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options for column names are those of a run."""
    columns = windows(vectors, 10)
    table = pa.table({"ctx": columns["context"], "area": ["a"] * 10})
    pq.write_table(table, tmp_path / "w.parquet")
    values = inspected(capsys, tmp_path, "--context-column", "ctx", "--lane-column", "area")
    assert values["vectors"][0]["column"] == "ctx"
    assert values["columns"]["lane"] == "area"


def test_the_text_has_sections(sequences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json, the text lists what exists, what is missing, and what that costs."""
    assert main(["inspect", str(sequences)]) == 0
    text = capsys.readouterr().out
    assert ": 1,958 rows in 1 file of sequences, " in text
    lines = {line[2:14].strip(): line[14:] for line in text.splitlines()}
    assert lines["target"] == "the next row's vector"
    assert lines["lane"] == "none: without it high_stakes_lane is not evaluated"
    assert lines["tokens"] == "`tokens`"
    assert lines["order"] == "every article's rows are in order"
    assert "64 short_context" in lines["sample"]  # four in each of 16 articles
    assert "last vector 0." in lines["cosine"]


def test_no_model_is_loaded(sequences: Path) -> None:
    """Inspect imports neither torch nor Dask."""
    code = (
        "import sys; from lvm_batch.jobs.cli import main\n"
        f"assert main(['inspect', {str(sequences)!r}]) == 0\n"
        "assert not {'torch', 'dask', 'distributed'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
