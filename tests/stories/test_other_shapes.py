"""Stories of vectors 24 wide in contexts of three: bank, run, registry and service, against a plain computation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import reference
from support.datasets import read_rows, write_windows
from support.served import serving

from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.lvm import build_model, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.lvm import ContextModel

pytestmark = pytest.mark.slow

LENGTH, DIM = 3, 24
N_ARTICLES, N_ROWS = 4, 9


@pytest.fixture(scope="module")
def articles() -> np.ndarray:
    """Unit vectors, float32 (articles, rows, dim)."""
    vectors = np.random.default_rng(0).standard_normal((N_ARTICLES, N_ROWS, DIM), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True))


@pytest.fixture(scope="module")
def networks() -> dict[str, ContextModel]:
    """A primary model and a fallback with fresh weights."""
    return {
        "amn": build_model("amn", seed=1, input_dim=DIM, d_model=8, hidden_dim=8).eval(),
        "gru": build_model("gru", seed=2, input_dim=DIM, d_model=8, num_layers=1).eval(),
    }


@pytest.fixture
def registry(tmp_path: Path, networks: dict[str, ContextModel]) -> Path:
    """A folder of the two models, whose files say how long a context is."""
    models = tmp_path / "lvm/models"
    for name, model in networks.items():
        (models / name).mkdir(parents=True)
        facts: dict[str, Any] = {"epoch": 0, "val_loss": 0.5, "val_cosine": 0.5}
        path = models / name / "best_model.pt"
        save_checkpoint(path, model, architecture=name, context_length=LENGTH, **facts)
    return models


@pytest.fixture
def sequences(tmp_path: Path, articles: np.ndarray) -> Path:
    """The articles as a dataset of single vectors."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(articles.reshape(-1)), DIM)
    columns = {
        "article_id": np.repeat(np.arange(N_ARTICLES), N_ROWS),
        "position": np.tile(np.arange(N_ROWS), N_ARTICLES),
        "lane": np.repeat(["news", "sci-fact"] * (N_ARTICLES // 2), N_ROWS),
    }
    pq.write_table(pa.table({**columns, "vector": vectors}), tmp_path / "sequences.parquet")
    return tmp_path / "sequences.parquet"


def contexts_of(articles: np.ndarray) -> np.ndarray:
    """Every window of the articles that has a next vector, (n, 3, dim)."""
    windows = [article[end - LENGTH : end] for article in articles for end in range(LENGTH, N_ROWS)]
    return np.stack(windows)


@torch.inference_mode()
def answers_of(model: ContextModel, contexts: np.ndarray) -> np.ndarray:
    """The published forward pass."""
    answers: np.ndarray = model(torch.from_numpy(contexts)).numpy()
    return answers


def test_a_run_is_the_plain_computation(
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
    tmp_path: Path,
    sequences: Path,
    registry: Path,
    articles: np.ndarray,
    networks: dict[str, ContextModel],
) -> None:
    """Windows and sequences of this shape get the predictions, the routes and the confidence of the plain way."""
    lvm_batch("bank", "build", sequences, "--output", tmp_path / "bank").done()
    contexts = contexts_of(articles)
    lanes = np.repeat(["news", "sci-fact"] * (N_ARTICLES // 2), N_ROWS - LENGTH)
    windows = write_windows(
        tmp_path / "windows.parquet",
        contexts,
        contexts[:, 0],
        encoding="fixed_size_list",
        columns={"lane": lanes},
    )
    models = ("--model", registry / "amn", "--fallback", registry / "gru", "--bank", tmp_path / "bank")
    loose = ("--min-confidence", -1, "--min-margin", 0, "--max-fallback-rate", 1)
    for data in (windows, sequences):
        predict(data, "--output", tmp_path / data.stem, *models, *loose).done()
    primary, fallback = (answers_of(networks[name], contexts) for name in ("amn", "gru"))
    expected = np.where((lanes == "sci-fact")[:, None], fallback, primary)
    confidence = reference.nearest_two(primary, articles.reshape(-1, DIM), contexts)[:, 0]
    of_windows = read_rows(tmp_path / "windows")
    of_sequences = [
        row for row in read_rows(tmp_path / "sequences") if LENGTH - 1 <= row["position"] < N_ROWS - 1
    ]
    for rows in (of_windows, of_sequences):
        assert [row["route"] for row in rows] == np.where(lanes == "sci-fact", "gru", "amn").tolist()
        assert np.stack([row["prediction"] for row in rows]) == pytest.approx(expected, abs=1e-5)
        assert [row["confidence"] for row in rows] == pytest.approx(confidence.tolist(), abs=1e-5)
    short = [row["status"] for row in read_rows(tmp_path / "sequences") if row["position"] < LENGTH - 1]
    assert short == ["short_context"] * N_ARTICLES * (LENGTH - 1)


def test_the_length_is_a_part_of_the_job(
    lvm_batch: Callable[..., Any], tmp_path: Path, sequences: Path, networks: dict[str, ContextModel]
) -> None:
    """Files of the same weights that say different lengths are different jobs."""
    fingerprints = []
    for length in (3, 4):
        path = tmp_path / f"{length}.pt"
        facts: dict[str, Any] = {"epoch": 0, "val_loss": 0.5, "val_cosine": 0.5}
        save_checkpoint(path, networks["amn"], architecture="amn", context_length=length, **facts)
        values = lvm_batch("plan", sequences, "--model", path, "--output", tmp_path / "out").done()
        fingerprints.append(values["fingerprint"])
    assert len(set(fingerprints)) == 2


def test_the_registry_and_the_evaluation_take_it(
    lvm_batch: Callable[..., Any], sequences: Path, registry: Path
) -> None:
    """Both models get their roles on data of this shape, and are judged on contexts of three."""
    places = ("--models-dir", registry)
    for name in ("amn", "gru"):
        lvm_batch("models", "promote", name, *places, "--data", sequences, "--dim", DIM).done()
    values = lvm_batch("evaluate", sequences, *places).done()
    n_windows = N_ARTICLES * (N_ROWS - LENGTH)
    assert (values["context_length"], values["dim"], values["rows"]["judged"]) == (LENGTH, DIM, n_windows)
    shown = lvm_batch("models", "show", "amn", *places).done()
    assert (shown["context_length"], shown["dim"]) == (LENGTH, DIM)


def test_a_service_takes_contexts_of_three(
    registry: Path, articles: np.ndarray, networks: dict[str, ContextModel]
) -> None:
    """A query of three vectors is answered as the model answers it."""
    contexts = contexts_of(articles)[:4]
    settings = ServeSettings(model=str(registry / "amn"), fallback=str(registry / "gru"), device="cpu")
    expected = answers_of(networks["amn"], contexts)
    with serving(settings) as served:
        for context, answer in zip(contexts, expected, strict=True):
            got = served.post(json={"context": context.tolist()}).json()
            assert got["prediction"] == pytest.approx(answer.tolist(), abs=1e-5), got
