"""Whole runs on an object store, over real HTTP, also when requests fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import buckets, command, reference
from support.datasets import assert_same_rows, read_rows, vectors, windows, write_windows
from support.waiting import wait_until

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.output.lock import lock_output
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

NAMES = ("year=2024/a b.parquet", "year=2025/50%20 ü.parquet")
N_ROWS, N_UNITS = 600, 6


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """An S3 server over HTTP; a ``s3_server.Server``."""
    with buckets.serving() as serving:
        yield serving


@pytest.fixture
def bucket(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:  # noqa: ANN401
    """The name of an empty bucket on the server; the lease of a dead run expires there within seconds."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.1)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 5.0)
    with buckets.environment(server, XDG_CACHE_HOME=str(tmp_path / "cache")):
        yield buckets.new_bucket(server)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 300 windows in folders, in row groups of 100."""
    folder = tmp_path_factory.mktemp("dataset")
    contexts, targets = windows()
    for number, name in enumerate(NAMES):
        rows = slice(number * 300, number * 300 + 300)
        columns = {"key": np.arange(rows.start, rows.stop)}
        write_windows(folder / name, contexts[rows], targets[rows], columns=columns, row_group_rows=100)
    return folder


@pytest.fixture
def remote(server: Any, bucket: str, dataset: Path, models: Path, bank: Path) -> str:  # noqa: ANN401
    """The address of a bucket that holds the dataset, the models and the bank."""
    for name in NAMES:
        server.put(bucket, f"in/{name}", (dataset / name).read_bytes())
    for name in ("amn.pt", "gru.pt"):
        server.put(bucket, f"models/{name}", (models / name).read_bytes())
    for path in bank.iterdir():
        server.put(bucket, f"bank/{path.name}", path.read_bytes())
    return f"s3://{bucket}"


OPTIONS = ("--unit-size", "1.5MB", *reference.as_options(reference.ROUTING))


@pytest.fixture(scope="module")
def local_output(
    dataset: Path, models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of the same run on this machine."""
    output = tmp_path_factory.mktemp("local") / "out"
    given = (
        "--model",
        models / "amn.pt",
        "--fallback",
        models / "gru.pt",
        "--bank",
        bank,
        "--scheduler",
        scheduler,
    )
    command.called("run", dataset, "--output", output, *given, *OPTIONS).done()
    return output


def arguments(remote: str, output: str = "out") -> tuple[object, ...]:
    """The arguments of a run whose every path is in the bucket."""
    given = (
        "--model",
        f"{remote}/models/amn.pt",
        "--fallback",
        f"{remote}/models/gru.pt",
        "--bank",
        f"{remote}/bank",
    )
    return (f"{remote}/in", "--output", f"{remote}/{output}", *given, *OPTIONS)


