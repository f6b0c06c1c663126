"""Tests of the presets, which give the architectures the sizes of the v0 cards."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch

from lvm_batch.lvm.architectures.catalog import ARCHITECTURES, PRESETS, build_model
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from lvm_batch.lvm.errors import ArchitectureError

if TYPE_CHECKING:
    from pathlib import Path

PRINTED = {"lstm-v0": (3.5e6, 14.1e6), "transformer-v0": (5.9e6, 23.7e6)}  # parameters, bytes


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_sizes_that_the_cards_print(name: str) -> None:
    """Parameters and float32 bytes are within 2 % of the table in the v0 cards."""
    parameters, n_bytes = PRINTED[name]
    n_parameters = build_model(name, seed=0).n_parameters
    assert n_parameters == pytest.approx(parameters, rel=0.02)
    assert 4 * n_parameters == pytest.approx(n_bytes, rel=0.02)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("bare", [False, True])
def test_a_preset_is_recognised_by_its_shapes(name: str, bare: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A preset saved under its name, or as weights alone, is loaded as its architecture and predicts the same."""
    model = build_model(name, seed=3).eval()
    save_checkpoint(tmp_path / "m.pt", model, architecture=name, epoch=1, val_loss=None, val_cosine=None)
    data = io.BytesIO()
    torch.save(model.state_dict(), data)
    loaded = load_checkpoint(data.getvalue() if bare else (tmp_path / "m.pt").read_bytes(), "m.pt")
    contexts = torch.randn(3, 5, 768, generator=torch.Generator().manual_seed(1))
    assert (loaded.architecture, loaded.dim) == (PRESETS[name].architecture, 768)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(contexts), model(contexts))


def test_what_is_stored_is_the_architecture(tmp_path: Path) -> None:
    """A preset's checkpoint is an ordinary one: ``model_type`` names the architecture, which other code can load."""
    model = build_model("lstm-v0", seed=0, input_dim=24, hidden_dim=8)
    save_checkpoint(tmp_path / "m.pt", model, architecture="lstm-v0", epoch=1, val_loss=None, val_cosine=None)
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert (content["model_type"], content["model_config"]["num_layers"]) == ("lstm", 1)


def test_dimensions_win_over_a_preset() -> None:
    """Explicit dimensions override the preset's; the architecture's own defaults do not change."""
    model = build_model("transformer-v0", seed=0, input_dim=24, dim_feedforward=32)
    given = {key: model.config[key] for key in ("input_dim", "d_model", "num_layers", "dim_feedforward")}
    assert given == {"input_dim": 24, "d_model": 320, "num_layers": 4, "dim_feedforward": 32}
    assert build_model("transformer", seed=0, input_dim=24).config["d_model"] == 512


def test_presets_are_no_architectures_of_their_own() -> None:
    """Presets and architectures are listed separately, and the error for an unknown name lists both."""
    assert not set(PRESETS) & set(ARCHITECTURES)
    with pytest.raises(ArchitectureError) as caught:
        build_model("transformer-v1", seed=0)
    assert "did you mean transformer-v0?" in caught.value.hint
    assert all(name in caught.value.hint for name in [*ARCHITECTURES, *PRESETS])
