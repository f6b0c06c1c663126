"""Plans a run: turns settings into a job and its units, and checks everything that can be checked before work begins.

The rule: planning writes nothing, and reports together all problems that can be found without solving another first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.first_rows import first_units
from lvm_batch.io.dataset.units import DatasetFormat, Footer, Unit, cut_units
from lvm_batch.io.output.job_documents import JobDocument, UnitEntry
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.datasets.dataset_format import FoundFormat, find_format
from lvm_batch.jobs.datasets.foretold_gates import gate_notices
from lvm_batch.jobs.models.facts import FoundModels
from lvm_batch.jobs.models.files import find_model_files, fit_problems
from lvm_batch.jobs.models.find import find_models
from lvm_batch.jobs.models.fit import check_output_width
from lvm_batch.jobs.prediction.planning.fleet import Fleet, local_fleet
from lvm_batch.jobs.prediction.planning.inputs import Inputs, read_inputs, select_files
from lvm_batch.jobs.prediction.planning.job import Job, cap_rate, fingerprint, identity
from lvm_batch.jobs.prediction.planning.limit import partly_read
from lvm_batch.jobs.prediction.planning.memory import Projection, project_memory
from lvm_batch.jobs.prediction.planning.notices import device_notices, notices, unavailable_criteria
from lvm_batch.jobs.prediction.planning.preflight import check_extras
from lvm_batch.jobs.prediction.planning.tables import table_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvm_batch.io.dataset.file_times import Span
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
    selection = select_files(settings, checks)
    columns, dataset = _find_columns(settings, selection.files, checks, prepare)
    if not settings.no_prediction:
        checks.run(lambda: check_output_width(settings.output_dtype, dataset.shape.dim))
    inputs = read_inputs(selection, dataset, settings, checks, console=console)
    checks.raise_all()
    found = _loaded(settings, checks)
    id_type = found.bank.id_type if found.bank else None
    checks.errors.extend(table_errors(settings, inputs.footers, inputs.dataset.shape, id_type=id_type))
    checks.raise_all()
    gates = gate_notices(
        settings, inputs.footers, length=dataset.shape.length, has_fallback=found.fallback is not None
    )
    said = (*selection.notices(settings), *columns.notices, *inputs.notices, *gates)
    return _assemble(settings.with_columns(dataset.names), found, replace(inputs, notices=said), threads)


def _find_columns(
    settings: RunSettings, files: Sequence[InputFile], checks: Checks, prepare: Callable[[], None]
) -> tuple[FoundFormat, DatasetFormat]:
    """Find the columns, compare their widths with the models', and return also how the files are read.

    Raises all errors so far if there are no columns to go on with.
    """
    named = find_model_files(settings)
    shape = named.shape
    if shape is None and named.primary is not None and not checks.errors:  # only torch can read the file
        checks.run(prepare)
        shape = _loaded(settings, checks).shape
    columns = checks.run(lambda: find_format(settings, files, shape=shape))
    checks.errors.extend(fit_problems(named, settings, columns.columns if columns and files else None))
    if columns is None:
        raise checks.all_errors()
    if checks.errors:  # the columns are judged by themselves, and not by a model that does not fit
        return columns, replace(columns.data_format, shape=columns.columns.shape)
    checks.run(prepare)
    return columns, columns.data_format


def _assemble(settings: RunSettings, found: FoundModels, inputs: Inputs, threads: int | None) -> Plan:
    footers, shape = inputs.footers, inputs.dataset.shape
    fleet = local_fleet(settings.workers, found.device)
    models = found.as_set(settings, knows_places=any(map(_knows_places, footers)))
    unavailable = unavailable_criteria(found.bank, footers, inputs.dataset) if footers else {}
    whole = [
        unit for footer in footers for unit in cut_units(footer, unit_bytes=settings.unit_size, shape=shape)
    ]
    units = whole if settings.limit is None else first_units(whole, settings.limit)
    rows = partly_read(footers, units)
    values = identity(
        settings, models, inputs=inputs.files, dataset=inputs.dataset, rows=rows, tables=inputs.tables
    )
    is_capped = cap_rate(settings) is not None
    return Plan(
        job=_job(settings, models, values, inputs.dataset, expected=found.expected, threads=threads),
        identity=values,
        footers=tuple(footers),
        units=tuple(units),
        memory=project_memory(
            footers,
            whole,
            found.fixed_memory,
            shape=shape,
            capped=is_capped,
            uploads=not locate(settings.output).is_local,
            fleet=fleet,
        ),
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


def _knows_places(footer: Footer) -> bool:
    """Whether the rows of a file tell where they stand in their articles."""
    return footer.roles.layout == "sequences" and footer.roles.position is not None


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
        n_neighbours=settings.neighbours,
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
