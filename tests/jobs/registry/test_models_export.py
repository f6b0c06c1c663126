"""``lvm-batch models export``: models as ONNX, run by onnxruntime."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lvm_batch.jobs import extras
from lvm_batch.lvm import build_model, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.command import Result

onnx = pytest.importorskip("onnx", reason='pip install "lvm-batch[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='pip install "lvm-batch[onnx]"')

DIM, LENGTH = 16, 4
SIZES: dict[str, dict[str, int]] = {
    "amn": {"d_model": 8, "hidden_dim": 24},
    "amn-mixer": {"output_dim": DIM, "d_model": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2},
    "gru": {"d_model": 8, "num_layers": 3},
    "lstm": {"hidden_dim": 8, "num_layers": 2},
    "transformer": {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 24, "max_length": 6},
}
FACTS: dict[str, Any] = {"context_length": LENGTH, "epoch": 1, "val_loss": None, "val_cosine": None}
DOCS = Path(__file__).parents[3] / "docs/models.md"


def save(path: Path, architecture: str, *, unit_inputs: bool = False, seed: int = 1) -> Path:
    """Save a small model; its norms scale and shift, as those of a trained one do."""
    model = build_model(architecture, seed=seed, input_dim=DIM, **SIZES[architecture])
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand_like(parameter))
    model.unit_inputs = unit_inputs
    save_checkpoint(path, model, architecture=architecture, **FACTS)
    return path


@pytest.fixture
def export(lvm_batch: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Call ``lvm-batch models export`` with an empty registry."""
    (tmp_path / "models").mkdir()

    def call(*arguments: object) -> Result:
        return lvm_batch("models", "export", *arguments, "--models-dir", tmp_path / "models")

    return call


