"""The place of the weights in a file that a training saved, and the prefixes of their names.

The rule: a file holds exactly one set of weights, or it is refused. A weight is whatever has a shape: a tensor, or what
``checkpoint_facts`` knows of one without torch.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.checkpoints.file_kinds import RESAVE
from lvm_batch.lvm.checkpoints.pickle_check import printable
from lvm_batch.lvm.checkpoints.stand_ins import plain_dict
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PRODUCTION = "model_state_dict"

PLACES = (
    PRODUCTION,
    "state_dict",
    "model",
    "model_state",
    "module",
    "network",
    "net",
    "params",
    "weights",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "ema",
    "averaged_model",
)
"""The keys under which trainings save weights: production's, Lightning's, others', and those of averaged models."""

_WITHIN = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
"""The parts that torch.compile, FSDP, checkpointing and Fabric add to the names of what they wrap."""

_COUNT = "n_averaged"  # AveragedModel's count of models
_OPTIMIZER = {"state", "param_groups"}
_SHARDED = "_flat_param"
_MAX_DEPTH = 3


def extract_state_dict(content: Mapping[str, object], name: str) -> dict[Any, Any]:
    """Return the one set of weights in a checkpoint's ``content``, by the model's own names.

    Prefixes that all names share, and parts that wrappers add to names, are removed. Raises CheckpointError, naming the
    file ``name``, if there are no weights, or several sets of them.
    """
    is_production = PRODUCTION in content
    if not is_production and _is_state(content):
        return _unwrap(content, name)
    places = dict(_places({PRODUCTION: content[PRODUCTION]} if is_production else content))
    if not places:
        raise CheckpointError(f"{name}: {_describe_missing(content)}", RESAVE)
    if len(places) > 1:
        first = next(iter(places))
        raise CheckpointError(
            f"{name}: holds weights more than once: {', '.join(map(printable, places))}",
            f'keep those to be used: torch.save({{"model_state_dict": checkpoint["{first}"]}}, path)',
        )
    return _unwrap(next(iter(places.values())), name)


def _places(content: Mapping[str, object], depth: int = 1) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every set of weights under a key that trainings use, nested ones too."""
    for place in PLACES:
        inner = content.get(place)
        if not isinstance(inner, dict):
            continue
        inner = plain_dict(inner)
        if _is_state(inner) or place == PRODUCTION:
            yield place, inner
        elif depth < _MAX_DEPTH:
            yield from ((f"{place}.{deeper}", state) for deeper, state in _places(inner, depth + 1))


def _is_state(content: Mapping[str, object]) -> bool:
    """Return whether a dict holds tensors by name, and no set of weights under another key."""
    return any(map(_is_tensor, content.values())) and not any(
        isinstance(content.get(place), dict) for place in PLACES
    )


def _is_tensor(value: object) -> bool:
    return hasattr(value, "is_floating_point")


def _describe_missing(content: Mapping[str, object]) -> str:
    if content.keys() <= _OPTIMIZER and content:
        return "holds only the state of an optimizer, no weights"
    if PRODUCTION in content:
        return f"{PRODUCTION} is not a dict of weights"
    keys = list(content)
    return (
        f"holds no weights under the usual names ({', '.join(PLACES[:5])} and so on); it holds "
        f"{summarise(keys) if keys else 'nothing'}"
    )


def _unwrap(state: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    weights = {key: value for key, value in state.items() if not _is_count(key, value)}
    if not weights:
        raise CheckpointError(f"{name}: {PRODUCTION} is not a dict of weights", RESAVE)
    if not all(isinstance(key, str) for key in weights):
        return weights  # the caller reports the types of the keys
    if any(key.endswith(_SHARDED) for key in weights):
        raise CheckpointError(
            f"{name}: a part of a model that FSDP has divided, {summarise(list(weights))}",
            "save the whole with StateDictType.FULL_STATE_DICT, or merge the parts with dcp_to_torch_save",
        )
    renamed: dict[Any, Any] = {}
    for key, own in zip(weights, _own_names(weights), strict=True):
        if own in renamed:
            raise CheckpointError(
                f"{name}: holds the weight {printable(own)} more than once, as {printable(key)} too", RESAVE
            )
        renamed[own] = weights[key]
    return renamed


def _is_count(key: object, value: Any) -> bool:  # noqa: ANN401 - whatever a file holds
    if not (isinstance(key, str) and key.rpartition(".")[2] == _COUNT and _is_tensor(value)):
        return False
    return value.numel() == 1 and not value.is_floating_point()


def _own_names(keys: Iterable[str]) -> list[str]:
    """Return the keys without the first parts that all share, and without the parts that wrappers add."""
    parts = [key.split(".") for key in keys]
    while len(parts) > 1 and all(len(each) > 1 and each[0] == parts[0][0] for each in parts):
        parts = [each[1:] for each in parts]
    return [".".join([each[0], *(part for part in each[1:] if part not in _WITHIN)]) for each in parts]


def summarise(names: list[str]) -> str:
    """Return at most three names, and how many more there are."""
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004


def describe_prefixes(names: list[str]) -> str:
    """Return the first parts of keys with their counts, the rarest first: those do not belong to the model."""
    counts = Counter(key.partition(".")[0] for key in names).most_common()[::-1]
    return summarise([f"{first} ({n_keys})" for first, n_keys in counts])
