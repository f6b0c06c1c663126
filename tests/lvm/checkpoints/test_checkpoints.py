"""Tests of checkpoints: which files load, which are refused, and that no code in a file runs."""

from __future__ import annotations

import hashlib
import io
import pathlib
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support.full_disk import files_of_at_most

from lvm_batch.lvm import (
    ArchitectureError,
    CheckpointError,
    ContextModel,
    build_model,
    load_checkpoint,
    save_checkpoint,
)
from lvm_batch.lvm.architectures.catalog import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable

DIMENSIONS = {
    "amn": {"input_dim": 12, "d_model": 4, "hidden_dim": 6},
    "amn-mixer": {
        "input_dim": 12,
        "hidden_dim": 10,
        "output_dim": 12,
        "d_model": 6,
        "num_heads": 2,
        "num_layers": 3,
    },
    "gru": {"input_dim": 12, "d_model": 4, "num_layers": 3},
    "lstm": {"input_dim": 12, "hidden_dim": 4, "num_layers": 3},
    "transformer": {"input_dim": 12, "d_model": 6, "nhead": 3, "num_layers": 3, "dim_feedforward": 10},
}


def small(name: str = "amn") -> ContextModel:
    """A small model with fresh weights."""
    return build_model(name, seed=0, **DIMENSIONS[name]).eval()


def file_of(content: object, **how: Any) -> bytes:  # noqa: ANN401 - torch.save's own options
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def production_file(name: str = "amn", **changed: object) -> bytes:
    """A checkpoint in production's form, with some entries changed or, if None, left out."""
    model = small(name)
    content: dict[str, object] = {
        "model_type": name,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": torch.optim.AdamW(model.parameters()).state_dict(),
        "epoch": 17,
        "val_loss": 0.0004,
        "val_cosine": 0.5597,
        "model_config": dict(model.config),
        "args": {
            "lr": 5e-4,
            "output_dir": pathlib.Path("artifacts/run"),
            "data": pathlib.PurePosixPath("/x.npz"),
        },
    }
    return file_of({key: value for key, value in (content | changed).items() if value is not None})


def refusal(data: bytes) -> CheckpointError:
    """The error raised by loading; checks that it names the file and has a hint."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(data, "run/best_model.pt")
    assert str(caught.value).startswith("run/best_model.pt: ")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_a_saved_model_predicts_the_same_when_loaded(name: str, tmp_path: pathlib.Path) -> None:
    """Saving and loading preserves every bit of every architecture, heads included."""
    model, path = small(name), tmp_path / "best_model.pt"
    save_checkpoint(
        path, model, architecture=name, epoch=3, val_loss=0.1, val_cosine=0.5, args={"out": tmp_path}
    )
    loaded = load_checkpoint(path.read_bytes(), str(path))
    contexts = torch.randn(4, 5, 12)
    torch.testing.assert_close(loaded.model.state_dict(), model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(loaded.model(contexts), model(contexts), rtol=0, atol=1e-6)
    assert loaded.model.config | {"dropout": 0} == model.config | {"dropout": 0}
    assert (loaded.architecture, loaded.dim, loaded.epoch, loaded.val_cosine) == (name, 12, 3, 0.5)


def test_a_file_gives_its_facts() -> None:
    """Digest, parameter count, epoch and cosine are read from the file."""
    data = production_file()
    loaded = load_checkpoint(data, "a.pt")
    assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    assert loaded.n_parameters == small().n_parameters
    assert (loaded.name, loaded.epoch, loaded.val_cosine) == ("a.pt", 17, 0.5597)


def test_a_loaded_model_is_ready_for_inference() -> None:
    """A loaded model is in eval mode, float32, and without gradients."""
    model = load_checkpoint(file_of(small("lstm").half().state_dict()), "a.pt").model
    assert not model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.parameters())


def test_loading_leaves_the_random_state_alone() -> None:
    """Loading draws no random weights, so the random state is unchanged."""
    before = torch.get_rng_state()
    load_checkpoint(production_file(), "a.pt")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("model_type", [None, "", "vector_predictor_v2"])
def test_the_weights_decide_the_architecture(name: str, model_type: str | None) -> None:
    """A missing or unknown ``model_type`` is ignored: the weights decide."""
    assert load_checkpoint(production_file(name, model_type=model_type), "a.pt").architecture == name


@pytest.mark.parametrize("spelling", ["AMN_Mixer", "amn mixer", "AttentionMixerNetwork"])
def test_an_architecture_may_be_spelled_otherwise(spelling: str) -> None:
    """Case, hyphens and class names are accepted."""
    data = production_file("amn-mixer", model_type=spelling)
    assert load_checkpoint(data, "a.pt").architecture == "amn-mixer"


@pytest.mark.parametrize("config", [None, {}, {"input_dim": 768, "unheard_of": [1, 2]}, {"d_model": "large"}])
@pytest.mark.parametrize("name", ["amn", "gru", "lstm"])
def test_dimensions_come_from_the_weights(name: str, config: dict[str, object] | None) -> None:
    """A missing, oversized or wrong configuration is ignored: the weights decide."""
    assert load_checkpoint(production_file(name, model_config=config), "a.pt").dim == 12


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_dropped(prefix: str) -> None:
    """Weights saved by DataParallel or torch.compile load like the model's own."""
    state = {prefix + key: value for key, value in small().state_dict().items()}
    assert load_checkpoint(file_of({"model_state_dict": state}), "a.pt").architecture == "amn"


