"""``evaluate --calibrate``: two real models and a bank over real vectors, and a run with the thresholds it proposes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import sample, vectors, windows, write_windows
from support.full_disk import files_of_at_most
from support.noisy_models import write_noisy_models

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import OutputError
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.evaluation.calibration.calibrate import calibrate, find_run_models
from lvm_batch.jobs.evaluation.calibration.calibration_text import as_text, as_toml
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

N_WINDOWS = 600


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an amn.pt and a gru.pt that predict the context's mean with noise; gru is mostly better."""
    return write_noisy_models(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of real vectors with their articles; one row in a hundred has a high-stakes lane."""
    contexts, targets = windows()
    article = sample()["article_id"].to_numpy()
    last = [row for row in range(4, len(article) - 1) if article[row - 4] == article[row + 1]]
    rows = np.linspace(0, len(contexts) - 1, N_WINDOWS).astype(int)
    columns = {
        "article_id": article[np.array(last)[rows]],
        "lane": ["sci-fact" if place % 100 == 7 else "news" for place in range(N_WINDOWS)],
    }
    path = tmp_path_factory.mktemp("dataset") / "in.parquet"
    return write_windows(path, contexts[rows], targets[rows], columns=columns)


@pytest.fixture(scope="module")
def settings(pair: Path, dataset: Path, bank: Path) -> dict[str, Any]:
    """The settings of a complete calibration."""
    return {
        "dataset": (str(dataset),),
        "model": (str(pair / "amn.pt"),),
        "fallback": str(pair / "gru.pt"),
        "bank": str(bank),
        "device": "cpu",
        "resamples": 100,
    }


def calibrated(settings: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401
    """The result of a calibration, with some settings changed."""
    return calibrate(EvaluateSettings(**(settings | changes)), console=Console())


@pytest.fixture(scope="module")
def whole(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], str, Path]:
    """One calibration with an output folder: values, text, and the folder."""
    output = tmp_path_factory.mktemp("calibrated") / "new"
    return *calibrated(settings, output=str(output)), output


def test_a_calibration_has_every_part(whole: tuple[dict[str, Any], str, Path]) -> None:
    """The JSON has rows, signals in tenths, a table of thresholds, the gain of each policy, and thresholds."""
    values, _, output = whole
    assert (values["rows"], values["grouped_by"], values["articles"]) == (N_WINDOWS, "articles", 16)
    assert values["fallback_cosine"] > values["primary_cosine"]
    for signal in values["signals"].values():
        assert sum(tenth["rows"] for tenth in signal["reliability"]) == signal["rows"] == N_WINDOWS
        assert 0 <= signal["auroc"] <= 1
    assert [row["share"] for row in values["thresholds"]] == sorted(
        row["share"] for row in values["thresholds"]
    )
    assert all(row["oracle_gain"] >= row["confidence_gain"] for row in values["thresholds"])
    names = ["random", "cards", "confidence", "margin", "both", "router", "oracle"]
    assert list(values["policies"]) == names
    assert values["policies"]["oracle"]["of_oracle"] == 1
    assert values["escalated_anyway"] == 0.01
    written = json.loads((output / "calibration.json").read_text())
    assert written == json.loads(json.dumps(values, allow_nan=False))


def test_the_text_fits_and_holds_the_proposal(whole: tuple[dict[str, Any], str, Path]) -> None:
    """Only lines with paths are wider than 110 columns; the proposed thresholds appear as TOML, and in a file."""
    values, text, output = whole
    lines = [line for line in text.splitlines() if "/" not in line]
    assert max(map(len, lines)) <= 110
    assert text.endswith(as_toml(values).rstrip())
    thresholds = tomllib.loads((output / "thresholds.toml").read_text())
    assert thresholds == {key: values["proposed"][key] for key in ("min_confidence", "min_margin")}


def test_a_run_escalates_what_was_proposed(
    whole: tuple[dict[str, Any], str, Path],
    predict: Callable[..., Any],
    settings: dict[str, Any],
    tmp_path: Path,
) -> None:
    """``run --config`` with the written thresholds escalates the predicted share, and computes the same cosines."""
    values, _, output = whole
    result = predict(
        *settings["dataset"],
        *("--output", tmp_path / "out", "--config", output / "thresholds.toml", "--shadow-rate", 1),
        *("--model", settings["model"][0], "--fallback", settings["fallback"], "--bank", settings["bank"]),
    )
    assert result.code == 0, result.stderr
    table = pq.read_table(tmp_path / "out/in-00000.parquet")
    share = np.mean([route == "gru" for route in table["route"].to_pylist()])
    assert share == pytest.approx(
        values["proposed"]["escalated"], abs=2 / N_WINDOWS
    )  # one row may lie on each threshold
    assert 0 < share <= values["budget"]
    assert np.mean(table["amn_cosine"].to_numpy()) == pytest.approx(values["primary_cosine"], abs=1e-6)
    assert np.mean(table["gru_cosine"].to_numpy()) == pytest.approx(values["fallback_cosine"], abs=1e-6)


def test_plots_are_the_same_each_time(
    whole: tuple[dict[str, Any], str, Path], settings: dict[str, Any], tmp_path: Path
) -> None:
    """The same rows give the same bytes, on the same processor with the same number of threads."""
    folders = whole[2], tmp_path / "again"
    calibrated(settings, output=str(folders[1]))
    names = ["calibration.json", "calibration_gain.svg", "calibration_reliability.svg", "thresholds.toml"]
    assert sorted(path.name for path in folders[0].iterdir() if "router" not in path.name) == names
    for name in names:
        one, other = ((folder / name).read_bytes() for folder in folders)
        assert one == other


@pytest.fixture(scope="module")
def told(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows whose target is nearer to gru's answer where the last two vectors are alike, else to amn's."""
    import torch

    from lvm_batch.lvm.inference.predictor import Predictor

    contexts = windows()[0][:: len(windows()[0]) // 1000]
    amn, gru = (
        Predictor(load_checkpoint((pair / name).read_bytes(), name).model, torch.device("cpu"))(contexts)
        for name in ("amn.pt", "gru.pt")
    )
    alike = np.einsum("nd,nd->n", contexts[:, -2], contexts[:, -1])
    nearer = 0.5 + 2 * (alike - np.median(alike)) + 0.1 * np.random.default_rng(0).standard_normal(len(alike))
    targets = nearer[:, None] * gru + (1 - nearer[:, None]) * amn
    columns = {"article_id": np.arange(len(alike)) // 25}
    path = tmp_path_factory.mktemp("told") / "in.parquet"
    return write_windows(path, contexts, targets.astype(np.float32), columns=columns)


def test_a_router_is_fitted_where_a_signal_tells(
    settings: dict[str, Any], told: Path, predict: Callable[..., Any], tmp_path: Path
) -> None:
    """It recovers more than chance on other articles, and a run with what is written spends the budget by it."""
    output = tmp_path / "judged"
    values, text = calibrated(settings, dataset=(str(told),), output=str(output))
    router = values["router"]
    assert router["is_better"]
    assert router["interval"][0] > 1.5 * router["random"]
    assert values["policies"]["router"]["of_oracle"] == pytest.approx(router["of_oracle"])
    assert "for `lvm-batch run --router`: router.json, beside these figures" in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 110
    models = ("--model", settings["model"][0], "--fallback", settings["fallback"], "--bank", settings["bank"])
    config = ("--config", output / "router.toml", "--shadow-rate", 0)
    result = predict(told, "--output", tmp_path / "out", *models, *config)
    assert result.code == 0, result.stderr
    assert result.values["rows_by_route"]["gru"] == result.values["rows_by_reason"]["expected_gain"]
    assert result.values["rows_by_route"]["gru"] / result.values["rows_out"] == pytest.approx(0.2, abs=0.04)
    assert result.values["escalation_gain"]["mean"] > 0


def test_no_router_is_written_where_no_signal_tells(settings: dict[str, Any], tmp_path: Path) -> None:
    """If the fallback is worse on every row, the text says so, and the router of an earlier calibration is gone."""
    import torch

    from lvm_batch.lvm.architectures.catalog import build_model

    kept = {"epoch": 0, "val_loss": None, "val_cosine": None}
    worse = build_model("gru", seed=3, d_model=8)
    with torch.no_grad():
        worse.output_layer.weight.zero_()
    save_checkpoint(tmp_path / "gru.pt", worse, architecture="gru", **kept)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/router.json").write_text("of yesterday")
    values, text = calibrated(settings, fallback=str(tmp_path / "gru.pt"), output=str(tmp_path / "out"))
    assert (values["router"]["is_better"], values["router"]["file"]) == (False, None)
    assert "no router is proposed" in text
    assert not list((tmp_path / "out").glob("router*"))


def test_without_articles_rows_are_halved_by_blocks(settings: dict[str, Any]) -> None:
    """Rows without an article column are halved in twenty blocks, and a notice says so."""
    values, text = calibrated(settings, article_column="nobody")
    assert (values["grouped_by"], values["articles"]) == ("blocks of rows", 20)
    assert "fitted to other blocks of rows" in text


def test_a_bank_of_one_vector_gives_no_margin(settings: dict[str, Any], tmp_path: Path) -> None:
    """Without a second vector the margin has no figures, and no threshold for it is proposed."""
    pq.write_table(pa.table({"vector": list(vectors()[:1])}), tmp_path / "v.parquet")
    build_bank(find_files([str(tmp_path / "v.parquet")]), str(tmp_path / "bank"))
    values, text = calibrated(settings, bank=str(tmp_path / "bank"), output=str(tmp_path / "out"))
    empty = {"rows": 0, "spearman": None, "auroc": None, "reliability": []}
    assert values["signals"]["margin"] == empty
    assert values["thresholds"][0]["margin"] is None
    assert values["proposed"]["min_margin"] == 0
    assert "rank correlation -" in text


def test_nothing_is_proposed_where_the_fallback_gains_nothing(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """If the fallback is the worse model: no threshold, no thresholds file, and the text says so."""
    import torch

    from lvm_batch.lvm.architectures.catalog import build_model

    amn = build_model("amn", seed=1)
    with torch.no_grad():
        amn.output_layer.weight.zero_()
    kept = {"epoch": 0, "val_loss": None, "val_cosine": None}
    save_checkpoint(tmp_path / "amn.pt", amn, architecture="amn", **kept)
    save_checkpoint(tmp_path / "gru.pt", build_model("gru", seed=1, d_model=8), architecture="gru", **kept)
    values, text = calibrated(
        settings,
        model=(str(tmp_path / "amn.pt"),),
        fallback=str(tmp_path / "gru.pt"),
        output=str(tmp_path / "out"),
    )
    assert values["proposed"] is None
    assert values["policies"]["both"]["escalated"] == pytest.approx(0.01)
    assert "no thresholds are proposed" in text
    assert not (tmp_path / "out/thresholds.toml").exists()


def test_missing_inputs_of_a_calibration_are_refused(
    settings: dict[str, Any], pair: Path, tmp_path: Path
) -> None:
    """A bank, a fallback, a primary model of the right kind, and enough rows; each error says what to do."""
    without_bank = EvaluateSettings(**(settings | {"bank": None}))
    with pytest.raises(UsageError, match="--calibrate needs a bank"):
        find_run_models(without_bank)
    with pytest.raises(UsageError, match=r"neither --fallback nor .*fallback_model"):
        calibrated(settings, fallback=None, models_dir=str(tmp_path / "models"))
    with pytest.raises(CheckpointError, match="which --model does not take"):
        calibrated(settings, model=(str(pair / "gru.pt"),))
    contexts, targets = windows()
    few = write_windows(tmp_path / "few.parquet", contexts[:99], targets[:99])
    with pytest.raises(UsageError, match="there is a target in 99 rows"):
        calibrated(settings, dataset=(str(few),))


def test_an_output_that_cannot_be_written_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    """A file in the folder's place, or a remote address, is an output error, raised before a row is read."""
    (tmp_path / "file").write_text("")
    for output, message in (
        (str(tmp_path / "file"), "file cannot be made"),
        ("s3://nobody/x", "a folder on this machine"),
    ):
        with pytest.raises(OutputError, match=message):
            calibrated(settings, output=output, dataset=(str(tmp_path / "nothing.parquet"),))
    assert not Path("s3:").exists()


def test_a_disk_that_is_full_is_an_error_of_the_output(settings: dict[str, Any], tmp_path: Path) -> None:
    """Whichever file does not fit, the error is an output error."""
    with (
        files_of_at_most(100),
        pytest.raises(OutputError, match=r"calibration\.json cannot be written") as error,
    ):
        calibrated(settings, output=str(tmp_path))
    assert "make room" in error.value.args[1]


def test_a_budget_below_one_row_gives_no_estimate_for_other_articles(settings: dict[str, Any]) -> None:
    """One row in all is proposed, and its effect on other articles is unknown."""
    values, text = calibrated(settings, lane_column="nobody", budget=1.1 / N_WINDOWS)
    assert values["proposed"] is not None
    assert values["policies"]["random"]["of_oracle"] is None
    assert "not seen is unknown: 0.183333% of one half of these rows is less than a row" in text
    assert max(len(line) for line in text.splitlines() if "/" not in line) <= 110


@pytest.mark.parametrize(
    ("budget", "shown"), [(0.006, "0.6%"), (0.125, "12.5%"), (0.2, "20%"), (0.29, "29%")]
)
def test_a_budget_is_written_as_it_was_given(
    whole: tuple[dict[str, Any], str, Path], budget: float, shown: str
) -> None:
    """The budget keeps its digits, in the text and above the thresholds."""
    values = whole[0] | {"budget": budget}
    assert f"a budget of {shown} gains" in as_text(values)
    assert f"for at most {shown} of the rows" in as_toml(values)


def test_null_articles_are_halved_by_blocks(settings: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    """One null is enough: its row may overlap with any other."""
    table = pq.read_table(dataset)
    ids = [None, *table["article_id"].to_pylist()[1:]]
    place = table.column_names.index("article_id")
    pq.write_table(table.set_column(place, "article_id", pa.array(ids)), tmp_path / "in.parquet")
    values, _ = calibrated(settings, dataset=(str(tmp_path / "in.parquet"),))
    assert values["grouped_by"] == "blocks of rows"
