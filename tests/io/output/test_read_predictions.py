"""Tests of reading an output: which rows a reader gets, in which order, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support import buckets
from support.documents import success_of
from support.outputs import DIM, as_arrow, as_polars, begin, write_output, write_unit

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.errors import ColumnError, DataError, InputNotFound, NotFinished, OutputError
from lvm_batch.io.output.job_documents import FORMAT
from lvm_batch.io.output.lock import lock_output
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Reader = Callable[..., pa.Table]

pytestmark = pytest.mark.slow

readers = pytest.mark.parametrize("read", [as_polars, as_arrow], ids=["polars", "arrow"])


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Places for an output: a folder, or a bucket over real HTTP."""
    return (
        str(tmp_path / "out") if request.param == "local" else f"s3://{request.getfixturevalue('bucket')}/out"
    )


@readers
def test_rows_come_in_the_order_of_the_inputs(read: Reader, output: str) -> None:
    """Files come in the order of their inputs and first rows, not of their names; rows keep their order."""
    folder = begin(output, ["b-00000.parquet", "b-00001.parquet", "a-00000.parquet"])
    write_unit(folder, "a-00000.parquet", {"key": [7, 8]})
    write_unit(folder, "b-00001.parquet", {"key": [3, 4, 5]}, first_row=3)
    write_unit(folder, "b-00000.parquet", {"key": [0, 1, 2]})
    folder.mark_success(success_of())
    assert read(output)["key"].to_pylist() == [0, 1, 2, 3, 4, 5, 7, 8]


@readers
def test_rows_of_a_repaired_file_come_in_their_place(read: Reader, tmp_path: Path) -> None:
    """A unit that was not planned at first, because its input was unreadable, comes where its input comes."""
    inputs = {f"{stem}.parquet": {"path": f"/in/{stem}.parquet", "size": 1} for stem in ("a", "b", "c")}
    names = ["a-00000.parquet", "c-00000.parquet"]
    identity = {"identity": {"format": FORMAT, "inputs": inputs}}
    begin(str(tmp_path), names, **identity, unreadable=["/in/b.parquet"])
    folder = begin(str(tmp_path), [*names, "b-00000.parquet"], **identity)
    for number, name in enumerate([*names, "b-00000.parquet"]):
        write_unit(folder, name, {"key": [number]})
    folder.mark_success(success_of())
    assert read(tmp_path)["key"].to_pylist() == [0, 2, 1]


@readers
@pytest.mark.parametrize("how", ["503", "cut within"])
def test_failed_requests_are_retried(read: Reader, how: str, server: Any, bucket: str) -> None:  # noqa: ANN401
    """Error responses and dropped connections during reads are retried and change nothing."""
    write_output(f"s3://{bucket}/out", {"a-00000.parquet": {"key": [1, 2]}})
    fault = server.fail(how, "GET", ".parquet", times=4)
    assert read(f"s3://{bucket}/out")["key"].to_pylist() == [1, 2]
    assert fault.met == 4


@readers
def test_a_public_bucket_needs_no_credentials(read: Reader, server: Any, bucket: str) -> None:  # noqa: ANN401
    """With AWS_SKIP_SIGNATURE no reader signs its requests."""
    from moto.s3.models import get_canned_acl

    write_output(f"s3://{bucket}/out", {"a-00000.parquet": {"key": [1, 2]}})
    unset = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
    for key in server.backend.buckets[bucket].keys.values():
        key.acl = get_canned_acl("public-read")
    with buckets.environment(server, AWS_SKIP_SIGNATURE="true", **unset):
        assert read(f"s3://{bucket}/out")["key"].to_pylist() == [1, 2]
    assert server.authorization == ""


@readers
def test_columns_are_the_files_columns(read: Reader, output: str) -> None:
    """Names, values and order are those of the files; predictions are fixed-size arrays of 768 floats."""
    write_output(output, {"a-00000.parquet": {"key": [0, 1, 2], "lane": ["x", None, "y"]}})
    table = read(output)
    place = locate(output).child("a-00000.parquet")
    written = pq.ParquetFile(place.filesystem.open_input_file(place.path)).read()
    assert table.column_names == written.column_names
    assert table.to_pylist() == written.to_pylist()
    assert table.schema.field("prediction").type.list_size == DIM


def test_polars_gets_arrays(output: str) -> None:
    """In polars a prediction is an array of 768 float32, known before any row is read."""
    write_output(output, {"a-00000.parquet": {"key": [1]}})
    assert read_predictions(output).collect_schema()["prediction"] == pl.Array(pl.Float32, DIM)


@readers
def test_half_precision_is_read_as_float32(read: Reader, tmp_path: Path) -> None:
    """Predictions stored as float16 have the same type for readers as others."""
    write_output(str(tmp_path), {"a-00000.parquet": {"key": [1, 2]}}, dtype="float16")
    table = read(tmp_path)["prediction"].combine_chunks()
    assert table.type.value_type == pa.float32()
    assert table.flatten().to_numpy().reshape(-1, DIM)[:, 0].tolist() == [1, 2]


