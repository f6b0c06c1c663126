"""The commands that a user types after a run, with the paths of its job.

The rule: a command works as it is printed: paths are quoted for a shell, and the options that describe the dataset are
given again.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lvm_batch.io.output.job_difference import MEANT
from lvm_batch.io.schema import ROUTES
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.sources import flag_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.prediction.results.summary import Summary


@dataclass(frozen=True, slots=True)
class NextCommands:
    """The ``dataset`` of a job with the options that describe it, and the paths of its models and its bank.

    ``budget`` is the fraction of rows that may be escalated. ``own_context`` is what the run did with a row's own
    context vectors in the bank.
    """

    dataset: tuple[str, ...]
    primary: str
    fallback: str | None
    bank: str | None
    budget: float | None
    own_context: str = "drop"

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], *, primary: str, fallback: str | None, bank: str | None
    ) -> NextCommands:
        """Take the dataset and the budget from the settings of a run as plain values."""
        return cls(
            dataset=(*settings.get("dataset", ()), *_options(settings)),
            primary=primary,
            fallback=fallback,
            bank=bank,
            budget=settings.get("max_fallback_rate"),
            own_context=settings.get("own_context", MEANT["own_context"]),
        )

    @classmethod
    def of_job(cls, job: JobDocument) -> NextCommands:
        """Take everything from the job as it began."""
        known = ((role, job.models.get(role)) for role in ("primary", "fallback", "bank"))
        paths = {
            role: str(model["path"]) for role, model in known if isinstance(model, dict) and "path" in model
        }
        return cls.of(
            job.settings,
            primary=paths.get("primary", ""),
            fallback=paths.get("fallback"),
            bank=paths.get("bank"),
        )

    @classmethod
    def after(cls, summary: Summary) -> NextCommands:
        """Take everything from a run that has ended."""
        primary, fallback = (summary.models.get(route) for route in ROUTES)
        return cls.of(
            summary.settings,
            primary=primary.path if primary else "",
            fallback=fallback.path if fallback else None,
            bank=summary.bank,
        )

    @property
    def inspect(self) -> str:
        """The command that describes the dataset."""
        return _command("inspect", *self.dataset)

    @property
    def compare(self) -> str:
        """The command that compares the models with each other and with baselines that need no model."""
        models = [word for path in (self.primary, self.fallback) if path for word in ("--model", path)]
        return _command("evaluate", *self.dataset, *models)

    @property
    def calibrate(self) -> str:
        """The command that proposes thresholds or, without a bank to measure them against, compares the models."""
        if self.fallback is None or self.bank is None:
            return self.compare
        models = ["--model", self.primary, "--fallback", self.fallback, "--bank", self.bank]
        budget = [] if self.budget is None else ["--budget", f"{self.budget:g}"]
        own = [] if self.own_context == "drop" else ["--own-context", self.own_context]
        return _command("evaluate", *self.dataset, *models, *own, "--calibrate", *budget)


def _command(*words: str) -> str:
    return shlex.join(["lvm-batch", *words])


def _options(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options that say how a dataset is read, as far as they are not the defaults."""
    for name, field in DatasetSettings.model_fields.items():
        value = settings.get(name, field.default)
        if name != "dataset" and value is not None and value != field.default:
            yield from (flag_of(name), str(value))
