"""Checks whether a module's tests notice that it is wrong: ``make mutants ARGS="io.output.commit:20-60"``.

At least 95 % of a module's mutants must fail its fast tests, and ``survivors.toml`` must list each of the others
with a reason. An entry there that no survivor matches is a failure too.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from mutations import Mutant, mutants
from trials import Subject, import_ahead, killed_by, observe

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_MIN_SHARE = 0.95


@dataclass(slots=True)
class Outcome:
    """The results for a module's mutants; ``unlisted`` are the survivors without a reason."""

    module: str
    n_mutants: int = 0
    n_hung: int = 0
    listed: list[Mutant] = field(default_factory=list)
    unlisted: list[Mutant] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n_killed(self) -> int:
        """The number of mutants that fail the tests."""
        return self.n_mutants - len(self.listed) - len(self.unlisted)

    @property
    def is_good(self) -> bool:
        """Whether enough mutants are killed and every survivor is listed."""
        enough = self.n_killed >= _MIN_SHARE * self.n_mutants
        return enough and not self.unlisted and not self.stale

    def __str__(self) -> str:
        share = self.n_killed / self.n_mutants if self.n_mutants else 1.0
        return (
            f"{self.module:<24}{self.n_mutants:>5} mutants{self.n_killed:>5} killed ({self.n_hung} hung) {share:>7.1%}"
            f"{len(self.listed):>4} listed{len(self.unlisted):>4} not{self.seconds:>7.0f} s"
        )


def main() -> int:
    """Test the mutants of the given modules, or of all; return 1 if the rule is broken."""
    tests = tomllib.loads((_HERE / "fast_tests.toml").read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "modules", nargs="*", default=list(tests), help="such as io.commit, or io.output.commit:120-160"
    )
    outcomes = []
    for text in parser.parse_args().modules:
        module, _, lines = text.partition(":")
        if module not in tests:
            parser.error(f"fast_tests.toml names no tests of {module}; it has {', '.join(tests)}")
        outcomes.append(_try_out(module, _lines(lines), tuple(tests[module])))
    print(*outcomes, sep="\n")
    return 0 if all(each.is_good for each in outcomes) else 1


def _lines(text: str) -> range | None:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1) if first else None


def _try_out(module: str, lines: range | None, tests: tuple[str, ...]) -> Outcome:
    """Test the mutants of one module, or those within ``lines``."""
    path = _ROOT / (module.replace(".", "/") + ".py")
    source = path.read_text()
    subject = Subject(f"lvm_batch.{module}", path, tests)
    began = time.monotonic()
    unchanged = compile(source, str(path), "exec", dont_inherit=True)
    baseline = observe(subject, unchanged)
    import_ahead(baseline)
    if killer := killed_by(subject, unchanged, list(baseline.tests), baseline):
        sys.exit(f"the tests of {module} fail in a fork without any mutation: {killer}")
    outcome, reasons = Outcome(module), _reasons(module)
    unanswered = set(reasons)
    for mutant, code in mutants(source, str(path)):
        if lines is not None and mutant.line not in lines:
            continue
        outcome.n_mutants += 1
        touching = baseline.touching(mutant.lines)
        killer = killed_by(subject, code, touching, baseline)
        if killer is None and len(touching) < len(
            baseline.tests
        ):  # a fixture's lines were traced for one test only
            killer = killed_by(subject, code, list(baseline.tests), baseline)
        outcome.n_hung += killer == "hung"
        if killer is None:
            place = (mutant.text, mutant.change)
            unanswered.discard(place)
            (outcome.listed if place in reasons else outcome.unlisted).append(mutant)
            if place not in reasons:
                print(f"{path}:{mutant.line}: survives: {mutant.change}", flush=True)
    if lines is None:
        outcome.stale = [f"{text}: {change}" for text, change in sorted(unanswered)]
    for entry in outcome.stale:
        print(f"{path}: survivors.toml lists what does not survive, or is not there: {entry}")
    outcome.seconds = time.monotonic() - began
    print(outcome, flush=True)
    return outcome


def _reasons(module: str) -> dict[tuple[str, str], str]:
    """Return the listed reasons of a module, by line and change."""
    listed = tomllib.loads((_HERE / "survivors.toml").read_text())
    return {
        (entry["line"], change): entry["reason"]
        for entry in listed.get("survivor", ())
        if entry["module"] == module
        for change in entry["changes"]
    }


if __name__ == "__main__":
    sys.exit(main())
