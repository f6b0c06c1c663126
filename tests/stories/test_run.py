"""Whole runs on real vectors, compared with the plain computation."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import reference
from support.datasets import (
    assert_same_predictions,
    predictions_of,
    read_rows,
    sample,
    vectors,
    windows,
    write_windows,
)
from support.processors import needs_int8

from lvm_batch.lvm.inference.thresholds import HIGH_STAKES_LANES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

ROUTING = reference.ROUTING | {"max_context_tokens": 384}

THRESHOLDS = reference.as_options(ROUTING)

N_SHARDS, SHARD_ROWS = 3, 200
N_ROWS = N_SHARDS * SHARD_ROWS


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights."""
    return torch.load(path, weights_only=True)["model_state_dict"]


@pytest.fixture(scope="module")
def models(published_models: Path) -> Path:
    """Models of the published sizes."""
    return published_models


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 200 windows with targets, lanes and token counts, some of them null."""
    contexts, targets = windows()
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("dataset") / "windows"
    for shard in range(N_SHARDS):
        rows = slice(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)
        lanes = rng.choice(
            ["general", "sci-fact", "policy/procedure"], SHARD_ROWS, p=[0.9, 0.05, 0.05]
        ).tolist()
        tokens = rng.integers(380, 390, SHARD_ROWS).tolist()
        lanes[7], tokens[8], tokens[9] = None, None, 384
        columns = {
            "key": np.arange(rows.start, rows.stop),
            "lane": lanes,
            "context_tokens": pa.array(tokens, pa.int64()),
        }
        write_windows(
            folder / f"shard-{shard}.parquet",
            contexts[rows],
            targets[rows],
            columns=columns,
            row_group_rows=60,
        )
    return folder


@pytest.fixture(scope="module")
def expected(dataset: Path, models: Path, bank: Path) -> list[dict[str, Any]]:
    """What every output row must hold, computed the plain way."""
    contexts, targets = (part[:N_ROWS] for part in windows())
    primary = reference.amn(weights(models / "amn.pt"), contexts)
    nearest = reference.nearest_two(primary, np.load(bank / "vectors.npy"), contexts)
    assert np.abs(nearest[:, 0] - ROUTING["min_confidence"]).min() > 5e-6
    assert np.abs(nearest[:, 0] - nearest[:, 1] - ROUTING["min_margin"]).min() > 5e-6
    amn_cosine = reference.cosines(primary, targets)
    rows = [
        row
        for path in sorted(dataset.iterdir())
        for row in pq.read_table(path, columns=["key", "lane", "context_tokens"]).to_pylist()
    ]
    for i, row in enumerate(rows):
        row |= {
            "confidence": nearest[i, 0],
            "margin": nearest[i, 0] - nearest[i, 1],
            "amn_cosine": amn_cosine[i],
        }
        row["escalation_reasons"] = reference.reasons(row, HIGH_STAKES_LANES, ROUTING)
        row |= {"route": "amn", "prediction": primary[i], "cosine": amn_cosine[i]}
    escalated = [i for i, row in enumerate(rows) if row["escalation_reasons"]]
    fallback = reference.gru(weights(models / "gru.pt"), contexts[escalated])
    cosines = reference.cosines(fallback, targets[escalated])
    for i, prediction, cosine in zip(escalated, fallback, cosines, strict=True):
        rows[i] |= {"route": "gru", "prediction": prediction, "cosine": cosine}
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of outputs that are made once, by the first test that needs them."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def routed(predict: Callable[..., Any], dataset: Path, bank: Path, made: Path) -> Path:
    """The output of a run with a bank and thresholds; read-only."""
    if not (made / "routed").exists():
        predict(dataset, "--output", made / "routed", "--bank", bank, *THRESHOLDS).done()
    return made / "routed"


@pytest.fixture
def clean(predict: Callable[..., Any], dataset: Path, made: Path) -> Path:
    """The output of a plain run of three units; read-only."""
    if not (made / "clean").exists():
        assert predict(dataset, "--output", made / "clean").values["units_computed"] == 3
    return made / "clean"


@pytest.fixture
def finished(clean: Path, tmp_path: Path) -> Path:
    """A copy of the plain run's output."""
    return shutil.copytree(clean, tmp_path / "out")


