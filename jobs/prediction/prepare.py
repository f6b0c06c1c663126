"""From settings to a job and its units: everything that can be checked before work begins, is.

The rule: nothing is written here, and every problem that can be told without the others being solved is told at
once.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lvm_batch.io.columns import WindowShape
from lvm_batch.io.dataset import find_files, reads
from lvm_batch.io.errors import ColumnError, OutputError, UnreadableFile
from lvm_batch.io.file_times import Span, files_within
from lvm_batch.io.listing import refuse_long_names
from lvm_batch.io.locations import is_within, locate
from lvm_batch.io.units import DatasetFormat, Footer, Unit, cut_units, read_footers
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.datasets.dataset_format import dataset_format, missing_columns
from lvm_batch.jobs.found_models import find_models
from lvm_batch.jobs.prediction.cluster import Fleet, local_fleet
from lvm_batch.jobs.prediction.job import Job, cap_rate, fingerprint, identity
from lvm_batch.jobs.prediction.memory import Projection, project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset import InputFile
    from lvm_batch.jobs.found_models import BankFacts
    from lvm_batch.jobs.prediction.job import ModelSet
    from lvm_batch.jobs.settings import RunSettings
    from lvm_batch.lvm.found_device import FoundDevice

_SHOWN_FILES = 10


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that can start: its units in order, what is left out, and what the user should know beforehand.

    ``identity`` is what the fingerprint was made of. ``unreadable`` are inputs left out by ``--on-bad-file skip``.
    ``memory`` is what a worker will need. ``unavailable`` says of each escalation criterion that cannot be
    evaluated why not. ``span`` is the time whose files are read, ``None`` where all are. ``fleet`` is what local
    workers there will be.
    """

    job: Job
    identity: dict[str, Any]
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


def prepare(settings: RunSettings, *, threads: int | None) -> Prepared:
    """Check inputs, models, bank, device and output, and cut the inputs into units.

    ``threads`` is what each worker may use, or ``None`` for its share of its machine. Raises ``DataError``,
    ``ModelError`` or, for several problems at once, ``SettingsError``.
    """
    checks = Checks()
    found_files = checks.run(lambda: find_files(settings.dataset)) or []
    checks.run(lambda: _check_output(settings, found_files))
    span = None if settings.span == (None, None) else Span(*settings.span)
    files = checks.run(lambda: _within(found_files, span, settings)) or []
    found = find_models(settings)
    checks.errors.extend(found.problems)
    shape = WindowShape(dim=found.primary.dim) if found.primary else WindowShape()
    understood = dataset_format(settings, shape)
    footers, unreadable = _read_footers(files, understood, checks, skip=settings.on_bad_file == "skip")
    if footers:
        checks.run(lambda: _check_renames(settings, footers))
    checks.raise_all()

    fleet = local_fleet(settings.workers, found.device)
    models = found.as_set(settings)
    values = identity(settings, models, inputs=files)
    unavailable = _unavailable_criteria(found.bank, footers, understood) if footers else {}
    units = [
        unit for footer in footers for unit in cut_units(footer, unit_bytes=settings.unit_size, shape=shape)
    ]
    return Prepared(
        job=Job(
            fingerprint=fingerprint(values),
            output=locate(settings.output).text,
            dataset_format=understood,
            pad=settings.pad,
            models=models,
            cap_rate=cap_rate(settings),
            shadow_rate=settings.shadow_rate,
            output_dtype=settings.output_dtype,
            threads=threads if fleet.slots == 1 else threads and 1,
            expected=found.expected,
        ),
        identity=values,
        footers=tuple(footers),
        units=tuple(units),
        memory=project(
            footers, units, found.fixed, shape=shape, capped=cap_rate(settings) is not None, fleet=fleet
        ),
        unreadable=unreadable,
        unavailable=unavailable,
        notices=(
            *_device_notices(found.device, fleet, settings),
            *_notices(models, found.bank, footers, unreadable, unavailable, shape=shape),
        ),
        span=span,
        fleet=fleet,
    )


def _within(files: Sequence[InputFile], span: Span | None, settings: RunSettings) -> Sequence[InputFile]:
    return files if span is None else files_within(files, span, by=settings.time_column)


