"""A few rows of an output are found where they are, without reading the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.documents import record_of
from support.outputs import DIM, REASONS, begin, block

from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import OpenParquet
from lvm_batch.io.output.committed import committed
from lvm_batch.io.output.row_search import FoundRow, RowQuery, find_rows, n_matching
from lvm_batch.io.output.writer import PredictionWriter
from lvm_batch.io.schema import ROUTES, STATUSES

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.io.output.commit import OutputFolder

N_FILES, ROWS_A_FILE, FIRST_ROW = 3, 24, 100
COLUMNS = ("key", "cosine", "route", "status")


def names() -> list[str]:
    """The units, in the order of their inputs."""
    return [f"date=2026-11-{29 - number}/a-00000.parquet" for number in range(N_FILES)]


def write(folder: OutputFolder, name: str, seed: int) -> list[dict[str, Any]]:
    """Commit a unit of random rows, some without a cosine, in row groups of six; return the rows."""
    rng = np.random.default_rng(seed)
    carried = pa.table({"key": np.arange(ROWS_A_FILE) + seed * ROWS_A_FILE})
    cosine = rng.integers(-9, 9, ROWS_A_FILE).astype(np.float32) / 10
    cosine[rng.random(ROWS_A_FILE) < 0.2] = np.nan
    # The first file has no row of the fallback.
    route = rng.integers(0, 2 if seed else 1, ROWS_A_FILE).astype(np.int8)
    status = rng.integers(0, 2, ROWS_A_FILE).astype(np.int8)
    rows = replace(block(carried), cosine=cosine, route=route, status=status)
    with folder.stage() as staged:
        with PredictionWriter(staged, carried.schema, dim=DIM, dtype="float32", reasons=REASONS) as writer:
            for first in range(0, ROWS_A_FILE, 6):
                part = slice(first, first + 6)
                writer.write(
                    replace(
                        block(carried.slice(first, 6)),
                        cosine=cosine[part],
                        route=route[part],
                        status=status[part],
                    )
                )
            writer.close({})
        folder.commit(
            staged,
            record_of(
                output=name,
                input=f"/in/{name.rpartition('-')[0]}.parquet",
                first_row=FIRST_ROW,
                rows_in=ROWS_A_FILE,
                rows_out=ROWS_A_FILE,
                rows_by_route={each: int((route == code).sum()) for code, each in enumerate(ROUTES)},
                rows_by_status={each: int((status == code).sum()) for code, each in enumerate(STATUSES)},
            ),
        )
    known = [None if np.isnan(value) else float(value) for value in rows.cosine]
    return [
        {"key": key, "cosine": value, "route": ROUTES[code], "status": STATUSES[state]}
        for key, value, code, state in zip(carried["key"].to_pylist(), known, route, status, strict=True)
    ]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """An output, and its rows in order."""
    path = str(tmp_path_factory.mktemp("output"))
    folder = begin(path, names())
    return path, [row for seed, name in enumerate(names()) for row in write(folder, name, seed)]


def values(rows: list[FoundRow]) -> list[dict[str, Any]]:
    """The values that tests are about."""
    return [{name: row.values[name].as_py() for name in COLUMNS} for row in rows]


QUERIES = st.builds(
    RowQuery,
    st.integers(1, 80),
    route=st.sampled_from([None, "amn", "gru"]),
    status=st.sampled_from([None, "ok", "short_context", "bad_input"]),
    worst=st.booleans(),
)


@settings(max_examples=60)
@given(QUERIES)
def test_rows_are_those_of_a_search_through_everything(
    output: tuple[str, list[dict[str, Any]]], query: RowQuery
) -> None:
    """The first rows, or the lowest cosines in order, of those that have the wanted values; others do not count."""
    path, rows = output
    wanted = [row for row in rows if all(row[name] == value for name, value in query.wanted.items())]
    found = committed(path, require_success=False)
    if len(query.wanted) < 2:
        assert n_matching(found, query) == len(wanted)
    if query.worst:
        wanted = sorted((row for row in wanted if row["cosine"] is not None), key=lambda row: row["cosine"])
    expected = [row | {"cosine": pytest.approx(row["cosine"])} for row in wanted[: query.n_rows]]
    assert values(find_rows(found, query)) == expected


def test_a_row_tells_where_it_was_read(output: tuple[str, list[dict[str, Any]]]) -> None:
    """Its input, its number there, and the columns of the folders."""
    path, _ = output
    row = find_rows(committed(path, require_success=False), RowQuery(50))[ROWS_A_FILE + 7]
    assert (row.input, row.row) == ("/in/date=2026-11-28/a.parquet", FIRST_ROW + 7)
    assert row.values["date"].as_py() == "2026-11-28"
    assert len(row.values["prediction"]) == DIM


def test_no_more_is_read_than_is_shown(
    output: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows take one row group of one file; a route takes the files that have rows of it."""
    path, _ = output
    read: list[tuple[str, list[int]]] = []
    tables = OpenParquet.tables

    def watched(self: OpenParquet, *, row_groups: Any, **options: Any) -> Any:  # noqa: ANN401
        read.append((self.path.removeprefix(f"{path}/"), [*row_groups]))
        return tables(self, row_groups=row_groups, **options)

    monkeypatch.setattr(OpenParquet, "tables", watched)
    found = committed(path, require_success=False)
    find_rows(found, RowQuery(3))
    assert read == [(names()[0], [0])]
    read.clear()
    find_rows(found, RowQuery(3, route="gru"))
    assert names()[0] not in {name for name, _ in read}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """The error says which file it is, and what judges it."""
    folder = begin(str(tmp_path), names())
    write(folder, names()[0], 0)
    path = tmp_path / names()[0]
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UnreadableFile) as error:
        find_rows(committed(str(tmp_path), require_success=False), RowQuery(1))
    assert names()[0] in error.value.args[0]
    assert "verify" in error.value.args[1]


def test_an_output_anywhere_is_searched(address: str) -> None:
    """In a folder and on an object store, by its records and its files alone."""
    folder = begin(address, names())
    rows = [row for seed, name in enumerate(names()[:2]) for row in write(folder, name, seed)]
    found = find_rows(committed(address, require_success=False), RowQuery(100))
    assert [row["key"] for row in values(found)] == [row["key"] for row in rows]
