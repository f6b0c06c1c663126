"""The values of two jobs that a comparison sets side by side.

The rule: everything follows from the data of their reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lvm_batch.jobs.prediction.results.totals import Totals
    from lvm_batch.jobs.reports.data import ReportData

    Pair = tuple[ReportData, ReportData]


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ, by name; a missing value is ``None``."""
    return {
        name: (first.get(name), second.get(name))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    }


def settings_of(data: ReportData) -> dict[str, Any]:
    """Return the settings of a job by name."""
    return data.documents.settings.model_dump()


def models_of(data: ReportData) -> dict[str, str]:
    """Return architecture, path and digest of each model of a job by its role."""
    return {role: f"{architecture} {path} {digest}" for role, architecture, path, digest in data.models}


def means_of_both(pair: Pair) -> list[tuple[str, tuple[float | None, float | None]]]:
    """Return the mean of each figure over all rows of both jobs."""
    first, second = (_means(data.documents.totals) for data in pair)
    return [(name, (mean, second[name])) for name, mean in first.items()]


def _means(totals: Totals) -> dict[str, float | None]:
    return {
        "cosine": totals.cosine.mean,
        "amn_cosine": totals.amn_cosine.mean,
        "gru_cosine": totals.gru_cosine.mean,
        "escalation_gain": totals.escalation_gain.mean,
        "shadow_gain": totals.shadow_gain.mean,
        "confidence": totals.confidence.mean,
        "margin": totals.margin.mean,
    }


def have_same_rows(pair: Pair) -> bool:
    """Return whether both jobs read the same files, and all of their rows were looked at."""
    inputs = [{file.path for file in data.documents.job.identity.inputs.values()} for data in pair]
    names = [sorted(data.documents.rows_by_output.items()) for data in pair]
    are_whole = all(data.columns.n_rows == data.columns.n_total for data in pair)
    return inputs[0] == inputs[1] and names[0] == names[1] and are_whole


def values_of(data: ReportData) -> dict[str, NDArray[np.float32]]:
    """Return the values of the rows whose means are compared, by name; each float32 (n,), NaN for null."""
    columns = data.columns
    signals = ("cosine", "amn_cosine", "gru_cosine", "confidence", "margin")
    return {name: columns.floats[name] for name in signals} | {
        "escalation_gain": columns.gain[columns.escalated],
        "shadow_gain": columns.gain[columns.shadow],
    }
