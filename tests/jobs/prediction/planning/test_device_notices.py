"""Tests of what is said of the device before a job starts."""

from __future__ import annotations

import pytest

from lvm_batch.jobs.prediction.planning.fleet import Fleet
from lvm_batch.jobs.prediction.planning.notices import device_notices
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.devices.facts import DeviceFacts


@pytest.mark.parametrize(
    ("precision", "gains", "is_said"), [("bf16", False, True), ("bf16", True, False), ("fp32", False, False)]
)
def test_a_precision_that_gains_nothing_is_said_at_the_start(
    precision: str, *, gains: bool, is_said: bool
) -> None:
    """bf16 is not refused where a processor only emulates it: workers of both kinds may share a job."""
    settings = RunSettings.model_validate({"precision": precision})
    said = list(device_notices(DeviceFacts("cpu", "cpu", gains_by_bf16=gains), Fleet(1), settings))
    assert any("gains nothing" in notice for notice in said) is is_said


@pytest.mark.parametrize(("precision", "is_said"), [("int8", True), ("fp32", False)])
def test_a_precision_without_fast_products_is_said_at_the_start(precision: str, *, is_said: bool) -> None:
    """The run computes the same by public operators, and says that it takes longer."""
    settings = RunSettings.model_validate({"precision": precision})
    device = DeviceFacts("cpu", "cpu", plain_precisions=("int8",))
    said = list(device_notices(device, Fleet(1), settings))
    assert any("plain products compute the same" in notice for notice in said) is is_said
