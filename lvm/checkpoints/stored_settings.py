"""What a checkpoint says of its model beside the weights: its configuration, and the length and norm of its contexts.

The rule: a file may say nothing of either. Only what a later reader could misread is refused: a length that the model
has no positions for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.architectures.weight_shapes import USUAL_LENGTH
from lvm_batch.lvm.checkpoints.stand_ins import plain_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTEXT_LENGTH = "context_length"
"""The key by which this project's checkpoints say how many vectors a context has, in ``model_config``."""

INPUT_NORM, UNIT = "input_norm", "unit"
"""The key by which they say how the model's vectors were normalised, and its one value; nothing means: not at all."""

_CONFIGS = ("model_config", "hyper_parameters", "config")  # production's, Lightning's, and others'
PLACES = (*_CONFIGS, "args")
"""The keys of a checkpoint under which its settings are."""

_NAMES = (CONTEXT_LENGTH, "context_len", "context_size")
_LONGEST = 4096  # a context of these takes 12 MiB


def stored_config(content: Mapping[str, object]) -> dict[Any, Any]:
    """Return the configuration of the model that the file holds, empty if it holds none."""
    return next(_dicts(content, _CONFIGS), {})


def reads_unit_vectors(content: Mapping[str, object]) -> bool:
    """Return whether the model was trained on unit vectors, which it makes of what it reads."""
    return stored_config(content).get(INPUT_NORM) == UNIT


def context_length(
    content: Mapping[str, object], dimensions: Mapping[str, float], *, learns_positions: bool
) -> int:
    """Return the number of vectors in the contexts that a model was trained on.

    It is what the file says, or else the number of learnt positions, or else 5. ``dimensions`` are the constructor's
    arguments. Raises ValueError if the model has fewer positions.
    """
    longest = int(dimensions.get("max_length", _LONGEST))
    usual = longest if learns_positions else min(USUAL_LENGTH, longest)
    length = _stated_length(content) or usual
    if length > min(longest, _LONGEST):
        message = f"says that a context has {length:,} vectors, but the model reads at most {min(longest, _LONGEST):,}"
        raise ValueError(message)
    return length


def _stated_length(content: Mapping[str, object]) -> int | None:
    """Return the first length that the file states, as a positive whole number."""
    stated = (place.get(name) for place in (*_dicts(content, PLACES), content) for name in _NAMES)
    return next((length for length in stated if type(length) is int and length > 0), None)


def _dicts(content: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[dict[Any, Any]]:
    return (plain_dict(found) for key in keys if isinstance(found := content.get(key), dict))
