"""Describes a dataset, whatever it is, and says which commands come next.

The rule: where there is a file to look at, there is an answer. What a run would refuse is told as a problem, with the
command that mends it. Facts about files come from footers, facts about values from a sample.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lvm_batch.io.dataset.units import cut_units, row_bytes
from lvm_batch.io.schema import NO_COLUMN, WindowShape
from lvm_batch.jobs.datasets.dataset_format import missing_columns
from lvm_batch.jobs.datasets.dataset_notices import cut_values, overruled_notices, split_article_notices
from lvm_batch.jobs.datasets.sample import Sample, read_sample
from lvm_batch.jobs.inspection.facts import (
    carried_columns,
    difference_notices,
    optional_columns,
    row_group_values,
    schema_values,
    speed_notices,
    vector_values,
)
from lvm_batch.jobs.inspection.findings import gate_values, needed_limit, problems
from lvm_batch.jobs.inspection.fitting import at_hand
from lvm_batch.jobs.inspection.inspection_text import as_text
from lvm_batch.jobs.inspection.next_steps import next_steps
from lvm_batch.jobs.inspection.other_formats import describe_file
from lvm_batch.jobs.inspection.parts import part_values, stand_in_notices
from lvm_batch.jobs.inspection.view import View, look, other_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.settings.run import RunSettings


def inspect(settings: RunSettings) -> tuple[dict[str, Any], str]:
    """Return a description of the dataset, as values and as text; raises ``DataError`` if there is no file."""
    view = look(settings)
    hand = at_hand(
        view.settings, view.columns.shape if view.has_vectors else None, layout=view.columns.layout
    )
    sample, spoilt = _sample(view)
    gate = gate_values(sample, limit=settings.max_bad_rows, spoilt=spoilt)
    values = {
        **_file_values(view),
        **_reading_values(view),
        "order": _order_values(view),
        "cut_articles": cut_values(view.order.cuts),
        "sample": sample.values() | {"of_single_vectors": spoilt > 1},
        "gate": gate,
        **hand.as_dict(),
        "problems": [problem._asdict() for problem in problems(view, hand, sample, gate)],
    }
    values["notices"] = list(_notices(view, values, sample))
    limit = needed_limit(gate)
    values["commands"] = [step._asdict() for step in next_steps(view, hand, max_bad_rows=limit)]
    values["alternatives"] = [_alternative(view, other, limit) for other in view.others]
    return values, as_text(values)


def _alternative(view: View, other: RunSettings, max_bad_rows: float | None) -> dict[str, Any]:
    """Return the commands for another column of vectors."""
    another = other_view(view, other)
    hand = at_hand(other, another.columns.shape, layout=another.columns.layout)
    steps = next_steps(another, hand, max_bad_rows=max_bad_rows)
    names = another.columns.names
    column = names.context if another.columns.layout == "windows" else names.vector
    return {"column": column, "commands": [step._asdict() for step in steps]}


def _file_values(view: View) -> dict[str, Any]:
    """Describe the files and their columns."""
    return {
        "dataset": list(view.settings.dataset),
        "files": len(view.files),
        "rows": view.n_rows,
        "bytes": sum(seen.file.size for seen in view.files),
        "not_read": list(view.inputs.not_read),
        "damaged": [seen.file.path for seen in view.files if seen.schema is None],
        "refused": [seen.file.path for seen in view.files if seen.error and seen.schema is not None],
        "other_formats": [describe_file(file) for file in view.inputs.others],
        "schema": schema_values(view.files),
    }


def _reading_values(view: View) -> dict[str, Any]:
    """Describe how a run would read the files."""
    footers, shape, settings = view.footers, view.format.data_format.shape, view.settings
    units = [cut_units(footer, unit_bytes=settings.unit_size, shape=shape) for footer in footers]
    return {
        "decoded_bytes": sum(footer.n_rows * row_bytes(footer, shape) for footer in footers),
        "layouts": sorted({footer.roles.layout for footer in footers if footer.roles.vectors}),
        "shape": {"length": shape.length, "dim": shape.dim} if view.has_vectors else None,
        "vectors": vector_values(footers, shape),
        "parts": part_values(view) if view.files else {},
        "row_groups": row_group_values(footers, shape),
        "columns": optional_columns(footers),
        "criteria_not_evaluated": missing_columns(footers, view.columns.names) if footers else {},
        "carried": carried_columns(footers),
        "units": {"count": sum(map(len, units)), "unit_bytes": int(settings.unit_size)},
    }


def _order_values(view: View) -> dict[str, Any] | None:
    """Describe the order of rows; ``None`` unless there are sequences."""
    if not any(footer.roles.layout == "sequences" for footer in view.footers):
        return None
    order = view.order
    disorder = asdict(order.disorder) if order.disorder else None
    return {
        "articles": order.articles,
        "windows": order.windows,
        "disorder": disorder,
        "is_complete": order.is_complete,
    }


def _sample(view: View) -> tuple[Sample, int]:
    """Return a sample of the rows, and how many rows of a run each of its rows spoils if it is bad.

    Where rows are out of order, which the reader of sequences refuses, single vectors are sampled.
    """
    data_format = view.format.data_format
    if view.order.disorder is None:
        return read_sample(view.footers, data_format, pad=view.settings.pad), 1
    names = replace(data_format.names, context=data_format.names.vector, target=NO_COLUMN)
    single = replace(data_format, names=names, layout="windows", shape=WindowShape(1, data_format.shape.dim))
    footers = [replace(footer, roles=replace(footer.roles, layout="windows")) for footer in view.footers]
    return read_sample(footers, single, pad="reject"), data_format.shape.length


def _notices(view: View, values: dict[str, Any], sample: Sample) -> Iterator[str]:
    yield from view.inputs.notices
    yield from view.format.notices if view.has_vectors else ()
    yield from stand_in_notices(view.settings)
    if view.order.disorder is None:  # else cuts are among what sorting mends
        yield from split_article_notices(view.order, view.named, pad=view.settings.pad)
    yield from overruled_notices(view.footers)
    yield from difference_notices(view.files)
    yield from speed_notices(values)
    if warning := sample.signal.signal().warning:
        yield warning
