"""Tests of object stores over real HTTP: what is read, published and locked there, also if requests fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import buckets
from support.waiting import HANG_S, wait_until

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import (
    DataError,
    InputNotFound,
    MissingExtra,
    OutputError,
    OutputLocked,
    UnreadableFile,
)
from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.output.lock import is_held, lock_output
from lvm_batch.io.storage.lease import _Lease
from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import bucket_of, locate, read_file
from lvm_batch.io.storage.redaction import redact
from lvm_batch.io.storage.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

buckets.need_the_extra()

PART = 8 * 2**20
NAMES = (
    "plain.parquet",
    "a b/c d.parquet",
    "50%/p%20q.parquet",
    "ü/日本.parquet",
    "year=2024/x=a%2Fb/[1].parquet",
)


def out(bucket: str) -> Store:
    """A folder of the bucket."""
    return open_store(f"s3://{bucket}/out", staging="tmp")


def publish(store: Store, content: bytes, name: str = "a.parquet") -> None:
    """Stage a file and publish it."""
    with store.stage() as staged:
        staged.write_bytes(content)
        store.publish(staged, name)


# What is there to read


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_taken_as_they_are(server: Any, bucket: str, name: str) -> None:  # noqa: ANN401
    """Spaces, percent signs, brackets and non-ASCII letters in keys are used literally, for reading and writing."""
    server.put(bucket, f"in/{name}", b"x")
    (file,) = find_files([f"s3://{bucket}/in/{name}"])
    assert (file.path, file.size) == (f"s3://{bucket}/in/{name}", 1)
    assert read_file(file.path) == b"x"
    store = open_store(f"s3://{bucket}/out", staging="tmp")
    publish(store, b"y", name)
    assert server.objects(bucket)[f"out/{name}"] == b"y"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("", ["data/a.parquet", "data/ü b/c%20.parquet", "data/ü b/d.parquet"]),
        ("/", ["data/a.parquet", "data/ü b/c%20.parquet", "data/ü b/d.parquet"]),
        ("/data", ["a.parquet", "ü b/c%20.parquet", "ü b/d.parquet"]),
        ("/data/*", ["a.parquet", "ü b/c%20.parquet", "ü b/d.parquet"]),
        ("/data/*.parquet", ["a.parquet"]),
        ("/data/**/*.parquet", ["a.parquet", "ü b/c%20.parquet", "ü b/d.parquet"]),
        ("/d*/ü ?/[cd]*", ["data/ü b/c%20.parquet", "data/ü b/d.parquet"]),
        ("/data/ü b/d.parquet", ["d.parquet"]),
    ],
)
def test_folders_and_patterns(server: Any, bucket: str, argument: str, expected: list[str]) -> None:  # noqa: ANN401
    """A bucket, a folder and a pattern select the same files as on a disk; folder markers are no files."""
    for key in (
        "data/a.parquet",
        "data/ü b/c%20.parquet",
        "data/ü b/d.parquet",
        "data/_tmp/x",
        "data/.y",
        "_z",
    ):
        server.put(bucket, key, b"x")
    for marker in ("data/", "data/ü b/", "data/empty/"):
        server.put(bucket, marker, b"")
    assert [file.name for file in find_files([f"s3://{bucket}{argument}"])] == expected


def test_an_empty_file_is_a_file(server: Any, bucket: str) -> None:  # noqa: ANN401
    """An empty object is not a folder marker: it is listed, and the error of reading it names it."""
    server.put(bucket, "in/a.parquet", b"")
    (file,) = find_files([f"s3://{bucket}/in"])
    with pytest.raises(UnreadableFile, match=f"{bucket}/in/a.parquet"), open_parquet(file.path):
        pass


def test_missing_objects_are_named(bucket: str) -> None:
    """A missing key, folder or bucket is an error that names it."""
    for address in (
        f"s3://{bucket}/nothing",
        f"s3://{bucket}/no*",
        "s3://no-such-bucket/a",
        "s3://no-such-bucket",
    ):
        with pytest.raises(InputNotFound) as error:
            find_files([address])
        assert address in error.value.args[0]
    with pytest.raises(InputNotFound, match="404 NoSuchKey"):
        read_file(f"s3://{bucket}/best_model.pt")
    with pytest.raises(OutputError, match=r"no-such-bucket/out/a cannot be uploaded: .*404 NoSuchBucket"):
        open_store("s3://no-such-bucket/out", staging="tmp").write("a", b"")


@pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "./a"])
def test_keys_that_no_client_can_name(bucket: str, key: str) -> None:
    """Keys with empty parts or dots are refused, not changed into other keys."""
    with pytest.raises(DataError, match=r"empty part|illegal"):
        find_files([f"s3://{bucket}/{key}"])


def test_a_file_is_another_once_it_is_replaced(server: Any, bucket: str) -> None:  # noqa: ANN401
    """An open file reads one version of its object; after a replacement, reading fails."""
    table = pa.table({"x": pa.array(range(400_000), pa.int64())})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    server.put(bucket, "a.parquet", sink.getvalue().to_pybytes())
    place = locate(f"s3://{bucket}/a.parquet")
    with place.filesystem.open_input_file(place.path) as file:
        assert file.read(4) == b"PAR1"
        server.put(bucket, "a.parquet", b"PAR2" * 1_000_000)
        with pytest.raises(OSError, match="has changed while it was read"):
            file.read(100)


def test_identity_changes_with_the_object(server: Any, bucket: str) -> None:  # noqa: ANN401
    """Size and time of an object come from the store."""
    server.put(bucket, "a", b"1")
    place = locate(f"s3://{bucket}/a")
    first = look_at(place)
    server.put(bucket, "a", b"22")
    second = look_at(place)
    assert (first.size, second.size) == (1, 2)
    assert first.mtime_ns is not None


@given(
    size=st.integers(0, 60),
    reads=st.lists(st.tuples(st.integers(0, 70), st.lists(st.integers(0, 30), max_size=4)), max_size=6),
)
def test_reading_ahead_changes_no_byte(size: int, reads: list[tuple[int, list[int]]]) -> None:
    """Reads at any offset and of any length return the object's bytes."""
    from lvm_batch.io.storage import object_file as module

    content = bytes(range(size))
    with buckets.in_memory(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SEGMENT_BYTES", 7)
        patch.setattr(module, "_AHEAD_BYTES", 14)
        place = locate("s3://bucket/a")
        bucket_of(place)[0].put("a", content)
        with place.filesystem.open_input_file(place.path) as file:
            assert file.size() == size
            for start, lengths in reads:
                file.seek(start)
                for length in lengths:
                    at = file.tell()
                    assert file.read(length) == content[at : at + length]


# Requests that fail


@pytest.mark.parametrize(
    ("verb", "how"),
    [("HEAD", "503"), ("HEAD", "cut before"), ("GET", "503"), ("GET", "cut before"), ("GET", "cut within")],
)
def test_an_unreachable_store_is_not_an_unreadable_file(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    how: Any,  # noqa: ANN401
) -> None:
    """A network error is not an unreadable file that may be left out; it is an error of its own."""
    monkeypatch.setattr("lvm_batch.io.storage.bucket_access._MAX_RETRIES", 1)
    buckets.forget()
    server.put(bucket, "a.parquet", b"PAR1" * 100)
    server.fail(how, verb, "a.parquet", times=100)
    path = f"s3://{bucket}/a.parquet"
    with pytest.raises(InputNotFound, match=r"a\.parquet cannot be reached, its footer"), open_parquet(path):
        pass
    server.faults.clear()
    with pytest.raises(UnreadableFile, match="cannot be read as Parquet"), open_parquet(path):
        pass


@pytest.mark.parametrize("how", ["500", "503", "cut before", "cut within", "cut after"])
@pytest.mark.parametrize("verb", ["PUT", "GET", "HEAD", "DELETE", "create", "list"])
def test_a_failed_request_is_retried(server: Any, bucket: str, verb: str, how: Any) -> None:  # noqa: ANN401
    """Server errors, throttling, dropped connections and lost responses are retried and change nothing."""
    store = out(bucket)
    if verb != "create":
        store.write("here", b"x" * 50_000)
    words = {"create": ("PUT",), "DELETE": ("POST", "?delete"), "list": ("GET",)}.get(verb, (verb,))
    fault = server.fail(how, *words, f"/{bucket}", times=2)
    match verb:
        case "PUT":
            store.write("new", b"new")
            assert server.objects(bucket)["out/new"] == b"new"
        case "create":
            assert store.create("here", b"mine")
            assert not store.create("here", b"yours")
            assert server.objects(bucket)["out/here"] == b"mine"
        case "GET":
            assert store.read("here") == b"x" * 50_000
        case "list":
            assert store.names("") == ["here"]
            server.fail(how, "GET", f"/{bucket}", times=2)
            assert store.first_visible() == "here"
        case "HEAD":
            assert look_at(locate(f"s3://{bucket}/out/here")).size == 50_000
        case "DELETE":
            store.remove("here")
            assert not server.objects(bucket)
    assert fault.met


@pytest.mark.parametrize("how", ["500", "503", "cut before", "cut within", "cut after"])
@pytest.mark.parametrize("step", ["uploads", "partNumber=2", "uploadId"])
def test_an_upload_in_parts_is_retried(server: Any, bucket: str, step: str, how: Any) -> None:  # noqa: ANN401
    """Starting an upload, each part and its completion are retried; the object appears complete."""
    content = os.urandom(PART) + b"the rest"
    fault = server.fail(how, "POST" if step == "uploadId" else "", f"/{bucket}/out/a.parquet", step)
    publish(out(bucket), content)
    assert server.objects(bucket) == {"out/a.parquet": content}
    assert fault.met


@pytest.mark.parametrize("step", ["uploads", "partNumber=2", "POST uploadId"])
def test_an_upload_in_parts_that_fails_shows_nothing(server: Any, bucket: str, step: str) -> None:  # noqa: ANN401
    """An upload that fails leaves no object and no parts."""
    server.fail("403", f"/{bucket}/out/a.parquet", *step.split(), times=100)
    with pytest.raises(
        OutputError, match=r"a\.parquet cannot be uploaded: the store answers 403 AccessDenied"
    ):
        publish(out(bucket), os.urandom(PART + 1))
    assert server.objects(bucket) == {}
    assert server.uploads(bucket) == 0


def test_a_killed_upload_shows_nothing(server: Any, bucket: str, tmp_path: Path) -> None:  # noqa: ANN401
    """`kill -9` in the middle of an upload leaves the previous object."""
    store = out(bucket)
    publish(store, b"before")
    (tmp_path / "staged").write_bytes(os.urandom(3 * PART))
    fault = server.fail("hang", "partNumber=2")
    code = (
        "import sys, pathlib; from lvm_batch.io.storage.store import open_store; "
        "open_store(sys.argv[1], staging='tmp').publish(pathlib.Path(sys.argv[2]), 'a.parquet')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, f"s3://{bucket}/out", str(tmp_path / "staged")])
    wait_until(lambda: fault.met, "the second part is being uploaded")
    process.kill()
    process.wait()
    server.awake.set()
    assert server.objects(bucket) == {"out/a.parquet": b"before"}


def test_stores_without_conditional_writes(
    server: Any,  # noqa: ANN401
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a store has no conditional writes, the name is checked before it is written."""
    monkeypatch.setattr("lvm_batch.io.storage.bucket_access._MAX_RETRIES", 1)
    server.fail("501", "PUT", "conditional", times=100)
    store = out(bucket)
    assert store.create("job.json", b"mine")
    assert not store.create("job.json", b"yours")
    with lock_output(f"s3://{bucket}/out"):
        pass


# Credentials and access

ACCESS = {
    "key and secret": "s3://AKIAX:se/cr+et@bucket/a",
    "secret alone": "s3://AKIAX:secret/a",
    "user": "s3://secret@bucket/a",
    "query": "s3://bucket/a?X-Amz-Signature=secret&b",
    "second in a query": "s3://bucket/a?x&sig=secret",
    "Azure's container": "abfss://container:secret@account.dfs.core.windows.net/a",
    "another kind": "ftp://user:secret@host/a",
    "a web page": "https://user:secret@host/a?token=secret",
}


@pytest.mark.parametrize("address", ACCESS.values(), ids=ACCESS)
def test_addresses_with_credentials_are_refused(address: str) -> None:
    """Addresses go into records and logs, so one with a secret is refused, and the error does not repeat it."""
    for ask in (
        find_files,
        lambda addresses: read_file(*addresses),
        lambda addresses: open_store(*addresses, staging=""),
    ):
        with pytest.raises(DataError) as error:
            ask([address])
        assert "secret" not in str(error.value)
        assert "et@" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no answer from http://user:p/w@host:9000", "no answer from http://***@host:9000"),
        ("GET https://a.blob/c/k?sv=1&sig=secret in 3 ms", "GET https://a.blob/c/k?*** in 3 ms"),
        (
            "s3:/user:secret@bucket/a was a URL before it was a path",
            "s3://***@bucket/a was a URL before it was a path",
        ),
        ("s3://bucket/a?secret is no file", "s3://bucket/a?*** is no file"),
        ("abfss://container@account.dfs/a", "abfss://container@account.dfs/a"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("nothing to hide: a?b=c @d", "nothing to hide: a?b=c @d"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    """User names, passwords and queries of URLs are removed from any text; the rest stays."""
    assert redact(text) == shown


def test_access_denied_is_a_one_line_error(server: Any, bucket: str) -> None:  # noqa: ANN401
    """The store's response, which may quote keys and signatures, is not repeated."""
    from support import s3_server

    server.fail("403", f"/{bucket}", times=100)
    store = out(bucket)
    asks: dict[str, Callable[[], object]] = {
        "listed": lambda: store.names(""),
        "read": lambda: store.read("a"),
        "uploaded": lambda: store.write("a", b""),
        "deleted": lambda: store.remove("a"),
    }
    for done, ask in asks.items():
        with pytest.raises(OutputError) as error:
            ask()
        assert error.value.args[0].endswith(f"cannot be {done}: the store answers 403 AccessDenied")
        trace = "".join(traceback.format_exception(error.value))  # as --verbose prints it
        assert not any(secret in trace for secret in (s3_server.KEY, s3_server.SECRET, s3_server.TOKEN))


def test_a_store_that_does_not_answer_is_named(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """After the last retry the error gives the address."""
    monkeypatch.setattr("lvm_batch.io.storage.bucket_access._MAX_RETRIES", 1)
    with (
        buckets.environment(server, AWS_ENDPOINT_URL="http://name:secret@127.0.0.1:9"),
        pytest.raises(InputNotFound, match=r"no answer from http://\*\*\*@127.0.0.1:9"),
    ):
        find_files(["s3://bucket/a"])


def test_aws_profiles_are_read(server: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Credentials, region and endpoint are also read from AWS's configuration files."""
    (tmp_path / "credentials").write_text(
        "[mine]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n"
    )
    (tmp_path / "config").write_text(f"[profile mine]\nregion = eu-west-3\nendpoint_url = {server.url}\n")
    unset = (
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
    )
    changes = {
        "AWS_PROFILE": "mine",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    with buckets.environment(server, **dict.fromkeys(unset, ""), **changes):
        name = buckets.new_bucket(server)
        open_store(f"s3://{name}/out", staging="tmp").write("a", b"x")
    assert server.objects(name) == {"out/a": b"x"}
    assert "Credential=AKIAPROFILE/" in server.authorization
    assert "/eu-west-3/s3/" in server.authorization


def test_no_credentials_is_an_error_with_advice(server: Any) -> None:  # noqa: ANN401
    """Without credentials no request is sent; for a public bucket an option says that none are needed."""
    unset = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
    with (
        buckets.environment(server, **unset),
        pytest.raises(DataError, match="no credentials for s3://") as error,
    ):
        find_files(["s3://bucket/a"])
    assert "AWS_ACCESS_KEY_ID" in error.value.args[1]
    with buckets.environment(server, AWS_PROFILE="nobody", **unset), pytest.raises(DataError, match="nobody"):
        find_files(["s3://bucket/a"])
    name = buckets.new_bucket(server)
    server.put(name, "a", b"x")
    with (
        buckets.environment(server, AWS_SKIP_SIGNATURE="true", **unset),
        pytest.raises(InputNotFound, match="403 Forbidden"),  # it is not public
    ):
        read_file(f"s3://{name}/a")
    assert server.authorization == ""


@pytest.mark.parametrize(
    ("scheme", "extra"), [("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("abfss", "azure")]
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str) -> None:
    """If the client is not installed, the error gives the command that installs it."""
    buckets.forget()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtra) as error:
        find_files([f"{scheme}://bucket/a"])
    assert error.value.args[1] == f'pip install "lvm-batch[{extra}]"'


def test_other_clouds_are_opened_by_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gs://` and `az://` open stores; if something is missing for one, its own hint says what."""
    buckets.forget()
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    assert locate("gs://bucket/a/b").path == "bucket/a/b"
    with pytest.raises(DataError, match=r"az://container cannot be opened: .*[Aa]ccount") as error:
        locate("az://container/a")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in error.value.args[1]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert locate("az://container/a").text == "az://container/a"
    assert not locate("abfss://container@account.dfs.core.windows.net/a").is_local
    buckets.forget()


# One run at a time

TTL_S = 3.0


@pytest.fixture
def lease(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an output with a short lease, long enough for heartbeats on a busy machine."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.06)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", TTL_S)
    return f"s3://{bucket}/out"


def await_a_heartbeat(address: str) -> None:
    """Wait until a heartbeat of the holder is seen."""
    wait_until(lambda: is_held(address), "a beat of the holder")


def test_a_second_run_is_refused(lease: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run is refused by name as soon as it sees a heartbeat, and admitted once the first has ended."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", HANG_S)
    waited: list[str] = []
    with lock_output(lease):
        await_a_heartbeat(lease)
        started = monotonic()
        with (
            pytest.raises(OutputLocked, match=f"writing to {lease}: process {os.getpid()} on "),
            lock_output(lease, on_wait=waited.append),
        ):
            pass
        assert monotonic() - started < HANG_S
    assert len(waited) == 1
    assert not is_held(lease)
    with lock_output(lease, on_wait=waited.append):
        pass
    assert len(waited) == 1


def test_an_exception_frees_the_lease(lease: str) -> None:
    """A run that fails gives its lease back, so the next one does not wait."""
    with pytest.raises(ZeroDivisionError), lock_output(lease):
        raise ZeroDivisionError
    waited: list[str] = []
    with lock_output(lease, on_wait=waited.append):
        assert waited == []


def kill_a_holder(address: str) -> None:
    """Let a process take the lease, and kill it."""
    code = (
        "import sys, time\nfrom lvm_batch.io.output import lock\nfrom lvm_batch.io.storage import lease\n"
        "lease.BEAT_S = 0.06\n"
        "with lock.lock_output(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_lease_of_a_dead_holder_is_taken_over(lease: str) -> None:
    """The lease of a killed process is taken over after its time to live, and not before."""
    kill_a_holder(lease)
    assert not is_held(lease)
    started = monotonic()
    with lock_output(lease):
        assert monotonic() - started > TTL_S


def test_one_of_two_waiting_runs_gets_the_lease(lease: str) -> None:
    """Two runs that wait for the same dead holder do not both start."""
    kill_a_holder(lease)
    outcomes: list[str] = []
    done = threading.Event()

    def inherit() -> None:
        try:
            with lock_output(lease):
                outcomes.append("held")
                done.wait(HANG_S)
        except OutputLocked:
            outcomes.append("locked")
            done.set()

    heirs = [threading.Thread(target=inherit) for _ in range(2)]
    for heir in heirs:
        heir.start()
    for heir in heirs:
        heir.join(HANG_S)
    assert sorted(outcomes) == ["held", "locked"]


def test_a_holder_that_pauses_too_long_loses_the_lease(lease: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused holder that was taken over gets an error at its end, and does not change the new holder's lease."""
    heir, asleep, awake, beat = ExitStack(), threading.Event(), threading.Event(), _Lease._next

    def stand_still(_: _Lease) -> bytes:
        asleep.set()
        awake.wait(HANG_S)
        return b"{}"

    with pytest.raises(OutputLocked, match="has taken over"), lock_output(lease):  # noqa: PT012 - its end raises
        monkeypatch.setattr("lvm_batch.io.storage.lease._Lease._next", stand_still)
        asleep.wait(HANG_S)
        monkeypatch.setattr("lvm_batch.io.storage.lease._Lease._next", beat)
        heir.enter_context(lock_output(lease))
        awake.set()
    with heir, pytest.raises(OutputLocked), lock_output(lease):
        pass


@pytest.mark.parametrize("how", ["503", "cut before", "cut after"])
def test_failed_heartbeats_do_not_lose_the_lease(server: Any, lease: str, how: Any) -> None:  # noqa: ANN401
    """A failed heartbeat, or a lost response to one, does not lose the lease."""
    with lock_output(lease):
        fault = server.fail(how, "PUT", "/out/_lvm_batch/lock", times=3)
        wait_until(lambda: fault.met == 3, "three beats that fail")
        await_a_heartbeat(lease)
    assert not is_held(lease)


def test_a_heartbeat_times_out(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    lease: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request without a response times out soon, so that the holder is not taken for dead."""
    monkeypatch.setattr("lvm_batch.io.storage.bucket_access.HASTY_S", 0.1)
    server.awake.clear()
    with lock_output(lease):
        fault = server.fail("hang", "PUT", "/out/_lvm_batch/lock")
        wait_until(lambda: fault.met, "a beat that is not answered")
        with pytest.raises(OutputLocked), lock_output(lease):
            pass
        server.awake.set()


def test_clocks_do_not_matter(server: Any, lease: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """A lease contains no time and none is compared, so the clocks of two machines may differ by years."""
    with lock_output(lease):
        monkeypatch.setattr("time.time", lambda: 0.0)
        with pytest.raises(OutputLocked), lock_output(lease):
            pass
        content = next(value for key, value in server.objects(lease[5:-4]).items() if key.endswith("/lock"))
        assert set(json.loads(content)) == {"holder", "host", "pid", "beat"}


def test_a_store_that_refuses_the_lease_is_an_error(server: Any, bucket: str) -> None:  # noqa: ANN401
    """Without write access the error is raised before anything else happens."""
    server.fail("403", "PUT", times=100)
    with (
        pytest.raises(OutputError, match="cannot be written: the store answers 403"),
        lock_output(f"s3://{bucket}/out"),
    ):
        pass
