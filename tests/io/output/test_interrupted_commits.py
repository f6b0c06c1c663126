"""Tests of writers killed between any two steps: the output stays consistent, and a rerun completes it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.documents import job_of, record_of, success_of

from lvm_batch.io.errors import NotFinished
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.committed import committed
from lvm_batch.io.output.unit_files import FINGERPRINT_KEY, RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.io.output.job_documents import JobDocument

STEPS = ("write", "create", "append", "publish", "publish_new", "swap", "remove")
FINGERPRINT = "f"


class Killed(BaseException):
    """Ends a run, as a kill would."""


def kill_after(folder: OutputFolder, n_steps: int) -> None:
    """Let the folder's store do this many more steps, and raise at the next one."""
    steps = iter(range(n_steps))
    for name in STEPS:
        does = getattr(folder._store, name)

        def step(*arguments: Any, _does: Callable[..., Any] = does) -> Any:  # noqa: ANN401 - as it is
            if next(steps, None) is None:
                raise Killed
            return _does(*arguments)

        setattr(folder._store, name, step)


def job(*names: str, **sizes: int) -> JobDocument:
    """A job over inputs of one unit each."""
    inputs = {name: {"path": f"/in/{name}", "size": sizes.get(name, 1)} for name in names}
    units = [{"output": f"{name}-0.parquet", "input": f"/in/{name}", "rows": 3} for name in names]
    identity = {"format": 1, "inputs": inputs}
    return job_of(
        {"fingerprint": json.dumps(inputs), "identity": identity, "units": units, "rows": 3 * len(names)}
    )


def commit(folder: OutputFolder, name: str) -> None:
    """Commit the unit of an input."""
    record = record_of(output=f"{name}-0.parquet", input=f"/in/{name}", first_row=0)
    footer = {RECORD_KEY: json.dumps(record.to_json()), FINGERPRINT_KEY: FINGERPRINT}
    with folder.stage() as staged:
        pq.write_table(pa.table({"x": [1, 2, 3]}).replace_schema_metadata(footer), staged)
        folder.commit(staged, record)


def begun(folder: OutputFolder) -> None:
    """A job over two inputs without any unit."""
    folder.begin(job("a", "b"))


def succeeded(folder: OutputFolder) -> None:
    """A job over two inputs that has succeeded."""
    begun(folder)
    commit(folder, "a")
    commit(folder, "b")
    folder.mark_success(success_of(2))


def published(folder: OutputFolder) -> None:
    """A job whose units a run published and did not record before it died."""
    begun(folder)
    for name in ("a", "b"):
        commit(folder, name)
        folder._store.remove(f"_lvm_batch/done/{name}-0.parquet.json")


def all_committed(folder: OutputFolder) -> None:
    """A job whose units are all committed."""
    begun(folder)
    commit(folder, "a")
    commit(folder, "b")


SCENES: dict[str, tuple[Callable[[OutputFolder], None], Callable[[OutputFolder], object]]] = {
    "begins": (lambda _: None, begun),
    "commits": (begun, lambda folder: commit(folder, "a")),
    "commits again": (succeeded, lambda folder: commit(folder, "a")),
    "takes back": (succeeded, lambda folder: folder.begin(job("a", "b"), again={"a-0.parquet"})),
    "takes all back": (
        succeeded,
        lambda folder: folder.begin(job("a", "b"), again=["a-0.parquet", "b-0.parquet"]),
    ),
    "takes an input as it is now": (published, lambda folder: folder.begin(job("a", "b", b=2))),
    "grows": (succeeded, lambda folder: folder.begin(job("a", "b", "c"))),
    "succeeds": (all_committed, lambda folder: folder.mark_success(success_of(2))),
    "is refused": (succeeded, lambda folder: folder.mark_refused()),
}


def is_true(folder: OutputFolder) -> None:
    """Check that the documents of a folder agree with each other."""
    if folder.succeeded:
        current = folder.job()
        assert current is not None
        assert folder.accepted_job() == current, "a success that nobody has accepted"
        assert {unit.output for unit in current.units} == folder.records().keys()
    try:
        files = committed(folder.text, require_success=True).files
    except NotFinished:
        return
    assert [file.name for file in files] == ["a-0.parquet", "b-0.parquet"], "rows are missing for readers"


@pytest.mark.parametrize("n_steps", range(7))
@pytest.mark.parametrize("scene", [name for name in SCENES if name != "begins"])
def test_an_output_is_consistent_wherever_a_run_is_killed(scene: str, n_steps: int, tmp_path: Path) -> None:
    """After the kill the output is consistent, and the same steps again give the same result as without it."""
    prepare, act = SCENES[scene]
    texts = [str(tmp_path / name) for name in ("killed", "whole")]
    for text in texts:
        prepare(OutputFolder(text))
    act(OutputFolder(texts[1]))
    dying = OutputFolder(texts[0])
    kill_after(dying, n_steps)
    try:
        act(dying)
    except Killed:
        is_true(OutputFolder(texts[0]))
        act(OutputFolder(texts[0]))
    killed, undisturbed = (OutputFolder(text) for text in texts)
    assert killed.published() == undisturbed.published()
    assert killed.records().keys() == undisturbed.records().keys()
    assert (killed.job(), killed.accepted_job()) == (undisturbed.job(), undisturbed.accepted_job())
    assert killed.success() == undisturbed.success()


@pytest.mark.parametrize("n_steps", range(4))
def test_a_killed_commit_leaves_no_unit_or_one_that_can_be_adopted(n_steps: int, tmp_path: Path) -> None:
    """A file is published before it is recorded, so a published unit is never computed again."""
    folder = OutputFolder(str(tmp_path))
    begun(folder)
    kill_after(folder, n_steps)
    try:
        commit(folder, "a")
    except Killed:
        assert OutputFolder(folder.text).recorded() == {}
    after = OutputFolder(folder.text)
    if after.published():
        assert after.record("a-0.parquet") or after.adopt("a-0.parquet", FINGERPRINT)
    assert bool(after.published()) == (n_steps > 0)


@pytest.mark.parametrize("n_steps", range(7))
def test_removed_units_do_not_come_back(n_steps: int, tmp_path: Path) -> None:
    """A kill leaves a unit complete or absent, since its file is removed before its record."""
    folder = OutputFolder(str(tmp_path))
    succeeded(folder)
    kill_after(folder, n_steps)
    with suppress(Killed):
        folder.begin(job("a", "b"), again=["a-0.parquet", "b-0.parquet"])
    after = OutputFolder(folder.text)
    for name in {"a-0.parquet", "b-0.parquet"} - after.records().keys():
        assert after.adopt(name, FINGERPRINT) is None


def test_an_input_that_changed_leaves_nothing_to_adopt(tmp_path: Path) -> None:
    """Nothing is adopted even if the run that found the change is killed right after it updated the job."""
    for n_steps in range(9):
        folder = OutputFolder(str(tmp_path / str(n_steps)))
        published(folder)
        kill_after(folder, n_steps)
        with suppress(Killed):
            folder.begin(job("a", "b", b=2))
        after = OutputFolder(folder.text)
        input_size = after.required_job().identity.inputs["b"].size
        assert (after.adopt("b-0.parquet", FINGERPRINT) is None) or input_size == 1
        assert after.adopt("a-0.parquet", FINGERPRINT) is not None
