"""Tests of bad rows of every kind, through the command, in both layouts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, vectors, windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 40
NAN, INF = float("nan"), float("inf")


def changed(row: np.ndarray, **at: float) -> list[float]:
    """A row with single values replaced: ``_5=nan``."""
    values = row.reshape(-1).tolist()
    for place, value in at.items():
        values[int(place[1:])] = value
    return values


def bad_contexts() -> tuple[list[Any], dict[int, tuple[str, str | None]]]:
    """Contexts of every kind, with the status and detail expected for each bad one."""
    rows: list[Any] = [row.reshape(-1).tolist() for row in windows()[0][:N_ROWS]]
    good = windows()[0]
    odd = {
        2: (changed(good[2], _7=NAN), "nan"),
        3: (changed(good[3], _3839=INF), "inf"),
        4: (changed(good[4], _0=-INF), "inf"),
        5: (changed(good[5], _0=-INF, _9=NAN), "nan"),
        6: (None, "null"),
        7: ([*rows[7][:9], None, *rows[7][10:]], "null"),
        8: ([0.0] * 3840, "zero_norm"),
        9: ([-0.0] * 3840, "zero_norm"),
        10: (rows[10][:-1], "wrong_length: 3839"),
        11: ([], "wrong_length: 0"),
        12: ([1.0], "wrong_length: 1"),
        13: ([*rows[13], 1.0], "wrong_length: 3841"),
        14: (changed(good[14], _1=3e38, _2=3e38), "inf"),
    }
    for row, (value, _) in odd.items():
        rows[row] = value
    rows[20] = rows[20][-768 * 2 :]
    expected = {row: ("bad_input", detail) for row, (_, detail) in odd.items()}
    return rows, expected | {20: ("ok", "padded: 2")}


def odd_columns() -> dict[str, pa.Array]:
    """Every optional column, with invalid values."""
    target = [row.tolist() for row in windows()[1][:N_ROWS]]
    target[0], target[1], target[15] = None, [NAN] * 768, [INF] + [0.0] * 767
    target[16], target[17], target[18] = [], [0.0] * 768, [1.0] * 767
    lane = ["chat", None, "", "x" * 100_000, "\0", "sci-fact", "SCI-FACT", " sci-fact", "\x1b[2J", "é"] * 4
    tokens = [10.0, None, -1.0, 1e300, NAN, INF, -INF, 384.0, 385.0, 0.5] * 4
    split = ["ood", None, "", "neither", "in_dist", "ood", "x" * 1000, "\n", "ood", "ood"] * 4
    return {
        "target": pa.array(target, pa.list_(pa.float32())),
        "lane": pa.array(lane),
        "context_tokens": pa.array(tokens),
        "split": pa.array(split),
    }


def reasons(lane: str | None, tokens: float | None) -> list[str]:
    """The reasons that follow from a row's own columns."""
    long = tokens is not None and tokens > 384
    return ["high_stakes_lane"] * (lane == "sci-fact") + ["long_context"] * long


