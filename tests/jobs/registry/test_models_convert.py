"""``lvm-batch models convert``, and a registry whose models are safetensors files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from lvm_batch.jobs.registry import conversion
from lvm_batch.lvm import CheckpointError, build_model, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

    from lvm_batch.lvm.checkpoints.conversion import Conversion

DIM = 16
FACTS: dict[str, Any] = {"context_length": 4, "epoch": 3, "val_loss": 0.5, "val_cosine": 0.625}


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A registry of one small AMN."""
    folder = tmp_path / "lvm/models"
    (folder / "amn").mkdir(parents=True)
    model = build_model("amn", seed=1, input_dim=DIM, d_model=8, hidden_dim=8)
    save_checkpoint(folder / "amn/best_model.pt", model, architecture="amn", **FACTS)
    return folder


@pytest.fixture
def models(lvm_batch: Callable[..., Result], models_dir: Path) -> Callable[..., Result]:
    """Call ``lvm-batch models`` on that registry."""

    def call(command: str, *arguments: object) -> Result:
        return lvm_batch("models", command, *arguments, "--models-dir", models_dir)

    return call


def test_a_model_is_translated_both_ways(models: Callable[..., Result], tmp_path: Path) -> None:
    """A name becomes a safetensors file, that a checkpoint of torch again, with the same weights and figures."""
    there = models("convert", "amn", tmp_path / "amn.safetensors").done()
    back = models("convert", tmp_path / "amn.safetensors", tmp_path / "amn.pt").done()
    assert (there["architecture"], there["dim"], there["context_length"]) == ("amn", DIM, 4)
    assert (there["left_out"], back["source"]) == ([], str(tmp_path / "amn.safetensors"))
    for values in (there, back):
        loaded = load_checkpoint((path := tmp_path / values["path"]).read_bytes(), str(path))
        assert (loaded.sha256, loaded.epoch, loaded.val_cosine) == (values["sha256"], 3, 0.625)
    content = torch.load(tmp_path / "amn.pt", weights_only=True)
    assert content["model_state_dict"].keys() == loaded.model.state_dict().keys()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("amn", "there.pt", "there.pt already exists"),
        ("amn", "amn.onnx", "ends in neither .pt nor .safetensors"),
        ("amn", "there.pt/amn.pt", "cannot be written"),
        ("nobody", "a.pt", "no model 'nobody'"),
        ("there.pt", "a.safetensors", "not a torch.save or safetensors"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    models: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    message: str,
) -> None:
    """The error says why; nothing is written, and no file is written over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt").write_bytes(b"mine")
    result = models("convert", source, target)
    assert result.code == 2
    assert message in result.values["error"]["message"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lvm", "there.pt"]
    assert (tmp_path / "there.pt").read_bytes() == b"mine"


def test_a_model_that_answers_otherwise_is_not_written(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, a file that would be another model is not kept."""

    def spoilt(*arguments: Any, **options: Any) -> Conversion:  # noqa: ANN401 - as the real function
        done = convert(*arguments, **options)
        with torch.no_grad():
            done.after.model.output_layer.bias.add_(torch.arange(DIM))
        return done

    convert = conversion.convert
    monkeypatch.setattr(conversion, "convert", spoilt)
    with pytest.raises(CheckpointError, match="would be another model"):
        conversion.convert_model("amn", str(tmp_path / "a.safetensors"), models_dir=models_dir)
    assert not (tmp_path / "a.safetensors").exists()


def test_a_registry_takes_safetensors_alone(models: Callable[..., Result], models_dir: Path) -> None:
    """Such a model is listed, shown, verified, promoted and rolled back to by its name."""
    (models_dir / "portable").mkdir()
    file = models_dir / "portable/model.safetensors"
    digest = models("convert", "amn", file).done()["sha256"]
    listed = {model["name"]: model for model in models("list").values["models"]}
    assert listed["portable"]["problem"] is None
    assert models("show", "portable").values["sha256"] == digest
    assert models("verify", "portable", "--dim", DIM).done()["passed"]
    for name in ("amn", "portable"):
        models("promote", name, "--dim", DIM).done()
    assert models("show", "production_model").values["path"].endswith("model.safetensors")
    assert models("show", "production_model").values["roles"]["production_model"]["sha256"] == digest


def test_one_of_two_files_is_the_models(models: Callable[..., Result], models_dir: Path) -> None:
    """Beside a best_model.pt, a model.safetensors is a file like any other: promoting it is refused."""
    portable = models_dir / "amn/model.safetensors"
    models("convert", "amn", portable).done()
    assert models("show", "amn").values["path"].endswith("best_model.pt")
    assert models("show", portable).values["path"] == str(portable)
    refused = models("promote", portable, "--dim", DIM)
    assert refused.code == 2
    assert "is not in the registry" in refused.values["error"]["message"]
