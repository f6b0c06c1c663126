"""A checkpoint in another form is the same model, whoever wrote it."""

from __future__ import annotations

import argparse
import io
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from lvm_batch.lvm import ContextModel, build_model
from lvm_batch.lvm.checkpoints.checkpoint_files import read_content
from lvm_batch.lvm.checkpoints.conversion import Conversion, convert
from lvm_batch.lvm.checkpoints.metadata_texts import as_texts, from_texts
from lvm_batch.lvm.checkpoints.training_vectors import CONTENT_KEY, TrainingVectors

DIGEST = TrainingVectors.of(np.eye(12, dtype=np.float32)).as_content()


def small() -> ContextModel:
    """A small model whose number of heads no weight shows."""
    sizes = {"input_dim": 12, "hidden_dim": 10, "output_dim": 12, "d_model": 8, "num_layers": 1}
    return build_model("amn-mixer", seed=1, **sizes, num_heads=2)


def saved(content: object) -> bytes:
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def there_and_back(data: bytes) -> tuple[Conversion, Conversion]:
    """The conversions to safetensors and back."""
    there = convert(data, "a.pt", target="b.safetensors", suffix=".safetensors")
    return there, convert(there.data, "b.safetensors", target="c.pt", suffix=".pt")


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    """The weights as a wrapper names them."""
    return {prefix + key: value for key, value in small().state_dict().items()}


WRAPPED = {
    "production": {
        "model_type": "amn-mixer",
        "model_state_dict": prefixed(""),
        "model_config": {**small().config, "context_length": 4, "input_norm": "unit"},
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "val_cosine": np.float64(0.5),
        "args": {"out": pathlib.PurePosixPath("a/b"), "rng": argparse.Namespace(), "lr": 1e-3},
        CONTENT_KEY: DIGEST,
    },
    "Lightning": {
        "state_dict": prefixed("model._orig_mod."),
        "hyper_parameters": {"num_heads": 2, "context_length": 4, "input_norm": "unit"},
        "epoch": 3,
        "val_cosine": 0.5,
        CONTENT_KEY: DIGEST,
    },
    "averaged": {
        "model_state_dict": {"n_averaged": torch.tensor(2), **prefixed("module.")},
        "config": {"num_heads": 2, "context_length": 4, "input_norm": "unit"},
        "epoch": np.int64(3),
        "val_cosine": np.float32(0.5),
        CONTENT_KEY: DIGEST,
    },
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_conversion_keeps_all_that_a_checkpoint_says(wrapper: str) -> None:
    """Figures, settings, the digest of training vectors and keys that are not known here survive both ways."""
    for done in there_and_back(saved(WRAPPED[wrapper])):
        found = done.after
        assert (found.architecture, found.length, found.epoch, found.val_cosine) == ("amn-mixer", 4, 3, 0.5)
        assert found.model.unit_inputs
        assert found.training_vectors is not None
        assert found.training_vectors.n_vectors == 12
        assert found.model.config == small().config
        content: dict[str, Any] = read_content(done.data, "a")
        assert content["model_config"]["input_norm"] == "unit"
        for key, value in small().state_dict().items():
            assert torch.equal(content["model_state_dict"][key], value)


def test_what_stays_behind_is_named() -> None:
    """An optimizer's state and objects of other libraries are no part of a model; paths become texts."""
    there, back = there_and_back(saved(WRAPPED["production"]))
    assert there.left_out == ("optimizer_state_dict", "args.rng")
    assert back.left_out == ()
    assert read_content(back.data, "a")["args"] == {"out": "a/b", "lr": 1e-3}


def test_weights_keep_their_types() -> None:
    """Weights of 16 bits stay so, to the bit, and may share their memory; a bare state dict gets its description."""
    state = {key: value.bfloat16() for key, value in prefixed("").items()}
    state["output_proj.bias"] = state["input_proj.weight"].reshape(-1)[:12]
    there, back = there_and_back(saved({"state_dict": state, "config": {"num_heads": 2}}))
    for done in (there, back):
        content: dict[str, Any] = read_content(done.data, "a")
        assert content["model_type"] == "amn-mixer"
        assert all(torch.equal(content["model_state_dict"][key], value) for key, value in state.items())
    bare = convert(saved(state), "a", target="b", suffix=".safetensors")
    assert bare.left_out == ()
    assert read_content(bare.data, "b")["model_config"] == bare.before.model.config | {"context_length": 5}


def test_texts_stand_for_their_values() -> None:
    """Numbers, texts that look like numbers, nothing, nested settings: each comes back as it was."""
    parts = {
        "whole": 5,
        "text": "5",
        "quoted": '"x"',
        "words": "a b",
        "empty": "",
        "lines": "a\nb\ud800",
        "nothing": None,
        "yes": True,
        "word": "true",
        "nested": {"a": [1, {"b": 0.1}]},
        "odd": "NaN",
    }
    texts, left_out = as_texts(parts)
    assert from_texts(texts) == parts
    assert left_out == ()
    assert (texts["words"], texts["whole"], texts["text"]) == ("a b", "5", '"5"')


def test_values_without_end_are_left_out() -> None:
    """A file may refer to one long text a million times; it is named, not written."""
    long = "x" * 10_000
    own: list[object] = []
    own.append(own)
    texts, left_out = as_texts({"own": own, "object": object(), 3: 1, "epoch": 2, "many": [long] * 10_000})
    assert texts == {"epoch": "2"}
    assert left_out == ("own", "object", "a int", "many")
