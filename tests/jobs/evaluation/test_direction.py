"""`evaluate`: which way a model looks, whether it uses the order of its context, and which rows it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.command import called

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.evaluation import judged_models
from lvm_batch.lvm import build_model, save_checkpoint
from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors
from lvm_batch.lvm.evaluation.context_order import ContextShuffle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

DIM, N_ARTICLES, LENGTH = 12, 20, 30
RANDOM = np.random.default_rng(0)
STEPS = RANDOM.standard_normal((N_ARTICLES, LENGTH, DIM), dtype=np.float32)
VECTORS = STEPS.cumsum(axis=1).reshape(-1, DIM) / 4 + 0.5  # each vector is near the one before it
ARTICLES = np.repeat(np.arange(N_ARTICLES), LENGTH)
TARGETS = np.array([row for row in range(5, len(VECTORS)) if row % LENGTH >= 5])
TRAINED_ON = 5  # articles


def write(path: Path, vectors: np.ndarray) -> Path:
    """Vectors as sequences."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns = {"vector": pa.FixedSizeListArray.from_arrays(flat, DIM), "article_id": ARTICLES}
    pq.write_table(pa.table(columns | {"position": np.tile(np.arange(LENGTH), N_ARTICLES)}), path)
    return path


def save(path: Path, architecture: str, digest: TrainingVectors | None) -> None:
    """A checkpoint with fresh weights, and perhaps the digest of what it was trained on."""
    model = build_model(architecture, seed=1, input_dim=DIM, d_model=8)
    facts: dict[str, Any] = {"architecture": architecture, "epoch": 1, "val_loss": None, "val_cosine": None}
    save_checkpoint(path, model, **facts, training_vectors=digest)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """An evaluation of an AMN and a GRU over walks, with a bank of all vectors; and the place of it all."""
    folder = tmp_path_factory.mktemp("direction")
    write(folder / "walks.parquet", VECTORS)
    build_bank(find_files([str(folder / "walks.parquet")]), str(folder / "bank"), vector_column="vector")
    save(folder / "amn.pt", "amn", TrainingVectors.of(VECTORS[: TRAINED_ON * LENGTH]))
    save(folder / "gru.pt", "gru", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged_models, "QUERIES", 5)
        options = ("--model", folder / "amn.pt", "--model", folder / "gru.pt", "--bank", folder / "bank")
        yield (
            called("evaluate", folder / "walks.parquet", *options, "--output", folder / "out").done(),
            folder,
        )


