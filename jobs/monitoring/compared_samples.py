"""The sampled rows that drift is judged on: those of the window, and those of the last runs before it.

The rule: only runs that can be compared are; with few of them, or few articles, nothing is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.history.row_sample import join_samples
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.monitoring.shifts import PooledRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from lvm_batch.io.history.row_sample import RowSample
    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring import rules as declared
    from lvm_batch.jobs.monitoring.rule_figures import Window

_MIN_ROWS = 50  # of a sample
_MIN_ARTICLES = 5
"""Of the window: with fewer, a night is what its articles are about."""
_MAX_ROWS = 1024  # of the window, or a window of weeks would take minutes


@dataclass(frozen=True, slots=True)
class ComparedSamples:
    """Runs of the window, runs before it, and the sample of the window followed by those of the runs before."""

    inside: tuple[RunEntry, ...]
    before: tuple[RunEntry, ...]
    samples: tuple[RowSample, ...]

    @property
    def rows(self) -> PooledRows:
        """The rows of all samples, by night and by article."""
        nights = np.concatenate([np.full(sample.n, night) for night, sample in enumerate(self.samples)])
        pairs = np.stack([nights, self.column("groups")], axis=1)
        return PooledRows(nights, np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1))

    @property
    def n_rows(self) -> int:
        """Rows of the window's sample."""
        return self.samples[0].n

    @property
    def n_articles(self) -> int:
        """Articles of the window's sample."""
        return len(np.unique(self.samples[0].column("groups")))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of all samples."""
        return np.concatenate([sample.column(name) for sample in self.samples])

    def split(self, values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the window's part of a column, and that of the runs before."""
        return values[: self.n_rows].astype(np.float64), values[self.n_rows :].astype(np.float64)


def compare_samples(
    window: Window, rule: declared.SampleRule, *alike: Callable[[RunEntry], object], what: str = ""
) -> ComparedSamples | str:
    """Return the samples to compare, of runs that are ``alike`` the window's last one; or why there are none.

    ``what`` says in words what they have in common.
    """
    sampled = _sampled(window.inside, 1)
    if not sampled:
        return "no run in the window sampled its rows"
    last = sampled[-1]

    def is_alike(run: RunEntry) -> bool:
        return all(key(run) == key(last) for key in (_form, *alike))

    inside = tuple(filter(is_alike, sampled))
    before = tuple(filter(is_alike, _sampled(window.before, _MIN_ROWS)))[-rule.last_runs :]
    if len(before) < rule.min_runs:
        runs = " ".join(filter(None, (plural(len(before), "run"), what)))
        return f"cannot judge yet: {runs} with sampled rows before the window, {rule.min_runs} are needed"
    samples = (join_samples(_samples(inside), max_rows=_MAX_ROWS), *_samples(before))
    compared = ComparedSamples(inside, before, tuple(sample for sample in samples if sample))
    if compared.n_rows < _MIN_ROWS or compared.n_articles < _MIN_ARTICLES:
        found = f"{plural(compared.n_rows, 'sampled row')} of {plural(compared.n_articles, 'article')}"
        return f"{found} are too few, {_MIN_ROWS} of {_MIN_ARTICLES} are needed"
    return compared


def _sampled(runs: Iterable[RunEntry], min_rows: int) -> list[RunEntry]:
    return [run for run in runs if run.row_sample is not None and run.row_sample.n >= min_rows]


def _samples(runs: Iterable[RunEntry]) -> list[RowSample]:
    return [run.row_sample for run in runs if run.row_sample is not None]


def _form(run: RunEntry) -> object:
    """Return the version of the numbers of a run's sample, and the width of its vectors."""
    sample = run.row_sample
    return sample and (sample.form, run.input_centroid and len(run.input_centroid))
