"""The folder of a model: what a training leaves there, and what it goes on from.

    DIR/best_model.pt               production's form; there once training is over
    DIR/training_history.json       every epoch, what was trained on and how, what was measured
    DIR/MODEL_CARD.md, curves.svg   the same for people
    DIR/_lvm_batch/state.pt         after each epoch; removed at the end

The rule: a folder holds one training. The same one goes on where it was broken off, or finds itself done; another is
refused, naming what differs.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lvm_batch.io.commit import PRIVATE
from lvm_batch.io.errors import JobChanged, OutputError
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.torch_files import read_torch_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.training.article_split import Split

HISTORY, MODEL = "training_history.json", "best_model.pt"


class TrainingFolder:
    """One folder of one training, known by ``identity``: everything that its result follows from."""

    def __init__(self, path: str, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self._state = self.path / PRIVATE / "state.pt"

    def finished(self) -> dict[str, Any] | None:
        """Return the history of this training, if it is done; raises ``JobChanged`` if another one is."""
        try:
            history: dict[str, Any] = json.loads((self.path / HISTORY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._refuse_strange_model()
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{self.path / HISTORY} cannot be read: {error}", "give --output another folder"
            ) from error
        self._refuse_other(history.get("identity", {}))
        return history

    def saved_state(self) -> dict[str, Any] | None:
        """Return the state that this training was broken off in; raises ``JobChanged`` if it is another one's."""
        try:
            saved: dict[str, Any] = read_torch_file(self._state.read_bytes(), str(self._state))
        except FileNotFoundError:
            return None
        except (OSError, CheckpointError) as error:
            raise OutputError(
                f"{self._state} is damaged: {error}", "remove it to train from the beginning"
            ) from error
        self._refuse_other(json.loads(saved["identity"]))
        state: dict[str, Any] = saved["state"]
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keep a state; the one before stays until this one is whole."""
        partial = self._state.with_suffix(".tmp")
        torch.save({"identity": json.dumps(self.identity), "state": state}, partial)
        partial.replace(self._state)

    def write_text(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        partial = self.path / PRIVATE / f"{name}.tmp"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / name)

    def finish(self, history: Mapping[str, Any]) -> None:
        """Write the history, identity and all, by which the training is known to be over, and remove the state."""
        self.write_text(HISTORY, json.dumps(history, indent=2, allow_nan=False) + "\n")
        self._state.unlink(missing_ok=True)

    def _refuse_strange_model(self) -> None:
        if (self.path / MODEL).exists() and not self._state.exists():
            raise OutputError(
                f"{self.path} holds a {MODEL} that this command has not made",
                "give --output another folder, so that it is not lost",
            )

    def _refuse_other(self, other: Mapping[str, Any]) -> None:
        names = sorted({*self.identity, *other})
        differs = [name for name in names if self.identity.get(name) != other.get(name)]
        if differs:
            told = ", ".join(
                f"{name} was {other.get(name)} and is {self.identity.get(name)}" for name in differs
            )
            raise JobChanged(
                f"{self.path} holds another training: {told}",
                "give --output another folder, or empty this one",
            )


def digest(split: Split) -> str:
    """Return a digest of the vectors trained on and judged by, and of how they make windows; hexadecimal."""
    found = hashlib.blake2b(digest_size=16)
    for windows in filter(None, (split.training, split.validation, split.ood)):
        for array in (windows.vectors, windows.contexts, windows.targets):
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def check_writable(path: str) -> None:
    """Raise ``OutputError`` unless the folder is on this machine and can be written."""
    if "://" in path:
        raise OutputError(
            f"{path}: a model is written to a folder of this machine",
            "give --output a path, and copy it from there",
        )
    try:
        (Path(path) / PRIVATE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be made: {error.strerror}", "give --output another folder"
        ) from error
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written", "give --output another folder")
