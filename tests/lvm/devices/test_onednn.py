"""Tests of torch's private operators: used where they give the plain product, replaced by public ones where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.processors import needs_int8

from lvm_batch.lvm import Predictor, build_model
from lvm_batch.lvm.devices import onednn, precision
from lvm_batch.lvm.devices.devices import find_device
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.kernels.int8_linear import Int8Linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CPU = torch.device("cpu")


class Operators:
    """A namespace of torch's in which an operator is missing, takes other arguments, or means another thing."""

    def __init__(self, **overloads: object) -> None:
        for name, default in overloads.items():
            setattr(self, name, type("Overloads", (), {"default": staticmethod(default)}))


def takes_one_argument(_: object) -> torch.Tensor:
    """An operator with another signature."""
    raise AssertionError


def returns_zeros(x: torch.Tensor, weight: torch.Tensor, *_: object) -> torch.Tensor:
    """An operator with another meaning; the packed weight is the weight."""
    return torch.zeros(len(x), len(weight))


def keeps(weight: torch.Tensor, _: object) -> torch.Tensor:
    """A layout that changes nothing."""
    return weight


def operators(product: Callable[..., torch.Tensor]) -> Operators:
    """Both namespaces in one, with the product given."""
    return Operators(
        _reorder_linear_weight=keeps,
        _linear_pointwise=product,
        qlinear_prepack=keeps,
        qlinear_pointwise=product,
    )


CHANGES = {
    "missing": Operators(),
    "other arguments": operators(takes_one_argument),
    "other meaning": operators(returns_zeros),
}


@pytest.fixture(params=CHANGES)
def _changed_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run as on a build of torch whose private operators have changed; the probes are made anew."""
    monkeypatch.setattr(torch.ops, "mkldnn", CHANGES[request.param])
    monkeypatch.setattr(torch.ops, "onednn", CHANGES[request.param])
    probes = (onednn.packs, onednn.packs_int8, precision.multiplies_bf16)
    for probe in probes:
        probe.cache_clear()
    yield
    for probe in probes:
        probe.cache_clear()


@pytest.mark.usefixtures("_changed_torch")
def test_changed_operators_are_found_by_a_probe() -> None:
    """No precision packs then, and the facts of the device say which take longer."""
    assert not onednn.packs(torch.float32)
    assert not onednn.packs(torch.bfloat16)
    assert not onednn.packs_int8()
    assert find_device("cpu").plain_precisions == ("fp32", "int8")


@pytest.mark.usefixtures("_changed_torch")
@pytest.mark.parametrize(("kind", "least"), [("fp32", 1 - 1e-6), ("bf16", 1 - 1e-4), ("int8", 0.9)])
@pytest.mark.parametrize("name", ["amn", "gru"])
def test_public_operators_predict_what_the_model_does(
    name: str, kind: precision.Precision, least: float
) -> None:
    """Each precision stays as near to the model as its rounding allows."""
    model = build_model(name, seed=2)
    contexts = np.random.default_rng(0).standard_normal((40, 5, 768), dtype=np.float32)
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(contexts)).numpy()
    assert row_cosines(Predictor(model, CPU, precision=kind)(contexts), expected).min() > least


def test_operators_of_this_build_are_used() -> None:
    """Where oneDNN is there, the probes pass: a silent fallback would cost half of the speed."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    assert onednn.packs(torch.float32)


@needs_int8
@torch.inference_mode()
def test_8_bit_products_agree_with_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both multiply the same rounded numbers, so workers with either may share a job."""
    if not onednn.packs_int8():
        pytest.skip("this build of torch has no 8-bit products")
    layer, rows = torch.nn.Linear(1536, 64), torch.randn(300, 1536)
    packed = Int8Linear.of(layer)(rows)
    monkeypatch.setattr(onednn, "packs_int8", lambda: False)
    torch.testing.assert_close(packed, Int8Linear.of(layer)(rows), atol=1e-5, rtol=1e-5)
