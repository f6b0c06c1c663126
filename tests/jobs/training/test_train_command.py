"""``train``: what it writes, that it is reproducible, that it resumes after a kill, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from support.full_disk import files_of_at_most
from support.waiting import wait_until

from lvm_batch.jobs.training import folder
from lvm_batch.lvm import build_model, load_checkpoint
from lvm_batch.lvm.registry.registry import list_models
from lvm_batch.lvm.training import recipes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

DIM = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve articles about twelve topics, of 30 vectors each."""
    rng = np.random.default_rng(3)
    topics = np.repeat(rng.standard_normal((12, DIM)), 30, axis=0)
    vectors = topics + rng.standard_normal(topics.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = {
        "article_id": np.repeat(np.arange(12), 30),
        "position": np.tile(np.arange(30), 12),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).reshape(-1)), DIM),
    }
    path = tmp_path_factory.mktemp("data") / "articles.parquet"
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def train(lvm_batch: Callable[..., Result], dataset: Path) -> Callable[..., Result]:
    """Call ``train`` on the dataset, for two epochs by default."""

    def call(*arguments: object) -> Result:
        return lvm_batch("train", dataset, "--arch", "amn", "--epochs", 2, *arguments)

    return call


def test_a_training_leaves_a_model_with_everything_about_it(
    train: Callable[..., Result], tmp_path: Path
) -> None:
    """The folder holds a checkpoint and a history in production's form, a card and curves, and no state."""
    folder = tmp_path / "models" / "mine"
    result = train("--output", folder, "--seed", 5)
    assert result.code == 0
    content = torch.load(folder / "best_model.pt", weights_only=True)
    assert {
        "model_type",
        "model_state_dict",
        "optimizer_state_dict",
        "epoch",
        "val_loss",
        "val_cosine",
    } <= set(content)
    assert (content["model_type"], content["model_config"]["input_dim"]) == ("amn", DIM)
    checkpoint = load_checkpoint((folder / "best_model.pt").read_bytes(), "mine")
    history = json.loads((folder / "training_history.json").read_text())
    assert history == result.values
    assert history["final_params"] == checkpoint.n_parameters
    assert [epoch["epoch"] for epoch in history["history"]] == [0, 1, 2]
    assert (
        history["best_val_cosine"]
        == checkpoint.val_cosine
        == max(e["val_cosine"] for e in history["history"])
    )
    figures = history["measured"]["validation"]
    assert figures["model"]["cosine"] == pytest.approx(checkpoint.val_cosine, abs=1e-6)
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"{figures['model']['cosine']:.4f}" in card
    assert f"{checkpoint.n_parameters:,}" in card
    assert ET.parse(folder / "curves.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert sorted(path.name for path in folder.glob("[!_]*")) == [
        "MODEL_CARD.md",
        "best_model.pt",
        "curves.svg",
        "model.safetensors",
        "training_history.json",
    ]
    portable = load_checkpoint((folder / "model.safetensors").read_bytes(), "mine")
    assert portable.model.config == checkpoint.model.config
    assert portable.training_vectors is not None
    for key, value in checkpoint.model.state_dict().items():
        assert torch.equal(portable.model.state_dict()[key], value)
    assert not (folder / "_lvm_batch/state.pt").exists()
    assert list_models(folder.parent) == ("mine",)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (
            "unseen",
            "recipe unseen for 250 windows: 2 epochs, 99% of the loss against ridge regression (the fewer",
        ),
        ("v1", "recipe v1 of the models' cards: 2 epochs"),
    ],
)
def test_a_training_says_which_recipe_it_takes_and_why(
    train: Callable[..., Result], tmp_path: Path, recipe: str, told: str
) -> None:
    """The recipe follows from the number of windows; a card's does not."""
    assert told in train("--output", tmp_path / "m", "--recipe", recipe).stderr


def test_a_seed_gives_the_same_model_again(train: Callable[..., Result], tmp_path: Path) -> None:
    """The same seed gives the same weights bit for bit; another seed gives others."""
    weights = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train("--output", tmp_path / name, "--seed", seed).code == 0
        weights[name] = torch.load(tmp_path / name / "best_model.pt", weights_only=True)["model_state_dict"]
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
    assert any(not torch.equal(weights["a"][key], weights["c"][key]) for key in weights["a"])


