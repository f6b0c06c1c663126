"""A registry as people read it: a table of models, and a page on one.

The rule: the text says nothing that the values do not hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import as_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MIB = 2**20
_DIGITS = 12  # of a digest: what tells files apart in practice
_COLUMNS = ("name", "architecture", "parameters", "dim", "size", "val cosine", "sha256", "roles")
_RIGHT = ("parameters", "dim", "size", "val cosine")


def list_text(values: Mapping[str, Any]) -> str:
    """Return a table of models and a line for each role."""
    models, models_dir = values["models"], values["models_dir"]
    if models:
        parts = [
            _table([_cells(model) for model in models if not model["problem"]]),
            *(f"{model['name']}: {model['problem']}" for model in models if model["problem"]),
        ]
    else:
        train = f"lvm-batch train DATASET --arch amn --output {models_dir}/NAME"
        parts = [f"no models in {models_dir}; to train one: {train}"]
    roles = [_role(role, state) for role, state in values["roles"].items()]
    notes = [values["log_problem"]] if values["log_problem"] else []
    return "\n".join(part for part in [*parts, "", *roles, *notes] if part is not None).strip("\n")


def card_text(values: Mapping[str, Any]) -> str:
    """Return what is known of one model in lines, and its card below."""
    dimensions = ", ".join(f"{name} {value}" for name, value in values["dimensions"].items())
    lines = {
        "name": values["name"],
        "path": values["path"],
        "sha256": values["sha256"],
        "model": f"{values['architecture']}, {values['n_parameters']:,} parameters, {_size(values)}",
        "vectors": f"of {values['dim']} ({dimensions})",
        "epoch": "" if values["epoch"] is None else str(values["epoch"]),
        "val cosine": _cosine(values["val_cosine"]) or "not recorded",
        "roles": "; ".join(_role(role, state) for role, state in values["roles"].items()) or "none",
        "log": values["log_problem"] or "",
        "history": values["history_path"] or "none beside it",
        "card": values["card_path"] or "none beside it",
    }
    card = [values["card"].rstrip()] if values["card"] else []
    return "\n\n".join([as_lines({f"{name:<11}": text for name, text in lines.items()}), *card])


def _table(rows: Sequence[Mapping[str, str]]) -> str | None:
    """Lay rows out in columns, numbers to the right; None of no rows."""
    if not rows:
        return None
    lines = [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *rows]
    widths = {column: max(len(line[column]) for line in lines) for column in _COLUMNS}
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Mapping[str, str], widths: Mapping[str, int]) -> Iterator[str]:
    for column, width in widths.items():
        yield f"{line[column]:>{width}}" if column in _RIGHT else f"{line[column]:<{width}}"


def _cells(model: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": model["name"],
        "architecture": model["architecture"],
        "parameters": f"{model['n_parameters']:,}",
        "dim": str(model["dim"]),
        "size": _size(model),
        "val cosine": _cosine(model["val_cosine"]) or "-",
        "sha256": model["sha256"][:_DIGITS],
        "roles": ", ".join(model["roles"]),
    }


def _role(role: str, state: Mapping[str, Any] | None) -> str:
    """Say who has a role, since when, and what is wrong with it."""
    if state is None:
        return f"{role}: nobody"
    since = f" since {state['since'][:16].replace('T', ' ')} UTC, by {state['by']}" if state["since"] else ""
    problem = f"; {state['problem']}" if state["problem"] and state["name"] else state["problem"] or ""
    return f"{role}: {state['name'] or ''}{since}{problem}"


def _size(model: Mapping[str, Any]) -> str:
    return f"{model['bytes'] / _MIB:,.1f} MiB"


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
