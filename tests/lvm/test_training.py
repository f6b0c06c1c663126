"""Training: that it learns, repeats itself, keeps the best, and begins at the mean of the context."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lvm_batch.lvm import (
    RECIPES,
    ContextModel,
    Epoch,
    ModelError,
    Predictor,
    Recipe,
    begin_near_mean,
    build_model,
    fit,
    row_cosines,
)

DIM = 32
SMALL = {
    "amn": {"input_dim": DIM, "d_model": 16, "hidden_dim": 32},
    "amn-mixer": {"input_dim": DIM, "hidden_dim": 32, "output_dim": DIM, "d_model": 16, "num_layers": 2},
    "gru": {"input_dim": DIM, "d_model": 24, "num_layers": 2},
    "lstm": {"input_dim": DIM, "hidden_dim": 24},
    "transformer": {"input_dim": DIM, "d_model": 24, "nhead": 2, "num_layers": 2, "dim_feedforward": 32},
}
CPU = torch.device("cpu")


def windows(n_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts about a topic, and a target that is the topic turned: what a mean cannot give."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0]
    topics = rng.standard_normal((n_rows, DIM)) * np.linspace(3, 0.3, DIM)
    contexts = topics[:, None] + 0.5 * rng.standard_normal((n_rows, 5, DIM))
    targets = topics + 0.7 * topics @ turn
    return unit(contexts), unit(targets)


def unit(rows: np.ndarray) -> np.ndarray:
    """Unit norm over the last axis, float32."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def small(name: str, seed: int = 0) -> ContextModel:
    """A small model with fresh weights."""
    return build_model(name, seed=seed, **SMALL[name])


def cosine(model: ContextModel, contexts: np.ndarray, targets: np.ndarray) -> float:
    """Mean cosine of the predictions with the targets."""
    return float(row_cosines(Predictor(model, CPU)(contexts), targets).mean())


LEARN = Recipe(epochs=8, batch_size=64, learning_rate=3e-3)


@pytest.mark.parametrize("name", SMALL)
def test_training_beats_the_mean_of_the_context(name: str) -> None:
    """On windows that were not trained on, by far."""
    held_out = windows(500, seed=2)
    model = small(name)
    fit(model, *windows(1500, seed=1), recipe=LEARN, seed=0)
    assert cosine(model, *held_out) > float(row_cosines(held_out[0].mean(axis=1), held_out[1]).mean()) + 0.05


@pytest.mark.parametrize("name", ["amn", "lstm"])
def test_training_repeats_itself_by_seed(name: str) -> None:
    """The same seed gives the same weights and history; another seed gives others."""
    first, second, other = small(name), small(name), small(name)
    data = windows(300, seed=1)
    recipe = replace(LEARN, epochs=2)
    histories = [
        fit(model, *data, recipe=recipe, seed=seed) for model, seed in ((first, 4), (second, 4), (other, 5))
    ]
    assert np.array_equal(Predictor(first, CPU)(data[0]), Predictor(second, CPU)(data[0]))
    assert [e.train_loss for e in histories[0].epochs[1:]] == [e.train_loss for e in histories[1].epochs[1:]]
    assert not np.array_equal(Predictor(first, CPU)(data[0]), Predictor(other, CPU)(data[0]))


def test_training_leaves_the_random_state_alone() -> None:
    """A caller's own random numbers do not depend on it."""
    before = torch.get_rng_state()
    fit(small("lstm"), *windows(100, seed=1), recipe=replace(LEARN, epochs=1), seed=9)
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_epoch_is_kept() -> None:
    """With a rate that destroys the model, the weights of the beginning are the best and come back."""
    model, held_out = small("amn"), windows(200, seed=2)
    recipe = Recipe(epochs=3, batch_size=64, learning_rate=3.0, warmup=0)
    history = fit(model, *windows(300, seed=1), recipe=recipe, seed=0, validation=held_out)
    assert history.best.number == 0
    assert history.epochs[-1].val_cosine < history.best.val_cosine  # type: ignore[operator]
    assert cosine(model, *held_out) == pytest.approx(history.best.val_cosine, abs=1e-6)
    assert not model.training


def test_the_best_epoch_may_be_in_the_middle() -> None:
    """The kept weights are those whose cosine the history calls the best."""
    model, held_out = small("gru"), windows(200, seed=2)
    history = fit(model, *windows(300, seed=1), recipe=LEARN, seed=0, validation=held_out)
    assert history.best.val_cosine == max(e.val_cosine for e in history.epochs)  # type: ignore[type-var]
    assert cosine(model, *held_out) == pytest.approx(history.best.val_cosine, abs=1e-6)


def test_epochs_are_told_as_they_come() -> None:
    """The beginning is number 0; without validation the last epoch is kept."""
    told: list[Epoch] = []
    history = fit(
        small("amn"), *windows(300, seed=1), recipe=replace(LEARN, epochs=3), seed=0, on_epoch=told.append
    )
    assert [epoch.number for epoch in told] == [0, 1, 2, 3]
    assert tuple(told) == history.epochs
    assert history.best is history.epochs[-1]
    assert history.epochs[3].train_loss < history.epochs[1].train_loss
    assert history.best.val_cosine is None


def test_losses_are_mean_squared_errors() -> None:
    """Of unit vectors, so that loss = (2 - 2 cosine) / dim."""
    held_out = windows(200, seed=2)
    epoch = fit(small("amn"), *windows(64, seed=1), recipe=Recipe(epochs=0), seed=0, validation=held_out).best
    assert epoch.val_loss == pytest.approx((2 - 2 * epoch.val_cosine) / DIM, rel=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize("name", SMALL)
def test_models_begin_near_the_mean(name: str) -> None:
    """Before the first step AMN predicts the mean of the context exactly, its fallback nearly, the others about."""
    model = small(name)
    contexts = torch.from_numpy(windows(1000, seed=1)[0])
    begin_near_mean(model, contexts)
    means = contexts.mean(dim=1).numpy()
    assert (
        cosine(model, contexts.numpy(), means)
        > {"amn": 0.99999, "amn-mixer": 0.95, "gru": 0.93, "lstm": 0.8, "transformer": 0.6}[name]
    )


def test_a_model_wider_than_its_vectors_begins_too() -> None:
    """There are then fewer principal directions than states."""
    model = build_model("gru", seed=0, input_dim=8, d_model=16, num_layers=1)
    contexts = torch.nn.functional.normalize(
        torch.randn(300, 5, 8, generator=torch.Generator().manual_seed(0)), dim=2
    )
    begin_near_mean(model, contexts)
    assert cosine(model, contexts.numpy(), contexts.mean(dim=1).numpy()) > 0.9


def test_nothing_to_train_on_is_refused() -> None:
    """No windows is an error of the data, not of arithmetic."""
    nothing = np.zeros((0, 5, DIM), np.float32), np.zeros((0, DIM), np.float32)
    with pytest.raises(ModelError, match="no windows"):
        fit(small("amn"), *nothing, recipe=LEARN, seed=0)


def test_both_models_of_the_job_have_a_recipe() -> None:
    """The primary and the fallback."""
    assert set(RECIPES) == {"amn", "gru"}