def answers(path: Path, contexts: np.ndarray) -> np.ndarray:
    """What onnxruntime answers."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (predictions,) = session.run(["prediction"], {"context": contexts})
    return np.asarray(predictions)


@pytest.mark.parametrize("unit_inputs", [False, True])
@pytest.mark.parametrize("architecture", SIZES)
def test_onnxruntime_answers_as_torch(
    export: Callable[..., Result], tmp_path: Path, architecture: str, *, unit_inputs: bool
) -> None:
    """Any number of rows, of vectors of any norm, gets the model's predictions."""
    source = save(tmp_path / "model.pt", architecture, unit_inputs=unit_inputs)
    values = export(source, "--output", tmp_path / "model.onnx").done()
    assert (values["architecture"], values["dim"], values["context_length"]) == (architecture, DIM, LENGTH)
    assert values["largest_difference"] <= 1e-5
    model = load_checkpoint(source.read_bytes(), "model.pt").model
    rng = np.random.default_rng(0)
    for n_rows in (1, 7):
        contexts = 3 * rng.standard_normal((n_rows, LENGTH, DIM)).astype(np.float32)
        found = answers(tmp_path / "model.onnx", contexts)
        with torch.inference_mode():
            np.testing.assert_allclose(found, model(torch.from_numpy(contexts)).numpy(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("architecture", SIZES)
@pytest.mark.parametrize("value", [np.nan, 3e38])
def test_rows_that_torch_cannot_answer_have_no_answer(
    export: Callable[..., Result], tmp_path: Path, architecture: str, value: float
) -> None:
    """A NaN, or a norm that overflows, gives no unit vector where torch gives none, and changes no other row."""
    source = save(tmp_path / "model.pt", architecture, unit_inputs=True)
    export(source, "--output", tmp_path / "model.onnx").done()
    contexts = np.ones((2, LENGTH, DIM), np.float32)
    contexts[1, 2] = value
    found = np.linalg.norm(answers(tmp_path / "model.onnx", contexts), axis=1)
    assert abs(found[0] - 1) < 1e-5
    assert not abs(found[1] - 1) < 1e-3


def test_the_file_says_what_it_is(export: Callable[..., Result], tmp_path: Path) -> None:
    """Names, shapes and types are documented; the metadata has the model, its checkpoint and who wrote it."""
    source = save(tmp_path / "model.pt", "amn", unit_inputs=True)
    values = export(source, "--format", "onnx", "--opset", 18, "--output", tmp_path / "model.onnx").done()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    told = [(each.name, each.shape, each.type) for each in (*session.get_inputs(), *session.get_outputs())]
    assert told == [
        ("context", ["batch", LENGTH, DIM], "tensor(float)"),
        ("prediction", ["batch", DIM], "tensor(float)"),
    ]
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts.pop("lvm_batch.dimensions")) == {"input_dim": DIM, **SIZES["amn"]}
    assert facts == {
        "lvm_batch.version": version("lvm-batch"),
        "lvm_batch.architecture": "amn",
        "lvm_batch.context_length": str(LENGTH),
        "lvm_batch.input_norm": "unit",
        "lvm_batch.checkpoint_sha256": values["source_sha256"],
    }
    written = onnx.load(tmp_path / "model.onnx")
    assert [operators.version for operators in written.opset_import] == [18]
    assert written.producer_name == "lvm-batch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "--output", "a.onnx"), "no model 'nobody'"),
        (("model.pt", "--output", "there.onnx"), "there.onnx already exists"),
        (("model.pt", "--output", "a.pt"), "does not end in .onnx"),
        (("model.pt", "--output", "there.onnx/a.onnx"), "there.onnx is not a folder"),
        (("model.pt", "--output", "s3://bucket/a.onnx"), "is written to this machine"),
        (("model.pt", "--output", "a.onnx", "--format", "tflite"), "--format cannot be 'tflite'"),
        (("model.pt", "--output", "a.onnx", "--opset", 12), "operator set 12"),
        (("model.pt", "--output", "a.onnx", "--opset", 999), "operator set 999"),
        (("there.onnx", "--output", "a.onnx"), "not a torch.save or safetensors file"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    export: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    """The error says why; nothing is written, and no file is written over."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model.pt", "amn")
    (tmp_path / "there.onnx").write_bytes(b"mine")
    result = export(*arguments)
    assert result.code == 2
    assert message in result.values["error"]["message"]
    assert result.values["error"]["hint"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "models", "there.onnx"]
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_a_file_that_answers_otherwise_is_not_kept(
    export: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, nothing is left, and the error says by how much and where."""
    from lvm_batch.jobs.registry import onnx_export
    from lvm_batch.lvm.portable.onnx_model import onnx_bytes

    other = load_checkpoint(save(tmp_path / "other.pt", "amn", seed=2).read_bytes(), "other.pt").model
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda _, **options: onnx_bytes(other, **options))
    result = export(save(tmp_path / "model.pt", "amn"), "--output", tmp_path / "model.onnx")
    assert result.code == 2
    said = result.values["error"]["message"]
    assert re.search(
        r"answers row \d+ of 24 of the sample with 0\.\d+ of difference .* in component \d+", said
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "models", "other.pt"]


def test_a_file_that_onnxruntime_cannot_run_is_not_kept(
    export: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has onnxruntime's reason, in one line, and what to do."""
    from lvm_batch.jobs.registry import onnx_export

    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda *_, **__: b"no protocol buffer")
    result = export(save(tmp_path / "model.pt", "amn"), "--output", tmp_path / "model.onnx")
    assert result.code == 2
    assert "cannot run it" in result.values["error"]["message"]
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_command(
    export: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Before a model is loaded, the error has the pip command."""
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else found(name))
    error = export("nobody", "--output", tmp_path / "model.onnx").values["error"]
    assert f"needs {missing}, which is not installed" in error["message"]
    assert error["hint"] == 'pip install "lvm-batch[onnx]"'


def test_the_documented_lines_run(
    export: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the documentation shows needs onnxruntime and NumPy alone."""
    monkeypatch.chdir(tmp_path)
    export(save(tmp_path / "model.pt", "gru"), "--output", "amn.onnx").done()
    (lines,) = re.findall(r"```python\n(import onnxruntime\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert "torch" not in lines
    assert "lvm_batch" not in lines
    names = {"contexts": np.ones((3, LENGTH, DIM), np.float32)}
    exec(lines, names)  # noqa: S102 - our own documentation
    assert names["predictions"].shape == (3, DIM)
