"""Memory: a worker's need is known before a run, does not grow with the input, and is refused if it does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import datasets
from support.peak_probe import peak_of

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.bucket_objects import UPLOAD_BYTES
from lvm_batch.io.storage.object_file import AHEAD_BYTES, IN_TURNS_BYTES
from lvm_batch.jobs.models.facts import FixedMemory
from lvm_batch.jobs.prediction import run as running
from lvm_batch.jobs.prediction.planning.memory import (
    MIB,
    NotEnoughMemory,
    check_memory,
    memory_limit,
    project_memory,
)
from lvm_batch.jobs.prediction.planning.plan import Plan, make_plan
from lvm_batch.jobs.reports import report_writer
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributed import Client
    from support.command import Result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("not __import__('pathlib').Path('/proc/self/status').exists()", reason="no /proc"),
]


@pytest.fixture(scope="module")
def models(published_models: Path) -> Path:
    """Models of the published sizes."""
    return published_models


def windows_file(path: Path, n_rows: int, row_group_rows: int, **options: Any) -> Path:  # noqa: ANN401 - of the writer
    """Windows of the sample, repeated, all in one high-stakes lane, with nine tokens each."""
    contexts, targets = datasets.windows()
    rows = np.arange(n_rows) % len(contexts)
    with pq.ParquetWriter(path, _windows(contexts[:1], targets[:1]).schema, **options) as writer:
        for first in range(0, n_rows, row_group_rows):
            members = rows[first : first + row_group_rows]
            writer.write_table(_windows(contexts[members], targets[members]), row_group_size=row_group_rows)
    return path


def _windows(contexts: np.ndarray, targets: np.ndarray) -> pa.Table:
    encoded = {
        name: datasets.encode(rows, "fixed_size_list")
        for name, rows in (("context", contexts), ("target", targets))
    }
    return pa.table(
        {
            "id": np.arange(len(contexts)),
            "lane": ["sci-fact"] * len(contexts),
            "context_tokens": [9] * len(contexts),
            **encoded,
        }
    )


def sequences_file(path: Path, n_rows: int) -> Path:
    """Vectors of the sample, repeated, in articles of fifty, in one row group."""
    rows = datasets.vectors()[np.arange(n_rows) % len(datasets.vectors())]
    columns = {"article_id": np.arange(n_rows) // 50, "position": np.arange(n_rows) % 50}
    table = pa.table({**columns, "vector": datasets.encode(rows, "binary")})
    pq.write_table(table, path, row_group_size=n_rows, use_dictionary=False)
    return path


def prepared_for(dataset: Path, models: Path, **settings: Any) -> Plan:  # noqa: ANN401 - of any setting
    """A job over ``dataset`` with fresh models."""
    given = {"model": str(models / "amn.pt"), "shadow_rate": 0.0, **settings}
    output = dataset.parent / "out"
    return make_plan(RunSettings(dataset=(str(dataset),), output=str(output), **given), threads=1)


def heavy_file(path: Path, *, coded: bool) -> Path:
    """Windows that each carry a list of one long text, or that text as a label, and have a lane as long."""
    n_rows, long = 2000, "x" * 200_000
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([long]))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1, dtype=np.int32)), text)
    context = datasets.encode(datasets.windows()[0][np.arange(n_rows) % 50], "binary")
    columns = {"lane": text, "note": text} if coded else {"lane": text, "note": text, "notes": lists}
    leaves = ["lane", "note", "notes.list.element"]
    pq.write_table(pa.table({"context": context, **columns}), path, use_dictionary=leaves, store_schema=coded)
    return path


@pytest.mark.parametrize("coded", [True, False])
def test_values_that_repeat_count_as_they_are_decoded(*, coded: bool, tmp_path: Path, models: Path) -> None:
    """Values that are stored once for all rows take no more than planned, as codes, as texts and within lists."""
    path = heavy_file(tmp_path / "a.parquet", coded=coded)
    assert path.stat().st_size < 30 * MIB
    plan = prepared_for(path, models)
    measured = peak_of(plan.job, plan.units)
    assert 0.9 * measured < plan.memory.peak < 1.35 * measured
    written = tmp_path / "out" / "a-00000.parquet"
    assert pq.read_schema(written).field("note").type == pq.read_schema(path).field("note").type
    last = pq.ParquetFile(written).read_row_group(pq.read_metadata(written).num_row_groups - 1)
    assert last["note"][-1].as_py() == "x" * 200_000


@pytest.mark.parametrize("case", ["small row groups", "one row group", "sequences", "escalated", "capped"])
def test_the_projection_is_within_a_quarter_of_the_peak(case: str, tmp_path: Path, models: Path) -> None:
    """The plan's projection is within a quarter of a worker's peak, whatever the layout, row groups and policy."""
    path = tmp_path / "a.parquet"
    fallback = {"fallback": str(models / "gru.pt")}
    plan = {
        "small row groups": lambda: prepared_for(windows_file(path, 4000, 500), models),
        "one row group": lambda: prepared_for(windows_file(path, 6000, 6000, use_dictionary=False), models),
        "sequences": lambda: prepared_for(sequences_file(path, 9000), models),
        "escalated": lambda: prepared_for(windows_file(path, 1500, 500), models, **fallback),
        "capped": lambda: prepared_for(
            windows_file(path, 4000, 4000),
            models,
            fallback_policy="cap",
            max_fallback_rate=0.0,
            max_context_tokens=0,
            high_stakes_lane=("another",),
            **fallback,
        ),
    }[case]()
    measured = peak_of(plan.job, plan.units)
    assert 0.8 * measured < plan.memory.peak < 1.25 * measured


@pytest.mark.parametrize(
    ("layout", "times"),
    [
        pytest.param("windows", 10, marks=pytest.mark.soak),
        ("sequences", 2),
        pytest.param("sequences", 10, marks=pytest.mark.soak),
    ],
)
def test_an_input_many_times_as_large_has_the_same_peak(
    layout: str, times: int, tmp_path: Path, models: Path
) -> None:
    """Neither more units nor a larger row group raise a worker's peak."""
    peaks = []
    fewest = 1000 if layout == "windows" else 8500
    for n_rows in (fewest, times * fewest):
        path = tmp_path / f"{n_rows}" / "a.parquet"
        path.parent.mkdir()
        if layout == "windows":
            windows_file(path, n_rows, 500)
        else:
            sequences_file(path, n_rows)
        unit_size = 16 * MIB if layout == "windows" else 64 * MIB
        plan = prepared_for(path, models, unit_size=unit_size, high_stakes_lane=("another",))
        peaks.append(peak_of(plan.job, plan.units))
    assert peaks[1] < 1.1 * peaks[0]


