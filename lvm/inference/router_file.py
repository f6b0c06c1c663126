"""The file of a fitted router: JSON with its numbers, the models it was fitted on, and what it recovered.

The rule: a file is used whole or refused: its digest covers every other value, and reading it runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.lvm.errors import RouterError
from lvm_batch.lvm.inference.gain_router import GainRouter

if TYPE_CHECKING:
    from collections.abc import Mapping

KIND, FORMAT = "lvm-batch router", 1

MOST_BYTES = 2**24
"""The size from which a file is not read: a router of contexts of 5 vectors of 768 takes 40 kB."""

_VECTORS = ("of_last", "of_prediction", "of_signals", "of_products")
_NUMBERS = ("bias", "threshold")
_HINT = "fit a router: lvm-batch evaluate HELD_OUT --model CKPT --fallback CKPT --bank BANK --calibrate --output DIR"


@dataclass(frozen=True, slots=True)
class RouterRecovery:
    """What a router recovered on articles that it was not fitted on, as shares of an oracle's gain.

    ``escalated`` is the share of the rows that it escalated, of those that no other reason escalates; the oracle may
    escalate as many. ``interval`` is the 95 % interval of ``of_oracle`` over articles, ``random`` what random choice
    recovers.
    """

    rows: int
    articles: int
    escalated: float
    of_oracle: float
    interval: tuple[float, float]
    random: float


@dataclass(frozen=True, slots=True)
class RouterFile:
    """A router, the SHA-256 of the two models it was fitted on, its budget as a share of rows, and its recovery."""

    router: GainRouter
    primary: str
    fallback: str
    budget: float
    recovery: RouterRecovery

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        router = self.router
        body = {
            "kind": KIND,
            "format": FORMAT,
            "models": {"primary": self.primary, "fallback": self.fallback},
            "length": router.length,
            "dim": router.dim,
            "budget": self.budget,
            **{name: getattr(router, name) for name in _NUMBERS},
            "recovery": asdict(self.recovery),
            **{name: getattr(router, name).tolist() for name in _VECTORS},
        }
        return json.dumps(body | {"digest": _digest(body)}).encode() + b"\n"


def read_router(content: bytes, name: str) -> RouterFile:
    """Read the content of a router's file. Raises RouterError, naming the file ``name``."""
    values = _values(content, name)
    if values.get("format") != FORMAT:
        raise RouterError(
            f"{name} is a router of format {values.get('format')}, and this version reads format {FORMAT}",
            _HINT,
        )
    body = {key: value for key, value in values.items() if key != "digest"}
    if values.get("digest") != _digest(body):
        raise _damaged(name, "its values have changed since it was written")
    try:
        return _router_file(values)
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(name, f"a value is missing or has another form: {error}") from error


def _values(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise RouterError(f"{name} is not a router: it has more than {MOST_BYTES:,} bytes", _HINT)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise RouterError(f"{name} is not a router, or is damaged: it is not JSON", _HINT) from None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise RouterError(f"{name} is not a router: it is other JSON", _HINT)
    return values


def _router_file(values: Mapping[str, Any]) -> RouterFile:
    length, dim = int(values["length"]), int(values["dim"])
    n_signals = 2 * length - 1
    shapes = ((dim,), (dim,), (n_signals,), (n_signals, n_signals))
    of_last, of_prediction, of_signals, of_products = (
        _array(values[name], shape) for name, shape in zip(_VECTORS, shapes, strict=True)
    )
    bias, threshold = (_number(values[name]) for name in _NUMBERS)
    recovery = dict(values["recovery"])
    low, high = recovery["interval"]
    return RouterFile(
        GainRouter(bias, of_last, of_prediction, of_signals, of_products, threshold),
        primary=str(values["models"]["primary"]),
        fallback=str(values["models"]["fallback"]),
        budget=_number(values["budget"]),
        recovery=RouterRecovery(
            **{field.name: recovery[field.name] for field in fields(RouterRecovery)}
            | {"interval": (low, high)}
        ),
    )


def _array(values: object, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    array = np.asarray(values, np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"numbers of shape {array.shape} instead of {shape}, or not finite")
    return array


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _digest(body: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all values but the digest itself."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _damaged(name: str, why: str) -> RouterError:
    return RouterError(f"{name} is a damaged router: {why}", "restore it from a backup, or " + _HINT)