def fetched(server: Any, remote: str, folder: Path, output: str = "out") -> Path:  # noqa: ANN401
    """Copy a run's output to this machine, bypassing HTTP."""
    for key, content in server.objects(remote[5:]).items():
        if key.startswith(f"{output}/") and key.endswith(".parquet"):
            path = folder / key.removeprefix(f"{output}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def assert_same(folder: Path, local: Path) -> None:
    """Check that two outputs hold the same rows, routes and vectors."""
    rows = read_rows(folder)
    assert len(rows) == N_ROWS
    assert_same_rows(rows, read_rows(local))
    assert sorted(path.name for path in folder.rglob("*.parquet")) == sorted(
        path.name for path in local.rglob("*.parquet")
    )


def test_a_run_with_every_path_in_a_bucket(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
    local_output: Path,
    tmp_path: Path,
) -> None:
    """Inputs, models, bank and output over HTTP give what a local run gives; other commands read them as well.

    No key, secret or token appears in any file or message.
    """
    from support import s3_server

    texts: list[str] = []

    def called(result: Any, code: int = 0) -> dict[str, Any]:  # noqa: ANN401
        assert result.code == code, result
        texts.append(f"{result.values} {result.stderr}")
        return result.values

    shared = arguments(remote)
    assert called(lvm_batch("inspect", f"{remote}/in/*"))["rows"] == N_ROWS
    plan = called(lvm_batch("plan", *shared))
    assert [unit["done"] for unit in plan["units"]] == [False] * N_UNITS
    summary = called(predict(*shared))
    assert (summary["rows_out"], summary["units"]) == (N_ROWS, N_UNITS)
    assert_same(fetched(server, remote, tmp_path / "copy"), local_output)
    assert called(lvm_batch("status", f"{remote}/out"))["state"] == "done"

    before = server.objects(remote[5:])
    assert called(predict(*shared))["rows_out"] == N_ROWS
    after = server.objects(remote[5:])
    changed = {key.removeprefix("out/") for key in after if after[key] != before.get(key)}
    assert changed <= {"_lvm_batch/summary.json", "_lvm_batch/lock"}
    assert not [key for key in after if key.startswith("out/_lvm_batch/tmp")]

    called(predict(*shared, "--min-margin", 0.5), 2)  # another job
    texts += [content.decode("latin-1") for content in after.values()]
    secrets = (s3_server.KEY, s3_server.SECRET, s3_server.TOKEN)
    assert not any(secret in text for text in texts for secret in secrets)


def test_a_run_on_a_store_with_failing_requests(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    local_output: Path,
    tmp_path: Path,
) -> None:
    """Errors, slow-downs and cut connections on every kind of request change no row and fail no unit."""
    faults = [
        server.fail(how, verb, where)
        for how in ("500", "503", "cut before", "cut within", "cut after")
        for verb, where in (
            ("GET", "/in/"),
            ("HEAD", "/in/"),
            ("GET", "/models/"),
            ("GET", "list-type"),
            ("PUT", ".parquet"),
            ("PUT", "/done/"),
            ("PUT", "_SUCCESS"),
            ("PUT", "job.json"),
            ("PUT", "/lock"),
        )
    ]
    result = predict(*arguments(remote))
    assert result.code == 0, result
    assert sum(fault.met for fault in faults) > 0.9 * len(faults)
    assert_same(fetched(server, remote, tmp_path / "copy"), local_output)


def test_units_that_could_not_be_published_are_done_later(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    local_output: Path,
    tmp_path: Path,
) -> None:
    """If one file cannot be uploaded, its unit fails by name, the others are committed, and a rerun does the rest."""
    from support import s3_server

    server.fail("403", "PUT", "b-00001.parquet", times=100)
    result = predict(*arguments(remote))
    assert result.code == 1
    (failure,) = result.values["failed_units"]
    assert failure["output"] == "year=2024/a b-00001.parquet"
    assert "cannot be uploaded: the store answers 403 AccessDenied" in failure["message"]
    assert s3_server.SECRET not in f"{result}"
    objects = server.objects(remote[5:])
    assert "out/_SUCCESS" not in objects
    done = {key for key in objects if "/done/" in key or key.endswith(".parquet")}
    assert f"out/{failure['output']}" not in done

    server.faults.clear()
    modified = {key: server.backend.buckets[remote[5:]].keys[key].last_modified for key in done}
    assert predict(*arguments(remote)).code == 0
    assert modified == {key: server.backend.buckets[remote[5:]].keys[key].last_modified for key in done}
    assert_same(fetched(server, remote, tmp_path / "copy"), local_output)


def test_a_published_file_without_its_record_is_adopted(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
) -> None:
    """A run that dies between an upload and its record loses nothing: the file is recorded, not computed again."""
    assert predict(*arguments(remote)).code == 0
    store = open_store(f"{remote}/out", staging="tmp")
    (record,) = [name for name in store.names("_lvm_batch/done") if "00001" in name and "2024" in name]
    store.remove(f"_lvm_batch/done/{record}")
    keys = server.backend.buckets[remote[5:]].keys
    before = keys["out/year=2024/a b-00001.parquet"].last_modified
    assert predict(*arguments(remote)).code == 0
    assert store.read(f"_lvm_batch/done/{record}")
    assert keys["out/year=2024/a b-00001.parquet"].last_modified == before


def test_a_second_run_leaves_with_75(
    remote: str, predict: Callable[..., Any], lvm_batch: Callable[..., Any]
) -> None:
    """While another run holds the output, this one does not start; `status` reports that a run is at work."""
    with lock_output(f"{remote}/out"):
        result = predict(*arguments(remote))
        assert (result.code, result.values["error"]["kind"]) == (75, "locked")
    assert predict(*arguments(remote)).code == 0
    with lock_output(f"{remote}/out"):
        assert lvm_batch("status", f"{remote}/out").values["state"] == "running"


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"/in": "/nothing"}, "/nothing does not exist"),
        ({"/amn.pt": "/none.pt"}, "/models/none.pt cannot be read: the store answers 404 NoSuchKey"),
        ({"/bank": "/models"}, "/models is not a bank"),
        ({"/out": "/in/out"}, "is inside the input"),
        ({"s3://": "s3://KEYID:secret@"}, "holds credentials"),
    ],
)
def test_what_cannot_be_used_is_named(
    remote: str, predict: Callable[..., Any], replaced: dict[str, str], message: str
) -> None:
    """What is missing or wrong in a bucket is reported before anything is written, and without secrets."""
    ((old, new),) = replaced.items()
    result = predict(
        *(part.replace(old, new) if isinstance(part, str) else part for part in arguments(remote))
    )
    assert result.code == 2
    assert message in str(result.values)
    assert "secret" not in str(result)


