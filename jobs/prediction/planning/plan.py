"""Plans a run: turns settings into a job and its units, and checks everything that can be checked before work begins.

The rule: planning writes nothing, and reports together all problems that can be found without solving another first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.article_runs import ArticleRuns
from lvm_batch.io.dataset.file_times import Span, files_within, selection_notices
from lvm_batch.io.dataset.files import DatasetListing, look_for_files
from lvm_batch.io.dataset.first_rows import first_files, first_units
from lvm_batch.io.dataset.units import (
    DatasetFormat,
    Footer,
    Unit,
    cut_units,
    read_footers,
)
from lvm_batch.io.output.job_documents import JobDocument, UnitEntry
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.progress import watch_files
from lvm_batch.jobs.datasets.dataset_format import find_format
from lvm_batch.jobs.datasets.dataset_notices import overruled_notices, refuse_disorder, split_article_notices
from lvm_batch.jobs.datasets.foretold_gates import gate_notices
from lvm_batch.jobs.models.facts import FoundModels
from lvm_batch.jobs.models.files import find_model_files, fit_problems
from lvm_batch.jobs.models.find import find_models
from lvm_batch.jobs.prediction.planning.carried_columns import carried_column_errors
from lvm_batch.jobs.prediction.planning.fleet import Fleet, local_fleet
from lvm_batch.jobs.prediction.planning.footers import sort_out
from lvm_batch.jobs.prediction.planning.job import Job, cap_rate, fingerprint, identity
from lvm_batch.jobs.prediction.planning.limit import limit_notices, partly_read
from lvm_batch.jobs.prediction.planning.memory import Projection, project_memory
from lvm_batch.jobs.prediction.planning.notices import device_notices, notices, unavailable_criteria
from lvm_batch.jobs.prediction.planning.places import run_place_errors
from lvm_batch.jobs.prediction.planning.preflight import check_extras

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.errors import UnreadableFile
    from lvm_batch.io.output.job_documents import Identity
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.facts import ModelSet
    from lvm_batch.jobs.models.self_check import ExpectedAnswers
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that can start: its units in order, the inputs left out, and the notices for the user.

    The fingerprint is the digest of ``identity``. ``unreadable`` are inputs left out by ``--on-bad-file skip``.
    ``memory`` is what a worker will need. ``unavailable`` gives the reason for each escalation criterion that cannot be
    evaluated. ``span`` is the time whose files are read, ``None`` for all files. ``fleet`` are the local workers.
    """

    job: Job
    identity: Identity
    footers: tuple[Footer, ...]
    units: tuple[Unit, ...]
    memory: Projection
    unreadable: tuple[UnreadableFile, ...]
    unavailable: dict[str, str]
    notices: tuple[str, ...]
    span: Span | None
    fleet: Fleet

    @property
    def n_rows(self) -> int:
        """Rows of all units."""
        return sum(unit.n_rows for unit in self.units)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The files that a job reads, and how it reads them."""

    files: Sequence[InputFile]
    footers: Sequence[Footer]
    unreadable: tuple[UnreadableFile, ...]
    dataset: DatasetFormat
    span: Span | None
    notices: tuple[str, ...]


def make_plan(
    settings: RunSettings,
    *,
    threads: int | None,
    console: Console | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Plan:
    """Check inputs, models, bank, device and output, and cut the inputs into units.

    Torch is loaded only if all that needs none is right. ``prepare`` is called before the footers are read, unless
    something is wrong by then: it may begin to load torch elsewhere. ``console`` shows how many files are read.
    ``threads`` is the number of each worker's threads, or ``None`` for its share of its machine. Raises ``DataError``,
    ``ModelError``, ``UsageError``, ``MissingExtra`` or, for several problems, ``SettingsError``.
    """
    check_extras(settings)
    checks = Checks()
    listed = checks.run(lambda: look_for_files(settings.dataset)) or DatasetListing([], ())
    checks.errors.extend(run_place_errors(settings, listed.files))
    span = None if settings.span == (None, None) else Span(*settings.span)
    selected: Sequence[InputFile] = listed.files
    if span is not None:
        selected = checks.run(lambda: files_within(listed.files, span, by=settings.time_column)) or []
    files = selected if settings.limit is None else first_files(selected, settings.limit)
    named = find_model_files(settings)
    shape = named.shape
    if shape is None and named.primary is not None and not checks.errors:  # only torch can read the file
        checks.run(prepare)
        shape = _loaded(settings, checks).shape
    columns = checks.run(lambda: find_format(settings, files, shape=shape))
    checks.errors.extend(fit_problems(named, settings, columns.columns if columns and files else None))
    if columns is None:
        raise checks.all_errors()
    dataset = columns.data_format
    if checks.errors:  # the columns are judged by themselves, and not by a model that does not fit
        dataset = replace(dataset, shape=columns.columns.shape)
    else:
        checks.run(prepare)
    runs = ArticleRuns()
    found_footers = watch_files(
        read_footers(files, dataset, runs=runs),
        console,
        what="reading footers",
        n_files=len(files),
    )
    footers, unreadable = sort_out(found_footers, len(files), checks, settings)
    if footers:
        checks.errors.extend(carried_column_errors(settings, footers))
    order = runs.order((footer.file.path for footer in footers), length=dataset.shape.length)
    resolved = settings.with_columns(dataset.names)
    checks.run(lambda: refuse_disorder(order, resolved))
    checks.raise_all()
    found = _loaded(settings, checks)
    checks.raise_all()
    left_out = () if span is None else selection_notices(listed.files, selected, by=settings.time_column)
    found_notices = (
        *listed.notices,
        *left_out,
        *columns.notices,
        *split_article_notices(order, resolved, pad=settings.pad),
        *overruled_notices(footers),
        *limit_notices(settings.limit, footers, n_files=len(selected)),
        *gate_notices(
            settings, footers, length=dataset.shape.length, has_fallback=found.fallback is not None
        ),
    )
    inputs = _Inputs(files, footers, unreadable, dataset, span, found_notices)
    return _assemble(resolved, found, inputs, threads)


def _assemble(settings: RunSettings, found: FoundModels, inputs: _Inputs, threads: int | None) -> Plan:
    footers, shape = inputs.footers, inputs.dataset.shape
    fleet = local_fleet(settings.workers, found.device)
    models = found.as_set(settings)
    unavailable = unavailable_criteria(found.bank, footers, inputs.dataset) if footers else {}
    whole = [
        unit for footer in footers for unit in cut_units(footer, unit_bytes=settings.unit_size, shape=shape)
    ]
    units = whole if settings.limit is None else first_units(whole, settings.limit)
    rows = partly_read(footers, units)
    values = identity(settings, models, inputs=inputs.files, dataset=inputs.dataset, rows=rows)
    is_capped = cap_rate(settings) is not None
    return Plan(
        job=_job(settings, models, values, inputs.dataset, expected=found.expected, threads=threads),
        identity=values,
        footers=tuple(footers),
        units=tuple(units),
        memory=project_memory(footers, whole, found.fixed_memory, shape=shape, capped=is_capped, fleet=fleet),
        unreadable=inputs.unreadable,
        unavailable=unavailable,
        notices=(
            *device_notices(found.device, fleet, settings),
            *inputs.notices,
            *notices(models, found.bank, footers, inputs.unreadable, unavailable, shape=shape),
        ),
        span=inputs.span,
        fleet=fleet,
    )


def _job(
    settings: RunSettings,
    models: ModelSet,
    values: Identity,
    dataset: DatasetFormat,
    *,
    expected: ExpectedAnswers | None,
    threads: int | None,
) -> Job:
    return Job(
        fingerprint=fingerprint(values),
        output=locate(settings.output).text,
        dataset_format=dataset,
        pad=settings.pad,
        models=models,
        cap_rate=cap_rate(settings),
        shadow_rate=settings.shadow_rate,
        output_dtype=None if settings.no_prediction else settings.output_dtype,
        threads=threads,
        expected=expected,
    )


def job_document(plan: Plan, settings: RunSettings) -> JobDocument:
    """Return the job as ``job.json`` records it."""
    job = plan.job
    return JobDocument(
        version=version("lvm-batch"),
        job_id=job.job_id,
        fingerprint=job.fingerprint,
        identity=plan.identity,
        unreadable=tuple(str(error.path) for error in plan.unreadable),
        settings=settings.with_columns(job.dataset_format.names).as_dict(),
        models=asdict(job.models),
        rows=plan.n_rows,
        units=tuple(
            UnitEntry(unit.output, unit.file.path, unit.first_row, unit.n_rows) for unit in plan.units
        ),
    )


def _loaded(settings: RunSettings, checks: Checks) -> FoundModels:
    """Load and check the models, unless something is wrong already."""
    found = FoundModels(None, None, None, ()) if checks.errors else find_models(settings)
    checks.errors.extend(found.problems)
    return found
