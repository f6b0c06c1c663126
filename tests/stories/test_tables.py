"""Outputs registered in Delta Lake and Iceberg tables: after any history, each row is there exactly once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from support.datasets import windows, write_windows
from support.kills import N_VERSIONS, UNIT_ROWS, UNITS, World
from support.kills import NIGHTS as ALL_NIGHTS
from support.place import Place
from support.shown import blocks_of, run_blocks

from lvm_batch.io import read_predictions
from lvm_batch.io.output.commit import OutputFolder

if TYPE_CHECKING:
    from collections.abc import Callable

deltalake = pytest.importorskip("deltalake")
pyiceberg_catalog = pytest.importorskip("pyiceberg.catalog")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # pyiceberg leaves SQLite to the garbage collector
]

TABLES = ("--register", "delta", "--register", "iceberg:local.ns.rows")
DOCS = Path(__file__).parents[2] / "docs/tables.md"
NIGHTS = ("2026-11-20", "2026-11-21", "2026-11-22")


def write_night(data: Path, night: str, *, n_rows: int = 20, shift: int = 0, **columns: Any) -> Path:  # noqa: ANN401
    """Write a night's file of row groups of ten, with a column of keys."""
    contexts, targets = windows()
    first = 20 * NIGHTS.index(night)
    rows = slice(first + shift, first + shift + n_rows)
    keys = {"key": np.arange(first, first + n_rows), **columns}
    return write_windows(
        data / f"date={night}/a.parquet", contexts[rows], targets[rows], row_group_rows=10, columns=keys
    )


@pytest.fixture(autouse=True)
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that is one SQLite file, configured as pyiceberg's users do."""
    (tmp_path / "warehouse").mkdir()
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__WAREHOUSE", f"file://{tmp_path}/warehouse")
    configure_anew(monkeypatch)


def configure_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pyiceberg read its configuration, which it does once a process."""
    monkeypatch.setattr(pyiceberg_catalog, "_ENV_CONFIG", pyiceberg_catalog.Config())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A dataset of two nights."""
    for night in NIGHTS[:2]:
        write_night(tmp_path / "data", night)
    return tmp_path / "data"


