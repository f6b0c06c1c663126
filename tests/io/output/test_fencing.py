"""Tests of runs that lost their output, on a store that delivers their requests after another run took over."""

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
    """The address of an output whose leases expire quickly."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.05)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 0.4)
    return f"s3://{bucket}/out"


def stop(hold: LockGuard) -> None:
    """Stop a holder's heartbeats, and wait for the one under way."""
    hold.ended.set()
    for thread in threading.enumerate():
        if getattr(getattr(thread, "_target", None), "__self__", None) is hold:
            thread.join()


@contextmanager
def taken_over(address: str) -> Iterator[OutputFolder]:
    """Wait until the stopped holder's lease expires, and hold the output."""
    with lock_output(address) as hold:
        yield OutputFolder(address, hold=hold)


def assert_readers_see_the_truth(
    address: str, *, names: tuple[str, ...] = AFTER, by: str = "successor"
) -> None:
    """Everything that readers see matches what the successor has done."""
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
    """Every record matches its published file, byte for byte."""
    records = folder.records()
    assert list(file_faults(folder, records, "f1")) == []
    assert records.keys() == folder.recorded().keys()


class Late:
    """A request of a paused run that is still under way to the store."""

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
        """Deliver the request and wait for its result."""
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
    """A run that holds the output, has done some units and is paused; at its end it learns that it lost the output."""
    with pytest.raises(OutputLocked, match="has taken over"), lock_output(address) as hold:  # noqa: PT012
        folder = OutputFolder(address, hold=hold)
        folder.begin(job(BEFORE))
        for name in done:
            commit(folder, name, by="stopped")
        stop(hold)
        yield folder


@pytest.mark.parametrize("write", WRITES)
def test_a_request_that_arrives_after_the_successor_is_done_changes_nothing(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    write: str,
) -> None:
    """A request delivered after the successor is done replaces nothing."""
    act, words = WRITES[write]
    with stopped(address) as folder:
        late = Late(server, lambda: act(folder), *words)
        with taken_over(address) as successor:
            do_all(successor)
        late.arrive()
        assert isinstance(late.raised, OutputLocked)
        assert_readers_see_the_truth(address)


@pytest.mark.parametrize("write", WRITES)
def test_a_request_that_arrives_while_the_successor_works_does_not_count(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    write: str,
) -> None:
    """A request delivered while the successor works does not count. The run's earlier statement that its two
    units were accepted stays valid.
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
        assert_readers_see_the_truth(address)


def test_a_stray_success_is_told_from_one_that_counts(server: Any, address: str) -> None:  # noqa: ANN401
    """If the successor dies, the earlier run's late `_SUCCESS` does not count, and the next run replaces it."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.mark_success(success_of(2)), "PUT", "_SUCCESS")
        with taken_over(address) as successor:
            successor.begin(job(AFTER))
            late.arrive()
    assert server.objects(address[5:-4])["out/_SUCCESS"]
    assert (OutputFolder(address).succeeded, OutputFolder(address).success_is_stray) == (False, True)
    with taken_over(address) as successor:
        do_all(successor)
    assert_readers_see_the_truth(address)


def test_a_late_removal_misleads_no_reader(server: Any, address: str) -> None:  # noqa: ANN401
    """A store has no conditional delete; a file removed late is missing for all, and the next run writes it again."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.begin(job(BEFORE), again=["a.parquet"]), "POST", "?delete")
        with taken_over(address) as successor:
            do_all(successor)
        assert_readers_see_the_truth(address)
        late.arrive()
        assert isinstance(late.raised, OutputLocked)
    assert "a.parquet" not in OutputFolder(address).records()
    with pytest.raises(OutputError, match=r"a\.parquet is gone"):
        committed(address, require_success=True)
    with taken_over(address) as successor:
        do_all(successor)
    assert_readers_see_the_truth(address)


def test_what_was_taken_back_does_not_come_back(server: Any, address: str) -> None:  # noqa: ANN401
    """Readers wait while units are replaced, even if an earlier run had declared success."""
    with stopped(address) as folder:
        late = Late(server, lambda: folder.mark_success(success_of(2)), "PUT", "accepted.json")
        with taken_over(address) as successor:
            successor.begin(job(BEFORE), again=["a.parquet"])
            late.arrive()
            commit(successor, "a", by="successor")
            with pytest.raises(NotFinished):
                committed(address, require_success=True)


def test_a_late_job_document_does_not_replace_the_successors(server: Any, address: str) -> None:  # noqa: ANN401
    """`job.json` stays the successor's, whenever the earlier run's request arrives."""
    with pytest.raises(OutputLocked), lock_output(address) as hold:  # noqa: PT012 - its end raises
        folder = OutputFolder(address, hold=hold)
        late = Late(server, lambda: folder.begin(job(("x",))), "PUT", "job.json")
        stop(hold)
        with taken_over(address) as successor:
            do_all(successor)
        late.arrive()
    assert_readers_see_the_truth(address)


def test_a_run_that_lost_its_output_checks_before_it_writes(server: Any, address: str) -> None:  # noqa: ANN401
    """Every write checks the hold first, and a run that lost its output changes nothing in the store."""
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


def test_a_paused_run_that_was_not_taken_over_continues(address: str) -> None:
    """Time alone does not end a hold; only another run takes an output over."""
    with lock_output(address) as hold:
        stop(hold)
        sleep(0.5)
        do_all(OutputFolder(address, hold=hold))
    assert_readers_see_the_truth(address)


def test_a_store_that_is_away_is_waited_for(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run checks its hold again and again; in the end the error names the store."""
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
def test_of_twenty_simultaneous_runs_one_holds_the_output(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
) -> None:
    """One run holds the output and does all the work; the others are refused or find it done."""
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
    assert_readers_see_the_truth(place)


