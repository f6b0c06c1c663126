"""The folder of a model: the results of a training, and its state while it runs.

    DIR/best_model.pt               in production's form; written when training is over
    DIR/model.safetensors           the same model, for programs without pickles
    DIR/training_history.json       every epoch, the data and settings, and the measurements
    DIR/MODEL_CARD.md, curves.svg   the same for people
    DIR/_lvm_batch/state.pt         after each epoch; removed at the end
    DIR/_lvm_batch/teacher.pt       the same of a model that teaches this one

The rule: a folder holds one training. The same training resumes after an interruption, or finds itself done; another
one is refused, naming what differs. Each file is complete or absent.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.errors import JobChanged, OutputError
from lvm_batch.io.output.unit_files import PRIVATE
from lvm_batch.jobs.output_folder import as_json, writing
from lvm_batch.lvm.checkpoints.checkpoint import save_checkpoint
from lvm_batch.lvm.checkpoints.torch_files import read_torch_file, write_torch_file
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.registry.registry import CHECKPOINT_FILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.jobs.training.article_split import Split
    from lvm_batch.lvm.architectures.context_model import ContextModel

HISTORY = "training_history.json"
NAMES = (HISTORY, *CHECKPOINT_FILES)
STATE, TEACHER_STATE = "state.pt", "teacher.pt"

_MAKE_ROOM = "make room; the same command resumes after the last finished epoch"


class TrainingFolder:
    """The folder of one training; ``identity`` is everything that its result depends on."""

    def __init__(self, path: str, identity: Mapping[str, Any], *, state: str = STATE) -> None:
        """``state`` is the name of the file for the training's state."""
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self._state = self.path / PRIVATE / state

    def finished_history(self) -> dict[str, Any] | None:
        """Return the history of this training if it is finished; raises ``JobChanged`` if it is another training's."""
        path = self.path / HISTORY
        try:
            history = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._refuse_strange_model()
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} cannot be read: {error}", "give --output another folder") from error
        if not (isinstance(history, dict) and isinstance(history.get("identity"), dict)):
            raise OutputError(
                f"{path} is not a training history of this command", "give --output another folder"
            )
        self._refuse_other(history["identity"])
        return history

    def saved_state(self) -> dict[str, Any] | None:
        """Return the state of this training if it was interrupted; raises ``JobChanged`` if it is that of another."""
        try:
            saved: dict[str, Any] = read_torch_file(self._state.read_bytes(), str(self._state))
            identity, state = dict(json.loads(saved["identity"])), dict(saved["state"])
        except FileNotFoundError:
            return None
        except (OSError, CheckpointError, LookupError, TypeError, ValueError) as error:
            raise OutputError(
                f"{self._state} is damaged: {error}", "remove it to start training again"
            ) from error
        self._refuse_other(identity)
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state; the previous one stays until this one is complete. Raises ``OutputError``."""
        with writing(self._state, hint=_MAKE_ROOM):
            write_torch_file(
                self._state,
                {"identity": json.dumps(self.identity), "state": state},
                partial=self._state.with_suffix(".tmp"),
            )

    def save_model(self, model: ContextModel, **facts: Any) -> None:  # noqa: ANN401 - as save_checkpoint
        """Write the checkpoint in both forms; ``facts`` go to :func:`save_checkpoint`. Raises ``OutputError``."""
        for name in CHECKPOINT_FILES:
            with writing(self.path / name, hint=_MAKE_ROOM):
                save_checkpoint(self.path / name, model, **facts)

    def write(self, name: str, content: bytes) -> None:
        """Write a file; raises ``OutputError``."""
        partial = self.path / PRIVATE / f"{name}.tmp"
        with writing(self.path / name, hint=_MAKE_ROOM):
            partial.write_bytes(content)
            partial.replace(self.path / name)

    def finish(self, history: Mapping[str, Any]) -> None:
        """Write the history, which marks the training as finished, and remove the states."""
        self.write(HISTORY, as_json(history))
        for name in (STATE, TEACHER_STATE):
            (self.path / PRIVATE / name).unlink(missing_ok=True)

    def _refuse_strange_model(self) -> None:
        strange = next((name for name in CHECKPOINT_FILES if (self.path / name).exists()), None)
        if strange and not self._state.exists():
            raise OutputError(
                f"{self.path} holds a {strange} that this command did not write",
                "give --output another folder, so that it is not lost",
            )

    def _refuse_other(self, other: Mapping[str, Any]) -> None:
        names = sorted({*self.identity, *other})
        differs = [name for name in names if self.identity.get(name) != other.get(name)]
        if differs:
            changes = ", ".join(
                f"{name} was {other.get(name)} and is {self.identity.get(name)}" for name in differs
            )
            raise JobChanged(
                f"{self.path} holds another training: {changes}",
                "give --output another folder, or empty this one",
            )


def digest_of(split: Split) -> str:
    """Return a hexadecimal digest of all vectors of a split and of the windows that they form."""
    digest = hashlib.blake2b(digest_size=16)
    for windows in filter(None, (split.training, split.validation, split.ood)):
        for array in (windows.vectors, windows.contexts, windows.targets):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
