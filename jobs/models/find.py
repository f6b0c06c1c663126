"""Finds the models and the bank of a job without loading torch.

The rule: the process that drives a run loads neither torch nor a model; a fork of the fork server, which has loaded
torch anyway, checks the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.forkserver import in_forked_process

if TYPE_CHECKING:
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.settings.run import RunSettings


def find_models(settings: RunSettings) -> FoundModels:
    """Check the models and the bank that the settings name, in a forked process that has torch, or else in this one."""
    return in_forked_process(_look, settings)


def _look(settings: RunSettings) -> FoundModels:
    from lvm_batch.jobs.models.check import look_at_models

    return look_at_models(settings, with_answers=True)
