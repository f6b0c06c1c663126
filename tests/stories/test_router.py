"""``--router``: a fitted router adds a reason to escalate, in a run, in its plan, and in a service."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, windows, write_windows
from support.routers import write_router
from support.served import serving

from lvm_batch.jobs.errors import SettingsError
from lvm_batch.jobs.models.files import check_model_files
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 120
CONTEXTS = windows()[0][:N_ROWS]
COHERENCE = np.einsum("nd,nd->n", CONTEXTS[:, 3], CONTEXTS[:, 4])
LEVEL = float(np.quantile(COHERENCE, 0.8))
LANES = ["law" if row % 40 == 0 else "news" for row in range(N_ROWS)]
OPTIONS = ("--high-stakes-lane", "law", "--shadow-rate", 0)


@pytest.fixture(scope="module")
def router(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router of the fresh models."""
    return write_router(tmp_path_factory.mktemp("router") / "router.json", models, level=LEVEL)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of real vectors, three of a high-stakes lane."""
    path = tmp_path_factory.mktemp("dataset") / "a.parquet"
    return write_windows(path, CONTEXTS, row_group_rows=40, columns={"lane": LANES})


def test_a_router_adds_a_reason(
    predict: Callable[..., Any], dataset: Path, router: Path, tmp_path: Path
) -> None:
    """Rows that reach the threshold have it beside the cards' reasons; it is counted, and named in every file."""
    out = tmp_path / "out"
    result = predict(dataset, "--output", out, "--router", router, "--unit-size", "1MB", *OPTIONS)
    assert result.code == 0, result.stderr
    rows = read_rows(out)
    wanted = COHERENCE >= LEVEL
    for row, is_wanted, lane in zip(rows, wanted.tolist(), LANES, strict=True):
        reasons = ["high_stakes_lane"] * (lane == "law") + ["expected_gain"] * is_wanted
        assert row["escalation_reasons"] == reasons
        assert row["route"] == ("gru" if reasons else "amn")
    assert result.values["rows_by_reason"]["expected_gain"] == wanted.sum()
    assert result.values["router"] == str(router)
    footer = pq.read_metadata(out / "a-00000.parquet").metadata
    digest = hashlib.sha256(router.read_bytes()).hexdigest()
    assert json.loads(footer[b"lvm_batch.router"])["sha256"] == digest
    assert json.loads((out / "_lvm_batch/job.json").read_text())["identity"]["router"] == digest


def test_without_a_router_nothing_changes(
    predict: Callable[..., Any], dataset: Path, router: Path, tmp_path: Path
) -> None:
    """No reason, no count and no part of the identity is new; and the job does not go on with a router."""
    out = tmp_path / "out"
    result = predict(dataset, "--output", out, *OPTIONS)
    assert list(result.values["rows_by_reason"]) == [
        "low_confidence",
        "high_stakes_lane",
        "long_context",
        "low_margin",
    ]
    assert b"lvm_batch.router" not in pq.read_metadata(out / "a-00000.parquet").metadata
    assert "router" not in json.loads((out / "_lvm_batch/job.json").read_text())["identity"]
    other = predict(dataset, "--output", out, "--router", router, *OPTIONS)
    assert other.code == 2
    assert "router was absent, is" in other.values["error"]["message"]


