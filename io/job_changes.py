"""What keeps one job from going on in the output folder of another.

The rule: a job is known by its identity, plain JSON values. Its dataset may grow, and an input of which nothing is
committed may change, so that a file that broke can be mended. This module does not know what the values mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_SHOWN = 3


class Difference(NamedTuple):
    """In what two jobs differ, and what to do about it."""

    text: str
    hint: str


def job_difference(
    standing: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    committed: Container[str],
    selected: bool = False,
) -> Difference | None:
    """Name the first few values in which two jobs differ, with both; ``None`` where one may go on with the other.

    ``committed`` holds the paths of inputs of which a unit is committed. Where inputs are ``selected``, those that
    were not are no difference.
    """
    before, now = standing.get("identity", {}), asked["identity"]
    inputs, asked_inputs = before.get("inputs", {}), now["inputs"]
    names = [name for name in inputs if name in asked_inputs or not selected]
    keys = _differing(_without_inputs(before), _without_inputs(now))
    lines = [_line(key, was, is_) for key, was, is_ in keys]
    for name in names:
        was, is_ = _settled(inputs[name], committed), _settled(asked_inputs.get(name, {}), committed)
        lines += [_line(f"inputs.{name}.{key}", *values) for key, *values in _differing(was, is_)]
    if not lines:
        return None
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    gone = any(name not in asked_inputs for name in names)
    return Difference("; ".join(lines[:_SHOWN]) + more, _hint(settings_differ=bool(keys), gone=gone))


def _hint(*, settings_differ: bool, gone: bool) -> str:
    if settings_differ:
        return "choose another --output, or run the command that began this one"
    if gone:
        return (
            "choose another --output, or name the whole dataset; with --since or --until, inputs outside that time may "
            "be gone"
        )
    return "choose another --output; or --reprocess failed, which predicts changed inputs again"


def _settled(file: Mapping[str, Any], committed: Container[str]) -> Mapping[str, Any]:
    """Return what of an input must not change any more: of one without a committed unit only the path."""
    return file if not file or file["path"] in committed else {"path": file["path"]}


def _without_inputs(identity: Mapping[str, Any]) -> dict[str, Any]:
    return _flat({name: value for name, value in identity.items() if name != "inputs"})


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys([*before, *now])
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in inner for key, item in part.items()}


def _line(key: str, before: Any, now: Any) -> str:  # noqa: ANN401 - any JSON
    return f"{key} was {_brief(before)}, is {_brief(now)}"


def _brief(value: Any) -> str:  # noqa: ANN401 - any JSON
    return "absent" if value is None else str(value)[:80]
