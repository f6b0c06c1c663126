"""The places that a run writes to, and those that it reads besides its dataset.

The rule: every path that a run writes to is here, so that ``jobs.places`` checks all of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.committed import job_around
from lvm_batch.io.storage.listing import refuse_long_names
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.store import is_read_only
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.places import Place, place_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.jobs.checks import CheckError
    from lvm_batch.jobs.settings.run import RunSettings

_A_RUN = "date=2026-01-01/20260101T000000.000000Z-0123456789ab.parquet"
"""An example of the name of a history's file."""


def run_place_errors(settings: RunSettings, files: Sequence[InputFile]) -> list[CheckError]:
    """Return all errors of the places that a run over ``files`` writes to."""
    checks = Checks()
    checks.run(lambda: _check_output(settings, files))
    written, kept = places_written(settings, files), places_kept(settings)
    checks.errors.extend(place_errors(written, dataset=settings.dataset, files=files, kept=kept))
    return checks.errors


def _check_output(settings: RunSettings, files: Sequence[InputFile]) -> None:
    if is_read_only(settings.output):
        return  # `place_errors` says so
    output = locate(settings.output)
    if output.is_local and os.path.exists(output.path) and not os.path.isdir(output.path):  # noqa: PTH110, PTH112 - Path's own raise for long names
        raise OutputError(f"{settings.output} is a file", "give --output a folder")
    if (around := job_around(output)) is not None:
        raise OutputError(
            f"the output {settings.output} is inside {around.text}, the output of another job",
            "give --output a folder outside it, so that its readers see only its predictions",
        )
    refuse_long_names(output, (f"{file.stem}-00000.parquet" for file in files))


def places_written(settings: RunSettings, files: Iterable[InputFile] = ()) -> list[Place]:
    """Return the places that a run writes to; ``files`` are the files of its dataset."""
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
    """Return the places that a run only reads, without the dataset; the name of a registered model is no place."""
    given = [
        ("the model", "--model", settings.model),
        ("the fallback", "--fallback", settings.fallback),
        ("the router", "--router", settings.router),
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
    """Whether writing ``--metrics-file`` would overwrite something; also asked after the run was refused for it."""
    metrics = [place for place in _files(settings) if place.option == "--metrics-file"]
    others = [place for place in places_written(settings) if place not in metrics]
    return any(place_errors(metrics, dataset=settings.dataset, kept=[*others, *places_kept(settings)]))
