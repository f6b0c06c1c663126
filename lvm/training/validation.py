"""The validation of a model after an epoch.

The rule: loss and cosine are means over the windows that have a cosine; the others count nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.predictor import Predictor

if TYPE_CHECKING:
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.windows import Windows


def validate(model: ContextModel, windows: Windows) -> tuple[float, float]:
    """Return the mean squared error per component and the mean cosine; both NaN if no window has a cosine."""
    predict = Predictor(model, next(model.parameters()).device)
    errors, cosines = [], []
    for contexts, targets in windows.batches():
        predictions, wanted = predict(contexts.numpy()), targets.numpy()
        errors.append(np.square(predictions - wanted).mean(axis=1))
        cosines.append(row_cosines(predictions, wanted))
    judged = np.concatenate(cosines).astype(np.float64)
    known = np.isfinite(judged)
    if not known.any():
        return math.nan, math.nan
    return float(np.concatenate(errors)[known].mean(dtype=np.float64)), float(judged[known].mean())
