"""Tests of a fitted router: the gain that it expects of a row, and the file that it is kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lvm_batch.lvm.errors import RouterError
from lvm_batch.lvm.inference.gain_router import GainRouter, pair_signals
from lvm_batch.lvm.inference.router_file import RouterFile, RouterRecovery, read_router

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH, DIM = 3, 8


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def router_of(*, length: int = LENGTH, dim: int = DIM, threshold: float = 0.25) -> GainRouter:
    """A router of random weights."""
    n_signals = 2 * length - 1
    return GainRouter(
        bias=0.5,
        of_last=floats(dim, seed=1),
        of_prediction=floats(dim, seed=2),
        of_signals=floats(n_signals, seed=3),
        of_products=floats(n_signals, n_signals, seed=4),
        threshold=threshold,
    )


@pytest.mark.parametrize("length", [1, 3])
def test_the_expected_gain_is_a_form_in_inner_products_and_two_vectors(length: int) -> None:
    """Row by row it is what the formula says, whatever rows stand beside it."""
    router, contexts, predictions = (
        router_of(length=length),
        floats(300, length, DIM),
        floats(300, DIM, seed=9),
    )
    expected = []
    for context, prediction in zip(contexts.astype(float), predictions.astype(float), strict=True):
        pairs = [vector @ prediction for vector in context]
        pairs += [one @ other for one, other in pairwise(context)]
        s = np.array(pairs)
        linear = context[-1] @ router.of_last + prediction @ router.of_prediction + s @ router.of_signals
        expected.append(router.bias + linear + s @ router.of_products @ s)
    found = router.expected_gain(predictions, contexts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        router.expected_gain(predictions[7:9], contexts[7:9]), found[7:9], rtol=1e-5, atol=1e-5
    )
    assert pair_signals(predictions, contexts).shape == (300, 2 * length - 1)


def test_a_row_that_is_not_finite_is_not_escalated() -> None:
    """NaN and what overflows expect no gain; the rows beside them are as they would be alone."""
    contexts, predictions = floats(3, LENGTH, DIM), floats(3, DIM, seed=9)
    alone = router_of().expected_gain(predictions, contexts)
    contexts[0, 0, 0], contexts[2] = np.nan, 3e38
    router = router_of(threshold=float(alone[1]))
    gain = router.expected_gain(predictions, contexts)
    assert gain[1] == pytest.approx(alone[1])
    assert router.escalates(np.array([np.nan, alone[1], np.nan], np.float32)).tolist() == [False, True, False]
    assert not router.escalates(gain)[0]


def file_of(router: GainRouter) -> RouterFile:
    """The file of a router."""
    recovery = RouterRecovery(1000, 40, 0.2, 0.27, (0.2, 0.34), 0.1)
    return RouterFile(router, "a" * 64, "b" * 64, 0.2, recovery)


def test_a_router_is_read_as_it_was_written() -> None:
    """Every weight to the bit, its models, its budget and what it recovered."""
    written = file_of(router_of())
    read = read_router(written.to_bytes(), "r.json")
    assert replace(read, router=written.router) == written
    assert (read.router.length, read.router.dim) == (LENGTH, DIM)
    contexts, predictions = floats(50, LENGTH, DIM), floats(50, DIM, seed=9)
    one, other = (each.router.expected_gain(predictions, contexts) for each in (read, written))
    assert one.tobytes() == other.tobytes()


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(name)


@pytest.mark.parametrize(
    "damage",
    [
        _without("of_last"),
        _without("digest"),
        lambda values: values.update(bias=values["bias"] + 1e-9),
        lambda values: values["of_last"].pop(),
        lambda values: values.update(threshold=None),
    ],
)
def test_a_damaged_router_is_refused_by_name(damage: Callable[[dict[str, Any]], object]) -> None:
    """Whatever value is missing or changed, however little, the file is not used."""
    values = json.loads(file_of(router_of()).to_bytes())
    damage(values)
    with pytest.raises(RouterError, match=r"r\.json is a damaged router") as error:
        read_router(json.dumps(values).encode(), "r.json")
    assert "evaluate HELD_OUT" in error.value.args[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file_of(router_of()).to_bytes()[:-100], "not JSON"),
        (b"PK\x03\x04", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"kind": "something"}', "other JSON"),
        (b'{"kind": "lvm-batch router", "format": 9}', "format 9, and this version reads format 1"),
        (b" " * (2**24 + 1), "more than 16,777,216 bytes"),
    ],
)
def test_another_file_is_no_router(content: bytes, message: str) -> None:
    """A cut file, other JSON of file, or the file of a later version is refused with what it is."""
    with pytest.raises(RouterError, match=message):
        read_router(content, "r.json")
