"""Checkpoints as safetensors files: the same model as in production's form, from anywhere, and hostile ones refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch

from lvm_batch.lvm import CheckpointError, build_model, load_checkpoint, save_checkpoint
from lvm_batch.lvm.architectures.catalog import ARCHITECTURES
from lvm_batch.lvm.checkpoints.checkpoint_facts import CheckpointFacts, facts_of
from lvm_batch.lvm.checkpoints.safetensors_header import MAX_HEADER_BYTES
from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors, training_vectors_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.lvm import ContextModel

SIZES: dict[str, dict[str, int]] = {
    "amn": {"input_dim": 12, "d_model": 4, "hidden_dim": 6},
    "amn-mixer": {"input_dim": 12, "hidden_dim": 10, "output_dim": 12, "d_model": 8, "num_layers": 2},
    "gru": {"input_dim": 12, "d_model": 4, "num_layers": 2},
    "lstm": {"input_dim": 12, "hidden_dim": 4, "num_layers": 2},
    "transformer": {"input_dim": 12, "d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 10},
}
TRAINED_ON = np.random.default_rng(1).standard_normal((50, 12)).astype(np.float32)


def small(name: str = "amn") -> ContextModel:
    """A small model of an architecture."""
    return build_model(name, seed=1, **SIZES[name])


def written(path: Path, model: ContextModel, architecture: str = "amn") -> bytes:
    """The bytes of a checkpoint with everything that a training says, in the form of the path."""
    facts: dict[str, Any] = {"context_length": 3, "epoch": 4, "val_loss": 0.5, "val_cosine": 0.625}
    digest = TrainingVectors.of(TRAINED_ON)
    save_checkpoint(path, model, architecture=architecture, training_vectors=digest, **facts)
    return path.read_bytes()


def file_of(header: object, values: bytes = bytes(8)) -> bytes:
    """A file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def tensor(first: int, last: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": (first, last)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_forms_hold_the_same_model(name: str, tmp_path: Path) -> None:
    """Weights, sizes, figures and the digest of training vectors are equal, with torch and without."""
    model = small(name)
    files = {form: written(tmp_path / f"a.{form}", model, name) for form in ("pt", "safetensors")}
    pickled, portable = (load_checkpoint(data, "a") for data in files.values())
    for key, value in pickled.model.state_dict().items():
        assert torch.equal(portable.model.state_dict()[key], value)
    contexts = torch.from_numpy(TRAINED_ON[:6].reshape(2, 3, 12))
    torch.testing.assert_close(portable.model(contexts), pickled.model(contexts))
    assert (portable.architecture, portable.length, portable.epoch, portable.val_cosine) == (
        name,
        3,
        4,
        0.625,
    )
    assert portable.model.config == pickled.model.config
    assert facts_of(files["safetensors"], "a") == facts_of(files["pt"], "a") != CheckpointFacts()
    digest = training_vectors_of(files["safetensors"], "a")
    assert digest is not None
    assert (digest.tell(TRAINED_ON) == 1).all()


def test_other_programs_read_what_the_model_is(tmp_path: Path) -> None:
    """The library's own reader finds architecture, dimensions, context length and the digest among the texts."""
    path = tmp_path / "model.safetensors"
    written(path, small())
    with safetensors.safe_open(path, "pt") as file:
        texts = file.metadata()
        assert set(file.keys()) == set(small().state_dict())
    assert (texts["format"], texts["model_type"]) == ("pt", "amn")
    assert json.loads(texts["model_config"]) == {**SIZES["amn"], "context_length": 3}
    assert json.loads(texts["lvm_batch_training_vectors"])["n_vectors"] == 50


def test_a_model_has_one_file(tmp_path: Path) -> None:
    """The same model gives the same bytes, so that its digest stays: texts are in no order of chance."""
    files = {written(tmp_path / f"{number}.safetensors", small()) for number in range(4)}
    assert len(files) == 1


def test_a_file_of_others_loads() -> None:
    """A file may lack all texts, have a wrapper's prefixes, 16-bit weights and a count of averaged models."""
    state = {f"module.{key}": value.bfloat16() for key, value in small().state_dict().items()}
    data = safetensors.torch.save(state | {"n_averaged": torch.tensor(3)}, {"epoch": "5", "by": "them"})
    loaded = load_checkpoint(data, "a.safetensors")
    assert (loaded.architecture, loaded.length, loaded.epoch) == ("amn", 5, 5)
    assert facts_of(data, "a.safetensors") == CheckpointFacts("amn", 12, 5, small().n_parameters)


def test_facts_of_safetensors_need_no_torch(tmp_path: Path) -> None:
    """A run's driver measures such a file as it does one of torch.save."""
    written(tmp_path / "a.safetensors", small())
    code = (
        "import sys; from lvm_batch.lvm.checkpoints.checkpoint_facts import read_facts\n"
        f"assert read_facts({str(tmp_path / 'a.safetensors')!r}).dim == 12; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def with_nan() -> bytes:
    """A model with one weight that is not a number."""
    state = small().state_dict()
    state["residual_net.0.bias"][0] = torch.nan
    return safetensors.torch.save(state)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a header longer than the file": (
        lambda: (500).to_bytes(8, "little") + b'{"a":1}',
        "declares a header of 500",
    ),
    "a header too long": (
        lambda: file_of(b"{" + b" " * MAX_HEADER_BYTES + b"}"),
        f"has at most {MAX_HEADER_BYTES:,}",
    ),
    "cut short": (lambda: safetensors.torch.save(small().state_dict())[:-5], "not fully covered"),
    "no JSON": (lambda: file_of(b"{]"), "is no JSON"),
    "JSON without end": (lambda: file_of(b'{"a":' + b"[" * 100_000), "is no JSON"),
    "overlap": (lambda: file_of({"a": tensor(0, 4), "b": tensor(0, 4)}), "invalid offset for tensor"),
    "a gap": (lambda: file_of({"a": tensor(4, 8)}), "invalid offset for tensor"),
    "outside": (lambda: file_of({"a": tensor(0, 80, shape=(20,))}), "not fully covered"),
    "a shape of another size": (lambda: file_of({"a": tensor(0, 8)}), "invalid shape"),
    "a huge shape": (lambda: file_of({"a": tensor(0, 8, shape=(2**62, 2**62))}), "overflow"),
    "a negative shape": (lambda: file_of({"a": tensor(0, 8, shape=(-2,))}), "integer `-2`"),
    "an unknown type": (lambda: file_of({"a": tensor(0, 8, "F31", (2,))}), "unknown variant `F31`"),
    "a quantised type": (lambda: file_of({"a": tensor(0, 8, "F4", (16,))}), "tensors of the types F4"),
    "whole numbers": (lambda: file_of({"a": tensor(0, 8, "I64")}), "not dense floating-point tensors: a"),
    "twice": (
        lambda: file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}'),
        "its header names a twice",
    ),
    "a text that is none": (
        lambda: file_of({"__metadata__": {"a": 1}, "a": tensor(0, 8, shape=(2,))}),
        "expected a string",
    ),
    "no tensors": (lambda: file_of({}, b""), "holds no tensors"),
    "another model": (lambda: file_of({"a": tensor(0, 8, shape=(2,))}), "no known architecture"),
    "NaN": (with_nan, "NaN or infinity in the weights residual_net.0.bias"),
    "another architecture than it says": (
        lambda: safetensors.torch.save(small().state_dict(), {"model_type": "gru"}),
        "model_type says gru",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_by_name(what: str) -> None:
    """The error names the file and the reason; nothing else is raised, and nothing is loaded."""
    make, message = HOSTILE[what]
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(make(), "run/model.safetensors")
    assert str(caught.value).startswith("run/model.safetensors: ")
    assert message in str(caught.value)
    assert caught.value.hint


def test_any_damage_is_a_checkpoint_error(tmp_path: Path) -> None:
    """A changed byte gives a model or a CheckpointError, whether torch reads the file or not."""
    data, chance = written(tmp_path / "a.safetensors", small()), np.random.default_rng(1)
    header = int.from_bytes(data[:8], "little")
    for _ in range(300):
        changed = bytearray(data)
        changed[chance.integers(8 + header)] = chance.integers(256)
        for read in (facts_of, load_checkpoint):
            try:
                read(bytes(changed), "a")
            except CheckpointError as error:
                assert str(error).startswith("a: ")  # noqa: PT017 - most changes are harmless or refused


def test_the_error_says_what_was_looked_for() -> None:
    """Weights of another model are refused with the beginnings of keys that are known."""
    data = safetensors.torch.save({"encoder.weight": torch.ones(2, 2)})
    with pytest.raises(
        CheckpointError, match=r"no key begins with context_encoder\.\* \(amn\), pool_query\.\*"
    ):
        load_checkpoint(data, "a")
