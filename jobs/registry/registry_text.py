"""The registry as text: a table of models, and a page on one model.

The rule: the text says nothing that the values do not hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import as_lines, as_table, format_number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MIB = 2**20
_DIGITS = 12  # of a digest: enough to tell files apart in practice
_COLUMNS = ("name", "arch", "parameters", "dim", "size", "cosine", "sha256", "roles")
_LEFT = (0, 1, 6, 7)


def list_text(values: Mapping[str, Any]) -> str:
    """Return a table of models and a line for each role."""
    models, models_dir = values["models"], values["models_dir"]
    if models:
        parts = [
            *_table([model for model in models if not model["problem"]]),
            *(f"{model['name']}: {model['problem']}" for model in models if model["problem"]),
        ]
    else:
        train = f"lvm-batch train DATASET --arch amn --output {models_dir}/NAME"
        parts = [f"no models in {models_dir}; to train one: {train}"]
    roles = [_role(role, state) for role, state in values["roles"].items()]
    notes = [values["log_problem"]] if values["log_problem"] else []
    return "\n".join([*parts, "", *roles, *notes]).strip("\n")


def card_text(values: Mapping[str, Any]) -> str:
    """Return the facts about one model as lines, and its card below."""
    dimensions = ", ".join(f"{name} {value}" for name, value in values["dimensions"].items())
    lines = {
        "name": values["name"],
        "path": values["path"],
        "sha256": values["sha256"],
        "model": f"{values['architecture']}, {values['n_parameters']:,} parameters, {_size(values)}",
        "vectors": f"of {values['dim']} ({dimensions})",
        "contexts": f"of {values['context_length']} vectors{_norm(values)}",
        "epoch": "" if values["epoch"] is None else str(values["epoch"]),
        "trained on": "unknown" if values["trained_on"] is None else plural(values["trained_on"], "vector"),
        "val cosine": format_number(values["val_cosine"], unknown="not recorded"),
        "roles": "; ".join(_role(role, state) for role, state in values["roles"].items()) or "none",
        "log": values["log_problem"] or "",
        "history": values["history_path"] or "none found",
        "card": values["card_path"] or "none found",
    }
    card = [values["card"].rstrip()] if values["card"] else []
    return "\n\n".join([as_lines(lines, width=11), *card])


def _norm(values: Mapping[str, Any]) -> str:
    return ", scaled to unit norm" if values["input_norm"] == "unit" else ""


def _table(models: Sequence[Mapping[str, Any]]) -> list[str]:
    return [as_table([_COLUMNS, *map(_cells, models)], left=_LEFT)] if models else []


def _cells(model: Mapping[str, Any]) -> list[str]:
    """Return what the table says of a model, in the order of the columns."""
    return [
        model["name"],
        model["architecture"],
        f"{model['n_parameters']:,}",
        str(model["dim"]),
        _size(model),
        format_number(model["val_cosine"]),
        model["sha256"][:_DIGITS],
        ", ".join(role.removesuffix("_model") for role in model["roles"]),
    ]


def _role(role: str, state: Mapping[str, Any] | None) -> str:
    """Return which model has a role, since when, and what is wrong with it."""
    if state is None:
        return f"{role}: none"
    since = f" since {state['since'][:16].replace('T', ' ')} UTC, by {state['by']}" if state["since"] else ""
    problem = f"; {state['problem']}" if state["problem"] and state["name"] else state["problem"] or ""
    return f"{role}: {state['name'] or ''}{since}{problem}"


def _size(model: Mapping[str, Any]) -> str:
    return f"{model['bytes'] / _MIB:,.1f} MiB"
