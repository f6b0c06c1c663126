"""Tests of training: it learns, is reproducible, resumes exactly, and keeps the best epoch."""

from __future__ import annotations

import io
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from lvm_batch.lvm import ContextModel, ModelError, Predictor, build_model
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.training.recipes import Recipe, recipe_for
from lvm_batch.lvm.training.ridge import RidgeSums
from lvm_batch.lvm.training.ridge_start import start_at_ridge
from lvm_batch.lvm.training.training import Epoch, History, Training, _is_better
from lvm_batch.lvm.training.windows import Windows

pytestmark = pytest.mark.slow

DIM = 32
SMALL = {
    "amn": {"input_dim": DIM, "d_model": 16, "hidden_dim": 32},
    "amn-mixer": {"input_dim": DIM, "hidden_dim": 32, "output_dim": DIM, "d_model": 16, "num_layers": 2},
    "gru": {"input_dim": DIM, "d_model": 24, "num_layers": 2},
    "lstm": {"input_dim": DIM, "hidden_dim": 24},
    "transformer": {"input_dim": DIM, "d_model": 24, "nhead": 2, "num_layers": 2, "dim_feedforward": 32},
}
CPU = torch.device("cpu")


def windows(n_rows: int, *, seed: int) -> Windows:
    """As :func:`arrays`."""
    return Windows.of(*arrays(n_rows, seed=seed))