def test_only_selected_rows_are_read(tmp_path: Path) -> None:
    """Damage in columns, row groups and files that the reader does not select has no effect."""
    units = {f"day={day}/a-00000.parquet": {"key": [0, 1, 2, 3]} for day in (1, 2)}
    write_output(str(tmp_path), units)
    _scramble(tmp_path / "day=1/a-00000.parquet", lambda group, column: group == 0 or column == "prediction")
    _scramble(tmp_path / "day=2/a-00000.parquet", lambda *_: True)
    frame = read_predictions(tmp_path).filter(pl.col("key") > 1, day=1)
    assert frame.select("key", "route").collect()["key"].to_list() == [2, 3]
    condition = (ds.field("key") > 1) & (ds.field("day") == 1)
    dataset = predictions_dataset(tmp_path)
    assert dataset.to_table(columns=["key", "route"], filter=condition)["key"].to_pylist() == [2, 3]
    with pytest.raises(pl.exceptions.ComputeError):
        frame.collect()
    with pytest.raises(OSError, match=r"page|header|[Dd]eserialize"):
        dataset.to_table(filter=condition)


def _scramble(path: Path, chosen: Callable[[int, str], bool]) -> None:
    footer = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    for group in range(footer.num_row_groups):
        for chunk in map(footer.row_group(group).column, range(footer.num_columns)):
            if chosen(group, chunk.path_in_schema.partition(".")[0]):
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


@readers
def test_folders_are_columns(read: Reader, output: str) -> None:
    """Partition values are columns after the file's own: numbers, dates or text; Hive's null name gives null."""
    names = [
        "day=2026-01-01/n=07/lane=1/a-00000.parquet",
        "day=2026-01-02/n=8/lane=a%2Fb/b c-00000.parquet",
        "day=2026-01-02/n=__HIVE_DEFAULT_PARTITION__/lane=a b/50% ü-00000.parquet",
    ]
    write_output(output, {name: {"key": [number]} for number, name in enumerate(names)})
    table = read(output).sort_by("key")
    assert table.column_names[-3:] == ["day", "n", "lane"]
    assert table["day"].to_pylist() == [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 2)]
    assert table["n"].to_pylist() == [7, 8, None]
    assert table["lane"].to_pylist() == ["1", "a/b", "a b"]


