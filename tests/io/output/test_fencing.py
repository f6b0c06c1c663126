"""Runs that have lost their output, on a store that delivers what they asked for when another has taken over."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager, suppress
from time import sleep
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from support import buckets
from support.documents import record_of, success_of
from support.held_outputs import AFTER, BEFORE, commit, conclude, do_all, job
from support.waiting import HANG_S, wait_until

from lvm_batch.io.errors import NotFinished, OutputError, OutputLocked
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.committed import committed
from lvm_batch.io.output.lock import lock_output
from lvm_batch.io.output.verification import file_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvm_batch.io.storage.lock_guard import LockGuard

pytestmark = pytest.mark.slow

buckets.need_the_extra()


@pytest.fixture
def address(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an output; holders live fast."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.05)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 0.4)
    return f"s3://{bucket}/out"


def stop(hold: LockGuard) -> None:
    """Let a holder stand still: it beats no more, and no beat of it is under way."""
    hold.ended.set()
    for thread in threading.enumerate():
        if getattr(getattr(thread, "_target", None), "__self__", None) is hold:
            thread.join()


@contextmanager
def taken_over(address: str) -> Iterator[OutputFolder]:
    """Wait for the lease of one who stands still, and hold the output."""
    with lock_output(address) as hold:
        yield OutputFolder(address, hold=hold)


def assert_told_the_truth(address: str, *, names: tuple[str, ...] = AFTER, by: str = "successor") -> None:
    """Everything that readers look at says what the successor has done."""
    folder = OutputFolder(address)
    job = folder.required_job()
    assert [unit.output for unit in job.units] == [f"{name}.parquet" for name in names]
    assert folder.success() == success_of(len(names))
    assert not folder.success_is_stray
    assert folder.summary() == {"by": by, "units": len(names)}
    assert folder._store.read("_lvm_batch/report.html") == by.encode()
    assert f"{by}\n".encode() in (folder._store.read("_lvm_batch/events.jsonl") or b"")
    assert_records_agree(folder)
    assert len(committed(address, require_success=True).files) == len(names)


def assert_records_agree(folder: OutputFolder) -> None:
    """Every record tells of the file that is there, byte for byte."""
    records = folder.records()
    assert list(file_faults(folder, records, "f1")) == []
    assert records.keys() == folder.recorded().keys()


class Late:
    """What a run does whose request is on its way while the run stands still."""

    def __init__(self, server: Any, act: Callable[[], object], *words: str) -> None:  # noqa: ANN401
        self.fault = server.fail("late", *words)
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(act,))
        self._thread.start()
        wait_until(lambda: self.fault.met or not self._thread.is_alive(), "the request is on its way")
        assert self.fault.met

    def _run(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OutputError as error:
            self.raised = error

    def arrive(self) -> None:
        """Let the request through, and wait for what becomes of it."""
        self.fault.is_through.set()
        self._thread.join(HANG_S)
        assert not self._thread.is_alive()
        assert self.fault.done == 1


WRITES: dict[str, tuple[Callable[[OutputFolder], object], tuple[str, ...]]] = {
    "_SUCCESS": (lambda folder: folder.mark_success(success_of(2)), ("PUT", "_SUCCESS")),
    "accepted.json": (lambda folder: folder.mark_success(success_of(2)), ("PUT", "accepted.json")),
    "summary.json": (lambda folder: folder.write_summary({"by": "stopped"}), ("PUT", "summary.json")),
    "report.html": (lambda folder: folder.write_report(b"stopped"), ("PUT", "report.html")),
    "events.jsonl": (lambda folder: folder.append_events("stopped\n"), ("PUT", "events.jsonl")),
    "growth": (lambda folder: folder.begin(job((*BEFORE, "x"))), ("PUT", "grown/")),
    "what is told": (lambda folder: folder.mark_success(success_of(2)), ("PUT", "/lock")),
}


@contextmanager
def stopped(address: str, *, done: tuple[str, ...] = BEFORE) -> Iterator[OutputFolder]:
    """A run that holds the output, has done some units, and stands still; in the end it hears that it has lost."""
    with pytest.raises(OutputLocked, match="has taken over"), lock_output(address) as hold:  # noqa: PT012
        folder = OutputFolder(address, hold=hold)
        folder.begin(job(BEFORE))
        for name in done:
            commit(folder, name, by="stopped")
        stop(hold)
        yield folder


@pytest.mark.parametrize("write", WRITES)
def test_what_arrives_when_the_successor_is_done_changes_nothing(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    write: str,
) -> None:
    """A request of a run that was taken over, delivered when its successor is done, replaces nothing."""
    act, words = WRITES[write]
    with stopped(address) as folder:
        late = Late(server, lambda: act(folder), *words)
        with taken_over(address) as successor:
            do_all(successor)
        late.arrive()
        assert isinstance(late.raised, OutputLocked)
        assert_told_the_truth(address)


@pytest.mark.parametrize("write", WRITES)
def test_what_arrives_while_the_successor_works_is_believed_by_nobody(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    write: str,
) -> None:
    """A request of a run that was taken over, delivered while its successor works, counts for nothing.

    What it had told before it was stopped, that its two units were accepted, stays true.
    """
    act, words = WRITES[write]
    with stopped(address) as folder:
        late = Late(server, lambda: act(folder), *words)
        with taken_over(address) as successor:
            successor.begin(job(AFTER))
            late.arrive()
            assert not OutputFolder(address).succeeded
            assert len(OutputFolder(address).required_job().units) == len(AFTER)
            with suppress(NotFinished):
                assert len(committed(address, require_success=True).files) == len(BEFORE)
            do_all(successor)
        assert_told_the_truth(address)


def test_a_stray_success_is_told_from_one_that_counts(server: Any, address: str) -> None:  # noqa: ANN401
    """The successor dies; `_SUCCESS` of the run before it stands, counts for nothing, and is replaced by the next."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.mark_success(success_of(2)), "PUT", "_SUCCESS")
        with taken_over(address) as successor:
            successor.begin(job(AFTER))
            late.arrive()
    assert server.objects(address[5:-4])["out/_SUCCESS"]
    assert (OutputFolder(address).succeeded, OutputFolder(address).success_is_stray) == (False, True)
    with taken_over(address) as successor:
        do_all(successor)
    assert_told_the_truth(address)