@pytest.fixture
def run_job(predict: Callable[..., Any], data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run over the whole dataset, one row group a unit, and register in both tables unless told otherwise."""

    def call(*options: object, tables: tuple[str, ...] = TABLES) -> Any:  # noqa: ANN401
        return predict(data, "--output", tmp_path / "out", "--unit-size", "1", *tables, *options)

    return call


def iceberg() -> Any:  # noqa: ANN401 - pyiceberg's table
    """The Iceberg table, as a reader opens it."""
    return pyiceberg_catalog.load_catalog("local").load_table("ns.rows")


def rows_of(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of both tables, through their own libraries, and those of the output; sorted by key."""
    names = ["date", "key", "prediction", "cosine", "route", "status", "escalation_reasons"]
    found = {
        "delta": deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table(),
        "iceberg": iceberg().scan().to_arrow(),
        "output": read_predictions(tmp_path / "out").collect().to_arrow(),
    }
    return {
        name: sorted(table.select(names).to_pylist(), key=lambda row: row["key"])
        for name, table in found.items()
    }


def assert_each_row_once(tmp_path: Path, n_rows: int) -> None:
    """Both tables hold exactly the rows of the output."""
    rows = rows_of(tmp_path)
    assert [row["key"] for row in rows["output"]] == list(range(n_rows))
    assert rows["delta"] == rows["output"]
    assert rows["iceberg"] == rows["output"]


def versions(tmp_path: Path) -> tuple[int, int]:
    """How many commits each table has."""
    return deltalake.DeltaTable(tmp_path / "out").version() + 1, len(iceberg().snapshots())


def test_a_run_registers_its_files_and_a_rerun_changes_nothing(
    run_job: Callable[..., Any], tmp_path: Path
) -> None:
    """One commit a job: rows and values are those of the output, and a second run commits nothing."""
    first = run_job()
    assert first.code == 0
    assert [(each["files"], each["rows"], each["added"]) for each in first.values["registered"]] == [
        (4, 40, 4)
    ] * 2
    assert_each_row_once(tmp_path, 40)
    again = run_job()
    assert [each["added"] for each in again.values["registered"]] == [0, 0]
    assert versions(tmp_path) == (1, 1)
    history = deltalake.DeltaTable(tmp_path / "out").history()[0]
    assert (
        history["lvm_batch.job_id"]
        == iceberg().current_snapshot().summary["lvm-batch.job-id"]
        == first.values["job_id"]
    )


def test_an_output_can_be_registered_later(run_job: Callable[..., Any], tmp_path: Path) -> None:
    """`--register` is no part of the job: the same command with it computes nothing and registers all."""
    run_job(tables=())
    later = run_job()
    assert (later.code, later.values["units_computed"]) == (0, 0)
    assert_each_row_once(tmp_path, 40)


def test_a_grown_dataset_is_one_more_commit(run_job: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    """Files that are registered stay as they are; new ones come in together, also with a new column."""
    run_job()
    write_night(data, NIGHTS[2], note=[f"n{number}" for number in range(20)])
    grown = run_job()
    assert [(each["added"], each["removed"]) for each in grown.values["registered"]] == [(2, 0)] * 2
    assert_each_row_once(tmp_path, 60)
    assert versions(tmp_path)[1] == 2
    notes = iceberg().scan().to_arrow()["note"].to_pylist()
    assert sorted(notes, key=str) == sorted([*[None] * 40, *(f"n{number}" for number in range(20))], key=str)
    delta = deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table()["note"].to_pylist()
    assert sorted(delta, key=str) == sorted(notes, key=str)


@pytest.mark.parametrize("n_rows", [20, 30, 10])
def test_files_that_are_predicted_again_replace_their_entries(
    n_rows: int, run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """A changed input's new predictions take the place of the old ones, also if it has more or fewer units now."""
    run_job()
    write_night(data, NIGHTS[1], n_rows=n_rows, shift=5)
    assert run_job("--reprocess", "failed").code == 0
    assert_each_row_once(tmp_path, 20 + n_rows)


_KILLED = """
import os, signal, sys
from lvm_batch.io.tables import delta, iceberg
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.prediction.results import registration

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def call(*arguments, **options):
        function(*arguments, **options)
        kill()
    return call

match sys.argv.pop(1):
    case "before any commit":
        registration.register = kill
    case "after the Delta commit":
        delta.DeltaOutput.commit = after(delta.DeltaOutput.commit)
    case "before the catalog knows":
        from pyiceberg.catalog.sql import SqlCatalog
        SqlCatalog.commit_table = kill
    case "after both commits":
        iceberg.IcebergRegister.commit = after(iceberg.IcebergRegister.commit)
if __name__ == "__main__":
    sys.exit(main())
"""


_MOMENTS = ("before any commit", "after the Delta commit", "before the catalog knows", "after both commits")


@pytest.mark.parametrize(
    ("moment", "grown"),
    # The two moments between both commits in every run of the tests, the others with the long ones.
    [
        pytest.param(
            moment, grown, marks=[] if (number, grown) in {(1, False), (2, True)} else [pytest.mark.soak]
        )
        for number, moment in enumerate(_MOMENTS)
        for grown in (False, True)
    ],
)
def test_a_run_killed_while_it_registers_is_completed_by_the_same_command(
    moment: str,
    grown: bool,  # noqa: FBT001 - a parameter of the test
    run_job: Callable[..., Any],
    data: Path,
    models: Path,
    scheduler: str,
    tmp_path: Path,
) -> None:
    """`_SUCCESS` is there, the run dies by SIGKILL; the rerun predicts nothing, and no row is missing or doubled."""
    run_job(tables=TABLES if grown else ())
    if grown:
        write_night(data, NIGHTS[2])
    (tmp_path / "killed.py").write_text(_KILLED)
    options = [
        "--model",
        str(models / "amn.pt"),
        "--fallback",
        str(models / "gru.pt"),
        "--scheduler",
        scheduler,
    ]
    command = [str(tmp_path / "killed.py"), moment, "run", str(data), "--output", str(tmp_path / "out")]
    ended = subprocess.run(
        [sys.executable, *command, "--unit-size", "1", *options, *TABLES], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (tmp_path / "out/_SUCCESS").exists()
    rerun = run_job()
    assert (rerun.code, rerun.values["units_computed"]) == (0, 0)
    assert_each_row_once(tmp_path, 60 if grown else 40)


class TableWorld(World):
    """A dataset that changes and runs that are killed, over an output that is registered in both tables."""

    def check_rows(self, *, must_read: bool) -> None:
        """After a run that ended well, both tables hold the rows of the output, each once."""
        if must_read and self.endings and self.endings[-1][1] == 0:
            self.check_tables()

    def check_tables(self) -> None:
        """Compare the keys of the tables with those of the output."""
        keys = sorted(read_predictions(self.output).select("key").collect()["key"].to_list())
        delta = deltalake.DeltaTable(self.output).to_pyarrow_table(columns=["key"])
        assert sorted(delta["key"].to_pylist()) == keys
        assert sorted(iceberg().scan(selected_fields=("key",)).to_arrow()["key"].to_pylist()) == keys


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_random_kills_leave_each_row_in_the_tables_once(seed: int, models: Path, tmp_path: Path) -> None:
    """Ten rounds: nights come, change and are predicted again, and any process of a run dies at any moment."""
    keys = {
        (night, version): dict.fromkeys(range(first, first + UNITS[version] * UNIT_ROWS), np.zeros(0))
        for number, night in enumerate(ALL_NIGHTS)
        for version in range(N_VERSIONS)
        for first in [(number * N_VERSIONS + version) * UNIT_ROWS * max(UNITS)]
    }
    options = ("--unit-size", "180KiB", "--workers", "2", "--model", str(models / "amn.pt"), *TABLES)
    world = TableWorld(tmp_path, options, keys, seed, str(tmp_path / "out"))
    for _ in range(10):
        world.round()
    world.finish()
    world.check_tables()


def test_the_table_of_another_output_is_left_alone(
    run_job: Callable[..., Any], predict: Callable[..., Any], tmp_path: Path
) -> None:
    """Outputs may share an Iceberg table: each adds its own files, and replaces none of the other's."""
    run_job()
    write_night(tmp_path / "other", NIGHTS[2])
    options = ("--output", tmp_path / "out2", *TABLES[2:])
    assert predict(tmp_path / "other", *options).values["registered"][0]["added"] == 1
    assert run_job().values["registered"][1]["added"] == 0
    keys = sorted(iceberg().scan().to_arrow()["key"].to_pylist())
    assert keys == list(range(60))


def compact(tmp_path: Path) -> None:
    """Rewrite the rows of both tables into other files, as their users may."""
    deltalake.DeltaTable(tmp_path / "out").optimize.compact()
    table = iceberg()
    table.overwrite(table.scan().to_arrow().select([field.name for field in table.schema().fields]))


def assert_no_row_came_in(tmp_path: Path) -> None:
    """Both tables have the rows that they had."""
    assert deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == 40
    assert iceberg().scan().to_arrow().num_rows == 40


def test_a_table_that_was_compacted_takes_no_row_twice(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """If rows of the output are in files that no run has written, a growth is refused before work."""
    run_job()
    compact(tmp_path)
    write_night(data, NIGHTS[2])
    refused = run_job()
    assert refused.code == 2
    assert all("was compacted" in each["message"] for each in refused.values["error"]["problems"])
    assert_no_row_came_in(tmp_path)


def test_a_table_that_is_compacted_during_a_run_leaves_the_output_complete(
    run_job: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with 1 and says what to do; the output has its new rows, the tables have not."""
    run_job()
    write_night(data, NIGHTS[2])
    mark = OutputFolder.mark_success

    def compact_first(folder: OutputFolder, success: Any) -> None:  # noqa: ANN401
        if success is not None:
            compact(tmp_path)
        mark(folder, success)

    monkeypatch.setattr(OutputFolder, "mark_success", compact_first)
    refused = run_job()
    assert refused.code == 1
    assert refused.values["error"]["kind"] == "not_registered"
    assert "was compacted" in refused.values["error"]["message"]
    assert refused.values["registered"] == []
    assert read_predictions(tmp_path / "out").collect().height == 60
    assert_no_row_came_in(tmp_path)


def test_what_a_table_has_no_type_for_is_refused_before_work(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """Every column is named with its type and a way out, for both tables together, and nothing is written."""
    write_night(
        data,
        NIGHTS[2],
        **{
            "big": pa.array([2**64 - 1] * 20, pa.uint64()),
            "spent": pa.array([1] * 20, pa.duration("us")),
            "two words": ["x"] * 20,
        },
    )
    refused = run_job()
    assert refused.code == 2
    told = [problem["message"] for problem in refused.values["error"]["problems"]]
    assert sum("`big` is uint64" in text for text in told) == 2
    assert sum("`spent` is duration[us]" in text for text in told) == 2
    assert sum("`two words` has a character" in text for text in told) == 1
    assert all(
        "--drop" in each["hint"] or "--rename" in each["hint"] for each in refused.values["error"]["problems"]
    )
    assert not (tmp_path / "out").exists()
    allowed = run_job("--drop", "big", "--drop", "spent", "--rename", "two words=two_words")
    assert allowed.code == 0
    assert_each_row_once(tmp_path, 60)


def test_predictions_of_float16_are_refused_with_a_way_out(run_job: Callable[..., Any]) -> None:
    """Neither format has numbers of 16 bits."""
    refused = run_job("--output-dtype", "float16")
    assert refused.code == 2
    assert all("--output-dtype float32" in each["hint"] for each in refused.values["error"]["problems"])


def test_a_catalog_without_a_place_for_the_table_is_refused_before_work(
    run_job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs a warehouse, or a namespace that has a location."""
    monkeypatch.delenv("PYICEBERG_CATALOG__LOCAL__WAREHOUSE")
    configure_anew(monkeypatch)
    refused = run_job()
    assert refused.code == 2
    told = refused.values["error"]
    assert "no place for the metadata" in told["message"]
    assert "PYICEBERG_CATALOG__LOCAL__WAREHOUSE" in told["hint"]
    assert not (tmp_path / "out").exists()
    place = {"location": f"file://{tmp_path}/elsewhere"}
    pyiceberg_catalog.load_catalog("local").create_namespace("ns", place)
    assert run_job().code == 0
    assert_each_row_once(tmp_path, 40)


def test_a_table_with_other_columns_is_refused_before_work(
    run_job: Callable[..., Any], data: Path, tmp_path: Path
) -> None:
    """A column of another type than the table has is told before anything is predicted."""
    run_job()
    write_night(data, NIGHTS[2])
    table = pa.parquet.read_table(data / f"date={NIGHTS[2]}/a.parquet")
    column = table["key"].cast(pa.string())
    pa.parquet.write_table(table.set_column(0, "key", column), data / f"date={NIGHTS[2]}/a.parquet")
    before = json.loads((tmp_path / "out/_SUCCESS").read_text())
    refused = run_job()
    assert refused.code == 2
    assert json.loads((tmp_path / "out/_SUCCESS").read_text()) == before


@pytest.mark.parametrize(
    "name", ["parquet", "iceberg:", "iceberg:rows", "iceberg:local.rows", "delta:elsewhere"]
)
def test_what_is_no_table_is_refused_by_the_name(name: str, run_job: Callable[..., Any]) -> None:
    """The error shows what a name looks like."""
    refused = run_job("--register", name)
    assert refused.code == 2
    assert "iceberg:prod.nightly.predictions" in refused.values["error"]["hint"]


def test_a_catalog_that_is_away_leaves_the_output_complete(
    run_job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that cannot be opened is told before work, with pyiceberg's own words and variable."""
    monkeypatch.delenv("PYICEBERG_CATALOG__LOCAL__URI")
    configure_anew(monkeypatch)
    refused = run_job()
    assert refused.code == 2
    assert "PYICEBERG_CATALOG__LOCAL__URI" in refused.values["error"]["hint"]
    assert not (tmp_path / "out").exists()


def test_a_commit_that_fails_is_made_by_the_same_command(
    run_job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the log cannot be written, the output is complete, the exit code says try again, and a rerun registers."""
    log, mark = tmp_path / "out/_delta_log", OutputFolder.mark_success

    def be_in_the_way(folder: OutputFolder, success: Any) -> None:  # noqa: ANN401
        mark(folder, success)
        if success is not None:
            log.write_text("no folder")

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "mark_success", be_in_the_way)
        failed = run_job()
    log.unlink()
    assert failed.code == 75
    assert "is complete and has _SUCCESS" in failed.values["error"]["message"]
    assert [each["table"] for each in failed.values["registered"]] == ["iceberg:local.ns.rows"]
    assert run_job().code == 0
    assert_each_row_once(tmp_path, 40)


@pytest.mark.usefixtures("data")
def test_the_examples_of_the_documentation_read_the_tables(
    models: Path, bank: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are printed, commands register the output, and each of the examples gives all rows."""
    for name, value in (
        ("TYPE", "sql"),
        ("URI", f"sqlite:///{tmp_path}/prod.db"),
        ("WAREHOUSE", f"file://{tmp_path}"),
    ):
        monkeypatch.setenv(f"PYICEBERG_CATALOG__PROD__{name}", value)
    configure_anew(monkeypatch)
    place = Place(tmp_path, models, bank)
    place.registry()
    blocks = [block for block in blocks_of(DOCS.read_text(encoding="utf-8")) if not block.not_run]
    examples = [block for block in blocks if block.language == "python"]
    with place.used(scheduler):
        run_blocks([block for block in blocks if block not in examples])
        for example in examples:
            names: dict[str, Any] = {}
            exec(example.text, names)  # noqa: S102 - our own page
            found = names["frame"].collect().to_arrow() if "frame" in names else names["table"]
            assert sorted(found["key"].to_pylist()) == list(range(40))
    assert len(examples) == 3


def test_names_with_odd_characters_are_registered_or_refused(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """Paths are escaped as each format wants it; pyiceberg cannot read `?` and `#`, which is told before work."""
    contexts, _ = windows()
    write_windows(tmp_path / "in/lane=a b%20é/x+&.parquet", contexts[:3], columns={"key": np.arange(3)})
    assert predict(tmp_path / "in", "--output", tmp_path / "out", *TABLES).code == 0
    lanes = [
        table["lane"].to_pylist()
        for table in (iceberg().scan().to_arrow(), deltalake.DeltaTable(tmp_path / "out").to_pyarrow_table())
    ]
    assert lanes == [["a b é"] * 3] * 2
    (tmp_path / "in/lane=").mkdir()
    (tmp_path / "in/lane=a b%20é/x+&.parquet").rename(tmp_path / "in/lane=/y.parquet")
    empty = predict(tmp_path / "in", "--output", tmp_path / "out3", "--register", "delta")
    assert (empty.code, "takes for null" in empty.values["error"]["message"]) == (2, True)
    write_windows(tmp_path / "in2/x#y.parquet", contexts[:3], columns={"key": np.arange(3)})
    options = ("--output", tmp_path / "out2", "--register", "delta")
    refused = predict(tmp_path / "in2", *options, "--register", "iceberg:local.ns.other")
    assert (refused.code, "`?` or `#`" in refused.values["error"]["message"]) == (2, True)
    assert predict(tmp_path / "in2", *options).code == 0
    assert deltalake.DeltaTable(tmp_path / "out2").to_pyarrow_table().num_rows == 3