@readers
@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"n=1/a": {}, "b": {}}, {"n": [1, None]}),
        ({"n=1/a": {"n": ["x"]}, "n=2/b": {"n": ["y"]}}, {"n": ["x", "y"]}),
        ({"n=1/a": {"n": ["x"]}, "n=2/b": {}}, {"n": ["x", None]}),
        ({"n=1/m=1/a": {"n": ["x"]}, "n=1/m=2/b": {"n": ["y"]}}, {"n": ["x", "y"], "m": [1, 2]}),
        ({"n=1/n=2/a": {}, "n=3/n=4/b": {}}, {"n": [2, 4]}),
        ({"n=a=b/a": {}, "n=c/b": {}}, {"n": ["a=b", "c"]}),
        ({"run=1/a": {}, "run=2/b": {}}, {"run": [1, 2]}),
        ({"=x/a": {}, "n=1/b": {}}, {"n": [None, 1]}),
        ({"a": {"lane": ["x"]}, "b": {}, "c": {"lane": ["y"], "more": [1.5]}}, {"lane": ["x", None, "y"]}),
    ],
)
def test_columns_of_files_and_folders_are_merged(
    read: Reader, units: dict[str, dict[str, Any]], expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    """A file's own column wins over its folder's, missing values are null, and folders above do not count."""
    output = tmp_path / "run=7/n=9/day=x/out"
    write_output(
        str(output), {f"{name}-00000.parquet": {"key": [1], **columns} for name, columns in units.items()}
    )
    table = read(output)
    assert {name: table[name].to_pylist() for name in expected} == expected
    assert "day" not in table.column_names


@readers
def test_different_widths_are_read_as_the_larger(read: Reader, tmp_path: Path) -> None:
    """Files whose column is int32 in one and int64 in another are read as int64."""
    units = {
        "a-00000.parquet": {"key": pa.array([1], pa.int32())},
        "b-00000.parquet": {"key": pa.array([2**40], pa.int64())},
    }
    write_output(str(tmp_path), units)
    assert read(tmp_path)["key"].to_pylist() == [1, 2**40]


@readers
def test_incompatible_types_are_refused(read: Reader, tmp_path: Path) -> None:
    """A column that is text in one file and a number in another is named, with the file."""
    write_output(
        str(tmp_path),
        {"a-00000.parquet": {"key": [1], "lane": ["x"]}, "b-00000.parquet": {"key": [1], "lane": [1]}},
    )
    with pytest.raises(ColumnError, match=r"b-00000\.parquet does not match.*lane"):
        read(tmp_path)


@readers
def test_no_rows_make_an_empty_table(read: Reader, output: str) -> None:
    """An output whose files have no rows has all columns and no rows."""
    write_output(output, {"day=1/a-00000.parquet": {"key": pa.array([], pa.int64())}})
    table = read(output)
    assert table.num_rows == 0
    assert {"key", "prediction", "status_detail", "day"} <= set(table.column_names)


@readers
def test_only_committed_files_are_read(read: Reader, output: str) -> None:
    """While a run goes on, readers ignore files without a record, files being written, and hidden files."""
    folder = begin(output, ["n=1/a-00000.parquet", "n=x/b-00000.parquet", "n=3/c-00000.parquet"])
    write_unit(folder, "n=1/a-00000.parquet", {"key": [1]})
    for name in ("n=3/c-00000.parquet", "_hidden.parquet", ".hidden/x.parquet", "_lvm_batch/tmp/half.part"):
        folder._store.write(name, b"PAR1")
    table = read(output, require_success=False)
    assert table["key"].to_pylist() == [1]
    assert table["n"].to_pylist() == ["1"]  # as at the end of the run


@readers
def test_an_unfinished_output_is_refused(read: Reader, output: str) -> None:
    """Without `_SUCCESS` an output is refused; the error says how far it is and what to do."""
    folder = begin(output, ["a-00000.parquet", "b-00000.parquet"])
    with pytest.raises(NotFinished, match=r"nothing in .* is committed yet"):
        read(output, require_success=False)
    write_unit(folder, "a-00000.parquet", {"key": [1]})
    with pytest.raises(NotFinished, match=r"is incomplete: 1 of 2 units.*") as caught:
        read(output)
    assert "run the command that started it again" in caught.value.args[1]
    write_unit(folder, "b-00000.parquet", {"key": [2]})
    with pytest.raises(NotFinished, match=r"(?s)was not accepted: 2 of 2 units.*summary\.json"):
        read(output)
    folder.mark_success(success_of())
    assert read(output).num_rows == 2


@readers
def test_a_run_in_progress_is_reported(read: Reader, tmp_path: Path) -> None:
    """While a run holds the output, the error says that the output is being written."""
    begin(str(tmp_path), ["a-00000.parquet"])
    with lock_output(str(tmp_path)), pytest.raises(NotFinished, match="is being written: 0 of 1 units"):
        read(tmp_path)


@readers
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_lost_files_are_named(read: Reader, how: str, tmp_path: Path) -> None:
    """A missing or truncated file of a finished output is an error; the others can still be read by name."""
    write_output(str(tmp_path), {"a-00000.parquet": {"key": [1]}, "b-00000.parquet": {"key": [2]}})
    missing = tmp_path / "a-00000.parquet"
    missing.unlink() if how == "gone" else missing.write_bytes(missing.read_bytes()[:-1])
    with pytest.raises(OutputError, match=r"a-00000\.parquet is gone or has changed"):
        read(tmp_path)
    assert read(tmp_path, require_success=False)["key"].to_pylist() == [2]


@readers
def test_a_newer_format_is_refused(read: Reader, tmp_path: Path) -> None:
    """The error gives the format and the version that wrote it."""
    begin(str(tmp_path), [], version="9.9.0", identity={"format": FORMAT + 1, "inputs": {}})
    with pytest.raises(OutputError, match=r"format 2, written by lvm-batch 9\.9\.0"):
        read(tmp_path)


@readers
@pytest.mark.parametrize(
    "content", [None, "[]", "{}", '{"identity": {"format": "1"}}', '{"identity": 1}', "{"]
)
def test_a_folder_without_a_job_is_refused(read: Reader, content: str | None, tmp_path: Path) -> None:
    """A folder without a valid job document is an error that names the folder."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    if content is not None:
        (tmp_path / "_lvm_batch").mkdir()
        (tmp_path / "_lvm_batch/job.json").write_text(content)
    with pytest.raises(DataError, match="holds no job" if content is None else "job.json is damaged"):
        read(tmp_path)


@readers
def test_a_missing_folder_is_refused(read: Reader, tmp_path: Path) -> None:
    """A missing folder and a file are refused."""
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file"):
        with pytest.raises(InputNotFound, match="holds no job"):
            read(tmp_path / name)


def test_importing_the_room_loads_nothing() -> None:
    """The public names are available without polars and Arrow, which are imported on first use."""
    code = "import sys; import lvm_batch.io as io; print(*dir(io)); print({'polars', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = "decode_predictions predictions_dataset read_predictions"
    assert done.stdout.splitlines() == [names, "set()"]


@readers
def test_an_output_without_predictions_is_read(read: Reader, tmp_path: Path) -> None:
    """The other columns are those of an output with them."""
    for name, dtype in (("with", "float32"), ("without", None)):
        write_output(str(tmp_path / name), {"a-00000.parquet": {"key": [1, 2, 3]}}, dtype=dtype)
    whole, narrow = read(tmp_path / "with"), read(tmp_path / "without")
    assert narrow.equals(whole.drop_columns(["prediction"]))
