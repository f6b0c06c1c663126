"""What the processor that tests run on can do."""

from __future__ import annotations

import pytest
import torch

from lvm_batch.lvm import DeviceError
from lvm_batch.lvm.devices.precision import check_precision


def _why_not_int8() -> str | None:
    try:
        check_precision("int8", torch.device("cpu"))
    except DeviceError as error:
        return error.message
    return None


needs_int8 = pytest.mark.skipif(_why_not_int8() is not None, reason=str(_why_not_int8()))
"""Skips a test, visibly, where the processor refuses int8."""