def test_every_row_equals_the_plain_computation(routed: Path, expected: list[dict[str, Any]]) -> None:
    """Predictions and cosines agree within 1e-5, confidence within 1e-4; order and keys are unchanged."""
    rows = read_rows(routed)
    assert [row["key"] for row in rows] == [row["key"] for row in expected]
    assert [row["route"] for row in rows] == [row["route"] for row in expected]
    assert [row["escalation_reasons"] for row in rows] == [row["escalation_reasons"] for row in expected]
    assert {row["route"] for row in rows} == {"amn", "gru"}
    assert {reason for row in rows for reason in row["escalation_reasons"]} == {
        "low_confidence",
        "high_stakes_lane",
        "long_context",
        "low_margin",
    }
    np.testing.assert_allclose(
        predictions_of(routed), np.stack([row["prediction"] for row in expected]), atol=1e-5
    )
    for name, tolerance in (("cosine", 1e-5), ("amn_cosine", 1e-5), ("confidence", 1e-4), ("margin", 1e-4)):
        np.testing.assert_allclose(
            [row[name] for row in rows], [row[name] for row in expected], atol=tolerance
        )


def test_reasons_follow_from_a_rows_own_columns(routed: Path) -> None:
    """Each row's reasons can be derived from its confidence, margin, lane and token count."""
    rows = read_rows(routed)
    assert len(rows) == N_ROWS
    for row in rows:
        assert row["escalation_reasons"] == reference.reasons(row, HIGH_STAKES_LANES, ROUTING)
        assert (row["route"] == "gru") == bool(row["escalation_reasons"])
        assert (row["gru_cosine"] is not None) == (row["route"] == "gru" or row["shadow"])


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [("list", "float64"), ("nested_fixed", "float16"), ("tensor", "float32"), ("binary", "float32")],
)
def test_every_encoding_gives_the_same_predictions(
    predict: Callable[..., Any], models: Path, encoding: str, dtype: str, tmp_path: Path
) -> None:
    """The encoding of contexts changes no prediction: the sample is float16, so every dtype holds it exactly."""
    contexts, targets = (part[:60] for part in windows())
    path = write_windows(
        tmp_path / "in.parquet", contexts.astype(dtype), targets.astype(dtype), encoding=encoding
    )
    assert predict(path, "--output", tmp_path / "out").code == 0
    np.testing.assert_allclose(
        predictions_of(tmp_path / "out"), reference.amn(weights(models / "amn.pt"), contexts), atol=1e-5
    )


def test_sequences_give_the_predictions_of_their_windows(
    predict: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    """Windows of sequences get the predictions of the same windows as rows, across row groups and units."""
    rows = sample().slice(0, 800)
    pq.write_table(rows, tmp_path / "in.parquet", row_group_size=101)
    result = predict(tmp_path / "in.parquet", "--output", tmp_path / "out", "--unit-size", "500KiB")
    assert result.code == 0
    assert result.values["units"] > 5
    article, position = rows["article_id"].to_numpy(), rows["position"].to_numpy()
    status = [row["status"] for row in read_rows(tmp_path / "out")]
    assert status == ["short_context" if p < 4 else "ok" for p in position]
    whole = np.flatnonzero(position >= 4)
    contexts = np.stack([vectors()[row - 4 : row + 1] for row in whole])
    predictions = predictions_of(tmp_path / "out")
    np.testing.assert_allclose(
        predictions[whole], reference.amn(weights(models / "amn.pt"), contexts), atol=1e-5
    )
    assert np.isnan(predictions[position < 4]).all()
    has_target = np.append(article[1:] == article[:-1], [False])
    cosines = [row["cosine"] for row in read_rows(tmp_path / "out")]
    assert [value is not None for value in cosines] == [
        bool(t and p >= 4) for t, p in zip(has_target, position, strict=True)
    ]


def test_a_rerun_computes_nothing_and_touches_nothing(
    predict: Callable[..., Any], dataset: Path, finished: Path
) -> None:
    """Running a finished job again reads no rows and leaves every file and record as it was."""
    out = finished
    before = {
        path: path.stat().st_mtime_ns for path in [*out.glob("*.parquet"), *out.glob("_lvm_batch/done/*")]
    }
    again = predict(dataset, "--output", out)
    assert (again.code, again.values["units_computed"], again.values["units_done"]) == (0, 0, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_rerun_computes_only_what_is_missing(
    predict: Callable[..., Any], dataset: Path, finished: Path, clean: Path
) -> None:
    """A unit without record and file is computed again, the others are kept; the rows are those of a clean run."""
    out = finished
    (out / "shard-1-00000.parquet").unlink()
    (out / "_lvm_batch/done/shard-1-00000.parquet.json").unlink()
    assert predict(dataset, "--output", out).values["units_computed"] == 1
    assert_same_predictions(out, clean)


def test_a_published_unit_without_record_is_adopted(
    predict: Callable[..., Any], dataset: Path, finished: Path
) -> None:
    """A unit whose run was killed between publishing and recording is recorded from its footer, not computed again."""
    out = finished
    first = predict(dataset, "--output", out)
    (out / "_lvm_batch/done/shard-1-00000.parquet.json").unlink()
    published = (out / "shard-1-00000.parquet").stat().st_mtime_ns
    again = predict(dataset, "--output", out)
    assert (out / "shard-1-00000.parquet").stat().st_mtime_ns == published
    for figure in ("rows_in", "rows_by_route", "rows_by_status", "cosine", "amn_cosine"):
        assert again.values[figure] == first.values[figure]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--min-confidence", 0.5], "min_confidence"),
        (["--unit-size", "1MiB"], "unit_size"),
        (["--pad", "zero"], "pad"),
    ],
)
def test_a_changed_job_is_refused_and_named(
    predict: Callable[..., Any], dataset: Path, finished: Path, change: list[Any], named: str
) -> None:
    """A different job over the same output is refused, and the error says what differs."""
    result = predict(dataset, "--output", finished, *change)
    assert result.code == 2
    assert result.values["error"]["kind"] == "job_changed"
    assert named in result.values["error"]["message"]


