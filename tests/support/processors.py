"""Features of the processor that the tests run on."""

from __future__ import annotations

import pytest

from lvm_batch.lvm import DeviceError
from lvm_batch.lvm.kernels.int8_linear import check_int8


def _why_not_int8() -> str | None:
    try:
        check_int8()
    except DeviceError as error:
        return error.message
    return None


needs_int8 = pytest.mark.skipif(_why_not_int8() is not None, reason=str(_why_not_int8()))
"""Skips a test, visibly, if int8 does not run on the processor."""