def footer_of(path: Path) -> Footer:
    """The footer of one file."""
    [(_, footer)] = read_footers(find_files([str(path)]), DatasetFormat())
    assert isinstance(footer, Footer)
    return footer


def projection_of(
    footer: Footer, *, capped: bool = False, uploads: bool = False, **fixed: int
) -> dict[str, int]:
    """The parts of a projection over one file."""
    units = cut_units(footer, unit_bytes=64 * MIB, shape=WindowShape())
    fixed_memory = FixedMemory(0, has_fallback=True, **fixed)
    return dict(
        project_memory(
            [footer], units, fixed_memory, shape=WindowShape(), capped=capped, uploads=uploads
        ).parts
    )


def test_a_large_page_is_seen_in_its_header(tmp_path: Path) -> None:
    """Pages as large as a row group, as some writers make them, are counted although the footer does not list them."""
    plain = {"use_dictionary": False, "compression": "none"}
    small = footer_of(windows_file(tmp_path / "small.parquet", 1024, 1024, **plain))
    large = footer_of(windows_file(tmp_path / "large.parquet", 1024, 1024, data_page_size=2**30, **plain))
    assert small.sizes.page < 8 * MIB
    assert large.sizes.page >= 1024 * 3840 * 4


def test_the_parts_are_those_of_the_rows(tmp_path: Path) -> None:
    """A cap holds the unit's contexts, without one a row group of any size costs the same; a bank is not counted."""
    footer = footer_of(windows_file(tmp_path / "a.parquet", 1000, 1000))
    whole = replace(footer, row_group_rows=(100_000,))
    larger = replace(footer, row_group_rows=(1_000_000,))
    assert projection_of(whole) == projection_of(larger)
    assert projection_of(whole, capped=True)["escalated rows"] == 100_000 * 6 * 3072
    assert projection_of(whole, bank=10**12) == projection_of(whole)


def test_what_a_store_needs_is_counted(tmp_path: Path) -> None:
    """Of an input there, what is fetched ahead; of an output there, what is uploaded beside the next unit."""
    footer = footer_of(windows_file(tmp_path / "a.parquet", 1000, 1000))
    remote = replace(footer, file=replace(footer.file, path="s3://bucket/a.parquet"))
    here, there = projection_of(footer), projection_of(remote, uploads=True)
    assert {name: there[name] for name in there.keys() - here.keys()} == {
        "fetched ahead": IN_TURNS_BYTES + 2 * AHEAD_BYTES,
        "upload": UPLOAD_BYTES,
    }


