"""Tests of an output folder that a run holds: every change checks the hold first, and only declared success counts."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from support.documents import success_of
from support.held_outputs import commit, job

import lvm_batch.io.output.committed
from lvm_batch.io.errors import InputNotFound, JobChanged, OutputLocked
from lvm_batch.io.output.commit import ACCEPTED, GROWN, LOCK, SUCCESS, OutputFolder
from lvm_batch.io.output.committed import job_around
from lvm_batch.io.storage.json_documents import as_json
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lvm_batch.io.storage.locations import Location

OUT = "s3://bucket/out"


class Holding:
    """A hold that a test can lose, which records what was declared to readers."""

    def __init__(self) -> None:
        self.digests: Mapping[str, str | None] = {}
        self.lost = False

    def check(self) -> None:
        """Raise if the hold is lost."""
        if self.lost:
            raise OutputLocked("lost", "wait")

    def declare(self, digests: Mapping[str, str | None]) -> None:
        """Declare, unless the hold is lost."""
        self.check()
        self.digests = {**self.digests, **digests}


@pytest.fixture
def hold(s3: None) -> Holding:
    """The hold of a run."""
    return Holding()


@pytest.fixture
def folder(hold: Holding) -> OutputFolder:
    """The output of a job over two inputs, one of them committed, that has succeeded once."""
    folder = OutputFolder(OUT, hold=hold)
    folder.begin(job(("a", "b")))
    commit(folder, "a")
    folder.mark_success(success_of(1))
    return folder


def everything() -> dict[str, bytes | None]:
    """Every object of the output except the lock."""
    folder = OutputFolder(OUT)
    names = [*folder._store.visible_sizes(), SUCCESS]
    private = ("", "/done", "/grown", "/tmp")  # noqa: S108 - folders of the output
    names += [
        f"_lvm_batch{part}/{name}" for part in private for name in folder._store.names(f"_lvm_batch{part}")
    ]
    return {name: folder._store.read(name) for name in names if name != LOCK}


CHANGES: dict[str, Callable[[OutputFolder], object]] = {
    "grow": lambda folder: folder.begin(job(("a", "b", "c"))),
    "take back": lambda folder: folder.begin(job(("a", "b")), again={"a.parquet"}),
    "events": lambda folder: folder.append_events("{}\n"),
    "summary": lambda folder: folder.write_summary({"units": 2}),
    "report": lambda folder: folder.write_report(b"<html>"),
    "success": lambda folder: folder.mark_success(success_of(2)),
    "no success": lambda folder: folder.mark_success(None),
    "refusal": lambda folder: folder.mark_refused(),
    "tmp": lambda folder: folder.clear_tmp(),
    "a unit": lambda folder: commit(folder, "b"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_an_output_checks_the_hold(change: str, folder: OutputFolder, hold: Holding) -> None:
    """A run that lost its hold changes nothing, by any method."""
    folder._store.write("_lvm_batch/tmp/half", b"")
    before = everything()
    hold.lost = True
    with pytest.raises(OutputLocked):
        CHANGES[change](folder)
    assert everything() == before
    hold.lost = False
    CHANGES[change](folder)
    assert everything() != before


def test_a_run_that_begins_declares_what_exists(folder: OutputFolder, hold: Holding) -> None:
    """What was written under an older lock, which declares nothing, counts at that time."""
    folder.begin(job(("a", "b", "c")))
    folder.mark_success(success_of(2))
    again = Holding()
    OutputFolder(OUT, hold=again).begin(job(("a", "b", "c")))
    digests = {name: hashlib.sha256(everything()[name] or b"").hexdigest() for name in (SUCCESS, ACCEPTED)}
    assert again.digests == {**digests, GROWN: f"{GROWN}/00001.json"} == hold.digests


def reader_with(**declared: str | None) -> OutputFolder:
    """The output as seen by a reader who gets this declaration."""
    OutputFolder(OUT)._store.write(LOCK, json.dumps({"holder": None, "told": declared}).encode())
    return OutputFolder(OUT)


def test_an_undeclared_success_is_stray(folder: OutputFolder) -> None:
    """Only an undeclared success is stray; a declared or missing one is not, nor any if nothing is declared."""
    assert not OutputFolder(OUT).success_is_stray
    reader = reader_with(**{SUCCESS: hashlib.sha256(as_json(success_of(1).to_json())).hexdigest()})
    assert (reader.succeeded, reader.success_is_stray) == (True, False)
    reader = reader_with(**{SUCCESS: None})
    assert (reader.succeeded, reader.success(), reader.success_is_stray) == (False, None, True)
    folder.mark_success(None)
    assert (reader.succeeded, reader.success_is_stray) == (False, False)


def test_a_report_lies_beside_the_summary(folder: OutputFolder) -> None:
    """The report has had the same name since the first release."""
    folder.write_report(b"<html>")
    assert OutputFolder(OUT)._store.read("_lvm_batch/report.html") == b"<html>"


@pytest.mark.parametrize("committed", ["a", "b"])
def test_committed_units_are_not_removed_unless_requested(
    committed: str, hold: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed input of a committed unit is refused even if the comparison of the jobs misses it."""
    folder = OutputFolder(OUT, hold=hold)
    folder.begin(job(("a", "b")))
    commit(folder, committed)
    folder.mark_success(success_of(1))
    before = everything()
    monkeypatch.setattr(lvm_batch.io.output.commit, "job_difference", lambda *_, **__: None)
    with pytest.raises(JobChanged, match=rf"{committed}\.parquet, which is committed for an earlier state"):
        folder.begin(job(("a", "b"), a=2, b=2))
    assert everything() == before


def test_readers_wait_before_anything_of_a_grown_job_is_removed(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``_SUCCESS`` is removed first, then the units of changed inputs, each file before its record."""
    removed: list[str] = []
    remove = folder._store.remove

    def record_removal(name: str) -> None:
        removed.append(name)
        remove(name)

    monkeypatch.setattr(folder._store, "remove", record_removal)
    folder.begin(job(("a", "b"), b=2))
    assert removed == [SUCCESS, "b.parquet", "_lvm_batch/done/b.parquet.json"]


def test_an_output_within_anothers_is_known(s3: None, tmp_path: Path) -> None:
    """An outer output is recognised by its job document, on a disk and in a bucket; nothing else counts."""
    for top in (str(tmp_path), "s3://bucket"):
        OutputFolder(f"{top}/out").begin(job(("a",)))
        for within in (f"{top}/out/x", f"{top}/out/x/y"):
            around = job_around(locate(within))
            assert around is not None
            assert around.text == f"{top}/out"
        for beside in (f"{top}/out", f"{top}/out2", f"{top}/x/out"):
            assert job_around(locate(beside)) is None
    (tmp_path / "x/_lvm_batch/job.json").mkdir(parents=True)
    assert job_around(locate(str(tmp_path / "x/out"))) is None


def test_unreadable_folders_above_are_not_outputs(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have access to the output folder only."""

    def refuse(place: Location) -> None:
        raise InputNotFound(f"{place.text} cannot be accessed", "check access")

    monkeypatch.setattr(lvm_batch.io.output.committed, "look_at", refuse)
    assert job_around(locate(f"{OUT}/x")) is None


def test_without_a_hold_nothing_is_checked(s3: None) -> None:
    """Workers have no hold; their commits use conditional writes instead."""
    folder = OutputFolder(OUT)
    folder.begin(job(("a",)))
    record = commit(folder, "a")
    assert OutputFolder(OUT).records() == {"a.parquet": record}
