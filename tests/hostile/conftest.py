"""What the attacks share: a process that opens hostile files in the tests' place, and how long fuzzing goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest
from victim import Victim

if TYPE_CHECKING:
    from collections.abc import Iterator

# FUZZ_EXAMPLES=5000 pytest tests/hostile looks for new findings: at random, and with that many examples of each kind.
_EXAMPLES = os.environ.get("FUZZ_EXAMPLES")

hypothesis.settings.register_profile(
    "hostile",
    max_examples=int(_EXAMPLES or 60),
    derandomize=_EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """The process that opens what may kill it, hang it or fill its memory."""
    process = Victim(limit_s=20)
    yield process
    process.close()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the caller's environment change no test."""
    for variable in [name for name in os.environ if name.startswith("LVM_BATCH_")]:
        monkeypatch.delenv(variable)
