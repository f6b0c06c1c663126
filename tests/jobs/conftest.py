"""The environment that tests of this room run in."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the caller's environment change no test."""
    for variable in [name for name in os.environ if name.startswith("LVM_BATCH_")]:
        monkeypatch.delenv(variable)
