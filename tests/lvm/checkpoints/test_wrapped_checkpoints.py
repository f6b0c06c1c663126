"""Tests of checkpoints as training libraries save them, and of files that are not checkpoints."""

from __future__ import annotations

import argparse
import io
import json
import pathlib
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lvm_batch.lvm import CheckpointError, ContextModel, build_model, load_checkpoint
from lvm_batch.lvm.checkpoints.stand_ins import Nothing
from lvm_batch.lvm.checkpoints.torch_files import read_torch_file

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZES: dict[str, dict[str, Any]] = {
    "amn": {"input_dim": 12, "d_model": 4, "hidden_dim": 6},
    "gru": {"input_dim": 12, "d_model": 4, "num_layers": 2},
    "lstm": {"input_dim": 12, "hidden_dim": 4, "num_layers": 2},
    "transformer": {"input_dim": 12, "d_model": 6, "nhead": 3, "num_layers": 2, "dim_feedforward": 10},
}


def small(name: str = "amn") -> ContextModel:
    """A small model with fresh weights."""
    return build_model(name, seed=0, **SIZES[name]).eval()


def saved(content: object, **how: Any) -> bytes:  # noqa: ANN401 - torch.save's own options
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def prefixed(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict with a prefix before each name."""
    return {prefix + key: value for key, value in state.items()}


def lightning(state: Mapping[str, Any], prefix: str = "model.") -> dict[str, Any]:
    """What a Lightning Trainer saves of a module that holds the model."""
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": prefixed(prefix, state),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss'}": {
                "best_model_score": torch.tensor(0.1),
                "best_k_models": {"/x/a.ckpt": torch.tensor(0.1)},
                "dirpath": pathlib.Path("/x"),
            }
        },
        "optimizer_states": [torch.optim.AdamW(small().parameters()).state_dict()],
        "lr_schedulers": [{"base_lrs": [0.1], "_last_lr": [np.float64(0.1)]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 5e-4, "nhead": 3, "seed": np.int64(4)},
    }


def averaged(state: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The state dict of an AveragedModel."""
    return {f"{prefix}n_averaged": torch.tensor(7), **prefixed(f"{prefix}module.", state)}


WRAPPED = {
    "bare": dict,
    "Lightning": lightning,
    "Lightning, another name": lambda state: lightning(state, "net."),
    "Lightning, compiled": lambda state: lightning(state, "model._orig_mod."),
    "Lightning, compiled and parallel": lambda state: lightning(state, "model._orig_mod.module."),
    "Lightning, averaged": lambda state: lightning(averaged(state), "model."),
    "DataParallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: {"model_state_dict": prefixed("_orig_mod.", state)},
    "a part compiled": lambda state: {
        "model": {key.replace(".", "._orig_mod.", 1): value for key, value in state.items()}
    },
    "FSDP, whole": lambda state: prefixed("_fsdp_wrapped_module.", state),
    "averaged": averaged,
    "averaged, in production's form": lambda state: {"model_state_dict": averaged(state), "epoch": 1},
    "averaged alone": lambda state: {"ema_state_dict": averaged(state), "step": 5},
    "DeepSpeed": lambda state: {"module": dict(state), "dp_world_size": 2},
    "within one another": lambda state: {"model": {"state_dict": dict(state), "name": "x"}},
    **{
        name: lambda state, name=name: {name: dict(state), "epoch": 1}
        for name in ("state_dict", "model", "network", "net", "params", "weights", "model_ema")
    },
}


@pytest.mark.parametrize(
    ("wrapper", "zipped"), [*((wrapper, True) for wrapper in WRAPPED), ("bare", False), ("Lightning", False)]
)
def test_a_wrapped_model_predicts_as_the_plain_one(wrapper: str, zipped: bool) -> None:  # noqa: FBT001
    """Wrappers around the weights, and prefixes of their names, do not change the predictions."""
    for name, sizes in SIZES.items():
        model = small(name)
        content = WRAPPED[wrapper](model.state_dict())
        if name == "transformer" and "epoch" not in content:
            continue  # the file does not give the number of heads
        data = saved(
            content | ({"config": sizes} if "epoch" in content else {}), _use_new_zipfile_serialization=zipped
        )
        loaded = load_checkpoint(data, "a.ckpt").model
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
        contexts = torch.randn(4, 5, 12)
        with torch.inference_mode():
            assert torch.allclose(loaded(contexts), model(contexts), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_may_be_of_any_float(dtype: torch.dtype) -> None:
    """Weights of any float type are read as float32."""
    model = small().to(dtype)
    loaded = load_checkpoint(saved(lightning(model.state_dict())), "a.ckpt").model
    assert all(
        torch.equal(value, model.state_dict()[key].float()) for key, value in loaded.state_dict().items()
    )


def test_heads_are_taken_from_hyper_parameters() -> None:
    """Shapes do not give the number of heads, and the default of eight would predict something else."""
    data = saved(lightning(small("transformer").state_dict()))
    assert load_checkpoint(data, "a.ckpt").model.config["nhead"] == 3


@pytest.mark.parametrize(
    "beside",
    [
        {"val_cosine": np.float64(0.5), "best": np.float32(0.25), "n": np.int64(-3), "ok": np.bool_(True)},  # noqa: FBT003
        {"big_endian": np.dtype(">f8").type(0.5), "half": np.float16(0.5), "unsigned": np.uint8(200)},
        {"rng": np.random.RandomState(0).get_state(), "arrays": [np.zeros(3), np.array(["a"])]},
        {"args": argparse.Namespace(lr=0.1, out=pathlib.Path("x"))},
        {"complex": np.complex128(1j), "when": np.datetime64("2026-01-01")},
    ],
)
def test_entries_beside_the_weights_are_ignored(beside: dict[str, object]) -> None:
    """NumPy scalars, NumPy arrays and a namespace beside the weights are skipped without being created."""
    data = saved({"model_state_dict": small().state_dict(), **beside})
    assert load_checkpoint(data, "a.pt").architecture == "amn"
    plain = read_torch_file(data, "a.pt")
    for key, value in beside.items():
        if isinstance(value, (np.floating, np.integer, np.bool_)):
            assert (plain[key], type(plain[key])) == (value.item(), type(value.item()))
        elif key not in {"rng", "arrays"}:
            assert isinstance(plain[key], Nothing)


def test_a_score_of_numpy_is_a_score() -> None:
    """A score may be a NumPy scalar, such as the result of np.mean."""
    data = saved({"model_state_dict": small().state_dict(), "epoch": 3, "val_cosine": np.float64(0.5)})
    assert load_checkpoint(data, "a.pt").val_cosine == 0.5


REFUSED = {
    "two sets": (
        lambda s: {"state_dict": dict(s), "state_dict_ema": dict(s)},
        "weights more than once: state_dict, state_dict_ema",
    ),
    "twice by one name": (lambda s: dict(s) | prefixed("module.", s), "unexpected module."),
    "twice within": (
        lambda s: dict(s) | {"residual_net._orig_mod.0.bias": s["residual_net.0.bias"]},
        "residual_net.0.bias more than once",
    ),
    "a loss beside the model": (
        lambda s: {"state_dict": prefixed("model.", s) | {"loss.weight": torch.zeros(2)}},
        "and begin with loss (1), model (",
    ),
    "only some prefixed": (
        lambda s: {key if "query" in key else f"module.{key}": value for key, value in s.items()},
        "and begin with query_encoder (2), module (",
    ),
    "an optimizer": (
        lambda _: torch.optim.AdamW(small().parameters()).state_dict(),
        "only the state of an optimizer",
    ),
    "no weights": (lambda _: {"epoch": 3, "config": {"a": 1}}, "it holds epoch, config"),
    "flat parameters": (lambda _: {"model": {"_flat_param": torch.zeros(9)}}, "FSDP has divided"),
    "numbers": (lambda s: {"model": dict(s) | {"x": 3}}, "not dense floating-point tensors: x"),
    "a whole model": (lambda _: small(), "AttentionMixtureNetwork, of a whole model"),
    "a model within": (lambda _: {"model": small(), "epoch": 1}, "AttentionMixtureNetwork, of a whole model"),
    "a bare tensor": (lambda _: torch.zeros(3), "holds a Tensor, not a dict"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_gives_its_reason(what: str) -> None:
    """The error says what the file holds; the hint says what to save."""
    make, message = REFUSED[what]
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved(make(small().state_dict())), "a.ckpt")
    assert message in str(caught.value)
    assert "torch.save(" in caught.value.hint or "StateDictType" in caught.value.hint


def zip_of(**parts: bytes) -> bytes:
    """A ZIP archive of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def torchscript() -> bytes:
    """The part of a torch.jit.save file that matters here: the constants of its code."""
    return zip_of(**{"a/data.pkl": b"\x80\x02}.", "a/constants.pkl": b"\x80\x02)."})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "an HTML or XML page"),
        (b"<?xml version='1.0'?><Error>", "an HTML or XML page"),
        (len(b"{}").to_bytes(8, "little") + b"{}" + bytes(8), "damaged safetensors file"),
        (json.dumps({"a": 1}).encode(), "not a torch.save"),
        (pickle.dumps({"a": 1}), "is a pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5"),
        (b"\x1f\x8b" + bytes(9), "gzip"),
        (b"PAR1" + bytes(9), "Parquet"),
        (zip_of(**{"arr_0.npy": b"x"}), "it holds arr_0.npy"),
        (zip_of(), "an empty zip archive"),
        (torchscript(), "TorchScript"),
    ],
)
def test_other_files_are_recognised(data: bytes, message: str) -> None:
    """A downloaded or misnamed file is reported by its real type, not as damaged."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(data, "a.pt")
    assert message in str(caught.value)
    assert caught.value.hint