def arrays(n_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts about a topic, and targets that are the rotated topic, which a mean cannot predict."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0]
    topics = rng.standard_normal((n_rows, DIM)) * np.linspace(3, 0.3, DIM)
    contexts = topics[:, None] + 0.5 * rng.standard_normal((n_rows, 5, DIM))
    targets = topics + 0.7 * topics @ turn
    return unit(contexts), unit(targets)


def unit(rows: np.ndarray) -> np.ndarray:
    """Vectors of unit norm over the last axis, float32."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def small(name: str, seed: int = 0) -> ContextModel:
    """A small model with fresh weights."""
    return build_model(name, seed=seed, **SMALL[name])


def cosine(model: ContextModel, data: Windows) -> float:
    """The mean cosine of predictions and targets."""
    contexts, targets = data.batch(slice(None))
    return float(row_cosines(Predictor(model, CPU)(contexts.numpy()), targets.numpy()).mean())


def fit(
    model: ContextModel, data: Windows, *, recipe: Recipe, seed: int, validation: Windows | None = None
) -> History:
    """Train a model to the end."""
    training = Training(model, data, recipe=recipe, seed=seed, validation=validation)
    for _ in training:
        pass
    return training.finish()


LEARN = Recipe(epochs=8, batch_size=64, learning_rate=3e-3, schedule="cosine", beginning="ridge")
UNSEEN = replace(recipe_for("unseen", "amn", n_windows=5000), epochs=3, dropout=0.2, averaging=0.9)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] if name == "transformer" else []) for name in SMALL]
)
def test_training_beats_the_mean_of_the_context(name: str) -> None:
    """Training beats the mean by far on windows that it did not see."""
    held_out = windows(500, seed=2)
    model = small(name)
    fit(model, windows(1500, seed=1), recipe=LEARN, seed=0)
    contexts, targets = held_out.batch(slice(None))
    mean = row_cosines(contexts.mean(dim=1).numpy(), targets.numpy()).mean()
    assert cosine(model, held_out) > float(mean) + 0.05


@pytest.mark.parametrize("name", ["amn", "gru", "lstm"])
def test_training_repeats_itself_by_seed(name: str) -> None:
    """The same seed gives the same weights and history; another seed gives others."""
    first, second, other = small(name), small(name), small(name)
    data = windows(300, seed=1)
    recipe = replace(LEARN, epochs=2)
    histories = [
        fit(model, data, recipe=recipe, seed=seed) for model, seed in ((first, 4), (second, 4), (other, 5))
    ]
    assert cosine(first, data) == cosine(second, data)
    assert [e.train_loss for e in histories[0].epochs[1:]] == [e.train_loss for e in histories[1].epochs[1:]]
    assert cosine(first, data) != cosine(other, data)


@pytest.mark.parametrize(
    "recipe",
    [recipe_for("v0", "lstm", n_windows=300), replace(LEARN, warmup=0.2), UNSEEN],
    ids=["v0", "cosine", "unseen"],
)
def test_a_resumed_training_equals_an_uninterrupted_one(recipe: Recipe) -> None:
    """A state saved after an epoch and loaded into another training gives the same weights, bit for bit."""
    recipe = replace(recipe, epochs=5, batch_size=64)
    data, held_out = windows(300, seed=1), windows(100, seed=2)
    uninterrupted, broken = small("lstm"), small("lstm")
    expected = fit(uninterrupted, data, recipe=recipe, seed=3, validation=held_out)
    states = {}
    for epoch in (training := Training(broken, data, recipe=recipe, seed=3, validation=held_out)):
        states[epoch.number] = training.state()
        if epoch.number == 2:
            break
    saved = io.BytesIO()
    torch.save(states[2], saved)
    again = Training(small("lstm", seed=9), data, recipe=recipe, seed=3, validation=held_out)
    again.restore(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    reported = [epoch.number for epoch in again]
    history = again.finish()
    assert reported == [3, 4, 5]
    assert [asdict(epoch) for epoch in history.epochs[1:]] == [asdict(epoch) for epoch in expected.epochs[1:]]
    for name, weights in uninterrupted.state_dict().items():
        assert torch.equal(weights, again.model.state_dict()[name])


def test_averaged_weights_are_judged_and_kept() -> None:
    """The judged cosine is that of averaged weights; the kept model has them, and training goes on from the others."""
    data, held_out = windows(300, seed=1), windows(200, seed=2)
    recipe = replace(LEARN, epochs=2, averaging=0.9)
    training = Training(small("amn"), data, recipe=recipe, seed=0, validation=held_out)
    for epoch in training:
        if epoch.number == 2:
            assert cosine(training.judged, held_out) == pytest.approx(epoch.val_cosine, abs=1e-6)
            assert cosine(training.model, held_out) != pytest.approx(epoch.val_cosine, abs=1e-6)
    averaged = cosine(training.judged, data)
    assert training.finish().best.number == 2
    assert cosine(training.model, data) == averaged


def test_no_averages_before_a_step() -> None:
    """Epoch 0 judges the model that training begins at, with averages or without."""
    held_out = windows(100, seed=2)
    recipes = [replace(LEARN, epochs=0, averaging=keep) for keep in (0.0, 0.99)]
    first, second = (
        fit(small("amn"), windows(200, seed=1), recipe=recipe, seed=0, validation=held_out).best.val_cosine
        for recipe in recipes
    )
    assert first == second


@pytest.mark.parametrize("name", ["amn", "gru"])
def test_features_are_dropped_in_training_only(name: str) -> None:
    """Dropout changes what is learnt, by the seed alone, and nothing in how the trained model predicts."""
    data = windows(200, seed=1)
    recipe = replace(LEARN, epochs=1, dropout=0.5)
    first, second, without = small(name), small(name), small(name)
    for model in (first, second):
        fit(model, data, recipe=recipe, seed=4)
    fit(without, data, recipe=replace(recipe, dropout=0.0), seed=4)
    assert cosine(first, data) == cosine(second, data) == cosine(first, data)
    assert cosine(first, data) != cosine(without, data)


@pytest.mark.parametrize("name", SMALL)
def test_no_model_ends_below_its_start(name: str) -> None:
    """On held-out articles, what is kept is never worse than the start at ridge regression, even of few windows."""
    held_out = windows(200, seed=2)
    recipe = replace(recipe_for("unseen", name, n_windows=60), epochs=2, learning_rate=0.05)
    history = fit(small(name), windows(60, seed=1), recipe=recipe, seed=0, validation=held_out)
    assert history.best.val_cosine >= history.epochs[0].val_cosine  # type: ignore[operator]


def test_recipes_of_before_are_told_apart_as_before() -> None:
    """Settings that came later are part of a recipe's identity only where they are used."""
    assert "averaging" not in recipe_for("v1", "amn", n_windows=300).identity()
    assert replace(LEARN, averaging=0.9).identity() == LEARN.identity() | {"averaging": 0.9}


def test_training_leaves_the_random_state_alone() -> None:
    """Training does not change the global random state."""
    before = torch.get_rng_state()
    fit(small("lstm"), windows(100, seed=1), recipe=replace(LEARN, epochs=1), seed=9)
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_epoch_is_kept() -> None:
    """If the learning rate destroys the model, the initial weights are the best and are restored."""
    model, held_out = small("amn"), windows(200, seed=2)
    recipe = replace(LEARN, epochs=3, learning_rate=3.0)
    history = fit(model, windows(300, seed=1), recipe=recipe, seed=0, validation=held_out)
    assert history.best.number == 0
    assert history.epochs[-1].val_cosine < history.best.val_cosine  # type: ignore[operator]
    assert cosine(model, held_out) == pytest.approx(history.best.val_cosine, abs=1e-6)
    assert not model.training


def test_the_best_epoch_may_be_in_the_middle() -> None:
    """The kept weights are those with the best cosine in the history."""
    model, held_out = small("gru"), windows(200, seed=2)
    history = fit(model, windows(300, seed=1), recipe=LEARN, seed=0, validation=held_out)
    assert history.best.val_cosine == max(e.val_cosine for e in history.epochs)  # type: ignore[type-var]
    assert cosine(model, held_out) == pytest.approx(history.best.val_cosine, abs=1e-6)


def test_epochs_are_reported_as_they_end() -> None:
    """Epoch 0 is the initial model; without validation the last epoch is kept."""
    training = Training(small("amn"), windows(300, seed=1), recipe=replace(LEARN, epochs=3), seed=0)
    reported = list(training)
    history = training.finish()
    assert [epoch.number for epoch in reported] == [0, 1, 2, 3]
    assert tuple(reported) == history.epochs
    assert history.best is history.epochs[-1]
    assert history.epochs[3].train_loss < history.epochs[1].train_loss
    assert history.best.val_cosine is None
    assert history.stopped == "finished"


def test_a_target_without_a_direction_is_ignored() -> None:
    """Cosine and loss use the other windows only, so the best epoch is still found."""
    contexts, targets = arrays(200, seed=2)
    targets[7] = 0
    others = Windows.of(np.delete(contexts, 7, axis=0), np.delete(targets, 7, axis=0))
    histories = [
        fit(small("lstm"), windows(300, seed=1), recipe=replace(LEARN, epochs=2), seed=0, validation=judged)
        for judged in (Windows.of(contexts, targets), others)
    ]
    assert histories[0].best.number > 0
    for epoch, expected in zip(*(history.epochs for history in histories), strict=True):
        assert epoch.val_cosine == pytest.approx(expected.val_cosine)
        assert epoch.val_loss == pytest.approx(expected.val_loss)


def test_a_nan_cosine_is_the_worst() -> None:
    """A NaN cosine is worse than any number, and never an improvement."""
    number, none = (Epoch(1, 0.1, 0.1, cosine, 0.1) for cosine in (-0.5, float("nan")))
    assert _is_better(number, none)
    assert not _is_better(none, number)
    assert not _is_better(none, none)


def test_training_stops_when_the_cosine_does_not_improve() -> None:
    """Training stops after as many epochs without improvement as the recipe's patience."""
    recipe = replace(LEARN, epochs=50, learning_rate=3.0, patience=2)
    history = fit(small("amn"), windows(200, seed=1), recipe=recipe, seed=0, validation=windows(99, seed=2))
    assert history.stopped == "patience"
    assert len(history.epochs) - 1 - history.best.number == 2


def test_training_stops_at_a_nan_loss() -> None:
    """An epoch with a NaN loss is the last one, and the best epoch before it is kept."""
    data = windows(200, seed=1)
    data.vectors[data.contexts[150]] = np.inf
    model, held_out = small("amn"), windows(99, seed=2)
    plain = replace(LEARN, beginning="random", epochs=4)
    history = fit(model, data, recipe=plain, seed=0, validation=held_out)
    assert history.stopped == "diverged"
    assert np.isnan(history.epochs[-1].train_loss)
    assert len(history.epochs) == 2
    assert np.isfinite(cosine(model, held_out))


def test_losses_are_mean_squared_errors() -> None:
    """For unit vectors, loss = (2 - 2 cosine) / dim."""
    held_out = windows(200, seed=2)
    recipe = replace(LEARN, epochs=0)
    epoch = fit(small("amn"), windows(64, seed=1), recipe=recipe, seed=0, validation=held_out).best
    assert epoch.val_loss == pytest.approx((2 - 2 * epoch.val_cosine) / DIM, rel=1e-4)  # type: ignore[operator]


def test_the_rate_follows_its_schedule() -> None:
    """The cosine schedule ends at zero, the plateau halves after three epochs without gain, the constant stays."""
    data, held_out = windows(128, seed=1), windows(64, seed=2)

    def rates(**changed: object) -> list[float]:
        recipe = replace(LEARN, epochs=8, learning_rate=1e-7, **changed)
        return [
            e.learning_rate
            for e in fit(small("amn"), data, recipe=recipe, seed=0, validation=held_out).epochs
        ]

    assert rates(schedule="constant") == [1e-7] * 9
    falling = rates(schedule="cosine")
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.0, abs=1e-15)
    assert rates(schedule="plateau") == [1e-7] * 6 + [0.5e-7] * 3


