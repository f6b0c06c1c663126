"""Tests of linear layers in 8-bit integers: close to float32, independent by row, and refused where they cannot run."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.processors import needs_int8
from torch import nn

from lvm_batch.lvm import ArchitectureError, DeviceError, Predictor, build_model
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.kernels import int8_linear
from lvm_batch.lvm.kernels.int8_linear import Int8Linear

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def rows_of(n_rows: int) -> torch.Tensor:
    """Rows of very different magnitudes, one of zeros."""
    rows = torch.randn(n_rows, 48, generator=torch.Generator().manual_seed(1))
    rows *= torch.logspace(-3, 3, n_rows).unsqueeze(1)
    rows[0] = 0
    return rows


@needs_int8
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_rows", [1, 7, 256, 300])
@torch.inference_mode()
def test_a_rounded_layer_is_near_the_layer(n_rows: int, activation: str, *, bias: bool) -> None:
    """The error of each row is small relative to the row, whatever the magnitude of the others."""
    layer = nn.Linear(48, 40, bias=bias)
    rows = rows_of(n_rows)
    expected = nn.functional.gelu(layer(rows)) if activation == "gelu" else layer(rows)
    error = (Int8Linear.of(layer, activation=activation)(rows) - expected).abs().amax(dim=1)
    assert (error <= 0.02 * rows.abs().amax(dim=1) + 1e-6).all()


@needs_int8
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """Each row is scaled by its own largest value, so alone or in a batch it is the same to 1e-5 of that."""
    layer = Int8Linear.of(nn.Linear(48, 40))
    rows = rows_of(64)
    alone = torch.cat([layer(row.unsqueeze(0)) for row in rows])
    apart = (layer(rows) - alone).abs().amax(dim=1)
    assert (apart <= 1e-5 * rows.abs().amax(dim=1) + 1e-6).all()


@needs_int8
@pytest.mark.parametrize("name", ["amn", "gru"])
def test_predictions_are_near_those_of_float32(name: str) -> None:
    """int8 predictions point nearly where the float32 ones do."""
    model = build_model(name, seed=2)
    contexts = np.random.default_rng(0).standard_normal((300, 5, 768), dtype=np.float32)
    rounded = Predictor(model, CPU, precision="int8")(contexts)
    cosines = row_cosines(rounded, Predictor(model, CPU)(contexts))
    assert cosines.min() > 0.9
    assert cosines.mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-5)


@needs_int8
def test_a_model_that_has_no_such_form_is_refused() -> None:
    """int8 is available only for the models that jobs run."""
    with pytest.raises(ArchitectureError, match="float32 only"):
        Predictor(build_model("lstm", seed=0), CPU, precision="int8")


def test_a_processor_whose_sums_overflow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a processor predictions would be wrong without any error."""
    monkeypatch.setattr(int8_linear, "_products_are_exact", lambda: False)
    with pytest.raises(DeviceError, match="without VNNI") as caught:
        Predictor(build_model("amn", seed=0), CPU, precision="int8")
    assert "fp32" in caught.value.hint


ANSWERS = """
import numpy as np, torch
from lvm_batch.lvm import DeviceError, Predictor, build_model
from lvm_batch.lvm.inference.cosines import row_cosines
contexts, cpu = np.random.default_rng(0).standard_normal((60, 5, 768), dtype=np.float32), torch.device("cpu")
model = build_model("amn", seed=2)
try:
    rounded = Predictor(model, cpu, precision="int8")(contexts)
except DeviceError as error:
    print("refused")
else:
    print("near" if row_cosines(rounded, Predictor(model, cpu)(contexts)).mean() > 0.99 else "wrong")
"""


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_int8_is_right_or_refused_on_every_processor(instructions: str) -> None:
    """An option limits oneDNN to older instructions; other kinds of processors ignore these names."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    process = subprocess.run(
        [sys.executable, "-c", ANSWERS], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() in {"near", "refused"}


def test_other_devices_are_refused() -> None:
    """int8 runs on CPUs only."""
    with pytest.raises(DeviceError, match="meta"):
        Predictor(build_model("amn", seed=0), torch.device("meta"), precision="int8")
