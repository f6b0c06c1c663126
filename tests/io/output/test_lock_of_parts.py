"""Parts of a job hold their output beside each other, and a run holds it alone, on a disk and in a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support import buckets
from support.held_outputs import AFTER, BEFORE, commit, job
from support.waiting import HANG_S, wait_until

from lvm_batch.io.errors import InputNotFound, JobChanged, OutputLocked
from lvm_batch.io.output.commit import EVENTS, PARTS, OutputFolder
from lvm_batch.io.output.lock import is_held, lock_output, lock_part, running_parts, started_parts
from lvm_batch.io.schema import Part
from lvm_batch.io.storage import lease
from lvm_batch.io.storage.locations import bucket_of, locate
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND = Part(16, 1), Part(16, 2)


@pytest.fixture(params=["disk", "store"])
def output(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty output; leases change there often."""
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    monkeypatch.setattr(lease, "TTL_S", 10.0)
    if request.param == "disk":
        yield str(tmp_path / "out")
        return
    with buckets.in_memory():
        yield "s3://bucket/out"


def test_parts_are_named_by_their_number_and_how_many_there_are() -> None:
    """The first is 1; what names no part is told apart from every part."""
    assert Part.named("3/16") == Part.named("3-of-16") == Part(count=16, number=3)
    assert (str(Part(16, 3)), Part(16, 3).file_name) == ("3/16", "3-of-16")
    for text in ("0/16", "17/16", "3", "3/", "/16", "-1/16", "3/16/2", "3 / 16", "a/b", "", "3/16\n", "٣/16"):
        assert Part.named(text) is None, text


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_unit_is_in_the_share_of_one_part(count: int) -> None:
    """Shares differ by one unit at most, and neighbours, which are alike in their work, are in different shares."""
    units = list(range(17))
    shares = [Part(count, number).share(units) for number in range(1, count + 1)]
    assert sorted(unit for share in shares for unit in share) == units
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares[0][:2] == [0, count][: len(shares[0])]


def test_parts_hold_an_output_at_the_same_time(output: str) -> None:
    """Each of them is seen to run, and leaves its name behind."""
    assert (started_parts(output), running_parts(output), is_held(output)) == ([], [], False)
    with lock_part(output, FIRST):
        with lock_part(output, SECOND):
            assert running_parts(output) == [FIRST, SECOND]
        assert running_parts(output) == [FIRST]
        assert is_held(output)
    assert (started_parts(output), running_parts(output), is_held(output)) == ([FIRST, SECOND], [], False)


def test_a_part_is_computed_by_one_process(output: str) -> None:
    """The same part is refused, by its name, until the first one has ended."""
    with (
        lock_part(output, FIRST),
        pytest.raises(OutputLocked, match="part 1/16"),
        lock_part(output, FIRST),
    ):
        pass
    with lock_part(output, FIRST):
        assert running_parts(output) == [FIRST]


def test_a_part_keeps_a_run_out_and_a_run_every_part(output: str) -> None:
    """The error names the parts that are at work."""
    with (
        lock_part(output, FIRST),
        lock_part(output, SECOND),
        pytest.raises(OutputLocked, match=r"parts 1/16 and 2/16 are being computed"),
        lock_output(output),
    ):
        pass
    with (
        lock_output(output),
        pytest.raises(OutputLocked, match="another run is writing"),
        lock_part(output, FIRST),
    ):
        pass
    with lock_output(output):
        assert running_parts(output) == []