def test_a_bank_is_fetched_once_and_checked(
    server: Any,  # noqa: ANN401
    remote: str,
    lvm_batch: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """A bank is built into a bucket, mapped from a copy on this machine, and refused if it is damaged."""
    source = f"{remote}/vectors.parquet"
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors()[:50].reshape(-1)), 768)})
    pq.write_table(table, tmp_path / "v.parquet")
    server.put(remote[5:], "vectors.parquet", (tmp_path / "v.parquet").read_bytes())
    assert lvm_batch("bank", "build", source, "--output", f"{remote}/built").code == 0
    assert lvm_batch("bank", "build", source, "--output", f"{remote}/built").code == 2
    assert np.abs(open_bank(f"{remote}/built").vectors - vectors()[:50]).max() < 1e-3
    server.requests.clear()
    open_bank(f"{remote}/built")
    assert len(server.requests) == 1

    content = server.objects(remote[5:])["built/vectors.npy"]
    server.put(remote[5:], "built/vectors.npy", content[:-1] + b"\0")
    (cached,) = (tmp_path / "cache/lvm-batch/banks").glob("*/vectors.npy")
    cached.with_name("bank.json").unlink()
    with pytest.raises(UnreadableFile, match="damaged bank"):
        open_bank(f"{remote}/built")


def test_killed_with_its_workers_and_run_again(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    local_output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`kill -9` of a real run and its workers, then the same command: the same rows, and no unit computed twice."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 1.0)  # the holder is dead, not slow
    run = ["run", *map(str, arguments(remote)), "--workers", "1"]
    server.fail("hang", "PUT", "00000.parquet")  # so that the kill falls within an upload
    code = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *run],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: server.faults[0].met or process.poll() is not None, "an upload")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    server.awake.set()
    assert server.faults[0].met
    assert not [
        key for key in server.objects(remote[5:]) if key.endswith(".parquet") and key.startswith("out/")
    ]

    result = predict(*arguments(remote))
    assert result.code == 0, result
    assert_same(fetched(server, remote, tmp_path / "copy"), local_output)
    assert json.loads(server.objects(remote[5:])["out/_SUCCESS"])["rows_out"] == N_ROWS


def test_an_output_in_a_bucket_is_verified(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
) -> None:
    """Uploaded objects are downloaded again and checked whole: an object that was changed in place is named."""
    assert predict(*arguments(remote)).code == 0
    assert lvm_batch("verify", f"{remote}/out").code == 0
    key = next(
        key for key in server.objects(remote[5:]) if key.startswith("out/") and key.endswith(".parquet")
    )
    content = bytearray(server.objects(remote[5:])[key])
    content[len(content) // 2] ^= 1
    server.put(remote[5:], key, bytes(content))
    result = lvm_batch("verify", f"{remote}/out")
    assert (result.code, [fault["file"] for fault in result.values["faults"]]) == (
        1,
        [key.removeprefix("out/")],
    )


def test_leftovers_of_a_run_that_lost_the_output_are_named(
    server: Any,  # noqa: ANN401
    remote: str,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
) -> None:
    """A `_SUCCESS` of another run and a missing unit: the job is not reported as done; a rerun repairs both."""
    assert predict(*arguments(remote)).code == 0
    right = server.objects(remote[5:])["out/_SUCCESS"]
    server.put(remote[5:], "out/_SUCCESS", right.replace(b'"units": 6', b'"units": 2'))
    assert lvm_batch("status", f"{remote}/out").values["state"] == "not accepted"
    verified = lvm_batch("verify", f"{remote}/out")
    assert (verified.code, verified.values["success_stands"]) == (1, False)
    (fault,) = verified.values["faults"]
    assert fault["file"] == "_SUCCESS"
    assert "another run had taken over" in fault["what"]
    assert predict(*arguments(remote)).code == 0
    assert server.objects(remote[5:])["out/_SUCCESS"] == right

    open_store(f"{remote}/out", staging="tmp").remove("year=2024/a b-00001.parquet")
    status = lvm_batch("status", f"{remote}/out").values
    assert (status["state"], status["units_done"]) == ("incomplete", N_UNITS - 1)
    assert predict(*arguments(remote)).code == 0
    assert lvm_batch("status", f"{remote}/out").values["state"] == "done"
    assert lvm_batch("verify", f"{remote}/out").code == 0
