"""Tests of the lvm package as it is imported: public names, what they load, and errors."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import lvm_batch.lvm
from lvm_batch.lvm import errors

pytestmark = pytest.mark.slow

ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.ModelError)
]


def test_every_public_name_is_there() -> None:
    """``__all__``, the stub, the lazy imports and ``dir`` have the same names."""
    stub = ast.parse(Path(lvm_batch.lvm.__file__).with_suffix(".pyi").read_text())
    declared = [node.names[0].asname for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(lvm_batch.lvm.__all__) == dir(lvm_batch.lvm) == sorted(declared)
    for name in lvm_batch.lvm.__all__:
        assert getattr(lvm_batch.lvm, name) is not None


def test_the_stub_is_installed() -> None:
    """The public names are read from the stub."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "__init__.pyi" in project["tool"]["setuptools"]["package-data"]["lvm_batch.lvm"]


def test_the_five_architectures_are_public() -> None:
    """Users construct models by these names."""
    assert {
        "AttentionMixtureNetwork",
        "AttentionMixerNetwork",
        "GRUStack",
        "LSTMBaseline",
        "TransformerPredictor",
    } <= set(lvm_batch.lvm.__all__)


def test_the_names_that_stand_for_the_cards_are_public() -> None:
    """What docs/models.md gives in place of the cards' names can be imported, and the card's own lines work."""
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    table = page.split("## From the cards to this package")[1]
    rows = [line.split("|")[2] for line in table.splitlines() if "lvm_batch.lvm" in line]
    named = {name for row in rows for name in re.findall(r"\b(\w+)(?=\(|`)", row) if name[0].isupper()}
    assert {"AttentionMixerNetwork", "GRUStack", "Predictor"} <= named <= set(lvm_batch.lvm.__all__)
    model = lvm_batch.lvm.AttentionMixerNetwork(input_dim=768, hidden_dim=1024, output_dim=768).eval()
    assert model(torch.zeros(1, 5, 768)).shape == (1, 768)


def test_an_unknown_name_is_no_attribute() -> None:
    """An unknown name raises AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Mamba'"):
        _ = lvm_batch.lvm.Mamba  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from lvm_batch.lvm import Thresholds, MissingExtra, resolve_model", "torch numpy"),
        ("from lvm_batch.lvm import escalation_reasons", "torch"),
        ("from lvm_batch.lvm.search.faiss import FaissIndex", "faiss"),
    ],
)
def test_names_load_no_more_than_they_need(code: str, absent: str) -> None:
    """Thresholds and registry do not import NumPy, routing does not import torch, FaissIndex does not import faiss."""
    check = f"{code}\nimport sys\nassert not [name for name in {absent.split()} if name in sys.modules]"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_picklable(error: type[errors.ModelError]) -> None:
    """Message, hint and kind survive pickling; the text is the message and the hint."""
    again = pickle.loads(pickle.dumps(error("what and where", "what to do")))  # noqa: S301
    assert (type(again), again.args) == (error, ("what and where", "what to do"))
    assert (again.message, again.hint, again.kind) == ("what and where", "what to do", error.kind)
    assert str(again) == "what and where\n  what to do: what to do"
    assert error("only a message").hint == ""


def test_errors_have_kinds_of_their_own() -> None:
    """All errors are ModelErrors, and each has its own kind."""
    assert len({error.kind for error in ERRORS}) == len(ERRORS) == 7
    assert all(issubclass(error, errors.LvmBatchError) for error in ERRORS)