def test_a_removal_that_arrives_late_is_no_lie(server: Any, address: str) -> None:  # noqa: ANN401
    """A store knows no condition for it: what is missing then is missed by all, and the next run makes it anew."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.begin(job(BEFORE), again=["a.parquet"]), "POST", "?delete")
        with taken_over(address) as successor:
            do_all(successor)
        assert_told_the_truth(address)
        late.arrive()
        assert isinstance(late.raised, OutputLocked)
    assert "a.parquet" not in OutputFolder(address).records()
    with pytest.raises(OutputError, match=r"a\.parquet is gone"):
        committed(address, require_success=True)
    with taken_over(address) as successor:
        do_all(successor)
    assert_told_the_truth(address)


def test_what_was_taken_back_does_not_come_back(server: Any, address: str) -> None:  # noqa: ANN401
    """Readers wait while units are replaced, also if a run that was taken over had said they may see them."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.mark_success(success_of(2)), "PUT", "accepted.json")
        with taken_over(address) as successor:
            successor.begin(job(BEFORE), again=["a.parquet"])
            late.arrive()
            commit(successor, "a", by="successor")
            with pytest.raises(NotFinished):
                committed(address, require_success=True)


def test_a_job_that_begins_late_does_not_begin(server: Any, address: str) -> None:  # noqa: ANN401
    """`job.json` is the successor's, whenever that of the run before it arrives."""
    with pytest.raises(OutputLocked), lock_output(address) as hold:  # noqa: PT012 - its end raises
        folder = OutputFolder(address, hold=hold)
        late = Late(server, lambda: folder.begin(job(("x",))), "PUT", "job.json")
        stop(hold)
        with taken_over(address) as successor:
            do_all(successor)
        late.arrive()
    assert_told_the_truth(address)