def test_under_a_cap_the_largest_expected_gain_comes_first(
    predict: Callable[..., Any], dataset: Path, router: Path, tmp_path: Path
) -> None:
    """Of a budget of a tenth the high-stakes rows take three, and the rows with the most expected gain the rest."""
    out = tmp_path / "out"
    cap = ("--fallback-policy", "cap", "--max-fallback-rate", 0.1)
    assert predict(dataset, "--output", out, "--router", router, *OPTIONS, *cap).code == 0
    rows = read_rows(out)
    routed = {number for number, row in enumerate(rows) if row["route"] == "gru"}
    law = {number for number, lane in enumerate(LANES) if lane == "law"}
    best = [number for number in np.argsort(-COHERENCE).tolist() if number not in law]
    assert routed == law | set(best[: N_ROWS // 10 - len(law)])
    assert sum("expected_gain" in row["escalation_reasons"] for row in rows) == (COHERENCE >= LEVEL).sum()


def test_a_service_escalates_what_a_run_does(models: Path, router: Path) -> None:
    """The same router gives the same reasons to single queries and to batches, and counts them."""
    from lvm_batch.jobs.settings.serve import ServeSettings

    settings = ServeSettings(
        model=str(models / "amn.pt"), fallback=str(models / "gru.pt"), router=str(router)
    )
    bodies = [{"context": context.tolist()} for context in CONTEXTS[:12]]
    with serving(settings) as started:
        one_by_one = [started.post(json=body).json() for body in bodies]
        together = started.post("/predict/batch", json={"rows": bodies}).json()["answers"]
        counted = started.metric('lvm_batch_escalation_reasons_total{reason="expected_gain"}')
    wanted = (COHERENCE[:12] >= LEVEL).tolist()
    for answers in (one_by_one, together):
        assert [answer["reasons"] == ["expected_gain"] for answer in answers] == wanted
        assert [answer["route"] == "gru" for answer in answers] == wanted
    assert counted == 2 * sum(wanted)


def test_a_plan_shows_the_router(
    lvm_batch: Callable[..., Any], models: Path, dataset: Path, router: Path, tmp_path: Path
) -> None:
    """It stands beside the models and the bank."""
    result = lvm_batch(
        *("plan", dataset, "--model", models / "amn.pt", "--fallback", models / "gru.pt"),
        *("--router", router, "--output", tmp_path / "out"),
    )
    assert result.code == 0, result.stderr
    assert result.values["router"] == str(router)


def refusals(models: Path, router: Path, **changes: str | None) -> list[str]:
    """What the models and the router of a run are refused for, before torch is loaded."""
    given = {"model": str(models / "amn.pt"), "fallback": str(models / "gru.pt"), "router": str(router)}
    try:
        check_model_files(RunSettings(**(given | changes | {"models_dir": str(models / "none")})))
    except RouterError as error:
        return [error.message]
    except SettingsError as error:
        return [problem.message for problem in error.problems]
    return []


def test_a_router_of_other_models_is_refused_by_name(models: Path, tmp_path: Path) -> None:
    """Whichever model differs is named, both if both do, and so are another length and a missing fallback."""
    path = tmp_path / "r.json"
    assert refusals(models, write_router(path, models)) == []
    (found,) = refusals(models, write_router(path, models, fallback="f" * 64))
    assert f"{path} was fitted to another fallback: ffffffffffff, but {models / 'gru.pt'} is" in found
    both = refusals(models, write_router(path, models, primary="a" * 64, fallback="f" * 64))
    assert ["primary model" in both[0], "fallback" in both[1], len(both)] == [True, True, 2]
    (found,) = refusals(models, write_router(path, models, length=4))
    assert "takes contexts of 4 vectors" in found
    (found,) = refusals(models, write_router(path, models), fallback=None)
    assert "neither --fallback nor a role names one" in found


def test_a_damaged_router_is_refused_before_work(
    predict: Callable[..., Any], dataset: Path, router: Path, tmp_path: Path
) -> None:
    """The run ends with 2, names the file, and writes nothing."""
    (tmp_path / "r.json").write_bytes(router.read_bytes().replace(b'"budget": 0.2', b'"budget": 0.3'))
    result = predict(dataset, "--output", tmp_path / "out", "--router", tmp_path / "r.json")
    assert (result.code, result.values["error"]["kind"]) == (2, "router")
    assert f"{tmp_path / 'r.json'} is a damaged router" in result.values["error"]["message"]
    assert not (tmp_path / "out").exists()
