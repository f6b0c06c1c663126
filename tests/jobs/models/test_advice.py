"""Tests of commands without a model that fits: what they say, and how little they load for it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import write_windows

from lvm_batch.lvm import build_model, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIM = 16
MODELS = "artifacts/lvm/models"


def save_amn(path: Path, *, dim: int = DIM, length: int = 5, architecture: str = "amn") -> Path:
    """Save a small fresh model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"d_model": 8, "hidden_dim": 8} if architecture == "amn" else {"d_model": 8, "num_layers": 1}
    model = build_model(architecture, seed=1, input_dim=dim, **sizes)
    facts: dict[str, Any] = {"epoch": 0, "val_loss": 0.5, "val_cosine": 0.5}
    save_checkpoint(path, model, architecture=architecture, context_length=length, **facts)
    return path


def write_sequences(path: Path, *, dim: int = DIM) -> Path:
    """Write one article of eight vectors."""
    vectors = np.random.default_rng(0).standard_normal((8, dim), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    pq.write_table(pa.table({"article_id": [1] * 8, "position": range(8), "vector": column}), path)
    return path


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of vectors of 16 components, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_sequences(tmp_path / "my data.parquet")


def errors_of(result: Any) -> list[dict[str, str]]:  # noqa: ANN401 - a Result, of the outer conftest
    """The problems that a command was refused for."""
    error = result.values["error"]
    assert result.code == 2
    return list(error.get("problems", [error]))


def commands_in(hint: str) -> list[list[str]]:
    """The commands in a hint, each as its words."""
    return [shlex.split(line) for line in hint.splitlines() if line.startswith("  lvm-batch ")]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_weights_ship_is_said_with_the_way_to_a_model(
    lvm_batch: Callable[..., Any], dataset: Path, command: str
) -> None:
    """Without a model the error says so, with commands that train one on the user's data and use it."""
    (error,) = errors_of(lvm_batch(command, dataset.name, "--output", "out"))
    assert "lvm-batch ships without weights" in error["message"]
    train, bank, run = commands_in(error["hint"])
    assert train[1:] == ["train", "my data.parquet", "--arch", "amn", "--output", f"{MODELS}/amn"]
    assert bank[1:] == ["bank", "build", "my data.parquet", "--output", "bank"]
    model = f"{MODELS}/amn/best_model.pt"
    assert run[1:] == ["run", "my data.parquet", "--model", model, "--bank", "bank", "--output", "out"]


def test_options_that_say_how_to_read_the_data_are_in_the_commands(
    lvm_batch: Callable[..., Any], dataset: Path
) -> None:
    """A column that the user has named is named again; a bank that is given is not built anew."""
    table = pq.read_table(dataset).rename_columns(["article_id", "position", "odd"])
    pq.write_table(table, dataset)
    (dataset.parent / "known").mkdir()
    options = ("--vector-column", "odd", "--output", "out")
    (error,) = errors_of(lvm_batch("run", dataset.name, *options))
    train, bank, run = commands_in(error["hint"])
    assert all(words[words.index("--vector-column") + 1] == "odd" for words in (train, bank, run))


@pytest.mark.parametrize("has_targets", [True, False])
def test_windows_teach_by_their_targets(
    lvm_batch: Callable[..., Any],
    dataset: Path,
    has_targets: bool,  # noqa: FBT001
) -> None:
    """A model and a bank are made of windows with targets; without any the commands leave the dataset open."""
    contexts = np.random.default_rng(0).standard_normal((6, 5, DIM), dtype=np.float32)
    targets = contexts[:, 0] if has_targets else None
    data = write_windows(dataset.parent / "windows.parquet", contexts, targets, encoding="tensor")
    (error,) = errors_of(lvm_batch("run", data.name, "--output", "out"))
    train, bank, run = commands_in(error["hint"])
    assert (train[2], run[2]) == ("windows.parquet" if has_targets else "DATASET", "windows.parquet")
    named = ["windows.parquet", "--vector-column", "target"] if has_targets else ["DATASET"]
    assert bank[3:-2] == named


def test_models_without_a_role_are_named(lvm_batch: Callable[..., Any], dataset: Path) -> None:
    """A model in the models folder that fits the data is named with its option; others are not."""
    save_amn(dataset.parent / MODELS / "fits/model.safetensors")
    save_amn(dataset.parent / MODELS / "wider/best_model.pt", dim=24)
    save_amn(dataset.parent / MODELS / "fallback/best_model.pt", architecture="gru")
    (dataset.parent / MODELS / "broken").mkdir()
    (dataset.parent / MODELS / "broken/best_model.pt").write_bytes(b"PK\x03\x04")
    (error,) = errors_of(lvm_batch("run", dataset.name, "--output", "out"))
    options = [line for line in error["hint"].splitlines() if line.startswith("  --")]
    assert options == ["  --model fits: amn, contexts of 5 vectors of 16"]


def test_the_models_of_the_demo_are_named(lvm_batch: Callable[..., Any], dataset: Path) -> None:
    """After the demo its models are one option away, if they fit the data."""
    demo = dataset.parent / "lvm-batch-demo/artifacts/lvm"
    save_amn(demo / "models/amn/best_model.pt")
    (demo / "production_model").symlink_to("models/amn")
    (error,) = errors_of(lvm_batch("run", dataset.name, "--output", "out"))
    assert "  --models-dir lvm-batch-demo/artifacts/lvm/models: amn" in error["hint"]
    other = write_sequences(dataset.parent / "wider.parquet", dim=24)
    (error,) = errors_of(lvm_batch("run", other.name, "--output", "out"))
    assert "--models-dir" not in error["hint"]


def test_evaluate_and_serve_say_it_too(lvm_batch: Callable[..., Any], dataset: Path) -> None:
    """Each ends with its own command."""
    (error,) = errors_of(lvm_batch("evaluate", dataset.name))
    assert commands_in(error["hint"])[-1][1] == "evaluate"
    (error,) = errors_of(lvm_batch("serve", "--port", "0"))
    assert commands_in(error["hint"])[-1][1] == "serve"


REFUSED = (
    "run in.parquet --output out",
    "run in.parquet --output out --model wider.pt",
    "plan in.parquet --output out --model nowhere.pt",
    "evaluate in.parquet --model wider.pt",
    "serve --model in.parquet",
)

_REFUSED = """
import sys, multiprocessing.forkserver
from lvm_batch.jobs.cli import main
for command in sys.argv[1:]:
    code = main(command.split())
    loaded = [name for name in ("torch", "dask", "distributed") if name in sys.modules]
    print(code, *loaded, multiprocessing.forkserver._forkserver._forkserver_pid or "")
"""


def test_a_refusal_loads_neither_torch_nor_dask(tmp_path: Path) -> None:
    """What is wrong with models, as far as files tell, is said before anything heavy is loaded or started.

    One process calls the commands one after the other; what one has loaded, all after it would show.
    """
    write_sequences(tmp_path / "in.parquet")
    save_amn(tmp_path / "wider.pt", dim=24)
    process = [sys.executable, "-c", _REFUSED, *REFUSED]
    done = subprocess.run(process, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [["2"]] * len(REFUSED), done.stderr
    assert len(re.findall("^error: ", done.stderr, re.MULTILINE)) == len(REFUSED)


def test_all_that_needs_no_torch_is_said_at_once(lvm_batch: Callable[..., Any], dataset: Path) -> None:
    """Models, columns, places and missing packages are refused together."""
    model = save_amn(dataset.parent / "wider.pt", dim=24)
    (dataset.parent / "file").touch()
    options = ("--output", "file", "--rename", "nothing=else", "--fallback", "nowhere")
    messages = [
        error["message"] for error in errors_of(lvm_batch("run", dataset.name, "--model", model, *options))
    ]
    assert len(messages) == 4
    for part in (
        "file is a file",
        "no model 'nowhere'",
        "holds vectors of 16 components",
        "--rename nothing=else",
    ):
        assert any(part in message for message in messages), part


@pytest.mark.parametrize(
    ("length", "k", "options", "ends"),
    [(3, 5, (), 2), (5, 3, (), 2), (3, 3, (), 0), (5, 3, ("--pad", "repeat"), 0)],
)
def test_the_length_of_contexts_is_checked_before_work(
    lvm_batch: Callable[..., Any], dataset: Path, length: int, k: int, options: tuple[str, ...], ends: int
) -> None:
    """Contexts of another length than the model's are refused in one sentence, unless the user says what to do."""
    contexts = np.random.default_rng(0).standard_normal((6, k, DIM), dtype=np.float32)
    data = write_windows(dataset.parent / "windows.parquet", contexts, contexts[:, 0], encoding="tensor")
    model = save_amn(dataset.parent / "amn.pt", length=length)
    result = lvm_batch("plan", data.name, "--model", model, "--output", "out", *options)
    assert result.code == ends
    if ends:
        (error,) = errors_of(result)
        said = f"column `context` holds contexts of {k} vectors, but the model {model} takes {length}"
        assert error["message"] == f"windows.parquet: {said}"
        assert "--pad repeat" in error["hint"]


@pytest.mark.parametrize(
    ("dim", "length", "said"), [(24, 5, "vectors of 24"), (DIM, 3, "contexts of 3 vectors")]
)
def test_a_fallback_of_another_shape_is_refused(
    lvm_batch: Callable[..., Any], dataset: Path, dim: int, length: int, said: str
) -> None:
    """The primary model and the fallback read the same contexts."""
    model = save_amn(dataset.parent / "amn.pt")
    fallback = save_amn(dataset.parent / "gru.pt", dim=dim, length=length, architecture="gru")
    (error,) = errors_of(
        lvm_batch("plan", dataset.name, "--model", model, "--fallback", fallback, "--output", "o")
    )
    assert said in error["message"]
