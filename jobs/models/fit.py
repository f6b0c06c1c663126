"""Whether models, bank and data fit together: the width of their vectors and the length of their contexts.

The rule: a mismatch is one sentence that gives both sizes, and its hint a command. What is unknown (``None``) fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lvm_batch.jobs.errors import UsageError
from lvm_batch.lvm.errors import ArchitectureError, BankError, CheckpointError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNS_A_BYTE = 8


class SizedModel(Protocol):
    """A model whose sizes are known as far as they can be."""

    @property
    def name(self) -> str:
        """Its path, or the name by which messages call it."""

    @property
    def dim(self) -> int | None:
        """The components of its vectors."""

    @property
    def length(self) -> int | None:
        """The vectors in its contexts."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a model under the name that messages call it by."""

    name: str
    dim: int | None
    length: int | None


class SizedBank(Protocol):
    """A bank and the width of its vectors."""

    @property
    def path(self) -> str:
        """Where it is."""

    @property
    def dim(self) -> int:
        """The components of its vectors."""


def misfits(
    primary: SizedModel, fallback: SizedModel | None = None, bank: SizedBank | None = None
) -> Iterator[ModelError]:
    """Yield an error for the fallback and the bank each that does not fit the primary model."""
    if fallback is not None:
        yield from _fallback_misfits(primary, fallback)
    if bank is not None:
        yield from bank_misfits(primary, bank)


def bank_misfits(primary: SizedModel, bank: SizedBank) -> Iterator[ModelError]:
    """Yield an error if a bank holds other vectors than a model predicts."""
    if _differ(bank.dim, primary.dim):
        yield BankError(
            f"the bank {bank.path} holds vectors of {bank.dim} components, but the model {primary.name} "
            f"predicts vectors of {primary.dim}",
            "build a bank of vectors of the same encoder: lvm-batch bank build DATASET --output BANK",
        )


def _fallback_misfits(primary: SizedModel, fallback: SizedModel) -> Iterator[ModelError]:
    if _differ(fallback.dim, primary.dim):
        yield ArchitectureError(
            f"the fallback {fallback.name} takes vectors of {fallback.dim} components, but the model "
            f"{primary.name} takes vectors of {primary.dim}",
            "give --fallback a model that was trained on the same vectors",
        )
    elif _differ(fallback.length, primary.length):
        yield ArchitectureError(
            f"the fallback {fallback.name} takes contexts of {fallback.length} vectors, but the model "
            f"{primary.name} takes contexts of {primary.length}",
            "give --fallback a model that was trained on contexts of the same length; a file says its length in "
            'model_config["context_length"], and means 5 if it says nothing',
        )


def _differ(one: int | None, other: int | None) -> bool:
    return None not in {one, other} and one != other


def check_architecture(name: str, architecture: str | None, allowed: tuple[str, ...], option: str) -> None:
    """Raise ``CheckpointError`` if a model's architecture is known and not one that ``option`` takes."""
    if architecture is not None and architecture not in allowed:
        raise CheckpointError(
            f"{name} is a model of the architecture {architecture}, which {option} does not take",
            f"give {option} one of {' or '.join(allowed)}",
        )


def check_output_width(dtype: str, dim: int) -> None:
    """Raise ``UsageError`` if predictions of ``dim`` components cannot be stored as ``dtype``."""
    if dtype == "binary" and dim % _SIGNS_A_BYTE:
        raise UsageError(
            f"--output-dtype binary stores {_SIGNS_A_BYTE} components in a byte, and the vectors have {dim}",
            "choose --output-dtype int8",
        )