# Workers hold no lease, and may outlive the run that they work for


@pytest.fixture(params=["file in one request", "file in parts", "record"])
def request_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Parts of the request that uploads a unit's file or its record."""
    if request.param == "file in parts":
        monkeypatch.setattr("lvm_batch.io.storage.bucket_conditions.WHOLE_BYTES", 0)
    return {
        "file in one request": ("PUT", ".parquet conditional"),
        "file in parts": ("POST", ".parquet?uploadId"),
        "record": ("PUT", "/done/b.parquet.json"),
    }[request.param]


def late_commit(server: Any, address: str, words: tuple[str, ...], **options: Any) -> tuple[Late, list[Any]]:  # noqa: ANN401
    """Commit unit b as a worker whose request is delayed; also returns the worker's result."""
    got: list[Any] = []
    late = Late(server, lambda: got.append(commit(OutputFolder(address), "b", **options)), *words)
    return late, got


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_of_two_commits_of_a_unit_the_first_counts(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    request_of: tuple[str, ...],
    when: str,
) -> None:
    """A worker's late file and record replace nothing; the second worker adopts what is there."""
    with stopped(address, done=("a",)):
        late, got = late_commit(server, address, request_of, by="stopped")
        with taken_over(address) as successor:
            if when == "before the successor's":
                successor.begin(job(AFTER))
                late.arrive()
            do_all(successor)
        if when == "after the successor's":
            late.arrive()
        assert_readers_see_the_truth(address)
        is_first = "/done/b.parquet.json" in request_of or when == "before the successor's"
        committed_record = OutputFolder(address).record("b.parquet")
        assert got == [committed_record]
        assert by_of(address, "b.parquet") == ("stopped" if is_first else "successor")
        assert not [key for key in server.objects(address[5:-4]) if "/tmp/" in key]  # noqa: S108 - of the output
        assert server.uploads(address[5:-4]) == 0


def by_of(address: str, output: str) -> str:
    """The worker that wrote a published file."""
    with OutputFolder(address).open(output) as file:
        return str(pq.read_metadata(file).metadata[b"by"].decode())


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_an_earlier_input_version_does_not_replace_the_current_one(
    server: Any,  # noqa: ANN401 - of a module that may be missing
    address: str,
    request_of: tuple[str, ...],
    when: str,
) -> None:
    """After an input has changed, its unit is from the new version, whenever the old version's request arrives."""
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
            assert "is not replaced, because this run read an earlier state of its input" in str(late.raised)
        assert_readers_see_the_truth(address)
        assert by_of(address, "b.parquet") == "successor"


def test_a_unit_whose_file_was_removed_is_recorded_anew(address: str) -> None:
    """If a record's file is gone, the unit is computed again and its record replaced completely."""
    with taken_over(address) as folder:
        do_all(folder, by="first")
        folder._store.remove("b.parquet")
        do_all(folder)
    record = OutputFolder(address).record("b.parquet")
    assert record is not None
    assert record.seconds == {"successor": 1.0}
    assert_readers_see_the_truth(address)


def test_a_file_of_no_job_is_replaced(address: str) -> None:
    """A file under a unit's name that is damaged or from no job is not adopted."""
    with taken_over(address) as folder:
        folder.begin(job(AFTER))
        folder._store.write("a.parquet", b"PAR1 damaged PAR1")
        late = record_of(output="b.parquet", sha256="0" * 64, bytes=1)
        folder._documents.write("_lvm_batch/done/b.parquet.json", late.to_json())
        do_all(folder)
    assert_readers_see_the_truth(address)


# Outputs of older versions, and copies


def as_released(server: Any, bucket: str) -> None:  # noqa: ANN401
    """Make the lock declare nothing, as in versions before it could."""
    server.put(bucket, "out/_lvm_batch/lock", b'{"holder": null}')


def test_an_output_of_an_older_version_counts_as_it_is(server: Any, address: str) -> None:  # noqa: ANN401
    """If the lock declares nothing, success, growths and acceptance count as they are, and the job can grow."""
    with taken_over(address) as folder:
        do_all(folder, names=BEFORE)
        folder.begin(job(("a", "b", "c")))
        do_all(folder, names=("a", "b", "c"))
    as_released(server, address[5:-4])
    assert_readers_see_the_truth(address, names=("a", "b", "c"))
    with taken_over(address) as folder:
        folder.begin(job(AFTER))
        assert len(committed(address, require_success=True).files) == 3
        do_all(folder)
    assert_readers_see_the_truth(address)


def test_a_copy_on_a_disk_is_an_output_like_any(server: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    """Declarations made in the store hold for the copy until a run takes it over; then everything counts."""
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
    assert_readers_see_the_truth(copy)