def test_bad_windows_keep_their_place(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Each row keeps its place in the output, with a prediction or with the reason for its absence."""
    contexts, expected = bad_contexts()
    columns = odd_columns()
    table = pa.table({
        "key": pa.array(range(N_ROWS)), "context": pa.array(contexts, pa.list_(pa.float32())), **columns
    })  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=16)
    result = predict(tmp_path / "in.parquet", "--output", tmp_path / "out", "--unit-size", "250KiB")
    assert (result.code, result.values["error"]["kind"]) == (3, "gate")
    assert result.values["units"] > 1
    rows = read_rows(tmp_path / "out")
    assert [row["key"] for row in rows] == list(range(N_ROWS))
    for row in rows:
        status, detail = expected.get(row["key"], ("ok", None))
        assert (row["status"], row["status_detail"]) == (status, detail), row["key"]
        assert np.isnan(row["prediction"]).all() == (status == "bad_input")
        if status == "bad_input":
            assert (row["route"], row["cosine"], row["escalation_reasons"]) == (None, None, [])
        else:
            assert np.isclose(np.linalg.norm(row["prediction"]), 1, atol=1e-5)
            assert row["escalation_reasons"] == reasons(row["lane"], row["context_tokens"])
        no_target = row["key"] in {0, 1, 15, 16, 17, 18}
        assert (row["cosine"] is None) == (no_target or status == "bad_input")
    carried = pa.table({name: columns[name] for name in ("lane", "split")}).to_pylist()
    assert [{"lane": row["lane"], "split": row["split"]} for row in rows] == carried
    assert_summary(tmp_path / "out", result.values, expected)


def assert_summary(out: Path, values: dict[str, Any], expected: dict[int, tuple[str, str | None]]) -> None:
    """Check that the summary counts bad rows and gives the first ones, and that no success is reported."""
    bad = {row: detail for row, (status, detail) in expected.items() if status == "bad_input"}
    summary = json.loads((out / "_lvm_batch/summary.json").read_bytes())
    assert summary["bad_rows"] == values["bad_rows"]
    assert [(place["row"], place["detail"]) for place in summary["bad_rows"]] == sorted(bad.items())[:20]
    assert summary["rows_by_status"]["bad_input"] == len(bad)
    assert (summary["rows_in"], summary["rows_out"]) == (N_ROWS, N_ROWS)
    assert not (out / "_SUCCESS").exists()


def test_a_rate_of_bad_rows_is_a_gate(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Up to --max-bad-rows the job succeeds, above it exits with 3; checking the limit again computes nothing."""
    contexts = [row.reshape(-1).tolist() for row in windows()[0][:N_ROWS]]
    contexts[7] = contexts[8] = None
    pq.write_table(pa.table({"context": pa.array(contexts, pa.list_(pa.float32()))}), tmp_path / "in.parquet")
    ask = (tmp_path / "in.parquet", "--output", tmp_path / "out", "--max-bad-rows")
    for limit, code in ((0, 3), (0.049, 3), (0.05, 0), (1, 0), (0.01, 3)):
        result = predict(*ask, limit)
        assert (result.code, (tmp_path / "out/_SUCCESS").exists()) == (code, code == 0)
        assert len(read_rows(tmp_path / "out")) == N_ROWS
    assert "row 7 of" in result.values["error"]["message"]
    assert result.values["units_computed"] == 0


def test_the_first_twenty_bad_rows_are_listed(predict: Callable[..., Any], tmp_path: Path) -> None:
    """If all rows are bad, all are counted and the first twenty are listed, in the order of the files."""
    (tmp_path / "in").mkdir()
    column = pa.array([None] * 15, pa.list_(pa.float32()))
    for name in "ba":
        pq.write_table(pa.table({"context": column}), tmp_path / f"in/{name}.parquet")
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    places = [(bad["file"].rpartition("/")[2], bad["row"]) for bad in result.values["bad_rows"]]
    assert places == [("a.parquet", row) for row in range(15)] + [("b.parquet", row) for row in range(5)]
    assert result.values["rows_by_detail"] == {"null": 30}
    assert result.values["bad_row_rate"] == 1


def bad_sequence() -> tuple[pa.Table, dict[int, str]]:
    """One article of forty rows, some of them bad, and the expected result for each affected window."""
    rows: list[Any] = [row.tolist() for row in vectors()[:N_ROWS]]
    odd = {
        10: (changed(vectors()[10], _3=NAN), "nan"),
        16: (None, "null"),
        22: ([], "wrong_length: 0"),
        23: (rows[23][:-1], "wrong_length: 767"),
        30: (changed(vectors()[30], _767=-INF), "inf"),
    }
    for row, (value, _) in odd.items():
        rows[row] = value
    rows[35] = [0.0] * 768
    position = [float(row) for row in range(N_ROWS)]
    table = pa.table({
        "key": pa.array(range(N_ROWS)),
        "vector": pa.array(rows, pa.list_(pa.float32())),
        "article_id": pa.array(["a"] * N_ROWS),
        "position": pa.array(position),
        "tokens": pa.array([1.0, None, NAN, -5.0, 1e300, INF, -INF, 7.0] * 5),
        "lane": pa.array([None, "", "sci-fact", "x"] * 10),
    })  # fmt: skip
    expected = {}
    for row in range(4, N_ROWS):
        bad = next((at for at in range(row - 4, row + 1) if at in odd), None)
        if bad is not None:
            expected[row] = f"{odd[bad][1]}: position {position[bad]}"
    return table, expected


def test_bad_vectors_spoil_their_windows_and_no_others(predict: Callable[..., Any], tmp_path: Path) -> None:
    """A window with a bad vector reports its position; a row whose target is bad only lacks its cosine."""
    table, expected = bad_sequence()
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=9)
    for unit_size in ("1KiB", "64MiB"):
        result = predict(tmp_path / "in.parquet", "--output", tmp_path / unit_size, "--unit-size", unit_size)
        assert result.code == 3
        rows = read_rows(tmp_path / unit_size)
        assert [row["key"] for row in rows] == list(range(N_ROWS))
        for row in rows:
            key = row["key"]
            if key < 4:
                assert (row["status"], row["status_detail"]) == ("short_context", None)
            elif key in expected:
                assert (row["status"], row["status_detail"]) == ("bad_input", expected[key])
            else:
                assert (row["status"], row["status_detail"]) == ("ok", None)
                assert (row["cosine"] is None) == (key + 1 in {10, 16, 22, 23, 30, 35, N_ROWS})
            assert np.isnan(row["prediction"]).all() == (row["status"] != "ok")
        places = [(place["row"], place["detail"]) for place in result.values["bad_rows"]]
        assert places == sorted(expected.items())[:20]


