"""The features of a row that a router's fit reads, and the router that weights of these features make.

The rule: features are what a router can compute of a row before the fallback runs. Needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.evaluation.calibration import CalibrationRows
from lvm_batch.lvm.inference.gain_router import GainRouter, pair_signals

if TYPE_CHECKING:
    import numpy.typing as npt

    from lvm_batch.lvm.evaluation.calibration import Flags, Values

    Floats = npt.NDArray[np.float32]

MOST_ROWS = 40_000
"""Rows that a router is fitted on at most, 250 MB of vectors of 768; from 3,500 to 8,000 rows it gained a tenth
(tests/benchmarks/routing.md)."""

_COMPONENTS = 64  # principal components of a vector; 32 recover less, 128 no more
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class RouterRows:
    """Rows to fit a router on: their calibration, and what a router reads of them.

    ``last`` is the last vector of a context and ``predictions`` the primary model's answer, float32 (n, dim);
    ``signals`` are those of ``pair_signals``, float32 (n, s).
    """

    rows: CalibrationRows
    last: Floats
    predictions: Floats
    signals: Floats

    @classmethod
    def of(cls, rows: CalibrationRows, predictions: Floats, contexts: Floats) -> RouterRows:
        """Take rows with their predictions (n, dim) and contexts (n, length, dim), of which the last vector is kept."""
        return cls(rows, contexts[:, -1].copy(), predictions, pair_signals(predictions, contexts))

    @property
    def is_usable(self) -> Flags:
        """Which rows can be fitted to: those whose cosines and signals are finite, bool (n,)."""
        return np.asarray(self.rows.has_cosines & np.isfinite(self.signals).all(axis=1))

    def take(self, rows: Flags) -> RouterRows:
        """Return some of the rows."""
        return RouterRows(self.rows.take(rows), self.last[rows], self.predictions[rows], self.signals[rows])

    @classmethod
    def joined(cls, parts: list[RouterRows]) -> RouterRows:
        """Return the rows of all parts, concatenated."""
        return cls(
            CalibrationRows.joined([part.rows for part in parts]),
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("last", "predictions", "signals")
            ),
        )


@dataclass(frozen=True, slots=True)
class Design:
    """Turns rows into features of comparable size, and weights of features into a router.

    Features are the signals, products of two of them, and ``_COMPONENTS`` principal components of the last vector and
    of the prediction. Signals and products each have unit variance, the components of a vector together.
    """

    centres: tuple[Values, ...]  # (dim,) of the last vector and of the prediction
    directions: tuple[Values, ...]  # (dim, components), scaled
    mean: Values  # of signals and products
    scale: Values

    @classmethod
    def of(cls, data: RouterRows) -> Design:
        """Measure the rows that a router is fitted on."""
        centres, directions = zip(*map(_principal, (data.last, data.predictions)), strict=True)
        products = _with_products(data.signals)
        scale = products.std(axis=0)
        return cls(centres, directions, products.mean(axis=0), np.where(scale > _TINY, scale, 1.0))

    def features(self, data: RouterRows) -> Values:
        """Return the features of rows, float64 (n, f)."""
        vectors = zip((data.last, data.predictions), self.centres, self.directions, strict=True)
        components = [(vector - centre) @ directions for vector, centre, directions in vectors]
        return np.concatenate([(_with_products(data.signals) - self.mean) / self.scale, *components], axis=1)

    def router(self, weights: Values, level: float, threshold: float) -> GainRouter:
        """Return the router of a linear form in the features."""
        n_products, n_components = len(self.mean), self.directions[0].shape[1]
        parts = np.split(weights, [n_products, n_products + n_components])
        of_products = parts[0] / self.scale
        of_last, of_prediction = (part @ each for part, each in zip(self.directions, parts[1:], strict=True))
        at_centre = np.concatenate([self.mean, *self.centres]) @ np.concatenate(
            [of_products, of_last, of_prediction]
        )
        of_signals, form = _as_form(of_products)
        return GainRouter(
            bias=level - float(at_centre),
            of_last=of_last.astype(np.float32),
            of_prediction=of_prediction.astype(np.float32),
            of_signals=of_signals.astype(np.float32),
            of_products=form.astype(np.float32),
            threshold=threshold,
        )


def _principal(vectors: Floats) -> tuple[Values, Values]:
    """Return the centre of vectors (n, dim), and their first principal directions, scaled to unit variance together."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    spread = vectors - centre.astype(np.float32)
    variances, axes = np.linalg.eigh((spread.T @ spread).astype(np.float64) / len(vectors))
    kept = slice(None, -min(_COMPONENTS, len(centre)) - 1, -1)
    total = max(float(variances[kept].sum()), _TINY)
    return centre, axes[:, kept] * np.sqrt(_COMPONENTS / total)


def _with_products(signals: Floats) -> Values:
    """Return signals (n, s) and the products of every two of them, float64 (n, s + s · (s + 1) / 2)."""
    exact = signals.astype(np.float64)
    one, other = np.triu_indices(signals.shape[1])
    return np.concatenate([exact, exact[:, one] * exact[:, other]], axis=1)


def _as_form(weights: Values) -> tuple[Values, Values]:
    """Return the weights of ``_with_products`` as those of the signals (s,) and of their products (s, s)."""
    n_signals = next(n for n in range(len(weights) + 1) if n + n * (n + 1) // 2 == len(weights))
    form = np.zeros((n_signals, n_signals))
    form[np.triu_indices(n_signals)] = weights[n_signals:]
    return weights[:n_signals], form
