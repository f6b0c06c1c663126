"""Finds the models and the bank of a job without loading torch.

The rule: the process that drives a run loads neither torch nor a model; a fork of the fork server, which has loaded
torch anyway, checks the files. That fork imports this module, and no settings with it, which would take 0.1 s.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from lvm_batch.errors import LvmBatchError
from lvm_batch.jobs.processes.forkserver import in_forked_process, leave_note

if TYPE_CHECKING:
    from lvm_batch.jobs.models.facts import FoundModels, NamedModels
    from lvm_batch.jobs.settings.run import RunSettings


def announce_models(settings: RunSettings) -> None:
    """Tell the fork server which models will be needed, so that it loads them while the driver still plans.

    What is wrong with them is reported by :func:`find_models`.
    """
    from lvm_batch.jobs.models.files import name_models

    with suppress(LvmBatchError):
        leave_note(json.dumps(asdict(name_models(settings))))


def find_models(settings: RunSettings) -> FoundModels:
    """Check the models and the bank that the settings name, in a forked process that has torch, or else in this one."""
    from lvm_batch.jobs.models.files import name_models

    return in_forked_process(_look, name_models(settings))


def _look(named: NamedModels) -> FoundModels:
    from lvm_batch.jobs.models.check import look_at_models

    return look_at_models(named, with_answers=True)
