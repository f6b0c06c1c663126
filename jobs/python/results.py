"""What the functions return: the values that ``--json`` prints, the text that the command prints, and a few by name.

The rule: a result does not change, can be pickled, and prints as the command's own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lvm_batch.jobs.prediction.results.summary import RunWarning, Summary


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The result of a function: ``values`` as ``--json`` prints them, and ``text`` for people.

    ``result["rows"]`` is short for ``result.values["rows"]``.
    """

    values: Mapping[str, Any]
    text: str

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a JSON value
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, repr=False)
class RunResult(Result):
    """How a run ended; ``summary`` has the content of ``summary.json``, typed."""

    summary: Summary

    @property
    def output(self) -> str:
        """Folder or URL of the predictions, for ``read_predictions``."""
        return self.summary.output

    @property
    def warnings(self) -> tuple[RunWarning, ...]:
        """Results to look at, each with the figure and what to do; they are printed, too, unless ``progress=False``."""
        return self.summary.warnings


@dataclass(frozen=True, slots=True, repr=False)
class PlanResult(Result):
    """What a run with the same settings would do."""

    @property
    def output(self) -> str:
        """Folder or URL that the run would write to."""
        return str(self.values["output"])

    @property
    def rows(self) -> int:
        """Rows that the run reads."""
        return int(self.values["rows"])

    @property
    def units_left(self) -> int:
        """Work units that are not done yet."""
        return sum(not unit["done"] for unit in self.values["units"])

    @property
    def refusal(self) -> str | None:
        """Why the run would be refused, its output or its memory; ``None`` if it would not."""
        refusals = (self.values["refusal"], self.values["memory"]["refusal"])
        return next((f"{each['message']}; {each['hint']}" for each in refusals if each), None)


@dataclass(frozen=True, slots=True, repr=False)
class TrainResult(Result):
    """A trained model; ``values`` has the content of ``training_history.json``."""

    model: Path
    """The checkpoint, for ``run(model=...)``."""


@dataclass(frozen=True, slots=True, repr=False)
class BankResult(Result):
    """A bank of vectors."""

    path: str
    """Its folder or URL, for ``run(bank=...)``."""

    @property
    def count(self) -> int:
        """Vectors in the bank."""
        return int(self.values["count"])

    @property
    def left_out(self) -> int:
        """Rows without a usable vector."""
        return int(self.values["left_out"])
