"""Rules for the tests themselves, so that they pass on every processor and on a busy machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
KEPT_TO = {
    r"\btimeout=\d|\.(wait|join)\([1-9]|\.settimeout\(\d": "limits of time are `waiting.HANG_S`, for what hangs",
    r"(monotonic|perf_counter|time)\(\) - [\w.]+ <=? \d": "how long something takes says how busy the machine is",
    r"while not .*\b(monotonic|perf_counter|time)\(\) <": "`waiting.wait_until` says what it waits for",
    r"\bdeadline=(?!None)": "Hypothesis has one profile, in conftest.py",
    r"assert_array_equal\(predictions_of": "`datasets.assert_same_rows` allows for other kernels",
}


@pytest.mark.parametrize("pattern", KEPT_TO)
def test_no_test_depends_on_the_machine(pattern: str) -> None:
    """Tests wait for conditions, and compare what models compute to 1e-5."""
    places = [
        f"{path.relative_to(TESTS)}:{number}: {line.strip()}"
        for path in sorted(TESTS.rglob("*.py"))
        if path.parent.name != "benchmarks" and path not in {Path(__file__), TESTS / "support/waiting.py"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not places, KEPT_TO[pattern]
