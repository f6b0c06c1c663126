"""The differences that keep a job from continuing in the output folder of another.

The rule: a job is identified by plain JSON values. Its dataset may grow, and an input without a committed unit may
change, so that a damaged file can be repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lvm_batch.io.output.job_inputs import input_conflicts

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from lvm_batch.io.output.job_documents import Identity, InputEntry

    Inputs = Mapping[str, InputEntry]

MEANT = {"own_context": "keep"}
"""What jobs mean that say nothing of a value: those of before it was there."""

TABLES = "tables"
"""The value that has the version of each table that a job first read."""

_SHOWN = 3
_BRIEF = 300

_OTHER_SETTINGS = "choose another --output, or run the command that started this job"
_HINTS = {"own_context": "choose another --output, or continue this one: --own-context {}"}
"""What to do about a value that has an option of its own, given what it was."""

_WHOLE_DATASET = (
    "choose another --output, or name the whole dataset; with --since or --until, only inputs outside that time may "
    "be gone"
)
_SHIFTED = "choose another --output: other files before the last row of --limit shift the rows that this job has read"
_OTHER_NAMES = "name the folder above both, so that their names differ; or choose another --output"
_AS_BEGUN = (
    "parts compute a job as it began: choose another --output; or run the same command without --part, which adds what "
    "is new"
)
_REPROCESS = "choose another --output; or --reprocess failed, which predicts changed inputs again"


class Difference(NamedTuple):
    """How two jobs differ, and what to do about it."""

    text: str
    hint: str


def job_difference(
    existing: Identity,
    requested: Identity,
    *,
    committed: Container[str],
    kept: Container[str] = (),
) -> Difference | None:
    """Name the first few values in which two identities differ; ``None`` if the requested job may continue the other.

    ``committed`` holds the paths of inputs with a committed unit, ``kept`` the names of inputs that ``requested`` may
    lack.
    """
    inputs, requested_inputs = existing.inputs, requested.inputs
    conflicts = list(input_conflicts(inputs, requested_inputs))
    named = {conflict.known for conflict in conflicts}
    gone = [
        name for name in inputs if name not in requested_inputs and name not in kept and name not in named
    ]
    differences = [
        *(
            Difference(_line(*values), _HINTS.get(values[0], _OTHER_SETTINGS).format(values[1]))
            for values in _differing(*map(_without_inputs, (existing, requested)))
        ),
        *(Difference(conflict.text, conflict.hint) for conflict in conflicts),
        *_gone(inputs, gone, _WHOLE_DATASET if existing.limit is None else _SHIFTED),
        *_changed(inputs, requested_inputs, committed),
    ]
    if not differences:
        return None
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    shown = "; ".join(difference.text for difference in differences[:_SHOWN])
    return Difference(shown + more, differences[0].hint)


def addition(existing: Identity, inputs: Inputs) -> Difference:
    """Name the first few of ``inputs``, which are new to a job or have changed, and that a part may not add them."""
    lines = [line for name, file in inputs.items() for line in _added(name, existing.inputs.get(name), file)]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return Difference("; ".join(lines[:_SHOWN]) + more, _AS_BEGUN)


def _added(name: str, before: InputEntry | None, now: InputEntry) -> Iterator[str]:
    if before is None:
        yield _line(f"inputs.{name}.path", None, now.path)
    elif before == now:
        yield f"inputs.{name} could not be read, and can be now"
    else:
        yield from (
            _line(f"inputs.{name}.{key}", *values)
            for key, *values in _differing(before.to_json(), now.to_json())
        )


def _gone(inputs: Inputs, names: Iterable[str], hint: str) -> Iterator[Difference]:
    for name in names:
        yield Difference(_line(f"inputs.{name}.path", inputs[name].path, None), hint)


def _changed(inputs: Inputs, requested: Inputs, committed: Container[str]) -> Iterator[Difference]:
    for name in (name for name in inputs if name in requested):
        for key, *values in _differing(
            _settled(inputs[name], committed), _settled(requested[name], committed)
        ):
            hint = _OTHER_NAMES if key == "path" else _REPROCESS
            yield Difference(_line(f"inputs.{name}.{key}", *values), hint)


def _settled(file: InputEntry, committed: Container[str]) -> dict[str, Any]:
    """Return the values of an input that must not change; without a committed unit, only its path."""
    return file.to_json() if file.path in committed else {"path": file.path}


def _without_inputs(identity: Identity) -> dict[str, Any]:
    """Return all that must stay: a table's version need not, since its files are inputs like others."""
    values = {name: value for name, value in identity.values.items() if name != TABLES}
    return _flat({"format": identity.format, **values})


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys([*before, *now])
    values = [(key, *(each.get(key, MEANT.get(key)) for each in (before, now))) for key in keys]
    return [(key, was, is_now) for key, was, is_now in values if was != is_now]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in inner for key, item in part.items()}


def _line(key: str, before: Any, now: Any) -> str:  # noqa: ANN401 - any JSON
    return f"{key} was {_brief(before)}, is {_brief(now)}"


def _brief(value: Any) -> str:  # noqa: ANN401 - any JSON
    text = "absent" if value is None else str(value)
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…"
