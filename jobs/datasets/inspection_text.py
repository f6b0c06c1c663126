"""The description of a dataset as text, a line for each subject.

The rule: the text says nothing that the values do not hold.
"""

from __future__ import annotations

from typing import Any

from lvm_batch.jobs.console.text import as_lines, plural

_MIB = 2**20
_PARTS = {
    "target": "without it cosines are null",
    "lane": "without it high_stakes_lane is not evaluated",
    "tokens": "without it long_context is not evaluated",
    "split": "without it results are not told apart by split",
}


def as_text(values: dict[str, Any]) -> str:
    """Return the lines of a description."""
    lines = {
        "input": _input(values),
        **{f"vectors {number}": _vectors(stored) for number, stored in enumerate(values["vectors"], 1)},
        "groups": _row_groups(values["row_groups"]),
        "units": f"{values['units']['count']:,} of at most {values['units']['unit_bytes'] / _MIB:,.0f} MiB decoded",
        **{part: _part(part, values) for part in _PARTS},
        "carried": ", ".join(f"{name} ({kind})" for name, kind in values["carried"].items()) or "none",
        **_sample(values["sample"]),
        **{f"note {number}": notice for number, notice in enumerate(values["notices"], 1)},
    }
    return as_lines(lines, width=11)


def _input(values: dict[str, Any]) -> str:
    return (
        f"{plural(values['rows'], 'row')} in {plural(values['files'], 'file')} of {' and '.join(values['layouts'])}, "
        f"{values['bytes'] / _MIB:,.1f} MiB, {values['decoded_bytes'] / _MIB:,.1f} MiB decoded"
    )


def _vectors(stored: dict[str, Any]) -> str:
    return f"`{stored['column']}`: {stored['encoding']}, {stored['values']}, in {plural(stored['files'], 'file')}"


def _row_groups(groups: dict[str, int]) -> str:
    size = groups["median_decoded_bytes"] / _MIB
    rows = plural(groups["median_rows"], "row")
    return f"{plural(groups['count'], 'row group')}, in the median {rows} or {size:,.1f} MiB decoded"


def _part(part: str, values: dict[str, Any]) -> str:
    name = values["columns"][part]
    if part == "target" and values["layouts"] == ["sequences"]:
        return "the next row's vector"
    return f"`{name}`" if name else f"none: {_PARTS[part]}"


def _sample(sample: dict[str, Any]) -> dict[str, str]:
    if not sample["rows"]:
        return {}
    shares = {status: n_rows for status, n_rows in sample["by_status"].items() if n_rows}
    statuses = ", ".join(
        f"{n_rows:,} {status} ({n_rows / sample['rows']:.1%})" for status, n_rows in shares.items()
    )
    return {
        "sample": f"the first {plural(sample['rows'], 'row')}: {statuses}",
        **{f"  row {row['row']}": f"{row['detail']}, in {row['file']}" for row in sample["details"]},
        "norm": _mean("mean of the contexts' vectors", sample["vector_norm"]),
        "cosine": _cosines(sample),
    }


def _cosines(sample: dict[str, Any]) -> str:
    if not sample["targets"]:
        return ""
    last, mean = sample["last_vector_cosine"], sample["context_mean_cosine"]
    n_targets = plural(sample["targets"], "target")
    return f"with the target: last vector {last:.4f}, mean of the context {mean:.4f} ({n_targets})"


def _mean(what: str, value: float | None) -> str:
    return "" if value is None else f"{what} {value:.4f}"