def test_the_same_command_again_finds_the_training_done(train: Callable[..., Result], tmp_path: Path) -> None:
    """Nothing is trained or written; a different training is refused, and the error names the difference."""
    train("--output", tmp_path / "m").done()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "m").glob("[!_]*")}
    again = train("--output", tmp_path / "m")
    assert (again.code, again.values["best_epoch"]) == (
        0,
        json.loads((tmp_path / "m/training_history.json").read_text())["best_epoch"],
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = train("--output", tmp_path / "m", "--seed", 9, "--learning-rate", 0.5)
    assert (other.code, other.values["error"]["kind"]) == (2, "job_changed")
    assert "learning_rate was 0.002 and is 0.5" in other.values["error"]["message"]
    assert "seed was 0 and is 9" in other.values["error"]["message"]


def test_a_killed_training_resumes(train: Callable[..., Result], dataset: Path, tmp_path: Path) -> None:
    """``kill -9`` after some epochs, then the same command: the model equals that of an uninterrupted training."""
    options = ("--epochs", 12, "--batch-size", 128, "--seed", 3)
    code = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main())"
    command = [
        "train",
        str(dataset),
        "--arch",
        "amn",
        "--output",
        str(tmp_path / "killed"),
        *map(str, options),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    state = tmp_path / "killed/_lvm_batch/state.pt"
    wait_until(lambda: state.exists() or process.poll() is not None, "the first epoch")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert state.exists()
    resumed = train("--output", tmp_path / "killed", *options)
    assert "resuming amn after epoch" in resumed.stderr
    whole = train("--output", tmp_path / "whole", *options)
    strip = ("seconds", "trained_at", "arguments")
    assert {k: v for k, v in resumed.values.items() if k not in strip} == {
        k: v for k, v in whole.values.items() if k not in strip
    }
    models = [
        torch.load(tmp_path / name / "best_model.pt", weights_only=True) for name in ("killed", "whole")
    ]
    for key, weights in models[0]["model_state_dict"].items():
        assert torch.equal(weights, models[1]["model_state_dict"][key])


class Killed(BaseException):
    """Stands for a signal that ends the process."""


@pytest.mark.parametrize("n_states", [3, 10])
def test_a_model_is_taught_by_another(
    lvm_batch: Callable[..., Result],
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_states: int,
) -> None:
    """On many windows gru's teacher is trained first. Killed while either is trained, the command goes on there."""
    monkeypatch.setattr(recipes, "_TAUGHT", 10)
    monkeypatch.setattr(recipes, "_STEPS", 1)
    small = partial(build_model, d_model=32, num_layers=1)
    monkeypatch.setattr(
        "lvm_batch.jobs.training.train.build_model",
        lambda name, **how: (small if name == "gru" else build_model)(name, **how),
    )

    def train(name: str) -> Result:
        given = ("--arch", "gru", "--epochs", 2, "--seed", 3, "--output", tmp_path / name)
        return lvm_batch("train", dataset, *given)

    whole = train("whole").done()
    assert (whole["recipe"]["taught_by"], whole["history"][-1]["epoch"]) == ("amn-mixer", 2)
    assert "60% of it against amn-mixer" in (tmp_path / "whole/MODEL_CARD.md").read_text()
    assert not list((tmp_path / "whole/_lvm_batch").glob("*.pt"))
    save, n_saved = folder.TrainingFolder.save_state, count(1)

    def save_some(self: folder.TrainingFolder, state: Any) -> None:  # noqa: ANN401
        save(self, state)
        if next(n_saved) == n_states:
            raise Killed

    monkeypatch.setattr(folder.TrainingFolder, "save_state", save_some)
    with pytest.raises(Killed):
        train("killed")
    resumed = train("killed")
    assert f"resuming {'amn-mixer' if n_states == 3 else 'gru'} after epoch" in resumed.stderr
    models = [
        torch.load(tmp_path / name / "best_model.pt", weights_only=True) for name in ("killed", "whole")
    ]
    for key, weights in models[0]["model_state_dict"].items():
        assert torch.equal(weights, models[1]["model_state_dict"][key])


@pytest.mark.parametrize("arch", ["amn-mixer", "lstm-v0", "transformer-v0"])
def test_every_architecture_trains_at_another_context_length(
    lvm_batch: Callable[..., Result], dataset: Path, tmp_path: Path, arch: str
) -> None:
    """Seven vectors instead of five, by the recipe of a card, one epoch; the checkpoint loads by its shapes."""
    options = ("--recipe", "v0", "--epochs", 1, "--context-length", 7)
    result = lvm_batch("train", dataset, "--arch", arch, "--output", tmp_path / arch, *options)
    assert (result.code, result.values["context_length"], result.values["best_epoch"]) == (
        0,
        7,
        result.values["best_epoch"],
    )
    loaded = load_checkpoint((tmp_path / arch / "best_model.pt").read_bytes(), arch)
    model = loaded.model
    assert loaded.length == 7
    assert model(torch.zeros(2, 7, DIM) + 0.1).shape == (2, DIM)


def test_a_nan_loss_ends_with_the_best_model(
    lvm_batch: Callable[..., Result], dataset: Path, tmp_path: Path
) -> None:
    """A learning rate that overflows the weights: exit code 1, and the best earlier model is kept."""
    options = ("--arch", "amn", "--recipe", "v1", "--learning-rate", "1e30", "--output", tmp_path / "m")
    result = lvm_batch("train", dataset, *options)
    assert (result.code, result.values["error"]["kind"], result.values["stopped"]) == (
        1,
        "diverged",
        "diverged",
    )
    assert (tmp_path / "m/best_model.pt").exists()
    assert "--learning-rate" in result.values["error"]["hint"]


def test_vectors_whose_products_overflow_are_refused(
    lvm_batch: Callable[..., Result], tmp_path: Path
) -> None:
    """Their products overflow, so they are refused before anything is trained."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, DIM)) * 1e30).astype(np.float32)
    table = {
        "article_id": np.repeat([1, 2, 3], 20),
        "position": np.tile(np.arange(20), 3),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
    }
    pq.write_table(pa.table(table), tmp_path / "long.parquet")
    result = lvm_batch("train", tmp_path / "long.parquet", "--arch", "amn", "--output", tmp_path / "m")
    assert (result.code, result.values["error"]["kind"]) == (2, "model")
    assert "too long" in result.values["error"]["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--arch", "mamba"), "--arch cannot be 'mamba'"),
        (("--epochs", "-1"), "--epochs cannot be '-1'"),
        (("--validation-share", "1"), "--validation-share cannot be '1'"),
        (("--output", "s3://bucket/m"), "a folder on this machine"),
        (("--context-length", "40"), "none of 360 rows is a window"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    train: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """Each error names the cause, before anything is trained, with exit code 2."""
    result = train("--output", tmp_path / "m", *options)
    assert result.code == 2
    assert message in result.values["error"]["message"]
    assert not (tmp_path / "m/best_model.pt").exists()


def test_sequences_shorter_than_a_window_are_refused(
    lvm_batch: Callable[..., Result], tmp_path: Path
) -> None:
    """All rows together are fewer than a window needs."""
    vectors = np.eye(3, 768, dtype=np.float32)
    columns = {
        "article_id": [1, 1, 1],
        "position": [0, 1, 2],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 768),
    }
    pq.write_table(pa.table(columns), tmp_path / "short.parquet")
    result = lvm_batch("train", tmp_path / "short.parquet", "--arch", "amn", "--output", tmp_path / "m")
    assert (result.code, "none of 3 rows is a window" in result.values["error"]["message"]) == (2, True)


def test_all_missing_settings_are_reported_at_once(lvm_batch: Callable[..., Result]) -> None:
    """Dataset, architecture and output are reported together."""
    result = lvm_batch("train")
    messages = [problem["message"] for problem in result.values["error"]["problems"]]
    assert messages == ["no dataset is given", "no arch is given", "no output is given"]


def test_a_model_from_elsewhere_is_not_written_over(train: Callable[..., Result], tmp_path: Path) -> None:
    """Without our history file, the folder may hold the only copy of somebody's model."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/best_model.pt").write_bytes(b"mine")
    result = train("--output", tmp_path / "m")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert (tmp_path / "m/best_model.pt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"identity": null}', '{"identity": ["arch"]}', "\xff"]
)
def test_a_history_from_elsewhere_is_named(train: Callable[..., Result], tmp_path: Path, text: str) -> None:
    """The error names the history that another program wrote, and nothing is trained beside it."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/training_history.json").write_bytes(text.encode("latin-1"))
    result = train("--output", tmp_path / "m")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert "training_history.json" in result.values["error"]["message"]
    assert not (tmp_path / "m/best_model.pt").exists()


@pytest.mark.parametrize("content", [{}, {"identity": "[1]", "state": {}}, {"identity": None, "state": {}}])
def test_a_state_from_elsewhere_is_named(
    train: Callable[..., Result], tmp_path: Path, content: dict[str, object]
) -> None:
    """It is named like a damaged state, whatever it holds."""
    (tmp_path / "m/_lvm_batch").mkdir(parents=True)
    torch.save(content, tmp_path / "m/_lvm_batch/state.pt")
    result = train("--output", tmp_path / "m")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")


def test_a_full_disk_is_an_error_and_the_training_resumes(
    train: Callable[..., Result], dataset: Path, tmp_path: Path
) -> None:
    """The error names the file; once there is space again, the same command completes the training."""
    with files_of_at_most(100_000):
        result = train("--output", tmp_path / "m")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert "state.pt cannot be written: File too large" in result.values["error"]["message"]
    assert "make room; the same command resumes" in result.values["error"]["hint"]
    assert list((tmp_path / "m/_lvm_batch").glob("*.tmp")) == []
    assert train("--output", tmp_path / "m").code == 0


def test_targets_without_a_direction_ruin_no_training(
    lvm_batch: Callable[..., Result], tmp_path: Path
) -> None:
    """With one such target in each article, on both sides of the split, training uses the others."""
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.standard_normal((6, 1, DIM)), 15, axis=1) + rng.standard_normal((6, 15, DIM)) / 2
    contexts = np.stack([vectors[:, row : row + 5] for row in range(10)], axis=1).reshape(60, -1)
    targets = vectors[:, 5:].reshape(60, DIM)
    targets[::10] = 0
    table = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), rows.shape[1])
        for name, rows in (("context", contexts), ("target", targets))
    }
    pq.write_table(pa.table({**table, "article_id": np.repeat(np.arange(6), 10)}), tmp_path / "w.parquet")
    result = lvm_batch(
        "train", tmp_path / "w.parquet", "--arch", "amn", "--epochs", 2, "--output", tmp_path / "m"
    )
    assert result.code == 0
    assert sum(result.values["windows"].values()) == 54
    assert all(epoch["val_cosine"] is not None for epoch in result.values["history"])


def test_a_damaged_state_is_named(train: Callable[..., Result], tmp_path: Path) -> None:
    """The error says what to do about it; nothing is overwritten silently."""
    (tmp_path / "m/_lvm_batch").mkdir(parents=True)
    (tmp_path / "m/_lvm_batch/state.pt").write_bytes(b"rubbish")
    result = train("--output", tmp_path / "m")
    assert result.code == 2
    assert "state.pt is damaged" in result.values["error"]["message"]
    assert "remove it" in result.values["error"]["hint"]


def test_the_norm_of_a_training_is_kept_by_whatever_uses_the_model(
    train: Callable[..., Result], predict: Callable[..., Result], dataset: Path, tmp_path: Path
) -> None:
    """A run of vectors of any norm gives what unit vectors give, with a fallback that reads them as they are."""
    train("--arch", "gru", "--epochs", 1, "--output", tmp_path / "gru").done()
    train("--output", tmp_path / "amn", "--input-norm", "unit").done()
    refused = train("--output", tmp_path / "amn")
    assert "input_norm was unit and is None" in refused.values["error"]["message"]
    assert "scaled to unit norm" in (tmp_path / "amn/MODEL_CARD.md").read_text()

    table = pq.read_table(dataset)
    flat = table["vector"].combine_chunks().flatten().to_numpy()
    scaled = pa.FixedSizeListArray.from_arrays(pa.array(flat * np.float32(7)), DIM)
    pq.write_table(table.set_column(2, "vector", scaled), tmp_path / "scaled.parquet")
    rows = {}
    for path in (dataset, tmp_path / "scaled.parquet"):
        output = tmp_path / f"out-{path.stem}"
        models = ["--model", tmp_path / "amn", "--fallback", tmp_path / "gru", "--shadow-rate", 1]
        predict(path, "--output", output, *models).done()
        rows[path.stem] = pq.read_table(next(output.glob("*.parquet"))).filter(pc.field("status") == "ok")
    plain, scaled_rows = (
        np.stack(rows[stem]["prediction"].to_numpy(zero_copy_only=False)) for stem in ("articles", "scaled")
    )
    np.testing.assert_allclose(plain, scaled_rows, atol=1e-5)
    by_gru = [rows[stem]["gru_cosine"].to_numpy() for stem in ("articles", "scaled")]
    assert np.nanmax(np.abs(by_gru[0] - by_gru[1])) > 1e-4
