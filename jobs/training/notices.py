"""What a training says of its data before the first step.

The rule: whatever makes the result look better than it is, or fits a model to data that others do not have, is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from lvm_batch.jobs.settings.train import TrainSettings
    from lvm_batch.jobs.training.article_split import Split

_SAMPLE = 1000
_NORM_TOLERANCE = 0.01


def start_notice(settings: TrainSettings, split: Split, device: torch.device) -> str:
    """Return what is trained on what, and judged by what."""
    train, val = split.n_articles
    if not val:
        return (
            f"training {settings.arch} on {device}: {plural(len(split.training), 'window')} of one article; judged by "
            f"{plural(len(split.validation), 'window')} at its end, so expect lower results on other articles"
        )
    return (
        f"training {settings.arch} on {device}: {plural(len(split.training), 'window')} of "
        f"{plural(train, 'article')}; judged by {plural(len(split.validation), 'window')} of {plural(val, 'other')}"
    )


def odd_norms(split: Split) -> Iterator[str]:
    """Yield a notice if the vectors are no unit vectors: the model will know this norm alone."""
    norms = np.linalg.norm(split.training.sample(_SAMPLE).numpy(), axis=2)
    if abs(float(norms.mean()) - 1) >= _NORM_TOLERANCE:
        yield (
            f"the vectors' norm is {norms.mean():.3g} on average, not 1: the model will need such vectors in a "
            "run too (--input-norm unit trains a model that scales its input to unit norm)"
        )