def test_files_from_before_torch_1_6_load() -> None:
    """Files in torch's old format, which is not a ZIP, can be loaded."""
    data = file_of(small().state_dict(), _use_new_zipfile_serialization=False)
    assert load_checkpoint(data, "a.pt").architecture == "amn"


@pytest.mark.parametrize("shape", [(512, 6), (512, 1, 6)])
def test_position_codes_may_have_their_batch_axis_elsewhere(shape: tuple[int, ...]) -> None:
    """(length, width) and (length, 1, width) are read as the same position codes."""
    state = small("transformer").state_dict()
    state["pos_encoder.pe"] = state["pos_encoder.pe"].reshape(shape)
    loaded = load_checkpoint(production_file("transformer", model_state_dict=state), "a.pt")
    assert loaded.model.state_dict()["pos_encoder.pe"].shape == (1, 512, 6)


class TouchesAFile:
    """An object that would create a file when unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[pathlib.Path], None], tuple[pathlib.Path]]:
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("entry", ["args", "model_config", "optimizer_state_dict", "model_state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_is_refused_and_not_run(entry: str, zipped: bool, tmp_path: pathlib.Path) -> None:  # noqa: FBT001
    """A file with code in any entry, in the new or the old format, is refused, and nothing runs."""
    content = {"model_state_dict": small().state_dict()} | {entry: TouchesAFile(tmp_path / "ran")}
    data = file_of(content, _use_new_zipfile_serialization=zipped)
    assert "holds more than weights" in str(refusal(data))
    assert not (tmp_path / "ran").exists()
    with io.BytesIO(data) as file:
        torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists(), "the payload works, so its refusal above means something"


def test_a_plain_pickle_is_refused(tmp_path: pathlib.Path) -> None:
    """A pickle that torch.save did not write is refused without unpickling."""
    assert "not a torch.save" in str(refusal(pickle.dumps(TouchesAFile(tmp_path / "ran"))))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", [pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath])
def test_paths_are_the_only_objects_allowed(kind: type[pathlib.PurePath]) -> None:
    """The arguments may contain paths of any operating system, but not a whole model."""
    assert load_checkpoint(production_file(args={"out": kind("a/b")}), "a.pt").dim == 12
    assert "AttentionMixtureNetwork" in str(refusal(production_file(args={"model": small()})))


def test_a_path_of_windows_loads_elsewhere() -> None:
    """A WindowsPath cannot be created on another system, so it is read as a pure path."""
    data = production_file(args={"out": pathlib.PureWindowsPath("C:/a")})
    data = file_of_renamed_path(data)
    assert load_checkpoint(data, "a.pt").dim == 12


def file_of_renamed_path(data: bytes) -> bytes:
    """Rewrite the checkpoint's pickle to name WindowsPath, as a Windows machine would; its module varies by Python."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            content = old.read(entry).replace(b"\nPureWindowsPath\n", b"\nWindowsPath\n")
            new.writestr(entry.filename, content)
        assert b"\nWindowsPath\n" in new.read("archive/data.pkl")
    return changed.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_is_refused(share: float, zipped: bool) -> None:  # noqa: FBT001
    """The file is refused wherever it is truncated."""
    data = file_of({"model_state_dict": small().state_dict()}, _use_new_zipfile_serialization=zipped)
    refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"model_state_dict": 5}, {"model_state_dict": {}}])
def test_a_file_without_weights_is_refused(content: object) -> None:
    """A torch file with other content is not a checkpoint."""
    refusal(file_of(content))


def test_weights_of_another_architecture_than_named_are_refused() -> None:
    """If a file says AMN and holds a GRU, the error names both."""
    assert "model_type says amn, but the weights are those of gru" in str(
        refusal(production_file("gru", model_type="amn"))
    )


