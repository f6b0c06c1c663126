"""Tests of what is known of a checkpoint without torch, and of the length of its contexts."""

from __future__ import annotations

import argparse
import io
import pathlib
import pickle
import random
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from lvm_batch.lvm import CheckpointError, build_model, load_checkpoint, save_checkpoint
from lvm_batch.lvm.architectures.catalog import ARCHITECTURES
from lvm_batch.lvm.checkpoints.checkpoint_facts import CheckpointFacts, facts_of, read_facts

SIZES: dict[str, dict[str, int]] = {
    "amn": {"input_dim": 12, "d_model": 4, "hidden_dim": 6},
    "amn-mixer": {"input_dim": 12, "hidden_dim": 10, "output_dim": 12, "d_model": 8, "num_layers": 2},
    "gru": {"input_dim": 12, "d_model": 4, "num_layers": 2},
    "lstm": {"input_dim": 12, "hidden_dim": 4, "num_layers": 2},
    "transformer": {"input_dim": 12, "d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 10},
}


def saved(content: object, **how: Any) -> bytes:  # noqa: ANN401 - torch.save's own options
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def production(name: str = "amn", **beside: object) -> bytes:
    """A checkpoint in production's form with further entries."""
    model = build_model(name, seed=0, **SIZES[name])
    return saved({"model_state_dict": model.state_dict(), "model_config": model.config} | beside)


def repickled(data: bytes, content: bytes) -> bytes:
    """The file with another pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, content if name.endswith("data.pkl") else archive.read(name))
    return file.getvalue()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_facts_are_those_of_the_loaded_model(name: str, tmp_path: pathlib.Path) -> None:
    """What is read without torch equals what loading finds, for every architecture."""
    path = tmp_path / "best_model.pt"
    model = build_model(name, seed=0, **SIZES[name])
    save_checkpoint(path, model, architecture=name, context_length=3, epoch=0, val_loss=0.1, val_cosine=0.5)
    loaded = load_checkpoint(path.read_bytes(), str(path))
    expected = CheckpointFacts(name, loaded.dim, loaded.length, loaded.n_parameters)
    assert read_facts(path) == expected == CheckpointFacts(name, 12, 3, model.n_parameters)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model._orig_mod."])
@pytest.mark.parametrize("place", ["", "state_dict", "model_state_dict"])
def test_facts_are_found_within_wrappers(prefix: str, place: str) -> None:
    """Where trainings put the weights, and what they put before their names, hides no fact."""
    model = build_model("gru", seed=0, **SIZES["gru"])
    state = {prefix + key: torch.nn.Parameter(value) for key, value in model.state_dict().items()}
    facts = facts_of(saved({place: state, "epoch": 1} if place else state), "a.pt")
    assert facts == CheckpointFacts("gru", 12, 5, model.n_parameters)


def test_entries_beside_the_weights_hide_no_fact() -> None:
    """Optimizers, scalars and arrays of NumPy, paths and arguments are passed over."""
    model = build_model("amn", seed=0, **SIZES["amn"])
    data = production(
        optimizer_state_dict=torch.optim.AdamW(model.parameters()).state_dict(),
        args=argparse.Namespace(out=pathlib.Path("x")),
        scores=[np.float64(0.5), np.int64(3), np.zeros(2)],
        best=torch.tensor(3),
    )
    assert facts_of(data, "a.pt") == CheckpointFacts("amn", 12, 5, model.n_parameters)


@pytest.mark.parametrize(
    "data",
    [
        saved({"model_state_dict": {"head.weight": torch.zeros(2, 2)}}),
        saved({"epoch": 3}),
        saved([1, 2]),
        saved(build_model("amn", seed=0).state_dict(), _use_new_zipfile_serialization=False),
        production("amn", model_state_dict={"context_encoder.weight": torch.zeros(3)}),
    ],
    ids=["another architecture", "no weights", "no dict", "before torch 1.6", "another rank"],
)
def test_what_cannot_be_known_is_none(data: bytes) -> None:
    """A file that only torch can judge has no facts, and is no error."""
    assert facts_of(data, "a.pt") == CheckpointFacts()


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs.github.com/spec/v1\n", production()[:3000]])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    """An empty file, a pointer and a file cut short are refused by name, as loading refuses them."""
    with pytest.raises(CheckpointError, match=r"a\.pt") as quick:
        facts_of(data, "a.pt")
    with pytest.raises(CheckpointError) as loading:
        load_checkpoint(data, "a.pt")
    assert str(quick.value) == str(loading.value)


def test_a_pickle_cannot_change_what_stands_in_for_its_names() -> None:
    """BUILD sets attributes of whatever it gets; in a checkpoint it reaches no class or function of this process."""
    before = dict(vars(pathlib.PurePosixPath))
    for named in ("pathlib PurePosixPath", "torch._utils _rebuild_tensor_v2", "collections OrderedDict"):
        for state in (b"}(X\x01\x00\x00\x00aK\x01u", b"(N}(X\x01\x00\x00\x00aK\x01ut"):
            build = f"c{named.replace(' ', chr(10))}\n".encode() + state + b"b"
            assert facts_of(repickled(production(), b"\x80\x02" + build + b"."), "a.pt") == CheckpointFacts()
    assert dict(vars(pathlib.PurePosixPath)) == before


def test_mutated_pickles_end_in_facts_or_a_refusal() -> None:
    """Whatever bytes stand in a pickle, reading ends with facts or a CheckpointError."""
    data, chance = production(args={"out": pathlib.Path("x")}), random.Random(0)  # noqa: S311 - the same bytes each time
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        original = archive.read(record)
    for _ in range(300):
        content = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            facts = facts_of(repickled(data, bytes(content)), "a.pt")
        except CheckpointError:
            continue
        assert isinstance(facts, CheckpointFacts)


def test_a_payload_is_refused_without_torch(tmp_path: pathlib.Path) -> None:
    """A file that names code has no facts: it is refused, and nothing runs."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return pathlib.Path.touch, (tmp_path / "ran",)

    content = pickle.dumps({"model_state_dict": {}, "args": Payload()}, protocol=2)
    with pytest.raises(CheckpointError, match="holds more than weights"):
        facts_of(repickled(production(), content), "a.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("stated", "length"),
    [
        ({}, 5),
        ({"args": {"context_length": 3}}, 3),
        ({"model_config": {"context_length": 7}, "args": {"context_length": 3}}, 7),
        ({"hyper_parameters": {"context_len": 4}}, 4),
        ({"args": {"context_length": "3"}}, 5),
        ({"args": {"context_length": True}}, 5),
        ({"args": {"context_length": 0}}, 5),
    ],
)
def test_a_file_says_how_long_a_context_is(stated: dict[str, object], length: int) -> None:
    """The length is what the configuration or the arguments say, and five if they say nothing usable."""
    data = production("gru", **stated)
    assert load_checkpoint(data, "a.pt").length == length == facts_of(data, "a.pt").length


def test_learnt_positions_say_how_long_a_context_is() -> None:
    """A model with a learnt position for each vector has contexts of as many."""
    model = build_model("amn-mixer", seed=0, **SIZES["amn-mixer"], max_length=3)
    data = saved(model.state_dict())
    assert load_checkpoint(data, "a.pt").length == 3 == facts_of(data, "a.pt").length


@pytest.mark.parametrize("length", [6, 10**6])
def test_a_length_without_positions_is_refused(length: int) -> None:
    """A file that says a longer context than its model reads contradicts itself."""
    data = production("amn-mixer", args={"context_length": length})
    with pytest.raises(
        CheckpointError, match=f"a context has {length:,} vectors, but the model reads at most 5"
    ):
        load_checkpoint(data, "a.pt")
    assert facts_of(data, "a.pt") == CheckpointFacts()