def _check_output(settings: RunSettings, files: Sequence[InputFile]) -> None:
    output = locate(settings.output)
    if output.is_local and os.path.isfile(output.path):  # noqa: PTH113 - Path.is_file() raises for long names
        raise OutputError(f"{settings.output} is a file", "give --output a folder")
    for argument in settings.dataset:
        if reads(argument, output):
            raise OutputError(
                f"the output {settings.output} lies inside the input {argument}",
                "give --output a folder beside it, or the next run would read this one's predictions",
            )
    # There may be very many files, but not folders.
    folders = {file.path.rpartition("/")[0]: file for file in files}
    inside = next(
        (file for folder, file in folders.items() if is_within(locate(folder or "/"), output)), None
    )
    if inside:
        raise OutputError(
            f"the input {inside.path} lies inside the output {settings.output}",
            "give --output a folder of its own, so that readers of it see predictions only",
        )
    refuse_long_names(output, (f"{file.stem}-00000.parquet" for file in files))


def _check_renames(settings: RunSettings, footers: Sequence[Footer]) -> None:
    carried = dict.fromkeys(name for footer in footers for name in footer.roles.carried)
    for pair in settings.rename:
        old = pair.split("=", 1)[0]
        if old not in carried:
            near = difflib.get_close_matches(old, carried, n=1)
            raise ColumnError(
                f"--rename {pair}: no file has a column `{old}` that is carried to the output",
                f"did you mean `{near[0]}`?" if near else "`lvm-batch inspect` lists the columns",
            )


def _read_footers(
    files: Sequence[InputFile], understood: DatasetFormat, checks: Checks, *, skip: bool
) -> tuple[list[Footer], tuple[UnreadableFile, ...]]:
    """Read all footers; a file that cannot be read is left out where ``skip`` allows it."""
    footers, unreadable = [], []
    for _, footer in read_footers(files, understood):
        if isinstance(footer, Footer):
            footers.append(footer)
        elif skip and isinstance(footer, UnreadableFile):
            unreadable.append(footer)
        else:
            checks.errors.append(footer)
    return footers, tuple(unreadable)


def _unavailable_criteria(
    bank: BankFacts | None, footers: Sequence[Footer], understood: DatasetFormat
) -> dict[str, str]:
    """Return why an escalation criterion cannot be evaluated, for those that cannot."""
    no_bank = None if bank else "no --bank is given"
    too_small = (
        f"{bank.ref.path} holds one vector, and a margin needs two" if bank and bank.n_vectors == 1 else None
    )
    columns = missing_columns(footers, understood.names)
    missing = {
        "low_confidence": no_bank,
        "high_stakes_lane": columns.get("high_stakes_lane"),
        "long_context": columns.get("long_context"),
        "low_margin": no_bank or too_small,
    }
    return {reason: why for reason, why in missing.items() if why}


def _device_notices(device: FoundDevice | None, fleet: Fleet, settings: RunSettings) -> Iterator[str]:
    if device is None:
        return
    yield f"device: {device.text}"
    wanted = settings.workers or 0
    if fleet.gpus and wanted > fleet.n_workers:
        yield f"workers: {fleet.n_workers} in place of {wanted}, one for each GPU"
    if device.kind == "mps" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        yield "PYTORCH_ENABLE_MPS_FALLBACK is set: torch does on the CPU what mps lacks"
    if device.kind == "mps" and settings.fallback_device is None:
        yield "the fallback runs on the CPU; --fallback-device mps puts it beside the primary model"


def _notices(
    models: ModelSet,
    bank: BankFacts | None,
    footers: Sequence[Footer],
    unreadable: Sequence[UnreadableFile],
    unavailable: dict[str, str],
    *,
    shape: WindowShape,
) -> Iterator[str]:
    if not footers and not unreadable:
        yield "no file lies in the time that is asked for"
        return
    for error in unreadable[:_SHOWN_FILES]:
        yield f"left out: {error.args[0]}"
    if len(unreadable) > _SHOWN_FILES:
        yield f"left out: {len(unreadable) - _SHOWN_FILES:,} files more"
    if models.fallback is None:
        yield "no fallback model: every row keeps the route amn; its reasons are written all the same"
    for reason, why in unavailable.items():
        yield f"{reason} is not evaluated: {why}"
    if bank is not None and bank.wants_index:
        yield f"the bank's {bank.n_vectors:,} vectors are searched exactly; `bank build --index faiss` is faster"
    if all(footer.roles.layout == "windows" and footer.roles.target is None for footer in footers):
        yield "no target column: cosines will be null"
    if shape.dim != WindowShape().dim and any(map(_is_unmeasured, footers)):
        yield f"contexts are lists that do not say how long a vector is: they are read as vectors of {shape.dim}"


def _is_unmeasured(footer: Footer) -> bool:
    """Whether contexts are flat and of any length, so that their schema is no reason to refuse them."""
    kind = footer.schema.field(footer.roles.vectors).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return footer.roles.layout == "windows" and is_list and pa.types.is_floating(kind.value_type)
