"""Notices that users should read before a job starts.

The rule: a notice never stops the job; it names what the job leaves out or does without, and why.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.common_schema import common_schema
from lvm_batch.io.schema import WindowShape
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.dataset_format import missing_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import DatasetFormat, Footer
    from lvm_batch.io.errors import UnreadableFile
    from lvm_batch.jobs.models.facts import BankFacts, ModelSet
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.devices.facts import DeviceFacts

_SHOWN_FILES = 10


def unavailable_criteria(
    bank: BankFacts | None, footers: Sequence[Footer], dataset: DatasetFormat
) -> dict[str, str]:
    """Return the escalation criteria that cannot be evaluated, each with the reason."""
    no_bank = None if bank else "no --bank is given"
    too_small = (
        f"{bank.ref.path} holds one vector, but a margin needs two" if bank and bank.n_vectors == 1 else None
    )
    columns = missing_columns(footers, dataset.names)
    missing = {
        "low_confidence": no_bank,
        "high_stakes_lane": columns.get("high_stakes_lane"),
        "long_context": columns.get("long_context"),
        "low_margin": no_bank or too_small,
    }
    return {reason: why for reason, why in missing.items() if why}


def device_notices(device: DeviceFacts | None, fleet: Fleet, settings: RunSettings) -> Iterator[str]:
    """Yield the device that the models run on, and how it differs from the settings."""
    if device is None:
        return
    yield f"device: {device.text}"
    wanted = settings.workers or 0
    if fleet.gpus and wanted > fleet.n_workers:
        yield f"workers: {fleet.n_workers} instead of {wanted}, one for each GPU"
    if settings.precision == "bf16" and not device.gains_by_bf16:
        yield "--precision bf16 gains nothing here: this processor has no bfloat16 products (avx512_bf16 or AMX)"
    if settings.precision in device.plain_precisions:
        yield (
            f"--precision {settings.precision} takes longer here: this build of torch lacks oneDNN's packed products, "
            "or has changed them; plain products compute the same"
        )
    if device.kind == "mps" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1":
        yield "PYTORCH_ENABLE_MPS_FALLBACK is set: torch computes on the CPU what mps does not support"
    if device.kind == "mps" and settings.fallback_device is None:
        yield "the fallback runs on the CPU; --fallback-device mps puts it on the primary model's device"


def notices(
    models: ModelSet,
    bank: BankFacts | None,
    footers: Sequence[Footer],
    unreadable: Sequence[UnreadableFile],
    unavailable: dict[str, str],
    *,
    shape: WindowShape,
) -> Iterator[str]:
    """Yield which inputs are left out, and what the rows will lack."""
    if not footers and not unreadable:
        yield "no file is in the selected time"
        return
    for error in unreadable[:_SHOWN_FILES]:
        yield f"left out: {error.args[0]}"
    if len(unreadable) > _SHOWN_FILES:
        yield f"left out: {plural(len(unreadable) - _SHOWN_FILES, 'file')} more"
    if models.fallback is None:
        yield "no fallback model: every row keeps the route amn; its reasons are still written"
    for reason, why in unavailable.items():
        yield f"{reason} is not evaluated: {why}"
    if bank is not None:
        yield from _bank_notices(bank)
    if all(footer.roles.layout == "windows" and footer.roles.target is None for footer in footers):
        yield "no target column: cosines will be null"
    if footers:
        yield from _unreadable_together(footers)
    if shape.dim != WindowShape().dim and any(map(_is_unmeasured, footers)):
        yield f"contexts are lists without the length of a vector: they are read as vectors of {shape.dim}"


def _bank_notices(bank: BankFacts) -> Iterator[str]:
    if bank.wants_index:
        yield f"a bank of {plural(bank.n_vectors, 'vector')} is searched exactly; `bank build --index faiss` is faster"
    if bank.named_by == "row number":
        yield (
            f"neighbours are named by row numbers: {bank.ref.path} has no ids, and no articles and positions"
        )


def _unreadable_together(footers: Sequence[Footer]) -> Iterator[str]:
    """Yield why the whole output could not be read as one table, if its files differ too much."""
    different = {
        (id(footer.schema), id(footer.roles)): footer for footer in reversed(footers)
    }  # files of the same form share both
    files = [(footer.file.path, _carried_schema(footer)) for footer in reversed(different.values())]
    try:
        common_schema(files)
    except ColumnError as error:
        yield f"{error.args[0]}: read_predictions and predictions_dataset would refuse the output"


def _carried_schema(footer: Footer) -> pa.Schema:
    in_path = folder_texts(footer.file.name)
    carried = {name: new for name, new in footer.roles.carried.items() if name not in in_path}
    return pa.schema([footer.schema.field(name).with_name(new) for name, new in carried.items()])


def _is_unmeasured(footer: Footer) -> bool:
    """Whether contexts are flat lists, whose schema does not say how long a vector is."""
    if not footer.n_rows:
        return False
    kind = footer.schema.field(footer.roles.vectors).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return footer.roles.layout == "windows" and is_list and pa.types.is_floating(kind.value_type)
