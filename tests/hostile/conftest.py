"""Fixtures shared by the hostile tests: a process that opens hostile files for the tests, and the number of fuzz
examples.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support.victim import Victim
from support.waiting import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile(
    "hostile",
    hypothesis.settings.get_profile("suite"),
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "30")),
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """A process that opens files which may kill it, hang it or fill its memory."""
    process = Victim(limit_s=HANG_S)
    yield process
    process.close()