def test_who_has_lost_asks_before_it_writes(server: Any, address: str) -> None:  # noqa: ANN401
    """Nothing is sent to the store, but the question whether the lease is still held."""
    with stopped(address) as folder:
        with taken_over(address) as successor:
            do_all(successor)
        before = server.objects(address[5:-4])
        acts = [act for act, _ in WRITES.values()]
        acts += [lambda one: one.begin(job(AFTER), again=["a.parquet"]), lambda one: one.mark_refused()]
        for act in acts:
            with pytest.raises(OutputLocked):
                act(folder)
        assert server.objects(address[5:-4]) == before


def test_who_stood_still_and_was_not_taken_over_goes_on(address: str) -> None:
    """Only another run takes an output away; time alone does not."""
    with lock_output(address) as hold:
        stop(hold)
        sleep(0.5)
        do_all(OutputFolder(address, hold=hold))
    assert_told_the_truth(address)


def test_a_store_that_is_away_is_waited_for(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the output is still held is asked again and again; in the end the store is named."""
    with lock_output(address) as hold:
        stop(hold)
        sleep(0.3)
        fault = server.fail("503", "PUT", "/lock", times=20)
        do_all(OutputFolder(address, hold=hold))
        assert fault.met
        monkeypatch.setattr("lvm_batch.io.storage.lease._PATIENCE_S", 0.1)
        sleep(0.3)
        fault = server.fail("503", "PUT", "/lock", times=10_000)
        with pytest.raises(OutputError, match=r"out cannot be written: the store answers 503"):
            OutputFolder(address, hold=hold).write_summary({})
        fault.times = 0


@pytest.mark.parametrize("where", ["local", "S3"])
def test_of_twenty_that_begin_at_once_one_does(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
) -> None:
    """One holds the output and does everything, the others are turned away, or find it done."""
    place = str(tmp_path / "out") if where == "local" else request.getfixturevalue("address")
    together, ended = threading.Barrier(20), Counter[str]()

    def run() -> None:
        together.wait(HANG_S)
        try:
            with lock_output(place) as hold:
                do_all(OutputFolder(place, hold=hold))
                ended["done"] += 1
        except OutputLocked:
            ended["locked"] += 1

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert ended["done"] >= 1
    assert ended.total() == 20
    assert_told_the_truth(place)


# Workers hold nothing, and may outlive the run that they work for


@pytest.fixture(params=["file in one request", "file in parts", "record"])
def request_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Words of the request by which a unit's file or its record appears."""
    if request.param == "file in parts":
        monkeypatch.setattr("lvm_batch.io.storage.bucket_conditions.WHOLE_BYTES", 0)
    return {
        "file in one request": ("PUT", ".parquet conditional"),
        "file in parts": ("POST", ".parquet?uploadId"),
        "record": ("PUT", "/done/b.parquet.json"),
    }[request.param]


def late_commit(server: Any, address: str, words: tuple[str, ...], **options: Any) -> tuple[Late, list[Any]]:  # noqa: ANN401
    """Commit unit b as a worker does, with a request that is on its way; returns what the worker gets, too."""
    got: list[Any] = []
    late = Late(server, lambda: got.append(commit(OutputFolder(address), "b", **options)), *words)
    return late, got


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_of_two_who_commit_a_unit_the_first_did(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    request_of: tuple[str, ...],
    when: str,
) -> None:
    """A worker's file and record, delivered late, replace nothing; who comes second takes what stands for its own."""
    with stopped(address, done=("a",)):
        late, got = late_commit(server, address, request_of, by="stopped")
        with taken_over(address) as successor:
            if when == "before the successor's":
                successor.begin(job(AFTER))
                late.arrive()
            do_all(successor)
        if when == "after the successor's":
            late.arrive()
        assert_told_the_truth(address)
        is_first = "/done/b.parquet.json" in request_of or when == "before the successor's"
        standing = OutputFolder(address).record("b.parquet")
        assert got == [standing]
        assert by_of(address, "b.parquet") == ("stopped" if is_first else "successor")
        assert not [key for key in server.objects(address[5:-4]) if "/tmp/" in key]  # noqa: S108 - of the output
        assert server.uploads(address[5:-4]) == 0


def by_of(address: str, output: str) -> str:
    """Who has computed a published file."""
    with OutputFolder(address).open(output) as file:
        return str(pq.read_metadata(file).metadata[b"by"].decode())


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_what_an_input_was_before_does_not_replace_what_it_is(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    request_of: tuple[str, ...],
    when: str,
) -> None:
    """An input has changed since; the unit in the end is of what it is now, whenever that of the other arrives."""
    with stopped(address, done=("a",)):
        late, got = late_commit(server, address, request_of, by="stopped")
        with taken_over(address) as successor:
            successor.begin(job(AFTER, b=2))
            if when == "before the successor's":
                late.arrive()
            for name, size in (("b", 2), ("c", 1), ("d", 1)):
                commit(successor, name, size=size, by="successor")
            conclude(successor, by="successor", names=AFTER)
        if when == "after the successor's":
            late.arrive()
            assert not got
            assert "is not replaced by what its input was before" in str(late.raised)
        assert_told_the_truth(address)
        assert by_of(address, "b.parquet") == "successor"


def test_a_unit_whose_file_was_removed_is_recorded_anew(address: str) -> None:
    """A record whose file is gone is replaced by that of the unit computed again, with all that this tells."""
    with taken_over(address) as folder:
        do_all(folder, by="first")
        folder._store.remove("b.parquet")
        do_all(folder)
    record = OutputFolder(address).record("b.parquet")
    assert record is not None
    assert record.seconds == {"successor": 1.0}
    assert_told_the_truth(address)


def test_a_file_that_is_none_of_the_job_is_replaced(address: str) -> None:
    """What stands under a unit's name, of no job or damaged, is not adopted."""
    with taken_over(address) as folder:
        folder.begin(job(AFTER))
        folder._store.write("a.parquet", b"PAR1 damaged PAR1")
        late = record_of(output="b.parquet", sha256="0" * 64, bytes=1)
        folder._documents.write("_lvm_batch/done/b.parquet.json", late.to_json())
        do_all(folder)
    assert_told_the_truth(address)


# Outputs of older versions, and copies


def as_released(server: Any, bucket: str) -> None:  # noqa: ANN401
    """Let the lock tell nothing, as it did before anything was told by it."""
    server.put(bucket, "out/_lvm_batch/lock", b'{"holder": null}')


def test_an_output_of_an_older_version_counts_as_it_stands(server: Any, address: str) -> None:  # noqa: ANN401
    """A lock that tells nothing takes nothing away: success, growths and what was accepted count, and grow on."""
    with taken_over(address) as folder:
        do_all(folder, names=BEFORE)
        folder.begin(job(("a", "b", "c")))
        do_all(folder, names=("a", "b", "c"))
    as_released(server, address[5:-4])
    assert_told_the_truth(address, names=("a", "b", "c"))
    with taken_over(address) as folder:
        folder.begin(job(AFTER))
        assert len(committed(address, require_success=True).files) == 3
        do_all(folder)
    assert_told_the_truth(address)


def test_a_copy_on_a_disk_is_an_output_like_any(server: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    """What was told in the store holds for the copy until a run takes it; from then on everything counts."""
    with taken_over(address) as folder:
        do_all(folder, names=BEFORE)
        folder.begin(job(("a", "b", "c")))
    for key, content in server.objects(address[5:-4]).items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    copy = str(tmp_path / "out")
    assert not OutputFolder(copy).succeeded
    assert len(committed(copy, require_success=True).files) == 2
    with taken_over(copy) as folder:
        do_all(folder)
    assert_told_the_truth(copy)
