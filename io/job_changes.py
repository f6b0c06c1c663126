"""What keeps one job from going on in the output folder of another.

The rule: a job is known by its identity, plain JSON values; an input of which nothing is committed may change, so that
a file that broke can be mended. This module does not know what the values mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_SHOWN = 3


def job_difference(
    standing: Mapping[str, Any], asked: Mapping[str, Any], *, committed: Container[str]
) -> str | None:
    """Name the first few values in which two jobs differ, with both; ``None`` where one may go on with the other.

    ``committed`` holds the paths of inputs of which a unit is committed.
    """
    before, now = _settled(standing.get("identity", {}), committed), _settled(asked["identity"], committed)
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    if not keys:
        same = standing.get("identity") == asked["identity"]
        return "its fingerprint differs" if same else None
    shown = [f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}" for key in keys[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _settled(identity: Mapping[str, Any], committed: Container[str]) -> dict[str, Any]:
    """Return what of an identity must not change any more, flat: of inputs without a committed unit only the path."""
    inputs = {
        name: file if file["path"] in committed else {"path": file["path"]}
        for name, file in identity.get("inputs", {}).items()
    }
    return _flat({**identity, "inputs": inputs})


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in inner for key, item in part.items()}


def _brief(value: Any) -> str:  # noqa: ANN401 - any JSON
    return "absent" if value is None else str(value)[:80]