def test_changed_input_is_refused(predict: Callable[..., Any], tmp_path: Path) -> None:
    """An input that was rewritten makes a different job."""
    contexts, _ = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:10])
    predict(tmp_path / "in", "--output", tmp_path / "out").done()
    write_windows(tmp_path / "in/a.parquet", contexts[:11])
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert result.code == 2
    assert "a.parquet" in result.values["error"]["message"]


def test_the_number_of_workers_is_no_part_of_the_job(
    lvm_batch: Callable[..., Any], predict: Callable[..., Any], models: Path, dataset: Path, tmp_path: Path
) -> None:
    """Two local processes give the rows of the shared cluster, and find its output done."""
    predict(dataset, "--output", tmp_path / "a", "--unit-size", "1MiB").done()
    local = lvm_batch(
        "run", dataset, "--output", tmp_path / "b", "--workers", 2, "--unit-size", "1MiB",
        "--model", models / "amn.pt", "--fallback", models / "gru.pt",
    )  # fmt: skip
    assert local.code == 0
    assert local.values["units_computed"] == 12
    assert_same_predictions(tmp_path / "a", tmp_path / "b")
    rerun = lvm_batch(
        "run", dataset, "--output", tmp_path / "a", "--workers", 1, "--unit-size", "1MiB",
        "--model", models / "amn.pt", "--fallback", models / "gru.pt",
    )  # fmt: skip
    assert rerun.values["units_computed"] == 0


def test_without_a_fallback_reasons_are_written_and_routes_stay(
    lvm_batch: Callable[..., Any], dataset: Path, models: Path, bank: Path, scheduler: str, tmp_path: Path
) -> None:
    """Every row stays amn and keeps its reasons; a notice at the start says that there is no fallback."""
    result = lvm_batch(
        "run", dataset, "--output", tmp_path / "out", "--bank", bank, "--model", models / "amn.pt",
        "--scheduler", scheduler, "--models-dir", tmp_path / "none/models", "--shadow-rate", 1, *THRESHOLDS,
    )  # fmt: skip
    assert result.code == 0
    assert result.values["rows_by_route"] == {"amn": N_ROWS, "gru": 0}
    assert result.values["rows_with_reasons"] > 0
    assert result.values["shadow_rows"] == 0
    assert "no fallback model" in result.stderr


