"""Tests of linear layers in bfloat16: near float32, and the same on every processor, whether it multiplies bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lvm_batch.lvm import Predictor, build_model
from lvm_batch.lvm.devices import precision
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.kernels import bf16_linear
from lvm_batch.lvm.kernels.bf16_linear import Bf16Linear

CPU = torch.device("cpu")
ROUNDING = 2**-8
"""The step between bfloat16 numbers, relative to them."""


@pytest.fixture(params=["as it is", "without bfloat16"])
def _processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on this processor, and as on one that does not multiply bfloat16."""
    if request.param == "without bfloat16":
        monkeypatch.setattr(bf16_linear, "multiplies_bf16", lambda: False)


@pytest.mark.usefixtures("_processor")
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_bfloat16_layer_is_near_the_layer(activation: str, *, bias: bool) -> None:
    """Only numbers are rounded, not sums: the error stays at two roundings of the row, for any number of rows."""
    layer = nn.Linear(48, 40, bias=bias)
    rounded = Bf16Linear.of(layer, activation=activation)
    for n_rows in (0, 1, 7, 300):
        rows = torch.randn(n_rows, 48)
        expected = nn.functional.gelu(layer(rows)) if activation == "gelu" else layer(rows)
        product = rounded(rows)
        assert product.dtype == torch.float32
        assert ((product - expected).abs() <= ROUNDING * (rows.abs().amax(dim=1, keepdim=True) + 1)).all()


@pytest.mark.parametrize("name", ["amn", "gru"])
def test_processors_with_and_without_bfloat16_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of both kinds may share a job: their rows differ less than bfloat16 differs from float32."""
    model = build_model(name, seed=2)
    contexts = np.random.default_rng(0).standard_normal((40, 5, 768), dtype=np.float32)
    here = Predictor(model, CPU, precision="bf16")(contexts)
    monkeypatch.setattr(bf16_linear, "multiplies_bf16", lambda: False)
    elsewhere = Predictor(model, CPU, precision="bf16")(contexts)
    assert row_cosines(here, elsewhere).min() > 1 - 1e-4
    assert row_cosines(elsewhere, Predictor(model, CPU)(contexts)).min() > 1 - 1e-4


@pytest.mark.usefixtures("_processor")
@pytest.mark.parametrize("name", ["amn", "gru"])
def test_a_row_that_is_not_finite_spoils_no_other_in_bfloat16(name: str) -> None:
    """NaN stays in its own row."""
    predict = Predictor(build_model(name, seed=1), CPU, precision="bf16")
    contexts = np.random.default_rng(0).standard_normal((9, 5, 768), dtype=np.float32)
    expected = predict(contexts)
    contexts[7, 2, 3] = np.nan
    predicted = predict(contexts)
    assert np.isnan(predicted[7]).all()
    assert row_cosines(np.delete(predicted, 7, 0), np.delete(expected, 7, 0)).min() > 1 - 1e-5


ANSWER = """
import torch
from lvm_batch.lvm.kernels.bf16_linear import Bf16Linear
rows = torch.randn(9, 64)
layer = torch.nn.Linear(64, 40)
print("near" if (Bf16Linear.of(layer)(rows) - layer(rows)).abs().max() < 0.1 else "wrong")
"""


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_bf16_is_right_with_older_instructions(instructions: str) -> None:
    """An option limits oneDNN to older instructions, some of which lack bfloat16; other processors ignore it."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    process = subprocess.run(
        [sys.executable, "-c", ANSWER], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "near"


@pytest.mark.parametrize(("flags", "gains"), [({"avx512_f": True}, False), ({}, False)])
def test_a_processor_without_the_flag_gains_nothing(
    flags: dict[str, bool], monkeypatch: pytest.MonkeyPatch, *, gains: bool
) -> None:
    """The decision follows from the processor's flags alone, so that it is the same in every process."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert precision.multiplies_bf16.__wrapped__() is gains