def test_positions_may_repeat_or_be_missing_but_not_fall(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Null, NaN and repeated positions are accepted; a falling one is refused before work with its row."""
    table, _ = bad_sequence()
    table = table.set_column(1, "vector", pa.array(vectors()[:N_ROWS].tolist(), pa.list_(pa.float32())))
    at = table.schema.get_field_index("position")
    harmless = [0.0, 0.0, None, NAN, 1.0, INF, INF, *[INF] * (N_ROWS - 7)]
    (tmp_path / "in").mkdir()
    pq.write_table(table.set_column(at, "position", pa.array(harmless)), tmp_path / "in/good.parquet")
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert result.code == 0
    assert result.values["rows_by_status"] == {"ok": N_ROWS - 4, "short_context": 4, "bad_input": 0}
    falling = [*range(20), 3, *range(21, N_ROWS)]
    pq.write_table(table.set_column(at, "position", pa.array(falling)), tmp_path / "in/fall.parquet")
    result = predict(tmp_path / "in", "--output", tmp_path / "other")
    assert result.code == 2
    error = result.values["error"]
    assert "fall.parquet: article a is out of order: position 3 follows 19 at row 20" in error["message"]
    assert f"lvm-batch pack {tmp_path}/in --sort --output in-sorted" in error["hint"]
    assert not (tmp_path / "other").exists()


def test_articles_may_be_missing_or_invalid_text(predict: Callable[..., Any], tmp_path: Path) -> None:
    """A row without an article stands alone; an article id that is not valid UTF-8 is an id like any other."""
    raw = pa.array([b"\xff"] * 20 + [None] * 10 + [b""] * 10)
    article = pa.Array.from_buffers(pa.string(), N_ROWS, raw.buffers(), raw.null_count)
    table, _ = bad_sequence()
    table = table.set_column(1, "vector", pa.array(vectors()[:N_ROWS].tolist(), pa.list_(pa.float32())))
    pq.write_table(table.set_column(2, "article_id", article), tmp_path / "in.parquet")
    result = predict(tmp_path / "in.parquet", "--output", tmp_path / "out")
    assert result.code == 0
    assert result.values["rows_by_status"] == {"ok": 16 + 6, "short_context": 4 + 10 + 4, "bad_input": 0}
