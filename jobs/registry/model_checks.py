"""The checks that a model must pass before it gets a role.

The rule: a check says what it measured, whether it passed or not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lvm_batch.io.schema import WindowShape
from lvm_batch.jobs.console.text import plural
from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.models.seen_rows import SeenRows
    from lvm_batch.jobs.registry.held_out_sample import HeldOutSample
    from lvm_batch.lvm.architectures.context_model import ContextModel

    Floats = NDArray[np.float32]

NORM_TOLERANCE = 1e-5
"""The largest allowed difference between a prediction's norm and 1; float32 gives 1e-7."""

FORM_TOLERANCE = 1e-5
"""The largest allowed difference of a component from the published forward pass, in every way to run a job."""

_N_CONTEXTS = 256
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Check:
    """One check: whether it passed, what was found in words, and the measured number if there is one."""

    name: str
    passed: bool
    found: str
    figure: float | None = None

    def values(self) -> dict[str, Any]:
        """Return the check as plain values; a figure that is not finite becomes None."""
        figure = self.figure if self.figure is not None and np.isfinite(self.figure) else None
        return {**asdict(self), "figure": figure}


@dataclass(frozen=True, slots=True)
class Cosines:
    """Mean cosines with the target on the same rows: the model's, the context mean's and the role's current model's.

    ``without_cosine`` counts the rows left out because one of the three has no cosine there. ``current_mean`` is None
    if no model has the role, or if the one that has it has no cosine on any row.
    """

    rows: int
    ood_rows: int
    without_cosine: int
    mean: float
    context_mean: float
    current: str | None
    current_mean: float | None
    tolerance: float

    @property
    def change(self) -> float | None:
        """How much higher the mean would be; None if there is nothing to compare with."""
        return None if self.current_mean is None else self.mean - self.current_mean

    def values(self) -> dict[str, Any]:
        """Return the cosines as plain values; a mean that is not finite becomes None."""
        values = {**asdict(self), "change": self.change}
        return {name: _finite(value) for name, value in values.items()}


def random_contexts(dim: int, length: int = WindowShape().length) -> Floats:
    """Return contexts, float32 (256, ``length``, ``dim``), of random unit vectors; always the same ones."""
    shape = (_N_CONTEXTS, length, dim)
    contexts = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    contexts /= np.linalg.norm(contexts, axis=2, keepdims=True)
    return contexts


def check_outputs(model: ContextModel, contexts: Floats) -> tuple[Check, ...]:
    """Check that predictions are finite, of norm 1, and the same in a run's form of the model as published."""
    try:
        predictor = Predictor(model, _CPU)
        with np.errstate(over="ignore", invalid="ignore"):  # the checks below look at the results
            predictions = predictor(contexts)
            alone = predictor(contexts[:1])  # a single row may be computed by other code
        published = _published(model, contexts)
    except ArchitectureError as error:
        return (Check("unit norm", False, f"no predictions: {error.message}"),)  # noqa: FBT003 - it says "failed"
    return (_unit_norm(published), _same(np.concatenate([predictions, alone]), published))


def compare_cosines(
    model: ContextModel,
    sample: HeldOutSample,
    *,
    current: ContextModel | None,
    current_name: str | None,
    tolerance: float,
) -> Cosines:
    """Compare a model with the context's mean and with ``current``, the model that has the role.

    Only rows where all of them have a cosine count, except for one that has a cosine on no row at all.
    """
    own = _cosines(model, sample)
    with np.errstate(over="ignore", invalid="ignore"):  # such rows have no cosine
        baseline = row_cosines(sample.contexts.mean(axis=1), sample.targets)
    currents = np.full_like(own, np.nan) if current is None else _cosines(current, sample)
    known = np.ones(len(own), np.bool_)
    for values in (own, baseline, currents):
        known &= np.isfinite(values) | ~np.isfinite(values).any()
    current_mean = _mean(currents[known])
    return Cosines(
        rows=int(known.sum()),
        ood_rows=int(known[: sample.n_ood].sum()),
        without_cosine=int((~known).sum()),
        mean=_mean(own[known]),
        context_mean=_mean(baseline[known]),
        current=current_name,
        current_mean=current_mean if np.isfinite(current_mean) else None,
        tolerance=tolerance,
    )


def check_cosine(cosines: Cosines) -> Check:
    """Check that the model's mean cosine is at most the tolerance below the current one's."""
    floor = None if cosines.current_mean is None else cosines.current_mean - cosines.tolerance
    passed = bool(np.isfinite(cosines.mean)) if floor is None else cosines.mean >= floor
    return Check("cosine", passed, _cosine_text(cosines), cosines.mean)


def check_seen(seen: SeenRows, max_seen: float) -> Check:
    """Check that the model was trained on at most a share of the rows that judge it."""
    passed = (seen.share or 0.0) <= max_seen
    way_out = "" if passed else "; give --data articles that it was not trained on, or allow more: --max-seen"
    return Check("unseen rows", passed, f"{seen.text}, at most {max_seen:.0%} allowed{way_out}", seen.share)


def _cosines(model: ContextModel, sample: HeldOutSample) -> Floats:
    """Return the cosine of each prediction with its target, float32 (n,); NaN if there is none.

    All are NaN if the model cannot read such contexts.
    """
    try:
        return row_cosines(Predictor(model, _CPU)(sample.contexts), sample.targets)
    except ArchitectureError:
        return np.full(len(sample.targets), np.nan, np.float32)


def _mean(cosines: Floats) -> float:
    return float(cosines.mean(dtype=np.float64)) if len(cosines) else float("nan")


def _published(model: ContextModel, contexts: Floats) -> Floats:
    with torch.inference_mode():
        published: Floats = model(torch.from_numpy(contexts)).numpy()
    return published


def _unit_norm(predictions: Floats) -> Check:
    norms = np.linalg.norm(predictions.astype(np.float64), axis=1)
    n_broken = int((~np.isfinite(norms)).sum())
    if n_broken:
        return Check("unit norm", False, f"not finite: {n_broken:,} of {plural(len(norms), 'prediction')}")  # noqa: FBT003
    off = float(np.abs(norms - 1).max())
    text = f"norms of {plural(len(norms), 'prediction')} within {off:.1e} of 1"
    return Check("unit norm", off <= NORM_TOLERANCE, text, off)


def _same(predictions: Floats, published: Floats) -> Check:
    off = float(np.abs(predictions - np.concatenate([published, published[:1]])).max())
    text = f"within {off:.1e} of the published forward pass" if np.isfinite(off) else "not finite"
    return Check("same numbers", off <= FORM_TOLERANCE, text, off)


def _cosine_text(cosines: Cosines) -> str:
    ood = f", {cosines.ood_rows:,} of them ood" if cosines.ood_rows else ""
    left_out = f", {cosines.without_cosine:,} without a cosine left out" if cosines.without_cosine else ""
    own = (
        f"{cosines.mean:.4f} on {plural(cosines.rows, 'window')}{ood}{left_out} "
        f"(mean of the context {cosines.context_mean:.4f})"
    )
    if cosines.change is None:
        return f"{own}, {f'{cosines.current} has none' if cosines.current else 'nothing to compare with'}"
    return f"{own}, {cosines.current} {cosines.current_mean:.4f}: {cosines.change:+.4f}, -{cosines.tolerance:g} allowed"


def _finite(value: Any) -> Any:  # noqa: ANN401 - texts and whole numbers stay
    return None if isinstance(value, float) and not np.isfinite(value) else value