def figures(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The figures of a model or baseline."""
    return next(each for each in (*values["models"], *values["baselines"]) if each["name"] == name)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cosine of each row."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return (left.astype(np.float64) * right).sum(axis=1) / norms


def test_the_direction_is_the_cosine_with_the_next_less_that_with_the_last(
    judged: tuple[dict[str, Any], Path],
) -> None:
    """Mean and interval are those of a plain computation over articles, drawn again with the same seed."""
    values, _ = judged
    contexts, targets = VECTORS[TARGETS[:, None] + np.arange(-5, 0)], VECTORS[TARGETS]
    model = build_model("amn", seed=1, input_dim=DIM, d_model=8).eval()
    with torch.inference_mode():
        predictions = model(torch.from_numpy(contexts)).numpy()
    ahead = cosines(predictions, targets) - cosines(predictions, contexts[:, -1])
    sums = np.array([ahead[ARTICLES[TARGETS] == article].sum() for article in range(N_ARTICLES)])
    drawn = np.random.default_rng(0).multinomial(N_ARTICLES, [1 / N_ARTICLES] * N_ARTICLES, size=1000)
    expected = np.percentile(drawn @ sums / (drawn.sum(axis=1) * (LENGTH - 5)), [2.5, 97.5])
    over_last = figures(values, "amn")["direction"]["over_last"]
    assert over_last["mean"] == pytest.approx(ahead.mean(), abs=1e-6)
    assert over_last["interval"] == pytest.approx(expected, abs=1e-6)


def test_a_model_that_looks_back_is_called_so(judged: tuple[dict[str, Any], Path]) -> None:
    """It is said where the whole interval lies below zero, in the values, the notices and the report."""
    values, folder = judged
    last = figures(values, "last vector")["direction"]
    assert (last["closer_to"], last["over_shuffled"]) == ("previous", None)
    said = [name for name in ("amn", "gru") if figures(values, name)["direction"]["closer_to"] == "previous"]
    assert said
    for name in ("amn", "gru"):
        sentence = f"{name}: this model is closer to the previous vector than to the next"
        assert any(notice.startswith(sentence) for notice in values["notices"]) == (name in said)
        assert (sentence in (folder / "out/leaderboard.md").read_text()) == (name in said)


def test_only_a_model_that_sees_positions_loses_by_a_shuffled_context(
    judged: tuple[dict[str, Any], Path],
) -> None:
    """An AMN sees none, so that another order changes nothing but rounding; the difference of a GRU is another."""
    values, _ = judged
    of_amn, of_gru = (figures(values, name)["direction"]["over_shuffled"] for name in ("amn", "gru"))
    assert of_amn["mean"] == pytest.approx(0, abs=1e-6)
    assert abs(of_gru["mean"]) > 1e-4
    assert of_gru["interval"][0] <= of_gru["mean"] <= of_gru["interval"][1]


def test_a_shuffle_depends_on_rows_and_not_on_batches() -> None:
    """Cut anyhow, the same rows get the same order; no row keeps its own, and none loses a vector."""
    contexts = np.arange(200 * 3, dtype=np.float32).reshape(200, 3, 1)
    whole, cut = ContextShuffle(7)(contexts), ContextShuffle(7)
    assert np.array_equal(whole, np.concatenate([cut(contexts[:31]), cut(contexts[31:])]))
    assert (whole != contexts).any(axis=(1, 2)).all()
    assert np.array_equal(np.sort(whole, axis=1), contexts)
    assert not np.array_equal(whole, ContextShuffle(8)(contexts))


def test_recall_stands_beside_that_of_the_last_vector(judged: tuple[dict[str, Any], Path]) -> None:
    """At each depth: the share of the retrieval table, its interval, and how much more than the last vector finds."""
    values, folder = judged
    last = figures(values, "last vector")
    for name in ("amn", "gru", "mean of context"):
        model = figures(values, name)
        for depth in (1, 5, 10):
            key = f"recall_at_{depth}"
            found = model["recall"][key]
            assert found["mean"] == pytest.approx(model["retrieval"][key])
            assert found["over_last"]["mean"] == pytest.approx(found["mean"] - last["retrieval"][key])
            assert found["interval"][0] <= found["mean"] <= found["interval"][1]
    assert last["recall"]["recall_at_5"]["over_last"] == {"mean": 0, "interval": [0, 0]}
    board = (folder / "out/leaderboard.md").read_text()
    assert all(f"| {name} | recall | interval | over last | interval |" in board for name in ("R@5", "R@10"))


def test_rows_of_the_training_are_counted(judged: tuple[dict[str, Any], Path]) -> None:
    """A model tells how many rows it was trained on, and many of them are a warning; without a digest it is unknown."""
    values, folder = judged
    seen = figures(values, "amn")["seen"]
    assert seen["seen"] == pytest.approx(TRAINED_ON * (LENGTH - 5), abs=4)
    assert (seen["rows"], seen["told"], seen["trained_on"]) == (len(TARGETS), len(TARGETS), 150)
    assert any("amn was trained on 25" in notice for notice in values["notices"])
    assert figures(values, "gru")["seen"] is None
    assert "| gru | - | - | unknown | - |" in (folder / "out/leaderboard.md").read_text()


def test_contexts_of_one_vector_have_no_other_order(judged: tuple[dict[str, Any], Path]) -> None:
    """There is then no figure of the order, and everything else is judged."""
    _, folder = judged
    values = called(
        "evaluate", folder / "walks.parquet", "--model", folder / "gru.pt", "--context-length", 1
    ).done()
    direction = values["models"][0]["direction"]
    assert direction["over_shuffled"] is None
    assert direction["over_last"]["mean"] is not None