def test_of_runs_and_parts_that_begin_together_no_run_has_company(output: str) -> None:
    """However they meet: while a run holds the output, nothing else does."""
    holders: set[str] = set()
    seen: list[set[str]] = []
    guard = threading.Lock()

    def hold(name: str) -> None:
        part = Part.named(name)
        try:
            with lock_part(output, part) if part else lock_output(output):
                with guard:
                    holders.add(name)
                    seen.append(set(holders))
                with guard:
                    holders.discard(name)
        except OutputLocked:
            pass

    names = ["run", "1/3", "2/3", "3/3", "run too"] * 4
    threads = [threading.Thread(target=hold, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert seen
    assert all(len(together) == 1 for together in seen if together & {"run", "run too"}), seen


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an output in a store, where the dead are known after a second."""
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    monkeypatch.setattr(lease, "TTL_S", 1.0)
    with buckets.in_memory():
        yield "s3://bucket/out"


def leave_lease(output: str, name: str) -> None:
    """Leave the lease of a holder that has died."""
    bucket, key = bucket_of(locate(output).child(name))
    bucket.put(key, b'{"holder": "dead", "host": "far", "pid": 7, "beat": 3, "told": {"_SUCCESS": null}}')


def test_a_run_takes_the_output_from_parts_that_have_died(store: str) -> None:
    """It watches all of them at once, and says so."""
    for part in (FIRST, SECOND):
        leave_lease(store, f"{PARTS}/{part.file_name}.lock")
    said: list[str] = []
    with lock_output(store, on_wait=said.append):
        assert running_parts(store) == []
    assert min(said).startswith(f"part 1/16 of {store} is held by process 7 on far")
    assert len(said) == 2


def test_a_part_takes_the_output_from_a_run_that_has_died(store: str) -> None:
    """What the run said of the output is kept."""
    leave_lease(store, "_lvm_batch/lock")
    with lock_part(store, FIRST):
        assert is_held(store)
    content = open_store(store, staging="tmp").read("_lvm_batch/lock")
    assert content == b'{"holder": null, "told": {"_SUCCESS": null}}'


def test_a_part_that_stood_still_finds_that_it_has_lost_the_output(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes nothing any more once a run has taken the output over."""
    frozen = threading.Event()
    beat = lease._Lease.beat

    def stopping(holder: lease._Lease) -> None:
        if "part" in holder._text:
            frozen.wait(HANG_S)
        beat(holder)

    monkeypatch.setattr(lease._Lease, "beat", stopping)
    with pytest.raises(OutputLocked, match="another run has taken over part 1/16"):
        lose_a_part(store, frozen)
    assert open_store(store, staging="tmp").read(f"{PARTS}/1-of-16.events.jsonl") == b"one\n"


def lose_a_part(store: str, frozen: threading.Event) -> None:
    """Hold a part that stands still until a run has the output, and write before and after that."""
    with lock_part(store, FIRST) as hold:
        folder = OutputFolder(store, hold=hold, part=FIRST)
        folder.append_events("one\n")
        with lock_output(store):
            frozen.set()
            wait_until(lambda: hold.lost, "the part learns that it has lost its lease")
            with pytest.raises(OutputLocked):
                folder.append_events("two\n")


def test_parts_that_begin_together_agree_on_the_job(output: str) -> None:
    """One of them writes it; each of the others takes it as it is."""
    begun: list[str] = []

    def begin(number: int) -> None:
        part = Part(8, number)
        with lock_part(output, part) as hold:
            begun.append(OutputFolder(output, hold=hold, part=part).join(job(BEFORE)).fingerprint)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert begun == [job(BEFORE).fingerprint] * 8


def test_a_part_that_sees_another_dataset_is_refused(output: str) -> None:
    """New and changed inputs are named: the others compute the job without them."""
    folder = OutputFolder(output, part=FIRST)
    folder.join(job(BEFORE))
    commit(folder, "a")
    with pytest.raises(JobChanged, match=r"inputs\.c\.path was absent, is /in/c; inputs\.d\.path") as caught:
        folder.join(job(AFTER))
    assert "without --part" in caught.value.args[1]
    with pytest.raises(JobChanged, match=r"inputs\.b\.size was 1, is 2"):
        folder.join(job(BEFORE, b=2))
    with pytest.raises(JobChanged, match=r"inputs\.a\.size was 1, is 2"):
        folder.join(job(BEFORE, a=2))
    with pytest.raises(JobChanged, match=r"inputs\.b\.path was /in/b, is absent"):
        folder.join(job(("a",)))
    assert folder.join(job(BEFORE)).fingerprint == job(BEFORE).fingerprint


def test_events_of_parts_are_apart(output: str) -> None:
    """A store writes a file anew to make it longer: no two processes write to the same one."""
    for part in (FIRST, SECOND):
        for line in ("one\n", "two\n"):
            OutputFolder(output, part=part).append_events(f"{part} {line}")
    OutputFolder(output).append_events("whole\n")
    store = open_store(output, staging="tmp")
    assert store.read(f"{PARTS}/1-of-16.events.jsonl") == b"1/16 one\n1/16 two\n"
    assert store.read(f"{PARTS}/2-of-16.events.jsonl") == b"2/16 one\n2/16 two\n"
    assert store.read(EVENTS) == b"whole\n"


def test_a_part_reads_the_records_of_its_own_units(output: str) -> None:
    """Of the others it counts how many are there."""
    folder = OutputFolder(output, part=FIRST)
    folder.join(job(AFTER))
    for name in ("a", "b", "c"):
        commit(folder, name)
    outputs = job(AFTER).outputs
    assert list(folder.records(outputs[1::2])) == ["b.parquet"]
    assert (folder.n_recorded(outputs), folder.n_recorded([])) == (3, 0)


def test_there_is_nothing_to_finish_where_no_part_has_begun(output: str) -> None:
    """The folder is named."""
    with lock_output(output) as hold, pytest.raises(InputNotFound, match="holds no job"):
        OutputFolder(output, hold=hold).required_job()