def test_the_cards_recipes_match_the_cards() -> None:
    """The optimiser is AdamW with weight decay 0.01, and gradients are clipped to 1."""
    for name, (rate, batch, epochs) in {"v0": (1e-3, 512, 30), "v1": (5e-4, 32, 20)}.items():
        recipe = recipe_for(name, "gru", n_windows=300)
        assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (rate, batch, epochs)
        assert (recipe.weight_decay, recipe.max_gradient_norm, recipe.beginning) == (0.01, 1.0, "random")


def test_few_windows_get_more_ridge_and_more_epochs() -> None:
    """The share of ridge regression falls with the number of windows, and there are at least 250 steps."""
    few, many = (recipe_for("unseen", "amn", n_windows=n) for n in (1000, 500_000))
    assert few.teaching > 0.95
    assert many.teaching < 0.05
    assert few.epochs * -(-2000 // few.batch_size) >= 250
    assert many.epochs == 8


def test_many_windows_give_gru_a_teacher() -> None:
    """They do where targets weigh more than ridge regression; its weights are averages then."""
    few, many = (recipe_for("unseen", "gru", n_windows=n) for n in (20_000, 60_000))
    assert (few.epochs, few.averaging, few.taught_by) == (4, 0, None)
    assert (many.epochs, many.averaging, many.taught_by, many.teaching) == (6, 0.998, "amn-mixer", 0.6)


@pytest.mark.parametrize("name", SMALL)
def test_models_start_at_ridge_regression(name: str) -> None:
    """Before the first step a model nearly predicts what ridge regression does, archived ones less closely."""
    model, data = small(name), windows(1000, seed=1)
    sums = RidgeSums(5, DIM)
    contexts, targets = data.batch(slice(None))
    sums.add(contexts, targets)
    ridge = sums.solve()
    start_at_ridge(model, contexts, ridge)
    near = row_cosines(Predictor(model, CPU)(contexts.numpy()), ridge(contexts.numpy())).mean()
    assert near > {"amn": 0.9, "amn-mixer": 0.9, "gru": 0.9, "lstm": 0.8, "transformer": 0.6}[name]


def test_a_model_wider_than_its_vectors_starts_too() -> None:
    """Such a model has more states than there are principal directions."""
    model = build_model("gru", seed=0, input_dim=DIM, d_model=48, num_layers=1)
    data = windows(600, seed=1)
    history = fit(model, data, recipe=replace(LEARN, epochs=0), seed=0, validation=windows(200, seed=2))
    contexts, targets = data.batch(slice(None))
    assert history.best.val_cosine > row_cosines(contexts.mean(dim=1).numpy(), targets.numpy()).mean()


@pytest.mark.parametrize(("n_requested", "n_expected"), [(1, 1), (7, 5), (9, 5), (10, 10), (20, 10)])
def test_a_sample_of_windows_is_limited(n_requested: int, n_expected: int) -> None:
    """Windows are taken evenly from the first on; if there are too few, all of them."""
    data = windows(10, seed=1)
    some = data.some(n_requested)
    assert len(some) == len(data.sample(n_requested)) == n_expected <= n_requested
    assert some.targets[0] == data.targets[0]


def test_nothing_to_train_on_is_refused() -> None:
    """No windows is an error of the data, not of arithmetic."""
    with pytest.raises(ModelError, match="no windows"):
        fit(small("amn"), windows(9, seed=1).take(np.zeros(9, bool)), recipe=LEARN, seed=0)
