"""Later versions read, report and continue what release 0.1.0 wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.released import ARGUMENTS, copy_released

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.history.history import read_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

    Command = Callable[..., Result]

pytestmark = pytest.mark.slow


AS_RELEASED = ("--own-context", "keep")
"""What the release did without being asked."""


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The released job, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return copy_released(tmp_path)


def released_values(released: Path, name: str) -> dict[str, Any]:
    """The release's own JSON output of a command about this output."""
    values: dict[str, Any] = json.loads((released / f"{name}.json").read_text())
    return values


def without_additions(values: Any, released: Any) -> Any:  # noqa: ANN401 - of any JSON
    """Leave out the keys that the release did not print, at any depth; later versions may add some."""
    if not isinstance(values, dict) or not isinstance(released, dict):
        return values
    return {
        name: without_additions(value, released[name]) for name, value in values.items() if name in released
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The contents of every file that describes the output, except the summary of the last run."""
    passed_over = {"summary.json", "lock", "report.html"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in passed_over
    }


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_released_output_has_the_figures_that_its_release_printed(
    released: Path, lvm_batch: Command, command: str
) -> None:
    """Every figure is the same, in the same order, to the last digit; there may be more."""
    values, printed = lvm_batch(command, "out").done(), released_values(released, command)
    assert json.dumps(without_additions(values, printed)) == json.dumps(printed)


def test_a_released_output_is_read(released: Path) -> None:
    """Readers return all rows, in the order of the inputs."""
    names = [
        f"date=2026-11-{day}/a-0000{n}.parquet" for day, units in ((20, 3), (21, 2)) for n in range(units)
    ]
    ids = [row for name in names for row in pq.ParquetFile(released / "out" / name).read()["id"].to_pylist()]
    assert read_predictions("out").collect()["id"].to_list() == ids == [*range(12), *range(9)]
    table = predictions_dataset("out").to_table()
    assert (table["id"].to_pylist(), table["status"].to_pylist().count("bad_input")) == (ids, 1)
    assert pa.types.is_fixed_size_list(table.schema.field("prediction").type)


def test_a_released_output_is_reported(released: Path, lvm_batch: Command) -> None:
    """The report is drawn from its documents and events, with all its rows."""
    values = lvm_batch("report", "out").done()
    assert (values["state"], values["units_done"], values["rows_done"], values["rows_looked_at"]) == (
        "done",
        5,
        21,
        21,
    )
    page = (released / "out/_lvm_batch/report.html").read_text()
    assert '>0.0654</dd><dd class="detail">over 20 rows' in page
    assert "Settings that differ from the defaults" in page


def test_a_released_job_is_done_for_its_own_command(released: Path, lvm_batch: Command) -> None:
    """The same command finds nothing to do, prints at least what the release printed, and changes no document."""
    before = contents(released / "out")
    summary = json.loads((released / "out/_lvm_batch/summary.json").read_text())
    refusal = lvm_batch("run", *ARGUMENTS).values["error"]
    assert "own_context was keep, is drop" in refusal["message"]  # confidence means something else since then
    values = lvm_batch("run", *ARGUMENTS, *AS_RELEASED).done()
    changed = {
        "units_computed": 0,
        "rows_computed": 0,
        "wall_s": values["wall_s"],
        "settings": values["settings"],
    }
    assert json.dumps(without_additions(values, summary | changed)) == json.dumps(summary | changed)
    assert values["settings"].items() >= summary["settings"].items()
    assert contents(released / "out") == before


def test_a_released_job_continues(released: Path, lvm_batch: Command) -> None:
    """Missing units are computed as the release did, and the history lists the new run beside the released one."""
    unit = released / "out/date=2026-11-21/a-00001.parquet"
    before = pq.read_table(unit)
    unit.unlink()
    assert lvm_batch("run", *ARGUMENTS, *AS_RELEASED).done()["units_computed"] == 1
    assert pq.read_table(unit)["id"] == before["id"]
    assert pq.read_table(unit)["status"] == before["status"]
    assert lvm_batch("verify", "out").done()["faults"] == []
    assert len(list(read_history("history"))) == 2


def test_a_released_history_is_read(released: Path, lvm_batch: Command) -> None:
    """The released run keeps its values, and rules are evaluated over it."""
    ((_, runs),) = read_history("history")
    assert isinstance(runs, list)
    (run,) = runs
    assert (run.version, run.state, run.units, run.rows_in) == ("0.1.0", "done", 2, 9)
    assert (run.rows_by_route, run.cosine.n, run.cosine_ood.n) == ({"amn": 4, "gru": 5}, 9, 4)
    assert (run.primary.architecture, run.thresholds.min_confidence) == ("amn", 0.3)
    values = lvm_batch("monitor", "--history", "history", "--since", "36500d").values
    assert (values["runs"], values["rows"]) == (1, 9)
