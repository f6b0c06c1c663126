"""``lvm-batch show``: rows for people and as JSON, at any width."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.outputs import begin, write_output, write_unit

from lvm_batch.io.output.row_search import FoundRow, RowQuery
from lvm_batch.io.schema import OUTPUT_COLUMNS
from lvm_batch.jobs.prediction.results import shown_rows
from lvm_batch.jobs.prediction.results.shown_rows import ShownRow, ShownRows, show_rows
from lvm_batch.jobs.prediction.results.shown_table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = pa.table({"key": [0, 1, 2], "text": ["a\nb", "x" * 300, "\x1b[31mred"]})


def shown(rows: list[dict[str, Any]]) -> ShownRows:
    """Rows with these columns, beside those that every row has."""
    fixed = {"status": "ok", "status_detail": None, "route": "amn"}
    shown = [ShownRow("/in/a.parquet", number, row | fixed) for number, row in enumerate(rows)]
    counts = {"n_matching": len(rows), "n_committed": len(rows), "n_planned": len(rows)}
    return ShownRows("out", shown, RowQuery(10), **counts, has_predictions=True)


def lines(rows: ShownRows, width: int = 80) -> list[str]:
    """The lines that a terminal of this width shows."""
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(RowsTable(rows), soft_wrap=True)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ([102, -76, 0, 5], "102 -76 0 …"),
        ([102, -76], "102 -76"),
        ("81ff" * 48, "81ff81ff81ff…"),
        ("81", "81"),
    ],
)
def test_codes_and_signs_are_shown_as_they_are_stored(stored: object, told: str) -> None:
    """Codes of 8 bits are whole numbers, signs hexadecimal digits."""
    assert lines(shown([{"prediction": stored}]))[1].endswith(told)


def test_rows_are_shown_with_their_keys_and_figures(tmp_path: Path) -> None:
    """One row a line: a long text is cut, a prediction is its norm and its first values."""
    write_output(str(tmp_path), {"a-00000.parquet": KEYS})
    head, first, second, third, count, *_ = lines(show_rows(str(tmp_path), RowQuery(10)), width=130)
    assert head.split() == [
        "row", "key", "text", "cosine", "route", "confidence", "status", "prediction",
    ]  # fmt: skip
    assert first.split() == [
        "0",
        "0",
        "a",
        "b",
        "0.0000",
        "amn",
        "0.0000",
        "ok",
        *["|0.00|", "0.000", "0.000", "0.000", "…"],
    ]
    assert "xxx…" in second
    assert r"\x1b[31mred" in third
    assert count == "3 of 3 rows"


NAMES = st.text(min_size=1, max_size=30).filter(lambda name: name not in OUTPUT_COLUMNS)
CELLS = st.one_of(
    st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=60)
)


@given(
    st.dictionaries(NAMES, st.lists(CELLS, min_size=3, max_size=3), max_size=8),
    st.integers(40, 200),
)
def test_a_table_is_never_wider_than_the_terminal(columns: dict[str, list[Any]], width: int) -> None:
    """Whatever keys there are: what has no room is named below the table, and every row takes one line."""
    rows = [{name: cells[number] for name, cells in columns.items()} for number in range(3)]
    table = [*lines(shown(rows), width)]
    assert all(cell_len(line) <= width for line in table[:4])
    assert table[4] == "3 of 3 rows"


def test_what_has_no_room_is_named() -> None:
    """The last keys go first, then the prediction; numbers are never cut."""
    row = {f"number_{each}": 10**9 + each for each in range(6)} | {
        "cosine": 0.25,
        "prediction": [1.0, 0.0, 0.0],
    }
    head, cells, _, left_out = lines(shown([row]), width=50)
    assert head.split() == ["row", "number_0", "cosine", "route", "status", "prediction"][: len(head.split())]
    assert "1000000000" in cells
    assert left_out.startswith(
        "not shown for lack of space: number_1, number_2, number_3, number_4, number_5"
    )


def test_columns_of_the_job_without_values_are_left_out() -> None:
    """Without targets and a bank there is nothing to see there."""
    assert lines(shown([{"id": 1, "cosine": None, "confidence": None}]))[0].split() == [
        "row",
        "id",
        "route",
        "status",
    ]


def test_rows_of_several_files_name_them() -> None:
    """By their paths below the folder that they share."""
    rows = shown([{}, {}])
    several = replace(
        rows, rows=[replace(row, input=f"/in/x/{n}/a.parquet") for n, row in enumerate(rows.rows)]
    )
    assert [line.split()[0] for line in lines(several)[1:3]] == ["0/a.parquet", "1/a.parquet"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_matching": 7}, "1 of 7 rows"),
        ({"query": RowQuery(1, route="gru")}, "1 of 1 row with route gru"),
        (
            {"query": RowQuery(1, route="gru", status="ok"), "n_matching": None},
            "1 row with route gru and status ok",
        ),
        ({"query": RowQuery(1, worst=True), "n_matching": 9}, "the 1 row with the lowest cosine of 9 rows"),
        ({"rows": [], "query": RowQuery(1, worst=True)}, "none of these rows has a cosine"),
        ({"n_committed": 1, "n_planned": 1500}, "1 of 1,500 rows are committed so far"),
        ({"has_predictions": False}, "the job writes no predictions (--no-prediction)"),
    ],
)
def test_how_many_rows_there_are_is_said(changes: dict[str, Any], said: str) -> None:
    """Of those that were asked for, of those that are committed, and of those that will be."""
    assert any(line.startswith(said) for line in lines(replace(shown([{"id": 1}]), **changes)))


def test_an_unfinished_output_is_shown(tmp_path: Path, lvm_batch: Callable[..., Any]) -> None:
    """Only what is committed is read; a rerun or a running job changes nothing about that."""
    folder = begin(str(tmp_path), ["a-00000.parquet", "b-00000.parquet"], rows=6)
    assert lvm_batch("show", tmp_path).values["error"]["kind"] == "not_finished"
    write_unit(folder, "a-00000.parquet", KEYS)
    values = lvm_batch("show", tmp_path, "--rows", 2).done()
    assert (values["rows_committed"], values["rows_planned"], values["rows_matching"]) == (3, 6, 3)
    assert [row["key"] for row in values["rows"]] == [0, 1]


def test_json_has_every_column_and_where_the_row_was_read(
    tmp_path: Path, lvm_batch: Callable[..., Any]
) -> None:
    """A program gets the whole prediction and all figures."""
    write_output(str(tmp_path), {"a-00000.parquet": KEYS}, first_row=5)
    [row] = lvm_batch("show", tmp_path, "--worst", "--rows", 1, "--route", "gru").done()["rows"]
    assert (row["@file"], row["@row"], row["key"], row["route"]) == ("/in/a.parquet", 6, 1, "gru")
    assert (len(row["prediction"]), row["prediction"][0]) == (768, 1.0)


def test_an_output_without_predictions_is_shown(tmp_path: Path) -> None:
    """The other columns are there all the same."""
    job = {"format": 1, "inputs": {}, "settings": {"no_prediction": True}}
    folder = begin(str(tmp_path), ["a-00000.parquet"], identity=job)
    write_unit(folder, "a-00000.parquet", KEYS, dtype=None)
    found = show_rows(str(tmp_path), RowQuery(1))
    assert "prediction" not in found.rows[0].columns
    assert "the job writes no predictions (--no-prediction)" in lines(found)


def test_a_folder_without_a_job_is_refused(tmp_path: Path, lvm_batch: Callable[..., Any]) -> None:
    """The error says so."""
    result = lvm_batch("show", tmp_path)
    assert (result.code, "holds no job" in result.values["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (pa.scalar(float("nan")), None),
        (pa.scalar(b"\x00\xff"), "00ff"),
        (pa.scalar(Decimal("1.50")), "1.50"),
        (pa.scalar(datetime(2026, 11, 29, tzinfo=UTC)), "2026-11-29T00:00:00+00:00"),
        (pa.scalar(1, pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.scalar(2**62, pa.timestamp("s")), f"<value out of range: {2**62}>"),
        (pa.scalar(b"a\xff").cast(pa.large_binary()).cast(pa.large_string(), safe=False), "a\ufffd"),
        (pa.scalar([{"a": b"\x01"}]), [{"a": "01"}]),
        (pa.scalar("x").cast(pa.dictionary(pa.int8(), pa.string())), "x"),
        (pa.scalar(np.float32(0.5)), 0.5),
    ],
)
def test_every_value_has_a_json_form(value: pa.Scalar, plain: Any) -> None:  # noqa: ANN401
    """Also what Python has no form for."""
    row = shown_rows._shown(FoundRow("/in/a", 0, {"value": value}))
    assert row.columns == {"value": plain}