def test_what_cannot_fit_is_refused_with_what_to_change(tmp_path: Path) -> None:
    """The error names the unit, what takes the memory, and the settings that change it."""
    footer = footer_of(windows_file(tmp_path / "a.parquet", 1000, 1000))
    units = cut_units(replace(footer, row_group_rows=(10**6,)), unit_bytes=MIB, shape=WindowShape())
    projection = project_memory(
        [footer], units, FixedMemory(0, has_fallback=True), shape=WindowShape(), capped=True
    )
    check_memory(projection, RunSettings(memory_limit=projection.peak))
    with pytest.raises(NotEnoughMemory) as caught:
        check_memory(projection, RunSettings(memory_limit=10**9))
    message, hint = caught.value.args
    assert "a-00000.parquet" in message
    assert "954 MiB" in message
    assert "contexts that wait for the fallback" in message
    assert "--unit-size" in hint
    assert "lvm-batch pack" in hint
    assert "--memory-limit" in hint


def test_fewer_workers_are_proposed_where_they_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of this machine share its memory, or what its control group allows."""
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 1200 * MIB)
    footer = footer_of(windows_file(tmp_path / "a.parquet", 1000, 1000))
    units = cut_units(footer, unit_bytes=MIB, shape=WindowShape())
    projection = project_memory(
        [footer], units, FixedMemory(0, has_fallback=False), shape=WindowShape(), capped=False
    )
    assert memory_limit(RunSettings(workers=3)) == 400 * MIB
    with pytest.raises(NotEnoughMemory, match=r"400 MiB") as caught:
        check_memory(projection, RunSettings(workers=3))
    assert "--workers 2" in caught.value.args[1]
    check_memory(projection, RunSettings(workers=3, scheduler="tcp://elsewhere:1"))


def test_plan_shows_and_run_refuses(lvm_batch: Callable[..., Result], tmp_path: Path, models: Path) -> None:
    """Plan shows the peak and the error of a run; run raises it, exits with 2 and writes nothing."""
    path = windows_file(tmp_path / "a.parquet", 100, 100)
    job = (path, "--output", tmp_path / "out", "--model", models / "amn.pt", "--memory-limit", "100MiB")
    planned = lvm_batch("plan", *job)
    assert planned.code == 0
    memory = planned.values["memory"]
    assert memory["peak"] == sum(memory["parts"].values()) > memory["limit"] == 100 * MIB
    refused = lvm_batch("run", *job)
    assert (refused.code, refused.values["error"]["kind"]) == (2, "memory")
    assert refused.values["error"]["message"] == memory["refusal"]["message"]
    assert not (tmp_path / "out").exists()


def test_without_a_unit_nothing_is_refused(tmp_path: Path) -> None:
    """A run over a time range without files needs no memory."""
    nothing = project_memory([], [], FixedMemory(0, has_fallback=True), shape=WindowShape(), capped=False)
    check_memory(nothing, RunSettings(memory_limit=1))


def test_a_worker_may_use_what_the_plan_says(
    lvm_batch: Callable[..., Result], tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit that the check uses is the one that Dask enforces, whatever the number of workers."""
    seen: list[int] = []

    def looking(client: Client) -> int:
        seen.extend(worker["memory_limit"] for worker in client.scheduler_info()["workers"].values())
        return n_slots(client)

    n_slots = running.n_slots
    monkeypatch.setattr(running, "n_slots", looking)
    monkeypatch.setattr(report_writer, "write_report", lambda *_, **__: None)
    job = (windows_file(tmp_path / "a.parquet", 20, 20), "--output", tmp_path / "out", "--workers", 1)
    options = (*job, "--model", models / "amn.pt")
    limit = lvm_batch("plan", *options).values["memory"]["limit"]
    assert lvm_batch("run", *options).code == 0
    assert seen == [limit]


def test_a_clusters_table_sets_the_memory(tmp_path: Path) -> None:
    """A SLURM job shares its memory among its processes, and a pod has its limit; the error names both."""
    pytest.importorskip("dask_jobqueue")
    slurm = {"cores": 4, "memory": "1GiB", "processes": 4}
    kubernetes = {"image": "x", "resources": {"limits": {"memory": "256Mi"}}}
    footer = footer_of(windows_file(tmp_path / "a.parquet", 1000, 1000))
    units = cut_units(footer, unit_bytes=MIB, shape=WindowShape())
    projection = project_memory(
        [footer], units, FixedMemory(0, has_fallback=False), shape=WindowShape(), capped=False
    )
    for name, table in (("slurm", slurm), ("kubernetes", kubernetes)):
        settings = RunSettings.model_validate({"cluster": name, "workers": 1, name: table})
        with pytest.raises(NotEnoughMemory, match="may use only 256 MiB") as caught:
            check_memory(projection, settings)
        assert f"[{name}]" in caught.value.args[1]
        assert "--workers" not in caught.value.args[1]
    check_memory(projection, RunSettings(cluster="slurm", workers=1, slurm=slurm | {"processes": 1}))
    check_memory(projection, RunSettings(cluster="kubernetes", workers=1, kubernetes={"image": "x"}))
