"""Writes a model's checkpoint in another form: as safetensors, or as a file of ``torch.save``.

The rule: nothing is written unless the new file is the same model: equal weights, and the same answers to the rows of
the self-check. No file is written over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.console.text import as_lines
from lvm_batch.jobs.models.self_check import check_answers, expected_answers
from lvm_batch.jobs.registry.model_target import new_model_file, write_model_file
from lvm_batch.lvm.checkpoints.checkpoint_files import SAFETENSORS_SUFFIX
from lvm_batch.lvm.checkpoints.conversion import Conversion, convert
from lvm_batch.lvm.errors import CheckpointError
from lvm_batch.lvm.inference.cascade import Cascade
from lvm_batch.lvm.inference.predictor import Predictor
from lvm_batch.lvm.inference.thresholds import Thresholds
from lvm_batch.lvm.registry.registry import named_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SUFFIXES = (".pt", SAFETENSORS_SUFFIX)
_BOUND = 1e-5  # of 1 - cosine: a sum in another order changes it by 1e-7, other weights or heads by far more
_DIGITS = 12


def convert_model(name: str, target: str, *, models_dir: Path) -> tuple[dict[str, Any], str]:
    """Write the model ``name`` to the file ``target``, in the form that its suffix says; return values and text.

    ``name`` is a name in the registry, a role, a path or a URL. Raises ``UsageError``, ``OutputError``, ``DataError``
    or ``ModelError``; nothing is written then.
    """
    place = new_model_file(target, _SUFFIXES)
    path = named_model(name, models_dir)
    done = convert(read_file(path), path, target=target, suffix=place.suffix)
    _check_answers(done, target)
    write_model_file(place, done.data)
    values = {
        "source": path,
        "path": str(place),
        "architecture": done.after.architecture,
        "dim": done.after.dim,
        "context_length": done.after.length,
        "n_parameters": done.after.n_parameters,
        "bytes": len(done.data),
        "sha256": done.after.sha256,
        "left_out": list(done.left_out),
    }
    return values, _text(values)


def _check_answers(done: Conversion, target: str) -> None:
    """Raise ``CheckpointError`` if the model answers the self-check's rows otherwise than before."""
    before, after = done.before, done.after
    if (before.length, before.model.unit_inputs) != (after.length, after.model.unit_inputs):
        raise _another_model(done, target, "its context length or the norm of its inputs changed")
    expected = expected_answers(before.model, None, length=before.length)
    if expected is None:
        return
    predict = Cascade(Predictor(after.model, torch.device("cpu")), None, None, Thresholds())
    if refusal := check_answers(predict, expected, bound=_BOUND, device="cpu"):
        raise _another_model(done, target, refusal.why)


def _another_model(done: Conversion, target: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{target} would be another model than {done.before.name}: {why}", "report this bug"
    )


def _text(values: Mapping[str, Any]) -> str:
    lines = {
        "written": values["path"],
        "from": values["source"],
        "model": f"{values['architecture']}, {values['n_parameters']:,} parameters, contexts of "
        f"{values['context_length']} vectors of {values['dim']}",
        "sha256": values["sha256"][:_DIGITS],
        "checked": "equal weights, the same answers to the self-check",
    }
    if values["left_out"]:
        lines["left out"] = ", ".join(values["left_out"])
    return as_lines(lines, width=9)
