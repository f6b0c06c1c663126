"""What a run writes besides its predictions, and what it reads besides its dataset, as places.

The rule: every path that a run is told to write to is here, so that none escapes the checks of ``jobs.places``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lvm_batch.jobs.places import Place, place_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.jobs.settings.run import RunSettings

_A_RUN = "date=2026-01-01/20260101T000000.000000Z-0123456789ab.parquet"
"""A name as a history's files have them."""


def places_written(settings: RunSettings, files: Iterable[InputFile] = ()) -> list[Place]:
    """Return the places that a run writes to, of whose dataset ``files`` have been found."""
    names = [f"{stem}-00000.parquet" for stem in dict.fromkeys(file.stem for file in files)]
    written = [Place("the output", "--output", settings.output, tuple(names) or ("",), "everything")]
    if settings.history:
        written.append(Place("the history", "--history", settings.history, (_A_RUN,), "folders"))
    return [*written, *_files(settings)]


def _files(settings: RunSettings) -> list[Place]:
    given = [
        ("the metrics file", "--metrics-file", settings.metrics_file),
        ("the performance report", "--performance-report", settings.performance_report),
    ]
    return [Place(what, option, text, is_file=True) for what, option, text in given if text]


def places_kept(settings: RunSettings) -> list[Place]:
    """Return the places that a run only reads, but for the dataset. A model's name is none."""
    given = [
        ("the model", "--model", settings.model),
        ("the fallback", "--fallback", settings.fallback),
        ("the folder of models", "--models-dir", settings.models_dir),
    ]
    kept = [
        Place(what, option, text, is_file=not os.path.isdir(text))  # noqa: PTH112 - Path's own raises for odd texts
        for what, option, text in given
        if text and ("://" in text or os.path.exists(text))  # noqa: PTH110
    ]
    if settings.bank:
        kept.append(Place("the bank", "--bank", settings.bank, keeps_out="everything"))
    return kept


def metrics_file_is_misplaced(settings: RunSettings) -> bool:
    """Whether writing ``--metrics-file`` would break something, also where the run has been refused for it."""
    metrics = [place for place in _files(settings) if place.option == "--metrics-file"]
    others = [place for place in places_written(settings) if place not in metrics]
    return any(place_errors(metrics, dataset=settings.dataset, kept=[*others, *places_kept(settings)]))