def test_unknown_weights_are_refused() -> None:
    """Keys of no known architecture are named."""
    state = {"encoder.weight": torch.zeros(2, 2)}
    assert "encoder.weight" in str(refusal(production_file(model_state_dict=state, model_type="amn")))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_missing_weights_are_named(name: str) -> None:
    """If any one weight is missing, the error names it."""
    state = small(name).state_dict()
    marker = ARCHITECTURES[name].shapes.marker
    for key in (key for key in state if not key.startswith(marker)):
        rest = {other: value for other, value in state.items() if other != key}
        assert name in str(refusal(production_file(name, model_state_dict=rest)))


def test_weights_beyond_the_architecture_are_named() -> None:
    """An additional layer is refused, since it would be ignored silently."""
    state = small().state_dict() | {"gate.weight": torch.zeros(3)}
    assert "unexpected gate.weight" in str(refusal(production_file(model_state_dict=state)))


def test_weights_that_do_not_fit_together_are_named() -> None:
    """If a layer's width differs from the rest, the error gives both shapes."""
    state = small().state_dict() | {"residual_net.6.weight": torch.zeros(768, 4)}
    assert "residual_net.6.weight is (768, 4), not (12, 4)" in str(
        refusal(production_file(model_state_dict=state))
    )


@pytest.mark.parametrize("key", ["context_encoder.weight", "residual_net.0.weight"])
def test_weights_of_the_wrong_rank_are_refused(key: str) -> None:
    """A vector in place of a matrix is refused."""
    refusal(production_file(model_state_dict=small().state_dict() | {key: torch.tensor(1.0)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    """A model that would predict NaN is refused when it is loaded."""
    state = small().state_dict() | {"query_encoder.bias": torch.full((4,), value)}
    assert "NaN or infinity in the weights query_encoder.bias" in str(
        refusal(production_file(model_state_dict=state))
    )


@pytest.mark.parametrize("value", [torch.zeros(4, dtype=torch.int64), torch.zeros(4).to_sparse(), "text"])
def test_weights_other_than_float_tensors_are_refused(value: object) -> None:
    """Integers, sparse tensors and text are refused as weights."""
    state = small().state_dict() | {"query_encoder.bias": value}
    assert "not dense floating-point tensors: query_encoder.bias" in str(
        refusal(production_file(model_state_dict=state))
    )


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    """Shapes do not give the number of heads; if it is missing, the default of eight must divide the width."""
    assert "8 attention heads do not divide a width of 6" in str(
        refusal(production_file("transformer", model_config={}))
    )


def test_saving_replaces_whole_files(tmp_path: pathlib.Path) -> None:
    """A failed save keeps the previous file and leaves nothing beside it."""
    path = tmp_path / "best_model.pt"
    save_checkpoint(path, small(), architecture="amn", epoch=1, val_loss=None, val_cosine=None)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(
            path, small(), architecture="amn", epoch=2, val_loss=None, val_cosine=None, args={"f": lambda: 0}
        )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert load_checkpoint(before, str(path)).val_cosine is None


def test_a_full_disk_is_an_os_error(tmp_path: pathlib.Path) -> None:
    """A full disk raises OSError, as for any file; the previous checkpoint is intact and nothing lies beside it."""
    path = tmp_path / "best_model.pt"
    save_checkpoint(path, small(), architecture="amn", epoch=1, val_loss=None, val_cosine=None)
    before = path.read_bytes()
    with files_of_at_most(len(before) // 2), pytest.raises(OSError, match="too large"):
        save_checkpoint(path, small(), architecture="amn", epoch=2, val_loss=None, val_cosine=None)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_an_unknown_architecture_is_refused(tmp_path: pathlib.Path) -> None:
    """A model that could not be recognised when loaded is not saved."""
    with pytest.raises(ArchitectureError):
        save_checkpoint(
            tmp_path / "a.pt", small(), architecture="mamba", epoch=1, val_loss=0.0, val_cosine=0.0
        )
    assert not list(tmp_path.iterdir())


def test_files_have_productions_entries(tmp_path: pathlib.Path) -> None:
    """Saved files have the entries that production's readers need."""
    save_checkpoint(
        tmp_path / "a.pt", small("gru"), architecture="gru", epoch=1, val_loss=0.0, val_cosine=0.0
    )
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    entries = "model_type model_state_dict optimizer_state_dict epoch val_loss val_cosine model_config args"
    assert list(content) == entries.split()
    assert content["model_config"] == DIMENSIONS["gru"]