def test_criteria_without_their_columns_are_reported_once(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """A criterion that cannot be evaluated is named once at the start and in the summary, with the reason."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:20])
    result = predict(path, "--output", tmp_path / "out")
    assert set(result.values["criteria_not_evaluated"]) == {
        "low_confidence",
        "high_stakes_lane",
        "long_context",
        "low_margin",
    }
    assert result.stderr.count("is not evaluated") == 4
    (row, *_) = read_rows(tmp_path / "out")
    assert (row["confidence"], row["margin"], row["cosine"], row["escalation_reasons"]) == (
        None,
        None,
        None,
        [],
    )


def test_shadow_rows_run_through_both_models_and_keep_their_route(
    predict: Callable[..., Any], dataset: Path, models: Path, tmp_path: Path
) -> None:
    """A shadow row has both cosines and the primary's prediction; an escalated row is never a shadow row."""
    result = predict(dataset, "--output", tmp_path / "out", "--shadow-rate", 0.5)
    rows = read_rows(tmp_path / "out")
    assert 0.4 < sum(row["shadow"] for row in rows) / sum(row["route"] == "amn" for row in rows) < 0.6
    assert result.values["shadow_rows"] == sum(row["shadow"] for row in rows)
    assert not any(row["shadow"] for row in rows if row["route"] == "gru")
    for row in rows:
        if row["shadow"]:
            assert row["gru_cosine"] is not None
            assert row["cosine"] == row["amn_cosine"]


def test_a_cap_keeps_high_stakes_rows_then_the_least_confident(
    predict: Callable[..., Any], dataset: Path, bank: Path, tmp_path: Path
) -> None:
    """Under a cap a unit escalates at most its share, high stakes first; the other rows keep their reasons."""
    capped = ["--fallback-policy", "cap", "--max-fallback-rate", 0.2, "--min-confidence", 1.0]
    result = predict(dataset, "--output", tmp_path / "out", "--bank", bank, *capped)
    assert result.code == 0
    for path in sorted((tmp_path / "out").glob("*.parquet")):
        rows = pq.ParquetFile(path).read().to_pylist()
        gru = [row for row in rows if row["route"] == "gru"]
        assert len(gru) == 0.2 * SHARD_ROWS
        assert all(row["route"] == "gru" for row in rows if row["lane"] in HIGH_STAKES_LANES)
        least = max(row["confidence"] for row in gru if row["lane"] not in HIGH_STAKES_LANES)
        assert all(row["confidence"] >= least for row in rows if row["route"] == "amn")
        assert all(row["escalation_reasons"] for row in rows)


def test_too_many_fallback_rows_fail_the_gate_on_request(
    predict: Callable[..., Any], dataset: Path, bank: Path, tmp_path: Path
) -> None:
    """Under ``fail`` the output is kept for inspection, the exit code is 3 and ``_SUCCESS`` is not written."""
    options = ["--bank", bank, "--min-confidence", 1.0, "--fallback-policy", "fail"]
    result = predict(dataset, "--output", tmp_path / "out", *options)
    assert (result.code, result.values["error"]["kind"]) == (3, "gate")
    assert len(read_rows(tmp_path / "out")) == N_ROWS
    assert not (tmp_path / "out/_SUCCESS").exists()


def test_bad_rows_keep_their_place_and_a_gate_counts_them(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """A bad row has an empty prediction in its place; too many fail the job, and a higher limit accepts it."""
    contexts = windows()[0][:50].copy()
    contexts[3, 1, 5], contexts[4, 0, 0], contexts[5] = np.nan, np.inf, 0.0
    path = write_windows(tmp_path / "in.parquet", contexts, columns={"key": np.arange(50)})
    result = predict(path, "--output", tmp_path / "out")
    assert (result.code, result.values["error"]["kind"]) == (3, "gate")
    assert [(bad["row"], bad["detail"]) for bad in result.values["bad_rows"]] == [
        (3, "nan"),
        (4, "inf"),
        (5, "zero_norm"),
    ]
    rows = read_rows(tmp_path / "out")
    assert [row["key"] for row in rows] == list(range(50))
    for row in rows[3:6]:
        assert (row["status"], row["route"], row["cosine"], row["escalation_reasons"]) == (
            "bad_input",
            None,
            None,
            [],
        )
        assert np.isnan(row["prediction"]).all()
    assert all(row["status"] == "ok" for row in rows[:3] + rows[6:])
    accepted = predict(path, "--output", tmp_path / "out", "--max-bad-rows", 0.1)
    assert (accepted.code, accepted.values["units_computed"]) == (0, 0)
    assert (tmp_path / "out/_SUCCESS").exists()


@pytest.mark.parametrize("scale", [1e20, 1e37])
def test_numbers_that_overflow_in_the_model_are_bad_input(
    predict: Callable[..., Any], tmp_path: Path, scale: float
) -> None:
    """A context so large that the model overflows in float32 has no prediction and status bad_input."""
    contexts = windows()[0][:20].copy()
    contexts[2] *= scale
    path = write_windows(tmp_path / "in.parquet", contexts)
    predict(path, "--output", tmp_path / "out", "--max-bad-rows", 1).done()
    row = read_rows(tmp_path / "out")[2]
    assert (row["status"], row["status_detail"]) == ("bad_input", "inf")
    assert np.isnan(row["prediction"]).all()


def test_nulls_in_every_optional_column_are_no_error(
    predict: Callable[..., Any], bank: Path, tmp_path: Path
) -> None:
    """A null lane, token count or target only makes its own criterion false, or its cosine null."""
    columns = {
        "lane": pa.nulls(20, pa.string()),
        "context_tokens": pa.nulls(20, pa.int32()),
        "split": pa.nulls(20),
    }
    table = pa.table({
        "context": pq.read_table(write_windows(tmp_path / "x.parquet", windows()[0][:20]))["context"],
        "target": pa.nulls(20, pa.list_(pa.float32(), 768)), **columns,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet")
    result = predict(
        tmp_path / "in.parquet",
        "--output",
        tmp_path / "out",
        "--bank",
        bank,
        "--min-confidence",
        -1,
        "--min-margin",
        0,
    )
    assert result.code == 0
    for row in read_rows(tmp_path / "out"):
        assert (row["status"], row["route"], row["cosine"]) == ("ok", "amn", None)
        assert (row["lane"], row["context_tokens"], row["split"]) == (None, None, None)


def test_partitions_are_kept_as_paths(predict: Callable[..., Any], tmp_path: Path) -> None:
    """A hive-partitioned dataset gives predictions in the same partitions; hidden files are not read."""
    for date in ("2026-01-01", "2026-01-02"):
        write_windows(tmp_path / f"in/date={date}/part.parquet", windows()[0][:7])
    write_windows(tmp_path / "in/_hidden/part.parquet", windows()[0][:7])
    (tmp_path / "in/.part").write_text("no Parquet")
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert result.values["rows_out"] == 14
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.parquet")) == [
        "date=2026-01-01/part-00000.parquet",
        "date=2026-01-02/part-00000.parquet",
    ]


def test_a_file_without_rows_has_an_output_without_rows(predict: Callable[..., Any], tmp_path: Path) -> None:
    """An empty file is one empty unit: its output exists, with the schema of the others."""
    write_windows(tmp_path / "in/a.parquet", windows()[0][:0])
    write_windows(tmp_path / "in/b.parquet", windows()[0][:5])
    result = predict(tmp_path / "in", "--output", tmp_path / "out")
    assert (result.code, result.values["units"]) == (0, 2)
    a, b = (pq.read_schema(tmp_path / f"out/{name}-00000.parquet") for name in "ab")
    assert a.remove_metadata() == b.remove_metadata()
    assert pq.read_metadata(tmp_path / "out/a-00000.parquet").num_rows == 0


def test_footers_describe_the_job(predict: Callable[..., Any], dataset: Path, finished: Path) -> None:
    """Each file's footer names the job, models with digests, thresholds and version."""
    result = predict(dataset, "--output", finished)
    metadata = pq.read_metadata(finished / "shard-0-00000.parquet").metadata
    assert metadata[b"lvm_batch.fingerprint"].decode() == result.values["fingerprint"]
    assert result.values["models"]["gru"]["sha256"] in metadata[b"lvm_batch.models"].decode()
    assert b'"min_confidence": 0.7' in metadata[b"lvm_batch.thresholds"]
    assert b"lvm_batch.version" in metadata


@needs_int8
def test_int8_is_near_float32(
    dataset: Path, predict: Callable[..., Any], bank: Path, routed: Path, tmp_path: Path
) -> None:
    """In 8 bits the mean cosines stay the same; it is a different job, since its values differ."""
    arguments = (dataset, "--bank", bank, "--precision", "int8", *THRESHOLDS)
    predict(*arguments, "--output", tmp_path / "int8").done()
    exact, rounded = (
        [row["amn_cosine"] for row in read_rows(output)] for output in (routed, tmp_path / "int8")
    )
    assert np.mean(rounded) == pytest.approx(np.mean(exact), abs=0.002)
    assert rounded != exact
    refused = predict(*arguments, "--output", shutil.copytree(routed, tmp_path / "fp32"))
    assert "precision was fp32, is int8" in refused.values["error"]["message"]


def test_a_rerun_that_accepts_the_output_says_so_in_its_report(
    lvm_batch: Callable[..., Any], models: Path, scheduler: str, tmp_path: Path
) -> None:
    """Nothing is computed, but the report now shows the job as accepted."""
    contexts = windows()[0][:20].copy()
    contexts[3] = np.nan
    write_windows(tmp_path / "in.parquet", contexts)
    arguments = ("run", tmp_path / "in.parquet", "--output", tmp_path / "out", "--scheduler", scheduler)
    arguments = (*arguments, "--model", models / "amn.pt")
    assert lvm_batch(*arguments).code == 3
    report = tmp_path / "out/_lvm_batch/report.html"
    refused = report.read_bytes()
    assert lvm_batch(*arguments, "--max-bad-rows", 1).values["units_computed"] == 0
    accepted = report.read_bytes()
    assert accepted != refused
    written = report.stat().st_mtime_ns
    assert lvm_batch(*arguments, "--max-bad-rows", 1).code == 0
    assert report.stat().st_mtime_ns == written
